"""What the models of chapters 5 and 6 read: streams of tokens, an embedding, and what counting reaches."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from llmlab.errors import TextError
from llmlab.lab.rng import generator
from llmlab.measure.ngram import Baseline, stream_baselines
from llmlab.report.messages import Text, say
from llmlab.settings import ContextSettings
from llmlab.text.cache import cache_folder
from llmlab.text.corpus import SYNTHETIC, Corpus, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import Coder, Stream, StreamText, stream_text, subword_coder, word_coder
from llmlab.text.words import BOS, PAD, WordVocabulary


@dataclass(frozen=True, eq=False)
class EmbeddedCorpus:
    """A corpus, how its text becomes numbers, and the embedding of these; ``words`` if the numbers are whole words.

    ``embedding`` is (V, d) fp32, ``name`` and ``digest`` what it is called and known by.
    """

    corpus: Corpus
    coder: Coder
    embedding: Tensor
    name: Text
    digest: str
    words: WordVocabulary | None = None
    notes: list[Text] = field(default_factory=list)

    def vectors(self, kind: str, seed: int) -> Tensor:
        """Return the embedding to read by, (V, d): the ``pretrained`` one, or one that is ``random`` by the seed.

        The random one has normal numbers of the same mean square, so that only what the rows know is lost.
        """
        if kind == "pretrained":
            return self.embedding
        drawn = torch.randn(self.embedding.shape, generator=generator("random embedding", seed))
        return drawn * self.embedding.square().mean().sqrt()


def random_corpus(width: int) -> EmbeddedCorpus:
    """Return the synthetic language with an embedding of random rows."""
    words, name = Grammar.standard().vocabulary(), "random, for the words of the synthetic language"
    rows = random_rows(len(words), width)
    return EmbeddedCorpus(load_corpus(SYNTHETIC), word_coder(words), rows, name, words.sha256, words)


def pretrained_corpus(settings: ContextSettings) -> EmbeddedCorpus:
    """Return corpus and embedding from files and the hub; random ``vectors`` need the tokenizer alone.

    Raises:
        TextError: text, tokenizer or matrix cannot be used.
        UnreachableError: they are not here, or a library is missing.
    """
    corpus, random = load_corpus(settings.data, offline=settings.offline), settings.vectors == "random"
    found = load_pretrained(settings.pretrained, offline=settings.offline, weights=not random)
    rows = random_rows(found.vocabulary, settings.width) if random else found.embedding
    if rows is None:
        raise TextError(f"--pretrained {settings.pretrained}: it has a tokenizer but no embedding")
    name = say("contexts.random_for", name=found.name) if random else found.name
    return EmbeddedCorpus(corpus, subword_coder(found), rows, name, found.digest, notes=[*found.notes])


def random_rows(vocabulary: int, width: int) -> Tensor:
    """Return rows of unit length on average, so that scores start near 1; ``EmbeddedCorpus.vectors`` draws by seed."""
    rows: Tensor = torch.randn(vocabulary, width, generator=generator("random vectors")) / width**0.5
    return rows


@dataclass(frozen=True, eq=False)
class ContextDataset:
    """A corpus cut to a number of tokens, with what counting reaches on it.

    ``bayes_loss`` and ``bigram_loss`` are exact and only there for the synthetic language: the loss on the validation
    targets of a reader who knows everything, and of one who sees the last word only.
    """

    source: EmbeddedCorpus
    text: StreamText
    references: dict[str, Baseline]
    bayes_loss: float | None
    bigram_loss: float | None
    notes: list[Text]

    @property
    def digest(self) -> str:
        """Of text and embedding together."""
        return f"{self.text.digest} {self.source.digest}"

    @cached_property
    def test_references(self) -> dict[str, Baseline]:
        """What counting reaches on the test text; empty without one."""
        text = self.text
        return stream_baselines(text.train.tokens, text.test.tokens, text.vocabulary, text.unknown) if text.test else {}

    @cached_property
    def valid_counts(self) -> list[int]:
        """How many targets of each validation document are scored."""
        return self._counts(self.text.valid)

    @cached_property
    def test_counts(self) -> list[int]:
        """How many targets of each test document are scored; none without a test stream."""
        return self._counts(self.text.test) if self.text.test else []

    def _counts(self, stream: Stream) -> list[int]:
        return by_document(stream, self.text.scored(stream).double()).int().tolist()


def by_document(stream: Stream, values: Tensor) -> Tensor:
    """Return values of a stream's targets, (n - 1,), summed over each of its documents, (documents,) float64."""
    places = torch.arange(1, len(stream.tokens))
    sums = torch.zeros(len(stream.starts), dtype=torch.float64)
    return sums.index_add_(0, torch.searchsorted(stream.starts, places, right=True) - 1, values.double())


def dataset_of(source: EmbeddedCorpus, tokens: int, valid_tokens: int) -> ContextDataset:
    """Return a corpus cut to a number of tokens, with what counting reaches on it.

    Raises:
        TextError: the text is too short, all of its words are unknown, or held-out documents stand in the training
            text.
    """
    said: list[str] = []
    cut = {"tokens": tokens, "valid_tokens": valid_tokens}
    cache = None if source.words else cache_folder()
    text = stream_text(source.corpus, source.coder, **cut, cache=cache, say=said.append)
    for use, stream in (("train on", text.train), ("validate with", text.valid)):
        if not text.scored(stream).any():
            raise TextError(
                f"{text.name}: of all tokens to {use} the tokenizer of {source.name} knows none; give a text in its "
                "language, or another --pretrained"
            )
    counted = stream_baselines(text.train.tokens, text.valid.tokens, text.vocabulary, text.unknown, said.append)
    known = source.words if source.corpus.name == SYNTHETIC else None
    best, one_word = exact_losses(text.valid, known) if known else (None, None)
    return ContextDataset(source, text, counted, best, one_word, [*source.notes, *text.notes, *said])


def exact_losses(stream: Stream, words: WordVocabulary) -> tuple[float, float]:
    """Return the mean loss of the best readers of the synthetic language on a stream of its lines, the last one cut.

    Of the one who knows all that stood before, and of the one who sees the last word only.
    """
    grammar = Grammar.standard()
    windows = torch.full((len(stream.starts), grammar.most + 2), PAD)
    windows[:, 0] = BOS
    for row, (first, last) in enumerate(pairwise([*stream.starts.tolist(), len(stream.tokens)])):
        windows[row, 1 : 1 + last - first] = stream.tokens[first:last]
    everything, last_word = grammar.log_probabilities(windows, words), grammar.bigram_log_probabilities(windows, words)
    count = len(stream.tokens) - 1
    return -float(everything.sum()) / count, -float(last_word.sum()) / count
