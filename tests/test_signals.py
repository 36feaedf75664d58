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


def begun(folder: Path, ignored: int | None = None, after: float = 0.6) -> subprocess.Popen[bytes]:
    """Start a long run and return it so many seconds after torch was mapped; by default it is then training."""
    process = started(folder, *LONG, stdin=subprocess.DEVNULL, ignored=ignored)
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


def assert_stopped(process: subprocess.Popen[bytes], folder: Path, number: signal.Signals) -> None:
    """Assert that a run that got a signal ends by it: 128 plus its number, one line, an empty folder."""
    done, name = ended(process, folder), "Ctrl-C" if number == signal.SIGINT else number.name
    assert (done.code, done.out, list(folder.iterdir())) == (128 + number, "", [])
    assert re.fullmatch(f"llmlab: stopped by {name}.*; nothing was written\n", done.err)


@pytest.mark.parametrize(("number", "after"), [(signal.SIGHUP, 0.6), (signal.SIGINT, 0.0), (signal.SIGINT, 0.1)])
def test_a_stopped_run_says_so_and_writes_nothing(tmp_path: Path, number: signal.Signals, after: float) -> None:
    """In training as at any moment of the import of torch."""
    process = begun(tmp_path, after=after)
    process.send_signal(number)
    assert_stopped(process, tmp_path, number)


def test_an_impatient_user_gets_the_same_end(tmp_path: Path) -> None:
    """The same signal again and again, until the process is gone, brings no traceback and no other code."""
    process = begun(tmp_path)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    done = ended(process, tmp_path)
    assert (done.code, list(tmp_path.iterdir())) == (128 + signal.SIGINT, [])
    assert len(done.err.strip().splitlines()) <= 2


def test_nohup_is_respected(tmp_path: Path) -> None:
    """A run that was started to ignore HUP, as ``nohup`` does, goes on when the terminal goes away, until TERM."""
    process = begun(tmp_path, ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert_stopped(process, tmp_path, signal.SIGTERM)


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


def test_a_reader_that_goes_away_is_no_failure(shell_llmlab: Run) -> None:
    done = shell_llmlab('$LLMLAB phase1 --epochs 2 | head -1 > /dev/null; exit "${PIPESTATUS[0]}"')
    assert (done.code, done.err, len(done.entries)) == (0, "", 1)


@pytest.mark.parametrize(("command", "unbuffered"), [("--help", None), ("log list", "1"), ("log show --json", None)])
def test_no_command_minds_a_closed_pipe(tmp_path: Path, command: str, unbuffered: str | None) -> None:
    """A reader that is gone before the first byte brings neither words nor a code but 0, buffered or not."""
    Logbook.at(tmp_path / "llmlab-log").put(specimen("x" * 100_000))
    reading, writing = os.pipe()
    os.close(reading)
    variables = environment(tmp_path, PYTHONUNBUFFERED=unbuffered)
    words = [*LLMLAB, *command.split()]
    found = subprocess.run(words, cwd=tmp_path, env=variables, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, b"")


def test_closed_streams_are_no_failure(shell_llmlab: Run) -> None:
    done = shell_llmlab("$LLMLAB phase1 --epochs 2 <&- >&- 2>&- && $LLMLAB log show >&-")
    assert (done.code, done.err, len(done.entries)) == (0, "", 1)
