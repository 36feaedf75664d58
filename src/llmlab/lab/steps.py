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


class Part:
    """The ``on_step`` of one training within a longer whole, whose own is ``on_step``.

    ``of_the_whole`` turns an update of the part and how many it plans into those of the whole.
    """

    def __init__(
        self, on_step: OnStep | None, of_the_whole: Callable[[int, int], tuple[int, int]], label: str = ""
    ) -> None:
        self.on_step, self.of_the_whole, self.label = on_step, of_the_whole, label

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update of this part."""
        if self.on_step:
            self.on_step(*self.of_the_whole(update, planned), self.label + told)

    def watch(self, picture: Picture | None) -> None:
        """Hand the picture on."""
        watched(self.on_step, picture)

    def keep(self, folder: Path) -> None:
        """Hand the folder on."""
        kept_in(self.on_step, folder)


def one_of_several(on_step: OnStep | None, before: int, runs: int, label: str = "") -> Part:
    """Return the ``on_step`` of one of several trainings of equal length, ``before`` of ``runs`` of which are done."""
    return Part(on_step, lambda update, planned: (before * planned + update, runs * planned), label)


class Diverged(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A loss, a gradient, or the norm of a parameter after the last update is no longer a finite number."""

    def __init__(self, update: int) -> None:
        super().__init__(f"diverged at update {update}")
        self.update = update
