"""Writing to disk so that a kill, a full disk or a power cut leaves the old or the new, never a half.

Covers new files, replacements and second names of single files; a folder of files is put in place by
``report.logbook`` with one rename.  Leaves out what is written.
"""

import os
import secrets
from pathlib import Path

HIDDEN = ".tmp-"
"""How the names of unfinished files and folders begin; whoever reads a folder passes them over."""


def write_synced(path: Path, data: str | bytes | memoryview) -> None:
    """Write a new file (text as UTF-8) and wait until it is on the disk.

    Raises:
        OSError: it could not be written; a part may stand there.
    """
    with path.open("xb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: str | bytes | memoryview) -> None:
    """Put a file in place in one step, over an old one if there is one.

    Raises:
        OSError: it could not be written; what was there stands, or all of the new where only the folder's own
            sync failed.
    """
    hidden = _hidden_beside(path)
    try:
        write_synced(hidden, data)
        hidden.replace(path)
        sync_folder(path.parent)
    finally:
        hidden.unlink(missing_ok=True)


def link_file(path: Path, name: Path) -> None:
    """Give a file that is on the disk a second name in the same folder, in one step.

    Raises:
        OSError: that did not work, for instance because the disk knows no second names (a USB stick).
    """
    hidden = _hidden_beside(name)
    try:
        hidden.hardlink_to(path)
        hidden.replace(name)
        sync_folder(name.parent)
    finally:
        hidden.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk; a rename without it can be undone by a power cut.

    Raises:
        OSError: the disk reports an error.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hidden_beside(path: Path) -> Path:
    return path.with_name(f"{HIDDEN}{secrets.token_hex(4)}")
