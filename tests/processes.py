"""Runs of the command line as processes: to be killed or stopped once they have saved, or many commands in one."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import HANG, LLMLAB, Done, as_in_a_terminal, environment, watch

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


PROBE = """
import contextlib, io, json, os, sys
from llmlab.cli import main
told = []
for words, variables in json.loads(sys.argv[1]):
    os.environ.update(variables)
    sys.argv = ["llmlab", *words]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    for stream in (out, err):
        stream.seek(0)
    told.append([code, out.read(), err.read(), sorted(sys.modules)])
    for name in variables:
        del os.environ[name]
print(json.dumps(told))
"""


def answers(
    folder: Path, *commands: tuple[list[str], dict[str, str]], before: str = ""
) -> Iterator[tuple[Done, list[str]]]:
    """Run commands under variables in one process of their own, before which ``before`` is run, and watch them.

    Yields how each ended, and the modules that were imported by then.
    """
    probe = [sys.executable, "-c", before + PROBE, json.dumps(commands)]
    done = subprocess.run(probe, cwd=folder, env=environment(folder), capture_output=True, timeout=HANG, check=True)
    assert done.stderr == b""
    for (words, _), (code, out, err, modules) in zip(commands, json.loads(done.stdout), strict=True):
        yield watch(Done(code, out, err, folder), words), modules
