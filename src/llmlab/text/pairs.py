"""What follows what: a text as counts of (input, target) pairs.

The tiny model sees one token and guesses the next, so all that a text can teach it is how often each token
follows each other one.  "hello" gives h>e, e>l, l>l, l>o, one each.

A full batch over the pairs costs the same for five characters as for a million: only the counts enter.
"""

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
