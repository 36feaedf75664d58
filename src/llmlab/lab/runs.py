"""What is kept of one run of a language model on windows: the rows of its epochs and its scores.

Here stands too what document 001 of the original notes recorded, and how a run of its conditions lies to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from llmlab.errors import Stopped
from llmlab.lab.epochs import Training
from llmlab.lab.folders import checkpointed
from llmlab.lab.steps import OnStep, kept_in
from llmlab.lab.study import Run
from llmlab.measure.score import Score, perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Scalar
from llmlab.settings import BaselineSettings


@dataclass(frozen=True, kw_only=True)
class LanguageRun(Run):
    """What is kept of one seed.

    ``score`` is of the best epoch on the validation windows, which chose it; ``test_score`` of the same parameters on
    the test windows, used for no choice.  A run that was stopped has only the first.
    """

    parameters: int
    best_epoch: int
    score: Score
    test_score: Score | None = None
    anew: bool = True  # false if it was found finished

    @property
    def updates(self) -> int:
        """How many updates it made."""
        return int(self.history[-1]["updates"])

    @property
    def seconds_per_epoch(self) -> list[float]:
        """What each epoch took, validation and saving included."""
        ends = [0.0, *(row["seconds"] for row in self.history)]
        return [end - start for start, end in pairwise(ends)]

    def ppl_after(self, epochs: int) -> float:
        """Return the PPL of the best of the first epochs, by the loss per token."""
        return perplexity(min(row["val_loss_token"] for row in self.history[:epochs]))

    def best_within(self, epochs: int) -> dict[str, float]:
        """Return the row of the best of the first epochs, by the loss that chooses the best epoch."""
        return min(self.history[:epochs], key=lambda row: row["val_loss"])

    def at_time(self, seconds: float, what: str) -> float | None:
        """Return a column of the history at a time: on the straight line between the ends of two epochs.

        Before the end of the first it is ``None``, for nothing has been measured; after the last, its value.
        """
        if seconds < self.history[0]["seconds"]:
            return None
        for before, after in pairwise(self.history):
            if seconds < after["seconds"]:
                share = (seconds - before["seconds"]) / (after["seconds"] - before["seconds"])
                return before[what] + share * (after[what] - before[what])
        return self.history[-1][what]


def common_epochs(runs: list[LanguageRun]) -> int:
    """Return how many epochs every run has: fewer than asked for where early stopping spared one some."""
    return min(len(run.history) for run in runs)


def median_seconds(runs: list[LanguageRun]) -> float:
    """Return what an epoch took, the median over all epochs of all runs."""
    return median(seconds for run in runs for seconds in run.seconds_per_epoch)


def first_done(models: Mapping[str, list[LanguageRun]], seed: int) -> float:
    """Return the seconds after which the fastest model of a seed had finished its run."""
    return min(run.history[-1]["seconds"] for runs in models.values() for run in runs if run.seed == seed)


def epochs_in_equal_time(arms: Mapping[str, list[LanguageRun]]) -> dict[str, int]:
    """Return by arm how many whole epochs it makes while the fastest one makes all that every run has."""
    most = common_epochs([run for runs in arms.values() for run in runs])
    seconds = {name: median_seconds(runs) for name, runs in arms.items()}
    least = min(seconds.values())
    return {name: min(most, int(most * least / max(own, 1e-9) + 1e-9)) for name, own in seconds.items()}


def run_or_resume(
    training: Training, settings: BaselineSettings, ours: dict[str, Any], name: str, on_step: OnStep | None = None
) -> tuple[list[Text], BaseException | None, bool]:
    """Train a run in its folder of checkpoints, from where it was if that is wanted; see ``folders.checkpointed``.

    Returns what to say of it, what stopped it, and whether there was an update left; a stop before the end of the first
    epoch is raised.
    """
    stop: BaseException | None = None
    ours |= {"processes": training.team.size}
    with checkpointed(training, settings, ours, name) as (notes, gone_on_from):
        notes += resumed(ours, gone_on_from) if gone_on_from else []
        if training.team.size > 1:
            notes.insert(0, say("run.processes", processes=training.team.size))
        if training.folder:
            kept_in(on_step, training.folder.folder)
        before = training.progress.updates
        try:
            training.run(on_step)
        except (Stopped, KeyboardInterrupt) as stopped:
            if not training.progress.history:
                raise
            stop = stopped
    if settings.precision not in ("auto", ours["precision"]):
        notes.append(say("run.precision", precision=ours["precision"], asked=settings.precision))
    return notes, stop, training.progress.updates > before


def resumed(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Text]:
    """Return where a run was taken up, and what makes it differ from an uninterrupted one in the last bits."""
    told: list[Text] = [say("run.resumed", updates=theirs["progress"]["updates"])]
    for what in ("precision", "threads", "processes"):
        before = theirs.get(what, 1 if what == "processes" else None)
        if before != ours[what]:
            told.append(say("run.not_to_the_bit", what=what, now=str(ours[what]), before=str(before)))
    return told


CONDITIONS = (
    *("data", "vocabulary", "length", "embedding", "hidden", "context", "stack", "init", "dropout"),
    *("batch", "lr", "schedule", "optimizer", "clip", "model", "layers"),
)
"""The settings in which a run has to be like document 001's to be held against its numbers."""


LOSSES = (
    *(3.8836, 3.8053, 3.7398, 3.6814, 3.6028, 3.5286, 3.4811, 3.4435, 3.4111, 3.3845, 3.3532, 3.3201, 3.2928, 3.2739),
    *(3.2595, 3.2443, 3.2334, 3.2236, 3.2175, 3.2015, 3.1937, 3.1893, 3.1780, 3.1723, 3.1649, 3.1563, 3.1501),
)
"""The validation losses of epochs 1 to 27 that it recorded."""


def repeats_the_notes(settings: BaselineSettings) -> bool:
    """Return whether a run has the conditions of document 001, for however many epochs."""
    theirs = BaselineSettings(preset="original")
    return all(getattr(settings, name) == getattr(theirs, name) for name in CONDITIONS)


def beside_the_notes(run: LanguageRun) -> dict[str, Scalar]:
    """Return how a run's curve lies to the one that document 001's author recorded, as metrics.

    How many of its epochs there are, the perplexity's largest difference as a share, and how many did not improve.
    """
    ours = [row["val_loss"] for row in run.history[: len(LOSSES)]]
    ratios = [perplexity(mine) / perplexity(theirs) - 1 for mine, theirs in zip(ours, LOSSES, strict=False)]
    rises = sum(later >= earlier for earlier, later in pairwise(ours))
    return {"curve_epochs": len(ours), "curve_farthest": max(ratios, key=abs), "curve_rises": rises}
