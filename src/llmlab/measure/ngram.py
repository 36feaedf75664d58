"""Counting as a baseline: what tables of n-grams reach on the very targets that a model is scored on.

A table of order n says how probable a token is after n - 1 others.  It keeps a little of its probability back and
gives that to the table of the next lower order, so that what was never seen is not impossible:

    P(y | a b) = seen(a b, y) + backoff_mass(a b) * P(y | b),      P(y | b) = seen(b, y) + backoff_mass(b) * P(y)

One table, ``NgramOrder``, serves the unigram, the bigram and Kneser-Ney; what differs is how much it keeps back.
Windows and streams are counted and scored by the same functions: both are ``Lines`` that begin with a mark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmlab.report import messages
from llmlab.report.messages import Text

PAD, UNK = range(2)
"""The marks' numbers in ``text.words``, which this package does not import; a test keeps them equal."""

BIGRAM_SHARE = 0.9
ORDER = 3
NOTHING = -1
"""No token: what is unknown in a text without unknown words."""

DOUBTFUL = 2.0
"""A difference of so many standard errors is more than sampling allows."""

Discounts = Literal["interpolated", "modified"]


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of tokens one behind the other, each after a mark.

    ``tokens`` are (n,); ``place`` says how many tokens of its own line stand before each, and ``target`` which of them
    are counted, or to be predicted.  What stands in a line is seen with the words before it in that line, and no more.
    """

    tokens: Tensor
    place: Tensor
    target: Tensor

    @classmethod
    def of(cls, lines: Sequence[Sequence[int]]) -> "Lines":
        """Return lines; the mark may end one too, but stands nowhere inside."""
        tokens = torch.tensor([token for line in lines for token in line], dtype=torch.int64)
        place = torch.tensor([place for line in lines for place in range(len(line))], dtype=torch.int64)
        return cls(tokens, place, place > 0)

    @classmethod
    def of_windows(cls, windows: Tensor) -> "Lines":
        """Return windows, (N, L) padded with ``<pad>``, a line each."""
        kept = windows != PAD
        place = torch.arange(windows.shape[1]).expand_as(windows)[kept]
        return cls(windows[kept], place, place > 0)

    @classmethod
    def of_stream(cls, tokens: Tensor, unknown: int) -> "Lines":
        """Return the documents of a stream, (n,): a mark, then documents with the mark at the end of each.

        What a document begins with is seen with the mark before it and nothing else.  A model reads on over the mark,
        and the last word of the document before is there for it to use; but which document that is, the order of the
        corpus decides and no law of the language.  Counted, that word would almost always be a full stop.
        The ``unknown`` token is never predicted, but seen by what follows it.
        """
        marks, places = (tokens == tokens[0]).nonzero()[:, 0], torch.arange(len(tokens))
        place = places - marks[torch.searchsorted(marks, places).clamp_min(1) - 1]  # since the last mark before it
        return cls(tokens, place, (place > 0) & (tokens != unknown))

    def grams(self, n: int, size: int) -> Tensor:
        """Return the number of the n-gram that ends with each token: of a b c it is (a V + b) V + c."""
        found = self.tokens
        for back in range(1, n):
            found = found + self.tokens.roll(back) * size**back
        return found


# ---- tables of counts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NgramOrder:
    """The n-grams of one length: P(y | context) = seen(context, y) + backoff_mass(context) * P(y | shorter context).

    Below the lowest order, whose only context is 0, every token has the same probability.
    """

    n: int
    size: int  # V
    below: "NgramOrder | None"
    grams: Tensor  # (N,) int64, ascending: the n-grams that were seen
    seen: Tensor  # (N,) float64
    contexts: Tensor  # (M,) int64, ascending: the contexts that were seen
    backoff_mass: Tensor  # (M,) float64

    def probability(self, grams: Tensor) -> Tensor:
        """Return P(last word | the words before it) of n-grams: (N,) -> (N,) float64."""
        seen = entries(self.grams, self.seen, grams, otherwise=0.0)
        backoff_mass = entries(self.contexts, self.backoff_mass, grams // self.size, otherwise=1.0)
        if self.below is None:
            return seen + backoff_mass / self.size
        return seen + backoff_mass * self.below.probability(grams % self.size ** (self.n - 1))

    def best(self, contexts: Tensor) -> Tensor:
        """Return the most probable target of each context: (N,) -> (N,).

        It is either one that was seen after the context, or the best of the order below: among the unseen ones
        the ranking is that of the order below.  So no distribution over V tokens is ever laid out.
        """
        asked, back = torch.unique(contexts, return_inverse=True)
        common = self.below.best(asked % self.size ** (self.n - 2)) if self.below else torch.zeros_like(asked)
        grams = torch.cat([self.grams[torch.isin(self.grams // self.size, asked)], asked * self.size + common])
        grams = grams[self.probability(grams).argsort(stable=True)]
        grams = grams[(grams // self.size).argsort(stable=True)]  # by context, the best of each last
        last = torch.searchsorted(grams // self.size, asked, side="right") - 1
        return grams[last][back] % self.size


def entries(keys: Tensor, values: Tensor, wanted: Tensor, otherwise: float) -> Tensor:
    """Return the value of each wanted key, or ``otherwise`` where it is not among the ascending keys."""
    if not len(keys):
        return torch.full(wanted.shape, otherwise, dtype=torch.float64)
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], otherwise)


def order_of(grams: Tensor, counts: Tensor, kept: Tensor, size: int, below: NgramOrder | None) -> NgramOrder:
    """Return the table of counted n-grams that keeps this much of each count; what it frees goes below."""
    contexts, row = torch.unique(grams // size, return_inverse=True)
    totals, freed = (torch.bincount(row, weights=each.double()) for each in (counts, counts - kept))
    n = below.n + 1 if below else 1
    return NgramOrder(n, size, below, grams, kept / totals[row], contexts, freed / totals)


def unigram(lines: Lines, size: int) -> NgramOrder:
    """Return the relative frequencies of targets, each of the V counts raised by one."""
    counts = torch.bincount(lines.tokens[lines.target], minlength=size) + 1
    return order_of(torch.arange(size), counts, counts.double(), size, below=None)


def bigram(lines: Lines, size: int) -> NgramOrder:
    """Return 0.9 of the relative frequency after the last token plus 0.1 of the unigram."""
    grams, counts = torch.unique(lines.grams(2, size)[lines.target], return_counts=True)
    return order_of(grams, counts, BIGRAM_SHARE * counts.double(), size, below=unigram(lines, size))


def kneser_ney(lines: Lines, size: int, order: int = ORDER, discounts: Discounts = "interpolated") -> list[NgramOrder]:
    """Return the tables of interpolated Kneser-Ney, with no, one, … ``order`` - 1 words of context.

        P(y | h) = max(c(h y) - D, 0) / c(h ·) + backoff_mass(h) * P(y | h without its first word)

    For the longest n-grams c is how often they stand in the lines.  For shorter ones it is the number of different
    words before them: "Francisco" is frequent, but only after "San", so it is a poor guess where "San" is not seen.
    An n-gram that begins a line has no word before it, and a number of words would always be 0: it counts as often
    as it stands there, as in SRILM and KenLM.

    Counted on whole lines: in overlapping windows most n-grams stand twice, which spoils the discounts D, for which
    see ``losses_of``.  V, the ``size``, to the power of the ``order`` must fit in 63 bits.
    """
    tables: list[NgramOrder] = []
    for n in range(1, order + 1):
        found = lines.grams(n, size)
        if n == order:
            found = found[lines.target & (lines.place >= n - 1)]
        else:
            after_a_word = torch.unique(lines.grams(n + 1, size)[lines.target & (lines.place >= n)]) % size**n
            found = torch.cat([after_a_word, found[lines.target & (lines.place == n - 1)]])
        grams, counts = torch.unique(found, return_counts=True)
        lost = torch.tensor([0.0, *losses_of(counts, discounts)], dtype=torch.float64)
        tables.append(order_of(grams, counts, counts - lost[counts.clamp_max(3)], size, tables[-1] if tables else None))
    return tables


def losses_of(counts: Tensor, discounts: Discounts) -> list[float]:
    """Return the discounts: what counts of 1, of 2, and of 3 and more lose.

    "interpolated": all of them D = n1 / (n1 + 2 n2), where n_r is how many n-grams were counted r times; a text too
    small to say loses a half (Ney, Essen and Kneser 1994).  "modified": D_r = r - (r + 1) D n_(r+1) / n_r for r = 1, 2,
    3, or D where a text is so small that some D_r does not lie between 0 and r (Chen and Goodman 1999).
    """
    n = torch.bincount(counts.clamp_max(5), minlength=6).tolist()
    one = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    if discounts == "modified" and all(n[1:5]):
        three = [r - (r + 1) * one * n[r + 1] / n[r] for r in (1, 2, 3)]
        if all(0 < loss < r for r, loss in enumerate(three, 1)):
            return three
    return [one] * 3


# ---- what counting reaches ----------------------------------------------------------------------------------------


def predict(tables: Sequence[NgramOrder], lines: Lines) -> tuple[Tensor, Tensor]:
    """Return the loss of each target, and whether the most probable token is right: (N,) float64, (N,) bool.

    Each is predicted by the highest order whose context is known.
    """
    losses, correct = torch.zeros(len(lines.tokens), dtype=torch.float64), torch.zeros_like(lines.target)
    for words, table in enumerate(tables):
        asked = lines.target & (lines.place.clamp_max(len(tables) - 1) == words)
        grams = lines.grams(table.n, table.size)[asked]
        losses[asked] = -table.probability(grams).log()
        correct[asked] = table.best(grams // table.size) == lines.tokens[asked]
    return losses[lines.target], correct[lines.target]


@dataclass(frozen=True)
class Baseline:
    """What one way of counting reaches on the targets."""

    name: str
    loss: float  # nats per token; infinite if a target had probability 0
    ppl: float
    accuracy: float
    accuracy_known: float | None  # among the targets that are not unknown; None without any


def window_baselines(
    train_windows: Tensor,
    train_lines: Sequence[Sequence[int]],
    valid_windows: Tensor,
    size: int,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Baseline]:
    """Return what the baselines, counted on the training text, reach on the validation windows.

    ``train_lines`` are the lines that the windows were cut from, and ``size`` is V.  ``say`` is called with a sentence
    for each doubt about these baselines, see ``doubts``.

    Raises:
        ValueError: one of the windows' splits has no target.
    """
    counted, asked = Lines.of_windows(train_windows), Lines.of_windows(valid_windows)
    return baselines(counted, Lines.of(train_lines), asked, size, UNK, say)


def stream_baselines(
    train: Tensor,
    valid: Tensor,
    size: int,
    unknown: int = NOTHING,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Baseline]:
    """Return what the baselines, counted on one stream of tokens, (n,), reach on another; see ``Lines.of_stream``."""
    counted, asked = (Lines.of_stream(tokens, unknown) for tokens in (train, valid))
    return baselines(counted, counted, asked, size, unknown, say)


def baselines(
    counted: Lines, whole: Lines, asked: Lines, size: int, unknown: int, say: Callable[[str], None]
) -> dict[str, Baseline]:
    """Return what the commonest token and the tables of counted lines reach, and Kneser-Ney of the whole lines."""
    tokens = asked.tokens[asked.target]
    if not counted.target.any() or not len(tokens):
        raise ValueError("there is no target to count or to score")
    common = torch.bincount(counted.tokens[counted.target]).argmax() == tokens
    one, two = unigram(counted, size), bigram(counted, size)
    found = {
        "majority": ("always the most frequent", torch.where(common, 0.0, math.inf).double(), common),
        "unigram": ("unigram", *predict([one], asked)),
        "bigram": ("bigram", *predict([one, two], asked)),
        "kneser_ney_3": ("Kneser-Ney, order 3", *predict(kneser_ney(whole, size), asked)),
    }
    for doubt in doubts(found["bigram"][1], found["kneser_ney_3"][1], asked, size):
        say(doubt)
    known = tokens != unknown
    return {
        key: Baseline(
            name,
            loss=float(losses.mean()),
            ppl=math.exp(losses.mean()),
            accuracy=float(correct.double().mean()),
            accuracy_known=float(correct[known].double().mean()) if known.any() else None,
        )
        for key, (name, losses, correct) in found.items()
    }


def doubts(bigram_losses: Tensor, losses: Tensor, asked: Lines, size: int) -> list[Text]:
    """Return in a sentence each what a sound 3-gram with backing off does not do on a text like its own.

    It sees more than the bigram, so it is not worse by more than sampling allows; and what a line begins with does
    not cost it more than a guess among all V tokens.
    """
    after_a_mark = asked.tokens.roll(1) == asked.tokens[0]  # a line may be cut into several windows
    first, line = after_a_mark[asked.target], after_a_mark.cumsum(0)[asked.target]
    told: list[Text] = []
    more, error = mean_over_lines(losses - bigram_losses, line)
    if more > DOUBTFUL * error:
        told.append(messages.say("counting.doubtful_beside_bigram", more=more, error=error))
    cost, error = mean_over_lines(losses[first], line[first])
    if cost - math.log(size) > DOUBTFUL * error:
        told.append(messages.say("counting.doubtful_first", cost=cost, guess=math.log(size)))
    return told


def mean_over_lines(values: Tensor, line: Tensor) -> tuple[float, float]:
    """Return the mean of values, and its standard error when whole lines are drawn; of fewer than two, infinity."""
    _, row = torch.unique(line, return_inverse=True)
    mean = float(values.mean())
    sums = torch.bincount(row, weights=values - mean)
    if len(sums) < 2:
        return mean, math.inf
    return mean, math.sqrt(float(sums.square().sum()) * len(sums) / (len(sums) - 1)) / len(values)
