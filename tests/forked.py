"""``llmlab`` in a process of its own that need not import torch first: forked from one that has.

Most tests of the command line ask what a command says, writes and exits with.  They need a process, with its own
signals, folder and streams, but not a new interpreter: importing torch takes a hundred times what they are about.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path

import pytest

CHAPTERS = ("llmlab.phase1_2", "llmlab.baseline", "llmlab.two_stage")
PRELOADED = ["__main__", "forked", "torch", "llmlab.cli", "llmlab.report.table", *CHAPTERS]
HANG = 1800
"""Seconds after which a process counts as hanging: a guard, and no measure of anything."""


def run_forked(
    words: list[str],
    folder: Path,
    variables: dict[str, str],
    stdin: bytes,
    streams: Path,
    before: Callable[[], None] | None = None,
) -> tuple[int, bytes, bytes]:
    """Run ``llmlab`` and return its exit code (minus the signal that ended it), output and errors.

    Args:
        words: its arguments.
        folder: where it works.
        variables: its environment, all of it.
        stdin: what it can read.
        streams: an empty folder for what it reads and writes.
        before: a function of a module, called there first: to let something happen that a test cannot time.
    """
    files = [streams / name for name in ("stdin", "stdout", "stderr")]
    files[0].write_bytes(stdin)
    process = _server().Process(target=_run, args=(words, folder, variables, files, before))
    process.start()
    process.join(HANG)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"llmlab {words} hangs")
    return process.exitcode, *(file.read_bytes() for file in files[1:])


def _server() -> "multiprocessing.context.ForkServerContext":
    """Return the way to the process that is forked; it starts when it is first needed, once for each test worker."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run(
    words: list[str],
    folder: Path,
    variables: dict[str, str],
    files: list[Path],
    before: Callable[[], None] | None,
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    ways = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for number, (file, way) in enumerate(zip(files, ways, strict=True)):
        os.dup2(os.open(file, way), number)
    sys.stdin = TextIOWrapper(BufferedReader(FileIO(0)), "utf-8", "surrogateescape")  # as Python opens them
    sys.stdout = TextIOWrapper(BufferedWriter(FileIO(1, "w")), "utf-8", "surrogateescape")
    sys.stderr = TextIOWrapper(BufferedWriter(FileIO(2, "w")), "utf-8", "backslashreplace", line_buffering=True)
    sys.argv = ["llmlab", *words]
    from llmlab.cli import main

    if before:
        before()
    main()
