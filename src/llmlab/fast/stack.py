"""The stack of hidden layers inside the sweep: forward and back, one position at a time.

Covers the plain stack (each layer replaces) and the residual one (each layer adds, reading through a LayerNorm
without parameters), with everything that is needed later kept in place.  Leaves out the recurrence: ``sweep``.

Dropout's factor 1 / (1 - p) is not in here: whoever reads a layer's output has it in the weights that read, where
it costs nothing and rounds no worse.  A LayerNorm does not see it, if its epsilon is divided by the square.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from llmlab.lab.sizes import EPS, Size

Forward = Callable[[int, Tensor, Tensor], Tensor]
"""position, token's half of layer 0 (B, H), context (B, C) -> the stack's output (B, H)"""

Backward = Callable[[int, Tensor], Tensor]
"""position, gradient of the stack's output (B, H) -> gradient of layer 0 before its ReLU (B, H)"""


class Stack:
    """Outputs and gradients of L layers at T positions of B rows, allocated once.

    ``learns`` false keeps only what the logits need: the layers below the top then share one position's room.
    """

    def __init__(
        self, size: Size, batch: int, time: int, dtype: torch.dtype, device: str, *, learns: bool = True
    ) -> None:
        self.size, self.residual = size, size.stack == "residual"

        def rooms(width: int = size.hidden, *, shared: bool = False) -> list[Tensor]:
            positions = 1 if shared else time
            room = [torch.zeros(positions, batch, width, dtype=dtype, device=device) for _ in range(size.layers)]
            return [tensor.expand(time, -1, -1) for tensor in room]

        self.outputs = rooms(shared=not learns)  # after ReLU and dropout
        if not learns and not self.residual:
            self.outputs[-1] = torch.zeros(time, batch, size.hidden, dtype=dtype, device=device)
        if learns:
            self.gradients = rooms()  # before ReLU
            self.slopes = rooms()  # of ReLU and dropout: 0 or 1
        if self.residual:
            self.sums = rooms()  # the running sum after each layer
            self.reads = rooms(shared=not learns)  # what each layer reads of it
            self.inverse = rooms(1, shared=not learns)  # 1 / deviation of what it reads

    def top(self) -> Tensor:
        """Return the stack's output at every position, (T, B, H)."""
        return self.sums[-1] if self.residual else self.outputs[-1]

    def gradient_of(self, layer: int) -> Tensor:
        """Return the gradient of a layer's sums before ReLU at every position, (T B, H)."""
        return self.gradients[layer].flatten(0, 1)

    def steps(self, weights: dict[str, Tensor], keep: Tensor | None, scale: float) -> Forward:
        """Return the function that takes the stack over one position.

        Args:
            weights: in the dtype of the products, with ``scale`` in those that read a layer's output.
            keep: (L, T, B, H), 0 or 1, or ``None``.
            scale: dropout's factor, 1 / (1 - p).
        """
        first = weights["layer0.weight"][:, self.size.embedding :].T
        matrices = [weights[f"layer{layer}.weight"].T for layer in range(1, self.size.layers)]
        biases = [weights[f"layer{layer}.bias"] for layer in range(1, self.size.layers)]
        outputs = [layer.unbind() for layer in self.outputs]
        kept = None if keep is None else [layer.unbind() for layer in keep]

        def dropped(layer: int, t: int) -> Tensor:
            out = outputs[layer][t].relu_()
            return out if kept is None else out.mul_(kept[layer][t])

        def plain(t: int, own: Tensor, context: Tensor) -> Tensor:
            torch.addmm(own, context, first, out=outputs[0][t])
            hidden = dropped(0, t)
            for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True), 1):
                torch.addmm(bias, hidden, matrix, out=outputs[layer][t])
                hidden = dropped(layer, t)
            return hidden

        if not self.residual:
            return plain
        sums, reads = [layer.unbind() for layer in self.sums], [layer.unbind() for layer in self.reads]
        shape, eps = (self.size.hidden,), EPS / scale**2

        def residual(t: int, own: Tensor, context: Tensor) -> Tensor:
            torch.addmm(own, context, first, out=outputs[0][t])
            hidden = sums[0][t].copy_(dropped(0, t))
            for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True), 1):
                read, _, self.inverse[layer][t] = torch.native_layer_norm(hidden, shape, None, None, eps)
                torch.addmm(bias, reads[layer][t].copy_(read), matrix, out=outputs[layer][t])
                hidden = torch.add(hidden, dropped(layer, t), out=sums[layer][t])
            return hidden

        return residual

    def steps_back(self, weights: dict[str, Tensor]) -> Backward:
        """Return the function that takes a gradient back through the stack at one position."""
        # an output is above zero where ReLU passed and dropout kept; it is never below
        for output, slope in zip(self.outputs, self.slopes, strict=True):
            torch.sign(output, out=slope)
        matrices = [weights[f"layer{layer}.weight"] for layer in range(1, self.size.layers)]
        gradients = [layer.unbind() for layer in self.gradients]
        slopes = [layer.unbind() for layer in self.slopes]

        def plain(t: int, gradient: Tensor) -> Tensor:
            for layer in range(self.size.layers - 1, 0, -1):
                gradient = torch.mm(torch.mul(gradient, slopes[layer][t], out=gradients[layer][t]), matrices[layer - 1])
            return torch.mul(gradient, slopes[0][t], out=gradients[0][t])

        if not self.residual:
            return plain
        reads, inverse = [layer.unbind() for layer in self.reads], self.inverse

        def residual(t: int, gradient: Tensor) -> Tensor:
            for layer in range(self.size.layers - 1, 0, -1):
                own = torch.mul(gradient, slopes[layer][t], out=gradients[layer][t])
                into_read = torch.mm(own, matrices[layer - 1])
                gradient = gradient + layer_norm_backward(into_read, reads[layer][t], inverse[layer][t])
            return torch.mul(gradient, slopes[0][t], out=gradients[0][t])

        return residual

    def weight_gradients(self, scale: float) -> dict[str, Tensor]:
        """Return the gradients of all layers but the first, whose input the recurrence knows."""
        found: dict[str, Tensor] = {}
        for layer in range(1, self.size.layers):
            own = self.gradient_of(layer)
            read = (self.reads[layer] if self.residual else self.outputs[layer - 1]).flatten(0, 1)
            factor = 1.0 if self.residual else scale
            found[f"layer{layer}.weight"] = (own.T @ read).float().mul_(factor)
            found[f"layer{layer}.bias"] = own.float().sum(0)
        return found


def layer_norm_backward(gradient: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of a LayerNorm's input.

    Args:
        gradient: of its normalised output, (B, H).
        normed: that output, (B, H).
        inverse: 1 / deviation of its input, (B, 1).
    """
    along = (gradient * normed).mean(1, keepdim=True)
    return (gradient - gradient.mean(1, keepdim=True)).addcmul_(normed, along, value=-1.0).mul_(inverse)
