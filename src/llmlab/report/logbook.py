"""The experiment log on disk, and the only code that writes to it.

One folder per entry, ``posts/<date>-<experiment>-<id>/``, with ``record.json`` (the truth), ``entry.md`` and the
pictures.  A folder is built under a hidden name, synced, and put in place by one rename: an entry is there
whole or not at all, whatever happens in between, and any number of processes can write at once.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from llmlab.disk import new_folder, replace_file, sweep
from llmlab.errors import SettingError, TextError, WriteError
from llmlab.report import entry
from llmlab.report.record import Record

STALE_SECONDS = 3600
"""Whatever is hidden for longer was left by a killed process."""

LARGEST_RECORD = 50_000_000
SMALL_SITE = Path(__file__).with_name("small_site")
MARK = re.compile(rb"^ *llmlab_log: true\r?$", re.MULTILINE)
"""Stands in the ``mkdocs.yml`` of a site that takes the entries of what is run in it."""
HOOKS = '"""The index by chapter, the comparison and the feed."""\n\nfrom llmlab.pages.hooks import *\n'


@dataclass(frozen=True)
class Logbook:
    """The log of one site.

    ``root`` holds the folder ``posts``; ``site`` is the folder with the site's ``mkdocs.yml``.
    """

    root: Path
    site: Path

    @classmethod
    def at(cls, folder: Path | None = None) -> "Logbook":
        """Return the log for a folder, or for the working directory.

        Inside a site of ours (an ``mkdocs.yml`` with our mark in or above the folder) the log is its ``docs/log``, or
        the given folder if it lies deeper in the site.  Elsewhere, in anybody else's site too, the folder, by default
        ``llmlab-log``, is a small site of its own, or will be once something is put.

        Raises:
            WriteError: the folder cannot even be looked at.
        """
        try:
            here = (folder or Path.cwd()).resolve()
            above = next((above for above in (here, *here.parents) if _is_ours(above / "mkdocs.yml")), None)
        except (OSError, RuntimeError) as error:
            raise WriteError(f"--log-dir: {folder or 'the working directory'} cannot be used: {error}") from error
        if above:
            return cls(here if folder and above != here else above / "docs" / "log", above)
        site = here if folder else here / "llmlab-log"
        return cls(site / "docs" / "log", site)

    @classmethod
    def kept(cls, folder: Path | None = None) -> "Logbook":
        """Return a log to read; in the working directory there need not be one yet.

        Raises:
            SettingError: the folder is given and holds no log.
            WriteError: it cannot even be looked at.
        """
        log = cls.at(folder)
        if folder and not log.posts.is_dir():
            raise SettingError(f"--log-dir: {folder} holds no log: there is no folder {log.posts}")
        return log

    @property
    def posts(self) -> Path:
        """The folder of the entries."""
        return self.root / "posts"

    def check_writable(self) -> None:
        """Refuse early, before an experiment runs, what would fail after it.

        Raises:
            WriteError: the log folder cannot be made or written to.
        """
        try:
            there = next(folder for folder in (self.posts, *self.posts.parents) if folder.exists())
        except OSError as error:
            raise WriteError(f"--log-dir: {error.filename}: {error.strerror}; choose another folder") from error
        if not self.site.parent.is_dir():
            raise WriteError(f"--log-dir: {self.site.parent} does not exist; make it, or choose another folder")
        if not there.is_dir():
            raise WriteError(f"--log-dir: {there} is a file, not a folder; choose another folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise WriteError(f"--log-dir: {there} cannot be written to; choose another folder, or --no-log")

    def put(self, record: Record) -> tuple[Record, Path]:
        """Write one entry and return it (its id is fresh) with the path of its page.

        Raises:
            WriteError: nothing was written; the message says why.
        """
        try:
            self.posts.mkdir(parents=True, exist_ok=True)
            if not (self.site / "mkdocs.yml").is_file():
                write_small_site(self.site)
            sweep(self.posts, STALE_SECONDS)
            fresh = (replace(record, id=secrets.token_hex(4)) for _ in count())
            record = next(one for one in fresh if not (self.posts / one.name).exists())
            new_folder(self.posts / record.name, entry.files(record))
        except OSError as error:
            raise _not_written(error, self.posts) from error
        return record, self.posts / record.name / entry.PAGE

    def folders(self) -> list[Path]:
        """Return the folders of all entries, oldest first."""
        found = self.posts.iterdir() if self.posts.is_dir() else ()
        return sorted(one for one in found if one.name[0] != "." and one.is_dir() and not one.is_symlink())

    def read(self) -> Iterator[tuple[Path, Record | ValueError]]:
        """Yield each entry's folder with its record, or with what is wrong with it: one bad entry hides no other."""
        for folder in self.folders():
            try:
                yield folder, read_record(folder)
            except ValueError as error:
                yield folder, error

    def names(self) -> dict[str, str]:
        """Return the names of the entries' folders by id."""
        return {folder.name.rsplit("-", 1)[-1]: folder.name for folder in self.folders()}

    def find(self, id_or_name: str) -> tuple[Path, Record]:
        """Return the one entry whose id or folder name starts as given.

        Raises:
            SettingError: none does, or several do.
            TextError: the entry cannot be read.
        """
        names = [(folder, folder.name, folder.name.rsplit("-", 1)[-1]) for folder in self.folders()]
        found = [folder for folder, *called in names if any(name.startswith(id_or_name) for name in called)]
        if not id_or_name or len(found) != 1:
            few = f"{len(found)} entries in this log begin" if found else "no entry in this log begins"
            raise SettingError(f"ID: {few} with {id_or_name!r}; see llmlab log list")
        try:
            return found[0], read_record(found[0])
        except ValueError as error:
            raise TextError(f"{found[0].name}/record.json: {error}") from error

    def supersede(self, old: Record, new: Record, why: str, why_ja: str = "") -> tuple[Record, Record]:
        """Let one entry stand in for another of the same experiment: both stay, and each names the other.

        The successor is written first: whatever happens in between, doing it again completes it.

        Raises:
            SettingError: the two do not go together; the message says why.
            WriteError: a file cannot be written.
        """
        _refuse_pair(old, new, why)
        old = replace(old, superseded_by=new.id, superseded_why=why.strip(), superseded_why_ja=why_ja.strip())
        new = replace(new, supersedes=list(dict.fromkeys([*new.supersedes, old.id])))
        names = self.names()
        for record in (new, old):
            folder = self.posts / record.name
            _write(folder, {"record.json": record.json()})
            try:
                _write(folder, _changed(folder, record, names))
            except (entry.NotesLost, UnicodeDecodeError, OSError) as error:
                raise WriteError(f"{record.name}/{entry.PAGE}: {error}; see llmlab log render") from error
        return old, new

    def render(self, *, only_check: bool = False) -> Iterator[tuple[str, str]]:
        """Rebuild every page and picture from its record, and yield (entry name, what happened).

        What happened is ``same``, ``rendered`` (``differs`` when only checking) or ``skipped: <why>``.

        Raises:
            WriteError: a file cannot be written.
        """
        names = self.names()
        for folder, record in self.read():
            try:
                if isinstance(record, ValueError):
                    raise record
                changed = _changed(folder, record, names)
            except (ValueError, OSError) as error:
                yield folder.name, f"skipped: {error}"
                continue
            if not only_check:
                _write(folder, changed)
            yield folder.name, ("differs" if only_check else "rendered") if changed else "same"


def _changed(folder: Path, record: Record, names: dict[str, str]) -> dict[str, str]:
    """Return the files of an entry that are not what its record says; the record itself is never touched."""
    page = folder / entry.PAGE
    if page.exists() and not page.is_file():
        raise entry.NotesLost(f"{entry.PAGE} is not a file")
    wanted = entry.files(record, page.read_text("utf-8") if page.is_file() else None, names=names)
    del wanted["record.json"]
    there = {name: (folder / name).read_bytes() for name in wanted if (folder / name).is_file()}
    return {name: text for name, text in wanted.items() if there.get(name) != text.encode()}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        try:
            replace_file(folder / name, text)
        except OSError as error:
            raise _not_written(error, folder / name) from error


def _is_ours(config: Path) -> bool:
    return config.is_file() and MARK.search(config.read_bytes()) is not None


def write_small_site(site: Path) -> None:
    """Write the files of the site that a log outside any checkout lives in, where they are missing.

    ``mkdocs.yml``, which says that all is there, comes last.

    Raises:
        OSError: a file cannot be written.
    """
    found = [*sorted(SMALL_SITE.rglob("*.md")), SMALL_SITE / "mkdocs.yml"]
    texts = {"log_pages.py": HOOKS} | {str(one.relative_to(SMALL_SITE)): one.read_text("utf-8") for one in found}
    for name, text in texts.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        if not (site / name).exists():
            replace_file(site / name, text)


def _refuse_pair(old: Record, new: Record, why: str) -> None:
    """Refuse two entries of which one cannot supersede the other."""
    if not why.strip():
        raise SettingError("--why: say in a sentence why the entry is superseded")
    if old.id == new.id:
        raise SettingError(f"NEW: {new.id} cannot supersede itself")
    if old.result.experiment != new.result.experiment:
        kinds = f"{new.id} is of {new.result.experiment}, {old.id} of {old.result.experiment}"
        raise SettingError(f"NEW: {kinds}; an entry is superseded by one of the same experiment")
    if new.rerun_of and new.rerun_of != old.rerun_of:
        beside = f"{new.id} is a rerun of {new.rerun_of}, and stands beside the evidence, never in for it"
        raise SettingError(f"NEW: {beside}; name an entry that was run for itself")
    if new.superseded_by:
        raise SettingError(f"NEW: {new.id} is superseded itself, by {new.superseded_by}; name that one")
    if old.superseded_by not in ("", new.id):
        raise SettingError(f"OLD: {old.id} is superseded already, by {old.superseded_by}")


def read_record(folder: Path) -> Record:
    """Return the record in a folder.

    Raises:
        ValueError: it is missing, a link, oversized, not UTF-8 or not a record.
    """
    path = folder / "record.json"
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST_RECORD:
            raise ValueError("a link or an oversized file in place of record.json")
        record = Record.from_json(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"record.json: {error.strerror}") from error
    except RecursionError as error:
        raise ValueError("record.json: nested too deeply") from error
    if record.name != folder.name:
        raise ValueError(f"record.json belongs to {record.name}")
    return record


def _not_written(error: OSError, path: Path) -> WriteError:
    try:
        free = f", {shutil.disk_usage(path if path.is_dir() else path.parent).free / 1e6:.1f} MB free"
    except OSError:
        free = ""
    told = f"the log entry was not written to {path}: {error.strerror or error}{free}"
    return WriteError(f"{told}; choose another --log-dir")
