"""What a language model is given and measured against: a text as windows, and what counting reaches on it."""

from dataclasses import dataclass, field
from functools import cached_property

from llmlab.errors import SettingError
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.language import ROWS_AT_ONCE
from llmlab.lab.memory import check_memory
from llmlab.lab.sizes import language_bytes
from llmlab.measure.ngram import Baseline, window_baselines
from llmlab.measure.score import Score, perplexity
from llmlab.report.result import Scalar
from llmlab.settings import BaselineSettings, LanguageSettings
from llmlab.text.cache import cache_folder
from llmlab.text.corpus import load_corpus
from llmlab.text.grammar import Grammar, context_recovered
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import PAD, UNK, WordVocabulary


@dataclass(frozen=True)
class Dataset:
    """A text, and the floors and baselines of its validation windows.

    ``bayes_loss`` and ``bigram_loss`` are exact and only there for the synthetic language: the loss of a reader who
    knows the language, and of one who knows it but sees one token only; ``test_bayes_loss`` is the first one's on the
    test windows.  ``bayes_by_position`` is the first one's at each position of the validation windows.
    """

    text: WindowedText
    references: dict[str, Baseline]
    bayes_loss: float | None = None
    bigram_loss: float | None = None
    notes: list[str] = field(default_factory=list)
    test_bayes_loss: float | None = None
    bayes_by_position: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the text is called."""
        return self.text.name

    def context_recovered(self, loss: float) -> float | None:
        """Return how much of what context gives a model has: 0 for the exact bigram, 1 for the exact reader."""
        if self.bayes_loss is None or self.bigram_loss is None:
            return None
        return context_recovered(self.bigram_loss, loss, self.bayes_loss)

    def headline(self, score: Score, test: Score | None) -> dict[str, float]:
        """Return the metrics of a model on the validation windows, and on the test windows if there are any.

        ``val_loss`` and ``val_ppl_batch_mean`` average over batches, as the original notes do; the others over targets.
        ``val_accuracy_known`` leaves out the targets that are no known word.
        """
        found = {
            "val_loss": score.loss_batch_mean,
            "val_loss_token": score.loss,
            "val_ppl": score.ppl,
            "val_ppl_batch_mean": score.ppl_batch_mean,
            "val_accuracy": score.accuracy,
            "val_accuracy_known": score.accuracy_known,
        }
        if (recovered := self.context_recovered(score.loss)) is not None:
            found["context_recovered"] = recovered
        if test is not None:
            found |= {"test_loss": test.loss, "test_ppl": test.ppl, "test_accuracy": test.accuracy}
        return found

    def updates(self, settings: LanguageSettings) -> int:
        """Return how many updates a run plans that goes over the training windows as often as the settings say."""
        return settings.epochs * -(-len(self.text.train) // settings.batch)

    def metrics(self) -> dict[str, Scalar]:
        """Return what the text is and what counting reaches on it."""
        found: dict[str, Scalar] = {
            "vocabulary_size": len(self.text.vocabulary),
            "unk_share": int((self.text.valid[:, 1:] == UNK).sum()) / self.valid_targets,
            "train_windows": len(self.text.train),
            "val_windows": len(self.text.valid),
            "train_targets": int((self.text.train[:, 1:] != PAD).sum()),
            "val_targets": self.valid_targets,
            "majority_accuracy": self.references["majority"].accuracy,
            "unigram_ppl": self.references["unigram"].ppl,
            "bigram_ppl": self.references["bigram"].ppl,
            "kneser_ney_ppl": self.references["kneser_ney_3"].ppl,
        }
        floors = {
            "bayes_ppl": self.bayes_loss,
            "exact_bigram_ppl": self.bigram_loss,
            "test_bayes_ppl": self.test_bayes_loss,
        }
        return found | {name: perplexity(loss) for name, loss in floors.items() if loss is not None}

    @cached_property
    def valid_targets(self) -> int:
        """How many targets validation scores."""
        return int((self.text.valid[:, 1:] != PAD).sum())


def dataset_of(settings: LanguageSettings, vocabulary: WordVocabulary | None = None) -> Dataset:
    """Read the text of a run, cut it into windows, and count.

    Without the vocabulary of a model that is already there one is made from the training lines.

    Raises:
        TextError: the text cannot be used.
        UnreachableError: it is not here.
        SettingError: the synthetic language needs more words or longer windows.
    """
    corpus = load_corpus(settings.data, offline=settings.offline)
    if settings.data == "synthetic":
        _check_synthetic(settings, vocabulary)
    notes: list[str] = []
    text = prepare(
        corpus,
        vocabulary_size=settings.vocabulary,
        length=settings.length,
        vocabulary=vocabulary,
        cache=None if settings.data == "synthetic" else cache_folder(),
        say=notes.append,
    )
    counted = window_baselines(text.train, text.train_lines, text.valid, len(text.vocabulary), notes.append)
    if settings.data != "synthetic":
        return Dataset(text, counted, notes=notes)
    grammar = Grammar.standard()
    if not set(grammar.words) <= set(text.vocabulary.words):
        notes.append("The exact floor is not given: the model has no number for some words of the synthetic language.")
        return Dataset(text, counted, notes=notes)
    exact = grammar.log_probabilities(text.valid, text.vocabulary).where(text.valid[:, 1:] != PAD, 0.0)
    bigram, tested = (
        -float(exactly(windows, text.vocabulary)[windows[:, 1:] != PAD].mean())
        for exactly, windows in (
            (grammar.bigram_log_probabilities, text.valid),
            (grammar.log_probabilities, text.test),
        )
    )
    at_position = (text.valid[:, 1:] != PAD).sum(0)
    by_position = -exact.sum(0) / at_position.clamp(min=1)
    bayes = -float(exact.sum() / at_position.sum())
    return Dataset(text, counted, bayes, bigram, notes, tested, by_position.tolist())


def check_fits(settings: BaselineSettings, text: WindowedText) -> None:
    """Refuse to train on more windows at once than there are, or what the machine's memory does not hold."""
    if settings.batch > len(text.train):
        raise SettingError(
            f"--batch: {settings.batch:,} windows, but the text has only {len(text.train):,} for training; "
            "lower it, or give a longer text"
        )
    if device_of(settings.device) == "cpu":
        targets = float((text.train[:, 1:] != PAD).sum()) / len(text.train)
        rows, judged = (min(count, ROWS_AT_ONCE) for count in (settings.batch, len(text.valid)))
        product = 2 if chosen_precision(settings.precision, "cpu", settings.hidden) == "bf16" else 4
        check_memory(language_bytes(settings, len(text.vocabulary), targets, rows, judged, product))


def _check_synthetic(settings: LanguageSettings, vocabulary: WordVocabulary | None) -> None:
    """Refuse what the exact reader could not score: words without a number, and lines cut in two."""
    grammar = Grammar.standard()
    words, longest = len(grammar.vocabulary()), grammar.most + 2
    if vocabulary is None and settings.vocabulary < words:
        raise SettingError(f"--vocabulary: the synthetic language has {words} words and marks, so at least {words}")
    if settings.length < longest:
        raise SettingError(f"--length: a synthetic line has up to {longest} tokens, so at least {longest}")
