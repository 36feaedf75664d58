"""The sizes of the models on windows: the shape of every parameter, exact counts, and sizes that match.

Numbers only, without torch: settings become sizes here, for a model, for its fast twin, and for ``llmlab params``.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from llmlab.errors import SettingError
from llmlab.lab.memory import FLOAT, HELD
from llmlab.settings import BaselineSettings

CLAMP = 10.0
"""The largest number in a context of New-LLM."""

MODELS = {"new-llm": "New-LLM", "tiny-gpt2": "tiny GPT-2", "gru": "GRU"}
"""Every model that is trained on windows, and what it is called."""

WIDEST = 2**20
"""No peer is wider."""

HEADS = 4
DEEPEST = 64
NEAR = 0.1
"""Of tiny GPT-2: a count within this share of the wanted one is near enough for the width to be chosen freely."""


@dataclass(frozen=True)
class Size:
    """The sizes of New-LLM.

    ``stack`` is ``plain`` (the original notes': each layer replaces the last one's output) or ``residual`` (each layer
    adds to it, and reads it through a LayerNorm without parameters, so that the counts stay the same).  ``first_norm``
    is how many of the context's first numbers have a LayerNorm of their own; 0: one LayerNorm over all.
    """

    vocabulary: int = 1000
    embedding: int = 256
    hidden: int = 512
    context: int = 256
    layers: int = 6
    stack: str = "plain"
    first_norm: int = 0

    def norms(self) -> list[slice]:
        """Return the parts of the context that are normalised each for itself: two in a model that was widened."""
        cut = self.first_norm
        return [slice(0, cut), slice(cut, self.context)] if 0 < cut < self.context else [slice(0, self.context)]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter by name, in the order in which they are initialised."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, self.embedding)}
        width = self.embedding + self.context
        for layer in range(self.layers):
            shapes[f"layer{layer}.weight"] = (self.hidden, width)
            shapes[f"layer{layer}.bias"] = (self.hidden,)
            width = self.hidden
        shapes["output.weight"] = (self.vocabulary, self.hidden)
        shapes["output.bias"] = (self.vocabulary,)
        shapes["gates.weight"] = (3 * self.context, self.hidden)  # rows: W_D, then W_F, then W_I
        shapes["gates.bias"] = (3 * self.context,)
        shapes["norm.gain"] = (self.context,)
        shapes["norm.bias"] = (self.context,)
        return shapes

    def parameters(self) -> int:
        """Return the exact number of parameters; 2,739,432 for the original notes' sizes."""
        return sum(math.prod(shape) for shape in self.shapes().values())


@dataclass(frozen=True)
class GRUSize:
    """The sizes of a GRU with embedding and output layer."""

    vocabulary: int = 1000
    embedding: int = 256
    hidden: int = 661
    layers: int = 1

    def parameters(self) -> int:
        """Return the exact number of parameters."""
        inputs = [self.embedding] + [self.hidden] * (self.layers - 1)
        cells = sum(3 * self.hidden * (width + self.hidden + 2) for width in inputs)
        return self.vocabulary * (self.embedding + self.hidden + 1) + cells

    @classmethod
    def matched(cls, wanted: int, vocabulary: int, embedding: int) -> "GRUSize":
        """Return the one-layer size whose number of parameters is nearest to a wanted one.

        Example:
            >>> GRUSize.matched(2_739_432, vocabulary=1000, embedding=256).hidden
            661
        """
        return _nearest(lambda hidden: cls(vocabulary, embedding, hidden), wanted, range(1, WIDEST))


@dataclass(frozen=True)
class GPT2Size:
    """The sizes of a tiny GPT-2; a width that the heads cannot share is a ``SettingError``."""

    vocabulary: int = 1000
    positions: int = 64
    width: int = 256
    layers: int = 3

    def __post_init__(self) -> None:
        if self.width % HEADS:
            raise SettingError(f"--embedding: {self.width} is not a multiple of {HEADS}, the heads of tiny GPT-2")

    def parameters(self) -> int:
        """Return the exact number of parameters; 2,642,176 for the defaults."""
        block = 12 * self.width**2 + 13 * self.width
        return (self.vocabulary + self.positions + 2) * self.width + self.layers * block

    @classmethod
    def matched(cls, wanted: int, vocabulary: int, positions: int, width: int) -> "GPT2Size":
        """Return the size within ``NEAR`` of a wanted count whose width is nearest to the given one.

        Each depth has the width that comes nearest to the count, or the given one.  Of equal widths the count decides,
        and so it does where none is near.

        Example:
            >>> GPT2Size.matched(2_739_432, vocabulary=1000, positions=64, width=256).layers
            3
        """
        of_depth = [partial(cls, vocabulary, positions, layers=depth) for depth in range(1, DEEPEST + 1)]
        found = [_nearest(of_width, wanted, range(HEADS, WIDEST, HEADS)) for of_width in of_depth]
        found += [of_width(width) for of_width in of_depth] if width % HEADS == 0 else []

        def rank(size: GPT2Size) -> tuple[bool, int, float]:
            apart = off(wanted, size)
            return apart > NEAR, abs(size.width - width) if apart <= NEAR else 0, apart

        return min(found, key=rank)


P = TypeVar("P", GRUSize, GPT2Size)


def off(wanted: int, size: GRUSize | GPT2Size) -> float:
    """Return how far the number of parameters is from a wanted one, as a share of it."""
    return abs(size.parameters() / wanted - 1)


def _nearest(size: Callable[[int], P], wanted: int, widths: range) -> P:
    """Return the size whose number of parameters is nearest to a wanted one; it grows with the width."""
    above = bisect_left(widths, wanted, key=lambda width: size(width).parameters())
    return min(map(size, widths[max(0, above - 1) : above + 1]), key=partial(off, wanted))


# ---- from settings to sizes -------------------------------------------------------------------------------------


def size_of(settings: BaselineSettings, vocabulary: int) -> Size:
    """Return the sizes of New-LLM under the settings, for the words that the text really has."""
    return Size(vocabulary, settings.embedding, settings.hidden, settings.context, settings.layers, settings.stack)


def peer_size_of(settings: BaselineSettings, vocabulary: int) -> GPT2Size | GRUSize:
    """Return the sizes of a peer under settings that are its own: ``sized`` makes them."""
    if settings.model == "gru":
        return GRUSize(vocabulary, settings.embedding, settings.hidden, settings.layers)
    return GPT2Size(vocabulary, settings.length, settings.embedding, settings.layers)


def sized(settings: BaselineSettings, model: str, vocabulary: int) -> BaselineSettings:
    """Return the settings of one model, its own sizes in them.

    A peer is as large as New-LLM of the same settings, unless ``--model`` names the peer and ``--layers`` is given:
    then depth and widths are those of the settings.  With ``--peers``, ``--layers`` is New-LLM's, and the peers follow.
    A checkpoint's ``layers``, ``embedding`` and ``hidden`` so are those of its model.
    """
    own = replace(settings, model=model, peers=False, layers_given=True)
    if model == "new-llm":
        return own
    if settings.layers_given and not settings.peers:
        peer_size_of(own, vocabulary)  # which refuses what does not fit
        return own
    wanted = size_of(settings, vocabulary).parameters()
    if model == "gru":
        gru = GRUSize.matched(wanted, vocabulary, settings.embedding)
        return replace(own, layers=gru.layers, hidden=gru.hidden)
    gpt2 = GPT2Size.matched(wanted, vocabulary, settings.length, settings.embedding)
    return replace(own, layers=gpt2.layers, embedding=gpt2.width)


# ---- the memory that training takes at least ---------------------------------------------------------------------


def language_bytes(
    settings: BaselineSettings, vocabulary: int, targets: float, rows: int, judged: int, product: int
) -> dict[str, float]:
    """Return the bytes that training a model on windows takes at the very least, by the options that set them.

    A window has ``targets`` on average: some batch has as many.  ``rows`` windows are read at once in training, and
    ``judged`` in validation; there is room for both as long as the run lasts.  ``product`` is how many bytes a number
    has in the products of training.
    """
    if settings.model != "new-llm":
        size, numbers = peer_size_of(settings, vocabulary), rows * (settings.length - 1) * vocabulary
        held = HELD[settings.optimizer] * size.parameters()
        return {"--hidden or --layers": FLOAT * held, "--batch or --vocabulary": FLOAT * 2 * numbers}
    own = size_of(settings, vocabulary)
    # of each layer its outputs, their slopes and their gradients; in validation only the last one's outputs
    trained = rows * (FLOAT * 6 * own.context + product * 3 * own.layers * own.hidden)
    kept = (settings.length - 1) * (trained + judged * FLOAT * (6 * own.context + own.hidden))
    return {
        "--hidden or --layers": FLOAT * HELD[settings.optimizer] * own.parameters(),
        "--batch or --length": kept,
        "--batch or --vocabulary": FLOAT * 2 * rows * targets * vocabulary,  # logits and their softmax
    }
