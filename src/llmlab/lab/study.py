"""A study: arms x seeds, trained one after another and compared seed by seed.

All arms of a seed see the same text in the same batches, so what tells two arms apart is the mean of their differences
within a seed, with its interval; the spread over seeds, which both arms share, is not in it.

One order (seed by seed, so that every state of a study is a fair comparison of as many seeds), one progress, one rule
for a stop (what is finished is reported), one for divergence (the others go on).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from llmlab.errors import Stopped
from llmlab.measure.stats import mean_interval, paired_interval
from llmlab.report.result import counted
from llmlab.train.fit import Diverged, OnStep


class Run(Protocol):
    """What is kept of one seed of an arm: numbers, never the model, or a study would fill the memory with them."""

    @property
    def seed(self) -> int:
        """Its number."""

    @property
    def numbers(self) -> dict[str, float]:
        """The headline metrics."""


R = TypeVar("R", bound=Run)
R_co = TypeVar("R_co", bound=Run, covariant=True)


class Train(Protocol[R_co]):
    """Trains one seed of an arm, or goes on with it."""

    def __call__(self, seed: int, on_step: OnStep) -> R_co:
        """Return what is kept of the run; raise ``Diverged``, or ``Stopped`` where ``on_step`` did."""


@dataclass(frozen=True)
class Arm(Generic[R]):
    """One thing to train: ``key`` ends its metrics, ``label`` stands in tables, ``updates`` is how many it makes."""

    key: str
    label: str
    train: Train[R]
    updates: int = 1


@dataclass
class Runs(Generic[R]):
    """An arm's finished runs, in the order of the seeds, and what went wrong with others."""

    arm: Arm[R]
    runs: list[R] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Whether it is done, in a word or a few."""
        return "; ".join(self.trouble) or ("done" if self.runs else "not begun")

    def by_seed(self, metric: str) -> dict[int, float]:
        """Return a metric of every finished run."""
        return {run.seed: run.numbers[metric] for run in self.runs}

    def stat(self, metric: str) -> dict[str, float]:
        """Return a metric's mean over seeds, with its interval as ``mean_interval`` has it."""
        return mean_interval(list(self.by_seed(metric).values()))

    def minus(self, other: "Runs[R]", metric: str) -> dict[str, float]:
        """Return how much larger a metric is here than in another arm, paired by seed; empty without a common seed."""
        return paired_interval(other.by_seed(metric), self.by_seed(metric))


@dataclass
class Study(Generic[R]):
    """All arms with their runs, in the order in which they were given; ``stopped`` if not all were trained."""

    arms: dict[str, Runs[R]]
    stopped: bool = False

    @property
    def finished(self) -> list[Runs[R]]:
        """The arms that have a finished run."""
        return [runs for runs in self.arms.values() if runs.runs]


def study(arms: Iterable[Arm[R]], seeds: Sequence[int], on_step: OnStep | None = None) -> Study[R]:
    """Train every arm with every seed.

    Args:
        arms: of equal keys only the first is trained.
        seeds: their numbers.
        on_step: called after each update, counted over all runs by the updates that the arms plan.

    Raises:
        Stopped: ``on_step`` raised it before any run was finished.
        KeyboardInterrupt: likewise.
    """
    named: dict[str, Runs[R]] = {}
    for arm in arms:
        named.setdefault(arm.key, Runs(arm))
    found = Study(named)
    total, done = len(seeds) * sum(runs.arm.updates for runs in named.values()), 0
    for seed in seeds:
        for runs in named.values():
            step = _part_of(on_step, done, total, f"{runs.arm.label}, seed {seed}")
            done += runs.arm.updates
            try:
                runs.runs.append(runs.arm.train(seed, step))
            except Diverged as diverged:
                runs.trouble.append(f"seed {seed} diverged at update {diverged.update}")
            except (Stopped, KeyboardInterrupt):
                if not found.finished:
                    raise
                runs.trouble.append(f"seed {seed} stopped")
                found.stopped = True
                _tell_what_is_missing(found, len(seeds))
                return found
    return found


def _tell_what_is_missing(found: Study[R], seeds: int) -> None:
    """Say of each arm that has only some of its seeds, and met no trouble, how many those are."""
    for runs in found.finished:
        if len(runs.runs) < seeds and not runs.trouble:
            runs.trouble.append(f"{len(runs.runs)} of {counted(seeds, 'seed')}")


def _part_of(on_step: OnStep | None, before: int, total: int, label: str) -> OnStep:
    """Return the ``on_step`` of one run, whose updates count on from ``before`` in a study of ``total``."""

    def step(update: int, planned: int, told: str = "") -> None:
        if on_step:
            on_step(before + update, total, f"{label}: {told}")

    return step
