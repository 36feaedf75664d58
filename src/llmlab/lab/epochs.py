"""The loop over epochs that trains a language model on windows, and goes on to the bit where it was stopped.

What an update does depends on (parameters, optimiser, update number) and on nothing else: order and dropout are
functions of the update (``lab.rng``), so a checkpoint between any two updates continues exactly.
A team of processes (``team``) shares the rows of every batch; all its members make the same updates.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmlab.errors import Stopped
from llmlab.lab.checkpoint import CheckpointFolder, State
from llmlab.lab.device import measure
from llmlab.lab.language import WINDOWS, Judging, LanguageModel, Place, evaluate
from llmlab.lab.optimizer import clip, optimizer_named
from llmlab.lab.rng import shuffled
from llmlab.lab.steps import Diverged, OnStep
from llmlab.lab.team import Team
from llmlab.settings import BaselineSettings, ContextSettings

LEAST_GAIN = 0.001
"""An epoch counts against early stopping unless its loss is lower by this much than that of the last one that did not
(document 001 of the original notes)."""

WARM_UP = 0.1
"""Share of the updates in which the one-cycle rate climbs to its peak."""

LAST_SHARE = 0.01
"""Share of the peak at which the one-cycle rate ends."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an update, beside model and text.

    ``clip`` is ``adaptive`` (0.5, from the 11th epoch 1.0, from the 31st 2.0), ``none``, or a number.
    ``round_updates`` cuts a run by updates instead of passes over the text: ``epochs`` then counts rounds of so many
    updates, each judged like an epoch; the order of the windows and the adaptive clip still go by passes.
    ``embedding_lr`` is the rate of a parameter called ``embedding``, as a share of the others'.
    """

    epochs: int
    batch: int
    lr: float
    seed: int = 0
    schedule: str = "constant"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: str = "adaptive"
    patience: int = 10
    round_updates: int = 0
    embedding_lr: float = 1.0

    @classmethod
    def of(cls, settings: BaselineSettings | ContextSettings, seed: int) -> "Recipe":
        """Return how a run of one seed is trained under the settings, whose names are the recipe's own."""
        named = {each.name: getattr(settings, each.name) for each in fields(cls) if hasattr(settings, each.name)}
        return cls(**named | {"seed": seed})

    def rate(self, update: int, planned: int) -> float:
        """Return the learning rate of an update, counted from 0.

        ``constant``, or ``one-cycle``: a straight climb, then half a cosine down.
        """
        if self.schedule == "constant":
            return self.lr
        climb = max(1.0, WARM_UP * planned)
        if update < climb:
            return self.lr * (update + 1) / (climb + 1)
        way = (update - climb) / max(1.0, planned - climb)
        return self.lr * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * way)) / 2)

    def largest_norm(self, epoch: int) -> float:
        """Return the norm to which gradients are clipped in an epoch, counted from 0."""
        if self.clip == "none":
            return math.inf
        if self.clip == "adaptive":
            return 0.5 if epoch < 10 else 1.0 if epoch < 30 else 2.0
        return float(self.clip)


UNBEATEN = sys.float_info.max
"""The loss before there is one: JSON has no infinity."""


@dataclass
class Progress:
    """Where a run is, as plain values: with parameters and optimiser, all that a checkpoint needs."""

    updates: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)  # one row per finished epoch
    running: dict[str, float] = field(default_factory=dict)  # sums over the epoch so far
    best_loss: float = UNBEATEN
    best_epoch: int = 0
    best_score: dict[str, Any] = field(default_factory=dict)  # the Score of the best epoch
    bar: float = UNBEATEN  # the loss that early stopping compares with
    waited: int = 0


@dataclass(eq=False)
class Training:
    """One run: changes a model in place on the windows to ``train`` on, and judges it on the ``valid`` ones, (N, L).

    ``identity`` are plain values that say whose checkpoints these are, saved with them: into ``folder``, if there is
    one, at the end of an epoch and when ``save_seconds`` have passed.  Of a ``team`` only the first process has one.
    ``mask_gradients`` changes an update's gradients in place before they are clipped, to hold parts still.
    ``documents``, (N,), are those of the validation windows, for the sums over documents in the best score.
    """

    model: LanguageModel
    train: Tensor
    valid: Tensor
    recipe: Recipe
    folder: CheckpointFolder | None = None
    identity: State = field(default_factory=dict)
    save_seconds: float = 600.0
    team: Team = field(default_factory=Team)
    mask_gradients: Callable[[dict[str, Tensor]], None] | None = None
    judging: Judging = WINDOWS
    documents: Tensor | None = None

    def __post_init__(self) -> None:
        recipe = self.recipe
        shares = {"embedding": recipe.embedding_lr}
        self.optimizer = optimizer_named(recipe.optimizer, recipe.lr, recipe.weight_decay, shares)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}  # the parameters of the best epoch
        self.pass_updates = -(-len(self.train) // recipe.batch)  # updates of a pass over the text
        self.epoch_updates = recipe.round_updates or self.pass_updates
        self.planned = self.epoch_updates * recipe.epochs
        self._order: tuple[int, Tensor] = (-1, self.train)  # an epoch and its order
        self._consistent = True  # false while parameters and progress are of different moments
        self._read = 0  # targets, by this process

    def run(self, on_step: OnStep | None = None) -> None:
        """Train to the last epoch, or until early stopping ends it.

        Raises:
            Diverged: a loss or a gradient is not finite; the last good checkpoint stands.
            Stopped: ``on_step`` raised it; a checkpoint was written first.
            WriteError: a checkpoint could not be written.
        """
        if not self.finished():
            self._settle_threads()
        started, before = time.monotonic(), self.progress.seconds
        saved = started

        def step(told: str = "") -> None:
            self.progress.seconds = before + time.monotonic() - started
            try:
                if on_step:
                    on_step(self.progress.updates, self.planned, told)
            except Stopped as asked:
                if self.team.size == 1:
                    raise
                self.team.asked = asked  # the next sum tells the others, and then all stop

        try:
            while not self.finished():
                if self.progress.updates >= self.epoch_updates * (len(self.progress.history) + 1):
                    self._end_epoch(step)
                    saved = time.monotonic()
                    continue
                self._update()
                step(self._told(time.monotonic() - started))
                if time.monotonic() - saved > self.save_seconds:
                    self.save()
                    saved = time.monotonic()
            self.team.asked = None  # too late to stop what is done
        except (Stopped, KeyboardInterrupt) as stop:
            if self._consistent:
                self.save()
            if isinstance(stop, Stopped):
                stop.kept = self.folder is not None and self.folder.has_checkpoints()
            if self.team.agreed:
                self.team.share()  # nobody goes before the first process has saved
            raise

    def _settle_threads(self) -> None:
        """Let the gradient of the first rows, whose products an update makes, decide how many threads there are."""
        rows, place = self.train[: min(self.recipe.batch, self.judging.rows_at_once)], Place(self.recipe.seed, 0, 0)

        def trial(some: Tensor) -> None:
            self.model.gradients(some[:, :-1], some[:, 1:], count=some.numel(), place=place)

        measure(self.model.parameters, rows, trial)
        if self.identity:
            self.identity["threads"] = torch.get_num_threads()

    def finished(self) -> bool:
        """Return whether there is nothing left to do."""
        progress = self.progress
        return len(progress.history) >= self.recipe.epochs or progress.waited >= self.recipe.patience

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint, if this run keeps any."""
        if self.folder:
            self.folder.save(self.state(), self.progress.updates, best=best)

    def state(self) -> State:
        """Return all that ``restore`` needs; tensors are not copied."""
        trained = {"model": self.model.parameters, "optimizer": self.optimizer.state()}
        return {**self.identity, **trained, "progress": vars(self.progress)}

    def restore(self, state: State, best: State | None = None) -> None:
        """Go back to where a checkpoint's ``state`` was taken; the identity is the caller's to compare.

        A kill between the last and the ``best`` checkpoint leaves that one an epoch behind, and then ``state`` is the
        best; if it is lost, the best of what is still to come takes its place.
        """
        for name, tensor in state["model"].items():
            self.model.parameters[name].copy_(tensor)
        self.optimizer.restore(state["optimizer"], next(iter(self.model.parameters.values())).device)
        self.progress = progress = Progress(**state["progress"])
        self.best = {}
        if progress.best_epoch == 0:
            return
        if best is not None and best["progress"]["best_epoch"] == progress.best_epoch:
            self.best = dict(best["model"])
        elif progress.best_epoch * self.epoch_updates == progress.updates:
            self.best = dict(state["model"])
        else:
            progress.best_loss, progress.best_epoch, progress.best_score = UNBEATEN, 0, {}

    def _update(self) -> None:
        """Make one update: the gradient of the next batch, clipped, and the optimiser's step."""
        recipe, update = self.recipe, self.progress.updates
        epoch = update // self.pass_updates
        batch = self._batch(epoch, update % self.pass_updates)
        loss, gradients, targets = self._gradients(batch, update)
        if self.mask_gradients:
            self.mask_gradients(gradients)
        norm = clip(gradients, recipe.largest_norm(epoch))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(update + 1)
        self._consistent = False
        self.optimizer.lr = recipe.rate(update, self.planned)
        self.optimizer.update(self.model.parameters, gradients)
        # by windows, as the original notes averaged, and by targets
        sums: dict[str, float] = {"windows": len(batch), "targets": targets}
        sums |= {f"loss_{what}": loss * number for what, number in sums.items()}
        running = self.progress.running
        self.progress.running = {name: running.get(name, 0.0) + value for name, value in sums.items()}
        self._read += targets
        self.progress.updates += 1
        self._consistent = True

    def _batch(self, epoch: int, number: int) -> Tensor:
        """Return the numbered batch of an epoch: (B, L)."""
        if self._order[0] != epoch:
            self._order = epoch, shuffled(self.recipe.seed, epoch, len(self.train))
        return self.train[self._order[1][number * self.recipe.batch : (number + 1) * self.recipe.batch]]

    def _gradients(self, batch: Tensor, update: int) -> tuple[float, dict[str, Tensor], int]:
        """Return the mean loss of a batch, its gradients, and its number of targets; all over the whole team."""
        inputs, targets = batch[:, :-1], batch[:, 1:]
        count = int((targets != self.judging.padding).sum())
        total, gradients = 0.0, dict[str, Tensor]()
        mine = self.team.rows(len(batch))
        for first in range(mine.start, mine.stop, self.judging.rows_at_once):
            rows = slice(first, min(first + self.judging.rows_at_once, mine.stop))
            place = Place(self.recipe.seed, update, first)
            loss, part = self.model.gradients(inputs[rows], targets[rows], count=count, place=place)
            total += float(loss)
            gradients = {name: part[name] + gradients[name] for name in part} if gradients else part
        if self.team.size == 1:
            return total, gradients, count
        whole = {name: gradients.get(name, torch.zeros_like(zero)) for name, zero in self.model.parameters.items()}
        losses = next(iter(whole.values())).new_tensor([total])
        self.team.add([losses, *whole.values()])
        return float(losses), whole, count

    def _end_epoch(self, step: Callable[[str], None]) -> None:
        """Judge the validation windows, write down the epoch, and save.

        The best model is kept without a margin, and a better one is waited for with one: the original notes' two rules.
        """
        say, batch = partial(step, "validating"), self.recipe.batch
        found = evaluate(self.model, self.valid, batch, say, self.team, self.judging, self.documents)
        progress, running, loss = self.progress, self.progress.running, found.loss_batch_mean
        if not found.finite:
            raise Diverged(progress.updates)
        self._consistent = False
        row = {
            "epoch": len(progress.history) + 1,
            "updates": progress.updates,
            "train_loss": running["loss_windows"] / running["windows"],
            "train_loss_token": running["loss_targets"] / running["targets"],
            "val_loss": loss,
            "val_loss_token": found.loss,
            "val_accuracy": found.accuracy,
            "val_accuracy_batch_mean": found.accuracy_batch_mean,
            "val_accuracy_known": found.accuracy_known,
            "train_targets": running["targets"],
            "seconds": progress.seconds,
        }
        progress.history.append(row)
        progress.running = {}
        if best := loss < progress.best_loss:
            progress.best_loss, progress.best_epoch, progress.best_score = loss, len(progress.history), asdict(found)
            self.best = {name: tensor.clone() for name, tensor in self.model.parameters.items()}
        progress.waited += 1
        if loss <= progress.bar - LEAST_GAIN:
            progress.bar, progress.waited = loss, 0
        self._consistent = True
        self.save(best=best)

    def _told(self, seconds: float) -> str:
        """Return a few words on how it goes; ``seconds`` are those of this process."""
        running, recipe = self.progress.running, self.recipe
        loss = running["loss_targets"] / max(running["targets"], 1)  # a small batch may have none
        epoch = len(self.progress.history) + 1
        word = "round" if recipe.round_updates else "epoch"
        return f"{word} {epoch} of {recipe.epochs}, loss {loss:.3f}, {self._read / seconds:,.0f} tokens/s"
