"""Stage 2: the token block of one arm and seed, trained on fixed contexts.

Covers one run from its start to what is kept of it.  Leaves out the contexts, ``stage1``, and the loop over
epochs, ``train.epochs``.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from llmlab.contexts.arms import Arm
from llmlab.contexts.stage1 import Contexts
from llmlab.contexts.task import ContextTask
from llmlab.measure.score import perplexity
from llmlab.model.fixed_context_lm import NOT_SCORED, FixedContextLM
from llmlab.model.language import parameter_count
from llmlab.settings import ContextSettings
from llmlab.train.checkpoint import BYTES_KEPT, CheckpointFolder
from llmlab.train.device import chosen_precision, device_of
from llmlab.train.epochs import Training
from llmlab.train.fit import OnStep
from llmlab.train.folders import identity, run_folder, to_resume
from llmlab.train.judging import Judging
from llmlab.train.recipe import Recipe

LOGITS_AT_ONCE, FEWEST_ROWS, MOST_ROWS = 2**25, 256, 4_096
"""A batch is read in parts small enough to keep about this many logits in memory."""

CLIP = "1.0"
"""The longest gradient, as in the seed documents' code."""


@dataclass(frozen=True)
class ArmRun:
    """What is kept of one finished run.

    ``numbers`` are the headline metrics, ``losses`` and ``train_losses`` the loss per token of each epoch, ``tokens``
    those that were trained on.  ``trainable`` counts the parameters of the token side that learn, ``total`` all there
    are, the context block's too; ``drift`` is how far the contexts moved.
    """

    seed: int
    numbers: dict[str, float]
    losses: list[float]
    train_losses: list[float]
    tokens: int
    trainable: int
    total: int
    drift: float
    precision: str
    tokens_per_second: float
    notes: list[str] = field(default_factory=list)


def built(settings: ContextSettings, task: ContextTask, arm: Arm, contexts: Contexts, seed: int) -> FixedContextLM:
    """Return a fresh model of an arm on fixed contexts, which it shares with the other arms."""
    size = replace(contexts.size, layerwise=arm.reading == "after")
    after = contexts.after
    device = after.device
    return FixedContextLM.initial(
        size,
        contexts.block | {"embedding": contexts.embedding},
        torch.cat([task.text.train.tokens, task.text.valid.tokens]).to(device),
        after if arm.reading != "none" else after.new_zeros(1, size.context).expand_as(after),
        seed,
        tied=arm.tied,
        trains_embedding=arm.learns_embedding,
        starts=(0, len(task.text.train.tokens)),
        when="before" if arm.reading in ("before", "none") else "after",
        precision=chosen_precision(settings.precision, device.type, settings.context),
    )


def train_arm(
    settings: ContextSettings,
    task: ContextTask,
    arm: Arm,
    contexts: Contexts,
    seed: int,
    on_step: OnStep | None = None,
) -> ArmRun:
    """Train one arm with one seed, or go on with it.

    Args:
        settings: of this run alone: ``out`` is its folder.
        task: what it reads.
        arm: which.
        contexts: of the arm's design, for this task and seed.
        seed: its number.
        on_step: called after each update.

    Raises:
        Diverged: a number was not finite; the last good checkpoint stands.
        Stopped: ``on_step`` raised it; a checkpoint was written first.
        CheckpointError: the checkpoints cannot be used.
        WriteError: there is no room for them.
    """
    precision = chosen_precision(settings.precision, device_of(settings.device), settings.context)
    ours = identity(of_arm(settings, arm), seed, task, precision)
    folder = run_folder(settings, ours, settings.experiment)
    model = built(settings, task, arm, contexts, seed)
    training = training_of(settings, task, model, seed, folder, ours)
    notes: list[str] = []
    with folder.locked():
        found = to_resume(folder, settings, ours, notes)
        if found:
            training.restore(*found)
        folder.check_space(BYTES_KEPT * parameter_count(model))
        training.run(on_step)
    return _reached(task, model, training, precision, notes)


def training_of(
    settings: ContextSettings,
    task: ContextTask,
    model: FixedContextLM,
    seed: int,
    folder: CheckpointFolder | None = None,
    ours: dict[str, Any] | None = None,
) -> Training:
    """Return the training of a model before its first update; without a folder it leaves no checkpoints."""
    rows = max(FEWEST_ROWS, min(MOST_ROWS, LOGITS_AT_ONCE // task.text.vocabulary))
    return Training(
        model,
        model.windows(0, task.text.scored(task.text.train)),
        model.windows(1, task.text.scored(task.text.valid)),
        Recipe(settings.epochs, settings.batch, settings.lr, seed, clip=CLIP, patience=settings.patience),
        folder,
        ours,
        save_seconds=60 * settings.save_minutes,
        judging=Judging(NOT_SCORED, NOT_SCORED, rows),
    )


def of_arm(settings: ContextSettings, arm: Arm) -> dict[str, Any]:
    """Return the settings as one run sees them: where arms differ, the arm's own."""
    own = {"reading": arm.reading, "tied": arm.tied, "learns_embedding": arm.learns_embedding, "schedule": "constant"}
    return settings.document() | vars(arm.design) | own


def _reached(task: ContextTask, model: FixedContextLM, training: Training, precision: str, notes: list[str]) -> ArmRun:
    progress, history = training.progress, training.progress.history
    # the best checkpoint may be lost, its epoch is not
    best, last = min(history, key=lambda row: row["val_loss"]), history[-1]
    loss = best["val_loss_token"]
    numbers = {
        "val_ppl": perplexity(loss),
        "val_loss_token": loss,
        "val_accuracy": best["val_accuracy"],
        "train_loss_at_best": best["train_loss_token"],
        "gap": loss - best["train_loss_token"],
        "val_loss_last": last["val_loss_token"],
        "train_loss_last": last["train_loss_token"],
        "gap_last": last["val_loss_token"] - last["train_loss_token"],
        "best_epoch": float(best["epoch"]),
        "epochs": float(len(history)),
        "updates": float(progress.updates),
    }
    recovered = task.context_recovered(loss)
    frozen = 0 if "embedding" in model.parameters else task.embedding.numel()
    trainable = parameter_count(model)
    return ArmRun(
        seed=training.recipe.seed,
        numbers=numbers if recovered is None else numbers | {"context_recovered": recovered},
        losses=[row["val_loss_token"] for row in history],
        train_losses=[row["train_loss_token"] for row in history],
        tokens=len(task.text.train.tokens),
        trainable=trainable,
        total=trainable + frozen + model.size.context_parameters(),
        drift=model.context_drift(),
        precision=precision,
        tokens_per_second=sum(row["train_targets"] for row in history) / max(last["seconds"], 1e-9),
        notes=notes,
    )
