"""In how many directions vectors vary, and whether they are all but one point.

Leaves out where vectors are and how they moved: ``geometry``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

NOTHING = 1e-12
"""Vectors that differ by less than this share of their numbers differ by roundings."""

MOST_RANKED = 10_000
MOST_PAIRED = 5_000
"""Where there are more rows, so many are sampled; both are seed document 004's."""

AT_ONCE = 500
"""Distances are formed for so many rows against all others, so that memory grows with one length and not with two."""

NEAR = 0.1
ALIGNED = 0.99


def effective_rank(vectors: Tensor, *, centred: bool = True, most: int = MOST_RANKED, seed: int = 0) -> float:
    """Return exp of the entropy of the singular values' shares: (N, D) -> 1 to D, or 0.

    1 where all vectors lie on a line through the middle, D where they fill every direction alike, 0 where there is
    nothing but the middle (Roy and Vetterli 2007).  Fewer rows than some 10 D lower it: compare like with like.

    Args:
        vectors: one per row.
        centred: the middle is the mean; otherwise it is zero, so that a length which all vectors share counts as a
            direction.  Seed document 004 measures the latter.
        most: where there are more rows, so many are sampled.
        seed: of the sampling.
    """
    rows = _drawn(vectors, most, seed).double()
    middle = rows.mean(0) if centred else 0.0
    apart = rows - middle
    # of the small D x D matrix, whose eigenvalues are the squares: the vectors may be many
    sizes = torch.linalg.eigvalsh(apart.T @ apart).clamp_min(0).sqrt()
    if float(sizes.max()) <= NOTHING * float(rows.abs().max()) * len(rows) ** 0.5:
        return 0.0
    shares = sizes / sizes.sum()
    return float(torch.special.entr(shares).sum().exp())


@dataclass(frozen=True)
class Closeness:
    """How close vectors are to one another, over all pairs of different rows: mean distance and mean cosine."""

    distance: float
    cosine: float

    @property
    def one_point(self) -> bool:
        """Whether they are all but one point: seed document 004's test for a global attractor."""
        return self.distance < NEAR and self.cosine > ALIGNED


def closeness(vectors: Tensor, *, most: int = MOST_PAIRED, seed: int = 0) -> Closeness:
    """Return how close at least two vectors, (N, D), are to one another; a zero vector has cosine 0 with all.

    Args:
        vectors: one per row.
        most: where there are more rows, so many are sampled.
        seed: of the sampling.
    """
    rows = _drawn(vectors, most, seed).double()
    pairs = len(rows) * (len(rows) - 1)
    apart = rows - rows.mean(0)  # the same distances, and fewer digits lost where all vectors lie close together
    parts = (apart[first : first + AT_ONCE] for first in range(0, len(apart), AT_ONCE))
    distance = sum(float(torch.cdist(part, apart).sum()) for part in parts)
    directions = normalize(rows, dim=1)
    own = directions.square().sum()
    return Closeness(distance / pairs, float(directions.sum(0).square().sum() - own) / pairs)


def _drawn(vectors: Tensor, most: int, seed: int) -> Tensor:
    """Return all rows, or so many of them."""
    if len(vectors) <= most:
        return vectors
    return vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))[:most]]
