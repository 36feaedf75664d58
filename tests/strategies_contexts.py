"""What the tests of chapters 5 and 6 share: comparisons that take a moment, made by hand, or stopped on the way."""

import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llmlab.embedding_freeze import EQUATIONS, freeze_arms
from llmlab.lab import context_runs, context_stages, context_study
from llmlab.lab.context_runs import ArmRun, ArmRuns, ArmSpec, Contexts, ContextSpec, Measured
from llmlab.lab.context_stages import Stages
from llmlab.lab.context_study import Comparison
from llmlab.lab.context_text import ContextDataset, EmbeddedCorpus, dataset_of, random_corpus
from llmlab.lab.steps import OnStep
from llmlab.settings import ContextSettings, EmbeddingFreezeSettings
from llmlab.settings.contexts import FREEZE_ARMS
from stand_in_model import WORDS, model_files, write_files
from strategies_trained import write_text

SMALL: dict[str, Any] = {"tokens": 300, "val_tokens": 120, "width": 8, "context": 8, "layers": 1, "batch": 64}
SMALL |= {"epochs": 2, "seeds": 2, "iterations": 3}
"""Two runs of each arm, ten updates each, with blocks of one layer."""
UPDATES = 10
EVERY: dict[str, Any] = {"arms": ",".join(FREEZE_ARMS), "tune": False}
"""All arms of chapter 5, at the rates that are set."""
GROWN = EmbeddingFreezeSettings(**SMALL, **EVERY, grow="150")
"""Chapter 5 with them, at two numbers of tokens."""
FREEZE = EmbeddingFreezeSettings(**SMALL, **EVERY, grow="none")
"""Chapter 5 with them, at one number of tokens."""

FREEZE_CONTRACT = {
    *("val_ppl_frozen", "val_ppl_trained", "val_accuracy_frozen", "val_accuracy_trained"),
    *("trainable_parameters_frozen", "trainable_parameters_trained", "total_parameters"),
    *("effective_rank", "effective_rank_untrained", "converged_fraction", "train_tokens", "val_tokens"),
}
"""Names of metrics that chapter 5 has promised."""
STAGE_CONTRACT = {
    *("stage1_tokens_per_second", "stage1_max_error", "stage2_tokens_per_second", "context_drift"),
    *("val_ppl", "val_accuracy", "train_tokens"),
}
"""Names of metrics that chapter 6 has promised."""


def compared(settings: EmbeddingFreezeSettings, source: EmbeddedCorpus, on_step: OnStep | None = None) -> Comparison:
    """Train the arms and seeds of chapter 5."""
    return context_study.compared(EQUATIONS, settings, source, freeze_arms(settings), on_step)


def stages(settings: ContextSettings, text: ContextDataset) -> Stages:
    return Stages(EQUATIONS, settings, text)


def train_arm(settings: ContextSettings, text: ContextDataset, arm: ArmSpec, contexts: Contexts, seed: int) -> ArmRun:
    return context_runs.train_arm(settings, text, arm, stages(settings, text).model(arm, contexts, seed), seed)


@functools.cache
def small_source() -> EmbeddedCorpus:
    """Return the synthetic language with an embedding made of sixty lines; its last bits depend on the threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context_stages, "LINES", 60)
        return context_stages.made(EQUATIONS, 8)


@functools.cache
def small_text(tokens: int = 300) -> ContextDataset:
    """Return the text that comparisons made by hand pretend to have read."""
    return dataset_of(random_corpus(4), tokens, 120)


def arm_runs(arm: ArmSpec, values: dict[int, dict[str, float]]) -> ArmRuns:
    """Return an arm with a finished run for each seed, of which only the given numbers are known.

    Where nothing else is said, its train loss is 1, and its validation loss has risen by the end.
    """
    made = []
    for seed, given in values.items():
        loss = given.get("val_loss_token", 1.0)
        sizes: dict[str, Any] = {"tokens": arm.contexts.tokens, "trainable": 10, "total": 20}
        measured: dict[str, Any] = {"drift": 0.0, "tokens_per_second": 1.0}
        history = [{"val_loss_token": loss, "train_loss_token": 1.0}]
        numbers = {"val_loss_last": loss + 0.1} | given
        made.append(ArmRun(seed=seed, numbers=numbers, history=history, **sizes, **measured))
    return ArmRuns(arm, made)


def compared_by_hand(settings: ContextSettings, arms: Sequence[ArmRuns], ranks: dict[str, Any] | None = None) -> Any:
    """Return a comparison of arms with runs made by hand; ``ranks`` are by arm: seeds with (trained, untrained)."""
    contexts: dict[Any, list[Measured]] = {}
    for arm in arms:
        told = (ranks or {}).get(arm.arm.name, {run.seed: (0.5, 0.4) for run in arm.runs})
        if told:
            contexts[arm.arm.contexts] = [measured(settings, arm.arm, seed, *each) for seed, each in told.items()]
    texts = {settings.tokens: small_text()}
    return Comparison({arm.arm.name: arm for arm in arms}, settings=settings, texts=texts, contexts=contexts)


def measured(settings: ContextSettings, arm: ArmSpec, seed: int, trained: float, untrained: float) -> Measured:
    """Return what Stage 1 could have measured, with these effective ranks."""
    size = arm.contexts.size(settings, small_text().embedding)
    ranks = {"train": trained, "valid": trained, "untrained": untrained}
    passes = [{"iteration": n, "fixed_point_loss": 0.1, "diversity": -0.1, "converged_fraction": 1.0} for n in (2, 3)]
    return Measured(seed, size, 8, 2e-6, 1e-6, 32, False, 1e4, ranks, passes, 1.0)


def arm_named(settings: ContextSettings, name: str, label: str = "", **changes: Any) -> ArmSpec:
    return ArmSpec(name, label or name, contexts=ContextSpec.of(settings), **changes)


def write_model_and_text(folder: Path) -> dict[str, str]:
    """Write a stand-in model and a text of its words; return the options that name them."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=12)) for _ in range(80)]
    text = write_text(folder / "text", lines[:60], lines[60:])
    return {"data": str(text), "pretrained": write_files(folder / "model", model_files())}
