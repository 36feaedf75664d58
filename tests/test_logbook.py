"""The log keeps what it is given: round trips, notes, re-rendering, many writers, and one bad entry among good ones."""

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Done
from faults import bytes_in
from llmlab.disk import HIDDEN
from llmlab.errors import SettingError
from llmlab.report import entry
from llmlab.report.logbook import STALE_SECONDS, Logbook, read_record
from llmlab.report.messages import Message, stored
from llmlab.report.record import Record
from llmlab.report.result import Figure, Mark, Result, Table
from strategies_report import HOSTILE, records, specimen, strict_json, texts


@given(records)
def test_a_record_survives_strict_json(record: Record) -> None:
    text = record.json()
    assert strict_json(text) == stored(record.document())
    assert Record.from_json(text) == record
    assert Record.from_json(text).json() == text


@given(records, st.data())
def test_whatever_numbers_a_result_has_what_is_written_can_be_read(record: Record, data: st.DataObject) -> None:
    """Infinite, no number at all, or beyond every picture: the reader takes the record, and its page stays the same."""
    wild = st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e300])

    def changed(value: Any) -> Any:
        if isinstance(value, float) and data.draw(st.booleans()):
            return data.draw(wild)
        if isinstance(value, list):
            return [changed(inner) for inner in value]
        if isinstance(value, dict):
            return {name: changed(inner) for name, inner in value.items()}
        if isinstance(value, Message):
            return Message(value.key, changed(dict(value.values)))
        if isinstance(value, Result | Table | Figure | Mark):
            return replace(value, **{field.name: changed(getattr(value, field.name)) for field in fields(value)})
        return value

    written = replace(record, result=changed(record.result)).json()
    read = Record.from_json(written)
    assert read.json() == written
    assert entry.files(replace(read, result=read.result.finite())) == entry.files(read)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_with_its_reason_and_no_sample_or_point(value: float) -> None:
    result, mark = specimen().result, Mark("points", "after", [0.0, 1.0, 2.0], [1.0, value, 3.0], ["a", "b", "c"])
    lost = replace(
        result,
        metrics={"loss": value},
        samples={"val_ppl": [2.0, value], "loss": [1.0, 2.0]},
        documents={"v": [value]},
        figures=[replace(result.figures[0], marks=[mark])],
    )
    document = strict_json(replace(specimen(), result=lost).json())
    (drawn,) = document["figures"][0]["marks"]
    assert document["metrics"] == {"loss": None, "loss_reason": f"not a finite number: {value}"}
    assert (document["samples"], document["documents"]) == ({"loss": [1.0, 2.0]}, {})
    assert (drawn["xs"], drawn["ys"], drawn["labels"]) == ([0.0, 2.0], [1.0, 3.0], ["a", "c"])


@given(records, texts)
def test_notes_are_kept_to_the_letter(record: Record, notes: str) -> None:
    """What a human writes between the markers stands there after rendering, and rendering again changes nothing."""
    page = entry.page(record)
    assert entry.page(record, page) == page
    head, _, tail = page.partition(entry.NOTES_BEGIN)
    mine = notes.replace("\r", "").strip("\n")
    edited = f"{head}{entry.NOTES_BEGIN}\n\n{mine}\n\n{entry.NOTES_END}\n"
    assert tail
    assert entry.notes_of(edited) == mine
    rendered = entry.page(record, edited)
    assert entry.notes_of(rendered) == mine
    assert entry.page(record, rendered) == rendered


@settings(max_examples=25)
@given(records)
def test_an_entry_on_disk_is_the_record(record: Record) -> None:
    """A put entry has exactly the files that its record makes, and reads back equal but for its fresh id."""
    with tempfile.TemporaryDirectory() as folder:
        put, page = Logbook.at(Path(folder) / "log").put(record)
        assert replace(put, id=record.id) == record
        assert read_record(page.parent) == put
        there = {path.name: path.read_bytes().decode() for path in page.parent.iterdir()}
        assert there == entry.files(put)


def test_rendering_is_the_same_everywhere(log: Logbook, run_llmlab: Callable[..., Done]) -> None:
    for text in ("ö", "[red]", "漢"):
        log.put(specimen(text))
    assert {outcome for _, outcome in log.render()} == {"same"}
    before = bytes_in(log.root)
    for path in log.posts.glob("*/*"):
        if path.name != "record.json":
            path.unlink()
    done = run_llmlab("log", "render", LC_ALL="C", TZ="Asia/Tokyo", PYTHONHASHSEED="1", PYTHONUTF8="0")
    assert (done.code, bytes_in(log.root)) == (0, before)


@pytest.mark.parametrize("text", ["h", *(text for text in HOSTILE if "!--" in text)])
def test_a_damaged_page_is_left_alone(log: Logbook, text: str) -> None:
    """A page without both markers, or in another encoding, is not touched: nobody can tell what in it is somebody's."""
    _, page = log.put(specimen(text))
    whole = page.read_bytes()
    for damaged in (whole.replace(entry.NOTES_END.encode(), b""), b"gone", whole + b"\xff"):
        page.write_bytes(damaged)
        assert [outcome.split(":")[0] for _, outcome in log.render()] == ["skipped"]
        assert page.read_bytes() == damaged


def test_nothing_but_rendering_changes_an_entry(log: Logbook, run_llmlab: Callable[..., Done]) -> None:
    """Neither checking, reading nor putting another does."""
    _, page = log.put(specimen())
    (page.parent / "map-light.svg").write_text("<svg/>", "utf-8")
    before = bytes_in(page.parent)
    log.put(specimen())
    assert run_llmlab("log", "render", "--check").code == 3
    assert run_llmlab("log", "show", page.parent.name).code == run_llmlab("log", "list").code == 0
    assert bytes_in(page.parent) == before


def test_what_a_killed_process_left_is_swept_after_an_hour(log: Logbook) -> None:
    """A stale hidden folder goes with the next put; a young one may belong to somebody who is still writing."""
    log.put(specimen())
    stale, young = (log.posts / f"{HIDDEN}{name}" for name in ("0000dead", "0000beef"))
    for folder in (stale, young):
        folder.mkdir()
        (folder / "record.json").write_text("{", "utf-8")
    long_ago = time.time() - STALE_SECONDS - 60
    os.utime(stale, (long_ago, long_ago))
    log.put(specimen())
    assert (stale.exists(), young.exists(), len(log.folders())) == (False, True, 2)


def test_ids_are_found_by_their_beginning(log: Logbook) -> None:
    """An entry is found by its id, the beginning of it, or its folder's name; anything else is refused with words."""
    put, page = log.put(specimen())
    other, _ = log.put(specimen())
    for name in (put.id, page.parent.name):
        assert log.find(name) == (page.parent, put)
    for name in ("", "zzz", "2026", "../posts", "*", "\x00"):
        with pytest.raises(SettingError, match="llmlab log list"):
            log.find(name)
    assert other.id != put.id


def test_a_clock_set_back_overwrites_nothing(log: Logbook) -> None:
    for created in ("2026-11-22T03:18:00Z", "2026-11-22T03:18:00Z", "2026-11-22T02:18:00Z", "2038-01-20T00:00:00Z"):
        log.put(replace(specimen(), created=created))
    assert len([record for _, record in log.read() if isinstance(record, Record)]) == 4
