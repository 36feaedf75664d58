"""What follows what: a text as counts of (input, target) pairs.

The tiny model sees one token and guesses the next, so all that a text can teach it is how often each token
follows each other one.  "hello" gives h>e, e>l, l>l, l>o, one each.

A full batch over the pairs costs the same for five characters as for a million: only the counts enter.

They also set an exact floor: no model that sees only the last token can have a lower loss on the text.  The best such
model gives each target the share it has after its input, and its loss is the conditional entropy of the pairs,

    floor = sum over pairs (x, y) of  n(x, y) / n  *  -ln( n(x, y) / n(x) )      in nats.

In "hello" only l is followed by two different tokens: two of four pairs cost ln 2, so the floor is ln 2 / 2 = 0.346574.
"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from llmlab.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Pairs:
    """Counts of (input, target) pairs over a vocabulary of V tokens."""

    vocabulary: Vocabulary
    counts: Counter[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> "Pairs":
        """Count the neighbouring pairs of a text.

        Example:
            >>> sorted(Pairs.of("hello").counts.items())
            [((0, 1), 1), ((1, 2), 1), ((2, 2), 1), ((2, 3), 1)]
        """
        vocabulary = Vocabulary.of(text)
        numbers = vocabulary.encode(text)
        return cls(vocabulary, Counter(pairwise(numbers)))

    def joint(self) -> Tensor:
        """Return the share of each pair among all pairs: (V, V), row = input, column = target, sum 1."""
        table = torch.zeros(len(self.vocabulary), len(self.vocabulary), dtype=torch.float64)
        for (source, target), count in self.counts.items():
            table[source, target] = count
        return (table / self.counts.total()).float()

    def inputs(self) -> list[int]:
        """Return the tokens that something follows: only they are ever shown to the model."""
        return sorted({source for source, _ in self.counts})

    def unseen(self) -> list[int]:
        """Return the tokens that are never an input (in "hello" only o): no gradient reaches their embedding."""
        return sorted(set(range(len(self.vocabulary))) - set(self.inputs()))

    def followers(self, source: int) -> dict[int, float]:
        """Return the share of each target after one input, most frequent first, ties by first appearance."""
        after = {target: count for (first, target), count in self.counts.items() if first == source}
        total = sum(after.values())
        return {target: count / total for target, count in sorted(after.items(), key=lambda item: -item[1])}

    def conditional_entropy(self) -> float:
        """Return H(target | input) in nats: the floor of every model that sees one token.

        Example:
            >>> Pairs.of("hello").conditional_entropy()
            0.34657359027997264
        """
        by_input: Counter[int] = Counter()
        for (source, _), count in self.counts.items():
            by_input[source] += count
        terms = (count * math.log(by_input[source] / count) for (source, _), count in self.counts.items())
        return math.fsum(terms) / self.counts.total()

    def unigram_entropy(self) -> float:
        """Return H(target) in nats: the floor of a model that does not even see the input."""
        total = self.counts.total()
        by_target: Counter[int] = Counter()
        for (_, target), count in self.counts.items():
            by_target[target] += count
        return math.fsum(count * math.log(total / count) for count in by_target.values()) / total
