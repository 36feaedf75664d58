"""A corpus as two streams of token numbers: documents one after another, to train on and held out.

A stream begins with the token that ends a document, and every document is followed by it.  Both streams are cut at
exactly the number of tokens that is asked for; what is held out does not depend on how much is trained on.  Encoded
streams are kept in the user's cache.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from llmlab.errors import TextError
from llmlab.text.cache import Packed, recall
from llmlab.text.corpus import Corpus, content_hash
from llmlab.text.documents import documents, undone
from llmlab.text.pretrained import Pretrained
from llmlab.text.words import EOS, UNK, WordVocabulary


@dataclass(frozen=True)
class Coder:
    """How text becomes token numbers: those of a document without marks at its ends.

    ``vocabulary`` is how many numbers there are; ``digest`` names all of this in a hash.
    """

    encode: Callable[[str], list[int]]
    vocabulary: int
    unknown: int
    end: int
    digest: str


def word_coder(vocabulary: WordVocabulary) -> Coder:
    """Return how text becomes the numbers of whole words."""
    return Coder(lambda text: vocabulary.encode(text)[1:-1], len(vocabulary), UNK, EOS, vocabulary.sha256)


def subword_coder(pretrained: Pretrained) -> Coder:
    """Return how text becomes the numbers of a pretrained tokenizer.

    WikiText's ``<unk>`` becomes the token for unknown words, the blank before it included, and the joins of its
    tokenisation are undone.
    """

    def encode(text: str) -> list[int]:
        found: list[int] = []
        for number, piece in enumerate(re.split(r"\s?<unk>", undone(text))):
            if number:
                found.append(pretrained.unknown)
            if piece:
                found += pretrained.tokenizer.encode(piece, add_special_tokens=False).ids
        return found

    return Coder(encode, pretrained.vocabulary, pretrained.unknown, pretrained.end, pretrained.digest)


@dataclass(frozen=True, eq=False)
class Stream:
    """Token numbers of documents one after another.

    ``tokens`` is (n,) int64 and begins with the token that ends a document, so that every further one is a target;
    ``starts`` is (documents,) int64, where each document's first token stands.
    """

    tokens: Tensor
    starts: Tensor


OWN_TEST, LEFT_TEST = "the text's own test split", "held-out documents after those for validation"
"""Of which documents a test stream is."""


@dataclass(frozen=True, eq=False)
class StreamText:
    """A corpus ready for a model that reads one token after another.

    ``digest`` is a SHA-256 over the lines of the corpus, the tokenizer and where the streams are cut; ``source`` says
    in words where the text came from, and ``notes`` where it is shorter than was asked for.  ``test`` has as many
    tokens as ``valid``, and ``test_is`` says in words of which documents; nothing is ever chosen by them.
    """

    name: str
    train: Stream
    valid: Stream
    test: Stream | None
    vocabulary: int
    unknown: int
    end: int
    digest: str
    source: str
    notes: list[str]
    test_is: str = ""

    @property
    def streams(self) -> list[Stream]:
        """The streams in the order in which a model has them: train, validation and, where there is one, test."""
        return [self.train, self.valid, *([self.test] if self.test else [])]

    def scored(self, stream: Stream) -> Tensor:
        """Return which targets count, those that are not unknown: (n,) -> (n - 1,) bool."""
        return stream.tokens[1:] != self.unknown


def stream_text(
    corpus: Corpus,
    coder: Coder,
    *,
    tokens: int,
    valid_tokens: int,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> StreamText:
    """Return a corpus as streams of ``tokens`` and ``valid_tokens`` tokens, or of all where there are fewer.

    Without a test split of its own, the test stream is of what the documents held out for validation have left.

    With a folder as ``cache`` the outcome is kept there; one that is damaged is told of in one line through ``say``
    and made again, and one that cannot be written is done without.

    Raises:
        TextError: a stream has fewer than two tokens, or held-out documents stand in the training text.
    """

    def make() -> Packed:
        first, second, last = documents(corpus)
        held_out = iter(second)  # no document is in two streams
        cuts = ((first, tokens), (held_out, valid_tokens), (last or held_out, valid_tokens))
        found = [stream(texts, coder, most) for texts, most in cuts]
        return {}, [part for one in found for part in (one.tokens, one.starts)]

    def build(_: object, parts: list[Tensor]) -> list[Stream]:
        found = [Stream(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
        for one in found:
            if not 0 <= int(one.tokens.min()) <= int(one.tokens.max()) < coder.vocabulary:
                raise ValueError("its numbers are not those of its tokenizer")
            if len(one.starts) and not 0 < int(one.starts.min()) <= int(one.starts.max()) < len(one.tokens):
                raise ValueError("its documents begin outside of it")
        return found

    last = hashlib.sha256("\n".join(corpus.test).encode("utf-8", "surrogatepass")).hexdigest() if corpus.test else ""
    what = f"{content_hash(corpus)}{last} {coder.digest} {coder.unknown} {coder.end} {tokens} {valid_tokens}"
    digest = hashlib.sha256(what.encode()).hexdigest()
    train, valid, test = recall(cache, "tokens", digest, make, build, say)
    notes = []
    for use, purpose, found, asked in (
        ("train", "train on", train, tokens),
        ("validate", "validate with", valid, valid_tokens),
    ):
        count = len(found.tokens)
        if count < 2:
            raise TextError(f"{corpus.name}: {count:,} tokens to {purpose}, and 2 are the least; give a longer text")
        if count < asked:
            notes.append(f"To {use} there are {count:,} tokens, fewer than the {asked:,} asked for: all are used.")
    marks, test_is = (coder.vocabulary, coder.unknown, coder.end), OWN_TEST if corpus.test else LEFT_TEST
    text = StreamText(corpus.name, train, valid, test, *marks, digest, corpus.source, notes, test_is)
    usable = len(test.tokens) > 1 and bool(text.scored(test).any())
    return text if usable else replace(text, test=None, test_is="")


def stream(texts: Iterable[str], coder: Coder, most: int) -> Stream:
    """Return documents in their order as one stream of at most this many tokens; only those needed are encoded."""
    found, starts, left = [coder.end], [], iter(texts)
    # asked for one by one, so that an iterator still has all that is not in the stream
    while len(found) < most and (text := next(left, None)) is not None:
        numbers = coder.encode(text)
        if numbers:
            starts.append(len(found))
            found += [*numbers, coder.end]
    return Stream(torch.tensor(found[:most], dtype=torch.int64), torch.tensor(starts, dtype=torch.int64))
