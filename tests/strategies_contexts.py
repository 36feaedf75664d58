"""What the tests of chapters 5 and 6 share: comparisons that take a moment, made by hand, or stopped on the way."""

import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab import embedding_freeze
from llmlab.embedding_freeze import freeze_arms, stage1, stage2
from llmlab.lab import context_study, made_embedding
from llmlab.lab.context_runs import ArmRun, ArmRuns, ArmSpec, ContextSpec, Measured
from llmlab.lab.context_study import Comparison
from llmlab.lab.context_text import ContextDataset, EmbeddedCorpus, dataset_of, random_corpus
from llmlab.lab.steps import Diverged, OnStep
from llmlab.settings import ContextSettings, EmbeddingFreezeSettings, flag
from llmlab.settings.contexts import FREEZE_ARMS
from stand_in_model import WORDS, model_files, write_files
from strategies_trained import write_text

SMALL: dict[str, Any] = {"tokens": 300, "val_tokens": 120, "width": 8, "context": 8, "layers": 1, "batch": 64}
SMALL |= {"epochs": 2, "seeds": 2, "iterations": 3}
"""Two runs of each arm, ten updates each, with blocks of one layer."""
UPDATES = 10
GROWN = EmbeddingFreezeSettings(**SMALL, arms=",".join(FREEZE_ARMS), tune=False, grow="150")
"""Chapter 5 with all arms, at the rates that are set, at two numbers of tokens."""
FREEZE = EmbeddingFreezeSettings(**SMALL, arms=",".join(FREEZE_ARMS), tune=False, grow="none")
"""The same at one number of tokens."""


def compared(settings: EmbeddingFreezeSettings, source: EmbeddedCorpus, on_step: OnStep | None = None) -> Comparison:
    """Train the arms and seeds of chapter 5."""
    return context_study.compared(stage1, stage2, settings, source, freeze_arms(settings), on_step)


def diverging(patch: pytest.MonkeyPatch, *lost: tuple[str, int], update: int = 3) -> None:
    """Let the runs of these arms and seeds diverge; those of the arm ``all`` are every arm's."""
    real = context_study.train_arm

    def fragile(own: Any, data: Any, arm: ArmSpec, model: Any, seed: int, step: Any) -> Any:
        if {(arm.name, seed), ("all", seed)} & set(lost):
            raise Diverged(update)
        return real(own, data, arm, model, seed, step)

    patch.setattr(context_study, "train_arm", fragile)


def diverging_blocks(patch: pytest.MonkeyPatch, lost: Any) -> list[int]:
    """Let the training of the blocks diverge of which ``lost`` says so, by size and seed; return the seeds trained."""
    real, trained = embedding_freeze.fixed_point, list[int]()

    def fragile(size: Any, start: Any, inputs: Any, contexts: Any, recipe: Any, *rest: Any) -> Any:
        trained.append(recipe.seed)
        if lost(size, recipe.seed):
            raise Diverged(1)
        return real(size, start, inputs, contexts, recipe, *rest)

    patch.setattr(embedding_freeze, "fixed_point", fragile)
    return trained


@functools.cache
def small_source() -> EmbeddedCorpus:
    """Return lines of the synthetic language with an embedding made of sixty; its last bits depend on the threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_embedding, "LINES", 60)
        found = made_embedding.made(8, stage1, stage2)
    few = {name: getattr(found.corpus, name)[:600] for name in ("train", "valid", "test")}
    return replace(found, corpus=replace(found.corpus, **few))  # all of them take a while to be told apart


@functools.cache
def small_text(tokens: int = 300) -> ContextDataset:
    """Return the text that comparisons made by hand pretend to have read."""
    return dataset_of(random_corpus(4), tokens, 120)


def arm_runs(arm: ArmSpec, values: dict[int, dict[str, float]]) -> ArmRuns:
    """Return an arm with a finished run for each seed, of which only the given numbers are known.

    Where nothing else is said, its train loss is 1, and its validation loss has risen by the end.
    """
    made, sizes = [], {"tokens": arm.contexts.tokens, "trainable": 10, "total": 20}
    for seed, given in values.items():
        loss = given.get("val_loss_token", 1.0)
        history = [{"val_loss_token": loss, "train_loss_token": 1.0}]
        numbers = {"val_loss_last": loss + 0.1} | given
        made.append(ArmRun(seed=seed, numbers=numbers, history=history, drift=0.0, tokens_per_second=1.0, **sizes))
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
    ranks = {"train": trained, "valid": trained, "untrained": untrained}
    passes = [{"iteration": n, "fixed_point_loss": 0.1, "diversity": -0.1, "converged_fraction": 1.0} for n in (2, 3)]
    return Measured(seed, arm.contexts.size(settings, 4), 8, 2e-6, 1e-6, 32, False, 1e4, ranks, passes)


def arm_named(settings: ContextSettings, name: str, label: str = "", **changes: Any) -> ArmSpec:
    return ArmSpec(name, label or name, contexts=ContextSpec.of(settings), **changes)


def write_model_and_text(folder: Path) -> dict[str, str]:
    """Write a stand-in model and a text of its words; return the options that name them."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=12)) for _ in range(80)]
    text = write_text(folder / "text", lines[:60], lines[60:])
    return {"data": str(text), "pretrained": write_files(folder / "model", model_files())}


def options(**changes: Any) -> list[str]:
    """Return the options of a run of one seed that takes a second, as they are typed."""
    return [word for name, value in (SMALL | {"seeds": 1} | changes).items() for word in (flag(name), str(value))]
