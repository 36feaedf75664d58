"""What follows what: a text as counts of (input, target) pairs.

Tokens are characters, numbered in order of first appearance (for "hello": h=0, e=1, l=2, o=3).  The tiny model sees
one token and guesses the next, so all that a text can teach it is how often each token follows each other one.
"hello" gives h>e, e>l, l>l, l>o, one each.

A full batch over the pairs costs the same for five characters as for a million: only the counts enter.

They also set an exact floor: no model that sees only the last token can have a lower loss on the text.  The best such
model gives each target the share it has after its input, and its loss is the conditional entropy of the pairs,

    floor = sum over pairs (x, y) of  n(x, y) / n  *  -ln( n(x, y) / n(x) )      in nats.

In "hello" only l is followed by two different tokens: two of four pairs cost ln 2, so the floor is ln 2 / 2 = 0.346574.
"""

import math
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The number of each of the V tokens of a text, and its counts of (input, target) pairs."""

    numbers: dict[str, int]
    counts: Counter[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> "Pairs":
        """Count the neighbouring pairs of a text.

        Example:
            >>> Pairs.of("hello").tokens
            ('h', 'e', 'l', 'o')
            >>> sorted(Pairs.of("hello").counts.items())
            [((0, 1), 1), ((1, 2), 1), ((2, 2), 1), ((2, 3), 1)]
        """
        numbers = {token: number for number, token in enumerate(dict.fromkeys(text))}
        return cls(numbers, Counter(pairwise(numbers[token] for token in text)))

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """All tokens, in the order of their numbers."""
        return tuple(self.numbers)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """How each token is called in tables and pictures; see ``visible``."""
        return tuple(visible(token) for token in self.tokens)

    def joint(self) -> Tensor:
        """Return the share of each pair among all pairs: (V, V), row = input, column = target, sum 1."""
        table = torch.zeros(len(self.tokens), len(self.tokens), dtype=torch.float64)
        for (source, target), count in self.counts.items():
            table[source, target] = count
        return (table / self.counts.total()).float()

    def inputs(self) -> list[int]:
        """Return the tokens that something follows: only they are ever shown to the model."""
        return sorted({source for source, _ in self.counts})

    def unseen(self) -> list[int]:
        """Return the tokens that are never an input (in "hello" only o): no gradient reaches their embedding."""
        return sorted(set(range(len(self.tokens))) - set(self.inputs()))

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
        by_input = self._totals(0)
        terms = (count * math.log(by_input[source] / count) for (source, _), count in self.counts.items())
        return math.fsum(terms) / self.counts.total()

    def unigram_entropy(self) -> float:
        """Return H(target) in nats: the floor of a model that does not even see the input."""
        total = self.counts.total()
        return math.fsum(count * math.log(total / count) for count in self._totals(1).values()) / total

    def _totals(self, end: int) -> Counter[int]:
        """Return how often each token is an input (end 0) or a target (end 1)."""
        found = Counter[int]()
        for pair, count in self.counts.items():
            found[pair[end]] += count
        return found


def visible(character: str) -> str:
    r"""Return a name for a character that can be seen and told apart in any table.

    Letters, digits, signs and emoji stand for themselves.  A space is ``␣``; whatever else is blank, invisible,
    controls the terminal or combines with its neighbour is written as its code point.

    Example:
        >>> visible("h"), visible(" "), visible("\n"), visible("\u0301")
        ('h', '␣', 'U+000A', 'U+0301')
    """
    if character == " ":
        return "␣"
    if character == "␣" or unicodedata.category(character)[0] in "CZM":
        return f"U+{ord(character):04X}"
    return character
