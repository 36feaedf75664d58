"""Where vectors are and how far they moved; tensors may carry leading axes (seeds)."""

import torch
from torch import Tensor


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Return how far each row moved: Euclidean norm of the difference, (..., V, D) -> (..., V)."""
    lengths: Tensor = torch.linalg.vector_norm(after - before, dim=-1)
    return lengths


def distances(vectors: Tensor) -> Tensor:
    """Return the Euclidean distance of all pairs of rows: (..., V, D) -> (..., V, V).

    Differences are formed one by one: the usual shortcut by inner products loses half the digits of
    vectors that lie close together.
    """
    apart: Tensor = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    return apart


def random_rotation(dim: int, seed: int) -> Tensor:
    """Return a uniformly drawn orthogonal matrix, (D, D) in float64; the same seed draws the same one.

    QR of a Gaussian matrix, signs fixed so that the distribution is uniform (Mezzadri 2007).  For D = 1 the
    only orthogonal matrices are +1 and -1.
    """
    gaussian = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def affine_rank(vectors: Tensor) -> Tensor:
    """Return the rank of the rows with a constant 1 appended: (..., N, D) -> (...).

    A frozen embedding with a trained linear layer and bias can reach every table of scores exactly when this
    rank equals the number N of inputs.
    """
    ones = torch.ones_like(vectors[..., :1])
    rank: Tensor = torch.linalg.matrix_rank(torch.cat([vectors, ones], dim=-1).double())
    return rank
