"""Where a run was made: a fixed list of facts that may be published.

Covers versions, processor, memory, threads and the commit.  On purpose nothing names a person or a
place: user, host, home, working directory, environment variables.
"""

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import llmlab
from llmlab.errors import SettingError

TOLD_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's own limit stands, of both versions of cgroups."""


def facts(threads: int | None = None) -> dict[str, str | bool | int | float | None]:
    """Return what may be told about this machine and installation, and how many threads torch used, if it ran."""
    here, memory = commit(), memory_bytes()
    told: dict[str, str | bool | int | float | None] = {
        "llmlab": llmlab.__version__ + (f" ({here})" if here else ""),
        "python": platform.python_version(),
        "torch": installed("torch"),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": memory and round(memory / 2**30, 1),
        "peak_memory_mb": peak_memory_mb(),
        "threads": threads,
    }
    return {name: value for name, value in told.items() if value is not None}


def rank_and_size() -> tuple[int, int]:
    """Return this process's number and how many torchrun started for one run; (0, 1) for a process by itself.

    Raises:
        SettingError: the environment makes no sense.
    """
    rank, size, *address = (os.environ.get(name, "") for name in TOLD_BY_TORCHRUN)
    if not (rank and all(address)) or size in ("", "1"):
        return 0, 1
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise SettingError(f"RANK={rank} and WORLD_SIZE={size} in the environment are no team; start with torchrun")
    return int(rank), int(size)


def installed(package: str) -> str:
    """Return the version of an installed package, or that it is missing."""
    from importlib.metadata import PackageNotFoundError, version  # a hundredth of a second that help does not need

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the processor's or the board's name: ``Raspberry Pi 5 Model B Rev 1.0``, ``AMD EPYC``."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text("utf-8", errors="replace").strip("\0 \n")
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def memory_bytes() -> int | None:
    """Return the machine's memory, or what of it this process may take at most (cgroups) where that is less.

    Nothing on Windows, which tells neither this nor the peak to Python.
    """
    if not hasattr(os, "sysconf"):
        return None
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(file.read_text()))
    return min(limits)


def peak_memory_mb() -> int | None:
    """Return the most memory this process held so far."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10))


def commit() -> str:
    """Return the commit that llmlab runs from, ``+changes`` if it was edited; empty outside its own checkout."""
    checkout = Path(llmlab.__file__).resolve().parents[2]
    if not (checkout / ".git").exists() or not (checkout / "pyproject.toml").is_file():
        return ""
    git = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+changes", "--exclude=*"]
    # in another repository's hook, GIT_DIR would name that one
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=5, check=True, env=own)  # noqa: S603
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
