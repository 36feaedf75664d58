"""What the next token costs after so many tokens: bytes kept and seconds taken.

Bytes are counted, not sampled: the sizes of the tensors that a model keeps between two tokens.  Seconds are the median
of several rounds, in which all models take turns, so that a busy machine is slow for each of them.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from torch import Tensor

ROUNDS = 15


class Reader(Protocol):
    """A model in the middle of a text."""

    def read(self, tokens: Tensor) -> Tensor:
        """Read (T,) tokens and return the scores after the last."""

    def back(self) -> None:
        """Forget the one token that was read last."""

    def state(self) -> list[Tensor]:
        """Return all that is kept between two tokens."""


@dataclass(frozen=True)
class Cost:
    """Of the token that makes a text ``length`` tokens long: bytes kept after it, and seconds it took."""

    length: int
    kept: int
    seconds: float


def costs(
    readers: Mapping[str, Reader], tokens: Tensor, lengths: Sequence[int], rounds: int = ROUNDS
) -> dict[str, list[Cost]]:
    """Return what the last token of each of the rising lengths costs each reader, all at the beginning of a text.

    ``tokens``, (N,), are at least as many as the greatest length; each is read in so many rounds.
    """
    found: dict[str, list[Cost]] = {name: [] for name in readers}
    at = 0
    for length in lengths:
        last = tokens[length - 1 : length]
        taken: dict[str, list[float]] = {name: [] for name in readers}
        kept: dict[str, int] = {}
        for reader in readers.values():
            if length - 1 > at:
                reader.read(tokens[at : length - 1])
        at = length - 1
        for _ in range(rounds):
            for name, reader in readers.items():
                start = time.perf_counter()
                reader.read(last)
                taken[name].append(time.perf_counter() - start)
                kept[name] = sum(tensor.numel() * tensor.element_size() for tensor in reader.state())
                reader.back()
        for name in readers:
            found[name].append(Cost(length, kept[name], median(taken[name])))
    return found
