"""Words as tokens, a corpus as windows, and the cache of it: against obvious ways, and never wrong because of one."""

import hashlib
import os
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.errors import TextError
from llmlab.text import cache
from llmlab.text.cache import LARGEST, cache_folder
from llmlab.text.corpus import Corpus, content_hash, load_corpus
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import BOS, EOS, MARKS, PAD, UNK, WordVocabulary, encoded, windows

LINES = [f"the cat number {number} sat on the mat and then it went home" for number in range(30)]
CORPUS = Corpus("cats", LINES[:25], LINES[25:])
OTHER = Corpus("cats", LINES[:20], LINES[20:])
GIVEN = os.environ.get("LLMLAB_DATA", "")
words = st.text("abcdé\ud800", min_size=1, max_size=3)
lines = st.lists(st.lists(words, min_size=5, max_size=40).map(" ".join), min_size=1, max_size=6)
lengths = st.integers(4, 12)

# ---- words, lines and windows ---------------------------------------------------------------------------------------


def slow_words(lines: list[str], size: int) -> list[str]:
    words = [word for line in lines for word in line.lower().split() if word not in MARKS]
    left = list(dict.fromkeys(words))
    chosen = list(MARKS)
    while left and len(chosen) < size:
        best = max(words.count(word) for word in left)
        chosen.append(next(word for word in left if words.count(word) == best))
        left.remove(chosen[-1])
    return chosen


texts = st.lists(st.text("abcA \u3000é<unk>", max_size=30), max_size=12)


@given(texts, st.integers(0, 12), st.text("abc <>unk", max_size=20))
def test_the_most_frequent_words_have_numbers_and_lines_are_framed(lines: list[str], size: int, line: str) -> None:
    """Ties go by first appearance; the marks are always there; known words come back in lower case, others unknown."""
    vocabulary = WordVocabulary.of_lines(lines, size)
    numbers, words = vocabulary.encode(line), line.lower().split()
    known = vocabulary.words[len(MARKS) :]

    assert list(vocabulary.words) == slow_words(lines, size)
    assert (numbers[0], numbers[-1], len(numbers)) == (BOS, EOS, len(words) + 2)
    shown = [word if word in known else "<unk>" for word in words]
    assert vocabulary.decode(numbers) == " ".join(["<bos>", *shown, "<eos>"])


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_in_a_text_is_an_unknown_word(mark: str) -> None:
    """No text can make a pad, a begin or an end; the literal ``<unk>`` of a corpus is unknown too."""
    vocabulary = WordVocabulary.of_lines([f"{mark} {mark} {mark.upper()} a"])
    assert vocabulary.words == (*MARKS, "a")
    assert vocabulary.encode(f"{mark} a") == [BOS, UNK, 4, EOS]


def slow_windows(lines: list[list[int]], length: int) -> list[list[int]]:
    rows = []
    for line in lines:
        start = 0
        while start == 0 or (start + length <= len(line) and len(line) > length):
            rows.append([line[start + i] if start + i < len(line) else PAD for i in range(length)])
            start += length // 2
    return rows


@given(st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=60), max_size=8), st.integers(2, 20))
def test_windows_are_those_of_a_loop_over_tokens(lines: list[list[int]], length: int) -> None:
    """Short lines are padded, long ones overlap by half, and the shape is right even without lines."""
    found = windows(lines, length)
    assert (found.dtype, found.shape[1]) == (torch.int64, length)
    assert found.tolist() == slow_windows(lines, length)


def test_lines_of_few_words_are_skipped() -> None:
    """A line of four words is passed over and one of five is not, unless asked otherwise."""
    vocabulary = WordVocabulary.of_lines(["a"])
    assert [len(line) for line in encoded(["a a a a", "a a a a a", ""], vocabulary)] == [7]
    assert [len(line) for line in encoded(["a", ""], vocabulary, fewest_words=0)] == [3, 2]


def test_the_hash_tells_vocabularies_apart() -> None:
    one, other = WordVocabulary((*MARKS, "a", "b")), WordVocabulary((*MARKS, "b", "a"))
    assert one.sha256 == WordVocabulary.of_lines(["a b"]).sha256
    assert one.sha256 != other.sha256
    assert len(one.sha256) == 64


# ---- a prepared text ------------------------------------------------------------------------------------------------


def same(a: WindowedText, b: WindowedText) -> bool:
    tensors = torch.equal(a.train, b.train) and torch.equal(a.valid, b.valid)
    rest = (a.name, a.vocabulary, a.train_lines, a.digest) == (b.name, b.vocabulary, b.train_lines, b.digest)
    return tensors and rest and a.train.dtype == b.train.dtype == torch.int64


@settings(max_examples=30)
@given(lines, lines, lines, st.integers(5, 12), lengths)
def test_a_text_is_its_lines_encoded_and_cut_and_the_cache_keeps_it(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[str],
    valid: list[str],
    test: list[str],
    size: int,
    length: int,
) -> None:
    """The vocabulary is that of the training lines; each window knows its document; lines too short have none.

    A test split changes nothing else, and what is kept is what was computed, under any name.
    """
    valid, cache = ["too short", *valid, "one"], tmp_path_factory.mktemp("cache")
    how: dict[str, Any] = {"vocabulary_size": size, "length": length, "say": pytest.fail}
    text = prepare(Corpus("x", train, valid, test=test), **how)
    vocabulary = WordVocabulary.of_lines(train, size)

    assert text.vocabulary == vocabulary
    assert text.train_lines == list(encoded(train, vocabulary))
    assert torch.equal(text.train, windows(text.train_lines, length))
    for split, found, documents in ((valid, text.valid, text.valid_documents), (test, text.test, text.test_documents)):
        alone = [windows(encoded([line], vocabulary), length) for line in split]
        assert torch.equal(torch.cat(alone), found)
        assert documents.tolist() == [number for number, rows in enumerate(alone) for _ in rows]
    for name in ("y", "z"):
        kept = prepare(Corpus(name, train, valid), cache=cache, **how)
        assert kept.name == name
        assert same(replace(kept, name="x"), text)
        assert (kept.test.shape, len(kept.test_documents)) == ((0, length), 0)
    assert len(list(cache.iterdir())) == 1


@given(st.lists(words, max_size=4), st.lists(words, max_size=4), st.lists(words, max_size=4))
def test_a_text_is_known_by_its_lines_and_by_what_is_held_out(train: list[str], valid: list[str], other: list[str]):
    """Two texts have one hash just where both splits have the same lines: none run together, none changed sides."""
    first, second = Corpus("x", train, valid), Corpus("y", other, valid)
    assert (content_hash(first) == content_hash(second)) == (train == other)
    joined, moved = Corpus("x", ["".join(train)], valid), Corpus("x", [*train, *valid], [])
    assert (content_hash(first) == content_hash(joined)) == (train == ["".join(train)])
    assert (content_hash(first) == content_hash(moved)) == (valid == [])
    if len(train) > 1:
        shifted = Corpus("x", [train[0] + train[1][0], train[1][1:], *train[2:]], valid)
        assert content_hash(shifted) != content_hash(first)


def test_every_condition_has_a_digest_and_a_cache_file_of_its_own(tmp_path: Path) -> None:
    """A vocabulary that is handed over gives the digest of the one that was counted; nothing is made twice."""
    variants: list[tuple[Corpus, dict[str, Any]]] = [
        (CORPUS, {}),
        (CORPUS, {"vocabulary_size": 6}),
        (CORPUS, {"length": 8}),
        (CORPUS, {"fewest_words": 1}),
        (CORPUS, {"vocabulary": WordVocabulary.of_lines(["the mat"])}),
        (Corpus("cats", LINES[:24], LINES[24:]), {}),
        (Corpus("cats", [*LINES[:24], LINES[24] + " x"], LINES[25:]), {}),
    ]
    plain = [prepare(corpus, **how) for corpus, how in variants]
    stamps = []
    for _ in range(2):
        for (corpus, how), text in zip(variants, plain, strict=True):
            assert same(prepare(corpus, cache=tmp_path, say=pytest.fail, **how), text)
        stamps.append({path: path.stat().st_mtime_ns for path in tmp_path.iterdir()})

    assert len(stamps[0]) == len({text.digest for text in plain}) == len(variants)
    assert stamps[0] == stamps[1]
    assert prepare(CORPUS, vocabulary=plain[0].vocabulary).digest == plain[0].digest


def test_a_large_vocabulary_survives_the_cache(tmp_path: Path) -> None:
    """Token numbers beyond 16 bits are kept whole."""
    corpus = Corpus("many", [" ".join(f"w{number}" for number in range(40_000))], LINES)
    text = prepare(corpus, vocabulary_size=50_000, cache=tmp_path)
    assert int(text.train.max()) > 32_767
    assert same(prepare(corpus, vocabulary_size=50_000, cache=tmp_path), text)


@pytest.mark.parametrize(
    ("train", "valid", "told"),
    [
        (["a b"], LINES, "train on"),
        (LINES, ["a b c d"], "validate with"),
        ([], LINES, "train"),
        (["春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少"] * 90, LINES, "words are split at blanks"),
        (["abcdefghijkl"] * 9, LINES, "give a longer text"),
    ],
)
def test_a_text_without_a_window_is_refused(train: list[str], valid: list[str], told: str) -> None:
    """Exit 3, with what the lines were to be used for; where there are no blanks, a longer text would not help."""
    with pytest.raises(TextError, match=told):
        prepare(Corpus("short", train, valid))


@pytest.mark.skipif(not GIVEN, reason="LLMLAB_DATA does not say where WikiText-2 is")
def test_wikitext_has_exactly_the_windows_of_the_study(tmp_path: Path) -> None:
    """51,026 and 5,272 windows, 2,748,486 and 285,045 targets, the same from the cache."""
    corpus = load_corpus("wikitext-2", offline=True)
    for _ in range(2):
        text = prepare(corpus, cache=tmp_path, say=pytest.fail)
        assert (len(text.train), len(text.valid)) == (51_026, 5_272)
        targets = (text.train[:, 1:].count_nonzero(), text.valid[:, 1:].count_nonzero())
        assert targets == (2_748_486, 285_045)


# ---- a cache of which no use can be made ----------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The one file of a cache that has ``CORPUS``."""
    prepare(CORPUS, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    return path


def made_again(path: Path, corpus: Corpus = CORPUS) -> str:
    """Prepare a text of whose cache file no use can be made, and return the one thing that is said of it."""
    told: list[str] = []
    assert same(prepare(corpus, cache=path.parent, say=told.append), prepare(corpus))
    (said,) = told
    assert str(path) in said
    return said


def test_a_damaged_cache_file_is_told_of_and_made_again(kept: Path) -> None:
    """Cut anywhere, any bit turned over, or something else altogether: one warning, the right text, a sound file."""
    good, chance = kept.read_bytes(), random.Random(0)
    bad = [good[:length] for length in (0, 1, 14, 20, 47, 60, len(good) // 2, len(good) - 1)]
    for _ in range(60):
        flipped = bytearray(good)
        flipped[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        bad.append(bytes(flipped))
    for content in [*bad, good + b"\0", b"x" * 1000]:
        kept.write_bytes(content)
        made_again(kept)
        assert kept.read_bytes() == good


def test_what_is_kept_is_checked_against_its_words(kept: Path) -> None:
    """Under a right checksum and key: numbers that no word has, below or above, and words without the marks."""
    head, parts = cache.kept(kept, kept.stem)
    words = head["words"]
    for wrong, numbers in (
        (words, [parts[0] - 1, *parts[1:]]),
        (words, [*parts[:2], parts[2] + len(words) - int(parts[2].max())]),
        ([*MARKS[::-1], *words[4:]], parts),
    ):
        cache.keep(kept, kept.stem, {**head, "words": wrong}, numbers)
        assert "not those of its words" in made_again(kept)


@settings(max_examples=60)
@given(
    payload=st.binary(max_size=60)
    | st.text('0123456789{}[]:",keywrds', max_size=40).map(lambda text: b"\2" + text.encode())
)
def test_a_payload_that_is_sealed_but_senseless_is_refused(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes
) -> None:
    """Even under a right checksum, other bytes end in a warning and never in a crash."""
    folder = tmp_path_factory.mktemp("cache")
    prepare(CORPUS, cache=folder)
    (path,) = folder.iterdir()
    path.write_bytes(hashlib.sha256(payload).digest() + payload)
    made_again(path)


def test_a_file_of_another_text_or_one_too_large_is_refused(kept: Path) -> None:
    """Gigabytes that somebody left there never come into memory: the size alone refuses them."""
    prepare(OTHER, cache=kept.parent)
    (other,) = {*kept.parent.iterdir()} - {kept}
    other.write_bytes(kept.read_bytes())
    assert "another text" in made_again(other, OTHER)
    with kept.open("r+b") as file:
        file.truncate(LARGEST + 1)  # full of holes: it takes no room
    assert "not a file of the cache" in made_again(kept)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_something_else_in_the_place_of_a_cache_file_is_told_of(kept: Path, kind: str) -> None:
    """A folder, a pipe that nobody writes to, or a loop of links neither hangs nor fails."""
    kept.unlink()
    {"folder": kept.mkdir, "pipe": lambda: os.mkfifo(kept), "loop": lambda: kept.symlink_to(kept.name)}[kind]()
    made_again(kept)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is a file, a full disk, a read-only one: the text is the same and nothing half stays."""
    (tmp_path / "file").write_text("mine", "utf-8")
    expected = prepare(CORPUS)
    assert same(prepare(CORPUS, cache=tmp_path / "file"), expected)
    for number in (28, 30, 13):

        def refuse(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        assert same(prepare(CORPUS, cache=tmp_path / "cache"), expected)
        assert list((tmp_path / "cache").iterdir()) == []


def test_many_at_once_share_one_cache(tmp_path: Path) -> None:
    expected, found = prepare(CORPUS), list[bool]()
    threads = [
        threading.Thread(target=lambda: found.append(same(prepare(CORPUS, cache=tmp_path, say=pytest.fail), expected)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert same(prepare(CORPUS, cache=tmp_path, say=pytest.fail), expected)


def test_the_cache_folder_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``LLMLAB_CACHE`` first, then an absolute ``XDG_CACHE_HOME``, then the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LLMLAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == tmp_path / ".cache/llmlab"
    for name, value, folder in (
        ("XDG_CACHE_HOME", "relative", tmp_path / ".cache/llmlab"),
        ("XDG_CACHE_HOME", "/xdg", Path("/xdg/llmlab")),
        ("LLMLAB_CACHE", "/mine", Path("/mine")),
        ("LLMLAB_CACHE", "~/mine", tmp_path / "mine"),
    ):
        monkeypatch.setenv(name, value)
        assert cache_folder() == folder
