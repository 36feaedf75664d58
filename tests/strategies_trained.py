"""Checkpoints of models that nobody trained, made in a moment, for what is done with a trained model."""

from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from llmlab.baseline import ContextVectorLM
from llmlab.disk import replace_folder
from llmlab.lab.checkpoint import packed
from llmlab.lab.sizes import Size, size_of
from llmlab.settings import BaselineSettings
from llmlab.text.grammar import Grammar

SMALL: dict[str, Any] = {"embedding": 8, "hidden": 16, "context": 8, "layers": 2, "device": "cpu"}


def state_of(words: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    """Return the state of a small New-LLM at its start, over the words of the synthetic language or over others."""
    settings = BaselineSettings(**SMALL | options)
    words = words or Grammar.standard().vocabulary().words
    model = ContextVectorLM.initial(size_of(settings, len(words)), settings.seed, init="scaled")
    # scores that differ more than at the start: otherwise every token is about as likely as any other
    model.parameters["output.weight"].mul_(4)
    return {
        "settings": settings.document(),
        "seed": settings.seed,
        "text": "",
        "vocabulary": list(words),
        "model": model.parameters,
        "progress": {"history": []},
    }


def saved(path: Path, state: dict[str, Any]) -> Path:
    """Write a state as a checkpoint."""
    replace_folder(path, packed(state))
    return path


sizes = st.builds(
    Size,
    vocabulary=st.integers(5, 12),
    embedding=st.integers(1, 6),
    hidden=st.integers(2, 9),
    context=st.integers(2, 6),
    layers=st.integers(1, 3),
    stack=st.sampled_from(["plain", "residual"]),
)


@st.composite
def small_models(draw: st.DrawFn) -> ContextVectorLM:
    """Draw a New-LLM of any small size, its biases and gains moved away from their start."""
    size, seed = draw(sizes), draw(st.integers(0, 1_000))
    model = ContextVectorLM.initial(size, seed, init="scaled")
    chance = torch.Generator().manual_seed(seed)
    for tensor in model.parameters.values():
        tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=0.1)
    return model
