"""In how many directions vectors vary.

Leaves out where vectors are and how they moved: ``geometry``.
"""

import torch
from torch import Tensor

NOTHING = 1e-12
"""Vectors that differ by less than this share of their numbers differ by roundings."""


def effective_rank(vectors: Tensor) -> float:
    """Return exp of the entropy of the singular values' shares, about the mean: (N, D) -> 1 to D, or 0.

    1 where all vectors lie on a line, D where they fill every direction alike, 0 where they are all the same
    (Roy and Vetterli 2007).
    """
    centred = vectors.double() - vectors.double().mean(0)
    # of the small D x D matrix, whose eigenvalues are the squares: the vectors may be many
    sizes = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0).sqrt()
    if float(sizes.max()) <= NOTHING * float(vectors.abs().max()) * len(vectors) ** 0.5:
        return 0.0
    shares = sizes / sizes.sum()
    return float(torch.special.entr(shares).sum().exp())
