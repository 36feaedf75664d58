"""What the figures of every chapter share: curves of the loss, lines with the band of their intervals, levels."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text
from llmlab.report.result import ARMS, Mark, Role, rounded


def means(curves: Iterable[Sequence[float]]) -> list[float]:
    """Return the mean of the runs' curves, as far as all of them go."""
    return [fmean(values) for values in zip(*curves, strict=False)]


def curve(ys: Sequence[float], role: Role, legend: Text, xs: Sequence[float] = ()) -> Mark:
    """Return a line through ``ys``, by epoch from 1 where no ``xs`` are given."""
    return Mark("line", role, list(xs) or [epoch + 1.0 for epoch in range(len(ys))], rounded(ys), legend=legend)


def arm_curves(each: Iterable[tuple[Text, Sequence[Sequence[float]]]]) -> list[Mark]:
    """Return the means of each arm's runs by epoch, by its legend, in the colours of arms, with their intervals."""
    marks = list[Mark]()
    for number, (legend, runs) in enumerate(each):
        told = [mean_interval(values) for values in zip(*runs, strict=False)]
        marks += with_interval([epoch + 1.0 for epoch in range(len(told))], told, ARMS[number % len(ARMS)], legend)
    return marks


def with_interval(xs: Sequence[float], told: Sequence[Mapping[str, float]], role: Role, legend: Text) -> list[Mark]:
    """Return a line through means and, behind it, the band of their intervals where every one has several seeds."""
    line = curve([one[""] for one in told], role, legend, xs)
    if not all("_low" in one for one in told):
        return [line]
    low, high = (rounded(one[end] for one in told) for end in ("_low", "_high"))
    return [Mark("band", role, line.xs, low, tops=high), line]


def level(loss: float, legend: Text, role: Role = "other") -> Mark:
    """Return what a curve stands beside, as a horizontal line."""
    return Mark("level", role, [], [loss], legend=legend)


def floor_level(bayes_loss: float | None) -> list[Mark]:
    """Return the level below which no model comes, where it is known."""
    return [] if bayes_loss is None else [level(bayes_loss, "Bayes floor", "floor")]
