"""A Figure as SVG: one picture in light, one in dark, from the same data.

Built with ElementTree, so nothing in a label can leave its text node; only shapes and text are ever written:
no script, no style sheet, no link.  The same figure gives the same bytes everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, SubElement, tostring

from rich.cells import cell_len, chop_cells

from llmlab.report.colours import INK
from llmlab.report.escape import printable
from llmlab.report.folding import folded
from llmlab.report.language import ENGLISH, Language
from llmlab.report.result import BAND, Figure, Mark
from llmlab.report.scale import Range, counts, heights, ranges, tick_label, ticks

LEFT, RIGHT, TOP, BELOW = 60, 14, 14, 66
"""Room around the drawing area; below it stands the axis, and then the legend, which takes what it takes."""

WIDTH = 480
FONT = "system-ui, sans-serif"
SIZE, SIGN = 15, 8.6
"""Of the letters, and how wide one of them is: on a telephone 360 pixels wide they are still 11 high."""

SWATCH, ROW, LEAST_ROWS = 30, 20, 2
"""Of the legend: the room for a sample of a mark, from one line to the next, and the lines that are always there."""

HALO = {"font-weight": "600", "paint-order": "stroke", "stroke-width": "3"}
"""Of a label inside the picture: its letters are read over whatever line crosses them."""

PARTS = 16
"""Places along a bar, an arrow or a perpendicular that no label should cover."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass
class Canvas:
    """Where data coordinates land on the page, what has been drawn, and where labels already stand."""

    root: Element
    ink: dict[str, str]
    xs: Range
    ys: Range
    right: int
    bottom: int
    taken: list[Box]

    def x(self, value: float) -> float:
        """Return the horizontal position of a data value."""
        share = (value - self.xs[0]) / (self.xs[1] - self.xs[0])
        return round(LEFT + share * (self.right - LEFT), 2)

    def y(self, value: float) -> float:
        """Return the vertical position of a data value."""
        share = (value - self.ys[0]) / (self.ys[1] - self.ys[0])
        return round(self.bottom - share * (self.bottom - TOP), 2)

    def add(self, tag: str, **attributes: object) -> Element:
        """Append one element; ``stroke_width`` becomes ``stroke-width``."""
        return SubElement(self.root, tag, {key.replace("_", "-"): str(value) for key, value in attributes.items()})

    def line(self, start: Point, end: Point, colour: str, **attributes: object) -> Element:
        """Append a straight line."""
        (x1, y1), (x2, y2) = start, end
        return self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=self.ink[colour], **attributes)

    def text(self, x: float, y: float, words: str, *, anchor: str = "middle", colour: str = "text") -> None:
        """Append a line of text."""
        element = self.add("text", x=x, y=y, text_anchor=anchor, fill=self.ink[colour], font_size=SIZE)
        element.text = printable(words)


def svg(figure: Figure, theme: str, language: Language = ENGLISH) -> str:
    """Return a figure as an SVG document, ``light`` or ``dark``; its title and caption become the text alternative."""
    figure = language.figure(figure)
    width, bottom = WIDTH, TOP + (396 if figure.equal_axes else 266)
    shape = (width - LEFT - RIGHT) / (bottom - TOP)
    named = _legend(figure.marks, language)
    height = bottom + BELOW + ROW * max(LEAST_ROWS, 1 + max((row for _, _, row, _ in named), default=0)) - 6
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "font-family": FONT,
            **({} if language is ENGLISH else {"lang": language.code}),  # the signs of one script differ by language
        },
    )
    SubElement(root, "title").text = printable(figure.title)
    SubElement(root, "desc").text = printable(figure.caption)
    canvas = Canvas(root, INK[theme], *ranges(figure, shape), width - RIGHT, bottom, [])
    canvas.add("rect", width=width, height=height, fill=canvas.ink["ground"])
    _axes(canvas, figure)
    for mark in figure.marks:
        DRAW[mark.kind](canvas, mark)
    for mark in figure.marks:
        canvas.taken += [_box(canvas.x(x), canvas.y(y), 7) for x, y in _seen(mark)]
    for mark in figure.marks:
        _labels(canvas, mark)
    for sample, x, row, words in named:
        y = bottom + BELOW + ROW * row
        if sample is not None:
            _swatch(canvas, sample, x, y - 4)
        canvas.text(x + SWATCH, y, words, anchor="start")
    return tostring(root, encoding="unicode") + "\n"


def _axes(canvas: Canvas, figure: Figure) -> None:
    left, right, top, bottom = LEFT, canvas.right, TOP, canvas.bottom
    for value in ticks(*canvas.xs, 6, whole=counts(figure)):
        x = canvas.x(value)
        canvas.line((x, top), (x, bottom), "grid")
        half = SIGN * len(tick_label(value)) / 2
        canvas.text(min(x, WIDTH - half), bottom + 20, tick_label(value))  # the last one may stand at the edge
    for value, name in heights(figure, canvas.ys, 6):
        y = canvas.y(value)
        canvas.line((left, y), (right, y), "grid")
        canvas.text(left - 7, y + 5, name, anchor="end")
    canvas.add("rect", x=left, y=top, width=right - left, height=bottom - top, fill="none", stroke=canvas.ink["axis"])
    if not figure.equal_axes and canvas.ys[0] > 0:  # the axis is cut: it does not begin at zero
        zigzag = " ".join(f"{left + 5 * (-1) ** turn},{bottom - 8 - 4 * turn}" for turn in range(4))
        canvas.add("polyline", points=zigzag, fill="none", stroke=canvas.ink["axis"], stroke_width=2)
    canvas.text((left + right) / 2, bottom + 42, figure.x_label)
    middle = (top + bottom) / 2
    canvas.text(14, middle, figure.y_label)
    canvas.root[-1].set("transform", f"rotate(-90 14 {middle})")


def _line(canvas: Canvas, mark: Mark) -> None:
    points = " ".join(f"{canvas.x(x)},{canvas.y(y)}" for x, y in zip(mark.xs, mark.ys, strict=True))
    if len(mark.xs) == 1:  # a line through one point would not be seen
        canvas.add("circle", cx=canvas.x(mark.xs[0]), cy=canvas.y(mark.ys[0]), r=4, fill=canvas.ink[mark.role])
        return
    line = canvas.add("polyline", points=points, fill="none", stroke=canvas.ink[mark.role], stroke_linejoin="round")
    line.set("stroke-width", "2.5" if mark.role == "series" else "1.5")
    if mark.role == "foot":
        line.set("stroke-dasharray", "2 4")


def _band(canvas: Canvas, mark: Mark) -> None:
    there = [f"{canvas.x(x)},{canvas.y(y)}" for x, y in zip(mark.xs, mark.ys, strict=True)]
    back = [f"{canvas.x(x)},{canvas.y(y)}" for x, y in zip(mark.xs, mark.tops, strict=True)]
    canvas.add("polygon", points=" ".join(there + back[::-1]), fill=canvas.ink[mark.role], fill_opacity=0.25)
    if len(mark.xs) == 1:
        canvas.root[-1].set("stroke", canvas.ink[mark.role])
        canvas.root[-1].set("stroke-opacity", "0.25")
        canvas.root[-1].set("stroke-width", "8")


def _level(canvas: Canvas, mark: Mark) -> None:
    y = canvas.y(mark.ys[0])
    canvas.line((LEFT, y), (canvas.right, y), mark.role, stroke_width=1.5, stroke_dasharray="6 4")


def _track(canvas: Canvas, mark: Mark) -> None:
    """Draw a faint line through zero to both edges and an arrow from zero to the point."""
    x, y = mark.xs[0], mark.ys[0]
    reach = _reach(x, y, canvas.xs, canvas.ys), _reach(-x, -y, canvas.xs, canvas.ys)
    start, end = ((canvas.x(x * far), canvas.y(y * far)) for far in (reach[0], -reach[1]))
    canvas.line(start, end, mark.role, stroke_width=1, stroke_opacity=0.45)
    zero, tip = (canvas.x(0.0), canvas.y(0.0)), (canvas.x(x), canvas.y(y))
    canvas.line(zero, tip, mark.role, stroke_width=3.5 if mark.role == "winner" else 2)
    canvas.add("polygon", points=_arrow_head(zero, tip), fill=canvas.ink[mark.role])


def _reach(x: float, y: float, xs: Range, ys: Range) -> float:
    """Return how many times (x, y) fits from zero to the frame, at most a thousand."""
    steps = [(limit / value) for value, pair in ((x, xs), (y, ys)) for limit in pair if value * limit > 0]
    return min([*steps, 1000.0])


def _arrow_head(tail: Point, tip: Point) -> str:
    dx, dy = tip[0] - tail[0], tip[1] - tail[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    ux, uy = dx / length * 11, dy / length * 11
    corners = [tip, (tip[0] - ux - uy * 0.5, tip[1] - uy + ux * 0.5), (tip[0] - ux + uy * 0.5, tip[1] - uy - ux * 0.5)]
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def _shadow(canvas: Canvas, mark: Mark) -> None:
    """Draw a thick bar from zero to the point."""
    zero, end = (canvas.x(0.0), canvas.y(0.0)), (canvas.x(mark.xs[0]), canvas.y(mark.ys[0]))
    canvas.line(zero, end, mark.role, stroke_width=9, stroke_opacity=0.55 if mark.role == "winner" else 0.4)


def _bar(canvas: Canvas, mark: Mark) -> None:
    """Draw bars across, from zero."""
    for x, y in zip(mark.xs, mark.ys, strict=True):
        canvas.line((canvas.x(0.0), canvas.y(y)), (canvas.x(x), canvas.y(y)), mark.role, stroke_width=8)


def _seen(mark: Mark) -> Iterator[Point]:
    """Yield where a mark must not be covered by a label: its points, and of a straight one some on the way."""
    if mark.kind in ("track", "shadow"):
        yield from ((mark.xs[0] * part / PARTS, mark.ys[0] * part / PARTS) for part in range(1, PARTS + 1))
    elif mark.kind == "points":
        yield from zip(mark.xs, mark.ys, strict=True)
    elif mark.role == "foot" and len(mark.xs) == 2:
        (x, to_x), (y, to_y) = mark.xs, mark.ys
        yield from ((x + (to_x - x) * part / PARTS, y + (to_y - y) * part / PARTS) for part in range(PARTS))


def _points(canvas: Canvas, mark: Mark) -> None:
    colour = canvas.ink[mark.role]
    for x, y in zip(mark.xs, mark.ys, strict=True):
        hollow = mark.role == "before"
        canvas.add(
            "circle",
            cx=canvas.x(x),
            cy=canvas.y(y),
            r=9 if hollow else 6 if mark.labels else 3.5,  # a ring is seen around a point that has not moved
            fill=canvas.ink["ground"] if hollow else colour,
            stroke=colour if hollow else canvas.ink["ground"],
            stroke_width=2 if hollow else 1,
        )


DRAW = {
    "line": _line,
    "band": _band,
    "level": _level,
    "points": _points,
    "track": _track,
    "shadow": _shadow,
    "bar": _bar,
}


def _labels(canvas: Canvas, mark: Mark) -> None:
    """Write each label beside its point, where it covers least of what else must be seen."""
    for x, y, label in zip(mark.xs, mark.ys, mark.labels, strict=False):
        across, down = canvas.x(x), canvas.y(y)
        width = SIGN * cell_len(printable(label)) + 2
        places = [place for off in (0, 8, 18, 30) for place in _around(width, off)]
        boxes = [(across + dx, down + dy - 12, across + dx + width, down + dy + 4, far) for dx, dy, far in places]
        *best, _ = min(boxes, key=lambda box: _cost(canvas, box[:4]) + 2 * box[4])
        canvas.taken.append((best[0], best[1], best[2], best[3]))
        colour = "text" if mark.role in ("track", "winner") else mark.role
        canvas.text(round(best[0], 2), round(best[3] - 4, 2), label, anchor="start", colour=colour)
        for name, value in HALO.items():
            canvas.root[-1].set(name, value)
        canvas.root[-1].set("stroke", canvas.ink["ground"])


def _around(width: float, off: float) -> list[tuple[float, float, float]]:
    """Return where a label of a width can stand, from its point, so many pixels further off than beside it."""
    right, left, middle = 11.0 + off, -11 - off - width, -width / 2
    beside = [(x, y) for x in (right, left) for y in (-8 - off, 4, 17 + off)]
    return [(x, y, off) for x, y in (*beside, (middle, -14 - off), (middle, 25 + off))]


def _box(x: float, y: float, half: float) -> Box:
    return x - half, y - half, x + half, y + half


def _cost(canvas: Canvas, box: Box) -> float:
    """Return how badly a label's box would stand: overlap with other labels, and overhang over the frame."""
    overlap = sum(
        max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
        * max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
        for other in canvas.taken
    )
    out = max(0.0, LEFT - box[0]) + max(0.0, box[2] - canvas.right) + max(0.0, TOP - box[1])
    return overlap + 20 * (out + max(0.0, box[3] - canvas.bottom))


def _legend(marks: list[Mark], language: Language) -> list[tuple[Mark | None, float, int, str]]:
    """Return what stands in the legend: a mark to draw a sample of, where across, on which line, and its words.

    A name too long for one line goes on below, without a sample.  Bands without a name share one.
    """
    named = [(mark, printable(mark.legend)) for mark in marks if mark.legend]
    bands = [mark for mark in marks if mark.kind == "band" and not mark.legend]
    if bands:
        mark = bands[0] if len({band.role for band in bands}) == 1 else replace(bands[0], role="other")
        named.append((mark, language.say(BAND)))
    placed: list[tuple[Mark | None, float, int, str]] = []
    x, row = float(LEFT), 0
    for mark, words in named:
        first, *further = wrapped(words, int((WIDTH - LEFT - SWATCH) / SIGN))
        width = SWATCH + SIGN * cell_len(first) + 12
        if x > LEFT and (further or x + width > WIDTH):
            x, row = float(LEFT), row + 1
        placed.append((mark, x, row, first))
        placed += [(None, x, row + below, line) for below, line in enumerate(further, 1)]
        row += len(further)
        x = x + width if not further else float(WIDTH)
    return placed


def wrapped(words: str, most: int) -> list[str]:
    """Return words as lines of at most ``most`` columns; a word that is longer is cut."""
    return [piece for line in folded(words, most) for piece in chop_cells(line.rstrip(), most)] or [""]


def _swatch(canvas: Canvas, mark: Mark, x: float, y: float) -> None:
    """Draw a sample of a mark: its dot, its line or a piece of its band."""
    if mark.kind == "points":
        sample = replace(mark, xs=[0.0], ys=[0.0], labels=mark.labels[:1])
        _points(canvas, sample)
        canvas.root[-1].set("cx", str(x + 12))
        canvas.root[-1].set("cy", str(y))
        return
    line = canvas.line((x, y), (x + 24, y), mark.role)
    line.set("stroke-width", "8" if mark.kind in ("band", "shadow", "bar") else "3")
    if mark.kind == "band":
        line.set("stroke-opacity", "0.25")
    if mark.kind == "level":
        line.set("stroke-dasharray", "6 4")
