"""Where text comes from: files of any kind, folders and dialogues; the corpora with a name are next door."""

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import TextError
from llmlab.text import files
from llmlab.text.corpus import load_corpus
from llmlab.text.files import LONGEST_PIECE, dialogue, pieces, read_path, read_text


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in a folder where nothing lies."""
    monkeypatch.chdir(tmp_path)


def written(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@given(
    st.lists(st.text("ab \u2028é", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=9), st.integers(1, 9)
)
def test_a_split_loses_and_mixes_nothing(few: list[str], times: int) -> None:
    """Both splits together are the lines in their order, and the second is a tenth, at least one.

    Line ends of every kind, and a mark at the start, mean the same.
    """
    lines = few * times
    (train, valid, test), _ = read_path(Path(written(Path("text.txt"), "\n".join(lines))))
    assert (train + valid, test) == (lines, [])
    assert len(valid) == max(1, len(lines) // 10)
    for end in ("\r", "\r\n"):
        assert read_text(Path(written(Path("text.txt"), "\ufeff" + end.join(lines)))) == "\n".join(lines)


@given(st.text("ab.!? \u3000", max_size=300))
def test_cutting_a_line_keeps_its_words(line: str) -> None:
    found = pieces(line)
    assert [word for piece in found for word in piece.split()] == line.split()
    assert all(piece.strip() for piece in found)


def test_a_text_of_one_huge_line_is_cut_at_sentences_and_every_thousand_words(tmp_path: Path) -> None:
    calls, path = itertools.count(), written(tmp_path / "long.txt", "the cat sat on the mat again " * 350_000)
    sys.setprofile(lambda *_: next(calls))
    try:
        corpus = load_corpus(path)
    finally:
        sys.setprofile(None)
    assert next(calls) < 100 * len(corpus.train)
    assert max(len(line.split()) for line in corpus.train) == LONGEST_PIECE
    assert sum(len(line.split()) for line in corpus.train + corpus.valid) == 7 * 350_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b" \n\t\r\n", "empty"),
        (b"\xef\xbb\xbf", "no text"),
        (b"one line only", "one line"),
        (b"x" * 10_000_000, "one line"),
        (b"abc\ndef\xff\n", "byte 7"),
        ("a\nb\n".encode("utf-16"), "byte 0"),
        (b"\x7fELF\x02\x01\x00\x00a\nb", "NUL"),
        (b"a b\nc\x00d\n", "byte 5"),
        (b"\xed\xa0\x80\nb", "byte 0"),
    ],
    ids=["empty", "blank", "mark only", "one line", "one word", "invalid", "UTF-16", "binary", "NUL", "surrogate"],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """Nothing, one line, other encodings and binary files are refused in one line that says where and why."""
    path = written(tmp_path / "text.txt", content)
    with pytest.raises(TextError, match=told) as caught:
        load_corpus(path)
    assert "--data" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_pipe_a_device_and_a_closed_folder_are_refused_at_once(tmp_path: Path) -> None:
    """Reading never waits for a pipe, never drinks from a device, and says what else stands in the way."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null", "loop", "empty", "x" * 300, "a\0b", "nowhere", "", "~"):
        with pytest.raises(TextError, match="--data"):
            load_corpus(str(path))


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(files.LARGEST + 1)
    with pytest.raises(TextError, match="1,000 MB"):
        load_corpus("large.txt")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "mine.txt", "a\nb")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(TextError, match=r"mine\.txt: Permission denied"):
        load_corpus("mine.txt")


@pytest.mark.parametrize(
    "row",
    [
        *("{", "[]", "3", "null", '{"text": "a"}', '{"messages": "a"}'),
        '{"messages": [{"content": 3}]}',
        '{"messages": [{"content": {}}]}',
        '{"dialog": [1]}',
        '{"dialog": ["\\ud800"]}',
        '{"dialog": ["\\u0000"]}',
        '{"dialog": ' + "[" * 100_000,
        '{"dialog": [' + "1" * 5_000 + "]}",
    ],
    ids=lambda row: row[:30],
)
def test_a_line_that_is_no_dialogue_is_named(tmp_path: Path, row: str) -> None:
    path = written(tmp_path / "chat.jsonl", '{"dialog": ["a", "b"]}\n\n' + row)
    with pytest.raises(TextError, match="line 3"):
        load_corpus(path)


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
def test_chats_are_known_by_their_content(
    tmp_path: Path, name: str, chats: list[dict[str, Any]], lines: list[str], told: str
) -> None:
    """One list over many lines, or a value a line, in every form that chats have, under any name."""
    for content in (json.dumps(chats, indent=1), "\n".join(map(json.dumps, chats))):
        corpus = load_corpus(written(tmp_path / name, content))
        assert (corpus.train + corpus.valid, corpus.source) == (lines, told)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_table_is_refused_by_its_content(tmp_path: Path, separator: str) -> None:
    """A header and rows of as many cells are no running text; lines that share their commas are."""
    rows = [f'"the cat, said {n}"{separator}{n}' for n in range(9)]
    with pytest.raises(TextError, match=r"a table with .* between its 2 columns"):
        load_corpus(written(tmp_path / "table.txt", "\n".join([f"text{separator}label", *rows])))
    assert load_corpus(written(tmp_path / "prose.txt", "well now, he said\nall right, she said\n" * 9)).train
    assert load_corpus(written(tmp_path / "prose.csv", "[sic] it is\n{and} so on\n" * 9)).train


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_both_forms_of_a_dialogue_are_the_same_line(said: list[str]) -> None:
    line, silent = dialogue({"dialog": said})
    assert (line, silent) == dialogue({"messages": [{"role": "user", "content": text} for text in said]})
    assert line.split() == " ".join(said).split()
    assert "\n" not in line


def test_the_synthetic_corpus_is_made_here() -> None:
    corpus = load_corpus("synthetic", offline=True)
    assert len(corpus.train) > len(corpus.test) > len(corpus.valid) > 1
    assert all(line.strip() for line in corpus.train + corpus.valid + corpus.test)


def test_a_folder_gives_its_splits_and_a_file_its_last_tenth(tmp_path: Path) -> None:
    """Files of a folder are read as they are, the test split where there is one; of a single file nothing else is."""
    for name, other in (("valid", "train"), ("train", "valid")):
        written(tmp_path / f"half {name}/{name}.txt", "e f\ng h\n")
        with pytest.raises(TextError, match=rf"{other}\.txt is missing"):
            load_corpus(f"half {name}")
    written(tmp_path / "mine/train.txt", "a b\nc d\n")
    written(tmp_path / "mine/valid.txt", "e f\ng h\n")
    corpus = load_corpus("mine")
    assert (corpus.name, corpus.train, corpus.valid, corpus.test) == ("mine", ["a b", "c d"], ["e f", "g h"], [])
    written(tmp_path / "mine/test.txt", "\n a third \n")
    assert load_corpus("mine").test == ["a third"]
    alone = load_corpus("mine/train.txt")
    assert (alone.name, alone.train, alone.valid, alone.test) == ("train.txt", ["a b"], ["c d"], [])
    written(tmp_path / "mine/test.txt", " ")
    with pytest.raises(TextError, match=r"test\.txt: the file is empty"):
        load_corpus("mine")
