"""Pictures: whatever is written in one lies inside it, and an axis that counts has whole numbers only."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring

import pytest
from rich.cells import cell_len

from llmlab.report.figure import SIGN, SIZE, svg, wrapped
from llmlab.report.language import language
from llmlab.report.messages import CODES
from llmlab.report.plot import legend, plot
from llmlab.report.result import BAND, Figure, Mark
from strategies_report import published


def texts(picture: Element) -> Iterator[Element]:
    """Yield the texts of a picture."""
    yield from picture.iter("{http://www.w3.org/2000/svg}text")


def outside(figure: Figure, code: str) -> list[str]:
    """Return the texts of a figure that reach over its edge, each letter taken for as wide as the widest common one."""
    picture = fromstring(svg(figure, "light", language(code)))  # noqa: S314 - our own document
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    assert (picture.attrib["width"], picture.attrib["height"]) == (f"{width:.0f}", f"{height:.0f}")
    found = []
    for one in texts(picture):
        x, y, words = float(one.attrib["x"]), float(one.attrib["y"]), str(one.text)
        long, along = SIGN * cell_len(words), width
        if "transform" in one.attrib:  # written upwards
            x, y, along = y, x, height
        left = {"start": x, "middle": x - long / 2, "end": x - long}[one.attrib["text-anchor"]]
        across = (0, height) if along == width else (0, width)
        if left < 0 or left + long > along or y - 0.9 * SIZE < across[0] or y + 0.25 * SIZE > across[1]:
            found.append(words)
    return found


@pytest.mark.parametrize("code", CODES)
def test_all_words_of_every_logged_picture_lie_inside_it(code: str) -> None:
    figures = [(record.id, figure) for record in published() for figure in record.result.figures]
    assert [(name, figure.name, found) for name, figure in figures if (found := outside(figure, code))] == []


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("names", "length"), [(1, 5), (7, 9), (7, 60), (7, 200)])
def test_a_picture_grows_with_its_legend(names: int, length: int, code: str) -> None:
    """As many arms as there are colours, with names of any length, of words or of one piece, are all read."""
    for name in ("a bc " * length, "x" * length, "\u57cb" * length):
        marks = [Mark("line", "arm1", [1.0, 2.0], [0.0, 1.0], legend=name[:length]) for _ in range(names)]
        assert outside(Figure("f", "F", "", "x", "y", marks), code) == []


@pytest.mark.parametrize("words", ["", "one", "one two three", "onetwothree four"])
def test_wrapping_loses_no_letter(words: str) -> None:
    lines = wrapped(words, 5)

    assert max(map(cell_len, lines)) <= 5
    assert "".join(lines) == words.replace(" ", "")


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 200])
def test_an_axis_that_counts_has_whole_numbers(epochs: int) -> None:
    """From one epoch on: no epoch 1.2, and the one point of a line is seen."""
    xs = [float(epoch + 1) for epoch in range(epochs)]
    band = Mark("band", "series", xs, [0.25] * epochs, tops=[0.75] * epochs)
    figure = Figure("f", "F", "", "epoch", "loss", [band, Mark("line", "series", xs, [0.5] * epochs, legend="loss")])
    picture = fromstring(svg(figure, "light"))  # noqa: S314 - our own document
    below = max(float(one.attrib["y"]) for one in texts(picture) if one.attrib["text-anchor"] == "middle") - 22
    ticks = [float(str(one.text)) for one in texts(picture) if float(one.attrib["y"]) == below]

    assert ticks
    assert all(tick.is_integer() and 1 <= tick <= epochs for tick in ticks)
    assert plot(figure, 80).plain.splitlines()[-2].split() == [f"{tick:g}" for tick in ticks] or epochs > 3
    assert (picture.find("{http://www.w3.org/2000/svg}circle") is not None) == (epochs == 1)


def test_a_band_is_named() -> None:
    marks = [Mark("band", "series", [1.0, 2.0], [0.0, 0.0], tops=[1.0, 1.0])]
    figure = Figure("f", "F", "", "x", "y", [*marks, Mark("line", "series", [1.0, 2.0], [0.5, 0.5], legend="loss")])
    for code in CODES:
        said = language(code)
        assert said.say(BAND) in svg(figure, "light", said)
        assert said.say(BAND) in legend(said.figure(figure), said)
