"""Runs of the command line as processes, to be killed or told to stop once they have saved so many updates.

Shared by the tests of the chapters that train for long.  ``test_signals`` stops short commands, which save nothing.
"""

import os
import re
import subprocess
import time
from pathlib import Path

from conftest import HANG, LLMLAB, as_in_a_terminal, environment

CHECKPOINT = re.compile(r"update-(\d+)")


def started(
    folder: Path, *args: str, stdin: int | None = None, ignored: int | None = None, **variables: str
) -> "subprocess.Popen[bytes]":
    """Start a command of llmlab in a folder; it can be told to ignore a signal, as ``nohup`` does with HUP."""
    return subprocess.Popen(
        [*LLMLAB, *args],
        cwd=folder,
        env=environment(folder, **variables),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: as_in_a_terminal(ignored),
    )


def updates_saved(folder: Path) -> int:
    """Return how many updates the newest checkpoints of all runs in a folder have made together; 0 without any.

    The walk forgives what comes and goes under it, as a starting run tries whether its folder can be made.
    """
    found = ([CHECKPOINT.fullmatch(name) for name in names] for _, names, _ in os.walk(folder))
    return sum(max((int(match[1]) for match in matches if match), default=0) for matches in found)


def wait_for_updates(folder: Path, above: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + HANG
    while updates_saved(folder) <= above and process.poll() is None:
        assert time.monotonic() < until, "no checkpoint came"
        time.sleep(0.01)
