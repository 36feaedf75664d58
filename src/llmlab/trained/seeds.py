"""Arms trained seed by seed: all arms of a seed are kept or none, because arms are compared within a seed.

Leaves out what an arm is: ``expanding`` and ``finetuning``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmlab.train.fit import Diverged, OnStep, one_of_several

Arm = TypeVar("Arm")


@dataclass(frozen=True)
class Lost:
    """A seed that is in no number, because one of its arms diverged."""

    seed: int
    arm: str
    update: int

    def __str__(self) -> str:
        return (
            f"Seed {self.seed}: {self.arm} diverged at update {self.update}; no arm of this seed is in these numbers."
        )


def arms_by_seed(
    seeds: Sequence[int],
    names: Sequence[str],
    train: Callable[[str, int, OnStep | None], Arm],
    on_step: OnStep | None = None,
) -> tuple[list[Arm], list[Lost]]:
    """Train every arm of every seed.

    Args:
        seeds: their numbers.
        names: of the arms.
        train: trains one arm, by name and seed.
        on_step: of all of them together.

    Returns:
        The arms of the seeds of which none diverged, and the other seeds.
    """
    kept, lost, total = list[Arm](), list[Lost](), len(seeds) * len(names)
    for row, seed in enumerate(seeds):
        arms = list[Arm]()
        for column, name in enumerate(names):
            step = one_of_several(on_step, row * len(names) + column, total, f"{name}, seed {seed}")
            try:
                arms.append(train(name, seed, step))
            except Diverged as diverged:
                lost.append(Lost(seed, name, diverged.update))
                break
        else:
            kept += arms
    return kept, lost
