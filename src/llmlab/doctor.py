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
from pathlib import Path
from typing import NamedTuple

from llmlab.environment import installed, memory_bytes, processor
from llmlab.errors import WriteError
from llmlab.report.logbook import Logbook
from llmlab.report.result import Table, columns_of
from llmlab.report.terminal import from_here

CPU_WHEELS = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
FLAGS = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
"""The Pi's own flags: bit 0 is under-voltage now, bit 16 since the start."""

EXTRAS = {
    "data": "pyarrow",
    "peers": "transformers",
    "pretrained": "tokenizers",
    "docs": "mkdocs",
    "test": "hypothesis",
}
"""What can be installed beside the package, and the library that tells whether it was."""


class Check(NamedTuple):
    """One question about the machine: ``state`` is ok, warning or missing."""

    name: str
    state: str
    found: str
    advice: str


def check(name: str, found: str, ok: bool = True, advice: str = "", otherwise: str = "warning") -> Check:
    """Return a check that is ok, or else has an advice."""
    return Check(name, "ok", found, "") if ok else Check(name, otherwise, found, advice)


def checks(log_dir: Path | None = None) -> Iterator[Check]:
    """Yield every check in turn; the one of torch imports it."""
    bits, free = struct.calcsize("P") * 8, shutil.disk_usage(Path.cwd()).free / 1e9
    memory = memory_bytes()
    gigabytes = f"{memory / 2**30:.1f} GB" if memory else "unknown"
    yield check("processor", processor())
    yield check("Python", f"{sys.version.split()[0]}, {bits} bit", bits == 64, "torch needs a 64-bit system")
    yield _torch()
    yield check("memory", gigabytes, not memory or memory > 1.5 * 2**30, "2 GB are advised")
    yield check("free disk", f"{free:.1f} GB", free > 1, "1 GB is advised")
    yield _log(log_dir)
    yield _throttling()
    for extra, package in EXTRAS.items():
        there = importlib.util.find_spec(package) is not None
        yield check(f"extra '{extra}'", installed(package), there, f"only needed for llmlab[{extra}]", "missing")


def table(found: list[Check]) -> Table:
    """Return the checks as a table."""
    columns = columns_of("check:text | state:text | found:text | advice:text")
    return Table("doctor", "This machine", columns, [list(each) for each in found])


def _torch() -> Check:
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
            import torch
    except ImportError as error:
        return check("torch", str(error)[:60], False, CPU_WHEELS, "missing")
    found = f"{torch.__version__}, {torch.get_num_threads()} thread(s), import {time.perf_counter() - start:.1f} s"
    advice = f"built for CUDA {torch.version.cuda}, no such card here; {CPU_WHEELS}"
    return check("torch", found, not torch.version.cuda or torch.cuda.is_available(), advice)


def _log(log_dir: Path | None) -> Check:
    logbook = Logbook.at(log_dir)
    try:
        logbook.check_writable()
    except WriteError as error:
        return check("log", str(error), False)
    return check("log", f"{len(logbook.folders())} entries in {from_here(logbook.root)}")


def _throttling() -> Check:
    try:
        value = int(FLAGS.read_text(), 16)
    except (OSError, ValueError):
        return check("power and heat", "not a Raspberry Pi, or it does not tell")
    advice = "under-voltage: use the 27 W supply" if value & 0x10001 else "it was throttled"
    return check("power and heat", f"{value:#x}", value == 0, advice)
