"""Stage 2: the token block of one arm and seed, trained on fixed contexts.

Covers one run from its start to what is kept of it.  Leaves out the contexts, ``stage1``, and the loop over
epochs, ``lab.epochs``.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from llmlab.contexts.arms import Arm
from llmlab.contexts.stage1 import Contexts
from llmlab.contexts.task import ContextTask
from llmlab.fast.fixed_context_lm import NOT_SCORED, FixedContextLM
from llmlab.lab.checkpoint import BYTES_KEPT, CheckpointFolder
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.epochs import Training
from llmlab.lab.folders import identity, run_folder, to_resume
from llmlab.lab.judging import Judging
from llmlab.lab.language import parameter_count
from llmlab.lab.recipe import Recipe
from llmlab.lab.steps import OnStep
from llmlab.measure.score import perplexity
from llmlab.settings import ContextSettings

LOGITS_AT_ONCE, FEWEST_ROWS, MOST_ROWS = 2**25, 256, 4_096
"""A batch is read in parts small enough to keep about this many logits in memory."""

CLIP = "1.0"
"""The longest gradient, as in the seed documents' code."""


@dataclass(frozen=True)
class ArmRun:
    """What is kept of one finished run.

    ``numbers`` are the headline metrics, ``losses`` and ``train_losses`` the loss per token of each epoch, ``tokens``
    those that were trained on.  ``trainable`` counts the parameters of the token side that learn, ``total`` all there
    are, the context block's too; ``drift`` is how far the contexts moved.  ``valid_sums`` and ``test_sums`` are the
    losses of the best epoch's model summed over each document, empty where that model was lost.
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
    valid_sums: list[float] = field(default_factory=list)
    test_sums: list[float] = field(default_factory=list)


def built(settings: ContextSettings, task: ContextTask, arm: Arm, contexts: Contexts, seed: int) -> FixedContextLM:
    """Return a fresh model of an arm on fixed contexts, which it shares with the other arms."""
    size = replace(contexts.size, layerwise=arm.reading == "after")
    after = contexts.after
    device = after.device
    return FixedContextLM.initial(
        size,
        contexts.block | {"embedding": contexts.embedding},
        torch.cat([stream.tokens for stream in task.text.streams]).to(device),
        after if arm.reading != "none" else after.new_zeros(1, size.context).expand_as(after),
        seed,
        tied=arm.tied,
        trains_embedding=arm.learns_embedding,
        starts=tuple(accumulate((len(stream.tokens) for stream in task.text.streams[:-1]), initial=0)),
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
    tail: int = 0,
) -> Training:
    """Return the training of a model before its first update.

    Without a folder it leaves no checkpoints.  ``tail`` is a position in the training text from which on that text is
    not trained on, but takes the place of the validation text.
    """
    rows, valid = (_windows(model, task, number) for number in (0, 1))
    if tail:
        rows, valid = rows[: tail - 1], rows[tail - 1 :]  # a row is named after the token before its target
    return Training(
        model,
        rows,
        valid,
        Recipe(
            settings.epochs,
            settings.batch,
            settings.lr,
            seed,
            clip=CLIP,
            patience=settings.patience,
            embedding_lr=settings.embedding_lr,
        ),
        folder,
        ours,
        save_seconds=60 * settings.save_minutes,
        judging=Judging(NOT_SCORED, NOT_SCORED, _rows_at_once(task)),
    )


def _windows(model: FixedContextLM, task: ContextTask, number: int) -> Tensor:
    """Return a stream of the text as a model's rows."""
    return model.windows(number, task.text.scored(task.text.streams[number]))


def _rows_at_once(task: ContextTask) -> int:
    return max(FEWEST_ROWS, min(MOST_ROWS, LOGITS_AT_ONCE // task.text.vocabulary))


def document_sums(model: FixedContextLM, task: ContextTask, number: int) -> list[float]:
    """Return a model's loss on a stream of the text, summed over each of its documents."""
    parts = torch.split(_windows(model, task, number), _rows_at_once(task))
    losses = torch.cat([model.judge(part[:, :-1], part[:, 1:]).losses[:, 0] for part in parts])
    return task.by_document(task.text.streams[number], losses).tolist()


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
    valid_sums, test_sums = _by_document(task, model, training)
    if test_sums:
        numbers["test_loss_token"] = math.fsum(test_sums) / sum(task.test_counts)
        numbers["test_ppl"] = perplexity(numbers["test_loss_token"])
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
        valid_sums=valid_sums,
        test_sums=test_sums,
    )


def _by_document(task: ContextTask, model: FixedContextLM, training: Training) -> tuple[list[float], list[float]]:
    """Return what the best epoch's model loses on each document, to validate and to test; nothing if it was lost."""
    if not training.best:
        return [], []
    for name, tensor in training.best.items():
        model.parameters[name].copy_(tensor)
    return document_sums(model, task, 1), document_sums(model, task, 2) if task.text.test else []
