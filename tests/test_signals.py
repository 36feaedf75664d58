"""Runs that are stopped, readers that go away, terminals that are gone: clean ends, documented codes, no half entry."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import HANG, LLMLAB, Done, environment, watch
from llmlab.report.logbook import Logbook
from processes import started
from strategies_report import specimen

Run = Callable[..., Done]
LONG = ("phase1", "--epochs", "1000000", "--dim", "2")


def begun(folder: Path, *args: str, ignored: int | None = None, after: float = 0.6) -> subprocess.Popen[bytes]:
    """Start a long run and return it so many seconds after torch was mapped; by default it is then training."""
    process = started(folder, *args, stdin=subprocess.DEVNULL, ignored=ignored)
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and "libtorch_cpu" not in maps.read_text("utf-8"):
        time.sleep(0.02)
    time.sleep(after)
    return process


def ended(process: subprocess.Popen[bytes], folder: Path) -> Done:
    """Wait for a run to end, and watch it; a death by signal n counts as shells count it, 128 + n."""
    out, err = process.communicate(timeout=HANG)
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return watch(Done(code, out.decode(), err.decode(), folder), LONG)


@pytest.mark.parametrize(
    ("number", "after"), [(signal.SIGTERM, 0.6), (signal.SIGHUP, 0.6), *((signal.SIGINT, at) for at in (0.0, 0.1, 0.6))]
)
def test_a_stopped_run_says_so_and_writes_nothing(tmp_path: Path, number: signal.Signals, after: float) -> None:
    """In training as at any moment of the import of torch: 128 plus the signal's number, one line, an empty folder."""
    process = begun(tmp_path, *LONG, after=after)
    process.send_signal(number)
    done = ended(process, tmp_path)
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert (done.code, done.out, list(tmp_path.iterdir())) == (128 + number, "", [])
    assert re.fullmatch(f"llmlab: stopped by {name}.*; nothing was written\n", done.err)


def test_an_impatient_user_gets_the_same_end(tmp_path: Path) -> None:
    """The same signal again and again, until the process is gone, brings no traceback and no other code."""
    process = begun(tmp_path, *LONG)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    done = ended(process, tmp_path)
    assert done.code == 128 + signal.SIGINT
    assert len(done.err.strip().splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_respected(tmp_path: Path) -> None:
    """A run that was started to ignore HUP, as ``nohup`` does, goes on when the terminal goes away."""
    process = begun(tmp_path, *LONG, ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    still_running = process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert (still_running, ended(process, tmp_path).code) == (True, 143)


def test_ctrl_c_while_waiting_for_text_is_a_stop(tmp_path: Path) -> None:
    """Ctrl-C at ``--text -``, before anything came, exits 130 like any other Ctrl-C."""
    process = started(tmp_path, "phase1", "--text", "-", stdin=subprocess.PIPE)
    stack = Path(f"/proc/{process.pid}/wchan")
    for _ in range(500):
        time.sleep(0.02)
        if "pipe" in stack.read_text("utf-8"):
            break
    process.send_signal(signal.SIGINT)
    assert ended(process, tmp_path).code == 130


@pytest.mark.parametrize("unbuffered", [None, "1"])
def test_a_reader_that_goes_away_is_no_failure(shell_llmlab: Run, unbuffered: str | None) -> None:
    script = 'set -o pipefail; $LLMLAB phase1 --epochs 2 | head -1 > /dev/null; exit "${PIPESTATUS[0]}"'
    done = shell_llmlab(script, PYTHONUNBUFFERED=unbuffered)
    assert (done.code, done.err, len(done.entries)) == (0, "", 1)


@pytest.mark.parametrize("command", ["--help", "log list", "log show 0 --json"])
def test_no_command_minds_a_closed_pipe(tmp_path: Path, command: str) -> None:
    """A reader that is gone before the first byte brings neither words nor a code but 0."""
    put, _ = Logbook.at(tmp_path / "llmlab-log").put(specimen("x" * 100_000))
    reading, writing = os.pipe()
    os.close(reading)
    args = [put.id if word == "0" else word for word in command.split()]
    found = subprocess.run(
        [*LLMLAB, *args], cwd=tmp_path, env=environment(tmp_path), stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    done = watch(Done(found.returncode, "", found.stderr.decode(), tmp_path), [])
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("closing", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(shell_llmlab: Run, closing: str) -> None:
    done = shell_llmlab(f"$LLMLAB phase1 --epochs 2 {closing}")
    assert (done.code, len(done.entries)) == (0, 1)
