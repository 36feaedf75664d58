"""A corpus as token numbers: vocabulary, windows and encoded lines, computed once and kept.

Counting and encoding WikiText-2 takes seconds on a small machine, reading it back a fraction.  How words become
numbers and lines become windows is in ``words``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlab.errors import TextError
from llmlab.text.cache import Packed, recall
from llmlab.text.corpus import Corpus, content_hash
from llmlab.text.documents import document_of_each, titled
from llmlab.text.words import FEWEST_WORDS, MARKS, WINDOW, WordVocabulary, encoded, window_starts, windows

LONGEST_WORD = 12
"""Characters a word that words of a text with blanks never have on average."""


@dataclass(frozen=True)
class WindowedText:
    """A corpus ready for a model.

    ``train`` and ``valid`` are (N, L) int64, N windows of L tokens; ``train_lines`` are the encoded training lines,
    whole; ``digest`` is a SHA-256 over the lines of both splits, the vocabulary and how windows are cut.  ``test`` is
    (M, L), with no rows where the corpus has nothing to test on; it is in no digest, because it decides nothing.
    ``valid_documents`` and ``test_documents`` are (N,) and (M,) int64: the document of each window.
    """

    name: str
    vocabulary: WordVocabulary
    train: Tensor
    valid: Tensor
    train_lines: list[list[int]]
    digest: str
    test: Tensor
    valid_documents: Tensor
    test_documents: Tensor

    @property
    def valid_document_count(self) -> int:
        """How many validation documents have a window."""
        return len(set(self.valid_documents.tolist()))


def prepare(
    corpus: Corpus,
    *,
    vocabulary_size: int = 1000,
    length: int = WINDOW,
    vocabulary: WordVocabulary | None = None,
    fewest_words: int = FEWEST_WORDS,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> WindowedText:
    """Return a corpus as windows over its own vocabulary, or over one that is given.

    With a folder as ``cache`` the outcome is kept there; one that is damaged is told of in one line through ``say``
    and made again, and one that cannot be written is done without.

    Raises:
        TextError: no line is long enough to train on, or none to validate with.
    """

    def make() -> Packed:
        words = vocabulary or WordVocabulary.of_lines(corpus.train, vocabulary_size)
        lines, held_out = (list(encoded(split, words, fewest_words)) for split in (corpus.train, corpus.valid))
        for use, found in (("train on", lines), ("validate with", held_out)):
            if not found:
                raise no_window(corpus, f"no line of at least {fewest_words} words to {use}")
        flat = torch.tensor(list(chain.from_iterable(lines)), dtype=torch.int64)
        head = {"words": words.words, "lines": list(map(len, lines))}
        return head, [windows(lines, length), windows(held_out, length), flat]

    def build(head: dict[str, Any], parts: list[Tensor]) -> tuple[WordVocabulary, Tensor, Tensor, list[list[int]]]:
        train, valid, flat = parts
        words = WordVocabulary(tuple(head["words"]))
        least, most = (min(int(part.min()) for part in parts), max(int(part.max()) for part in parts))
        if words.words[: len(MARKS)] != MARKS or not 0 <= least <= most < len(words):
            raise ValueError("its numbers are not those of its words")
        numbers, cuts = flat.tolist(), pairwise(accumulate(head["lines"], initial=0))
        return words, train, valid, [numbers[begin:end] for begin, end in cuts]

    content, wanted = content_hash(corpus), vocabulary.sha256 if vocabulary else vocabulary_size
    what = f"{content} {length} {fewest_words} {wanted}"
    words, train, valid, lines = recall(cache, "words", what, make, build, say)
    digest = hashlib.sha256(f"{content} {words.sha256} {length} {fewest_words}".encode()).hexdigest()
    test = windows(encoded(corpus.test, words, fewest_words), length)
    documents = (
        window_documents(split, length, fewest_words, in_articles=titled(corpus.train))
        for split in (corpus.valid, corpus.test)
    )
    return WindowedText(corpus.name, words, train, valid, lines, digest, test, *documents)


def no_window(corpus: Corpus, why: str) -> TextError:
    """Return the refusal of a text without a line that is long enough, with the way out."""
    if len("".join(corpus.train)) > LONGEST_WORD * sum(len(line.split()) for line in corpus.train):
        why += ": words are split at blanks, and it has hardly any; put one between its words"
    else:
        why += "; give a longer text"
    return TextError(f"{corpus.name}: {why}")


def window_documents(lines: list[str], length: int, fewest_words: int, *, in_articles: bool) -> Tensor:
    """Return the document of each window that lines are cut into; see ``document_of_each``: (N,) int64."""
    sizes = [len(line.split()) for line in lines]
    # two more for <bos> and <eos>
    counts = [len(window_starts(size + 2, length)) if size >= fewest_words else 0 for size in sizes]
    documents = document_of_each(lines, in_articles=in_articles)
    return torch.tensor(documents, dtype=torch.int64).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
