"""The exact floor: no model that sees only the last token can have a lower loss on the text.

The best such model gives each target the share it has after its input.  Its loss is the conditional
entropy of the text's pairs,

    floor = sum over pairs (x, y) of  n(x, y) / n  *  -ln( n(x, y) / n(x) )      in nats.

For "hello" only l is followed by two different tokens: two of four pairs cost ln 2, so the floor is
ln 2 / 2 = 0.346574.  Leaves out whether a given model can reach it.
"""

import math
from collections import Counter


def conditional_entropy(counts: Counter[tuple[int, int]]) -> float:
    """Return the conditional entropy H(target | input) in nats of counted (input, target) pairs.

    Example:
        >>> conditional_entropy(Counter(zip("hell", "ello")))
        0.34657359027997264
    """
    total = counts.total()
    by_input: Counter[int] = Counter()
    for (source, _), count in counts.items():
        by_input[source] += count
    terms = (count * math.log(by_input[source] / count) for (source, _), count in counts.items())
    return math.fsum(terms) / total


def unigram_entropy(counts: Counter[tuple[int, int]]) -> float:
    """Return the entropy H(target) in nats: the floor of a model that does not even see the input."""
    total = counts.total()
    by_target: Counter[int] = Counter()
    for (_, target), count in counts.items():
        by_target[target] += count
    return math.fsum(count * math.log(total / count) for count in by_target.values()) / total
