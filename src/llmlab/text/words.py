"""Words as tokens: a vocabulary of the most frequent ones, and windows of fixed length.

Covers the pipeline of documents 001 and 003 of the original notes: lower-cased words split at blanks, the 996 most
frequent plus four marks, each line as ``<bos> words <eos>``, windows of 64 tokens that overlap by half.

Three consequences worth knowing.  A window that starts in the middle of a line starts without ``<bos>``.  Half of
each inner window is scored twice, once with a short and once with a long past.  And a line longer than one window
loses its incomplete tail.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

PAD, UNK, BOS, EOS = range(4)
MARKS = ("<pad>", "<unk>", "<bos>", "<eos>")
WINDOW = 64
"""Tokens of a window: 63 inputs and 63 targets."""

FEWEST_WORDS = 5
"""A line of fewer words than this is skipped, as in the original notes."""


@dataclass(frozen=True)
class WordVocabulary:
    """The words that have a number; every other word is ``<unk>``.

    Example:
        >>> vocabulary = WordVocabulary.of_lines(["b a b", "a b c"], size=6)
        >>> vocabulary.words
        ('<pad>', '<unk>', '<bos>', '<eos>', 'b', 'a')
        >>> vocabulary.encode("A b c")
        [2, 5, 4, 1, 3]
    """

    words: tuple[str, ...]

    @classmethod
    def of_lines(cls, lines: Iterable[str], size: int = 1000) -> "WordVocabulary":
        """Return the marks and the most frequent words of lines, ties by first appearance.

        The literal ``<unk>`` of tokenised corpora gets no number of its own: it stands for words that are
        unknown here too.
        """
        counts = Counter(word for line in lines for word in line.lower().split())
        for mark in MARKS:
            counts.pop(mark, None)
        # sorted() is stable and a Counter keeps the order of first appearance
        frequent = sorted(counts, key=lambda word: -counts[word])[: max(0, size - len(MARKS))]
        return cls((*MARKS, *frequent))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each word; a mark that happens to stand in a text is an unknown word."""
        return {word: number for number, word in enumerate(self.words) if number >= len(MARKS)}

    @cached_property
    def sha256(self) -> str:
        """The hash by which a checkpoint knows its vocabulary."""
        return hashlib.sha256("\n".join(self.words).encode("utf-8", "surrogatepass")).hexdigest()

    def encode(self, line: str) -> list[int]:
        """Return ``<bos>``, the numbers of a line's words, ``<eos>``."""
        return [BOS, *(self.numbers.get(word, UNK) for word in line.lower().split()), EOS]

    def decode(self, numbers: Iterable[int]) -> str:
        """Return token numbers as words with blanks between them."""
        return " ".join(self.words[number] for number in numbers)

    def __len__(self) -> int:
        return len(self.words)


def encoded(lines: Iterable[str], vocabulary: WordVocabulary, fewest_words: int = FEWEST_WORDS) -> Iterator[list[int]]:
    """Yield each line as token numbers; lines of fewer words are skipped."""
    for line in lines:
        if len(line.split()) >= fewest_words:
            yield vocabulary.encode(line)


def window_starts(tokens: int, length: int) -> range:
    """Return where the windows of a line of so many tokens begin; the tail of a long one that fills none is dropped."""
    return range(0, tokens - length + 1, length // 2) if tokens > length else range(1)


def windows(lines: Iterable[list[int]], length: int = WINDOW) -> Tensor:
    """Cut encoded lines into windows that overlap by half: (N, length), padded with ``<pad>`` on the right."""
    cut = (line[start : start + length] for line in lines for start in window_starts(len(line), length))
    rows = [row + [PAD] * (length - len(row)) for row in cut]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, length)
