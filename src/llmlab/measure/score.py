"""From the loss and hit of every target to the numbers that are reported.

Covers two ways to average, side by side.  *Per token*: every scored target counts the same.  *Batch mean*, the
seed documents' way: the mean over batches of each batch's mean, so a target in a batch with little padding
counts less; it depends, slightly, on the batch size.  PPL is exp of the mean loss in both.

Leaves out what computes losses.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """How a model did on N windows of T targets; losses in nats."""

    loss: float
    loss_batch_mean: float
    accuracy: float
    accuracy_batch_mean: float
    accuracy_known: float
    unknown_share: float
    targets: int
    loss_by_position: list[float]
    targets_by_position: list[int]

    @property
    def ppl(self) -> float:
        """Perplexity per token."""
        return perplexity(self.loss)

    @property
    def ppl_batch_mean(self) -> float:
        """The seed documents' perplexity."""
        return perplexity(self.loss_batch_mean)


def perplexity(loss: float) -> float:
    """Return exp(loss), or infinity where that is no float."""
    return math.exp(loss) if loss < 700 else math.inf


def score(losses: Tensor, hits: Tensor, targets: Tensor, *, batch: int, padding: int = 0, unknown: int = 1) -> Score:
    """Average over the targets that are not padding.

    Args:
        losses: (N, T) in nats.
        hits: (N, T), whether the target was the likeliest token.
        targets: (N, T) token numbers.
        batch: how many windows one batch of the batch mean has.
        padding: the target that is not scored.
        unknown: the target that ``accuracy_known`` leaves out.

    Raises:
        ValueError: there is no target to score.
    """
    scored = targets != padding
    if not scored.any():
        raise ValueError("no target to score")
    known = scored & (targets != unknown)
    losses = torch.where(scored, losses, 0.0).double()
    right = (hits & scored).double()
    by_batch = [
        (loss.sum() / counted.sum(), hit.sum() / counted.sum())
        for loss, hit, counted in _batches(losses, right, scored, batch)
    ]
    total, at_position = int(scored.sum()), scored.sum(0)
    return Score(
        loss=float(losses.sum()) / total,
        loss_batch_mean=math.fsum(float(loss) for loss, _ in by_batch) / len(by_batch),
        accuracy=float(right.sum()) / total,
        accuracy_batch_mean=math.fsum(float(share) for _, share in by_batch) / len(by_batch),
        accuracy_known=float((hits & known).sum()) / max(int(known.sum()), 1),
        unknown_share=1 - int(known.sum()) / total,
        targets=total,
        loss_by_position=(losses.sum(0) / at_position.clamp(min=1)).tolist(),
        targets_by_position=at_position.tolist(),
    )


def _batches(losses: Tensor, right: Tensor, scored: Tensor, batch: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the batches that score anything."""
    parts = zip(*(torch.split(tensor, batch) for tensor in (losses, right, scored)), strict=True)
    return [part for part in parts if part[2].any()]
