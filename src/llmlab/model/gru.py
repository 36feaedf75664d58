"""A GRU of New-LLM's size: the textbook's recurrent network, whose memory is a vector too.

    hidden state = GRU(embedding of the token, hidden state before it),    score = Out hidden state

Unlike New-LLM's, its logits see the state *after* the token.  The recurrence is ``torch.nn.GRU``.

Covers the sizes, their count, the match to another model's count, and the start.  Leaves out gradients (``peers``).

Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014).
"""

import math

import torch
from torch import Tensor, nn

from llmlab.lab.sizes import GRUSize


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
