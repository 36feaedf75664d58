"""What took a while to compute, kept in the user's cache folder under its own checksum.

A file is written whole or not at all, and read only if its SHA-256 is right: half a file, a flipped bit or
somebody else's file is noticed.  A cache is never needed: whoever uses it goes on without.  What is kept is token
numbers, with a few words about them: the length of a head, the head in JSON, whole numbers one after the other.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from llmlab.disk import READ, replace_file

T = TypeVar("T")
Packed = tuple[dict[str, Any], list[Tensor]]
"""Plain values in words, and vectors of whole numbers."""

MAGIC = b"llmlab cache 1\n"
CHECKSUM = hashlib.sha256().digest_size
LARGEST = 4_000_000_000


class DamagedError(ValueError):
    """A cache file is not what was written."""


def cache_folder() -> Path | None:
    """Return ``$LLMLAB_CACHE``, else ``llmlab`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; none without a home."""
    if os.environ.get("LLMLAB_CACHE"):
        return Path(os.path.expanduser(os.environ["LLMLAB_CACHE"]))  # noqa: PTH111 - this one never fails
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # a relative one is to be ignored, says the XDG base directory specification
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "llmlab"
    except RuntimeError:
        return None


def recall(
    path: Path | None,
    key: str,
    make: Callable[[], T],
    pack: Callable[[T], Packed],
    unpack: Callable[[dict[str, Any], list[Tensor]], T],
    say: Callable[[str], None],
) -> T:
    """Return what is kept at a path under a key, or make it and keep it there.

    ``say`` is told in a line of what is damaged; what cannot be written is done without.  ``unpack`` may raise
    ``ValueError``, ``KeyError``, ``TypeError`` or ``RuntimeError`` at what is not its own.
    """
    if path is None:
        return make()
    try:
        payload = kept(path)
        if payload is not None:
            return unpack(*opened(payload, key))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        say(f"warning: {path} could not be used ({error}); it is made again")
    found = make()
    with contextlib.suppress(OSError):
        keep(path, sealed(key, *pack(found)))
    return found


def sealed(key: str, words: dict[str, Any], parts: list[Tensor]) -> bytes:
    """Return words and numbers as bytes that ``opened`` reads."""
    numbers = torch.cat([part.flatten() for part in parts])
    kind = "int16" if len(numbers) and int(numbers.max()) <= torch.iinfo(torch.int16).max else "int32"
    head = json.dumps({"key": key, "kind": kind, "sizes": [part.numel() for part in parts], **words}).encode("ascii")
    head += b" " * (-len(head) % 8)  # the numbers begin where a machine can read them at once
    numbers = numbers.to(getattr(torch, kind))
    room = bytearray(len(numbers) * numbers.element_size())
    torch.frombuffer(room, dtype=numbers.dtype).copy_(numbers)  # Tensor.numpy() would need NumPy
    return len(head).to_bytes(8, "little") + head + room


def opened(payload: bytes, key: str) -> Packed:
    """Return the words and numbers of ``sealed``.

    Raises:
        ValueError, KeyError, TypeError, RuntimeError: these are not its bytes under this key.
    """
    start = 8 + int.from_bytes(payload[:8], "little")
    head = json.loads(payload[8:start])
    if head["key"] != key:
        raise ValueError("it belongs to another text")
    kind = {"int16": torch.int16, "int32": torch.int32}[head["kind"]]
    numbers = torch.frombuffer(bytearray(payload[start:]), dtype=kind).long()
    return head, list(torch.split(numbers, head["sizes"]))


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
        with open(os.open(path, READ), "rb") as file:  # noqa: PTH123
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
