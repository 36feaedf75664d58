"""Text from a user's own files: plain text, a folder of two files, or chats in JSON, whatever they are called.

Nothing, a pipe, a device, a gigabyte, a picture, a table or half a character is refused by a ``TextError`` that names
the file.
"""

import contextlib
import csv
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from llmlab.disk import READ
from llmlab.errors import TextError

LARGEST = 1_000_000_000
"""Bytes of the largest file that is read."""

LONGEST_PIECE = 1_000
"""Words of the longest piece of a text that is one single line."""

TABLE_ROWS = 50
"""Rows that are looked at to tell a table from running text: as many cells in each, under a header of single words."""

Splits = tuple[list[str], list[str], list[str]]
"""Lines to train on, to validate with and to test on; none of them is blank, and of the last there may be none."""


def read_path(path: Path) -> tuple[Splits, str]:
    """Return the lines of a text file, of chats, or of a folder with ``train.txt`` and ``valid.txt``; and what it is.

    Of a single file the last tenth of the lines (at least one) is for validation, and nothing to test on; a folder may
    have a ``test.txt``.

    Raises:
        TextError: it cannot be read, is not running text, or has fewer than two lines.
    """
    if path.is_dir():
        return read_folder(path), "a folder"
    text, told = read_text(path), "a file"
    chats = json_values(text, path)
    if chats is None:
        lines = lines_of(text, path)
    else:
        lines, silent = dialogues(chats, path)
        told += f"; {silent:,} turns without text were skipped" if silent else ""
    if len(lines) < 2:
        raise TextError(f"{path}: one line is not enough; one to train on and one to validate with are the least")
    cut = len(lines) - max(1, len(lines) // 10)
    return (lines[:cut], lines[cut:], []), told


def read_folder(folder: Path) -> Splits:
    """Return the lines of ``train.txt``, ``valid.txt`` and, where there is one, ``test.txt``."""
    train, valid, test = (folder / name for name in ("train.txt", "valid.txt", "test.txt"))
    for path in (train, valid):
        if not path.exists():
            raise TextError(f"{folder}: a folder of text has train.txt and valid.txt; {path.name} is missing")
    found = [lines_of(read_text(path), path) for path in (train, valid, test) if path.exists()]
    return found[0], found[1], found[2] if len(found) > 2 else []


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file of at most 1 GB."""
    try:
        with open(os.open(path, READ), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise TextError(f"{path}: not a regular file; copy the text into one")
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise TextError(f"{path}: larger than {LARGEST // 1_000_000:,} MB, the most that is read")
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise TextError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not content.strip():
        raise TextError(f"{path}: the file is empty")
    return content


def read_text(path: Path) -> str:
    r"""Return a file in UTF-8 as text whose lines end with ``\n``; a byte order mark at its start is no character."""
    content = read_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise TextError(f"{path}: not text, it holds NUL (byte {content.index(0)})")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def lines_of(text: str, path: Path) -> list[str]:
    """Return the lines that are not blank, without blanks at their ends; a single one is cut, see ``pieces``."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    if not lines:
        raise TextError(f"{path}: there is no text in it")
    for separator, name in ((",", "commas"), ("\t", "tabs"), (";", "semicolons")):
        header, *rows = csv.reader([line[:1_000] for line in lines[:TABLE_ROWS]], delimiter=separator)
        plain = len(header) > 1 and all(cell.strip() and " " not in cell.strip() for cell in header)
        if plain and len(rows) > 1 and all(len(row) == len(header) for row in rows):
            raise TextError(
                f"{path}: a table with {name} between its {len(header)} columns, not running text; save the column "
                "that has the text, one piece a line"
            )
    return pieces(lines[0]) if len(lines) == 1 else lines


def pieces(line: str) -> list[str]:
    """Cut one line at the ends of its sentences, and a longer sentence after every 1,000 words.

    A sentence ends with ``.``, ``!`` or ``?`` before a blank.  Without this a file that knows no line ends would
    have nothing to validate with.

    Example:
        >>> pieces("Is it? It is. Good")
        ['Is it?', 'It is.', 'Good']
    """
    found = []
    for sentence in re.split(r"(?<=[.!?])\s+", line):
        words = sentence.split()
        found += [" ".join(words[start : start + LONGEST_PIECE]) for start in range(0, len(words), LONGEST_PIECE)]
    return found


def json_values(text: str, path: Path) -> list[tuple[str, Any]] | None:
    """Return the values of a file in JSON, each with where it stands; ``None`` if the file is no JSON.

    That is one list, or a value a line, whatever the file is called; of a ``.jsonl`` the lines must be values.
    """
    surely = path.suffix.lower() == ".jsonl"
    if not surely and not text.lstrip().startswith(("[", "{")):
        return None
    with contextlib.suppress(ValueError, RecursionError):  # what is no list is a value a line, or no JSON
        whole = json.loads(text)
        if isinstance(whole, list):
            return [(f"entry {number}", value) for number, value in enumerate(whole, start=1)]
    values: list[tuple[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            if line.strip():
                values.append((f"line {number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            if not values and not surely:
                return None
            raise TextError(f"{path}, line {number}: it is not JSON") from error
    return values


def dialogues(values: list[tuple[str, Any]], path: Path) -> tuple[list[str], int]:
    """Return a line of text per dialogue, and how many turns had no text."""
    lines, silent = [], 0
    for where, value in values:
        try:
            line, without = dialogue(value)
        except ValueError as error:
            raise TextError(f"{path}, {where}: {error}") from error
        lines += [line] if line else []
        silent += without
    if not lines:
        raise TextError(f"{path}: there is no dialogue in it")
    return lines, silent


def dialogue(value: Any) -> tuple[str, int]:
    """Return a dialogue as one line, and how many of its turns have no text.

    Example:
        >>> dialogue({"messages": [{"role": "user", "content": "hi"}, {"role": "tool"}, {"content": "hello"}]})
        ('hi hello', 1)

    Raises:
        ValueError: it is none.
    """
    fields = value if isinstance(value, dict) else {}
    turns = next((fields[name] for name in ("messages", "conversations", "dialog") if name in fields), None)
    said: list[Any] = [text_of(turn) for turn in turns] if isinstance(turns, list) else [False]
    if not all(text is None or isinstance(text, str) for text in said):
        raise ValueError('expected {"messages": [{"role": …, "content": …}, …]} or {"dialog": ["…", …]}')
    line = " ".join(" ".join(filter(None, said)).split())
    if any("\ud800" <= character <= "\udfff" for character in line) or "\0" in line:
        raise ValueError("it holds half a character (a lone surrogate) or NUL")
    return line, said.count(None)


def text_of(turn: Any) -> Any:
    """Return the text of a turn, which may come in parts; ``None`` if it has none."""
    if isinstance(turn, dict):
        turn = turn.get("content", turn.get("value"))
    if isinstance(turn, list):
        parts = [part.get("text") for part in turn if isinstance(part, dict)]
        turn = " ".join(part for part in parts if isinstance(part, str)) or None
    return turn
