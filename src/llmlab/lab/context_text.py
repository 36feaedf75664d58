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
from llmlab.settings import MADE, ContextSettings
from llmlab.text.cache import cache_folder
from llmlab.text.corpus import SYNTHETIC, Corpus, load_corpus
from llmlab.text.grammar import Grammar, context_recovered
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


@dataclass(frozen=True, eq=False)
class ContextDataset:
    """A text cut to a number of tokens, with the embedding that it is read by.

    ``bayes_loss`` and ``bigram_loss`` are exact and only there for the synthetic language: the loss on the validation
    targets of a reader who knows everything, and of one who sees the last word only.
    """

    text: StreamText
    embedding: Tensor
    embedding_name: Text
    digest: str  # of text and embedding together
    references: dict[str, Baseline]
    bayes_loss: float | None
    bigram_loss: float | None
    notes: list[Text]

    def vectors(self, kind: str, seed: int) -> Tensor:
        """Return the embedding to read by, (V, d): the ``pretrained`` one, or one that is ``random`` by the seed.

        The random one has normal numbers of the same mean square, so that only what the rows know is lost.
        """
        if kind == "pretrained":
            return self.embedding
        drawn = torch.randn(self.embedding.shape, generator=generator("random embedding", seed))
        return drawn * self.embedding.square().mean().sqrt()

    def context_recovered(self, loss: float) -> float | None:
        """Return how far a loss is from the exact bigram's (0) to the floor (1); ``None`` where neither is known."""
        if self.bayes_loss is None or self.bigram_loss is None:
            return None
        return context_recovered(self.bigram_loss, loss, self.bayes_loss)

    @cached_property
    def test_references(self) -> dict[str, Baseline]:
        """What counting reaches on the test text; empty without one."""
        text = self.text
        if not text.test:
            return {}
        return stream_baselines(text.train.tokens, text.test.tokens, text.vocabulary, text.unknown)

    @cached_property
    def valid_counts(self) -> list[int]:
        """How many targets of each validation document are scored."""
        return self.by_document(self.text.valid, self.text.scored(self.text.valid).double()).int().tolist()

    @cached_property
    def test_counts(self) -> list[int]:
        """How many targets of each test document are scored; none without a test stream."""
        test = self.text.test
        return self.by_document(test, self.text.scored(test).double()).int().tolist() if test else []

    def by_document(self, stream: Stream, values: Tensor) -> Tensor:
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
    text = stream_text(
        source.corpus,
        source.coder,
        tokens=tokens,
        valid_tokens=valid_tokens,
        cache=None if source.words else cache_folder(),
        say=said.append,
    )
    for use, stream in (("train on", text.train), ("validate with", text.valid)):
        if not text.scored(stream).any():
            raise TextError(
                f"{text.name}: of all tokens to {use} the tokenizer of {source.name} knows none; give a text in its "
                "language, or another --pretrained"
            )
    counted = stream_baselines(text.train.tokens, text.valid.tokens, text.vocabulary, text.unknown, said.append)
    known = source.corpus.name == SYNTHETIC and source.words is not None
    best, one_word = exact_losses(text.valid, source.words) if known and source.words else (None, None)
    return ContextDataset(
        text,
        source.embedding,
        source.name,
        f"{text.digest} {source.digest}",
        counted,
        best,
        one_word,
        [*source.notes, *text.notes, *said],
    )


def exact_losses(stream: Stream, words: WordVocabulary) -> tuple[float, float]:
    """Return the mean loss of the best readers of the synthetic language on a stream of its lines, the last one cut.

    Of the one who knows all that stood before, and of the one who sees the last word only.
    """
    grammar = Grammar.standard()
    windows = torch.full((len(stream.starts), grammar.most + 2), PAD)
    windows[:, 0] = BOS
    cuts = [*stream.starts.tolist(), len(stream.tokens)]
    for row, (first, last) in enumerate(pairwise(cuts)):
        windows[row, 1 : 1 + last - first] = stream.tokens[first:last]
    count = len(stream.tokens) - 1
    everything, last_word = grammar.log_probabilities(windows, words), grammar.bigram_log_probabilities(windows, words)
    return -float(everything.sum()) / count, -float(last_word.sum()) / count


def embedded_corpus(settings: ContextSettings, *, vectors: str = "pretrained") -> EmbeddedCorpus:
    """Return corpus and embedding from files and the hub; of the synthetic language with random rows.

    ``vectors`` that are ``random`` leave the pretrained matrix unread: only its tokenizer is needed.

    Raises:
        TextError: text, tokenizer or matrix cannot be used.
        UnreachableError: they are not here, or a library is missing.
    """
    if settings.pretrained == MADE:
        return random_corpus(settings.width)
    corpus = load_corpus(settings.data, offline=settings.offline)
    found = load_pretrained(settings.pretrained, offline=settings.offline, weights=vectors == "pretrained")
    coder, notes = subword_coder(found), list[Text](found.notes)
    if vectors == "random":
        rows, name = random_rows(found.vocabulary, settings.width), say("contexts.random_for", name=found.name)
        return EmbeddedCorpus(corpus, coder, rows, name, found.digest, notes=notes)
    if found.embedding is None:
        raise TextError(f"--pretrained {settings.pretrained}: it has a tokenizer but no embedding")
    return EmbeddedCorpus(corpus, coder, found.embedding, found.name, found.digest, notes=notes)


def random_corpus(width: int) -> EmbeddedCorpus:
    """Return the synthetic language with an embedding of random rows."""
    words, name = Grammar.standard().vocabulary(), "random, for the words of the synthetic language"
    rows = random_rows(len(words), width)
    return EmbeddedCorpus(load_corpus(SYNTHETIC), word_coder(words), rows, name, words.sha256, words)


def random_rows(vocabulary: int, width: int) -> Tensor:
    """Return rows of unit length on average, so that scores start near 1; ``ContextDataset.vectors`` draws by seed."""
    rows: Tensor = torch.randn(vocabulary, width, generator=generator("random vectors")) / width**0.5
    return rows
