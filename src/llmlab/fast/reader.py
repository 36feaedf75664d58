"""New-LLM reading one token after another, the way it writes: state in, state out, nothing else remembered.

The same numbers as ``ContextVectorLM.step`` on one row, faster: the token's half of the first layer is looked up in
a table made once, (V, H), and every product is one of a matrix with a vector.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.fast.swept import NewLLM
from llmlab.lab.language import EPS
from llmlab.lab.sizes import CLAMP


class Reader:
    """One row of New-LLM, whose parameters are not to change afterwards."""

    def __init__(self, model: NewLLM) -> None:
        self.size, self.parameters = model.size, model.parameters
        first = model.parameters["layer0.weight"]
        own = first[:, : model.size.embedding]
        self.own = F.linear(model.parameters["embedding"], own, model.parameters["layer0.bias"])  # (V, H)
        self.first = first[:, model.size.embedding :].contiguous()

    def step(self, token: int, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the next token, (V,), and the context after this one, from the one before it: (C,)."""
        p = self.parameters
        hidden = self._stack(torch.addmv(self.own[token], self.first, context).relu_())
        logits = torch.addmv(p["output.bias"], p["output.weight"], hidden)
        change, forget, write = torch.addmv(p["gates.bias"], p["gates.weight"], hidden).chunk(3)
        mixed = forget.sigmoid() * context + write.sigmoid() * change
        normed = F.layer_norm(mixed, (self.size.context,), p["norm.gain"], p["norm.bias"], EPS)
        return logits, normed.clamp(-CLAMP, CLAMP)

    def _stack(self, hidden: Tensor) -> Tensor:
        """Take the first layer's output through the others, (H,)."""
        for layer in range(1, self.size.layers):
            weight, bias = self.parameters[f"layer{layer}.weight"], self.parameters[f"layer{layer}.bias"]
            if self.size.stack == "residual":
                read = F.layer_norm(hidden, (self.size.hidden,), eps=EPS)
                hidden = hidden + torch.addmv(bias, weight, read).relu_()
            else:
                hidden = torch.addmv(bias, weight, hidden).relu_()
        return hidden
