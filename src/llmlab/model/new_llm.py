"""New-LLM: a recurrent language model whose memory is one vector, the context.

At each position t a stack of layers reads the token and the context *before* it, and gives both the
logits of the next token and the change of the context:

    u_t    = [ E[x_t] ; c_(t-1) ]                   token first, c_0 = 0
    h_t    = stack(u_t)                             L layers, each Linear, ReLU, dropout
    logits = Out h_t                                so the logits see the OLD context and the token
    d, f, i = D h_t,  sigmoid(F h_t),  sigmoid(I h_t)
    c_t    = clamp( LayerNorm( f * c_(t-1) + i * d ), -10, 10 )

Covers the parameters, their count and start, one step, and the plain loop over a window that a reader can check
against the equations.  Leaves out speed: ``sweep`` computes the same loss and gradients several times faster.

The memory never grows: generating the 10,000th token costs what the first one did.

Source: seed document 001, and section 3 of its code as far as it differs from the text.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.sizes import CLAMP, EPS, Size


class ContextVectorLM:
    """New-LLM as named parameters and its equations.

    Args:
        size: the sizes.
        parameters: the tensors named by ``Size.shapes``.
        dropout: probability with which a hidden number is set to zero in training.
    """

    def __init__(self, size: Size, parameters: dict[str, Tensor], dropout: float = 0.0) -> None:
        self.size, self.parameters, self.dropout = size, parameters, dropout

    @classmethod
    def initial(cls, size: Size, seed: int, *, dropout: float = 0.0, start: str = "seed") -> "ContextVectorLM":
        """Return a fresh model.

        Args:
            size: the sizes.
            seed: the same seed gives the same numbers.
            dropout: see the class.
            start: ``seed`` draws every weight and the embedding from N(0, 0.02^2), as the seed document's code does;
                the contexts are then nearly constant at first, and training lingers at token frequencies.
                ``scaled`` draws each layer from N(0, 2 / inputs) (He et al. 2015), the other matrices from
                N(0, 1 / inputs), the embedding from N(0, 1), and opens the forget gates with a bias of 1
                (Jozefowicz et al. 2015).
        """
        chance = torch.Generator().manual_seed(seed)
        parameters: dict[str, Tensor] = {}
        for name, shape in size.shapes().items():
            if name == "norm.gain":
                parameters[name] = torch.ones(shape)
            elif len(shape) == 1:
                parameters[name] = torch.zeros(shape)
            else:
                parameters[name] = torch.randn(shape, generator=chance) * _deviation(name, shape, start)
        if start == "scaled":
            parameters["gates.bias"][size.context : 2 * size.context] = 1.0
        return cls(size, parameters, dropout)

    def first_context(self, batch: int) -> Tensor:
        """Return the context before the first token: zeros, (B, C)."""
        return self.parameters["embedding"].new_zeros(batch, self.size.context)

    def step(self, tokens: Tensor, context: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read one token per row.

        Args:
            tokens: (B,) token numbers.
            context: (B, C), the context before them.
            keep: (L, B, H), what dropout leaves: 0 or 1 / (1 - p); ``None`` outside training.

        Returns:
            The logits of the next token, (B, V), and the context after these, (B, C).
        """
        p = self.parameters
        hidden = self._stack(torch.cat([p["embedding"][tokens], context], dim=1), keep)  # (B, H)
        logits = F.linear(hidden, p["output.weight"], p["output.bias"])
        change, forget, write = F.linear(hidden, p["gates.weight"], p["gates.bias"]).chunk(3, dim=1)  # (B, C) each
        mixed = forget.sigmoid() * context + write.sigmoid() * change
        normed = [
            F.layer_norm(own, own.shape[1:], p["norm.gain"][part], p["norm.bias"][part], EPS)
            for part, own in ((part, mixed[:, part]) for part in self.size.norms())
        ]
        return logits, torch.cat(normed, dim=1).clamp(-CLAMP, CLAMP)

    def logits(self, inputs: Tensor, keep: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return the logits after every position of windows, by the plain loop.

        Args:
            inputs: (B, T) token numbers.
            keep: (L, T, B, H), what dropout leaves, or ``None``.
            context: (B, C) to start from; zeros if ``None``.

        Returns:
            (B, T, V).
        """
        context = self.first_context(len(inputs)) if context is None else context
        logits: list[Tensor] = []
        for t in range(inputs.shape[1]):
            at_t, context = self.step(inputs[:, t], context, None if keep is None else keep[:, t])
            logits.append(at_t)
        return torch.stack(logits, dim=1)

    def _stack(self, hidden: Tensor, keep: Tensor | None) -> Tensor:
        for layer in range(self.size.layers):
            weight, bias = self.parameters[f"layer{layer}.weight"], self.parameters[f"layer{layer}.bias"]
            adds = self.size.stack == "residual" and layer > 0
            read = F.layer_norm(hidden, (self.size.hidden,), eps=EPS) if adds else hidden
            out = F.linear(read, weight, bias).relu()
            out = out if keep is None else out * keep[layer]
            hidden = hidden + out if adds else out
        return hidden


def _deviation(name: str, shape: tuple[int, ...], start: str) -> float:
    if start == "seed":
        return 0.02
    if name == "embedding":
        return 1.0
    return math.sqrt((2.0 if name.startswith("layer") else 1.0) / shape[1])
