"""The embedding that chapters 5 and 6 read: from files and the hub, or made in the run by chapter 5's two stages."""

import hashlib
from dataclasses import replace
from typing import Any

import torch

from llmlab.lab.block_sizes import contexts_bytes
from llmlab.lab.context_runs import ArmSpec, ContextSpec, Stage1, Stage2, training_of
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of, pretrained_corpus, random_corpus
from llmlab.lab.memory import check_memory
from llmlab.lab.rng import generator
from llmlab.lab.steps import OnStep
from llmlab.report.messages import Text, say
from llmlab.settings import MADE, ContextSettings
from llmlab.text.corpus import SYNTHETIC, Corpus
from llmlab.text.grammar import Grammar

LINES, HELD_OUT, MADE_SEED = 40_000, 600, 3
"""What the made embedding is made from: some 720,000 tokens.  The language's own splits have the seeds 1 and 2."""


def loaded(settings: ContextSettings, stage1: Stage1, stage2: Stage2, on_step: OnStep | None = None) -> EmbeddedCorpus:
    """Return corpus and embedding; ``on_step`` hears of an embedding that is made, and may raise to stop."""
    # of an embedding that is still to be read only what a row has at the least
    width = settings.width if settings.pretrained == MADE else 1
    check_memory(contexts_bytes(ContextSpec.of(settings).size(settings, width), 1, 0))
    if settings.pretrained != MADE:
        return pretrained_corpus(settings)
    if settings.vectors == "random":
        return random_corpus(settings.width)

    def making(update: int, planned: int, told: str = "") -> None:
        if on_step:  # these are no updates of the run
            on_step(0, 0, f"making the embedding, {update:,} of {planned:,}")

    return made(settings.width, stage1, stage2, making)


def made(width: int, stage1: Stage1, stage2: Stage2, on_step: OnStep | None = None) -> EmbeddedCorpus:
    """Return the synthetic language with an embedding, (V, width), that was trained on much more of it.

    The offline stand-in for an embedding that read much more text than we have: the tied embedding of a model of
    chapter 5, trained on many times more lines of the language, drawn by another seed than any line that is read later.
    """
    sizes: dict[str, Any] = {"width": width, "context": 32, "layers": 1, "block": "untrained", "tokens": 10**7}
    sizes |= {"epochs": 2, "batch": 1_024, "lr": 1e-2, "patience": 100}
    # on the processor: as small as it is, and the same wherever it is then read
    settings = ContextSettings(**sizes, device="cpu")
    language, lines = random_corpus(width), Grammar.standard().lines
    start = torch.randn(language.embedding.shape, generator=generator("made embedding", MADE_SEED)) / width**0.5
    # lines of its own to validate with: nothing of what is judged on later has a say
    more = Corpus(SYNTHETIC, lines(LINES, MADE_SEED), lines(HELD_OUT, MADE_SEED + 1))
    source = replace(language, corpus=more, embedding=start, name="made", digest="")
    data = dataset_of(source, settings.tokens, settings.val_tokens)
    arm = ArmSpec("made", contexts=ContextSpec.of(settings), trains_embedding=True)
    contexts = stage1(settings, data, arm.contexts, MADE_SEED)
    model = stage2(settings, data, arm, contexts, MADE_SEED)
    training = training_of(settings, data, model, MADE_SEED)
    training.run(on_step)
    # known by how it is made, not where: its last bits depend on the machine, and a run may go on with another
    recipe = f"{LINES} {MADE_SEED} {settings.document() | {'device': 'auto'}} {language.digest}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    notes: list[Text] = [say("contexts.made_embedding", tokens=len(data.text.train.tokens))]
    return replace(language, embedding=training.best["embedding"], name="made in the run", digest=digest, notes=notes)
