"""Axes: the range that shows a figure, and round numbers to label it with.

Shared by the terminal's picture and the SVG, so that both show the same range.
"""

import math

from llmlab.report.result import Figure

Range = tuple[float, float]


def ranges(figure: Figure, shape: float) -> tuple[Range, Range]:
    """Return the x and y range of a figure: with zero where tracks start at it; a curve begins at its first point.

    ``shape`` is the width of the drawing area divided by its height, for figures with equal axes.
    """
    xs = [x for mark in figure.marks for x in mark.xs]
    ys = [y for mark in figure.marks for y in (*mark.ys, *mark.tops)]
    if any(mark.kind in ("track", "bar") for mark in figure.marks):
        xs = [*xs, 0.0]
    if any(mark.kind == "track" for mark in figure.marks):
        ys = [*ys, 0.0]
    curve = all(mark.kind in ("line", "band", "level") for mark in figure.marks)
    wide, high = _padded(xs, 0.0 if curve else 0.08), _padded(ys, 0.08)
    if counts(figure) and len(set(xs)) == 1:
        wide = xs[0] - 0.5, xs[0] + 0.5
    return _same_unit(wide, high, shape) if figure.equal_axes else (wide, high)


def counts(figure: Figure) -> bool:
    """Return whether a figure's horizontal axis counts something (epochs, layers, seeds): then only whole numbers."""
    return not figure.equal_axes and all(float(x).is_integer() for mark in figure.marks for x in mark.xs)


def heights(figure: Figure, ys: Range, most: int) -> list[tuple[float, str]]:
    """Return what stands at the left of a figure: its names, or at most about ``most`` round numbers."""
    if figure.names:
        return [(float(height), name) for height, name in enumerate(figure.names)]
    return [(value, tick_label(value)) for value in ticks(*ys, most)]


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Return at most about ``most`` round numbers between two others, ``whole`` ones if asked.

    Example:
        >>> ticks(-1.2, 2.3, 4)
        [-1.0, 0.0, 1.0, 2.0]
    """
    rough = max((high - low) / max(most, 1), 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Return a tick's number without superfluous zeros."""
    return f"{value:.6g}"


def _padded(values: list[float], margin: float) -> Range:
    low, high = min(values, default=0.0), max(values, default=1.0)
    all_one = high - low <= 1e-9 * max(abs(low), abs(high), 1e-300)
    extra = (abs(high) * 0.1 or 1.0) if all_one else (high - low) * margin
    return low - extra, high + extra


def _same_unit(xs: Range, ys: Range, shape: float) -> tuple[Range, Range]:
    """Widen one range so that a unit is equally long on both axes."""
    wide, high = xs[1] - xs[0], ys[1] - ys[0]
    if wide < high * shape:
        extra = (high * shape - wide) / 2
        return (xs[0] - extra, xs[1] + extra), ys
    extra = (wide / shape - high) / 2
    return xs, (ys[0] - extra, ys[1] + extra)
