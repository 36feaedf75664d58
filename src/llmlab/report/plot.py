"""A Figure drawn with characters, by plotext: the terminal's picture.

The same data as the SVG, with less ink: dots for tracks and paths, letters for tokens, and a line below that
says which sign is what.  Several curves in one picture are told apart without colour: at the right of the frame, at
the height where it ends, each has a letter, and the edges of a band are dotted.
"""

from bisect import bisect_right
from string import ascii_lowercase

import plotext
from rich.cells import cell_len
from rich.text import Text

from llmlab.report.colours import ROLES
from llmlab.report.escape import printable
from llmlab.report.figure import CURVES, Range, counts, heights, ranges, tick_label, ticks
from llmlab.report.folding import is_wide
from llmlab.report.language import ENGLISH, Language
from llmlab.report.result import BAND, Figure, Mark

ASPECT = 2.0
"""A character cell is about twice as high as wide."""

AROUND = 4
"""Lines of a picture that are not its drawing area: frame above and below, tick labels, the axis' name."""

DOT_EVERY = 3
"""Columns from one dot to the next along the edge of a band."""

SIGN = dict.fromkeys(ROLES, "·") | {"before": "○", "after": "•", "foot": "•", "winner": "•"}
"""What points without labels are drawn as; a record may hold points of any role."""

ASCII = str.maketrans("┌┐└┘─│┤├┬┴┼→•○·–", "++++-|+++++>*o.-")


def plot(figure: Figure, width: int, *, most: int = 28, ascii_only: bool = False) -> Text:
    """Return the picture as text of at most ``width`` columns and ``most`` lines."""
    width = max(width, 24)
    height = min(width // 2 + 2, most) if figure.equal_axes else min(width // 3 + 3, 18, most)
    xs, ys = ranges(figure, (width - 8) / ASPECT / (height - 5))
    letters = _at_the_right(figure, ys, height - AROUND)
    columns = width - max(map(len, letters.values()), default=0)
    canvas = plotext.figure
    canvas.clear()
    canvas.plot_size(columns, height)
    canvas.theme("colorless")  # frame and labels in the terminal's own colours: a white slab would glare on dark
    canvas.canvas("default")
    across = [(value, tick_label(value)) for value in ticks(*xs, width // 12, whole=counts(figure))]
    for axis, limits, marks in (("x", xs, across), ("y", ys, heights(figure, ys, height // 3))):
        canvas.ruler(axis).lim(*limits).ticks([value for value, _ in marks], [printable(name) for _, name in marks])
    for mark in figure.marks:
        _draw(canvas, mark, "." if ascii_only else "braille", xs, columns // DOT_EVERY)
    label = printable(figure.x_label)
    stand_in = "x" * cell_len(label) if is_wide(label) else label  # plotext counts characters, not columns
    canvas.label(stand_in)
    canvas.legend(False)
    lines = str(canvas.build()).rstrip("\n").split("\n")
    lines[-1] = lines[-1].replace(stand_in, label)
    for row, ending in letters.items():
        lines[row + 1] += "".join(str(plotext.colorize(letter, ROLES[mark.role][2])) for letter, mark in ending)
    drawn = Text.from_ansi("\n".join(lines))
    if ascii_only:
        drawn = Text(drawn.plain.translate(ASCII))
    drawn.no_wrap = True
    return drawn


def legend(figure: Figure, language: Language = ENGLISH) -> str:
    """Return one line that says what the signs in the picture are, and what its height is."""
    say, kinds = language.say, {mark.kind for mark in figure.marks}
    told = [f"{say('height: ')}{figure.y_label}" if figure.y_label else say("from the top of each")]
    told += [f"{letter} {mark.legend}" for letter, mark in _lettered(figure)]
    for mark in figure.marks:
        if mark.kind == "points" and mark.legend:
            told.append(f"{say('letter') if mark.labels else SIGN[mark.role]} {mark.legend}")
    if "track" in kinds:
        told.append(say("→letter output row"))
    told += [mark.legend for mark in figure.marks if mark.kind == "bar"]
    if any(mark.kind == "band" and not mark.legend for mark in figure.marks):
        told.append(say("dotted: ") + say(BAND))
    return printable(say(", ").join(told))


def _lettered(figure: Figure) -> list[tuple[str, Mark]]:
    """Return the curves of a figure that need a letter to be told apart, each with its own."""
    named = [mark for mark in figure.marks if mark.legend]
    alike = len(named) > 1 and {mark.kind for mark in figure.marks} <= CURVES
    return list(zip(ascii_lowercase, named, strict=False)) if alike else []


def _at_the_right(figure: Figure, ys: Range, rows: int) -> dict[int, list[tuple[str, Mark]]]:
    """Return by row of the drawing area, counted from the top, which curves end there, the highest first."""
    ends = [(y, letter, mark) for letter, mark in _lettered(figure) for y in [*mark.ys[-1:], *mark.tops[-1:]]]
    found: dict[int, list[tuple[str, Mark]]] = {}
    for y, letter, mark in sorted(ends, key=lambda end: (-end[0], end[1])):
        there = found.setdefault(rows - 1 - round((y - ys[0]) / (ys[1] - ys[0]) * (rows - 1)), [])
        if (letter, mark) not in there:
            there.append((letter, mark))
    return found


def _draw(canvas: "plotext.figure", mark: Mark, dots: str, xs: Range, parts: int) -> None:
    colour = ROLES[mark.role][2]
    pixel = plotext.marker(dots, colour)
    match mark.kind:
        case "line":
            canvas.draw(canvas.signal(mark.xs, mark.ys, marker=pixel).lines(True))
        case "level":
            canvas.draw(canvas.segment(xs, (mark.ys[0], mark.ys[0]), marker=pixel))
        case "track" | "shadow":
            canvas.draw(canvas.segment((0.0, mark.xs[0]), (0.0, mark.ys[0]), marker=pixel))
        case "bar":
            for x, y in zip(mark.xs, mark.ys, strict=True):
                canvas.draw(canvas.segment((0.0, x), (y, y), marker=pixel))
        case "points" if not mark.labels:
            canvas.draw(canvas.signal(mark.xs, mark.ys, marker=plotext.marker(SIGN[mark.role], colour)))
        case "band":
            apart = [xs[0] + (xs[1] - xs[0]) * dot / parts for dot in range(parts + 1)]
            within = [x for x in apart if mark.xs[0] <= x <= mark.xs[-1]]
            for edge in (mark.ys, mark.tops):
                canvas.draw(canvas.signal(within, [_height(mark.xs, edge, x) for x in within], marker=pixel))
    for x, y, label in zip(mark.xs, mark.ys, mark.labels if mark.kind != "shadow" else (), strict=False):
        word = printable(label).split(" ")[0]
        canvas.draw(canvas.text(x, y, plotext.colorize(word, colour), alignment="center"))


def _height(xs: list[float], ys: list[float], x: float) -> float:
    """Return the height of a curve of straight pieces at a place."""
    place = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    if place < 1:
        return ys[0]
    share = (x - xs[place - 1]) / (xs[place] - xs[place - 1])
    return ys[place - 1] + share * (ys[place] - ys[place - 1])
