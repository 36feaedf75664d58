"""In how many directions vectors vary.

Leaves out where vectors are and how they moved: ``geometry``.
"""

import torch
from torch import Tensor

NOTHING = 1e-12
"""Vectors that differ by less than this share of their numbers differ by roundings."""


def effective_rank(vectors: Tensor) -> float:
    """Return exp of the entropy of the singular values' shares: (N, D) -> 1 to D, or 0.

    1 where all vectors lie on a line through zero, D where they fill every direction alike, 0 where there is nothing
    but zero (Roy and Vetterli 2007): a length which all vectors share counts as a direction, as in document 004 of the
    original notes.  Fewer rows than some 10 D lower it: compare like with like.
    """
    rows = vectors.double()
    # of the small D x D matrix, whose eigenvalues are the squares: the vectors may be many
    sizes = torch.linalg.eigvalsh(rows.T @ rows).clamp_min(0).sqrt()
    if float(sizes.max()) <= NOTHING * float(rows.abs().max()) * len(rows) ** 0.5:
        return 0.0
    shares = sizes / sizes.sum()
    return float(torch.special.entr(shares).sum().exp())
