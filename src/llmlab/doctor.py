"""Is this machine set up well?  A list of checks, each with its advice.

Made for a Raspberry Pi first: the commonest mistake there is a torch built for NVIDIA cards, several
gigabytes that a Pi can never use.  Leaves out mending anything.
"""

import importlib.util
import os
import shutil
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmlab.environment import installed, memory_bytes, processor
from llmlab.errors import WriteError
from llmlab.report.logbook import Logbook
from llmlab.report.result import Column, Table

CPU_WHEELS = "pip install torch --index-url https://download.pytorch.org/whl/cpu"

EXTRAS = {
    "data": "datasets",
    "peers": "transformers",
    "pretrained": "tokenizers",
    "docs": "mkdocs",
    "test": "hypothesis",
}
"""What can be installed beside the package, and the library that tells whether it was."""


@dataclass(frozen=True)
class Check:
    """One question about the machine: ``state`` is ok, warning or missing."""

    name: str
    state: str
    found: str
    advice: str = ""


def checks(log_dir: Path | None = None) -> Iterator[Check]:
    """Yield every check in turn; the one of torch imports it."""
    yield Check("processor", "ok", processor())
    yield _python()
    yield _torch()
    yield _memory()
    yield _disk()
    yield _log(log_dir)
    yield _throttling()
    for extra, package in EXTRAS.items():
        there = importlib.util.find_spec(package) is not None
        advice = "" if there else f"only needed for llmlab[{extra}]"
        yield Check(f"extra '{extra}'", "ok" if there else "missing", installed(package), advice)


def table(found: list[Check]) -> Table:
    """Return the checks as a table."""
    return Table(
        "doctor",
        "This machine",
        [Column("check", "text"), Column("state", "text"), Column("found", "text"), Column("advice", "text")],
        [[check.name, check.state, check.found, check.advice] for check in found],
    )


def _python() -> Check:
    bits = struct.calcsize("P") * 8
    found = f"{sys.version.split()[0]}, {bits} bit"
    return (
        Check("Python", "ok", found) if bits == 64 else Check("Python", "warning", found, "torch needs a 64-bit system")
    )


def _torch() -> Check:
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
            import torch
    except ImportError as error:
        return Check("torch", "missing", str(error)[:60], CPU_WHEELS)
    found = f"{torch.__version__}, {torch.get_num_threads()} thread(s), import {time.perf_counter() - start:.1f} s"
    if torch.version.cuda and not torch.cuda.is_available():
        return Check("torch", "warning", found, f"built for CUDA {torch.version.cuda}, no such card here; {CPU_WHEELS}")
    return Check("torch", "ok", found)


def _memory() -> Check:
    size = memory_bytes() / 2**30
    return Check(
        "memory", "ok" if size > 1.5 else "warning", f"{size:.1f} GB", "" if size > 1.5 else "2 GB are advised"
    )


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Check("free disk", "ok" if free > 1 else "warning", f"{free:.1f} GB", "" if free > 1 else "1 GB is advised")


def _log(log_dir: Path | None) -> Check:
    logbook = Logbook.at(log_dir)
    try:
        logbook.check_writable()
    except WriteError as error:
        return Check("log", "warning", str(error))
    return Check("log", "ok", f"{len(logbook.folders())} entries in {os.path.relpath(logbook.root)}")


def _throttling() -> Check:
    """Read the Pi's own flags: bit 0 is under-voltage now, bit 16 since the start."""
    flags = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        value = int(flags.read_text(), 16)
    except (OSError, ValueError):
        return Check("power and heat", "ok", "not a Raspberry Pi, or it does not tell")
    if value & 0x10001:
        return Check("power and heat", "warning", f"{value:#x}", "under-voltage: use the 27 W supply")
    return Check(
        "power and heat", "ok" if value == 0 else "warning", f"{value:#x}", "" if value == 0 else "it was throttled"
    )
