"""The trivial baselines: what counting alone reaches on the windows that a model is scored on.

Covers the most frequent token, the unigram, the interpolated bigram, and interpolated Kneser-Ney of order 3.
All of them are tables of counts mixed level by level,

    P(y | a b) = seen(a b, y) + left(a b) * P(y | b),      P(y | b) = seen(b, y) + left(b) * P(y),

so one ``Level`` serves them all.  Leaves out where windows come from: ``text.words``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from torch import Tensor

PAD, UNK, BOS = range(3)
"""The marks' numbers in ``text.words``, which this room does not import; a test keeps them equal."""

BIGRAM_SHARE = 0.9
ORDER = 3


@dataclass(frozen=True)
class Reference:
    """What one baseline reaches on the targets that are not ``<pad>``."""

    name: str
    loss: float  # nats per token; infinite if a target had probability 0
    ppl: float
    accuracy: float | None  # None without targets
    accuracy_known: float | None  # among the targets that are not ``<unk>``; None without any


@dataclass(frozen=True)
class Level:
    """One table of a mixture: P(y | context) = seen(context, y) + left(context) * P(y | one word less).

    A context of words a b is the number a V + b, followed by y it is (a V + b) V + y.  Below the lowest level,
    whose only context is 0, every token has the same probability.
    """

    size: int  # V
    shortening: int  # a context modulo this is the context without its first word
    below: "Level | None"
    keys: Tensor  # (N,) int64, ascending: the n-grams that were seen
    seen: Tensor  # (N,) float64
    contexts: Tensor  # (M,) int64, ascending: the contexts that were seen
    left: Tensor  # (M,) float64

    def probability(self, context: Tensor, target: Tensor) -> Tensor:
        """Return P(target | context): (N,), (N,) -> (N,) float64."""
        seen, left = self.looked_up(context, target)
        if self.below is None:
            return seen + left / self.size
        return seen + left * self.below.probability(context % self.shortening, target)

    def looked_up(self, context: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what was seen and what is left over; an unseen context leaves everything to the level below."""
        seen = entries(self.keys, self.seen, context * self.size + target, otherwise=0.0)
        return seen, entries(self.contexts, self.left, context, otherwise=1.0)

    def best(self, context: Tensor) -> Tensor:
        """Return the most probable target of each context: (N,) -> (N,).

        It is either one that was seen after the context, or the best of the level below: among the unseen ones
        the order is that of the level below.  So no distribution over V tokens is ever laid out.
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


def level(keys: Tensor, counts: Tensor, kept: Tensor, size: int, below: Level | None, shortening: int = 1) -> Level:
    """Return the level of counted n-grams that keeps this much of each count; what it frees goes below."""
    contexts, row = torch.unique(keys // size, return_inverse=True)
    totals = torch.zeros(len(contexts), dtype=torch.float64).index_add(0, row, counts.double())
    freed = torch.zeros_like(totals).index_add(0, row, counts - kept)
    return Level(size, shortening, below, keys, kept / totals[row], contexts, freed / totals)


def discounted(counts: Tensor, refined: bool) -> Tensor:
    """Return what absolute discounting keeps of each count: (N,) int64 -> (N,) float64.

    With n_r the number of n-grams counted r times, every count loses D = n1 / (n1 + 2 n2) (Ney, Essen and Kneser
    1994); refined, counts of r = 1, 2 and of 3 and more lose r - (r + 1) D n_(r+1) / n_r (Chen and Goodman 1999).
    Where a text is too small to say so much, every count loses a half.
    """
    n = [int((counts == r).sum()) for r in range(1, 5)]
    losses = [0.5] * 3
    if n[0] and n[1]:
        losses = [n[0] / (n[0] + 2 * n[1])] * 3
        if refined and n[2] and n[3]:
            each = [r - (r + 1) * losses[0] * n[r] / n[r - 1] for r in (1, 2, 3)]
            losses = each if all(0 < loss < r for r, loss in enumerate(each, 1)) else losses
    return counts - torch.tensor([0.0, *losses], dtype=torch.float64)[counts.clamp_max(3)]


def unigram(targets: Tensor, size: int) -> Level:
    """Return the relative frequencies of targets, each of the V counts raised by one: (N,)."""
    counts = torch.bincount(targets, minlength=size) + 1
    return level(torch.arange(size), counts, counts.double(), size, below=None)


def bigram(inputs: Tensor, targets: Tensor, size: int) -> Level:
    """Return 0.9 of the relative frequency after the last token plus 0.1 of the unigram: (N,), (N,)."""
    keys, counts = torch.unique(inputs * size + targets, return_counts=True)
    return level(keys, counts, BIGRAM_SHARE * counts.double(), size, below=unigram(targets, size))


def kneser_ney(
    lines: Sequence[Sequence[int]], size: int, order: int = ORDER, *, refined: bool = False, never: int | None = None
) -> list[Level]:
    """Return the levels of interpolated Kneser-Ney: with no, one, … ``order`` - 1 words of context.

    The highest level counts how often an n-gram stands in the lines, the lower ones after how many different
    words it stands.  Counted on whole lines: in overlapping windows most n-grams stand twice, which spoils the
    discounts.

    Args:
        lines: token numbers, each line from ``<bos>``, which stands nowhere else, to ``<eos>``.
        size: V; V to the power of the order must fit in 63 bits.
        order: the longest n-gram, 1 or more.
        refined: three discounts per level instead of one, and the lower levels count n-grams that begin a line
            as often as they stand, because no word ever stands before them.
        never: a token that is never to be foretold: n-grams that end in it do not count.
    """
    tokens = torch.tensor(list(chain.from_iterable(lines)), dtype=torch.int64)
    lengths = torch.tensor([len(line) for line in lines], dtype=torch.int64)
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    place = torch.arange(len(tokens)) - starts  # of each token in its own line
    foretold = torch.ones_like(tokens, dtype=torch.bool) if never is None else tokens != never

    def grams(n: int) -> Tensor:
        """Return the number of every n-gram that ends in a target."""
        key = tokens
        for back in range(1, n):
            key = key + tokens.roll(back) * size**back
        return key[foretold & (place >= max(n - 1, 1))]

    levels: list[Level] = []
    for n in range(1, order + 1):
        here = grams(n)
        if n < order:
            first = here[here // size ** (n - 1) == BOS] if refined and n > 1 else here[:0]
            here = torch.cat([torch.unique(grams(n + 1)) % size**n, first])
        keys, counts = torch.unique(here, return_counts=True)
        below, shortening = (levels[-1] if levels else None), size ** max(n - 2, 0)
        levels.append(level(keys, counts, discounted(counts, refined), size, below, shortening))
    return levels


def references(
    train_windows: Tensor, train_lines: Sequence[Sequence[int]], valid_windows: Tensor, vocabulary_size: int
) -> dict[str, Reference]:
    """Return what the baselines, counted on the training text, reach on the validation windows.

    Args:
        train_windows: (N, L) token numbers, padded with ``<pad>``.
        train_lines: the lines that the windows were cut from.
        valid_windows: (M, L) likewise.
        vocabulary_size: V.

    Raises:
        ValueError: one of the windows' splits has no target.
    """
    size = vocabulary_size
    inputs, targets = train_windows[:, :-1], train_windows[:, 1:]
    kept = targets != PAD
    inputs, targets = inputs[kept], targets[kept]
    if not len(targets) or not (valid_windows[:, 1:] != PAD).any():
        raise ValueError("the windows have no target to count or to score")
    one, two, three = unigram(targets, size), bigram(inputs, targets, size), kneser_ney(train_lines, size)
    most_frequent = torch.bincount(targets).argmax()
    return {
        "majority": majority(most_frequent, valid_windows),
        "unigram": scored("unigram", [one], valid_windows),
        "bigram": scored("bigram", [one, two], valid_windows),
        "kneser_ney_3": scored("Kneser-Ney, order 3", three, valid_windows),
    }


def stream_references(
    train: Tensor, train_starts: Tensor, valid: Tensor, size: int, unknown: int | None = None
) -> dict[str, Reference]:
    """Return what the baselines reach on one long row of tokens, each target seen with all that stands before it.

    Args:
        train: (n,) token numbers; each document ends with a mark, and so does what stands before the first one.
        train_starts: where each document's first token stands.
        valid: (m,) likewise; all tokens but the first are targets.
        size: V.
        unknown: the token that is never scored, though it is seen as context.
    """
    cuts = [*train_starts.tolist(), len(train)]
    documents = [train[first - 1 : last].tolist() for first, last in pairwise(cuts)]
    inputs, targets = train[:-1], train[1:]
    scored = targets != unknown if unknown is not None else torch.ones_like(targets, dtype=torch.bool)
    one = unigram(targets[scored], size)
    two = bigram(inputs[scored], targets[scored], size)
    asked = valid[1:] != unknown if unknown is not None else torch.ones_like(valid[1:], dtype=torch.bool)
    before, right = valid[:-1], valid[1:][asked]
    pairs = torch.cat([valid[:1], valid[:-2]]) * size + before  # two tokens back; before the first there is none
    three = kneser_ney(documents, size, never=unknown)
    return {
        "majority": _reference("always the most frequent", None, torch.bincount(targets[scored]).argmax() == right),
        "unigram": _counted("unigram", one, torch.zeros_like(right), right),
        "bigram": _counted("bigram", two, before[asked], right),
        "kneser_ney_3": _counted("Kneser-Ney, order 3", three[-1], pairs[asked], right),
    }


def _counted(name: str, level: Level, context: Tensor, targets: Tensor) -> Reference:
    return _reference(name, -level.probability(context, targets).log(), level.best(context) == targets)


def _reference(name: str, losses: Tensor | None, right: Tensor) -> Reference:
    loss = math.inf if losses is None else float(losses.mean())
    accuracy = float(right.double().mean())
    return Reference(name, loss, math.exp(loss), accuracy, accuracy)


def majority(token: Tensor, windows: Tensor) -> Reference:
    """Return what always answering one token reaches; a single miss costs an infinite loss."""
    targets = windows[:, 1:][windows[:, 1:] != PAD]
    right = targets == token
    loss = 0.0 if right.all() else math.inf
    return Reference("always the most frequent", loss, math.exp(loss), *accuracies(right, targets))


def scored(name: str, levels: Sequence[Level], windows: Tensor) -> Reference:
    """Return what a mixture reaches on windows, each target seen with the words before it inside its window."""
    losses, rights, all_targets = [], [], []
    for words, (context, targets) in enumerate(contexts(windows, levels)):
        losses.append(-levels[words].probability(context, targets).log())
        rights.append(levels[words].best(context) == targets)
        all_targets.append(targets)
    loss = float(torch.cat(losses).mean())
    return Reference(name, loss, math.exp(loss), *accuracies(torch.cat(rights), torch.cat(all_targets)))


def contexts(windows: Tensor, levels: Sequence[Level]) -> list[tuple[Tensor, Tensor]]:
    """Return the (context, target) pairs that each level scores: the highest whose context the window holds."""
    size, width, highest = levels[0].size, windows.shape[1], len(levels) - 1
    found = []
    for words in range(len(levels)):
        last = width if words == highest else min(words + 1, width)
        places = torch.arange(max(words, 1), max(last, 1))
        context = torch.zeros(len(windows), len(places), dtype=torch.int64)
        for back in range(words, 0, -1):
            context = context * size + windows[:, places - back]
        targets = windows[:, places]
        found.append((context[targets != PAD], targets[targets != PAD]))
    return found


def accuracies(right: Tensor, targets: Tensor) -> tuple[float | None, float | None]:
    """Return the share of right answers among all targets and among those that are not ``<unk>``."""
    known = right[targets != UNK]
    return (
        float(right.double().mean()) if len(right) else None,
        float(known.double().mean()) if len(known) else None,
    )
