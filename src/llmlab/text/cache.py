"""What took a while to compute, kept in the user's cache folder under its own checksum.

A file is written whole or not at all, and read only if its SHA-256 is right: half a file, a flipped bit or
somebody else's file is noticed.  A cache is never needed: whoever uses it goes on without.  What is kept is token
numbers, with a few words about them: a checksum, then a safetensors file.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from llmlab.disk import READ, replace_file

T = TypeVar("T")
Packed = tuple[dict[str, Any], list[Tensor]]
"""Plain values in words, and tensors of whole numbers."""

VERSION = 4
"""Of what is kept and how it is computed; a change of either needs a new number."""

CHECKSUM = hashlib.sha256().digest_size
LARGEST = 4_000_000_000


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
    folder: Path | None,
    ending: str,
    what: str,
    make: Callable[[], Packed],
    build: Callable[[dict[str, Any], list[Tensor]], T],
    say: Callable[[str], None],
) -> T:
    """Return what is built of the words and numbers that ``make`` computes, or that a folder, if any, keeps of them.

    ``what`` tells them from everything else that is kept.  ``build`` may raise ``ValueError``, ``KeyError``,
    ``TypeError`` or ``RuntimeError`` at what is not its own.  ``say`` is told in a line of what is damaged; what cannot
    be written is done without.
    """
    if folder is None:
        return build(*make())
    key = hashlib.sha256(f"{VERSION} {what}".encode()).hexdigest()
    path = folder / f"{key}.{ending}"
    try:
        return build(*kept(path, key))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        say(f"warning: {path} could not be used ({error}); it is made again")
    found = make()
    with contextlib.suppress(OSError):
        keep(path, key, *found)
    return build(*found)


def keep(path: Path, key: str, words: dict[str, Any], parts: list[Tensor]) -> None:
    """Put words and numbers in place in one step, over an old file if there is one."""
    kinds = [torch.int32 if part.numel() and int(part.max()) >= 1 << 15 else torch.int16 for part in parts]
    numbers = {f"{place:02d}": part.to(kind) for place, (part, kind) in enumerate(zip(parts, kinds, strict=True))}
    head = json.dumps({"key": key, **words})  # all in one: of several entries the order would be chance
    payload = safetensors.torch.save(numbers, {"head": head})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, hashlib.sha256(payload).digest() + payload)


def kept(path: Path, key: str) -> Packed:
    """Return the words and numbers of ``keep``; a ``ValueError`` tells that something else is there."""
    with open(os.open(path, READ), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise ValueError("not a file of the cache")
        checksum, payload = file.read(CHECKSUM), file.read(LARGEST)
    if checksum != hashlib.sha256(payload).digest():
        raise ValueError("its checksum is wrong")
    numbers = safetensors.torch.load(payload)
    head = json.loads(json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])["__metadata__"]["head"])
    if head["key"] != key:
        raise ValueError("it belongs to another text")
    return head, [numbers[name].long() for name in sorted(numbers)]
