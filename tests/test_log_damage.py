"""The log under harm: one bad entry among good ones, many writers at once, links, and records made to hurt."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from conftest import Done, environment
from llmlab import compare
from llmlab.cli.log import judged_document
from llmlab.disk import HIDDEN
from llmlab.errors import TextError
from llmlab.report import entry, screen
from llmlab.report.language import ENGLISH
from llmlab.report.listing import entries_document, entries_lines
from llmlab.report.logbook import Logbook
from llmlab.report.record import Record
from llmlab.report.table import first_screen, report
from strategies_report import specimen


@pytest.fixture
def log(tmp_path: Path) -> Logbook:
    """A log in an empty folder, where ``run_llmlab`` finds it."""
    return Logbook.at(tmp_path / "llmlab-log")


WRITERS = """
import os, sys, traceback
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from strategies_report import specimen
from llmlab.report.logbook import Logbook
log, (wait, go) = Logbook.at(Path(sys.argv[2])), os.pipe()
for writer in range(8):
    if os.fork() == 0:
        try:
            os.close(go)
            os.read(wait, 1)
            for number in range(5):
                log.put(specimen(f"{writer}-{number}"))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
os.close(go)
sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(8)))
"""


def test_eight_writers_at_once_lose_nothing(tmp_path: Path, log: Logbook) -> None:
    """Eight processes that begin together put 5 entries each: 40 entries, 40 ids, all whole, none lost."""
    command = [sys.executable, "-c", WRITERS, str(Path(__file__).parent), str(log.site)]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [record for _, record in log.read() if isinstance(record, Record)]
    assert len({record.id for record in found}) == 40
    assert {record.note for record in found} == {f"{writer}-{number}" for writer in range(8) for number in range(5)}
    assert not list(log.posts.glob(f"{HIDDEN}*"))


def into(**changes: Any) -> Callable[[Path, str], object]:
    """Return what writes a record with other values."""
    return lambda path, whole: path.write_text(json.dumps(json.loads(whole) | changes), "utf-8")


DAMAGE: dict[str, Callable[[Path, str], object]] = {
    "empty": lambda path, whole: path.write_text("", "utf-8"),
    "torn": lambda path, whole: path.write_text(whole[: len(whole) // 2], "utf-8"),
    "not utf-8": lambda path, whole: path.write_bytes(b"\xff\xfe" + whole.encode()),
    "other schema": into(schema="llmlab.result/999"),
    "not a number": lambda path, whole: path.write_text(whole.replace("0.25", "NaN"), "utf-8"),
    "a list": lambda path, whole: path.write_text("[]", "utf-8"),
    "deep": lambda path, whole: path.write_text("[" * 100_000 + "]" * 100_000, "utf-8"),
    "huge number": lambda path, whole: path.write_text(whole.replace("0.25", "1" * 5_000), "utf-8"),
    "link": lambda path, whole: path.symlink_to(path.rename(path.parents[4] / "elsewhere.json")),
    "missing": lambda path, whole: path.unlink(),
    "a folder": lambda path, whole: (path.unlink(), path.mkdir()),
    "other name": lambda path, whole: path.parent.rename(path.parent.with_name("2020-01-01-phase1-00000000")),
    "other id": into(id="../../x"),
    "settings a list": into(settings=[]),
    "metrics a text": into(metrics="x"),
    "tables a number": into(tables=1),
}
"""Ways in which entries were damaged elsewhere: what is done to the path of a record, and its text."""


@pytest.mark.parametrize("kind", DAMAGE)
def test_one_bad_entry_hides_no_other(log: Logbook, run_llmlab: Callable[..., Done], kind: str) -> None:
    """The list shows every good entry, warns of the bad one in one line, and succeeds; rendering does the same."""
    good = [log.put(specimen(text))[0].id for text in ("a", "b")]
    bad, page = log.put(specimen("c"))
    DAMAGE[kind](page.parent / "record.json", (page.parent / "record.json").read_text("utf-8"))
    done = run_llmlab("log", "list", "--json")
    assert done.code == 0
    assert {found["id"] for found in done.document["entries"]} == set(good)
    assert len(done.err.strip().splitlines()) == 1
    assert "warning" in done.err
    assert (bad.id in done.err) or kind == "other name"
    assert len([outcome for _, outcome in log.render() if not outcome.startswith("skipped")]) == 2


def test_a_linked_entry_is_not_followed(log: Logbook, tmp_path: Path) -> None:
    """A folder that is a link to somewhere else is no entry: rendering never writes outside the log."""
    _, page = log.put(specimen())
    outside = tmp_path / "outside"
    page.parent.rename(outside)
    page.parent.symlink_to(outside)
    (outside / "map-light.svg").write_text("mine", "utf-8")
    list(log.render())
    assert (outside / "map-light.svg").read_text("utf-8") == "mine"


def test_a_bad_entry_is_named_when_asked_for(log: Logbook) -> None:
    """Showing a damaged entry says which file is damaged."""
    put, page = log.put(specimen())
    (page.parent / "record.json").write_text("{", "utf-8")
    with pytest.raises(TextError, match=r"record\.json"):
        log.find(put.id)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value in a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.sampled_from(
            [10**300, -(10**300), 1e308, -1e308, 5e-324, {"say": "list.entries", "with": {"entries": 1e308}}]
        ),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


PUBLISHED = Path(__file__).parents[1] / "docs" / "log" / "posts"
RECORDS = [
    specimen().json(),
    *(file.read_text("utf-8") for file in sorted(PUBLISHED.glob("*-phase1*/record.json"))[-2:]),
]


@given(st.data())
def test_a_record_is_refused_or_usable(data: st.DataObject) -> None:
    """A record with any one value replaced is refused on reading, or can be listed, shown, compared and rendered."""
    document = json.loads(data.draw(st.sampled_from(RECORDS)))
    *way, last = data.draw(st.sampled_from(places(document)[1:]))
    inner = document
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(JSON_VALUES)
    try:
        record = Record.from_json(json.dumps(document))
    except ValueError:
        return
    entry.files(record)
    judged_document(record)
    entries_document([record])
    compare.document(record, specimen())
    compare.tables(specimen(), record)
    console = Console(width=40, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    with console.file:
        for part in (*report(record, console), *first_screen(record, console), entries_lines([record], ENGLISH, 40)):
            console.print(part)
    assert screen.title(record) != ""
    assert "<" not in screen.title(record)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "<img src=x onerror=alert(1)>"),
        ("created", "<style x >T<i>b</i>Z"),
        ("created", "2026-11-22\ntitle: aa"),
        ("created", "2026-11-22T03:18:61Z"),
        ("experiment", "-rf"),
        ("id", "a" * 41),
    ],
)
def test_what_becomes_a_title_or_a_name_is_checked(field: str, value: str) -> None:
    """Whatever enters the front matter, the menus or a file name is one of ours, or the record is refused."""
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(json.dumps(specimen().document() | {field: value}))


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("seconds",), '"3.5"'),
        (("seconds",), "true"),
        (("metrics", "loss"), "1" + "0" * 400),
        (("tables", 0, "rows", 0, 1), "1" + "0" * 400),
        (("tables", 0, "columns", 0, "digits"), '"2"'),
        (("tables", 0, "columns", 0, "digits"), "-2416"),
        (("expectation_after_look",), "1"),
    ],
)
def test_a_value_of_another_type_is_refused(way: tuple[str | int, ...], value: str) -> None:
    """A number in quotation marks is none, one is no yes, and nothing has 400 digits or minus 2,416 decimals."""
    document = specimen().document()
    *path, last = way
    inner: Any = document
    for key in path:
        inner = inner[key]
    inner[last] = "HERE"
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(json.dumps(document).replace('"HERE"', value))


def test_a_record_cannot_make_rendering_write_elsewhere(log: Logbook, tmp_path: Path) -> None:
    """A figure whose name is a path does not get its picture written outside the entry."""
    _, page = log.put(specimen())
    path = page.parent / "record.json"
    path.write_text(path.read_text("utf-8").replace('"map"', '"../../../../../evil"'), "utf-8")
    list(log.render())
    assert not list(tmp_path.glob("evil*"))
