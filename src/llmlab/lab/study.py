"""A study: arms x seeds, trained one after another and compared seed by seed.

All arms of a seed see the same text in the same batches, so what tells two arms apart is the mean of their differences
within a seed, with its interval; the spread over seeds, which both arms share, is not in it.

One order (seed by seed, so that every state of a study is a fair comparison of as many seeds), one progress, one rule
for a stop (what is finished is kept), one for divergence (the others go on).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Generic, TypeVar

from llmlab.errors import Stopped
from llmlab.lab.steps import Diverged, OnStep, Part
from llmlab.measure.stats import mean_interval, paired_interval
from llmlab.report.messages import Text
from llmlab.settings import Settings


@dataclass(frozen=True)
class Arm:
    """One thing to train: ``name`` is its key, ``label`` what people call it.

    A run of it plans so many ``updates``, and its first one as many more as ``before`` says, to choose rates for
    example.
    """

    name: str
    label: Text = ""
    updates: int = 0
    before: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is kept of one seed of an arm; the model is let go.

    ``numbers`` are the headline metrics by name, ``history`` has a row per epoch.
    """

    seed: int
    numbers: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]]
    precision: str = "fp32"
    notes: list[Text] = field(default_factory=list)

    def curve(self, what: str) -> list[float]:
        """Return one of the numbers of its epochs, by epoch."""
        return [row[what] for row in self.history]


A = TypeVar("A", bound=Arm)
R = TypeVar("R", bound=Run)


class Unfinished(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A run was stopped when it already had something to show: ``run``, what it had reached."""

    def __init__(self, run: Any, stop: BaseException) -> None:
        super().__init__(str(stop))
        self.run, self.stop = run, stop


@dataclass
class Runs(Generic[A, R]):
    """An arm's finished runs, in the order of the seeds, and of other seeds the update at which they diverged.

    ``stopped`` is the seed in which the study was stopped, if it was here; ``unfinished`` is what that run had reached.
    """

    arm: A
    runs: list[R] = field(default_factory=list)
    diverged: dict[int, int] = field(default_factory=dict)
    stopped: int | None = None
    unfinished: R | None = None

    def by_seed(self, name: str) -> dict[int, float]:
        """Return a headline number of every finished run that has it."""
        return {run.seed: run.numbers[name] for run in self.runs if name in run.numbers}

    def stat(self, name: str) -> dict[str, float]:
        """Return a headline number's mean over seeds, with its interval as ``mean_interval`` has it."""
        return mean_interval(list(self.by_seed(name).values()))

    def minus(self, other: "Runs[A, R]", name: str) -> dict[str, float]:
        """Return how much larger a number is here than in another arm, paired by seed; empty without a common seed."""
        return paired_interval(other.by_seed(name), self.by_seed(name))


@dataclass
class Study(Generic[A, R]):
    """All arms with their runs, in the order in which they were given; ``stop`` is what ended it early."""

    arms: dict[str, Runs[A, R]]
    stop: BaseException | None = None

    @property
    def finished(self) -> list[R]:
        """All finished runs, arm by arm."""
        return [run for runs in self.arms.values() for run in runs.runs]

    @property
    def diverged(self) -> list[tuple[int, str, int]]:
        """The runs that diverged: seed, arm and update, seed by seed."""
        each = ((seed, name, update) for name, runs in self.arms.items() for seed, update in runs.diverged.items())
        return sorted(each, key=lambda one: one[0])

    def whole(self) -> dict[str, list[R]]:
        """Return by arm the runs of the seeds that every arm has finished: they can be compared as they are."""
        seeds = set.intersection(*({run.seed for run in runs.runs} for runs in self.arms.values()))
        return {name: [run for run in runs.runs if run.seed in seeds] for name, runs in self.arms.items() if seeds}


def study(
    settings: Settings, arms: Iterable[A], train: Callable[[A, int, OnStep], R], on_step: OnStep | None = None
) -> Study[A, R]:
    """Train every arm with every seed of the settings; of arms of equal names only the first.

    ``train`` makes the run of an arm and a seed, or raises ``Diverged``, or ``Stopped`` (or ``Unfinished``) where the
    ``on_step`` that it is given does.  ``on_step`` is called after each update, counted over all runs by the updates
    that the arms plan.  A stop before there is anything to show is raised.
    """
    named: dict[str, Runs[A, R]] = {}
    for each in arms:
        named.setdefault(each.name, Runs(each))
    found = Study(named)
    total, done = sum(settings.seeds * runs.arm.updates + runs.arm.before for runs in named.values()), 0
    several = settings.seeds * len(named) > 1
    for seed, runs in product(settings.every_seed, named.values()):
        arm, planned = runs.arm, runs.arm.updates + (runs.arm.before if seed == settings.seed else 0)
        label = f"{arm.label or arm.name}, seed {seed}, " if several else ""
        step = Part(on_step, partial(_of_the_whole, done, planned, total), label)
        done += planned
        try:
            runs.runs.append(train(arm, seed, step))
        except Diverged as diverged:
            runs.diverged[seed] = diverged.update
        except Unfinished as unfinished:
            found.stop, runs.stopped, runs.unfinished = unfinished.stop, seed, unfinished.run
            break
        except (Stopped, KeyboardInterrupt) as stop:
            if not found.finished:
                raise
            found.stop, runs.stopped = stop, seed
            break
    return found


def _of_the_whole(before: int, most: int, total: int, update: int, _: int) -> tuple[int, int]:
    """Return an update of a run of at most so many, which count on from ``before``, as one of the study's."""
    return before + min(update, most), total
