"""The log page as a site would show it: hostile words may be read on it, they may not act on it.

The page goes through the Markdown library with the extensions of the site, and the HTML that comes out is
held against the page of a harmless text.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from xml.etree import ElementTree

import markdown
import pytest
import yaml
from hypothesis import given

from dangers import Seen
from llmlab.report import entry, screen
from llmlab.report.colours import INK, ROLES, THEMES
from llmlab.report.escape import LONGEST_NOTE, md_block, md_fence, printable
from llmlab.report.figure import svg
from llmlab.report.record import Record
from llmlab.report.result import ARMS, Finding, Result
from strategies_report import HOSTILE, records, specimen, texts

SITE = markdown.Markdown(
    extensions=["tables", "admonition", "toc", "pymdownx.superfences", "pymdownx.details", "md_in_html"]
)
ATTRIBUTES = {
    **{f"h{level}": {"id"} for level in (1, 2, 3)},
    **{
        name: set()
        for name in ("p", "strong", "em", "br", "table", "thead", "tbody", "tr", "pre", "details", "summary")
    },
    **{name: {"style"} for name in ("th", "td")},
    **{name: {"class", "id"} for name in ("span", "code", "div")},
    "img": {"alt", "src"},
    "a": {"href"},
}
"""Every element that an entry may have, with its attributes."""

SHAPES = {"svg", "title", "desc", "rect", "line", "polyline", "polygon", "circle", "text"}
BUILDING = ("h1", "h2", "h3", "table", "tr", "th", "td", "img", "pre", "a")
"""Elements that user text must not change the number of."""


def body(record: Record) -> str:
    """Return a page without its front matter."""
    return entry.page(record).split("---\n", 2)[2]


@lru_cache(200)
def shown(text: str) -> Seen:
    """Return what the site makes of Markdown."""
    return Seen(SITE.reset().convert(text))


def assert_inert(seen: Seen) -> None:
    """Assert that a page has the elements of a harmless page, with the attributes that those may have."""
    harmless = shown(body(specimen("h")))
    assert set(seen.elements) <= set(ATTRIBUTES)
    assert {(tag, name) for tag, name, _ in seen.attributes if name not in ATTRIBUTES[tag]} == set()
    assert seen.comments == harmless.comments
    assert {name: seen.elements[name] for name in BUILDING} == {name: harmless.elements[name] for name in BUILDING}
    sources = [{value for _, name, value in page.attributes if name == "src"} for page in (seen, harmless)]
    assert sources[0] == sources[1]
    assert [value for _, name, value in seen.attributes if name == "href"] == [entry.CURVES]


def test_hostile_text_is_read_on_the_page_and_cannot_act() -> None:
    """In cells, captions, alternatives, the summary, the command, the expectation and the note.

    A summary or a caption that opens with it is a paragraph with exactly these words, never a list.
    """
    for text in HOSTILE:
        page = shown(body(specimen(text)))
        assert_inert(page)
        for said in (f"{text} and {text} moved apart in 3 of 3 starts, though one follows the other", f"{text} said"):
            assert " ".join(printable(said).split()) in " ".join(page.words.split()), ascii(text[:24])


@given(records)
def test_no_text_can_act_on_the_page(record: Record) -> None:
    assert_inert(shown(body(record)))


@given(texts)
def test_a_note_reads_as_it_was_written(text: str) -> None:
    kept = text if len(text) <= LONGEST_NOTE else text[:LONGEST_NOTE] + " … (cut)"
    lines = [printable(line.strip()).split() for line in kept.splitlines() if line.strip()]
    seen = shown(md_block(text))
    assert seen.words.split() == [word for line in lines for word in line]
    assert seen.elements == Counter({"p": 1, "br": len(lines) - 1} if lines else {})


def test_a_long_note_is_cut_where_all_can_see_it() -> None:
    record = replace(specimen(), note="n" * (LONGEST_NOTE + 1))
    assert "… (cut)" in shown(body(record)).words
    assert record.note in record.json()


@given(texts)
def test_a_fence_cannot_be_closed_from_inside(text: str) -> None:
    seen = shown(md_fence(text, "sh") + "\n")
    assert seen.elements["pre"] == seen.elements["code"] == 1
    assert set(seen.elements) <= {"pre", "code", "span", "div"}
    assert seen.words.strip() == printable(text).strip()


@pytest.fixture(autouse=True, scope="module")
def findings() -> Iterator[None]:
    """Let every record support one claim and refute another, with the words of its note as evidence."""

    def by_hand(record: Record, lang: str = "en") -> list[Finding]:
        moved = Finding("T-1", "o does not move.", "supported", f"way of {record.note}: 0.00")
        return [moved, Finding("T-2", "It never moves.", "refuted", "no")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "findings", by_hand)
        yield


@given(records)
def test_front_matter_says_what_was_meant(record: Record) -> None:
    page = entry.page(record)
    front = yaml.safe_load(page.split("---\n", 2)[1])
    assert page.startswith("---\n")
    assert front.pop("date").isoformat() == "2026-11-22T03:18:00+00:00"
    assert front == {
        "title": screen.title(record),
        "slug": "2026-11-22-phase1-2-0123abcd",
        "categories": ["phase1-2"],
        "tags": ["complete", "refuted", "supported"],
    }
    assert not set(front["title"]) & set('<>&`"\\{}[]|#'), "a title stands unescaped in the menus of every page"
    assert printable(front["title"]) == front["title"]


@given(records)
def test_a_page_has_one_line_per_row(record: Record) -> None:
    """No text adds a line below what is first seen, outside the notes: cells, captions and headings are one each."""
    pages = (entry.page(replace(each, note="", expectation="x")) for each in (record, specimen()))
    lines = [page.partition("<!-- more -->")[2].splitlines() for page in pages]
    assert len(lines[0]) == len(lines[1])


@given(records)
def test_pictures_are_only_shapes_and_words(record: Record) -> None:
    for figure in record.result.figures:
        for theme in THEMES:
            root = ElementTree.fromstring(svg(figure, theme))  # noqa: S314 - our own bytes
            names = {element.tag.removeprefix("{http://www.w3.org/2000/svg}") for element in root.iter()}
            attributes = {name for element in root.iter() for name in element.attrib}
            assert names <= SHAPES
            assert not {name for name in attributes if name.startswith("on") or "href" in name or name == "style"}
            values = " ".join(value for element in root.iter() for value in element.attrib.values())
            assert "nan" not in values
            assert "inf" not in values
            assert "url(" not in values
            words = {element.text or "" for element in root.iter()}
            assert printable(record.note) in words or figure.name != "map", "a label reads as it was written"


@given(texts)
def test_curves_are_numbers_beside_the_record(text: str) -> None:
    """Each line of a training's picture comes back from the CSV as it stands there; no word begins a formula."""
    curve = replace(specimen().result.figures[-1], y_label=text)
    curve = replace(curve, marks=[replace(mark, legend=text) for mark in curve.marks])
    made = entry.curves(replace(specimen().result, figures=[curve]))
    head, *rows = csv.reader(made.splitlines())
    lines = [mark for mark in curve.marks if mark.kind == "line"]

    assert head == ["figure", "curve", "along", "at", "measure", "value"]
    assert [float(row[-1]) for row in rows] == [value for mark in lines for value in mark.ys]
    assert [float(row[3]) for row in rows] == [at for mark in lines for at in mark.xs]
    assert not any(cell[:1] in ("=", "+", "@", "-") for row in rows for cell in (*row[:3], row[4]))
    assert printable(made.replace("\n", "")) == made.replace("\n", "")


def test_an_entry_without_a_training_has_no_curves() -> None:
    record = replace(specimen(), result=replace(specimen().result, figures=[]))

    assert entry.files(specimen())[entry.CURVES] == entry.curves(specimen().result)
    assert entry.CURVES not in entry.files(record)
    assert entry.CURVES not in entry.page(record)


@pytest.mark.parametrize("status", ["complete", "interrupted", "diverged"])
def test_an_empty_result_makes_a_page(status: str) -> None:
    result = replace(Result.diverged("phase1", {"seeds": 1}, "why", "how", 3), status=status)
    seen = shown(body(replace(specimen(), result=result)))
    assert (seen.elements["h1"], "diverged at update 3" in seen.words) == (1, True)


@pytest.mark.parametrize("theme", THEMES)
def test_no_two_arms_look_alike_and_all_stand_out(theme: str) -> None:
    """Each arm has its own colour, on paper and in the terminal, at least 3:1 against the ground (WCAG 1.4.11)."""
    inks = [INK[theme][arm] for arm in ARMS]
    assert len(set(inks)) == len({ROLES[arm][2] for arm in ARMS}) == len(ARMS)
    assert min(contrast(ink, INK[theme]["ground"]) for ink in inks) >= 3


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, as WCAG 2.2 defines it."""
    lights = sorted(relative_luminance(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def relative_luminance(colour: str) -> float:
    """Return how light a colour ``#rrggbb`` is, from 0 to 1."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
