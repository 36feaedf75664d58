"""Writing to disk so that a kill, a full disk or a power cut leaves the old or the new, never a half.

Covers new files and replacements of single files; a folder of files is put in place by ``logbook`` with one
rename.  Leaves out what is written.
"""

import os
import secrets
from pathlib import Path

HIDDEN = ".tmp-"
"""How the names of unfinished files and folders begin; whoever reads a folder passes them over."""


def write_synced(path: Path, text: str) -> None:
    """Write a new file and wait until it is on the disk.

    Raises:
        OSError: it could not be written; a part may stand there.
    """
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, text: str) -> None:
    """Put a file in place in one step, over an old one if there is one.

    Raises:
        OSError: it could not be written; what was there stands.
    """
    hidden = path.with_name(f"{HIDDEN}{secrets.token_hex(4)}")
    try:
        write_synced(hidden, text)
        hidden.replace(path)
        sync_folder(path.parent)
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
