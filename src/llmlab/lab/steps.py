"""What every training loop shares: how it tells of its steps, and how it ends when numbers stop being finite."""

from collections.abc import Callable
from pathlib import Path
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
    """An ``on_step`` that also shows a picture of the training, and says where its checkpoints are."""

    def watch(self, picture: Picture | None) -> None:
        """Take note of what makes the picture from now on; ``None`` leaves the last one."""

    def keep(self, folder: Path) -> None:
        """Take note of the folder of a run's checkpoints."""


def watched(on_step: OnStep | None, picture: Picture | None) -> None:
    """Hand what makes a picture to an ``on_step`` that shows one; any other needs none."""
    if isinstance(on_step, Watcher):
        on_step.watch(picture)


def kept_in(on_step: OnStep | None, folder: Path) -> None:
    """Hand the folder of a run's checkpoints to an ``on_step`` that says where they are."""
    if isinstance(on_step, Watcher):
        on_step.keep(folder)


class _Inner:
    """The ``on_step`` of a training within a longer whole, whose own is ``on_step``."""

    def __init__(self, on_step: OnStep | None, label: str) -> None:
        self.on_step, self.label = on_step, label

    def watch(self, picture: Picture | None) -> None:
        """Hand the picture on."""
        watched(self.on_step, picture)

    def keep(self, folder: Path) -> None:
        """Hand the folder on."""
        kept_in(self.on_step, folder)


class Part(_Inner):
    """The ``on_step`` of one training of ``most`` updates, which count on from ``before`` in a whole of ``total``."""

    def __init__(self, on_step: OnStep | None, before: int, most: int, total: int, label: str = "") -> None:
        super().__init__(on_step, label)
        self.before, self.most, self.total = before, most, total

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update of this part."""
        if self.on_step:
            self.on_step(self.before + min(update, self.most), self.total, self.label + told)


class OneOfSeveral(_Inner):
    """The ``on_step`` of one of several trainings of equal length, ``before`` of ``runs`` of which are done."""

    def __init__(self, on_step: OnStep | None, before: int, runs: int, label: str = "") -> None:
        super().__init__(on_step, label)
        self.before, self.runs = before, runs

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update of this training."""
        if self.on_step:
            self.on_step(self.before * planned + update, self.runs * planned, self.label + told)


class Diverged(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A loss, a gradient, or the norm of a parameter after the last update is no longer a finite number."""

    def __init__(self, update: int) -> None:
        super().__init__(f"diverged at update {update}")
        self.update = update
