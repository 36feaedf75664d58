"""What ContextBlock and TokenBlock read at each position of a text: the last M tokens, and their normalised embeddings.

Leaves out what is made of it: ``context_token``.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from llmlab.model.context_token import normalised

Inputs = Callable[[Tensor], Tensor]
"""From positions in a text, (B,), to what is read there, (B, M d): normalised embeddings of the last M tokens."""


def embedded(embedding: Tensor, ids: Tensor, inputs: int = 1, starts: tuple[int, ...] = (0,)) -> Inputs:
    """Return what a ContextBlock reads: plain LayerNorms of the last M tokens' rows, zeros before a stream's start.

    Args:
        embedding: (V, d).
        ids: (n,) token numbers, of one stream after the other.
        inputs: M.
        starts: where each stream starts.
    """

    def read(positions: Tensor) -> Tensor:
        if inputs == 1:
            return normalised(embedding[ids[positions]])
        last, there = last_tokens(positions, inputs, starts)
        return (normalised(embedding[ids[last]]) * there[..., None]).flatten(1)

    return read


def last_tokens(positions: Tensor, inputs: int, starts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the positions of the last M tokens, oldest first, and whether each is there, (B, M) both."""
    if inputs == 1:
        return positions[:, None], torch.ones_like(positions, dtype=torch.bool)[:, None]
    last = positions[:, None] - torch.arange(inputs - 1, -1, -1, device=positions.device)
    begins = torch.tensor(starts, device=positions.device)
    first = begins[torch.searchsorted(begins, positions.contiguous(), right=True) - 1]
    there = last >= first[:, None]
    return last.where(there, 0), there
