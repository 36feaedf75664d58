"""What reaches a terminal: words of users act on nothing, every line fits, and no digit is ever cut."""

import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from conftest import Done
from llmlab.report import screen, terminal
from llmlab.report.escape import printable
from llmlab.report.format import ROUNDING, cell, number
from llmlab.report.language import ENGLISH, language
from llmlab.report.listing import entries_lines
from llmlab.report.logbook import Logbook
from llmlab.report.plot import legend, plot
from llmlab.report.record import Record
from llmlab.report.result import TO_ROUNDING, Column, Figure, Mark, Role, Table
from llmlab.report.table import first_screen, report, table_view
from strategies_report import HOSTILE, number_cells, numbers, records, specimen, texts

WIDTHS = [40, 60, 80, 200]
ACTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printed(width: int, made: Callable[[Console], Iterable[RenderableType]], encoding: str = "utf-8") -> str:
    """Return what a console that is no terminal prints."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="llmlab")
    console = Console(markup=False, highlight=False, emoji=False, width=width, file=file)
    for part in made(console):
        console.print(part, crop=False)
    file.seek(0)
    return file.read()


def shown(record: Record, width: int, encoding: str = "utf-8") -> str:
    """Return what a run shows, in full and in short."""
    return printed(width, lambda console: (*report(record, console), *first_screen(record, console)), encoding)


def widest(text: str) -> int:
    """Return how wide the widest line is, but for the command to go on with: the terminal folds that."""
    return max(cell_len(line) for line in text.splitlines() if not line.startswith("Next: "))


def assert_calm(text: str) -> None:
    """Assert that nothing in a text acts: no control, format or direction character but the line feed."""
    assert {character for character in text if unicodedata.category(character) in ACTING} <= {"\n"}


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_words_do_nothing_and_every_line_fits(width: int) -> None:
    for text in HOSTILE[WIDTHS.index(width) :: len(WIDTHS)]:
        out = shown(specimen(text), width)
        assert_calm(out)
        assert widest(out) <= width, ascii(text[:24])


@given(records)
def test_no_words_act_in_a_narrow_terminal(record: Record) -> None:
    """Any words and any number at forty columns: nothing acts, no line is too long, and every number stands whole."""
    out, wanted = shown(record, 40), number_cells(record)
    assert_calm(out)
    assert widest(out) <= 40
    assert Counter(wanted) <= Counter(out.split())


@pytest.mark.parametrize("width", [0, *WIDTHS])
def test_the_list_of_the_log_fits_and_keeps_the_ends_of_a_finding(width: int) -> None:
    """A finding is whole where it is written to no terminal; on a narrow one its first and its last words stay."""
    many = [replace(specimen(text), id=f"{n:08x}") for n, text in enumerate(["h", *HOSTILE])]
    lines = printed(width or 40, lambda console: [entries_lines(many, ENGLISH, width)]).splitlines()
    found = screen.title(many[0])
    assert not width or max(map(cell_len, lines)) <= width
    assert [line.split()[-1] for line in lines] == [record.id for record in many]
    assert all(words in lines[0] for words in ("11-22", found[:6], found[-5:]))
    assert (found in lines[0]) == (width in (0, 200) or len(found) < width - 20)


@given(texts)
def test_printable_loses_nothing_that_can_be_seen(text: str) -> None:
    safe = printable(text)
    assert_calm(safe)
    assert "\n" not in safe
    assert printable(safe) == safe
    for character in text:
        shown_as = f"U+{ord(character):04X}" if unicodedata.category(character) in ACTING else character
        assert shown_as in safe


@given(numbers)
def test_a_number_is_short_and_honest(value: float) -> None:
    """It has at most twelve characters, reads as the value to its last shown digit, and only zero looks like zero."""
    text = number(value)
    assert text == TO_ROUNDING if 0 < abs(value) < ROUNDING else (float(text) == 0) == (value == 0)
    assert len(text) <= 12
    assert "…" not in text
    assert text == TO_ROUNDING or float(text) == pytest.approx(value, rel=0.051, abs=0.5001e-4)


@given(st.floats(-ROUNDING, ROUNDING, exclude_min=True, exclude_max=True), st.integers(0, 9))
def test_what_only_rounding_decides_has_no_digits(value: float, digits: int) -> None:
    """A number so near 0 is said in words, in both languages, and its sign is not told; 0 itself is exact."""
    table = Table("t", "t", [Column("c", digits=digits)], [[value]])
    (shown_en,), (shown_ja,) = (language(code).table(table).rows[0] for code in ("en", "ja"))

    assert cell(shown_en, table.columns[0]) == ("to rounding" if value else number(value, digits))
    assert cell(shown_ja, table.columns[0]) == ("丸め誤差" if value else number(value, digits))


def test_an_ascii_terminal_gets_ascii() -> None:
    """On an output that knows only ASCII our signs are spelled by their look and others by their code point."""
    out = shown(specimen("漢é→"), 80, "ascii")
    assert out.isascii()
    assert "U+6F22U+00E9->" in out


@pytest.mark.parametrize("ascii_only", [False, True])
def test_points_of_any_role_are_drawn_and_told(ascii_only: bool) -> None:
    """Points without labels have a sign, whichever role a record gives them."""
    for role in get_args(Role):
        figure = drawn(Mark("points", role, [0.0, 1.0], [0.0, 1.0], legend="seen"))
        assert plot(figure, 60, ascii_only=ascii_only).plain.isascii() == ascii_only
        assert "seen" in legend(figure)


def test_a_number_column_keeps_its_place_under_a_long_name() -> None:
    table = Table("t", "T", [Column("what", "text"), Column("n" * 60)], [["a", 1.5]])
    assert "1.5000" in printed(40, lambda console: [table_view(table, console)]).split()


@pytest.fixture
def name(log: Logbook) -> str:
    """The id of an entry whose words would act."""
    return log.put(specimen("[red]\x1b[2J漢→"))[0].id


def test_any_width_of_a_real_terminal_works(run_llmlab: Callable[..., Done], name: str) -> None:
    for columns in ("10", "20", "40", "80", "200", "0", "-1", "abc", ""):
        done = run_llmlab("log", "show", name, COLUMNS=columns)
        assert (done.code, done.err, len(done.out.split()) > 50) == (0, "", True)
        assert columns not in ("40", "80", "200") or widest(done.out) <= int(columns)


@pytest.mark.parametrize(
    "variables",
    [
        {"NO_COLOR": "1"},
        {"TERM": "dumb"},
        {"TERM": None},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=str,
)
def test_off_a_terminal_no_escape_is_written(
    run_llmlab: Callable[..., Done], name: str, variables: dict[str, str]
) -> None:
    done = run_llmlab("log", "show", name, **variables)
    assert (done.code, done.err) == (0, "")
    assert_calm(done.out)


def test_every_sign_of_ours_has_a_spelling() -> None:
    """No sign in our own words reaches an ASCII terminal as a code point; pictures have frames of their own.

    (Japanese does not either: where it cannot be shown, there is English.)
    """
    assert all(spelling.isascii() and not sign.isascii() for sign, spelling in terminal.ASCII.items())
    source = Path(terminal.__file__).parents[1]
    signs = {sign for path in source.rglob("*.py") for sign in path.read_text("utf-8") if not sign.isascii()}
    signs = {sign for sign in signs if cell_len(sign) == 1}
    assert {sign for sign in signs if unicodedata.name(sign)[:3] != "BOX"} <= terminal.ASCII.keys()


def drawn(*marks: Mark) -> Figure:
    return Figure("f", "F", "", "x", "y", [*marks])


@settings(max_examples=40)
@given(
    ends=st.lists(st.floats(-9, 9).map(lambda end: round(end, 2)), min_size=1, max_size=6),
    width=st.sampled_from([24, 40, 76]),
    ascii_only=st.booleans(),
)
def test_without_colour_every_curve_has_its_letter_where_it_ends(
    ends: list[float], width: int, ascii_only: bool
) -> None:
    curves = [Mark("line", "series", [1.0, 2.0], [0.0, end], legend=f"to {end}") for end in ends]
    figure = drawn(*curves, Mark("level", "floor", [], [1.0], legend="one"))
    lines = plot(figure, width, ascii_only=ascii_only).plain.split("\n")
    frame = "|" if ascii_only else "│"
    told = "".join(line.rstrip().rsplit(frame, 1)[-1] for line in lines if frame in line)
    heights = dict(zip("abcdefg", [*ends, 1.0], strict=False))

    assert sorted(told) == sorted(heights)
    assert [heights[letter] for letter in told] == sorted(heights.values(), reverse=True)
    assert max(cell_len(line) for line in lines) <= width
    assert all(f"{letter} " in legend(figure) for letter in told)


@settings(max_examples=40)
@given(st.booleans(), st.floats(0, 1))
def test_a_letter_stands_in_the_row_of_its_level(ascii_only: bool, height: float) -> None:
    rim = [Mark("line", "other", [0.0, 1.0], [-1.0, -1.0]), Mark("line", "other", [0.0, 1.0], [2.0, 2.0])]
    shown = [Mark("level", "floor", [], [height], legend="a level"), Mark("level", "floor", [], [-1.0], legend="below")]
    lines = plot(drawn(*rim, *shown), 40, ascii_only=ascii_only).plain.split("\n")
    row = next(line for line in lines if line.rstrip().endswith("a"))

    assert row.strip(" 012.5-│┤|+a") == "" if ascii_only else len(set(row) & set(map(chr, range(0x2801, 0x2900)))) > 0


def test_only_several_curves_have_letters_and_only_the_edges_of_a_band_are_dotted() -> None:
    """In a picture of a band and a line, the line fills its row and the band's edges leave gaps in theirs."""
    one = Mark("line", "series", [1.0, 2.0], [0.0, 1.0], legend="loss")
    place = Mark("points", "before", [1.0], [1.0], legend="before")
    assert legend(Figure("f", "F", "", "x", "loss", [one])) == "height: loss"
    assert legend(Figure("f", "F", "", "x", "loss", [one, one, place])) == "height: loss, ○ before"

    band = Mark("band", "series", [0.0, 1.0], [0.0, 0.0], tops=[1.0, 1.0], legend="band")
    line = Mark("line", "series", [0.0, 1.0], [0.5, 0.5], legend="line")
    lines = plot(drawn(band, line), 40, ascii_only=True).plain.split("\n")
    dots = {row.rstrip()[-1]: row.count(".") for row in lines if row.rstrip()[-1:] in ("a", "b")}

    assert 5 < dots["a"] * 2 < dots["b"]
