"""What every training loop shares: how it tells of its steps, and how it ends when numbers stop being finite."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from llmlab.report.result import Figure

Picture = Callable[[], Figure]
"""Makes the picture of how training stands, from where it is when called; changes nothing."""


class OnStep(Protocol):
    """What is called after each update, and now and then in between: to show progress, or to stop the run."""

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update (from 1), of how many are planned, and of a few words on how it goes."""


@runtime_checkable
class Watcher(Protocol):
    """An ``on_step`` that shows a picture of the training, now and then, when it is called."""

    def watch(self, picture: Picture | None) -> None:
        """Take note of what makes the picture from now on; ``None`` leaves the last one."""


def watched(on_step: OnStep | None, picture: Picture | None) -> None:
    """Hand what makes a picture to an ``on_step`` that shows one; any other needs none."""
    if isinstance(on_step, Watcher):
        on_step.watch(picture)


class Part:
    """The ``on_step`` of one training of ``most`` updates, which count on from ``before`` in a whole of ``total``."""

    def __init__(self, on_step: OnStep | None, before: int, most: int, total: int, label: str = "") -> None:
        self.on_step, self.before, self.most, self.total, self.label = on_step, before, most, total, label

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update of this part."""
        if self.on_step:
            self.on_step(self.before + min(update, self.most), self.total, self.label + told)

    def watch(self, picture: Picture | None) -> None:
        """Hand the picture of this part on."""
        watched(self.on_step, picture)


class OneOfSeveral:
    """The ``on_step`` of one of several trainings of equal length, ``before`` of ``runs`` of which are done."""

    def __init__(self, on_step: OnStep | None, before: int, runs: int, label: str = "") -> None:
        self.on_step, self.before, self.runs, self.label = on_step, before, runs, label

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update of this training."""
        if self.on_step:
            self.on_step(self.before * planned + update, self.runs * planned, self.label + told)

    def watch(self, picture: Picture | None) -> None:
        """Hand the picture of this training on."""
        watched(self.on_step, picture)


class Diverged(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A loss, a gradient, or the norm of a parameter after the last update is no longer a finite number."""

    def __init__(self, update: int) -> None:
        super().__init__(f"diverged at update {update}")
        self.update = update
