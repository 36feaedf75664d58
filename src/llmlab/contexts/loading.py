"""Text and embedding by the words of the settings: files, the hub, or made in the run.

Leaves out cutting the text to a number of tokens: ``task``.
"""

import torch
from torch import Tensor

from llmlab.contexts.made import made
from llmlab.contexts.task import Material
from llmlab.errors import TextError
from llmlab.lab.rng import generator
from llmlab.lab.steps import OnStep
from llmlab.settings import MADE, ContextSettings
from llmlab.text.corpus import SYNTHETIC, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import subword_coder, word_coder


def loaded(settings: ContextSettings, on_step: OnStep | None = None, *, vectors: str = "pretrained") -> Material:
    """Return corpus and embedding.

    Args:
        settings: which.
        on_step: called now and then while an embedding is made; may raise to stop.
        vectors: ``random`` leaves the pretrained matrix unread: only its tokenizer is needed.

    Raises:
        TextError: text, tokenizer or matrix cannot be used.
        UnreachableError: they are not here, or a library is missing.
        WriteError: what was fetched could not be written.
    """
    if settings.pretrained == MADE:
        return made(settings.width, _making(on_step)) if vectors == "pretrained" else of_chance(settings.width)
    corpus = load_corpus(settings.data, offline=settings.offline)
    found = load_pretrained(settings.pretrained, offline=settings.offline, weights=vectors == "pretrained")
    coder = subword_coder(found)
    if vectors == "pretrained":
        if found.embedding is None:
            raise TextError(f"--pretrained {settings.pretrained}: it has a tokenizer but no embedding")
        return Material(corpus, coder, found.embedding, found.name, found.digest, notes=found.notes)
    start = drawn(found.vocabulary, settings.width)
    name = f"random, for the tokens of {found.name}"
    return Material(corpus, coder, start, name, found.digest, notes=found.notes)


def _making(on_step: OnStep | None) -> OnStep | None:
    """Return what the making of an embedding calls: its updates are not those of the run."""
    if on_step is None:
        return None
    return lambda update, planned, told="": on_step(0, 1, f"making the embedding, {update:,} of {planned:,}")


def of_chance(width: int) -> Material:
    """Return the synthetic language with an embedding of random rows."""
    words = Grammar.standard().vocabulary()
    name = "random, for the words of the synthetic language"
    return Material(load_corpus(SYNTHETIC), word_coder(words), drawn(len(words), width), name, words.sha256, words)


def drawn(vocabulary: int, width: int) -> Tensor:
    """Return rows of unit length on average, so that scores start near 1; ``task.vectors`` draws others by seed."""
    rows: Tensor = torch.randn(vocabulary, width, generator=generator("random vectors")) / width**0.5
    return rows
