"""A Figure drawn with characters, by plotext: the terminal's picture.

The same data as the SVG, with less ink: dots for tracks and paths, letters for tokens, and a line below that
says which sign is what.  Leaves out colour where the terminal has none.
"""

import plotext
from rich.text import Text

from llmlab.report.escape import printable
from llmlab.report.result import Figure, Mark
from llmlab.report.scale import Range, ranges, tick_label, ticks

ASPECT = 2.0
"""A character cell is about twice as high as wide."""

COLOUR = {
    "before": "gray",
    "path": "gray",
    "after": "blue+",
    "track": "gray+",
    "winner": "orange+",
    "foot": "green+",
    "other": "gray+",
    "series": "blue+",
    "floor": "green+",
}
SIGN = {"before": "○", "foot": "•", "winner": "•", "other": "·"}
ASCII = str.maketrans("┌┐└┘─│┤├┬┴┼→•○–", "++++-|+++++>*o-")


def plot(figure: Figure, width: int, *, ascii_only: bool = False) -> Text:
    """Return the picture as text of at most ``width`` columns."""
    width = max(width, 24)
    height = min(width // 2 + 2, 28) if figure.equal_axes else min(width // 3 + 3, 18)
    canvas = plotext.figure
    canvas.clear()
    canvas.plot_size(width, height)
    canvas.canvas("default")
    xs, ys = ranges(figure, (width - 8) / ASPECT / (height - 5))
    for axis, limits, most in (("x", xs, width // 12), ("y", ys, height // 3)):
        marks = ticks(*limits, most)
        canvas.ruler(axis).lim(*limits).ticks(marks, [tick_label(value) for value in marks])
    for mark in figure.marks:
        _draw(canvas, mark, "." if ascii_only else "braille", xs)
    canvas.label(printable(figure.x_label))
    canvas.legend(False)
    drawn = Text.from_ansi(str(canvas.build()))
    if ascii_only:
        drawn = Text(drawn.plain.translate(ASCII))
    drawn.no_wrap = True
    return drawn


def legend(figure: Figure) -> str:
    """Return one line that says what the signs in the picture are, and what its height is."""
    told = []
    for mark in figure.marks:
        if mark.kind == "points" and mark.legend:
            told.append(f"{'letter' if mark.labels else SIGN[mark.role]} {mark.legend}")
    if any(mark.kind == "track" for mark in figure.marks):
        told.append("→letter output row")
    return printable(", ".join([f"height: {figure.y_label}", *told]))


def _draw(canvas: "plotext.figure", mark: Mark, dots: str, xs: Range) -> None:
    colour = COLOUR[mark.role]
    if mark.kind == "level":
        canvas.draw(canvas.segment(xs, (mark.ys[0], mark.ys[0]), marker=_pixel(dots, colour)))
    elif mark.kind == "track":
        canvas.draw(canvas.segment((0.0, mark.xs[0]), (0.0, mark.ys[0]), marker=_pixel(dots, colour)))
    elif mark.kind == "points":
        if not mark.labels:
            canvas.draw(canvas.signal(mark.xs, mark.ys, marker=_pixel(SIGN[mark.role], colour)))
    else:
        for heights in (mark.ys, mark.tops):
            if heights:
                line = canvas.signal(mark.xs, heights, marker=_pixel(dots, colour))
                line.lines(True)
                canvas.draw(line)
    for x, y, label in zip(mark.xs, mark.ys, mark.labels, strict=False):
        word = printable(label).split(" ")[0]
        canvas.draw(canvas.text(x, y, plotext.colorize(word, colour), alignment="center"))


def _pixel(sign: str, colour: str) -> "plotext.marker":
    return plotext.marker(sign, colour)
