"""Kneser-Ney from its formulas, in dictionaries and sets: what ``measure.ngram`` does with sorted tensors.

After each context stands a dictionary from word to count; a lower order counts the set of words seen before an
n-gram, except of one that begins a line, which nothing can stand before.  Every probability is worked out again from
these, so it is for small texts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

Gram = tuple[int, ...]


class CountedByHand:
    """Lines, each after a mark, counted: ``probability`` after up to ``order`` - 1 words."""

    def __init__(self, lines: Iterable[Sequence[int]], size: int, order: int, modified: bool, never: int | None = None):
        self.size = size
        stands: Counter[Gram] = Counter()
        before: dict[Gram, set[int | None]] = defaultdict(set)
        for line in lines:
            for end in (place for place in range(1, len(line)) if line[place] != never):
                for begin in range(max(0, end - order + 1), end + 1):
                    gram = tuple(line[begin : end + 1])
                    stands[gram] += 1
                    before[gram].add(line[begin - 1] if begin else None)
        self.after: dict[Gram, dict[int, int]] = defaultdict(dict)
        for gram, count in stands.items():
            as_often = len(gram) == order or None in before[gram]
            self.after[gram[:-1]][gram[-1]] = count if as_often else len(before[gram])
        self.discount = {n: self._discounts(n, modified) for n in range(1, order + 1)}
        self.probability = cache(self._probability)

    def _discounts(self, order: int, modified: bool) -> tuple[float, float, float]:
        """D of Ney, Essen and Kneser (1994), or the three of Chen and Goodman (1999), equations 26."""
        counts = [c for context, each in self.after.items() if len(context) == order - 1 for c in each.values()]
        n1, n2, n3, n4 = (counts.count(r) for r in (1, 2, 3, 4))
        if not n1 or not n2:
            return 0.5, 0.5, 0.5
        y = n1 / (n1 + 2 * n2)
        if modified and n3 and n4:
            three = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
            if 0 < three[0] < 1 and 0 < three[1] < 2 and 0 < three[2] < 3:
                return three
        return y, y, y

    def _probability(self, context: Gram, word: int) -> float:
        """P(word | context) by backing off one word at a time."""
        lower = self.probability(context[1:], word) if context else 1 / self.size
        after = self.after.get(context)
        if not after:
            return lower
        one, two, more = self.discount[len(context) + 1]
        counts, total = list(after.values()), sum(after.values())
        kinds = (counts.count(1), counts.count(2), sum(count > 2 for count in counts))
        mass = (one * kinds[0] + two * kinds[1] + more * kinds[2]) / total
        count = after.get(word, 0)
        return (count - (0.0, one, two, more)[min(count, 3)]) / total + mass * lower

    def distribution(self, context: Gram) -> list[float]:
        """The V probabilities after a context."""
        return [self.probability(context, word) for word in range(self.size)]

    def perplexity(self, asked: Iterable[tuple[Gram, int]]) -> float:
        """Of words, each after its context."""
        losses = [-math.log(self.probability(context, word)) for context, word in asked]
        return math.exp(math.fsum(losses) / len(losses))


def split_at_marks(tokens: Sequence[int]) -> list[list[int]]:
    """Cut a stream into documents, each between the mark before it and the one that ends it."""
    documents: list[list[int]] = []
    for token in tokens:
        if documents:
            documents[-1].append(token)
        if token == tokens[0]:
            documents.append([token])
    return documents


def asked_of(lines: Iterable[Sequence[int]], never: int | None, words: int = 2) -> list[tuple[Gram, int]]:
    """What lines ask: each word but one, after the words before it in its line."""
    return [
        (tuple(line[max(0, place - words) : place]), line[place])
        for line in lines
        for place in range(1, len(line))
        if line[place] != never
    ]
