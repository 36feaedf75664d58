"""How a language model is trained, as numbers: learning rate, clipping and stopping by update and epoch.

Covers the original notes' rules (constant rate, a clip that opens with the epochs, early stopping with a margin)
and the schedule of the modern recipe.  Leaves out the loop: ``epochs``.
"""

import math
from dataclasses import dataclass, fields

from llmlab.settings import BaselineSettings

LEAST_GAIN = 0.001
"""An epoch counts against early stopping unless its loss is lower by this much than that of the last one that did not
(document 001 of the original notes)."""

WARM_UP = 0.1
"""Share of the updates in which the one-cycle rate climbs to its peak."""

LAST_SHARE = 0.01
"""Share of the peak at which the one-cycle rate ends."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an update, beside model, text and seed.

    ``clip`` is ``adaptive`` (0.5, from the 11th epoch 1.0, from the 31st 2.0), ``none``, or a number.
    ``round_updates`` cuts a run by updates instead of passes over the text: ``epochs`` then counts rounds of so many
    updates, each judged like an epoch; the order of the windows and the adaptive clip still go by passes.
    ``embedding_lr`` is the rate of a parameter called ``embedding``, as a share of the others'.
    """

    epochs: int
    batch: int
    lr: float
    seed: int = 0
    schedule: str = "constant"
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: str = "adaptive"
    patience: int = 10
    round_updates: int = 0
    embedding_lr: float = 1.0

    @classmethod
    def of(cls, settings: BaselineSettings, seed: int) -> "Recipe":
        """Return how a run of one seed is trained under the settings, whose names are the recipe's own."""
        named = {each.name: getattr(settings, each.name) for each in fields(cls) if hasattr(settings, each.name)}
        return cls(**named | {"seed": seed})

    def rate(self, update: int, planned: int) -> float:
        """Return the learning rate of an update, counted from 0.

        ``constant``, or ``one-cycle``: a straight climb, then half a cosine down.
        """
        if self.schedule == "constant":
            return self.lr
        climb = max(1.0, WARM_UP * planned)
        if update < climb:
            return self.lr * (update + 1) / (climb + 1)
        way = (update - climb) / max(1.0, planned - climb)
        return self.lr * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * way)) / 2)

    def largest_norm(self, epoch: int) -> float:
        """Return the norm to which gradients are clipped in an epoch, counted from 0."""
        if self.clip == "none":
            return math.inf
        if self.clip == "adaptive":
            return 0.5 if epoch < 10 else 1.0 if epoch < 30 else 2.0
        return float(self.clip)


def square_root_rate(batch: int, *, base: float = 1e-4, base_batch: int = 32) -> float:
    """Return the original notes' learning rate for a batch: it grows with the root of the batch.

    Example:
        >>> round(square_root_rate(2048), 6)
        0.0008
    """
    return base * math.sqrt(batch / base_batch)


@dataclass(frozen=True)
class FixedPointRecipe:
    """How Stage 1 trains its block; the defaults are those of the original notes.

    ``iterations`` counts the first one, which learns nothing: it is the pass through the text.  ``weight`` is that of
    the diversity: 0 has none of it, 1 nothing else.  A position has converged when its context's mean squared change is
    below ``near``; training stops once the share ``enough`` of positions has, though not in the second iteration, which
    finds nothing moved.  ``clip`` is the largest gradient norm.
    """

    iterations: int = 10
    lr: float = 0.002
    noise: float = 0.1
    weight: float = 0.5
    near: float = 0.03
    enough: float = 0.95
    batch: int = 4096
    clip: float = 1.0
    seed: int = 0
