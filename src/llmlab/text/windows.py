"""A corpus as token numbers: vocabulary, windows and encoded lines, computed once and kept.

Covers what stands between lines of text and a model, and the cache of it: counting and encoding WikiText-2 takes
seconds on a small machine, reading it back a fraction.  Leaves out how words become numbers and lines become
windows: ``words``.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlab.errors import TextError
from llmlab.text import cache as disk
from llmlab.text.corpus import Corpus
from llmlab.text.documents import document_of_each, titled
from llmlab.text.words import FEWEST_WORDS, MARKS, WINDOW, WordVocabulary, encoded, windows, windows_of

VERSION = 1
"""Of what is kept and how it is computed; a change of either needs a new number."""


@dataclass(frozen=True)
class WindowedText:
    """A corpus ready for a model.

    ``train`` and ``valid`` are (N, L) int64, N windows of L tokens; ``train_lines`` are the encoded training lines,
    whole; ``digest`` is a SHA-256 over the lines of both splits, the vocabulary and how windows are cut.  ``test`` is
    (M, L), with no rows where the corpus has nothing to test on; it is in no digest, because it has a say in nothing.
    ``valid_documents`` and ``test_documents`` are (N,) and (M,) int64: the document of each window.
    """

    name: str
    vocabulary: WordVocabulary
    train: Tensor
    valid: Tensor
    train_lines: list[list[int]]
    digest: str
    test: Tensor = field(default_factory=lambda: torch.zeros(0, WINDOW, dtype=torch.int64))
    valid_documents: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    test_documents: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

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
    content = content_hash(corpus)
    how = f"{VERSION} {sys.byteorder} {length} {fewest_words} " + (
        vocabulary.sha256 if vocabulary else f"{vocabulary_size}"
    )
    key = hashlib.sha256(f"{content} {how}".encode()).hexdigest()
    path = cache / f"{key}.words" if cache is not None else None
    text = look_up(path, key, corpus.name, length, say) if path is not None else None
    if text is None:
        text = compute(
            corpus, vocabulary or WordVocabulary.of_lines(corpus.train, vocabulary_size), length, fewest_words
        )
        if path is not None:
            store(path, key, text)
    digest = hashlib.sha256(f"{content} {text.vocabulary.sha256} {length} {fewest_words}".encode()).hexdigest()
    in_articles = titled(corpus.train)
    return replace(
        text,
        digest=digest,
        test=windows(encoded(corpus.test, text.vocabulary, fewest_words), length),
        valid_documents=window_documents(corpus.valid, length, fewest_words, in_articles=in_articles),
        test_documents=window_documents(corpus.test, length, fewest_words, in_articles=in_articles),
    )


def window_documents(lines: list[str], length: int, fewest_words: int, *, in_articles: bool) -> Tensor:
    """Return the document of each window that lines are cut into; see ``document_of_each``: (N,) int64."""
    sizes = [len(line.split()) for line in lines]
    counts = [windows_of(size + 2, length) if size >= fewest_words else 0 for size in sizes]  # with <bos> and <eos>
    documents = document_of_each(lines, in_articles=in_articles)
    return torch.tensor(documents, dtype=torch.int64).repeat_interleave(torch.tensor(counts, dtype=torch.int64))


def content_hash(corpus: Corpus) -> str:
    """Return a SHA-256 over the lines of both splits: of the text alone, whatever it is called."""
    running = hashlib.sha256()
    for lines in (corpus.train, corpus.valid):
        joined = "\n".join(lines).encode("utf-8", "surrogatepass")
        running.update(f"{len(lines)} {len(joined)}\n".encode())
        running.update(joined)
    return running.hexdigest()


def compute(corpus: Corpus, vocabulary: WordVocabulary, length: int, fewest_words: int) -> WindowedText:
    """Return a corpus encoded and cut into windows; its digest is still empty.

    Raises:
        TextError: a split has no line that is long enough.
    """
    lines = list(encoded(corpus.train, vocabulary, fewest_words))
    train = windows(lines, length)
    valid = windows(encoded(corpus.valid, vocabulary, fewest_words), length)
    for use, found in (("train on", train), ("validate with", valid)):
        if len(found) == 0:
            raise TextError(f"{corpus.name}: no line of at least {fewest_words} words to {use}; give a longer text")
    return WindowedText(corpus.name, vocabulary, train, valid, lines, "")


def look_up(path: Path, key: str, name: str, length: int, say: Callable[[str], None]) -> WindowedText | None:
    """Return what is kept under a key, or nothing; ``say`` tells of what is damaged."""
    try:
        payload = disk.kept(path)
        return None if payload is None else unpack(payload, key, name, length)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        say(f"warning: {path} could not be used ({error}); it is made again")
        return None


def store(path: Path, key: str, text: WindowedText) -> None:
    """Keep a text; without a word if that is not possible, for nothing is lost but a second of the next run."""
    try:
        disk.keep(path, pack(text, key))
    except OSError:
        return


def pack(text: WindowedText, key: str) -> bytes:
    """Return a text as bytes: the length of a head, the head in JSON, and whole numbers one after the other."""
    kind = torch.int16 if len(text.vocabulary) <= torch.iinfo(torch.int16).max else torch.int32
    sizes = [len(line) for line in text.train_lines]
    head: dict[str, Any] = {
        "key": key,
        "kind": str(kind).removeprefix("torch."),
        "words": text.vocabulary.words,
        "windows": [len(text.train), len(text.valid)],
        "sizes": sizes,
    }
    lines = torch.tensor([number for line in text.train_lines for number in line], dtype=kind)
    numbers = torch.cat([text.train.flatten().to(kind), text.valid.flatten().to(kind), lines])
    told = json.dumps(head).encode("ascii")
    told += b" " * (-len(told) % 8)  # the numbers begin where a machine can read them at once
    room = bytearray(len(numbers) * numbers.element_size())
    torch.frombuffer(room, dtype=kind).copy_(numbers)  # Tensor.numpy() would need NumPy, which torch does not bring
    return len(told).to_bytes(8, "little") + told + room


def unpack(payload: bytes, key: str, name: str, length: int) -> WindowedText:
    """Return the text of ``pack``; its digest is still empty.

    Raises:
        ValueError, KeyError, TypeError, RuntimeError: these are not the bytes of a text under this key.
    """
    start = 8 + int.from_bytes(payload[:8], "little")
    head = json.loads(payload[8:start])
    if head["key"] != key:
        raise ValueError("it belongs to another text")
    kind = {"int16": torch.int16, "int32": torch.int32}[head["kind"]]
    numbers = torch.frombuffer(bytearray(payload[start:]), dtype=kind)
    vocabulary = WordVocabulary(tuple(head["words"]))
    train, valid = head["windows"]
    trained, validated, lines = torch.split(numbers, [train * length, valid * length, sum(head["sizes"])])
    if vocabulary.words[: len(MARKS)] != MARKS or not 0 <= int(numbers.min()) <= int(numbers.max()) < len(vocabulary):
        raise ValueError("its numbers are not those of its words")
    flat = lines.tolist()
    cuts = pairwise(accumulate(head["sizes"], initial=0))
    return WindowedText(
        name,
        vocabulary,
        trained.long().reshape(train, length),
        validated.long().reshape(valid, length),
        [flat[begin:end] for begin, end in cuts],
        "",
    )
