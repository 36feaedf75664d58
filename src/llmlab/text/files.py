"""Text from a user's own files: plain text, a folder of two files, or chat messages as JSON lines.

Covers what may stand there instead: nothing, a pipe, a device, a gigabyte, a picture, half a character.  Leaves
out the corpora that have a name: ``hub``.
"""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from llmlab.errors import TextError

LARGEST = 1_000_000_000
"""Bytes of the largest file that is read."""

LONGEST_PIECE = 1_000
"""Words of the longest piece of a text that is one single line."""

Splits = tuple[list[str], list[str], list[str]]
"""Lines to train on, to validate with and to test on; none of them is blank, and of the last there may be none."""


def read_path(path: Path) -> Splits:
    """Return the lines of a text file, a folder with ``train.txt`` and ``valid.txt``, or a ``.jsonl`` of dialogues.

    Of a single file the last tenth of the lines (at least one) is for validation, and nothing to test on; a folder may
    have a ``test.txt``.

    Raises:
        TextError: it cannot be read, is not text, or has fewer than two lines.
    """
    if path.is_dir():
        return read_folder(path)
    lines = read_dialogues(path) if path.suffix.lower() == ".jsonl" else read_lines(path)
    return *last_tenth(lines, path), []


def read_folder(folder: Path) -> Splits:
    """Return the lines of ``train.txt``, ``valid.txt`` and, where there is one, ``test.txt``.

    Raises:
        TextError: one of the first two is missing, or one of them cannot be used.
    """
    train, valid, test = (folder / name for name in ("train.txt", "valid.txt", "test.txt"))
    for path in (train, valid):
        if not path.exists():
            raise TextError(f"{folder}: a folder of text has train.txt and valid.txt; {path.name} is missing")
    return read_lines(train), read_lines(valid), read_lines(test) if test.exists() else []


def last_tenth(lines: list[str], path: Path) -> tuple[list[str], list[str]]:
    """Split lines in their order: the last tenth, at least one, is for validation.

    Raises:
        TextError: there are fewer than two.
    """
    if len(lines) < 2:
        raise TextError(f"{path}: one line is not enough; one to train on and one to validate with are the least")
    cut = len(lines) - max(1, len(lines) // 10)
    return lines[:cut], lines[cut:]


def read_lines(path: Path) -> list[str]:
    r"""Return the lines of a text file that are not blank, without blanks at their ends.

    Lines end with ``\n``, ``\r\n`` or ``\r``.  A text that is one single line is cut; see ``pieces``.

    Raises:
        TextError: it cannot be read, is not text, or is blank.
    """
    lines = [line for line in map(str.strip, decoded(read_bytes(path), path).split("\n")) if line]
    if not lines:
        raise TextError(f"{path}: there is no text in it")
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


def read_dialogues(path: Path) -> list[str]:
    """Return one line of text per dialogue of a ``.jsonl`` file: its utterances with blanks between them.

    Raises:
        TextError: it cannot be read, or a line is not a dialogue.
    """
    found = []
    for number, line in enumerate(decoded(read_bytes(path), path).split("\n"), start=1):
        if line.strip():
            try:
                found.append(dialogue(json.loads(line)))
            except (ValueError, RecursionError) as error:
                told = "it is not JSON" if isinstance(error, (json.JSONDecodeError, RecursionError)) else error
                raise TextError(f"{path}, line {number}: {told}") from error
    found = [line for line in found if line]
    if not found:
        raise TextError(f"{path}: there is no dialogue in it")
    return found


def dialogue(row: Any) -> str:
    """Return a dialogue as one line: ``messages`` of role and content, or a ``dialog`` that is a list of strings.

    Example:
        >>> dialogue({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]})
        'hi hello'

    Raises:
        ValueError: it is neither.
    """
    row = row if isinstance(row, dict) else {}
    said = row["messages"] if "messages" in row else row.get("dialog")
    if isinstance(said, list):
        said = [message.get("content") if isinstance(message, dict) else message for message in said]
    if not isinstance(said, list) or not all(isinstance(utterance, str) for utterance in said):
        raise ValueError('expected {"messages": [{"role": …, "content": …}, …]} or {"dialog": ["…", …]}')
    joined = " ".join(" ".join(said).split())
    if any("\ud800" <= character <= "\udfff" for character in joined) or "\0" in joined:
        raise ValueError("it holds half a character (a lone surrogate) or NUL")
    return joined


def decoded(content: bytes, path: Path) -> str:
    r"""Return UTF-8 as text whose lines end with ``\n``; a byte order mark at its start is no character.

    Raises:
        TextError: it is not UTF-8, or holds NUL, as no text does.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise TextError(f"{path}: not text, it holds NUL (byte {content.index(0)})")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file of at most 1 GB.

    Raises:
        TextError: it is missing, larger, a folder, a pipe or a device, or the disk refuses.
    """
    try:
        # without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
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
