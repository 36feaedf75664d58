"""What every training loop shares: how it tells of its steps, and how it ends when numbers stop being finite."""

from typing import Protocol


class OnStep(Protocol):
    """What is called after each update, and now and then in between: to show progress, or to stop the run."""

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update (from 1), of how many are planned, and of a few words on how it goes."""


class Diverged(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A loss, a gradient, or the norm of a parameter after the last update is no longer a finite number."""

    def __init__(self, update: int) -> None:
        super().__init__(f"diverged at update {update}")
        self.update = update
