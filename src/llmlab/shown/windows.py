"""What the tables of every model that reads windows share: which epochs stand in them, and which positions."""

from collections.abc import Iterable, Sequence

from llmlab.measure.score import Score, perplexity
from llmlab.report.result import Cell

MOST_EPOCHS_SHOWN = 16


def shown_epochs(count: int, best: int) -> list[int]:
    """Return which epochs a table shows: all, or the first, every fifth or so, the best and the last."""
    if count <= MOST_EPOCHS_SHOWN:
        return list(range(1, count + 1))
    stride = next(step for step in (2, 5, 10, 20, 50, 100, 1000, 10_000, 100_000) if count // step < MOST_EPOCHS_SHOWN)
    return sorted({1, best, count, *range(stride, count + 1, stride)})


def ppls_at(epoch: int, losses: Iterable[Sequence[float]]) -> list[Cell]:
    """Return the perplexity of each curve at an epoch; an empty cell where one has ended before."""
    return [perplexity(each[epoch]) if epoch < len(each) else None for each in losses]


def loss_by_groups(score: Score) -> list[tuple[str, float, int]]:
    """Return the positions of the window in groups that double: their name, their loss, their targets."""
    found: list[tuple[str, float, int]] = []
    first, last = 1, len(score.loss_by_position)
    while first <= last:
        stop = min(2 * first - 1, last)
        losses, targets = score.loss_by_position[first - 1 : stop], score.targets_by_position[first - 1 : stop]
        if total := sum(targets):
            loss = sum(one * count for one, count in zip(losses, targets, strict=True)) / total
            found.append((f"{first}" if first == stop else f"{first}–{stop}", loss, total))
        first *= 2
    return found
