"""The log when the disk or the process fails: an entry is there whole or not at all, and old ones stay as they are.

Faults are raised at the first, second, third … call of the operating system until a put passes; kills are real.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import HANG, environment
from faults import ERRORS, bytes_in, failing
from llmlab.disk import HIDDEN
from llmlab.errors import WriteError
from llmlab.report import entry
from llmlab.report.logbook import SMALL_SITE, STALE_SECONDS, Logbook
from llmlab.report.record import Record
from strategies_report import specimen

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
            log.put(specimen("old"))
        before = bytes_in(log.posts)
        with failing(at, number, lasting=lasting) as faults:
            try:
                log.put(specimen("new"))
            except WriteError as error:
                told, there = str(error), 1 - new
                assert bytes_in(log.posts) == before, f"call {at}: an entry stands there that is said not to"
            else:
                told, there = os.strerror(number), 2 - new
        assert (os.strerror(number) in told, len(log.folders())) == (True, there)
        assert_whole(log)
        log.put(specimen("after"))
        assert {name: (log.site / name).read_text("utf-8") for name in SITE} == SITE
        if faults.calls < at and new:
            break
    assert at > 20


def test_rendering_replaces_each_file_or_leaves_it(tmp_path: Path) -> None:
    """A disk that fails while pages are rendered leaves each file old or new, none torn, and nothing hidden."""
    log = Logbook.at(tmp_path / "log")
    _, page = log.put(specimen())
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
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from strategies_report import specimen
from llmlab.report.logbook import Logbook
log, dice = Logbook.at(Path(sys.argv[2])), random.Random(7)
begun = time.monotonic()
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


def test_twenty_kills_leave_only_whole_entries(tmp_path: Path) -> None:
    """After twenty SIGKILLs at random moments every visible entry is whole, and the next put sweeps what is stale."""
    log = Logbook.at(tmp_path / "log")
    command = [sys.executable, "-c", KILLER, str(Path(__file__).parent), str(log.site)]
    subprocess.run(command, env=environment(tmp_path), check=True, timeout=HANG)
    long_ago = time.time() - STALE_SECONDS - 60
    for left in log.posts.glob(f"{HIDDEN}*"):
        os.utime(left, (long_ago, long_ago))
    log.put(specimen())
    assert len(log.folders()) > 5
    assert_whole(log)
