"""A GRU of New-LLM's size: the textbook's recurrent network, whose memory is a vector too.

    hidden state = GRU(embedding of the token, hidden state before it),    score = Out hidden state

Unlike New-LLM's, its logits see the state *after* the token.  The recurrence is ``torch.nn.GRU``.

Covers the sizes, their count, the match to another model's count, and the start.  Leaves out gradients (``peers``).

Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GRUSize:
    """The sizes of a GRU with embedding and output layer."""

    vocabulary: int = 1000
    embedding: int = 256
    hidden: int = 661
    layers: int = 1

    def parameters(self) -> int:
        """Return the exact number of parameters."""
        inputs = [self.embedding] + [self.hidden] * (self.layers - 1)
        cells = sum(3 * self.hidden * (width + self.hidden + 2) for width in inputs)
        return self.vocabulary * (self.embedding + self.hidden + 1) + cells

    @classmethod
    def matched(cls, wanted: int, vocabulary: int, embedding: int) -> "GRUSize":
        """Return the one-layer size whose number of parameters is nearest to a wanted one.

        Example:
            >>> GRUSize.matched(2_739_432, vocabulary=1000, embedding=256).hidden
            661
        """
        # 3 h^2 + b h + c = 0
        b, c = 3 * embedding + 6 + vocabulary, vocabulary * (embedding + 1) - wanted
        root = (math.sqrt(max(b * b - 12 * c, 0)) - b) / 6
        around = (max(1, math.floor(root)), max(1, math.ceil(root)))
        return min((cls(vocabulary, embedding, hidden) for hidden in around), key=lambda size: size.off(wanted))

    def off(self, wanted: int) -> float:
        """Return how far the number of parameters is from a wanted one, as a share of it."""
        return abs(self.parameters() / wanted - 1)


class GRULanguageModel(nn.Module):
    """Embedding, GRU and output layer; dropout stands after the embedding and after each GRU layer.

    The start is the library's usual one, drawn from the seed: the embedding N(0, 1), all else uniform within
    1 / sqrt(hidden).
    """

    def __init__(self, size: GRUSize, seed: int, dropout: float = 0.0) -> None:
        super().__init__()
        between = dropout if size.layers > 1 else 0.0  # the library warns of one that would do nothing
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(size.vocabulary, size.embedding)
            self.recurrence = nn.GRU(size.embedding, size.hidden, size.layers, batch_first=True, dropout=between)
            self.output = nn.Linear(size.hidden, size.vocabulary)
        self.dropout = nn.Dropout(dropout)
        chance, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(size.hidden)
        for name, parameter in self.named_parameters():
            if name == "embedding.weight":
                parameter.data.copy_(torch.randn(parameter.shape, generator=chance))
            else:
                parameter.data.copy_(torch.rand(parameter.shape, generator=chance) * 2 * bound - bound)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read windows.

        Args:
            inputs: (B, T) token numbers.
            state: (layers, B, H) to start from; zeros if ``None``.

        Returns:
            The logits after every position, (B, T, V), and the state after the last.
        """
        read, state = self.recurrence(self.dropout(self.embedding(inputs)), state)
        logits: Tensor = self.output(self.dropout(read))
        return logits, state
