"""Checkpoints: what a run needs to go on, kept so that no kill, full disk or flipped bit goes unnoticed.

A file is a header of 48 bytes and a payload::

    bytes  0-5    LLMLAB
    bytes  6-7    version of the format, big-endian: 1
    bytes  8-15   length of the payload, big-endian
    bytes 16-47   SHA-256 of bytes 0-15 and the payload
    bytes 48-     the payload, as torch.save writes it

PyTorch by itself reads a file with a flipped bit as other numbers, and says nothing.  Here not one byte of the payload
is looked at before length and SHA-256 are right, and then only numbers, text and tensors are taken, never code.

Covers the file, the folder of a run (its lock, its last files, its best one) and what is said when a file is damaged.
Leaves out what a state is made of, which the trainer knows, and whether it fits the run that wants to go on.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llmlab.disk import HIDDEN, link_file, replace_file
from llmlab.errors import CheckpointError, SettingError, WriteError
from llmlab.lab.plain import Rebuild, check_names, dense, detached

MAGIC = b"LLMLAB"
VERSION = 1
HEADER = struct.Struct(">6sHQ32s")
SIGNED = 16
"""The bytes of the header that the SHA-256 covers together with the payload."""

LARGEST = 4 * 2**30
"""A longer file is refused before it is read: a header, or a hole in a file, costs nothing to make long."""

BYTES_KEPT = 12
"""Bytes of a checkpoint for each parameter: its value and Adam's two moments, in fp32."""

KEPT = 3
NAME = re.compile(r"update-([0-9]{8}|[1-9][0-9]{8,})\.ckpt")
WAY_OUT = "give another checkpoint, or train anew"


class NewerFormatError(CheckpointError):
    """The file may well be good, but only a newer llmlab can tell."""


def packed(state: dict[str, Any]) -> memoryview:
    """Return a state as the bytes of a checkpoint; the same state always gives the same bytes.

    What it may be made of stands in ``plain``.  An ``OrderedDict``, as a module's ``state_dict`` is one, becomes a
    dict; a tensor is taken off its device and its graph, and of a view only what can be seen of it is kept.

    Raises:
        TypeError: something else is in it; the message says where.
    """
    buffer = io.BytesIO()
    buffer.write(bytes(HEADER.size))
    torch.save(Rebuild(detached)(state), buffer)
    check_names(buffer, HEADER.size)  # a PyTorch that writes otherwise is found out now, not when a run is to go on
    whole = buffer.getbuffer()
    payload = whole[HEADER.size :]
    start = HEADER.pack(MAGIC, VERSION, len(payload), bytes(32))[:SIGNED]
    whole[: HEADER.size] = start + _digest(start, payload)
    return whole


def read(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint, its tensors on the CPU.

    Raises:
        CheckpointError: there is no such file, or it is not whole, not ours, or of a newer llmlab.
    """
    try:
        return unpacked(_payload(path))
    except CheckpointError:
        raise
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except Exception as error:  # torch raises half a dozen types for what is not a state, and more with each release
        why = " ".join(f"{type(error).__name__}: {error}".split())[:80]
        raise _unusable(path, f"it holds no state of a run ({why})") from error


def unpacked(payload: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Return the state in the payload of a checkpoint.

    Raises:
        Exception: whatever torch raises at what is no state; it runs no code that stands there.
    """
    buffer = io.BytesIO(payload)
    check_names(buffer, 0)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True, map_location="cpu")
    if not isinstance(state, dict):
        raise TypeError(f"a {type(state).__qualname__} instead of a dict")
    return dict(Rebuild(dense)(state))


def _payload(path: Path) -> bytes:
    """Return the verified payload of a file."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
        raise _unusable(path, "not a file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(HEADER.size)
        if not header.startswith(MAGIC):
            raise _unusable(path, "empty" if not header else "not a checkpoint of llmlab")
        if len(header) < HEADER.size:
            raise _unusable(path, f"cut off after {size:,} bytes")
        _, version, length, digest = HEADER.unpack(header)
        if version > VERSION:
            raise NewerFormatError(f"{path}: format {version}, this llmlab reads up to format {VERSION}; update llmlab")
        if version < VERSION:
            raise _unusable(path, f"format {version}, which never was; this llmlab reads format {VERSION}")
        if HEADER.size + length != size:
            raise _unusable(path, f"{size:,} bytes long, but its header says {HEADER.size + length:,}")
        if size > LARGEST:
            raise _unusable(path, f"{size:,} bytes long; more than {LARGEST:,} are never read")
        payload = file.read(length)
    if _digest(header[:SIGNED], payload) != digest:
        raise _unusable(path, "damaged: its bytes do not match its SHA-256")
    return payload


def _digest(header: bytes | memoryview, payload: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(header)
    digest.update(payload)
    return digest.digest()


def _unusable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: {why}; {WAY_OUT}")


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run: ``update-<8 digits>.ckpt``, the last three of them, and ``best.ckpt``."""

    folder: Path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other runs out of it; a lock ends with its process, however that ends.

        Raises:
            SettingError: another run is writing here.
            WriteError: the folder cannot be made or locked.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise self._unwritten(error, self.folder) from error
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def check_space(self, nbytes: int) -> None:
        """Refuse early, before a run, what would fail during it.

        Raises:
            WriteError: fewer than four times the bytes of one checkpoint are free: three are kept, and the best one.
        """
        try:
            free = self._free()
        except OSError as error:
            raise self._unwritten(error, self.folder) from error
        if free < 4 * nbytes:
            need = f"{4 * nbytes / 1e6:.1f} MB of checkpoints, {free / 1e6:.1f} MB free"
            raise WriteError(f"--out: {self.folder}: {need}; make room, or choose another folder")

    def save(self, state: dict[str, Any], update: int, *, best: bool = False) -> Path:
        """Write a checkpoint and return its path once it is on the disk whole; keep the last three, and the best.

        Checkpoints of later updates, which a run has that went on from an earlier one, are set aside under other
        names: they are no longer this run's past.  The last three of those stay.

        Raises:
            WriteError: it was not saved; every older file stands.
            TypeError: the state holds something that is not plain (see ``packed``).
        """
        path, data = self._path(update), packed(state)
        try:
            if len(data) > LARGEST:
                raise OSError(errno.EFBIG, f"{len(data):,} bytes are more than the {LARGEST:,} that would be read back")
            self._sweep()
            for later in self._updates(after=update):
                self._path(later).replace(self.folder / f"aside-{later:08d}.ckpt")
            replace_file(path, data)
            if path.stat().st_size != len(data):
                raise OSError(errno.EIO, "what was written is not there")
            if best:
                self._keep_as_best(path, data)
        except OSError as error:
            raise self._unwritten(error, path) from error
        with contextlib.suppress(OSError):  # the new one stands; the next save tries again
            for old in self._updates()[:-KEPT]:
                self._path(old).unlink()
            for left in sorted(self.folder.glob("aside-*.ckpt"))[:-KEPT]:
                left.unlink()
        return path

    def latest(self, say: Callable[[str], None]) -> tuple[dict[str, Any], Path] | None:
        """Return the newest good state with its path; None if there has never been one.

        A damaged file is passed over for an older one, and ``say`` is told which, why, and how many updates are lost.

        Raises:
            CheckpointError: there are checkpoints, but none that can be used.  Nothing is deleted.
        """
        damaged: dict[int, str] = {}
        for update in reversed(self._found()):
            try:
                state = read(self._path(update))
            except CheckpointError as error:
                if isinstance(error, NewerFormatError):
                    raise
                damaged[update] = str(error).removesuffix(f"; {WAY_OUT}")
                continue
            for lost, why in damaged.items():
                say(f"{why}; going on from {self._path(update).name}: {lost - update} updates are lost")
            return state, self._path(update)
        if not damaged:
            return None
        reasons = "; ".join(damaged.values())
        raise CheckpointError(f"no checkpoint can be used: {reasons}; restore one, or start anew in another folder")

    def best(self) -> dict[str, Any] | None:
        """Return the state that was saved as the best; None if there is none.

        Raises:
            CheckpointError: there is one, but it cannot be used.
        """
        self._found()  # a folder that cannot be read is not one without a best
        return read(self._best) if os.path.lexists(self._best) else None

    def has_checkpoints(self) -> bool:
        """Return whether a run has saved anything here, usable or not.

        Raises:
            CheckpointError: the folder cannot be read.
        """
        return bool(self._found()) or os.path.lexists(self._best)

    def _path(self, update: int) -> Path:
        if update < 0:
            raise ValueError(f"update {update} is negative")
        return self.folder / f"update-{update:08d}.ckpt"

    @property
    def _best(self) -> Path:
        return self.folder / "best.ckpt"

    def _updates(self, after: int = -1) -> list[int]:
        """Return the numbers of the checkpoints here, in order."""
        found = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(number for match in found if match and (number := int(match[1])) > after)

    def _found(self) -> list[int]:
        try:
            return self._updates()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder}: {error.strerror}; choose another folder") from error

    def _keep_as_best(self, path: Path, data: memoryview) -> None:
        try:
            link_file(path, self._best)
        except OSError:
            replace_file(self._best, data)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sweep()
        except BlockingIOError as error:
            raise SettingError(f"--out: another run is writing to {self.folder}; choose another folder") from error
        except OSError as error:
            raise self._unwritten(error, self.folder) from error

    def _sweep(self) -> None:
        """Remove what a killed save left; the lock says that nobody else is saving."""
        with contextlib.suppress(OSError):
            for left in self.folder.glob(f"{HIDDEN}*"):
                left.unlink()

    def _unwritten(self, error: OSError, path: Path) -> WriteError:
        try:
            free = f", {self._free() / 1e6:.1f} MB free"
        except OSError:
            free = ""
        why = f"{path} was not written: {error.strerror or error}{free}"
        return WriteError(f"--out: {why}; make room, or choose another folder")

    def _free(self) -> int:
        """Return the free bytes of the disk that the folder is on, or would be on."""
        there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.is_dir())
        return shutil.disk_usage(there).free
