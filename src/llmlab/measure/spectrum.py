"""In how many directions vectors vary."""

import torch
from torch import Tensor

NOTHING = 1e-12
"""Vectors that differ by less than this share of their numbers differ by roundings."""

MOST_RANKED = 10_000
"""Where there are more rows, this many are sampled, as in document 004 of the original notes."""


def effective_rank(vectors: Tensor, *, centred: bool = True) -> float:
    """Return exp of the entropy of the singular values' shares: (N, D) -> 1 to D, or 0.

    1 where all vectors lie on a line through the middle, D where they fill every direction alike, 0 where there is
    nothing but the middle (Roy and Vetterli 2007).  Fewer rows than some 10 D lower it: compare like with like.
    The middle is the mean, or, not ``centred``, zero, so that a length which all vectors share counts as a direction:
    document 004 of the original notes measures the latter.
    """
    if len(vectors) > MOST_RANKED:
        vectors = vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:MOST_RANKED]]
    rows = vectors.double()
    apart = rows - rows.mean(0) if centred else rows
    # of the small D x D matrix, whose eigenvalues are the squares: the vectors may be many
    sizes = torch.linalg.eigvalsh(apart.T @ apart).clamp_min(0).sqrt()
    if float(sizes.max()) <= NOTHING * float(rows.abs().max()) * len(rows) ** 0.5:
        return 0.0
    shares = sizes / sizes.sum()
    return float(torch.special.entr(shares).sum().exp())


def rank_share(contexts: Tensor) -> float:
    """Return the effective rank of the first contexts, (n, c), about zero, as a share of their width."""
    return effective_rank(contexts[:MOST_RANKED], centred=False) / contexts.shape[1]
