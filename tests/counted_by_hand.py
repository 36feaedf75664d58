"""Kneser-Ney from its formulas, in dictionaries and sets: what ``measure.ngram`` does with sorted tensors.

After each context stands a dictionary from word to count; a lower order counts the set of words seen before an
n-gram, except of one that begins a line, which nothing can stand before.  Every probability is worked out again from
these, so it is for small texts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Self

Gram = tuple[int, ...]


class CountedByHand:
    """A text, counted: ``probability`` after up to ``order`` - 1 words."""

    def __init__(self, lines: Iterable[Sequence[int]], size: int, order: int, never: int | None = None):
        self.size = size
        stands: Counter[Gram] = Counter()
        before: dict[Gram, set[int]] = defaultdict(set)
        begins: set[Gram] = set()
        for line in lines:
            for end in range(1, len(line)):
                for begin in range(max(0, end - order + 1), end + 1):
                    if line[end] == never:
                        continue
                    gram = tuple(line[begin : end + 1])
                    stands[gram] += 1
                    if begin:
                        before[gram].add(line[begin - 1])
                    else:
                        begins.add(gram)
        self.after: dict[Gram, dict[int, int]] = defaultdict(dict)
        for gram, count in stands.items():
            as_often = len(gram) == order or gram in begins
            self.after[gram[:-1]][gram[-1]] = count if as_often else len(before[gram])
        self.discount = {n: self._discount(n) for n in range(1, order + 1)}
        self.probability = cache(self._probability)

    def _discount(self, order: int) -> float:
        """D of Ney, Essen and Kneser (1994)."""
        counts = [c for context, each in self.after.items() if len(context) == order - 1 for c in each.values()]
        n1, n2 = counts.count(1), counts.count(2)
        return n1 / (n1 + 2 * n2) if n1 and n2 else 0.5

    def _probability(self, context: Gram, word: int) -> float:
        """P(word | context) by backing off one word at a time."""
        lower = self.probability(context[1:], word) if context else 1 / self.size
        after = self.after.get(context)
        if not after:
            return lower
        discount, total = self.discount[len(context) + 1], sum(after.values())
        return max(after.get(word, 0) - discount, 0.0) / total + discount * len(after) / total * lower

    def distribution(self, context: Gram) -> list[float]:
        """The V probabilities after a context."""
        return [self.probability(context, word) for word in range(self.size)]

    def perplexity(self, asked: Iterable[tuple[Gram, int]]) -> float:
        """Of words, each after its context."""
        losses = [-math.log(self.probability(context, word)) for context, word in asked]
        return math.exp(math.fsum(losses) / len(losses))

    @classmethod
    def of_stream(cls, tokens: Sequence[int], size: int, order: int, never: int | None) -> Self:
        """Count a stream document by document; its first token is the mark that ends each."""
        return cls(split_at_marks(tokens), size, order, never)


def split_at_marks(tokens: Sequence[int]) -> list[list[int]]:
    """Cut a stream into documents, each between the mark before it and the one that ends it."""
    documents: list[list[int]] = []
    for token in tokens:
        if documents:
            documents[-1].append(token)
        if token == tokens[0]:
            documents.append([token])
    return documents


def asked_of_rows(rows: Iterable[Sequence[int]], padding: int, words: int = 2) -> list[tuple[Gram, int]]:
    """What windows ask: each word that is no padding, after the words before it in its window."""
    return [
        (tuple(row[max(0, place - words) : place]), row[place])
        for row in rows
        for place in range(1, len(row))
        if row[place] != padding
    ]


def asked_of_stream(tokens: Sequence[int], never: int | None, words: int = 2) -> list[tuple[Gram, int]]:
    """What a stream asks: each word but the unknown one, after what stands before it down to the last mark."""
    return [
        (tuple(document[max(0, place - words) : place]), document[place])
        for document in split_at_marks(tokens)
        for place in range(1, len(document))
        if document[place] != never
    ]
