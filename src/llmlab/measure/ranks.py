"""Order statistics of tensors: quantiles, ranks, and Spearman's rank correlation."""

import torch
from torch import Tensor


def quantiles(samples: Tensor, *levels: float) -> list[float]:
    """Return quantiles of (N,) samples, interpolated linearly between neighbours."""
    return [float(value) for value in samples.double().quantile(torch.tensor(levels, dtype=torch.float64))]


def ranks(values: Tensor) -> Tensor:
    """Return ranks along the last axis from 1, equal values sharing their mean rank: (..., N) -> (..., N)."""
    ordered = values.sort(-1).values
    below = torch.searchsorted(ordered, values.contiguous(), side="left")
    up_to = torch.searchsorted(ordered, values.contiguous(), side="right")
    return (below + up_to + 1).double() / 2


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's rank correlation along the last axis: (..., N), (..., N) -> (...).

    Zero where one side is constant.
    """
    a, b = (ranks(values) - (values.shape[-1] + 1) / 2 for values in (a, b))
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (a * b).sum(-1) / scale.clamp_min(1e-300), 0.0)
