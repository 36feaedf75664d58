"""The log under harm: bad entries, many writers at once, links, records made to hurt, disks that fail, and kills.

Faults are raised at the first, second, third … call of the operating system until a put passes; kills are real.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from conftest import HANG, Done, environment
from faults import ERRORS, bytes_in, failing
from llmlab import compare
from llmlab.cli.log import judged_document
from llmlab.disk import HIDDEN
from llmlab.errors import TextError, WriteError
from llmlab.report import entry, screen
from llmlab.report.language import ENGLISH
from llmlab.report.listing import entries_document, entries_lines
from llmlab.report.logbook import SMALL_SITE, STALE_SECONDS, Logbook
from llmlab.report.record import Record
from llmlab.report.table import first_screen, report
from strategies_report import specimen

HEAD = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from strategies_report import specimen
from llmlab.report.logbook import Logbook
log = Logbook.at(Path(sys.argv[2]))
"""
WRITERS = """
from multiprocessing import get_context
def write(writer):
    for number in range(5):
        log.put(specimen(f"{writer}-{number}"))
fork = get_context("fork")
with fork.Pool(8, fork.Barrier(8).wait) as pool:
    pool.map(write, range(8), chunksize=1)
"""


def run_script(script: str, log: Logbook) -> None:
    """Run a script that uses a log in a process of its own, which may fork, and be killed."""
    command = [sys.executable, "-c", HEAD + script, str(Path(__file__).parent), str(log.site)]
    done = subprocess.run(command, env=environment(log.site), capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_eight_writers_at_once_lose_nothing(log: Logbook) -> None:
    run_script(WRITERS, log)
    found = [record for _, record in log.read() if isinstance(record, Record)]
    assert len({record.id for record in found}) == 40
    assert {record.note for record in found} == {f"{writer}-{number}" for writer in range(8) for number in range(5)}
    assert not list(log.posts.glob(f"{HIDDEN}*"))


def light(text: str = "h") -> Record:
    """Return a record whose page is made quickly: of its pictures it has the curve alone."""
    record = specimen(text)
    return replace(record, result=replace(record.result, figures=record.result.figures[1:]))


def into(**changes: Any) -> Callable[[Path, str], object]:
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


def test_bad_entries_hide_no_other(log: Logbook, run_llmlab: Callable[..., Done]) -> None:
    good = [log.put(light(text))[0].id for text in ("a", "b")]
    bad = {kind: log.put(light(kind)) for kind in DAMAGE}
    for kind, (_, page) in bad.items():
        DAMAGE[kind](page.with_name("record.json"), page.with_name("record.json").read_text("utf-8"))
    done = run_llmlab("log", "list", "--json")
    told = done.err.strip().splitlines()

    assert done.code == 0
    assert {found["id"] for found in done.document["entries"]} == set(good)
    assert len(told) == sum("warning" in line for line in told) == len(DAMAGE)
    for kind, (record, _) in bad.items():
        if kind != "other name":
            assert record.id in done.err, kind
            with pytest.raises(TextError, match=r"record\.json"):
                log.find(record.id)
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


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
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
    console = Console(width=40, file=io.StringIO())
    for part in (*report(record, console), *first_screen(record, console), entries_lines([record], ENGLISH, 40)):
        console.print(part)
    assert screen.title(record) != ""
    assert "<" not in screen.title(record)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("status",), '"<img src=x onerror=alert(1)>"'),
        (("created",), '"<style x >T<i>b</i>Z"'),
        (("created",), '"2026-11-22\\ntitle: aa"'),
        (("created",), '"2026-11-22T03:18:61Z"'),
        (("experiment",), '"-rf"'),
        (("figures", 0, "name"), '"../../../escaped"'),
        (("id",), '"' + "a" * 41 + '"'),
        (("seconds",), '"3.5"'),
        (("seconds",), "true"),
        (("metrics", "loss"), "1" + "0" * 400),
        (("tables", 0, "rows", 0, 1), "1" + "0" * 400),
        (("tables", 0, "columns", 0, "digits"), '"2"'),
        (("tables", 0, "columns", 0, "digits"), "-2416"),
        (("expectation_after_look",), "1"),
    ],
)
def test_what_is_none_of_ours_is_refused(way: tuple[str | int, ...], value: str) -> None:
    """What becomes a title, a menu or a file's name is one of ours, and a value of another type is never taken."""
    document = specimen().document()
    *path, last = way
    inner: Any = document
    for key in path:
        inner = inner[key]
    inner[last] = "HERE"
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(json.dumps(document).replace('"HERE"', value))


# ---- a disk that fails, a process that is killed --------------------------------------------------------------------


SITE = {name: (SMALL_SITE / name).read_text("utf-8") for name in ("mkdocs.yml", "docs/index.md", "docs/log/index.md")}


def assert_whole(log: Logbook) -> None:
    """Assert that every visible entry is whole, that nothing hidden stayed, and that no site file is half there."""
    for folder, record in log.read():
        assert isinstance(record, Record), f"{folder.name}: {record}"
        assert {path.name: path.read_bytes().decode() for path in folder.iterdir()} == entry.files(record)
    assert not list(log.posts.glob(f"{HIDDEN}*"))
    for name, text in SITE.items():
        path = log.site / name
        assert not path.exists() or path.read_text("utf-8") == text, f"{name} is half there"


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
def test_a_put_succeeds_whole_or_leaves_nothing(tmp_path: Path, lasting: bool) -> None:
    """At whichever call the disk fails: a WriteError, no new entry, nothing half there; the next put makes all good."""
    at = 0
    while True:
        at += 1
        log, number = Logbook.at(tmp_path / f"log{at}"), ERRORS[at % 4]
        new = at % 2 == 0
        if not new:
            log.put(light("old"))
        before = bytes_in(log.posts)
        with failing(at, number, lasting=lasting) as faults:
            try:
                log.put(light("new"))
            except WriteError as error:
                told, there = str(error), 1 - new
                assert bytes_in(log.posts) == before, f"call {at}: an entry stands there that is said not to"
            else:
                told, there = os.strerror(number), 2 - new
        assert (os.strerror(number) in told, len(log.folders())) == (True, there)
        assert_whole(log)
        log.put(light("after"))
        assert {name: (log.site / name).read_text("utf-8") for name in SITE} == SITE
        if faults.calls < at and new:
            break
    assert at > 20


def test_rendering_replaces_each_file_or_leaves_it(tmp_path: Path) -> None:
    log = Logbook.at(tmp_path / "log")
    _, page = log.put(light())
    new = bytes_in(page.parent)
    for at in range(1, 60):
        for path in page.parent.glob("*.svg"):
            path.write_bytes(b"<svg/>")
        with failing(at, ERRORS[at % 4], lasting=False) as faults, contextlib.suppress(WriteError):
            list(log.render())
        assert all(found in (new[name], b"<svg/>") for name, found in bytes_in(page.parent).items())
        assert not list(page.parent.glob(f"{HIDDEN}*"))
        if faults.calls < at:
            return
    raise AssertionError("rendering never passed")


KILLER = """
log.put(specimen())  # what is imported on the way is no part of the time
dice, begun = random.Random(7), time.monotonic()
log.put(specimen())
one_put, kill = time.monotonic() - begun, 0
while kill < 20 or len(log.folders()) <= 5:  # on a busy machine a child may have had no time
    kill += 1
    child = os.fork()
    if child == 0:
        while True:
            log.put(specimen(str(kill)))
    time.sleep(dice.uniform(0, 3 * one_put))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_twenty_kills_leave_only_whole_entries(log: Logbook) -> None:
    """After twenty SIGKILLs at random moments every visible entry is whole, and the next put sweeps what is stale."""
    run_script(KILLER, log)
    long_ago = time.time() - STALE_SECONDS - 60
    for left in log.posts.glob(f"{HIDDEN}*"):
        os.utime(left, (long_ago, long_ago))
    log.put(specimen())
    assert len(log.folders()) > 5
    assert_whole(log)
