"""Words as tokens, a corpus as windows, and the cache of it: against obvious ways, and never wrong because of one."""

import dataclasses
import hashlib
import os
import random
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.errors import TextError
from llmlab.text.cache import LARGEST, cache_folder
from llmlab.text.corpus import Corpus, content_hash, load_corpus
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import BOS, EOS, MARKS, PAD, UNK, WordVocabulary, encoded, windows

LINES = [f"the cat number {number} sat on the mat and then it went home" for number in range(30)]
CORPUS = Corpus("cats", LINES[:25], LINES[25:])
GIVEN = os.environ.get("LLMLAB_DATA", "")
words = st.text("abcdé\ud800", min_size=1, max_size=3)
lines = st.lists(st.lists(words, min_size=5, max_size=40).map(" ".join), min_size=1, max_size=6)


def same(a: WindowedText, b: WindowedText) -> bool:
    tensors = torch.equal(a.train, b.train) and torch.equal(a.valid, b.valid)
    rest = (a.name, a.vocabulary, a.train_lines, a.digest) == (b.name, b.vocabulary, b.train_lines, b.digest)
    return tensors and rest and a.train.dtype == b.train.dtype == torch.int64


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def made_again(folder: Path, corpus: Corpus = CORPUS) -> str:
    """Prepare a text of whose cache file no use can be made, and return the one thing that is said of it."""
    told: list[str] = []
    assert same(prepare(corpus, cache=folder, say=told.append), prepare(corpus))
    (said,) = told
    return said


@given(lines, lines, st.integers(5, 12), st.integers(4, 12))
def test_a_prepared_text_is_its_lines_encoded_and_cut(
    train: list[str], valid: list[str], size: int, length: int
) -> None:
    """The vocabulary is that of the training lines only, and both splits are cut by it."""
    text = prepare(Corpus("x", train, valid), vocabulary_size=size, length=length)
    vocabulary = WordVocabulary.of_lines(train, size)
    assert text.vocabulary == vocabulary
    assert text.train_lines == list(encoded(train, vocabulary))
    assert torch.equal(text.train, windows(text.train_lines, length))
    assert torch.equal(text.valid, windows(encoded(valid, vocabulary), length))


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


@given(lines, lines, lines, st.integers(4, 12))
def test_each_window_knows_its_document(train: list[str], valid: list[str], test: list[str], length: int) -> None:
    """Cutting each line by itself gives as many windows as are counted, line after line; too short ones give none."""
    valid = ["too short", *valid, "one"]
    text = prepare(Corpus("x", train, valid, test=test), length=length)
    for split, found, documents in ((valid, text.valid, text.valid_documents), (test, text.test, text.test_documents)):
        alone = [windows(encoded([line], text.vocabulary), length) for line in split]
        assert torch.equal(torch.cat(alone), found)
        assert documents.tolist() == [number for number, rows in enumerate(alone) for _ in rows]


def test_a_test_split_changes_nothing_else(tmp_path: Path) -> None:
    with_one = Corpus("cats", CORPUS.train, CORPUS.valid, test=["dog " * 9, "the cat sat on a dog"])
    plain = prepare(CORPUS, cache=tmp_path)
    text = prepare(with_one, cache=tmp_path, say=pytest.fail)
    assert same(text, plain)
    assert len(text.test) == len(text.test_documents) == 2
    assert plain.test.shape == (0, 64)
    assert len(plain.test_documents) == 0
    only_file(tmp_path)


@settings(max_examples=30)
@given(lines, lines, st.integers(4, 12))
def test_what_is_kept_is_what_was_computed(
    tmp_path_factory: pytest.TempPathFactory, train: list[str], valid: list[str], length: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    texts = [
        prepare(Corpus("x", train, valid), length=length, cache=each, say=pytest.fail)
        for each in (None, folder, folder)
    ]
    assert same(texts[0], texts[1])
    assert same(texts[0], texts[2])


def test_a_large_vocabulary_survives_the_cache(tmp_path: Path) -> None:
    """Token numbers beyond 16 bits are kept whole."""
    corpus = Corpus("many", [" ".join(f"w{number}" for number in range(40_000))], LINES)
    text = prepare(corpus, vocabulary_size=50_000, cache=tmp_path)
    assert int(text.train.max()) > 32_767
    assert same(prepare(corpus, vocabulary_size=50_000, cache=tmp_path), text)


def test_the_cache_gives_the_same_text_under_any_name(tmp_path: Path) -> None:
    """The second time nothing is computed, nothing is said, and the name is the caller's."""
    first = prepare(CORPUS, cache=tmp_path)
    path = only_file(tmp_path)
    stamp = path.stat().st_mtime_ns
    second = prepare(Corpus("dogs", CORPUS.train, CORPUS.valid), cache=tmp_path, say=pytest.fail)
    assert same(dataclasses.replace(second, name="cats"), first)
    assert second.name == "dogs"
    assert only_file(tmp_path).stat().st_mtime_ns == stamp


def test_every_condition_has_a_cache_file_of_its_own(tmp_path: Path) -> None:
    vocabulary = WordVocabulary.of_lines(["the cat"])
    variants = [
        (CORPUS, {}),
        (CORPUS, {"vocabulary_size": 6}),
        (CORPUS, {"length": 8}),
        (CORPUS, {"fewest_words": 1}),
        (CORPUS, {"vocabulary": vocabulary}),
        (Corpus("cats", LINES[:24], LINES[24:]), {}),
        (Corpus("cats", [*LINES[:24], LINES[24] + " x"], LINES[25:]), {}),
    ]
    for round_ in range(2):
        for corpus, how in variants:
            assert same(prepare(corpus, cache=tmp_path, say=pytest.fail, **how), prepare(corpus, **how))
        assert len(list(tmp_path.iterdir())) == len(variants), round_


def test_the_digest_is_that_of_text_vocabulary_and_windows() -> None:
    """A vocabulary that is handed over gives the digest of the one that was counted; any change gives another."""
    text = prepare(CORPUS)
    assert prepare(CORPUS, vocabulary=text.vocabulary).digest == text.digest
    others = [prepare(CORPUS, vocabulary_size=6), prepare(CORPUS, length=8), prepare(CORPUS, fewest_words=1)]
    others += [prepare(Corpus("cats", LINES[:24], LINES[24:])), prepare(Corpus("cats", LINES[1:25], LINES[25:]))]
    assert len({text.digest, *(other.digest for other in others)}) == 6


def test_a_cache_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Its size alone refuses it: gigabytes that somebody left there never come into memory."""
    prepare(CORPUS, cache=tmp_path)
    with only_file(tmp_path).open("r+b") as file:
        file.truncate(LARGEST + 1)  # full of holes: it takes no room
    assert "not a file of the cache" in made_again(tmp_path)


def test_a_damaged_cache_file_is_told_of_and_made_again(tmp_path: Path) -> None:
    """Cut anywhere, any bit turned over, or something else altogether: one warning, the right text, a sound file."""
    prepare(CORPUS, cache=tmp_path)
    path = only_file(tmp_path)
    good = path.read_bytes()
    chance = random.Random(0)
    cuts = [good[:length] for length in (0, 1, 14, 20, 47, 60, len(good) // 2, len(good) - 1)]
    flips = []
    for _ in range(60):
        flipped = bytearray(good)
        flipped[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        flips.append(bytes(flipped))
    for bad in [*cuts, *flips, good + b"\0", b"x" * 1000]:
        path.write_bytes(bad)
        assert str(path) in made_again(tmp_path)
        assert path.read_bytes() == good


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
    only_file(folder).write_bytes(hashlib.sha256(payload).digest() + payload)
    made_again(folder)


def test_a_cache_file_of_another_text_is_refused(tmp_path: Path) -> None:
    prepare(CORPUS, cache=tmp_path)
    wrong = only_file(tmp_path)
    other = Corpus("cats", LINES[:20], LINES[20:])
    prepare(other, cache=tmp_path)
    (right,) = set(tmp_path.iterdir()) - {wrong}
    wrong.replace(right)
    assert "another text" in made_again(tmp_path, other)


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


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_something_else_in_the_place_of_a_cache_file_is_told_of(tmp_path: Path, kind: str) -> None:
    """A folder, a pipe that nobody writes to, or a loop of links neither hangs nor fails."""
    prepare(CORPUS, cache=tmp_path)
    path = only_file(tmp_path)
    path.unlink()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path.name)}[kind]()
    made_again(tmp_path)


def test_many_at_once_share_one_cache(tmp_path: Path) -> None:
    expected = prepare(CORPUS)
    found: list[bool] = []
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


@pytest.mark.parametrize(
    ("train", "valid", "use"),
    [(["a b"], LINES, "train on"), (LINES, ["a b c d"], "validate with"), ([], LINES, "train")],
)
def test_a_text_without_a_window_is_refused(train: list[str], valid: list[str], use: str) -> None:
    """Lines of fewer than five words only: exit 3, with what they were to be used for."""
    with pytest.raises(TextError, match=use):
        prepare(Corpus("short", train, valid))


def test_a_text_without_blanks_is_told_so() -> None:
    """Words are split at blanks: where there are none, a longer text would not help."""
    with pytest.raises(TextError, match="words are split at blanks"):
        prepare(Corpus("cjk", ["春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少"] * 90, LINES))


def test_the_cache_folder_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``LLMLAB_CACHE`` first, then an absolute ``XDG_CACHE_HOME``, then the home folder, or none at all."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LLMLAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == tmp_path / ".cache/llmlab"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache/llmlab"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/llmlab")
    monkeypatch.setenv("LLMLAB_CACHE", "/mine")
    assert cache_folder() == Path("/mine")
    monkeypatch.setenv("LLMLAB_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.skipif(not GIVEN, reason="LLMLAB_DATA does not say where WikiText-2 is")
def test_wikitext_has_exactly_the_windows_of_the_study(tmp_path: Path) -> None:
    """51,026 and 5,272 windows, 2,748,486 and 285,045 targets, the same from the cache."""
    corpus = load_corpus("wikitext-2", offline=True)
    for _ in range(2):
        text = prepare(corpus, cache=tmp_path, say=pytest.fail)
        assert (len(text.train), len(text.valid)) == (51_026, 5_272)
        targets = (text.train[:, 1:].count_nonzero(), text.valid[:, 1:].count_nonzero())
        assert targets == (2_748_486, 285_045)


# ---- words, lines and windows ---------------------------------------------------------------------------------------


texts = st.lists(st.text("abcA \u3000é<unk>", max_size=30), max_size=12)
token_lines = st.lists(st.lists(st.integers(1, 99), min_size=2, max_size=60), max_size=8)
lengths = st.integers(2, 20)


def slow_words(lines: list[str], size: int) -> list[str]:
    words = [word for line in lines for word in line.lower().split() if word not in MARKS]
    left = list(dict.fromkeys(words))
    chosen = list(MARKS)
    while left and len(chosen) < size:
        best = max(words.count(word) for word in left)
        chosen.append(next(word for word in left if words.count(word) == best))
        left.remove(chosen[-1])
    return chosen


@given(texts, st.integers(0, 12))
def test_the_vocabulary_is_the_most_frequent_words_ties_by_first_appearance(lines: list[str], size: int) -> None:
    """The words are those of a slow search, and at most as many as asked for, but always the marks."""
    assert list(WordVocabulary.of_lines(lines, size).words) == slow_words(lines, size)


@given(texts, st.text("abc <>unk", max_size=20))
def test_encoding_frames_the_words_and_decoding_shows_them(lines: list[str], line: str) -> None:
    """Each word is one token between begin and end; known words come back in lower case, others as unknown."""
    vocabulary = WordVocabulary.of_lines(lines)
    numbers = vocabulary.encode(line)
    words = line.lower().split()
    assert (numbers[0], numbers[-1], len(numbers)) == (BOS, EOS, len(words) + 2)
    shown = [word if word in vocabulary.words[len(MARKS) :] else "<unk>" for word in words]
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
        while start == 0 or start + length <= len(line):
            if start == 0 or len(line) > length:
                rows.append([line[start + i] if start + i < len(line) else PAD for i in range(length)])
            if len(line) <= length:
                break
            start += length // 2
    return rows


@given(token_lines, lengths)
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
