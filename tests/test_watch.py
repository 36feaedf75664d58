"""``--watch``: a picture redrawn in place on a terminal, which is left clean, and the same numbers as without."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from conftest import HANG, LLMLAB, as_in_a_terminal, environment, without_times
from llmlab.cli.progress import ProgressLine
from llmlab.report.logbook import Logbook
from llmlab.report.result import Figure, Mark
from llmlab.report.table import frame_view
from strategies_report import specimen

SHOWN, HIDDEN, UP = b"\x1b[?25h", b"\x1b[?25l", b"\x1b[1A\x1b[2K"
"""The cursor is shown, is hidden, and goes up over a line that it clears."""

RUNS = {
    "phase1-2": (("--epochs", "8"), b"update 8 of 24"),
    "baseline": (("--epochs", "1", "--batch", "512", "--hidden", "8", "--context", "8"), b"epoch 1 of 1"),
}


def on_a_terminal(
    folder: Path, *args: str, stop_at: bytes = b"", both: bool = False, **variables: str
) -> tuple[int, str, bytes]:
    """Run a command whose standard error, or both outputs, go to a terminal; return its code and what it said."""
    ours, theirs = pty.openpty()
    env = environment(folder, TERM="xterm-256color", COLUMNS="80", LINES="30", **variables)
    with (folder / "out").open("wb") as file:
        out, words = theirs if both else file, [*LLMLAB, *args]
        run = subprocess.Popen(words, cwd=folder, env=env, stdout=out, stderr=theirs, preexec_fn=as_in_a_terminal)
    os.close(theirs)
    seen, until = b"", time.monotonic() + HANG
    while time.monotonic() < until:
        try:
            some = os.read(ours, 65536) if select.select([ours], [], [], 0.2)[0] else b" " * (run.poll() is None)
        except OSError:  # the other end is closed
            break
        if not some:
            break
        seen += some
        if stop_at and stop_at in seen:
            run.send_signal(signal.SIGINT)
            stop_at = b""
    os.close(ours)
    return run.wait(HANG), (folder / "out").read_text("utf-8"), seen


@pytest.mark.parametrize("command", RUNS)
def test_the_picture_is_redrawn_and_changes_no_number(tmp_path: Path, command: str, run_llmlab: Any) -> None:
    options, at = RUNS[command]
    plain = run_llmlab(command, *options, "--json", "--no-log").out
    code, document, seen = on_a_terminal(tmp_path, command, *options, "--json", "--watch", "--no-log")
    without, watched = (json.loads(text) for text in (plain, document))

    assert (code, watched["settings"]) == (0, without["settings"])
    assert without_times(watched["metrics"]) == without_times(without["metrics"])
    assert seen.count(HIDDEN) == seen.count(SHOWN) == 1
    assert at in seen
    assert seen.count(UP) > 20
    assert seen.rindex(SHOWN) < seen.rindex(UP)


def test_a_stop_leaves_the_terminal_clean(tmp_path: Path) -> None:
    code, out, seen = on_a_terminal(tmp_path, *["phase1", "--watch", "--epochs", "1000000"], stop_at=b"update 3 ")

    assert code == 130
    assert out == ""
    assert seen.rindex(HIDDEN) < seen.rindex(SHOWN) < seen.rindex(UP) < seen.rindex(b"llmlab: stopped by Ctrl-C")


def test_without_a_terminal_nothing_is_drawn(tmp_path: Path, run_llmlab: Any) -> None:
    """Where standard error is no terminal, the option does nothing; nor is anything drawn on one without it."""
    done = run_llmlab("phase1", "--watch", "--epochs", "5", "--no-log")
    assert (done.code, done.complaints) == (0, "")
    assert UP not in on_a_terminal(tmp_path, "phase1", "--epochs", "8", "--no-log")[2]


def test_a_terminal_gets_colour_and_loses_no_words(tmp_path: Path) -> None:
    """On a real terminal the output has styles; NO_COLOR leaves none of the colours; the words are the same."""
    put, _ = Logbook.at(tmp_path / "llmlab-log").put(specimen("[red]"))
    coloured, plain = (
        on_a_terminal(tmp_path, "log", "show", put.id, both=True, **told)[2].decode()
        for told in ({}, {"NO_COLOR": "1"})
    )
    assert "\x1b[" in coloured
    assert not re.search(r"\x1b\[[349]\d", plain)
    assert "[red]" in plain


def test_after_the_last_update_no_time_is_left_to_tell() -> None:
    """What comes after it, scoring for example, is named instead of announced as over in 0 seconds."""
    progress = ProgressLine(hidden=True)
    progress(1, 10)
    progress(5, 10)
    assert progress._text("epoch 1", progress.begun + 4.0).endswith("about 5 s left")
    assert progress._text("epoch 1", progress.begun + 0.4) == "update 5 of 10, epoch 1"
    progress(10, 10)
    assert progress._text("validating", progress.begun + 9.0) == "update 10 of 10, validating"


def test_what_drawing_takes_is_no_time_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second a picture and a tenth of one an update: of ten updates the last five take half a second."""
    clock = [100.0]

    def draw(told: str) -> bool:
        clock[0] += 1.0
        return True

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    screen = SimpleNamespace(draw=draw, picture=None)
    progress = ProgressLine(hidden=False, screen=screen)  # type: ignore[arg-type]
    for update in range(1, 51):
        clock[0] += 0.1
        progress(update, 100)
    assert progress._text("", clock[0]).endswith("about 5 s left")


@given(st.integers(1, 40), st.sampled_from([24, 40, 80]), st.booleans())
def test_the_picture_fits_its_terminal_or_is_not_drawn(height: int, width: int, equal: bool) -> None:
    """With the line below it, and one to spare, a frame is never higher than the terminal, where it would be cut."""
    marks = [Mark("points", "before", [0.0, 1.0], [0.0, 2.0], ["a", "b"], legend="before, at a place of its own")]
    figure = Figure("map", "A title that is long " * 9, "", "axis 1", "axis 2", marks, equal_axes=equal)
    console = Console(markup=False, width=width, height=height, file=io.StringIO())
    view = frame_view(figure, console)
    if view is not None:
        assert len(console.render_lines(view)) <= height - 2
    assert (view is None) <= (height < 10)
