"""What both blocks read at many positions of a text at once: the last M tokens, and their normalised embeddings.

The plain twin is the window that ``embedding_freeze.plain_pass`` moves over the text token by token.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.sizes import EPS

Inputs = Callable[[Tensor], Tensor]
"""From positions in a text, (B,), to what is read there, (B, M d): normalised embeddings of the last M tokens."""


def embedded(embedding: Tensor, ids: Tensor, n_tokens: int = 1, starts: tuple[int, ...] = (0,)) -> Inputs:
    """Return what a ContextBlock reads: plain LayerNorms of the last M tokens' rows, zeros before a stream's start.

    Args:
        embedding: (V, d).
        ids: (n,) token numbers, of one stream after the other.
        n_tokens: M.
        starts: where each stream starts.
    """

    def read(positions: Tensor) -> Tensor:
        last, there = last_tokens(positions, n_tokens, starts)
        x = F.layer_norm(embedding[ids[last]], embedding.shape[-1:], eps=EPS)
        return (x if n_tokens == 1 else x * there[..., None]).flatten(1)

    return read


def last_tokens(positions: Tensor, n_tokens: int, starts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the positions of the last M tokens, oldest first, and whether each is there, (B, M) both."""
    if n_tokens == 1:
        return positions[:, None], torch.ones_like(positions, dtype=torch.bool)[:, None]
    last = positions[:, None] - torch.arange(n_tokens - 1, -1, -1, device=positions.device)
    begins = torch.tensor(starts, device=positions.device)
    first = begins[torch.searchsorted(begins, positions.contiguous(), right=True) - 1]
    there = last >= first[:, None]
    return last.where(there, 0), there
