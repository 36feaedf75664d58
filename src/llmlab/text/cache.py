"""What took a while to compute, kept in the user's cache folder under its own checksum.

A file is written whole or not at all, and read only if its SHA-256 is right: half a file, a flipped bit or
somebody else's file is noticed.  A cache is never needed: whoever uses it goes on without.  Leaves out what is kept.
"""

import hashlib
import os
import stat
from pathlib import Path

from llmlab.disk import replace_file

MAGIC = b"llmlab cache 1\n"
CHECKSUM = hashlib.sha256().digest_size
LARGEST = 4_000_000_000


class DamagedError(ValueError):
    """A cache file is not what was written."""


def cache_folder() -> Path | None:
    """Return ``$LLMLAB_CACHE``, else ``llmlab`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; none without a home."""
    if os.environ.get("LLMLAB_CACHE"):
        return Path(os.environ["LLMLAB_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # a relative one is to be ignored, says the XDG base directory specification
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "llmlab"
    except RuntimeError:
        return None


def keep(path: Path, payload: bytes) -> None:
    """Put a payload in place in one step, over an old one if there is one.

    Raises:
        OSError: it could not be written; what was there stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, MAGIC + hashlib.sha256(payload).digest() + payload)


def kept(path: Path) -> bytes | None:
    """Return a payload, or nothing where there is none.

    Raises:
        DamagedError: what is there is not what was written.
        OSError: it could not be read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
                raise DamagedError("not a file of the cache")
            head = file.read(len(MAGIC) + CHECKSUM)
            payload = file.read(LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if head != MAGIC + hashlib.sha256(payload).digest():
        raise DamagedError("its checksum is wrong")
    return payload
