"""What every training loop shares: how it tells of its steps, and how it ends when numbers stop being finite."""

from collections.abc import Callable
from itertools import count
from typing import Protocol


class OnStep(Protocol):
    """What is called after each update, and now and then in between: to show progress, or to stop the run."""

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update (from 1), of how many are planned, and of a few words on how it goes."""


def one_of_several(on_step: OnStep | None, before: int, runs: int, label: str) -> OnStep | None:
    """Return ``on_step`` for one of several runs of equal length, counted as one long run.

    Args:
        on_step: of the long run.
        before: how many runs are done.
        runs: how many there are.
        label: which one this is, for people.
    """
    if on_step is None:
        return None

    def step(update: int, planned: int, told: str = "") -> None:
        on_step(before * planned + update, runs * planned, f"{label}, {told}")

    return step


def counting(on_step: OnStep | None, planned: int) -> Callable[[str], None]:
    """Return a function that tells ``on_step`` of one more of the planned parts of a work, in a few words."""
    done = count(1)

    def one_more(told: str) -> None:
        if on_step:
            on_step(next(done), planned, told)

    return one_more


class Diverged(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A loss, a gradient, or the norm of a parameter after the last update is no longer a finite number."""

    def __init__(self, update: int) -> None:
        super().__init__(f"diverged at update {update}")
        self.update = update
