"""Words as tokens, a corpus as windows, and the cache of it: against obvious ways, and never wrong because of one."""

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.errors import TextError
from llmlab.text import cache
from llmlab.text.corpus import Corpus, content_hash, load_corpus
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import BOS, EOS, MARKS, PAD, WordVocabulary, encoded, windows

LINES = [f"the cat number {number} sat on the mat and then it went home" for number in range(30)]
CORPUS = Corpus("cats", LINES[:25], LINES[25:])
GIVEN = os.environ.get("LLMLAB_DATA", "")

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


few_words = st.sampled_from(["a", "A", "b", "é", "\u3000", "<EOS>", *MARKS]) | st.text("ab <unk>", max_size=6)
some_line = st.lists(few_words, max_size=8).map(" ".join)


@given(st.lists(some_line, max_size=12), st.integers(0, 12), some_line)
def test_the_most_frequent_words_have_numbers_and_lines_are_framed(lines: list[str], size: int, line: str) -> None:
    """Ties go by first appearance; known words come back in lower case, others unknown.

    No text can make a pad, a begin or an end: a mark in it is an unknown word.  Other words, or an order of their own,
    have another hash.
    """
    vocabulary = WordVocabulary.of_lines(lines, size)
    numbers, words = vocabulary.encode(line), line.lower().split()
    known = vocabulary.words[len(MARKS) :]

    assert list(vocabulary.words) == slow_words(lines, size)
    assert (numbers[0], numbers[-1], len(numbers)) == (BOS, EOS, len(words) + 2)
    shown = [word if word in known else "<unk>" for word in words]
    assert vocabulary.decode(numbers) == " ".join(["<bos>", *shown, "<eos>"])
    assert WordVocabulary(vocabulary.words).sha256 == vocabulary.sha256 != WordVocabulary(vocabulary.words[::-1]).sha256


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


# ---- a prepared text ------------------------------------------------------------------------------------------------

words = st.text("abcdé\ud800", min_size=1, max_size=3)
lines = st.lists(st.lists(words, min_size=5, max_size=40).map(" ".join), min_size=1, max_size=6)


def same(a: WindowedText, b: WindowedText) -> bool:
    tensors = torch.equal(a.train, b.train) and torch.equal(a.valid, b.valid)
    rest = (a.name, a.vocabulary, a.train_lines, a.digest) == (b.name, b.vocabulary, b.train_lines, b.digest)
    return tensors and rest and a.train.dtype == b.train.dtype == torch.int64


@settings(max_examples=30)
@given(lines, lines, lines, st.integers(5, 12), st.integers(4, 12))
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
    """A vocabulary that is handed over gives the digest of the one that was counted; nothing is made twice.

    Token numbers beyond 16 bits are kept whole.
    """
    many = [" ".join(f"w{number}" for number in range(40_000))]
    variants: list[tuple[Corpus, dict[str, Any]]] = [
        (CORPUS, {}),
        (CORPUS, {"vocabulary_size": 6}),
        (CORPUS, {"length": 8}),
        (CORPUS, {"fewest_words": 1}),
        (CORPUS, {"vocabulary": WordVocabulary.of_lines(["the mat"])}),
        (Corpus("cats", LINES[:24], LINES[24:]), {}),
        (Corpus("cats", [*LINES[:24], LINES[24] + " x"], LINES[25:]), {}),
        (Corpus("many", many, LINES), {"vocabulary_size": 50_000}),
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
    assert int(plain[-1].train.max()) > 32_767


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


def test_the_training_text_says_whether_what_is_held_out_is_in_articles() -> None:
    """A split may begin amid an article, where no title tells."""
    articles = ["= One =", "It begins with a line that is long enough to be the text of an article of ours", *LINES]
    counts = [prepare(replace(CORPUS, train=train)).valid_document_count for train in (articles, LINES)]
    assert counts == [1, len(CORPUS.valid)]


@pytest.mark.skipif(not GIVEN, reason="LLMLAB_DATA does not say where WikiText-2 is")
def test_wikitext_has_exactly_the_windows_and_targets_of_the_study() -> None:
    text = prepare(load_corpus("wikitext-2", offline=True))
    assert (len(text.train), len(text.valid)) == (51_026, 5_272)
    assert [int(each[:, 1:].count_nonzero()) for each in (text.train, text.valid)] == [2_748_486, 285_045]


# ---- a cache of which no use can be made ----------------------------------------------------------------------------


WHOLE = prepare(CORPUS)


def kept_in(folder: Path, corpus: Corpus = CORPUS) -> Path:
    """Return the one file of a cache that has a text."""
    prepare(corpus, cache=folder)
    (path,) = folder.iterdir()
    return path


def made_again(path: Path) -> str:
    """Prepare the text of whose cache file no use can be made, and return the one thing that is said of it."""
    told: list[str] = []
    assert same(prepare(CORPUS, cache=path.parent, say=told.append), WHOLE)
    (said,) = told
    assert str(path) in said
    return said


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept_in(tmp_path_factory.mktemp("cache"))


@settings(max_examples=120)
@given(st.data())
def test_a_damaged_cache_file_is_told_of_and_made_again(sound: Path, data: st.DataObject) -> None:
    """Cut, with a bit turned over or something behind it, or anything at all under a right checksum.

    One warning, the right text, a sound file.
    """
    good = sound.read_bytes()
    cut = st.integers(0, len(good) - 1).map(lambda length: good[:length])
    bits = st.integers(0, 8 * len(good) - 1).map(lambda bit: (int.from_bytes(good) ^ 1 << bit).to_bytes(len(good)))
    words = st.text('0123456789{}[]:",keywrds', max_size=40).map(lambda text: b"\2" + text.encode())
    sealed = (st.binary(max_size=60) | words).map(lambda content: hashlib.sha256(content).digest() + content)
    sound.write_bytes(data.draw(cut | bits | sealed | st.binary(min_size=1).map(lambda more: good + more)))

    made_again(sound)

    assert sound.read_bytes() == good


def rewritten(path: Path, change: Callable[[dict[str, Any], list[torch.Tensor]], object]) -> None:
    """Change what is kept, under a right checksum and key."""
    head, parts = cache.kept(path, path.stem)
    change(head, parts)
    cache.keep(path, path.stem, head, parts)


def of_another_text(path: Path) -> None:
    path.write_bytes(kept_in(path.parent / "other", replace(CORPUS, train=LINES[:20])).read_bytes())


STRANGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ""),
    "a pipe that nobody writes to": (lambda path: (path.unlink(), os.mkfifo(path)), "not a file of the cache"),
    "a loop of links": (lambda path: (path.unlink(), path.symlink_to(path.name)), ""),
    "another text's": (of_another_text, "another text"),
    # full of holes it takes no room; gigabytes that somebody left there never come into memory
    "too large": (lambda path: os.truncate(path, cache.LARGEST + 1), "not a file of the cache"),
    "a number below all words": (lambda path: rewritten(path, lambda _, parts: parts[0].sub_(1)), "not those of its"),
    "a number above all words": (lambda path: rewritten(path, lambda _, parts: parts[2].add_(1)), "not those of its"),
    "no marks": (lambda path: rewritten(path, lambda head, _: head["words"].sort()), "not those of its words"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_something_else_in_the_place_of_a_cache_file_is_told_of(tmp_path: Path, what: str) -> None:
    path, (put, told) = kept_in(tmp_path), STRANGE[what]
    put(path)
    assert told in made_again(path)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is a file, a full disk: the text is the same and nothing half stays."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "file").write_text("mine", "utf-8")
    for name in ("file", "cache"):
        assert same(prepare(CORPUS, cache=tmp_path / name), WHOLE)
    assert list((tmp_path / "cache").iterdir()) == []


def test_many_at_once_share_one_cache(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: prepare(CORPUS, cache=tmp_path, say=pytest.fail), range(9)))
    assert all(same(text, WHOLE) for text in found)


def test_the_cache_folder_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``LLMLAB_CACHE`` first, then an absolute ``XDG_CACHE_HOME``, then the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LLMLAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache.cache_folder() == tmp_path / ".cache/llmlab"
    for name, value, folder in (
        ("XDG_CACHE_HOME", "relative", tmp_path / ".cache/llmlab"),
        ("XDG_CACHE_HOME", "/xdg", Path("/xdg/llmlab")),
        ("LLMLAB_CACHE", "/mine", Path("/mine")),
        ("LLMLAB_CACHE", "~/mine", tmp_path / "mine"),
    ):
        monkeypatch.setenv(name, value)
        assert cache.cache_folder() == folder
