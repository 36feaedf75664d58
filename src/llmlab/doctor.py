"""Is this machine set up well?  A list of checks, each with its advice.

Made for a Raspberry Pi first: the commonest mistake there is a torch built for NVIDIA cards, several
gigabytes that a Pi can never use.
"""

import importlib.util
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
from llmlab.report.result import Cell, Table, columns_of
from llmlab.report.terminal import from_here

CPU_WHEELS = "pip install torch --index-url https://download.pytorch.org/whl/cpu"

EXTRAS = {
    "data": "pyarrow",
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

    @classmethod
    def of(cls, name: str, found: str, ok: bool, advice: str = "", otherwise: str = "warning") -> "Check":
        """Return a check that is ok, or else has an advice."""
        return cls(name, "ok", found) if ok else cls(name, otherwise, found, advice)


def checks(log_dir: Path | None = None) -> Iterator[Check]:
    """Yield every check in turn; the one of torch imports it."""
    bits, free = struct.calcsize("P") * 8, shutil.disk_usage(Path.cwd()).free / 1e9
    memory = memory_bytes()
    gigabytes = f"{memory / 2**30:.1f} GB" if memory else "unknown"
    yield Check("processor", "ok", processor())
    yield Check.of("Python", f"{sys.version.split()[0]}, {bits} bit", bits == 64, "torch needs a 64-bit system")
    yield _torch()
    yield Check.of("memory", gigabytes, not memory or memory > 1.5 * 2**30, "2 GB are advised")
    yield Check.of("free disk", f"{free:.1f} GB", free > 1, "1 GB is advised")
    yield _log(log_dir)
    yield _throttling()
    for extra, package in EXTRAS.items():
        there = importlib.util.find_spec(package) is not None
        yield Check.of(f"extra '{extra}'", installed(package), there, f"only needed for llmlab[{extra}]", "missing")


def table(found: list[Check]) -> Table:
    """Return the checks as a table."""
    rows: list[list[Cell]] = [[check.name, check.state, check.found, check.advice] for check in found]
    return Table("doctor", "This machine", columns_of("check:text | state:text | found:text | advice:text"), rows)


def _torch() -> Check:
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
            import torch
    except ImportError as error:
        return Check("torch", "missing", str(error)[:60], CPU_WHEELS)
    found = f"{torch.__version__}, {torch.get_num_threads()} thread(s), import {time.perf_counter() - start:.1f} s"
    advice = f"built for CUDA {torch.version.cuda}, no such card here; {CPU_WHEELS}"
    return Check.of("torch", found, not torch.version.cuda or torch.cuda.is_available(), advice)


def _log(log_dir: Path | None) -> Check:
    logbook = Logbook.at(log_dir)
    try:
        logbook.check_writable()
    except WriteError as error:
        return Check("log", "warning", str(error))
    return Check("log", "ok", f"{len(logbook.folders())} entries in {from_here(logbook.root)}")


def _throttling() -> Check:
    """Read the Pi's own flags: bit 0 is under-voltage now, bit 16 since the start."""
    flags = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        value = int(flags.read_text(), 16)
    except (OSError, ValueError):
        return Check("power and heat", "ok", "not a Raspberry Pi, or it does not tell")
    if value & 0x10001:
        return Check("power and heat", "warning", f"{value:#x}", "under-voltage: use the 27 W supply")
    return Check.of("power and heat", f"{value:#x}", value == 0, "it was throttled")
