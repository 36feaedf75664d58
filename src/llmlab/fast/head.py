"""The head over a large vocabulary: cross-entropy and its gradients by hand, a few rows at a time.

The logits of a batch over 50,257 words are its largest tensor by far: 0.8 GB for 4,096 rows.  Nothing of them is needed
after their gradient, so some rows are scored, differentiated and forgotten before the next ones.  With p the softmax of
a row's logits W y + b, u the unit vector of its target, and K the count:

    loss = -ln p_target / K       into y: W^T (p - u) / K       into W: (p - u) y^T / K       into b: (p - u) / K

A frozen head needs no gradient of W, a third of the work.

Covers loss, gradients and judging, with products in fp32 or bf16.  Leaves out who owns the weight.  The oracle in the
tests is autograd through ``torch.nn.functional.cross_entropy``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.language import Judged

LOGITS_AT_ONCE = 2**25
"""About how many logits are held at a time: 128 MiB in fp32."""


@dataclass(frozen=True)
class HeadGradients:
    """A loss and its gradients: into y, (B, d), and into ``head.weight`` and ``head.bias`` if they are learnt."""

    loss: Tensor
    y: Tensor
    head: dict[str, Tensor]


def rows_at_once(vocabulary: int) -> int:
    """Return how many rows are scored at a time."""
    return max(16, LOGITS_AT_ONCE // vocabulary)


def head_loss(
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    scored: Tensor,
    count: int,
    *,
    learns_weight: bool,
    dtype: torch.dtype = torch.float32,
) -> HeadGradients:
    """Return the loss summed over the scored rows and divided by ``count``, and its gradients in fp32.

    Args:
        y: (B, d), fp32.
        weight: (V, d); already in ``dtype`` it is not copied.
        bias: (V,) or ``None``.
        targets: (B,) token numbers; any number where a row is not scored.
        scored: (B,) bool.
        count: number of scored targets in the whole batch, of which these rows may be a part.
        learns_weight: false leaves out the gradients of weight and bias.
        dtype: of the products, float32 or bfloat16.
    """
    with torch.no_grad():
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        learnt = {"head.weight": weight} | ({} if bias is None else {"head.bias": bias}) if learns_weight else {}
        head = {name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in learnt.items()}
        into_y, loss, share = torch.zeros_like(y), 0.0, 1 / max(count, 1)
        for part in torch.split(scored.nonzero()[:, 0], rows_at_once(len(weight))):
            read, chosen = y[part].to(dtype), targets[part]
            logits = F.linear(read, weight, bias)  # (rows, V)
            # ln p_target by way of the likeliest word, as p_target itself may be too small for a float
            behind = logits.gather(1, chosen[:, None])[:, 0].double() - logits.amax(1).double()
            p = torch.softmax(logits, 1, out=logits)  # in place: fresh memory would take longer than the softmax
            loss -= float((behind + p.amax(1).double().log()).sum())
            into_y[part] = (p @ weight).to(y.dtype).sub_(weight[chosen]).mul_(share)
            if learns_weight:
                head["head.weight"].add_(p.T @ read).index_add_(0, chosen, read.float(), alpha=-1)
            if "head.bias" in head:
                ones = torch.ones_like(chosen, dtype=torch.float32)
                head["head.bias"].add_(p.sum(0, dtype=torch.float32)).index_add_(0, chosen, ones, alpha=-1)
        for gradient in head.values():
            gradient.mul_(share)
        return HeadGradients(torch.tensor(loss * share), into_y, head)


def head_judge(y: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Judged:
    """Return loss and hit of every row, (B,) each, in fp32; a negative target loses 0 and is never hit."""
    losses, hits = y.new_zeros(len(y)), torch.zeros(len(y), dtype=torch.bool, device=y.device)
    with torch.no_grad():
        for part in torch.split(torch.arange(len(y), device=y.device), rows_at_once(len(weight))):
            logits = F.linear(y[part], weight, bias)
            losses[part] = F.cross_entropy(logits, targets[part].clamp(min=-1), ignore_index=-1, reduction="none")
            hits[part] = logits.argmax(1) == targets[part]
    return Judged(losses, hits)
