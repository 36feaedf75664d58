"""Words as tokens: the vocabulary, the encoded lines and the windows, each against an obvious way to make them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab.text.words import BOS, EOS, MARKS, PAD, UNK, WordVocabulary, encoded, windows

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
