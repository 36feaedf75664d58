"""The log's own pages: what they say is what the records say, and no word of a user can break out of them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import markdown
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dangers import Seen
from llmlab import compare
from llmlab.pages import chapters, comparison, feed, pictures
from llmlab.report import entry, screen
from llmlab.report.escape import printable
from llmlab.report.messages import group
from llmlab.report.record import Record
from strategies_report import records, specimen, strict_json

ATOM = f"{{{feed.ATOM}}}"
DATA = re.compile(r'<script type="application/json" id="log-data">(.*?)</script>', re.DOTALL)


def block(*shown: Record) -> str:
    return comparison.block(list(shown), lambda record: f"{record.name}.html")


def unfolded(document: dict[str, object], number: int) -> tuple[dict[str, str], dict[str, float]]:
    names, texts = document["names"], document["texts"]
    _, _, settings, values, metrics, numbers = document["entries"][number]  # type: ignore[index]
    told = dict(zip(names[settings], (texts[value] for value in values), strict=True))  # type: ignore[index]
    return told, dict(zip(names[metrics], numbers, strict=True))  # type: ignore[index]


def feed_of(*shown: Record, site: str = "") -> str:
    links = [f"{record.name}.html" for record in shown]
    return feed.atom(list(shown), title="t", code="en", site=site, folder="log/", links=links)


@given(records)
def test_no_word_of_a_user_adds_an_element_to_the_comparison(record: Record) -> None:
    found = block(record)
    hostile, plain = Seen(found), Seen(block(specimen("h", 0.5)))

    assert hostile.elements == plain.elements
    assert [each[:2] for each in hostile.attributes] == [each[:2] for each in plain.attributes]
    data = DATA.search(found)
    assert data is not None
    assert not set("<>&") & set(data[1])
    strict_json(data[1])


@given(records, records)
def test_the_script_compares_by_what_log_compare_compares_by(a: Record, b: Record) -> None:
    document = json.loads(json.dumps(comparison.data([a, b], group("pages", "en"))))
    (told_a, numbers_a), (told_b, numbers_b) = (unfolded(document, number) for number in (0, 1))
    wanted = compare.document(a, b)["metrics"]

    assert set(numbers_a) & set(numbers_b) >= {printable(name) for name in wanted}
    for name, both in wanted.items():
        assert numbers_a[printable(name)] == pytest.approx(both["a"], rel=1e-8)
        assert numbers_b[printable(name)] == pytest.approx(both["b"], rel=1e-8)
    assert set(told_a) == {printable(name) for name in a.result.settings}
    assert set(told_b) == {printable(name) for name in b.result.settings}


def test_the_data_hold_every_name_once_and_an_empty_log_says_so() -> None:
    many = [replace(specimen(), id=f"{number:08x}") for number in range(100)]
    assert len(comparison.data(many, {})["names"]) == 2
    assert ("No entries yet" in block(), "<table" in block()) == (True, False)


def test_the_index_by_chapter_follows_the_study() -> None:
    """Chapters come in the order of the study, then what no chapter knows; each entry stands under its own."""
    names = ["two-stage", "something", "phase1-2", "phase1"]
    there = [replace(specimen(), result=replace(specimen().result, experiment=name)) for name in names]
    index = chapters.index(there)
    headings = re.findall(r"^## (.*)$", index, re.MULTILINE)

    assert headings == ["1 · Only the output layer", "2 · How embeddings move", "6 · Two stages", "something"]
    assert index.count(f"/{entry.PAGE})") == len(names)


@given(records)
def test_the_feed_is_xml_and_says_the_words_as_they_are(record: Record) -> None:
    root = fromstring(feed_of(record))  # noqa: S314 - our own document
    summary = root.findtext(f"{ATOM}entry/{ATOM}summary")

    assert summary is not None
    assert printable(screen.findings(record)[0]) in summary


def test_the_feed_has_what_atom_asks_for() -> None:
    """Feed and entries have a title, an id, a date and a link; the newest fifty are there; it knows no clock."""
    many = [replace(specimen(), id=f"{n:08x}", created=f"2026-11-{28 - n % 28:02}T03:18:00Z") for n in range(60)]
    many.sort(key=lambda record: record.created, reverse=True)
    root = fromstring(feed_of(*many))  # noqa: S314 - our own document
    entries = root.findall(f"{ATOM}entry")

    assert root.findtext(f"{ATOM}updated") == many[0].created
    assert len(entries) == feed.LONGEST
    assert [found.findtext(f"{ATOM}updated") for found in entries] == [record.created for record in many[:50]]
    for found in (root, *entries):
        assert found.findtext(f"{ATOM}title")
        assert str(found.findtext(f"{ATOM}id")).startswith("urn:uuid:")
    assert len({found.findtext(f"{ATOM}id") for found in (root, *entries)}) == 51
    assert fromstring(feed_of()).findtext(f"{ATOM}updated") == feed.NEVER  # noqa: S314 - our own document


@pytest.mark.parametrize("site", ["", "https://example.org/llmlab/"])
def test_the_feeds_links_need_no_address_of_the_site(site: str) -> None:
    """With an address links are whole; without one they are relative to the feed, and none is made up."""
    root = fromstring(feed_of(specimen(), site=site))  # noqa: S314 - our own document
    link = root.find(f"{ATOM}entry/{ATOM}link")

    assert link is not None
    assert link.get("href") == (f"{site}log/" if site else "") + f"{specimen().name}.html"
    assert (root.find(f"{ATOM}link") is not None) == bool(site)
    assert "None" not in feed_of(specimen(), site=site)


def converted(text: str, *extensions: str) -> str:
    site = ["admonition", "tables", "toc", "pymdownx.arithmatex", "pymdownx.details", "pymdownx.superfences"]
    return markdown.markdown(text, extensions=[*site, *extensions])


@given(records)
def test_quick_tables_are_the_same_tables(record: Record) -> None:
    page = entry.page(record)
    assert converted(page, "llmlab.pages.cells") == converted(page)


@given(st.text(st.sampled_from("a1 .,;%()+−–-*_`[]<>&\\!:$~^=/\"'#"), max_size=12))
def test_no_cell_that_means_something_is_skipped(cell: str) -> None:
    page = f"| a | b |\n| --- | ---: |\n| {cell} | 0.5 |\n"
    assert converted(page, "llmlab.pages.cells") == converted(page)


def test_a_picture_says_how_large_it_is(tmp_path: Path) -> None:
    record = specimen()
    drawn = {f"log/x/{name}": str(tmp_path / name) for name in entry.files(record) if name.endswith(".svg")}
    for name, text in entry.files(record).items():
        (tmp_path / name).write_text(text, "utf-8")
    page = '<img alt="a &gt; b" src="../log/x/map-light.svg#only-light" /><img src="no.svg"><img src="x.png">'
    found = pictures.sized(page, "study/a.html", drawn)

    assert re.search(r'<img alt="a &gt; b" src="../log/x/map-light.svg#only-light" width="\d+" height="\d+" />', found)
    assert found.endswith('<img src="no.svg"><img src="x.png">')
    assert pictures.sized(found, "study/a.html", drawn) == found
