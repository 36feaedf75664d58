"""Ways to let a disk fail: a call of the operating system that raises, a small disk, a closed folder.

Shared by the tests of the log and of checkpoints.
"""

import errno
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ERRORS = [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS]
CALLS = ("fsync", "rename", "replace", "mkdir")


class Faults:
    """Lets the n-th call of the operating system fail, once or from then on."""

    def __init__(self, at: int, number: int, *, lasting: bool) -> None:
        self.at, self.number, self.lasting, self.calls = at, number, lasting, 0

    def pass_or_fail(self) -> None:
        self.calls += 1
        if self.calls == self.at or (self.lasting and self.calls > self.at):
            raise OSError(self.number, os.strerror(self.number))

    def wrapped(self, call: Any) -> Any:
        def failing(*args: Any, **keywords: Any) -> Any:
            self.pass_or_fail()
            return call(*args, **keywords)

        return failing

    def opened(self, call: Any) -> Any:
        """Return ``open`` whose opening for writing, and whose files' writing, may fail (after half the data)."""

        def failing(file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:
            if not set(mode) & set("wxa"):
                return call(file, mode, *args, **keywords)
            self.pass_or_fail()
            there = call(file, mode, *args, **keywords)
            write = there.write

            def failing_write(text: Any) -> int:
                try:
                    self.pass_or_fail()
                except OSError:
                    write(text[: len(text) // 2])
                    raise
                return int(write(text))

            there.write = failing_write
            return there

        return failing


@contextmanager
def failing(at: int, number: int, *, lasting: bool, calls: tuple[str, ...] = CALLS) -> Iterator[Faults]:
    """Let the n-th of all opens, writes and named calls of ``os`` fail while the block runs."""
    faults = Faults(at, number, lasting=lasting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", faults.opened(io.open))
        for name in calls:
            patch.setattr(os, name, faults.wrapped(getattr(os, name)))
        yield faults


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def mounted(folder: Path, options: str) -> list[str]:
    """Return a command that runs another with a small disk mounted at a folder."""
    folder.mkdir(exist_ok=True)
    return ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o {options} tmpfs "{folder}" && "$@"; code=$?; '
            f'find "{folder}" > "{folder}.found"; exit $code', "sh"]  # fmt: skip


@contextmanager
def limited(most: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes while the block runs."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


needs_mount = pytest.mark.skipif(not can_unshare(), reason="no user namespaces: cannot mount a small disk")


def without_privilege() -> list[str]:
    """Return a prefix that makes closed folders closed, for root too."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root reads and writes everything, and there is no setpriv to stop it")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]
