"""One run of chapters 5 and 6: what is to be trained, as data, its training with checkpoints, and what is kept."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmlab.fast.fixed_context_lm import NOT_SCORED, FixedContextLM, rows_at_once
from llmlab.fast.fixed_contexts import FixedContexts
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.checkpoint import State
from llmlab.lab.context_text import ContextDataset, by_document
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.folders import checkpointed, identity
from llmlab.lab.language import Judging, parameter_count
from llmlab.lab.steps import Diverged, OnStep
from llmlab.lab.study import Arm, Run, Runs
from llmlab.measure.score import perplexity
from llmlab.settings import ContextSettings
from llmlab.text.grammar import context_recovered

LOSS, TEST_LOSS = "val_loss_token", "test_loss_token"
"""The number of a run that arms are compared by, and the same on the test text, by which nothing is chosen."""

CLIP = "1.0"
"""The longest gradient, as in the original notes' code."""


# ---- what is to be trained, and what is kept of it --------------------------------------------------------------


@dataclass(frozen=True)
class ContextSpec:
    """A context block and how it is trained; equal ones have equal contexts.

    ``vectors`` says which embedding it reads: ``pretrained`` or ``random``.  Without ``stops`` its training makes every
    pass; with it, it is over as soon as nearly every context stays where it is.
    """

    layers: int
    wiring: str
    widths: str
    trained: bool
    noise: float
    vectors: str
    tokens: int
    stops: bool = True

    @classmethod
    def of(cls, settings: ContextSettings) -> "ContextSpec":
        """Return the context block that the settings name."""
        own = {name: getattr(settings, name) for name in ("layers", "wiring", "widths", "noise", "vectors", "tokens")}
        return cls(trained=settings.block == "trained", **own)

    @property
    def name(self) -> str:
        """What its file is called."""
        made = f"noise{self.noise:g}{'' if self.stops else '-every-pass'}" if self.trained else "untrained"
        return f"{self.vectors}-L{self.layers}-{self.wiring}-{self.widths}-{made}-{self.tokens}"

    def size(self, settings: ContextSettings, width: int) -> BlockSize:
        """Return the sizes of both blocks on an embedding of a width; what is read is the arm's to say."""
        return BlockSize(width, settings.context, self.layers, settings.inputs, self.wiring, self.widths)


@dataclass(frozen=True)
class Measured:
    """What is kept of contexts when they themselves are let go.

    ``ranks`` are effective ranks as shares of the width: of ``train`` and ``valid``, and of ``untrained``, the same
    block before it was trained.  ``rows`` are the passes of its training.
    """

    seed: int
    size: BlockSize
    warm_up: int
    seam_error: float
    max_error: float
    checked: int
    plain: bool
    tokens_per_second: float
    ranks: dict[str, float]
    rows: list[dict[str, float]]

    @classmethod
    def of(
        cls,
        seed: int,
        size: BlockSize,
        streams: Sequence[FixedContexts],
        ranks: dict[str, float],
        rows: list[dict[str, float]],
    ) -> "Measured":
        """Return what is kept of the contexts of all streams of a text, the first of which is trained on."""
        first = streams[0]
        return cls(
            seed,
            size,
            first.warm_up,
            seam_error=max(one.seam_error for one in streams),
            max_error=max(one.max_error for one in streams),
            checked=sum(one.checked for one in streams),
            plain=first.plain,
            tokens_per_second=len(first.contexts) / max(first.seconds, 1e-9),
            ranks=ranks,
            rows=rows,
        )


class Contexts(NamedTuple):
    """Fixed contexts, (n, c), after each token of a text's streams, and what made them: block and ``embedding``."""

    frozen: dict[str, Tensor]
    after: Tensor
    measured: Measured


@dataclass(frozen=True, kw_only=True)
class ArmSpec(Arm):
    """One thing to train: ``name`` ends its metrics and its folder, ``label`` stands in tables."""

    contexts: ContextSpec
    reading: str = "after"
    tied: bool = True
    trains_embedding: bool = False

    def document(self, settings: ContextSettings) -> dict[str, Any]:
        """Return the settings as a run of this arm sees them: where arms differ, its own."""
        own = {"reading": self.reading, "tied": self.tied, "learns_embedding": self.trains_embedding}
        return settings.document() | vars(self.contexts) | own | {"schedule": "constant"}


@dataclass(frozen=True, kw_only=True)
class ArmRun(Run):
    """What is kept of one finished run.

    ``tokens`` are those that were trained on.  ``trainable`` counts the parameters of the token side that learn,
    ``total`` all there are, the context block's too; ``drift`` is how far the contexts moved.  ``valid_sums`` and
    ``test_sums`` are the losses of the best epoch's model summed over each document, empty where that model was lost.
    """

    tokens: int
    trainable: int
    total: int
    drift: float
    tokens_per_second: float
    valid_sums: list[float] = field(default_factory=list)
    test_sums: list[float] = field(default_factory=list)


ArmRuns = Runs[ArmSpec, ArmRun]

Keep = Callable[[Callable[[], State]], State]
"""Gets what trains a block, and returns what is kept of it: ``model``, ``rows``, ``rank``."""

Stage1 = Callable[..., Contexts]
Stage2 = Callable[[ContextSettings, ContextDataset, ArmSpec, Contexts, int], FixedContextLM]
"""What chapter 5 teaches: ``embedding_freeze.stage1``, of which a caller may leave out the last two, and ``stage2``."""


# ---- one run ----------------------------------------------------------------------------------------------------


def train_arm(
    settings: ContextSettings,
    data: ContextDataset,
    arm: ArmSpec,
    model: FixedContextLM,
    seed: int,
    on_step: OnStep | None = None,
) -> ArmRun:
    """Train one arm with one seed, or go on with it; ``settings`` are of this run alone, and the model is fresh."""
    precision, training = precision_of(settings), training_of(settings, data, model, seed)
    ours = identity(arm.document(settings), seed, data.digest, data.text.name, precision)
    with checkpointed(training, settings, ours, settings.experiment) as (notes, _):
        training.run(on_step)
    history, trainable = training.progress.history, parameter_count(model)
    numbers, valid_sums, test_sums = scores(training, data, model)
    untrained = model.size.context_parameters() + (0 if model.trains_embedding else data.source.embedding.numel())
    return ArmRun(
        seed=seed,
        numbers=numbers,
        history=history,
        precision=precision,
        notes=notes,
        tokens=len(data.text.train.tokens),
        trainable=trainable,
        total=trainable + untrained,
        drift=model.context_drift(),
        tokens_per_second=sum(row["train_targets"] for row in history) / max(history[-1]["seconds"], 1e-9),
        valid_sums=valid_sums,
        test_sums=test_sums,
    )


def precision_of(settings: ContextSettings) -> str:
    """Return the precision of the products in training."""
    return chosen_precision(settings.precision, device_of(settings.device), settings.context)


def training_of(
    settings: ContextSettings, data: ContextDataset, model: FixedContextLM, seed: int, tail: int = 0
) -> Training:
    """Return the training of a model before its first update.

    From the position ``tail`` on the training text is not trained on, but takes the place of the validation text.
    """
    rows, valid = (model.windows(number, data.text.unknown) for number in (0, 1))
    if tail:
        rows, valid = rows[: tail - 1], rows[tail - 1 :]  # a row is named after the token before its target
    recipe = replace(Recipe.of(settings, seed), clip=CLIP)
    judging = Judging(NOT_SCORED, NOT_SCORED, judged_at_once(data))
    return Training(model, rows, valid, recipe, save_seconds=60 * settings.save_minutes, judging=judging)


def judged_at_once(data: ContextDataset) -> int:
    """Return how many rows are read at a time: as many as the head scores, within bounds."""
    return min(max(rows_at_once(data.text.vocabulary), 256), 4_096)


def scores(
    training: Training, data: ContextDataset, model: FixedContextLM
) -> tuple[dict[str, float], list[float], list[float]]:
    """Return the numbers of a finished run, and its best model's losses by document, of validation and test text.

    The best checkpoint may be lost, its epoch is not.
    """
    history = training.progress.history
    best, last = min(history, key=lambda row: row["val_loss"]), history[-1]
    numbers = {
        "val_ppl": perplexity(best[LOSS]),
        LOSS: best[LOSS],
        "val_accuracy": best["val_accuracy"],
        "train_loss_at_best": best["train_loss_token"],
        "gap": best[LOSS] - best["train_loss_token"],
        "val_loss_last": last[LOSS],
        "train_loss_last": last["train_loss_token"],
        "gap_last": last[LOSS] - last["train_loss_token"],
        "best_epoch": float(best["epoch"]),
        "epochs": float(len(history)),
        "updates": float(training.progress.updates),
    }
    if data.bigram_loss is not None and data.bayes_loss is not None:
        numbers["context_recovered"] = context_recovered(data.bigram_loss, best[LOSS], data.bayes_loss)
    if not training.best:
        return numbers, [], []
    for name, tensor in training.best.items():
        model.parameters[name].copy_(tensor)
    valid, test = document_sums(model, data, 1), document_sums(model, data, 2) if data.text.test else []
    if test:
        numbers[TEST_LOSS] = math.fsum(test) / sum(data.test_counts)
        numbers["test_ppl"] = perplexity(numbers[TEST_LOSS])
        if not math.isfinite(numbers["test_ppl"]):
            raise Diverged(training.progress.updates)
    return numbers, valid, test


def document_sums(model: FixedContextLM, data: ContextDataset, number: int) -> list[float]:
    """Return a model's loss on a stream of the text, summed over each of its documents."""
    parts = torch.split(model.windows(number, data.text.unknown), judged_at_once(data))
    losses = torch.cat([model.judge(part[:, :-1], part[:, 1:]).losses[:, 0] for part in parts])
    return by_document(data.text.streams[number], losses).tolist()
