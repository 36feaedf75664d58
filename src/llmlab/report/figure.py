"""A Figure as SVG: one picture in light, one in dark, from the same data; and the axes that the terminal's has, too.

Built with ElementTree, so nothing in a label can leave its text node; only shapes and text are ever written:
no script, no style sheet, no link.  The same figure gives the same bytes everywhere.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement, tostring

from rich.cells import cell_len, chop_cells

from llmlab.report.colours import INK
from llmlab.report.escape import printable
from llmlab.report.folding import folded
from llmlab.report.language import ENGLISH, Language
from llmlab.report.result import BAND, Figure, Mark

WIDTH, LEFT, RIGHT, TOP, BELOW = 480, 60, 466, 14, 66
"""Of the picture, and the edges of its drawing area; below that stands the axis, and then the legend."""

FONT = "system-ui, sans-serif"
SIZE, SIGN = 15, 8.6
"""Of the letters, and how wide one of them is: on a telephone 360 pixels wide they are still 11 high."""

SWATCH, ROW, LEAST_ROWS = 30, 20, 2
"""Of the legend: the room for a sample of a mark, from one line to the next, and the lines that are always there."""

SAMPLES: dict[str, dict[str, object]] = {
    "band": {"stroke_width": 8, "stroke_opacity": 0.25},
    "shadow": {"stroke_width": 8},
    "bar": {"stroke_width": 8},
    "level": {"stroke_width": 3, "stroke_dasharray": "6 4"},
}
"""How a piece of a mark is drawn there, if it is no thin line."""

PARTS = 16
"""Places along a bar, an arrow or a perpendicular that no label should cover."""

CURVES = {"line", "band", "level"}
"""Marks along an axis, which begins at their first point."""

Point = tuple[float, float]
Range = tuple[float, float]
Box = tuple[float, float, float, float]


class Canvas:
    """A drawing under way: where data coordinates land on the page, and where labels already stand."""

    def __init__(self, root: Element, theme: str, xs: Range, ys: Range, bottom: int) -> None:
        self.root, self.ink, self.xs, self.ys, self.bottom = root, INK[theme], xs, ys, bottom
        self.taken: list[Box] = []

    def at(self, x: float, y: float) -> Point:
        """Return where a point of the data lies on the page."""
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        up = (y - self.ys[0]) / (self.ys[1] - self.ys[0])
        return round(LEFT + across * (RIGHT - LEFT), 2), round(self.bottom - up * (self.bottom - TOP), 2)

    def add(self, tag: str, **attributes: object) -> Element:
        """Append one element; ``stroke_width`` becomes ``stroke-width``."""
        return SubElement(self.root, tag, {key.replace("_", "-"): str(value) for key, value in attributes.items()})

    def line(self, start: Point, end: Point, colour: str, **attributes: object) -> None:
        """Append a straight line."""
        (x1, y1), (x2, y2) = start, end
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=self.ink[colour], **attributes)

    def text(
        self, x: float, y: float, words: str, anchor: str = "middle", colour: str = "text", **more: object
    ) -> None:
        """Append a line of text."""
        fill = self.ink[colour]
        self.add("text", x=x, y=y, text_anchor=anchor, fill=fill, font_size=SIZE, **more).text = printable(words)


def svg(figure: Figure, theme: str, language: Language = ENGLISH) -> str:
    """Return a figure as an SVG document, ``light`` or ``dark``; its title and caption become the text alternative."""
    figure = language.figure(figure)
    bottom = TOP + (396 if figure.equal_axes else 266)
    legend = list(_legend(figure.marks, language))
    height = bottom + BELOW + ROW * max([LEAST_ROWS, *(row + 1 for _, _, row, _ in legend)]) - 6
    spoken = {} if language is ENGLISH else {"lang": language.code}  # the signs of one script differ by language
    size = {"viewBox": f"0 0 {WIDTH} {height}", "width": str(WIDTH), "height": str(height)}
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img", "font-family": FONT, **spoken})
    SubElement(root, "title").text = printable(figure.title)
    SubElement(root, "desc").text = printable(figure.caption)
    canvas = Canvas(root, theme, *ranges(figure, (RIGHT - LEFT) / (bottom - TOP)), bottom)
    canvas.add("rect", width=WIDTH, height=height, fill=canvas.ink["ground"])
    _axes(canvas, figure)
    for mark in figure.marks:
        _draw(canvas, mark)
    canvas.taken = [_around(canvas.at(*point)) for mark in figure.marks for point in _seen(mark)]
    for mark in figure.marks:
        _labels(canvas, mark)
    for sample, x, row, words in legend:
        y = bottom + BELOW + ROW * row
        if sample and sample.kind == "points":
            _dot(canvas, sample, x + 12, y - 4)
        elif sample:
            canvas.line((x, y - 4), (x + 24, y - 4), sample.role, **SAMPLES.get(sample.kind, {"stroke_width": 3}))
        canvas.text(x + SWATCH, y, words, "start")
    return tostring(root, encoding="unicode") + "\n"


def _axes(canvas: Canvas, figure: Figure) -> None:
    bottom, middle = canvas.bottom, (TOP + canvas.bottom) / 2
    for value in ticks(*canvas.xs, 6, whole=counts(figure)):
        x, name = canvas.at(value, 0.0)[0], tick_label(value)
        canvas.line((x, TOP), (x, bottom), "grid")
        canvas.text(min(x, WIDTH - SIGN * len(name) / 2), bottom + 20, name)  # the last one may stand at the edge
    for value, name in heights(figure, canvas.ys, 6):
        y = canvas.at(0.0, value)[1]
        canvas.line((LEFT, y), (RIGHT, y), "grid")
        canvas.text(LEFT - 7, y + 5, name, "end")
    axis = {"fill": "none", "stroke": canvas.ink["axis"]}
    canvas.add("rect", x=LEFT, y=TOP, width=RIGHT - LEFT, height=bottom - TOP, **axis)
    if not figure.equal_axes and canvas.ys[0] > 0:  # the axis is cut: it does not begin at zero
        zigzag = [(LEFT + 5 * (-1) ** turn, bottom - 8 - 4 * turn) for turn in range(4)]
        canvas.add("polyline", points=_joined(zigzag), **axis, stroke_width=2)
    canvas.text((LEFT + RIGHT) / 2, bottom + 42, figure.x_label)
    canvas.text(14, middle, figure.y_label, transform=f"rotate(-90 14 {middle})")


def _draw(canvas: Canvas, mark: Mark) -> None:
    zero, role, colour = canvas.at(0.0, 0.0), mark.role, canvas.ink[mark.role]
    points = [canvas.at(x, y) for x, y in zip(mark.xs or [0.0], mark.ys, strict=False)]  # a level has a height only
    match mark.kind:
        case "line" if len(points) == 1:  # a line through one point would not be seen
            canvas.add("circle", cx=points[0][0], cy=points[0][1], r=4, fill=colour)
        case "line":
            dots = {"stroke_dasharray": "2 4"} if role == "foot" else {}
            how = {"stroke_linejoin": "round", "stroke_width": 2.5 if role == "series" else 1.5, **dots}
            canvas.add("polyline", points=_joined(points), fill="none", stroke=colour, **how)
        case "band":
            tops = [canvas.at(x, y) for x, y in zip(mark.xs, mark.tops, strict=True)]
            rim = {"stroke": colour, "stroke_opacity": 0.25, "stroke_width": 8} if len(points) == 1 else {}
            canvas.add("polygon", points=_joined(points + tops[::-1]), fill=colour, fill_opacity=0.25, **rim)
        case "level":
            y = points[0][1]
            canvas.line((LEFT, y), (RIGHT, y), role, stroke_width=1.5, stroke_dasharray="6 4")
        case "track":
            x, y = mark.xs[0], mark.ys[0]
            there, back = (canvas.at(x * far, y * far) for far in _reach(canvas, x, y))
            canvas.line(there, back, role, stroke_width=1, stroke_opacity=0.45)
            canvas.line(zero, points[0], role, stroke_width=3.5 if role == "winner" else 2)
            canvas.add("polygon", points=_arrow_head(zero, points[0]), fill=colour)
        case "shadow":
            canvas.line(zero, points[0], role, stroke_width=9, stroke_opacity=0.55 if role == "winner" else 0.4)
        case "bar":
            for x, y in points:
                canvas.line((zero[0], y), (x, y), role, stroke_width=8)
        case "points":
            for x, y in points:
                _dot(canvas, mark, x, y)


def _joined(points: Iterable[Point]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _reach(canvas: Canvas, x: float, y: float) -> Range:
    """Return how many times (x, y) fits from zero to the frame, there and back, at most a thousand."""
    times = [limit / value for value, pair in ((x, canvas.xs), (y, canvas.ys)) if value for limit in pair]
    return min([far for far in times if far > 0] + [1000.0]), max([far for far in times if far < 0] + [-1000.0])


def _arrow_head(tail: Point, tip: Point) -> str:
    dx, dy = tip[0] - tail[0], tip[1] - tail[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    ux, uy = dx / length * 11, dy / length * 11
    corners = [tip, (tip[0] - ux - uy * 0.5, tip[1] - uy + ux * 0.5), (tip[0] - ux + uy * 0.5, tip[1] - uy - ux * 0.5)]
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def _dot(canvas: Canvas, mark: Mark, x: float, y: float) -> None:
    ground, colour = canvas.ink["ground"], canvas.ink[mark.role]
    if mark.role == "before":  # a ring is seen around a point that has not moved
        canvas.add("circle", cx=x, cy=y, r=9, fill=ground, stroke=colour, stroke_width=2)
    else:
        canvas.add("circle", cx=x, cy=y, r=6 if mark.labels else 3.5, fill=colour, stroke=ground, stroke_width=1)


def _seen(mark: Mark) -> Iterator[Point]:
    """Yield where a mark must not be covered by a label: its points, and of a straight one some on the way."""
    if mark.kind in ("track", "shadow"):
        yield from ((mark.xs[0] * part / PARTS, mark.ys[0] * part / PARTS) for part in range(1, PARTS + 1))
    elif mark.kind == "points":
        yield from zip(mark.xs, mark.ys, strict=True)
    elif mark.role == "foot" and len(mark.xs) == 2:
        (x, to_x), (y, to_y) = mark.xs, mark.ys
        yield from ((x + (to_x - x) * part / PARTS, y + (to_y - y) * part / PARTS) for part in range(PARTS))


def _around(point: Point) -> Box:
    return point[0] - 7, point[1] - 7, point[0] + 7, point[1] + 7


def _labels(canvas: Canvas, mark: Mark) -> None:
    """Write each label beside its point, or above or below it, where it covers least of what else must be seen."""
    colour = "text" if mark.role in ("track", "winner") else mark.role
    halo = {"font_weight": "600", "paint_order": "stroke", "stroke_width": "3", "stroke": canvas.ink["ground"]}
    for x, y, label in zip(mark.xs, mark.ys, mark.labels, strict=False):
        across, down = canvas.at(x, y)
        width = SIGN * cell_len(printable(label)) + 2
        boxes: list[tuple[float, Box]] = []
        for off in (0, 8, 18, 30):  # so many pixels further off than beside it
            beside = [(dx, dy) for dx in (11.0 + off, -11 - off - width) for dy in (-8 - off, 4, 17 + off)]
            for dx, dy in (*beside, (-width / 2, -14 - off), (-width / 2, 25 + off)):
                box = across + dx, down + dy - 12, across + dx + width, down + dy + 4
                boxes.append((_cost(canvas, box) + 2 * off, box))
        _, best = min(boxes, key=lambda priced: priced[0])
        canvas.taken.append(best)
        canvas.text(round(best[0], 2), round(best[3] - 4, 2), label, "start", colour, **halo)


def _cost(canvas: Canvas, box: Box) -> float:
    """Return how badly a label's box would stand: overlap with what is taken, and overhang over the frame."""
    left, top, right, bottom = box
    overlap = sum(
        max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in canvas.taken
    )
    out = max(0.0, LEFT - left) + max(0.0, right - RIGHT) + max(0.0, TOP - top) + max(0.0, bottom - canvas.bottom)
    return overlap + 20 * out


def _legend(marks: list[Mark], language: Language) -> Iterator[tuple[Mark | None, float, int, str]]:
    """Yield what stands in the legend: a mark to draw a sample of, where across, on which line, and its words.

    A name too long for one line goes on below, without a sample.  Bands without a name share one.
    """
    named = [(mark, printable(mark.legend)) for mark in marks if mark.legend]
    if bands := [mark for mark in marks if mark.kind == "band" and not mark.legend]:
        alike = len({band.role for band in bands}) == 1
        named.append((bands[0] if alike else replace(bands[0], role="other"), language.say(BAND)))
    x, row = float(LEFT), 0
    for mark, words in named:
        first, *further = wrapped(words, int((WIDTH - LEFT - SWATCH) / SIGN))
        width = SWATCH + SIGN * cell_len(first) + 12
        if x > LEFT and (further or x + width > WIDTH):
            x, row = float(LEFT), row + 1
        yield mark, x, row, first
        for line in further:
            row += 1
            yield None, x, row, line
        x = float(WIDTH) if further else x + width


def wrapped(words: str, most: int) -> list[str]:
    """Return words as lines of at most ``most`` columns; a word that is longer is cut."""
    return [piece for line in folded(words, most) for piece in chop_cells(line.rstrip(), most)] or [""]


def ranges(figure: Figure, shape: float) -> tuple[Range, Range]:
    """Return the x and y range of a figure: with zero where tracks start at it; a curve begins at its first point.

    ``shape`` is the width of the drawing area divided by its height: with equal axes a unit is equally long on both.
    """
    kinds = {mark.kind for mark in figure.marks}
    xs = [x for mark in figure.marks for x in mark.xs] + [0.0] * bool(kinds & {"track", "bar"})
    ys = [y for mark in figure.marks for y in (*mark.ys, *mark.tops)] + [0.0] * ("track" in kinds)
    wide, high = _padded(xs, 0.0 if kinds <= CURVES else 0.08), _padded(ys, 0.08)
    if counts(figure) and len(set(xs)) == 1:
        wide = xs[0] - 0.5, xs[0] + 0.5
    if not figure.equal_axes:
        return wide, high
    width, height = wide[1] - wide[0], high[1] - high[0]
    beside, above = max(0.0, height * shape - width) / 2, max(0.0, width / shape - height) / 2
    return (wide[0] - beside, wide[1] + beside), (high[0] - above, high[1] + above)


def _padded(values: list[float], margin: float) -> Range:
    low, high = min(values, default=0.0), max(values, default=1.0)
    all_one = high - low <= 1e-9 * max(abs(low), abs(high), 1e-300)
    extra = (abs(high) * 0.1 or 1.0) if all_one else (high - low) * margin
    return low - extra, high + extra


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
