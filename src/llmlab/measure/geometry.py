"""Where vectors are, how far they moved, and what an inner product is made of.

All functions are pure; tensors may carry leading axes (seeds).  Leaves out probabilities and statistics.
"""

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


def products(vector: Tensor, directions: Tensor) -> Tensor:
    """Return the per-dimension products whose sum is the inner product: (D,), (V, D) -> (V, D)."""
    return vector * directions


def feet(vector: Tensor, directions: Tensor) -> Tensor:
    """Return where the perpendicular from ``vector`` meets each line through zero: (D,), (V, D) -> (V, D).

    The foot on direction w is (e . w / |w|^2) w, and the inner product is its signed distance from zero
    times |w|.  A zero direction has its foot at zero.
    """
    scale = directions.square().sum(-1).clamp_min(torch.finfo(directions.dtype).tiny)
    return (directions @ vector / scale)[:, None] * directions


def random_rotation(dim: int, generator: torch.Generator) -> Tensor:
    """Return a uniformly drawn orthogonal matrix, (D, D) in float64.

    QR of a Gaussian matrix, signs fixed so that the distribution is uniform (Mezzadri 2007).  For D = 1 the
    only orthogonal matrices are +1 and -1.
    """
    gaussian = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    rotation: Tensor = q * r.diagonal().sign()
    return rotation


def main_plane(vectors: Tensor) -> tuple[Tensor, float]:
    """Return the plane through zero that keeps most of the rows' squared length, and the share it keeps.

    Two or fewer dimensions are kept as they are (a line becomes the first axis).  Through zero, because
    inner products are about zero, not about the mean.

    Args:
        vectors: (N, D).

    Returns:
        (D, 2) matrix with orthonormal columns (or padding, for D < 2), and a share from 0 to 1.
    """
    dim = vectors.shape[-1]
    if dim <= 2:
        return torch.eye(dim, 2), 1.0
    _, sizes, directions = torch.linalg.svd(vectors, full_matrices=False)
    plane = torch.zeros(dim, 2)
    plane[:, : min(2, len(sizes))] = directions[:2].T
    total = sizes.square().sum()
    return plane, float(sizes[:2].square().sum() / total) if total > 0 else 1.0


def affine_rank(vectors: Tensor) -> Tensor:
    """Return the rank of the rows with a constant 1 appended: (..., N, D) -> (...).

    A frozen embedding with a trained linear layer and bias can reach every table of scores exactly when this
    rank equals the number N of inputs.
    """
    ones = torch.ones_like(vectors[..., :1])
    rank: Tensor = torch.linalg.matrix_rank(torch.cat([vectors, ones], dim=-1).double())
    return rank
