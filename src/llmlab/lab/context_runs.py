"""One run of chapters 5 and 6: what is to be trained, as data, its training with checkpoints, and what is kept."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from llmlab.fast.fixed_context_lm import NOT_SCORED, FixedContextLM
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.context_text import ContextDataset
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.folders import checkpointed, identity
from llmlab.lab.language import Judging, parameter_count
from llmlab.lab.steps import Diverged, OnStep
from llmlab.lab.study import Arm, Run, Runs
from llmlab.measure.score import perplexity
from llmlab.report.messages import Text
from llmlab.settings import ContextSettings

LOGITS_AT_ONCE, FEWEST_ROWS, MOST_ROWS = 2**25, 256, 4_096
"""A batch is read in parts small enough to keep about this many logits in memory."""

CLIP = "1.0"
"""The longest gradient, as in the original notes' code."""

LOSS, TEST_LOSS = "val_loss_token", "test_loss_token"
"""The number of a run that arms are compared by, and the same on the test text, by which nothing is chosen."""


# ---- what is to be trained --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ContextSpec:
    """A context block and how it is trained; equal ones have equal contexts.

    ``vectors`` says which embedding it reads: ``pretrained`` or ``random``.  ``wiring``, ``widths`` as in the settings.
    ``stops``: its training is over as soon as nearly every context stays where it is; otherwise it makes every pass.
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
    def of(cls, settings: ContextSettings, *, vectors: str = "pretrained") -> "ContextSpec":
        """Return the context block that the settings name."""
        own = {name: getattr(settings, name) for name in ("layers", "wiring", "widths", "noise", "tokens")}
        return cls(trained=settings.block == "trained", vectors=vectors, **own)

    @property
    def name(self) -> str:
        """What its file is called."""
        made = f"noise{self.noise:g}{'' if self.stops else '-every-pass'}" if self.trained else "untrained"
        return f"{self.vectors}-L{self.layers}-{self.wiring}-{self.widths}-{made}-{self.tokens}"

    def size(self, settings: ContextSettings, embedding: Tensor) -> BlockSize:
        """Return the sizes of both blocks; which contexts the token block reads is the arm's to say."""
        width = embedding.shape[1]
        return BlockSize(width, settings.context, self.layers, settings.inputs, self.wiring, self.widths)


@dataclass(frozen=True, kw_only=True)
class ArmSpec(Arm):
    """One thing to train: ``name`` ends its metrics and its folder, ``label`` stands in tables."""

    contexts: ContextSpec
    reading: str = "after"
    tied: bool = True
    trains_embedding: bool = False


@dataclass(frozen=True)
class FixedPointRecipe:
    """How Stage 1 trains its block; the defaults are those of the original notes.

    ``iterations`` counts the first one, which learns nothing: it is the pass through the text.  ``weight`` is that of
    the diversity: 0 has none of it, 1 nothing else.  A position has converged when its context's mean squared change is
    below ``near``; training stops once the share ``enough`` of positions has, though not in the second iteration, which
    finds nothing moved.  ``clip`` is the largest gradient norm.
    """

    iterations: int = 10
    lr: float = 0.002
    noise: float = 0.1
    weight: float = 0.5
    near: float = 0.03
    enough: float = 0.95
    batch: int = 4096
    clip: float = 1.0
    seed: int = 0


# ---- what Stage 1 leaves ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What is kept of the contexts of a spec and seed when they themselves are let go.

    ``ranks`` are effective ranks as shares of the width: of ``train`` and ``valid``, and of ``untrained``, the same
    block before it was trained.  ``rows`` are the passes of its training, ``converged`` the share of the last.
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
    converged: float | None


@dataclass(frozen=True, eq=False)
class TrainedBlock:
    """A trained context block, the passes of its training, and the effective rank of the contexts before it.

    Kept as a checkpoint, its parameters as the ``model``.
    """

    block: dict[str, Tensor]
    rows: list[dict[str, float]]
    rank: float


@dataclass(frozen=True, eq=False)
class Contexts:
    """The fixed contexts of a spec and seed: (n, c), after each token of the text's streams, one after the other."""

    size: BlockSize
    block: dict[str, Tensor]
    embedding: Tensor  # that the block reads
    after: Tensor
    measured: Measured


# ---- one run ----------------------------------------------------------------------------------------------------


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


def train_arm(
    settings: ContextSettings,
    data: ContextDataset,
    arm: ArmSpec,
    model: FixedContextLM,
    seed: int,
    on_step: OnStep | None = None,
) -> ArmRun:
    """Train one arm with one seed, or go on with it; ``settings`` are of this run alone, and the model is fresh."""
    precision = chosen_precision(settings.precision, device_of(settings.device), settings.context)
    training = training_of(settings, data, model, seed)
    ours = identity(as_settings(settings, arm), seed, data.digest, data.text.name, precision)
    with checkpointed(training, settings, ours, settings.experiment) as (notes, _):
        training.run(on_step)
    return _kept_of(training, data, model, precision, notes)


def training_of(
    settings: ContextSettings,
    data: ContextDataset,
    model: FixedContextLM,
    seed: int,
    tail: int = 0,
) -> Training:
    """Return the training of a model before its first update.

    From the position ``tail`` on the training text is not trained on, but takes the place of the validation text.
    """
    rows, valid = (_windows(model, data, number) for number in (0, 1))
    if tail:
        rows, valid = rows[: tail - 1], rows[tail - 1 :]  # a row is named after the token before its target
    recipe = replace(Recipe.of(settings, seed), clip=CLIP)
    judging = Judging(NOT_SCORED, NOT_SCORED, _rows_at_once(data))
    return Training(model, rows, valid, recipe, save_seconds=60 * settings.save_minutes, judging=judging)


def as_settings(settings: ContextSettings, arm: ArmSpec) -> dict[str, Any]:
    """Return the settings as one run sees them: where arms differ, the arm's own."""
    own = {"reading": arm.reading, "tied": arm.tied, "learns_embedding": arm.trains_embedding, "schedule": "constant"}
    return settings.document() | vars(arm.contexts) | own


def document_sums(model: FixedContextLM, data: ContextDataset, number: int) -> list[float]:
    """Return a model's loss on a stream of the text, summed over each of its documents."""
    parts = torch.split(_windows(model, data, number), _rows_at_once(data))
    losses = torch.cat([model.judge(part[:, :-1], part[:, 1:]).losses[:, 0] for part in parts])
    return data.by_document(data.text.streams[number], losses).tolist()


def _windows(model: FixedContextLM, data: ContextDataset, number: int) -> Tensor:
    """Return a stream of the text as a model's rows."""
    return model.windows(number, data.text.scored(data.text.streams[number]))


def _rows_at_once(data: ContextDataset) -> int:
    return max(FEWEST_ROWS, min(MOST_ROWS, LOGITS_AT_ONCE // data.text.vocabulary))


def _kept_of(
    training: Training, data: ContextDataset, model: FixedContextLM, precision: str, notes: list[Text]
) -> ArmRun:
    """Return what is kept of a finished run."""
    history = training.progress.history
    # the best checkpoint may be lost, its epoch is not
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
    if (recovered := data.context_recovered(best[LOSS])) is not None:
        numbers["context_recovered"] = recovered
    sums: list[list[float]] = [[], []]
    if training.best:
        for name, tensor in training.best.items():
            model.parameters[name].copy_(tensor)
        sums = [document_sums(model, data, 1), document_sums(model, data, 2) if data.text.test else []]
    if sums[1]:
        numbers[TEST_LOSS] = math.fsum(sums[1]) / sum(data.test_counts)
        numbers["test_ppl"] = perplexity(numbers[TEST_LOSS])
        if not math.isfinite(numbers["test_ppl"]):
            raise Diverged(training.progress.updates)
    trainable = parameter_count(model)
    return ArmRun(
        seed=training.recipe.seed,
        numbers=numbers,
        history=history,
        precision=precision,
        notes=notes,
        tokens=len(data.text.train.tokens),
        trainable=trainable,
        total=trainable + model.size.context_parameters() + (0 if model.trains_embedding else data.embedding.numel()),
        drift=model.context_drift(),
        tokens_per_second=sum(row["train_targets"] for row in history) / max(last["seconds"], 1e-9),
        valid_sums=sums[0],
        test_sums=sums[1],
    )
