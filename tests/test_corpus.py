"""Where text comes from: files of any kind, folders and dialogues; the corpora with a name are next door."""

import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import TextError
from llmlab.text import files
from llmlab.text.corpus import load_corpus
from llmlab.text.files import LONGEST_PIECE, dialogue, pieces, read_path, read_text

pytestmark = pytest.mark.usefixtures("elsewhere")


def written(name: str, content: str | bytes) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


@given(
    st.lists(st.text("ab \u2028é", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9), st.integers(1, 9)
)
def test_a_split_loses_and_mixes_nothing(few: list[str], times: int) -> None:
    """Both splits together are the lines in their order, and the second is a tenth, at least one.

    Line ends of every kind, and a mark at the start, mean the same.
    """
    lines = few * times
    (train, valid, test), _ = read_path(Path(written("text.txt", "\n".join(lines))))
    assert (train + valid, test) == (lines, [])
    assert len(valid) == max(1, len(lines) // 10)
    for end in ("\r", "\r\n"):
        assert read_text(Path(written("text.txt", "\ufeff" + end.join(lines)))) == "\n".join(lines)


@given(st.text("ab.!? \u3000", max_size=300))
def test_cutting_a_line_keeps_its_words(line: str) -> None:
    found = pieces(line)
    assert [word for piece in found for word in piece.split()] == line.split()
    assert all(piece.strip() for piece in found)


def test_a_text_of_one_huge_line_is_cut_at_sentences_and_every_thousand_words() -> None:
    calls, path = itertools.count(), written("long.txt", "the cat sat on the mat again " * 350_000)
    sys.setprofile(lambda *_: next(calls))
    try:
        corpus = load_corpus(path)
    finally:
        sys.setprofile(None)
    assert next(calls) < 100 * len(corpus.train)
    assert max(len(line.split()) for line in corpus.train) == LONGEST_PIECE
    assert sum(len(line.split()) for line in corpus.train + corpus.valid) == 7 * 350_000


CHAT = '{"dialog": ["a", "b"]}\n\n'
NO_DIALOGUE = [
    *("{", "[]", "3", "null", '{"text": "a"}', '{"messages": "a"}', '{"messages": [{"content": 3}]}'),
    *('{"messages": [{"content": {}}]}', '{"dialog": [1]}', '{"dialog": ["\\ud800"]}', '{"dialog": ["\\u0000"]}'),
    *('{"dialog": ' + "[" * 100_000, '{"dialog": [' + "1" * 5_000 + "]}"),
]
TABLE = "\n".join(["text,label", *(f'"the cat; said\t{n}",{n}' for n in range(9))])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        *((content, "empty") for content in (b"", b" \n\t\r\n")),
        (b"\xef\xbb\xbf", "no text"),
        *((content, "one line") for content in (b"one line only", b"x" * 10_000_000)),
        (b"abc\ndef\xff\n", "byte 7"),
        *((content, "byte 0") for content in ("a\nb\n".encode("utf-16"), b"\xed\xa0\x80\nb")),
        (b"\x7fELF\x02\x01\x00\x00a\nb", "NUL"),
        (b"a b\nc\x00d\n", "byte 5"),
        *((CHAT + row, "line 3") for row in NO_DIALOGUE),
        *((TABLE.replace(",", end), "a table with .* between its 2 columns") for end in ",\t;"),
    ],
    ids=lambda value: ascii(value[:60]),
)
def test_a_file_that_is_no_text_is_refused(content: str | bytes, told: str) -> None:
    """In one line that says where and why: nothing, one line, other encodings, binary files, no dialogue, a table."""
    with pytest.raises(TextError, match=told) as caught:
        load_corpus(written("text", content))
    assert "--data" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_lines_that_share_their_commas_are_no_table() -> None:
    assert load_corpus(written("prose.txt", "well now, he said\nall right, she said\n" * 9)).train
    assert load_corpus(written("prose.csv", "[sic] it is\n{and} so on\n" * 9)).train


NO_FILE: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to("loop"),
    "empty": Path.mkdir,
    "large": lambda path: (path.touch(), os.truncate(path, files.LARGEST + 1)),
    **dict.fromkeys(("/dev/zero", "/dev/null", "x" * 300, "a\0b", "nowhere", "", "~"), lambda _: None),
}


@pytest.mark.parametrize("name", NO_FILE, ids=ascii)
def test_what_is_no_file_of_a_fair_size_is_refused_at_once(name: str) -> None:
    """Reading never waits for a pipe, never drinks from a device, and says what else stands in the way."""
    NO_FILE[name](Path(name))
    with pytest.raises(TextError, match="--data.*1,000 MB" if name == "large" else "--data"):
        load_corpus(name)


def test_a_file_that_may_not_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    written("mine.txt", "a\nb")
    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(TextError, match=r"mine\.txt: Permission denied"):
        load_corpus("mine.txt")


CHATS = [
    {"messages": [{"role": "user", "content": f"hi {n}"}, {"role": "assistant", "content": "yes it is"}]} for n in "abc"
]
PARTS = [{"messages": [{"content": [{"type": "text", "text": "hi"}, {"type": "image"}, {"text": "b"}]}]}] * 2
SPOKEN = [{"dialog": ["good ", "mor\nning"]}] * 2
SHARED = [{"conversations": [{"from": "human", "value": f"hi {n}"}, {"from": "gpt", "value": "yes"}]} for n in "ab"]
SILENT = [{"messages": [{"role": "user", "content": "hi"}, {"role": "tool"}, {"content": None}, {"content": [{}]}]}] * 2


@pytest.mark.parametrize("name", ["chats.json", "chats.txt", "chats.JSONL", "chats"])
@pytest.mark.parametrize(
    ("chats", "lines", "told"),
    [
        (CHATS, ["hi a yes it is", "hi b yes it is", "hi c yes it is"], "a file"),
        (PARTS, ["hi b"] * 2, "a file"),
        (SPOKEN, ["good mor ning"] * 2, "a file"),
        (SHARED, ["hi a yes", "hi b yes"], "a file"),
        (SILENT, ["hi"] * 2, "a file; 6 turns without text were skipped"),
    ],
)
def test_chats_are_known_by_their_content(name: str, chats: list[dict[str, Any]], lines: list[str], told: str) -> None:
    """One list over many lines, or a value a line, in every form that chats have, under any name."""
    for content in (json.dumps(chats, indent=1), "\n".join(map(json.dumps, chats))):
        corpus = load_corpus(written(name, content))
        assert (corpus.train + corpus.valid, corpus.source) == (lines, told)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_both_forms_of_a_dialogue_are_the_same_line(said: list[str]) -> None:
    line, silent = dialogue({"dialog": said})
    assert (line, silent) == dialogue({"messages": [{"role": "user", "content": text} for text in said]})
    assert line.split() == " ".join(said).split()
    assert "\n" not in line


def test_a_folder_gives_its_splits_and_a_file_its_last_tenth() -> None:
    """Files of a folder are read as they are, the test split where there is one; of a single file nothing else is."""
    for name, other in (("valid", "train"), ("train", "valid")):
        written(f"half {name}/{name}.txt", "e f\ng h\n")
        with pytest.raises(TextError, match=rf"{other}\.txt is missing"):
            load_corpus(f"half {name}")
    written("mine/train.txt", "a b\nc d\n")
    written("mine/valid.txt", "e f\ng h\n")
    corpus = load_corpus("mine")
    assert (corpus.name, corpus.train, corpus.valid, corpus.test) == ("mine", ["a b", "c d"], ["e f", "g h"], [])
    written("mine/test.txt", "\n a third \n")
    assert load_corpus("mine").test == ["a third"]
    alone = load_corpus("mine/train.txt")
    assert (alone.name, alone.train, alone.valid, alone.test) == ("train.txt", ["a b"], ["c d"], [])
    written("mine/test.txt", " ")
    with pytest.raises(TextError, match=r"test\.txt: the file is empty"):
        load_corpus("mine")
