"""Counting as a baseline: what tables of n-grams reach on the very targets that a model is scored on.

A table of order n says how probable a token is after n - 1 others.  It keeps a little of its probability back and
gives that to the table of the next lower order, so that what was never seen is not impossible:

    P(y | a b) = seen(a b, y) + backoff_mass(a b) * P(y | b),      P(y | b) = seen(b, y) + backoff_mass(b) * P(y)

One table, ``NgramOrder``, serves the unigram, the bigram and Kneser-Ney; what differs is how much it keeps back.
Windows and streams are counted and scored by the same functions: both are lines that begin with a mark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal

import torch
from torch import Tensor

from llmlab.report import messages
from llmlab.report.messages import Text

PAD, UNK, BOS = range(3)
"""The marks' numbers in ``text.words``, which this package does not import; a test keeps them equal."""

BIGRAM_SHARE = 0.9
ORDER = 3
NOTHING = -1
"""No token: what stands before a window or a line, or is unknown in a text without unknown words."""

DOUBTFUL = 2.0
"""A difference of so many standard errors is more than sampling allows."""

Discounts = Literal["interpolated", "modified"]


# ---- tables of counts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NgramOrder:
    """The n-grams of one length: P(y | context) = seen(context, y) + backoff_mass(context) * P(y | shorter context).

    A context of words a b is the number a V + b, followed by y it is (a V + b) V + y.  Below the lowest order,
    whose only context is 0, every token has the same probability.
    """

    size: int  # V
    shortening: int  # a context modulo this is the context without its first word
    below: "NgramOrder | None"
    keys: Tensor  # (N,) int64, ascending: the n-grams that were seen
    seen: Tensor  # (N,) float64
    contexts: Tensor  # (M,) int64, ascending: the contexts that were seen
    backoff_mass: Tensor  # (M,) float64

    def probability(self, context: Tensor, target: Tensor) -> Tensor:
        """Return P(target | context): (N,), (N,) -> (N,) float64."""
        seen = entries(self.keys, self.seen, context * self.size + target, otherwise=0.0)
        backoff_mass = entries(self.contexts, self.backoff_mass, context, otherwise=1.0)
        if self.below is None:
            return seen + backoff_mass / self.size
        return seen + backoff_mass * self.below.probability(context % self.shortening, target)

    def best(self, context: Tensor) -> Tensor:
        """Return the most probable target of each context: (N,) -> (N,).

        It is either one that was seen after the context, or the best of the order below: among the unseen ones
        the ranking is that of the order below.  So no distribution over V tokens is ever laid out.
        """
        asked, back = torch.unique(context, return_inverse=True)
        common = torch.zeros_like(asked) if self.below is None else self.below.best(asked % self.shortening)
        followed, target = self.keys // self.size, self.keys % self.size
        wanted = torch.isin(followed, asked)
        followed, target = torch.cat([followed[wanted], asked]), torch.cat([target[wanted], common])
        order = self.probability(followed, target).argsort(stable=True)
        order = order[followed[order].argsort(stable=True)]  # by context, the best of each last
        last = torch.searchsorted(followed[order], asked, side="right") - 1
        return target[order[last]][back]


def entries(keys: Tensor, values: Tensor, wanted: Tensor, otherwise: float) -> Tensor:
    """Return the value of each wanted key, or ``otherwise`` where it is not among the ascending keys."""
    if not len(keys):
        return torch.full(wanted.shape, otherwise, dtype=torch.float64)
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return torch.where(keys[place] == wanted, values[place], otherwise)


def order_of(
    keys: Tensor, counts: Tensor, kept: Tensor, size: int, below: NgramOrder | None, shortening: int = 1
) -> NgramOrder:
    """Return the table of counted n-grams that keeps this much of each count; what it frees goes below."""
    contexts, row = torch.unique(keys // size, return_inverse=True)
    totals = torch.zeros(len(contexts), dtype=torch.float64).index_add(0, row, counts.double())
    freed = torch.zeros_like(totals).index_add(0, row, counts - kept)
    return NgramOrder(size, shortening, below, keys, kept / totals[row], contexts, freed / totals)


def unigram(targets: Tensor, size: int) -> NgramOrder:
    """Return the relative frequencies of targets, each of the V counts raised by one: (N,)."""
    counts = torch.bincount(targets, minlength=size) + 1
    return order_of(torch.arange(size), counts, counts.double(), size, below=None)


def bigram(inputs: Tensor, targets: Tensor, size: int) -> NgramOrder:
    """Return 0.9 of the relative frequency after the last token plus 0.1 of the unigram: (N,), (N,)."""
    keys, counts = torch.unique(inputs * size + targets, return_counts=True)
    return order_of(keys, counts, BIGRAM_SHARE * counts.double(), size, below=unigram(targets, size))


# ---- Kneser-Ney ---------------------------------------------------------------------------------------------------


def kneser_ney(
    lines: Sequence[Sequence[int]],
    size: int,
    order: int = ORDER,
    discounts: Discounts = "interpolated",
    never: int = NOTHING,
) -> list[NgramOrder]:
    """Return the tables of interpolated Kneser-Ney, with no, one, … ``order`` - 1 words of context.

        P(y | h) = max(c(h y) - D, 0) / c(h ·) + backoff_mass(h) * P(y | h without its first word)

    For the longest n-grams c is how often they stand in the lines.  For shorter ones it is the number of different
    words before them: "Francisco" is frequent, but only after "San", so it is a poor guess where "San" is not seen.
    An n-gram that begins a line has no word before it, and a number of words would always be 0: it counts as often
    as it stands there, as in SRILM and KenLM.

    Counted on whole lines: in overlapping windows most n-grams stand twice, which spoils the discounts D, for which
    see ``one_discount`` ("interpolated") and ``three_discounts`` ("modified").

    Args:
        lines: token numbers, each line after a mark; the mark may end a line too, but stands nowhere inside.
        size: V; V to the power of the order must fit in 63 bits.
        order: the longest n-gram, 1 or more.
        discounts: how much of each count is kept back.
        never: a token that is never to be predicted: n-grams that end in it do not count.
    """
    tokens = torch.tensor(list(chain.from_iterable(lines)), dtype=torch.int64)
    lengths = torch.tensor([len(line) for line in lines], dtype=torch.int64)
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    place = torch.arange(len(tokens)) - starts  # of each token in its own line
    predicted = tokens != never

    def grams(n: int, ends: Tensor) -> Tensor:
        """Return the number of the n-gram that ends in each of these places."""
        key = tokens
        for back in range(1, n):
            key = key + tokens.roll(back) * size**back
        return key[ends & predicted]

    orders: list[NgramOrder] = []
    for n in range(1, order + 1):
        if n == order:
            found = grams(n, place >= max(n - 1, 1))
        else:
            after_a_word = torch.unique(grams(n + 1, place >= n)) % size**n
            begin = grams(n, (place == n - 1) & (place > 0))
            found = torch.cat([after_a_word, begin])
        keys, counts = torch.unique(found, return_counts=True)
        lost = torch.tensor([0.0, *DISCOUNTS[discounts](counts)], dtype=torch.float64)
        kept = counts - lost[counts.clamp_max(3)]
        orders.append(order_of(keys, counts, kept, size, orders[-1] if orders else None, size ** max(n - 2, 0)))
    return orders


def one_discount(counts: Tensor) -> list[float]:
    """Return what counts of 1, of 2, and of 3 and more lose: all of them D = n1 / (n1 + 2 n2).

    n_r is how many n-grams were counted r times; a text too small to say loses a half (Ney, Essen and Kneser 1994).
    """
    once, twice = (int((counts == r).sum()) for r in (1, 2))
    return [once / (once + 2 * twice) if once and twice else 0.5] * 3


def three_discounts(counts: Tensor) -> list[float]:
    """Return what counts of 1, of 2, and of 3 and more lose: D_r = r - (r + 1) D n_(r+1) / n_r for r = 1, 2, 3.

    D is that of ``one_discount``, which also stands in where a text is so small that some D_r does not lie between
    0 and r (Chen and Goodman 1999).
    """
    losses = one_discount(counts)
    n = [int((counts == r).sum()) for r in range(1, 5)]
    if not all(n):
        return losses
    each = [r - (r + 1) * losses[0] * n[r] / n[r - 1] for r in (1, 2, 3)]
    return each if all(0 < loss < r for r, loss in enumerate(each, 1)) else losses


DISCOUNTS: dict[Discounts, Callable[[Tensor], list[float]]] = {
    "interpolated": one_discount,
    "modified": three_discounts,
}


# ---- what is predicted --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Targets:
    """Tokens to predict, with what stands before each of them.

    ``token`` is (N,); ``past`` (N, words), the nearest word first and ``NOTHING`` where none is known; ``line`` (N,)
    tells which targets stand in one line, or document.
    """

    token: Tensor
    past: Tensor
    line: Tensor


def window_targets(windows: Tensor, words: int = ORDER - 1) -> Targets:
    """Return the targets of windows, (N, L): each is seen with the words before it inside its own window."""
    row, place = (windows[:, 1:] != PAD).nonzero(as_tuple=True)
    place = place + 1
    line = (windows[:, 0] == BOS).cumsum(0)  # the first window of a line starts at <bos>, its others do not
    return Targets(windows[row, place], past_of(windows, row, place, torch.zeros_like(place), words), line[row])


def stream_targets(tokens: Tensor, unknown: int) -> Targets:
    """Return the targets of a stream, (n,): all tokens but the first, and but those that are unknown.

    What a document begins with is seen with the mark before it and nothing else.  A model reads on over the mark,
    and the last word of the document before is there for it to use; but which document that is, the order of the
    corpus decides and no law of the language.  Counted, that word would almost always be a full stop.
    """
    mark, places = tokens[0], torch.arange(len(tokens))
    begun = torch.where(tokens == mark, places, 0).cummax(0).values[:-1]  # where the last mark before a target stands
    wanted = tokens[1:] != unknown
    place, begun = places[1:][wanted], begun[wanted]
    past = past_of(tokens[None], torch.zeros_like(place), place, begun, ORDER - 1)
    return Targets(tokens[place], past, begun)


def past_of(rows: Tensor, row: Tensor, place: Tensor, first: Tensor, words: int) -> Tensor:
    """Return the words before each place of its row, nearest first, none from before ``first``: (N, words)."""
    back = place[:, None] - torch.arange(1, words + 1)
    return torch.where(back >= first[:, None], rows[row[:, None], back.clamp_min(0)], NOTHING)


def predict(orders: Sequence[NgramOrder], targets: Targets) -> tuple[Tensor, Tensor]:
    """Return the loss of each target, and whether the most probable token is right: (N,) float64, (N,) bool.

    Each is predicted by the highest order whose context is known.
    """
    known = (targets.past != NOTHING).sum(1).clamp_max(len(orders) - 1)
    losses, correct = torch.zeros(len(known), dtype=torch.float64), torch.zeros(len(known), dtype=torch.bool)
    for words, order in enumerate(orders):
        asked = known == words
        token = targets.token[asked]
        context = torch.zeros_like(token)
        for back in range(words):
            context = context + targets.past[asked, back] * order.size**back
        losses[asked] = -order.probability(context, token).log()
        correct[asked] = order.best(context) == token
    return losses, correct


# ---- baselines ----------------------------------------------------------------------------------------------------


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

    Args:
        train_windows: (N, L) token numbers, padded with ``<pad>``.
        train_lines: the lines that the windows were cut from.
        valid_windows: (M, L) likewise.
        size: V.
        say: called with a sentence for each doubt about these baselines, see ``doubts``.

    Raises:
        ValueError: one of the windows' splits has no target.
    """
    kept = train_windows[:, 1:] != PAD
    counted = train_windows[:, :-1][kept], train_windows[:, 1:][kept]
    return _baselines(counted, kneser_ney(train_lines, size), window_targets(valid_windows), BOS, UNK, say)


def stream_baselines(
    train: Tensor,
    valid: Tensor,
    size: int,
    unknown: int = NOTHING,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Baseline]:
    """Return what the baselines, counted on one stream of tokens, (n,), reach on another.

    Both are a mark, then documents, each with the mark at its end; all tokens but the first are targets, and but the
    ``unknown`` one, which is seen as context.  For Kneser-Ney a stream is cut into documents, each after the mark that
    ends the one before: no n-gram reaches over a mark, and what begins a document counts as often as it stands there.
    ``stream_targets`` says why.  Otherwise as ``window_baselines``.
    """
    mark = train[0]
    cuts = [*(train == mark).nonzero()[:, 0].tolist(), len(train)]
    documents = [train[begin : end + 1].tolist() for begin, end in pairwise(cuts)]
    kept = train[1:] != unknown
    orders = kneser_ney(documents, size, never=unknown)
    counted = train[:-1][kept], train[1:][kept]
    return _baselines(counted, orders, stream_targets(valid, unknown), int(mark), unknown, say)


def _baselines(
    counted: tuple[Tensor, Tensor],
    orders: list[NgramOrder],
    targets: Targets,
    mark: int,
    unknown: int,
    say: Callable[[str], None],
) -> dict[str, Baseline]:
    """Return what the commonest token, the tables of the counted inputs and targets, and Kneser-Ney's reach."""
    inputs, tokens = counted
    if not len(tokens) or not len(targets.token):
        raise ValueError("there is no target to count or to score")
    size, right = orders[0].size, targets.token
    correct = torch.bincount(tokens).argmax() == right
    one = [unigram(tokens, size)]
    predicted = {
        "majority": (torch.where(correct, 0.0, math.inf).double(), correct),
        "unigram": predict(one, targets),
        "bigram": predict([*one, bigram(inputs, tokens, size)], targets),
        "kneser_ney_3": predict(orders, targets),
    }
    for doubt in doubts(predicted["bigram"][0], predicted["kneser_ney_3"][0], targets, mark, size):
        say(doubt)
    found = {}
    for name, (losses, hits) in predicted.items():
        loss, known = float(losses.mean()), hits[right != unknown]
        share_known = float(known.double().mean()) if len(known) else None
        found[name] = Baseline(NAMES[name], loss, math.exp(loss), float(hits.double().mean()), share_known)
    return found


NAMES = {
    "majority": "always the most frequent",
    "unigram": "unigram",
    "bigram": "bigram",
    "kneser_ney_3": "Kneser-Ney, order 3",
}


# ---- is the count itself right? -----------------------------------------------------------------------------------


def doubts(bigram_losses: Tensor, losses: Tensor, targets: Targets, mark: int, size: int) -> list[Text]:
    """Return in a sentence each what a sound 3-gram with backing off does not do on a text like its own.

    It sees more than the bigram, so it is not worse by more than sampling allows; and what a line begins with does
    not cost it more than a guess among all V tokens.
    """
    told: list[Text] = []
    more, error = mean_over_lines(losses - bigram_losses, targets.line)
    if more > DOUBTFUL * error:
        told.append(messages.say("counting.doubtful_beside_bigram", more=more, error=error))
    first = targets.past[:, 0] == mark
    cost, error = mean_over_lines(losses[first], targets.line[first])
    if cost - math.log(size) > DOUBTFUL * error:
        told.append(messages.say("counting.doubtful_first", cost=cost, guess=math.log(size)))
    return told


def mean_over_lines(values: Tensor, line: Tensor) -> tuple[float, float]:
    """Return the mean of values, and its standard error when whole lines are drawn; of fewer than two, infinity."""
    lines, row = torch.unique(line, return_inverse=True)
    if len(lines) < 2:
        return (float(values.mean()) if len(values) else 0.0), math.inf
    mean = values.mean()
    sums = torch.zeros(len(lines), dtype=torch.float64).index_add(0, row, values - mean)
    spread = sums.square().sum() * len(lines) / (len(lines) - 1)
    return float(mean), float(spread.sqrt()) / len(values)
