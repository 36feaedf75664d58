"""Lines of text to train on, to validate with and to test on, by one word: a name or a path.

``synthetic`` is made here, by the grammar of ``grammar``, and so is its ``dialect``; ``story`` ships with llmlab;
``wikitext-2``, ``ultrachat`` and ``dailydialog`` come from ``hub``; anything else is a path, for ``files``.  A file or
folder that is called like a corpus is meant by ``./synthetic``.
"""

import contextlib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from llmlab.errors import TextError
from llmlab.text.files import read_path
from llmlab.text.hub import CORPORA, read_corpus
from llmlab.text.story import STORY, story_lines

SYNTHETIC = "synthetic"
DIALECT = "dialect"
MADE_HERE = "made by llmlab's grammar"
SHIPPED = "ships with llmlab: Alice's Adventures in Wonderland, 1865"


@dataclass(frozen=True)
class Corpus:
    """Non-blank lines in splits; ``source`` says in words where they came from.

    ``valid`` chooses: the epoch, the learning rate, the arm.  ``test`` never chooses anything and is read once, at the
    end; it is empty where a text has none.
    """

    name: str
    train: list[str]
    valid: list[str]
    source: str = ""
    test: list[str] = field(default_factory=list)


def content_hash(corpus: Corpus) -> str:
    """Return a SHA-256 over the lines of both splits: of the text alone, whatever it is called."""
    running = hashlib.sha256()
    for lines in (corpus.train, corpus.valid):
        joined = "\n".join(lines).encode("utf-8", "surrogatepass")
        running.update(f"{len(lines)} {len(joined)}\n".encode())
        running.update(joined)
    return running.hexdigest()


def load_corpus(data: str, *, offline: bool = False, progress: bool = False) -> Corpus:
    """Return a corpus by its name or path.

    ``offline`` forbids the network; the variables ``HF_HUB_OFFLINE`` and ``HF_DATASETS_OFFLINE`` do so too.
    ``progress`` lets the libraries show on standard error how a download goes.

    Raises:
        TextError: the file or folder cannot be used.
        UnreachableError: a named corpus is neither here nor to be fetched.
    """
    if data in (SYNTHETIC, DIALECT):
        from llmlab.text.grammar import made_lines  # it imports torch, which the other texts do not need

        train, valid, test = (made_lines(data, split) for split in ("train", "valid", "test"))
        return Corpus(data, train, valid, MADE_HERE, test)
    if data == STORY:
        return Corpus(data, story_lines("train"), story_lines("valid"), SHIPPED, story_lines("test"))
    if data in CORPORA:
        (train, valid, test), source = read_corpus(data, offline=offline, progress=progress)
        return Corpus(data, train, valid, source, test)
    path, there = Path(data), False
    with contextlib.suppress(OSError, ValueError):  # a name that no disk could hold
        there = bool(data) and path.exists()
    if not there:
        names = ", ".join((SYNTHETIC, DIALECT, STORY, *CORPORA))
        raise TextError(f"--data {data!r}: there is no such file or folder, and the names are {names}")
    try:
        (train, valid, test), source = read_path(path)
    except TextError as error:
        raise TextError(f"--data {error}") from error
    return Corpus(path.resolve().name, train, valid, source, test)
