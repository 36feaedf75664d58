"""A study: arms x seeds, trained one after another and compared seed by seed.

All arms of a seed see the same text in the same batches, so what tells two arms apart is the mean of their differences
within a seed, with its interval; the spread over seeds, which both arms share, is not in it.

One order (seed by seed, so that every state of a study is a fair comparison of as many seeds), one progress, one rule
for a stop (what is finished is kept), one for divergence (the others go on).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from llmlab.errors import Stopped
from llmlab.lab.steps import Diverged, OnStep, Part
from llmlab.measure.stats import mean_interval, paired_interval


class Run(Protocol):
    """What is kept of one seed of an arm."""

    @property
    def seed(self) -> int:
        """Its number."""


R = TypeVar("R", bound=Run)


class Unfinished(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A run was stopped when it already had something to show: ``run``, what it had reached."""

    def __init__(self, run: Any, stop: BaseException) -> None:
        super().__init__(str(stop))
        self.run, self.stop = run, stop


@dataclass(frozen=True)
class Arm(Generic[R]):
    """One thing to train.

    ``key`` names it, ``updates`` is how many a run of it makes, and ``train`` makes the run of a seed, or raises
    ``Diverged``, or ``Stopped`` (or ``Unfinished``) where the ``on_step`` that it is given does.  ``label`` is what
    people call it, and ``before`` how many updates more its first run makes, to choose rates for example.
    """

    key: str
    updates: int
    train: Callable[[int, OnStep], R]
    label: str = ""
    before: int = 0


@dataclass
class Runs(Generic[R]):
    """An arm's finished runs, in the order of the seeds, and of other seeds the update at which they diverged.

    ``stopped`` is the seed in which the study was stopped, if it was here; ``unfinished`` is what that run had reached.
    """

    arm: Arm[R]
    runs: list[R] = field(default_factory=list)
    diverged: dict[int, int] = field(default_factory=dict)
    stopped: int | None = None
    unfinished: R | None = None

    def by_seed(self, of: Callable[[R], float]) -> dict[int, float]:
        """Return a number of every finished run."""
        return {run.seed: of(run) for run in self.runs}

    def stat(self, of: Callable[[R], float]) -> dict[str, float]:
        """Return a number's mean over seeds, with its interval as ``mean_interval`` has it."""
        return mean_interval(list(self.by_seed(of).values()))

    def minus(self, other: "Runs[R]", of: Callable[[R], float]) -> dict[str, float]:
        """Return how much larger a number is here than in another arm, paired by seed; empty without a common seed."""
        return paired_interval(other.by_seed(of), self.by_seed(of))


@dataclass
class Study(Generic[R]):
    """All arms with their runs, in the order in which they were given; ``stop`` is what ended it early."""

    arms: dict[str, Runs[R]]
    stop: BaseException | None = None

    @property
    def finished(self) -> list[R]:
        """All finished runs, arm by arm."""
        return [run for runs in self.arms.values() for run in runs.runs]

    @property
    def diverged(self) -> list[tuple[int, str, int]]:
        """The runs that diverged: seed, arm and update, seed by seed."""
        each = ((seed, key, update) for key, runs in self.arms.items() for seed, update in runs.diverged.items())
        return sorted(each, key=lambda one: one[0])

    def whole(self) -> list[R]:
        """Return the runs of the seeds that every arm has finished, seed by seed: they can be compared as they are."""
        have = [{run.seed: run for run in runs.runs} for runs in self.arms.values()]
        return [runs[seed] for seed in have[0] if all(seed in runs for runs in have) for runs in have]


def study(arms: Iterable[Arm[R]], seeds: Sequence[int], on_step: OnStep | None = None) -> Study[R]:
    """Train every arm with every seed; of arms of equal keys only the first.

    ``on_step`` is called after each update, counted over all runs by the updates that the arms plan.

    Raises:
        Stopped: ``on_step`` raised it before there was anything to show; likewise ``KeyboardInterrupt``.
    """
    named: dict[str, Runs[R]] = {}
    for arm in arms:
        named.setdefault(arm.key, Runs(arm))
    found = Study(named)
    total, done = sum(len(seeds) * runs.arm.updates + runs.arm.before for runs in named.values()), 0
    several = len(seeds) * len(named) > 1
    for seed in seeds:
        for runs in named.values():
            arm, planned = runs.arm, runs.arm.updates + (runs.arm.before if seed == seeds[0] else 0)
            label = f"{arm.label or arm.key}, seed {seed}, " if several else ""
            step = Part(on_step, partial(_of_the_whole, done, planned, total), label)
            done += planned
            try:
                runs.runs.append(arm.train(seed, step))
            except Diverged as diverged:
                runs.diverged[seed] = diverged.update
            except Unfinished as unfinished:
                found.stop, runs.stopped, runs.unfinished = unfinished.stop, seed, unfinished.run
                return found
            except (Stopped, KeyboardInterrupt) as stop:
                if not found.finished:
                    raise
                found.stop, runs.stopped = stop, seed
                return found
    return found


def _of_the_whole(before: int, most: int, total: int, update: int, _: int) -> tuple[int, int]:
    """Return an update of a run of at most so many, which count on from ``before``, as one of the study's."""
    return before + min(update, most), total
