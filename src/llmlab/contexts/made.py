"""A pretrained embedding made in the run: the offline stand-in for one that read much more text than we have.

It is trained the long way, as the tied embedding of a model of these chapters, on many times more lines of the
synthetic language, drawn by another seed than any line that is read later.  Leaves out embeddings from files:
``text.pretrained``.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch

from llmlab.contexts.arms import Arm, design_of
from llmlab.contexts.stage1 import contexts_of
from llmlab.contexts.task import Material, task_of
from llmlab.contexts.token_block import built, training_of
from llmlab.lab.rng import generator
from llmlab.lab.steps import OnStep
from llmlab.settings import ContextSettings
from llmlab.text.corpus import SYNTHETIC, Corpus, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.streams import word_coder

LINES, HELD_OUT, SEED = 40_000, 600, 3
"""What it is made from: some 720,000 tokens.  The language's own splits have the seeds 1 and 2."""


@dataclass(frozen=True, kw_only=True)
class MakingSettings(ContextSettings):
    """How the embedding is made, whatever is then done with it."""

    experiment: ClassVar[str] = "made"


def made(width: int, on_step: OnStep | None = None) -> Material:
    """Return the synthetic language with an embedding, (V, width), that was trained on much more of it.

    Args:
        width: numbers per token.
        on_step: called now and then; may raise to stop.
    """
    corpus, words = load_corpus(SYNTHETIC), Grammar.standard().vocabulary()
    coder = word_coder(words)
    settings = MakingSettings(
        width=width,
        context=32,
        tokens=10**7,
        layers=1,
        block="untrained",
        epochs=2,
        batch=1_024,
        lr=1e-2,
        patience=100,
        device="cpu",  # as small as it is, and the same wherever it is then read
    )
    start = torch.randn(len(words), width, generator=generator("made embedding", SEED)) / width**0.5
    # lines of its own to validate with: nothing of what is judged on later has a say
    lines = Grammar.standard().lines
    more = Corpus(SYNTHETIC, lines(LINES, SEED), lines(HELD_OUT, SEED + 1))
    task = task_of(Material(more, coder, start, "made", "", words), settings.tokens, settings.val_tokens)
    arm = Arm("made", "made", design_of(settings), learns_embedding=True)
    model = built(settings, task, arm, contexts_of(settings, task, arm.design, SEED), SEED)
    training = training_of(settings, task, model, SEED)
    training.run(on_step)
    embedding = training.best["embedding"]
    # known by how it is made, not where: its last bits depend on the machine, and a run may go on with another
    recipe = f"{LINES} {SEED} {settings.document() | {'device': 'auto'}} {words.sha256}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    told = f"The embedding was made in this run, from {len(task.text.train.tokens):,} tokens of the same language."
    return Material(corpus, coder, embedding, "made in the run", digest, words, [told])
