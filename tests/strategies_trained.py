"""Checkpoints of models that nobody trained, made in a moment, for what is done with a trained model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from llmlab.baseline import ContextVectorLM, train_seed
from llmlab.disk import replace_folder
from llmlab.lab.checkpoint import packed
from llmlab.lab.sizes import Size
from llmlab.lab.steps import Diverged
from llmlab.peers import build
from llmlab.settings import BaselineSettings
from llmlab.text.grammar import Grammar

SMALL: dict[str, Any] = {"embedding": 8, "hidden": 16, "context": 8, "layers": 2, "device": "cpu"}
TINY: dict[str, Any] = {"vocabulary": 200, "length": 32, "precision": "fp32", **SMALL, "layers": 1}
"""For a model that is really trained."""


def state_of(words: tuple[str, ...] = (), **options: Any) -> dict[str, Any]:
    """Return the state of a small model at its start, over the words of the synthetic language or over others."""
    settings = BaselineSettings(**SMALL | options)
    words = words or Grammar.standard().vocabulary().words
    parameters = build(replace(settings, init="scaled"), len(words), settings.seed, "fp32").parameters
    if "output.weight" in parameters:
        # scores that differ more than at the start: otherwise every token is about as likely as any other
        parameters["output.weight"].mul_(4)
    return {
        "settings": settings.document(),
        "seed": settings.seed,
        "text": "",
        "vocabulary": list(words),
        "model": parameters,
        "progress": {"history": []},
    }


def saved(path: Path, state: dict[str, Any]) -> Path:
    replace_folder(path, packed(state))
    return path


def write_text(folder: Path, train: list[str], valid: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_text("\n".join(train), "utf-8")
    (folder / "valid.txt").write_text("\n".join(valid), "utf-8")
    return folder


def sizes(least: int) -> st.SearchStrategy[Size]:
    """Draw any small size, with at least so many hidden and context numbers."""
    return st.builds(
        Size,
        vocabulary=st.integers(5, 12),
        embedding=st.integers(1, 6),
        hidden=st.integers(least, 9),
        context=st.integers(least, 7),
        layers=st.integers(1, 3),
        stack=st.sampled_from(["plain", "residual"]),
    )


def grown_up(size: Size, seed: int = 0, dropout: float = 0.0) -> ContextVectorLM:
    """Return a model whose every number is other than at the start, as after training."""
    model = ContextVectorLM.initial(size, seed, dropout=dropout, init="scaled")
    chance = torch.Generator().manual_seed(seed + 100)
    for tensor in model.parameters.values():
        tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=0.1)
    return model


def windows(vocabulary: int, count: int, length: int = 9, seed: int = 0) -> Tensor:
    """Return random windows, (N, L), each third of them with padding at its end."""
    found = torch.randint(1, vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))
    found[::3, -3:] = 0
    return found


def diverging(patch: pytest.MonkeyPatch, lost: Callable[[BaselineSettings, int], bool]) -> None:
    """Let the runs of chapters 3 and 4 diverge of which ``lost`` says so, by settings and seed."""

    def fragile(settings: BaselineSettings, data: Any, seed: int, *rest: Any, **words: Any) -> Any:
        if lost(settings, seed):
            raise Diverged(3)
        return train_seed(settings, data, seed, *rest, **words)

    for module in ("baseline", "layers"):
        patch.setattr(f"llmlab.{module}.train_seed", fragile)


def small_models() -> st.SearchStrategy[ContextVectorLM]:
    """Draw a New-LLM of any small size."""
    return st.builds(grown_up, sizes(2), st.integers(0, 1_000))
