"""Writing to disk so that a kill, a full disk or a power cut leaves the old or the new, never a half.

What cannot be written raises ``OSError``; then the old one stands, or all of the new where only a folder's own sync
failed.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

HIDDEN = ".tmp-"
"""How the names of unfinished files and folders begin; whoever reads a folder passes them over."""

READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
"""Without the second, which Windows lacks, opening a pipe that nobody writes to would wait for ever."""

OLD = "-old"
"""How the name of a folder ends while a new one takes its place: no rename can replace a folder that holds files."""


def write_synced(path: Path, data: str | bytes | memoryview) -> None:
    """Write a new file (text as UTF-8) and wait until it is on the disk; if that fails a part may stand there."""
    with path.open("xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: str | bytes | memoryview) -> None:
    """Put a file in place in one step, over an old one if there is one."""
    hidden = _hidden_beside(path)
    try:
        write_synced(hidden, data)
        hidden.replace(path)
        sync_folder(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def replace_folder(path: Path, files: Mapping[str, bytes], twin: Path | None = None) -> None:
    """Put a folder of files in place; at every moment the old one or the new one stands there whole (``standing``).

    The name with ``OLD`` behind it is taken, too.  ``twin`` is a folder with the same files, of which the new ones
    become second names.
    """
    old = path.with_name(path.name + OLD)
    if path.exists():
        remove_folder(old)  # left by a kill
    with _filled(path, files, twin) as hidden:
        if path.exists():
            path.rename(old)
        hidden.rename(path)
        sync_folder(path.parent)
    with contextlib.suppress(OSError):  # the new one stands; the next one tries again
        remove_folder(old)


def new_folder(path: Path, files: Mapping[str, str | bytes]) -> None:
    """Put a folder of files where nothing stands, not even by now; whatever stands beside it is not touched."""
    with _filled(path, files) as hidden:
        hidden.rename(path)
        with contextlib.suppress(OSError):  # it stands; only a power cut could still take its name
            sync_folder(path.parent)


@contextlib.contextmanager
def _filled(path: Path, files: Mapping[str, str | bytes], twin: Path | None = None) -> Iterator[Path]:
    """Yield a hidden folder of files beside a path, which is gone afterwards, renamed or removed."""
    hidden = _hidden_beside(path)
    try:
        hidden.mkdir()
        for name, data in files.items():
            with contextlib.suppress(OSError):  # not every disk knows second names (a USB stick)
                if twin is not None:
                    (hidden / name).hardlink_to(twin / name)
            if not (hidden / name).exists():
                write_synced(hidden / name, data)
        sync_folder(hidden)
        yield hidden
    finally:
        _remove_files(hidden)


def standing(path: Path) -> Path:
    """Return where a folder is: under its name, or, if a new one was about to take its place, under its second."""
    old = path.with_name(path.name + OLD)
    return old if old.is_dir() and not path.exists() else path


def remove_folder(path: Path) -> None:
    """Remove a folder of files, if it is there: in one step for whoever reads the folder it is in."""
    if path.exists():
        hidden = _hidden_beside(path)
        path.rename(hidden)
        _remove_files(hidden)


def sweep(folder: Path, age: float = 0.0) -> None:
    """Remove what a killed process left unfinished so many seconds ago or longer; nobody may still be writing it."""
    for left in folder.glob(HIDDEN + "[0-9a-f]" * 8):
        with contextlib.suppress(FileNotFoundError):  # its writer has just put it in place
            if not age or time.time() - left.stat().st_mtime > age:
                _remove_files(left)


def _remove_files(path: Path) -> None:
    """Remove a file, or a folder of files, as far as that is possible."""
    with contextlib.suppress(OSError):
        if not path.is_dir():
            path.unlink()
            return
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk; a rename without it can be undone by a power cut."""
    if os.name == "nt":  # Windows opens no folders; it keeps their names in a journal
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hidden_beside(path: Path) -> Path:
    return path.with_name(f"{HIDDEN}{secrets.token_hex(4)}")
