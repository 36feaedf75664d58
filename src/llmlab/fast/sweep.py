"""New-LLM's loss and gradients in one sweep over the window and one back: what the plain loop gives, faster.

The recurrence forbids computing the positions of a window at once, but most of the work is not in it:

- the token's half of the first layer is one product for all positions, before the sweep;
- the output layer, two fifths of all numbers, is one product after it;
- W_D, W_F and W_I are one matrix, so each position makes one product for the three;
- the weight gradients are formed once, over all positions, after the sweep back;
- every tensor of the sweep is allocated once and written in place.

Products may be bf16 (half the bytes, two to four times the rate where the processor has the instructions); the
context, its gates, the LayerNorm and all sums of the loss stay fp32.

Dropout's factor 1 / (1 - p) costs nothing and rounds no worse in the weights that read a layer's output.  The LayerNorm
of a residual stack does not see it, if its epsilon is divided by the square.

The plain twin is ``ContextVectorLM.logits``, with autograd.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.language import EPS, Judged
from llmlab.lab.sizes import CLAMP, Size

READ_THE_TOP = ("output.weight", "gates.weight")
"""The matrices that read the output of the stack."""


class Sweep:
    """Everything that a sweep over B windows of T positions needs, allocated once, in place of position t at [t].

    Products are made in ``dtype``.  ``learns`` false leaves out what only gradients need, most of the memory: the
    layers below the top then share one position's room.
    """

    def __init__(
        self,
        size: Size,
        batch: int,
        time: int,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        *,
        learns: bool = True,
    ) -> None:
        self.size, self.batch, self.time, self.dtype, self.residual = size, batch, time, dtype, size.stack == "residual"

        def room(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        def of_layers(width: int = size.hidden, *, shared: bool = False) -> list[Tensor]:
            positions = 1 if shared else time
            return [room(positions, batch, width, dtype=dtype).expand(time, -1, -1) for _ in range(size.layers)]

        self.outputs = of_layers(shared=not learns)  # after ReLU and dropout
        if not learns and not self.residual:
            self.outputs[-1] = room(time, batch, size.hidden, dtype=dtype)
        if learns:
            self.gradients_at = of_layers()  # before ReLU
            self.slopes = of_layers()  # of ReLU and dropout: 0 or 1
        if self.residual:
            self.sums = of_layers()  # the running sum after each layer
            self.reads = of_layers(shared=not learns)  # what each layer reads of it
            self.inverse_of_reads = of_layers(1, shared=not learns)  # 1 / deviation of what it reads
        self.top = self.sums[-1] if self.residual else self.outputs[-1]

        width = size.context
        self.contexts = room(time + 1, batch, width)  # before each position, and the last
        self.products = room(time, batch, width, dtype=dtype)  # the same, rounded
        self.change = room(time, batch, width)
        self.gates = room(time, batch, 2 * width)  # forget, then write
        self.normed = room(time, batch, width)  # (s - mean) / deviation
        self.norms = size.norms()  # one part, or two that are normalised each for itself
        self.inverse = room(time, batch, len(self.norms))  # 1 / deviation of each part
        self.gate_gradients = room(time, batch, 3 * width, dtype=dtype)
        self.norm_gradients = room(time, batch, width)

    def judge(
        self, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor, context: Tensor | None = None
    ) -> Judged:
        """Return loss and hit of every target; inputs and targets are (B, T), the context to start from (B, C)."""
        with torch.no_grad():
            weights = self._weights(parameters, 1.0)
            self._forward(weights, inputs, None, 1.0, context)
            logits = self._logits(weights, self.top.flatten(0, 1))
            chosen, shape = targets.T.reshape(-1), (self.time, self.batch)
            losses = F.cross_entropy(logits, chosen, reduction="none")
            return Judged(losses.view(shape).T, (logits.argmax(1) == chosen).view(shape).T)

    def gradients(
        self,
        parameters: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        *,
        count: int,
        keep: Tensor | None = None,
        scale: float = 1.0,
        context: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summed loss divided by ``count``, and its gradient for every parameter.

        Args:
            parameters: as named by ``Size.shapes``, fp32.
            inputs: (B, T) token numbers.
            targets: (B, T); padding, 0, is not scored.
            count: number of scored targets in the whole batch, of which these rows may be a part.
            keep: (L, T, B, H), what dropout leaves: 0 or 1, in the dtype of the products.
            scale: by which what is left grows, 1 / (1 - p).
            context: (B, C) to start from; zeros if ``None``.  No gradient flows into it.
        """
        with torch.no_grad():
            weights = self._weights(parameters, scale)
            tokens = self._forward(weights, inputs, keep, scale, context)
            loss, gradients, into_stack = self._output_layer(weights, targets.T.reshape(-1), count)
            self._backward(weights, into_stack)
            gradients |= self._weight_gradients(weights, tokens, inputs, scale)
            for name in READ_THE_TOP:
                gradients[name].mul_(scale)
            return loss, gradients

    def _weights(self, parameters: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
        """Return the parameters rounded to the dtype of the products, with dropout's factor in those that read."""
        scaled = set(READ_THE_TOP)
        if not self.residual:
            scaled |= {f"layer{layer}.weight" for layer in range(1, self.size.layers)}
        return {
            name: tensor if name.startswith("norm") else (tensor * scale if name in scaled else tensor).to(self.dtype)
            for name, tensor in parameters.items()
        }

    # ---- forward ------------------------------------------------------------------------------------------------

    def _forward(
        self, weights: dict[str, Tensor], inputs: Tensor, keep: Tensor | None, scale: float, context: Tensor | None
    ) -> Tensor:
        """Fill in every position and return the embedded tokens, (T B, D)."""
        tokens = F.embedding(inputs.T.reshape(-1), weights["embedding"])
        own = F.linear(tokens, weights["layer0.weight"][:, : self.size.embedding], weights["layer0.bias"])
        by_position = own.view(self.time, self.batch, -1).unbind()
        step = self._stack_forward(weights, keep, scale)
        gate_weight, gate_bias = weights["gates.weight"].T, weights["gates.bias"]
        gain, bias, width = weights["norm.gain"], weights["norm.bias"], self.size.context
        if context is None:
            self.contexts[0].zero_()
        else:
            self.contexts[0].copy_(context)
        contexts, products, normed = self.contexts.unbind(), self.products.unbind(), self.normed.unbind()
        changes, gates, parts = self.change.unbind(), self.gates.unbind(), self._parts()
        forgets, writes = self.gates[..., :width].unbind(), self.gates[..., width:].unbind()
        for t in range(self.time):
            products[t].copy_(contexts[t])
            hidden = step(t, by_position[t], products[t])
            z = torch.addmm(gate_bias, hidden, gate_weight)  # (B, 3 C)
            changes[t].copy_(z[:, :width])
            torch.sigmoid(z[:, width:].float(), out=gates[t])
            mixed = torch.mul(forgets[t], contexts[t]).addcmul_(writes[t], changes[t])
            for part, own_normed, inverse in parts:
                own = mixed[:, part]
                own.sub_(own.mean(1, keepdim=True))
                torch.rsqrt(own.square().mean(1, keepdim=True).add_(EPS), out=inverse[t])
                torch.mul(own, inverse[t], out=own_normed[t])
            torch.addcmul(bias, gain, normed[t], out=contexts[t + 1]).clamp_(-CLAMP, CLAMP)
        return tokens

    def _stack_forward(
        self, weights: dict[str, Tensor], keep: Tensor | None, scale: float
    ) -> Callable[[int, Tensor, Tensor], Tensor]:
        """Return what takes the stack over a position: from the token's half of layer 0 and the context, to (B, H)."""
        first = weights["layer0.weight"][:, self.size.embedding :].T
        matrices = [weights[f"layer{layer}.weight"].T for layer in range(1, self.size.layers)]
        biases = [weights[f"layer{layer}.bias"] for layer in range(1, self.size.layers)]
        outputs = [layer.unbind() for layer in self.outputs]
        kept = None if keep is None else [layer.unbind() for layer in keep]
        residual, shape, eps = self.residual, (self.size.hidden,), EPS / scale**2
        if residual:
            sums, reads = [layer.unbind() for layer in self.sums], [layer.unbind() for layer in self.reads]

        def dropped(layer: int, t: int) -> Tensor:
            out = outputs[layer][t].relu_()
            return out if kept is None else out.mul_(kept[layer][t])

        def step(t: int, own: Tensor, context: Tensor) -> Tensor:
            torch.addmm(own, context, first, out=outputs[0][t])
            hidden = sums[0][t].copy_(dropped(0, t)) if residual else dropped(0, t)
            for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True), 1):
                read = hidden
                if residual:
                    normed, _, self.inverse_of_reads[layer][t] = torch.native_layer_norm(hidden, shape, None, None, eps)
                    read = reads[layer][t].copy_(normed)
                torch.addmm(bias, read, matrix, out=outputs[layer][t])
                out = dropped(layer, t)
                hidden = torch.add(hidden, out, out=sums[layer][t]) if residual else out
            return hidden

        return step

    def _parts(self) -> list[tuple[slice, tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """Return each part of the context with its room for normalised values and 1 / deviation, by position."""
        return [
            (part, self.normed[..., part].unbind(), self.inverse[..., number : number + 1].unbind())
            for number, part in enumerate(self.norms)
        ]

    def _logits(self, weights: dict[str, Tensor], hidden: Tensor) -> Tensor:
        return F.linear(hidden, weights["output.weight"], weights["output.bias"]).float()

    # ---- back ---------------------------------------------------------------------------------------------------

    def _output_layer(
        self, weights: dict[str, Tensor], targets: Tensor, count: int
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return loss, gradients of the output layer, and the gradient into the stack's output, (T, B, H)."""
        scored = targets.nonzero()[:, 0]
        hidden = self.top.flatten(0, 1)[scored]  # (scored, H)
        logs, chosen = self._logits(weights, hidden).log_softmax(1), targets[scored, None]
        loss = -logs.gather(1, chosen).sum() / count
        error = logs.exp_().scatter_add_(1, chosen, -torch.ones_like(chosen, dtype=torch.float32)).div_(count)
        rounded = error.to(self.dtype)
        into_stack = self.top.new_zeros(self.time * self.batch, self.size.hidden)
        into_stack[scored] = rounded @ weights["output.weight"]
        gradients = {"output.weight": (rounded.T @ hidden).float(), "output.bias": error.sum(0)}
        return loss, gradients, into_stack.view(self.time, self.batch, -1)

    def _backward(self, weights: dict[str, Tensor], into_stack: Tensor) -> None:
        """Go back over the positions and leave the gradients of every product's result."""
        width = self.size.context
        forget, write = self.gates[..., :width], self.gates[..., width:]
        before = self.contexts[:-1]
        # d mixed / d z, for W_D, W_F and W_I side by side
        slopes = torch.cat([write, before * forget * (1 - forget), self.change * write * (1 - write)], dim=2)
        slopes_at = slopes.view(self.time, self.batch, 3, width).unbind()
        inside = self.contexts[1:].abs() < CLAMP
        clamped = self._may_be_clamped(inside)
        back = self._stack_back(weights)
        gate_weight, first = weights["gates.weight"], weights["layer0.weight"][:, self.size.embedding :].contiguous()
        gain, forgets, parts = weights["norm.gain"], forget.unbind(), self._parts()
        gate_gradients, norm_gradients = self.gate_gradients.unbind(), self.norm_gradients.unbind()
        arriving, gradient = into_stack.unbind(), None  # the gradient of the context after position t
        for t in reversed(range(self.time)):
            hidden = arriving[t]
            if gradient is None:  # nothing reads the last context
                gate_gradients[t].zero_()
                norm_gradients[t].zero_()
            else:
                if clamped:
                    gradient.mul_(inside[t])
                norm_gradients[t].copy_(gradient)
                gradient.mul_(gain)
                into = [layer_norm_backward(gradient[:, part], own[t], inverse[t]) for part, own, inverse in parts]
                mixed = into[0] if len(into) == 1 else torch.cat(into, dim=1)
                torch.mul(mixed[:, None], slopes_at[t], out=gate_gradients[t].view(self.batch, 3, width))
                hidden = torch.addmm(hidden, gate_gradients[t], gate_weight)
                gradient = mixed.mul_(forgets[t])
            reached = torch.mm(back(t, hidden), first).float()
            gradient = reached if gradient is None else gradient.add_(reached)

    def _may_be_clamped(self, inside: Tensor) -> bool:
        """Return whether any context stands at the clamp; nearly always none does, which spares a product."""
        return not bool(inside.all())

    def _stack_back(self, weights: dict[str, Tensor]) -> Callable[[int, Tensor], Tensor]:
        """Return what takes a gradient at a position back from the stack's output to layer 0, before its ReLU."""
        # an output is above zero where ReLU passed and dropout kept; it is never below
        for output, slope in zip(self.outputs, self.slopes, strict=True):
            torch.sign(output, out=slope)
        matrices = [weights[f"layer{layer}.weight"] for layer in range(1, self.size.layers)]
        gradients = [layer.unbind() for layer in self.gradients_at]
        slopes = [layer.unbind() for layer in self.slopes]

        def step(t: int, gradient: Tensor) -> Tensor:
            for layer in range(self.size.layers - 1, 0, -1):
                own = torch.mul(gradient, slopes[layer][t], out=gradients[layer][t])
                into_read = torch.mm(own, matrices[layer - 1])
                if self.residual:
                    normed, inverse = self.reads[layer][t], self.inverse_of_reads[layer][t]
                    gradient = gradient + layer_norm_backward(into_read, normed, inverse)
                else:
                    gradient = into_read
            return torch.mul(gradient, slopes[0][t], out=gradients[0][t])

        return step

    def _weight_gradients(
        self, weights: dict[str, Tensor], tokens: Tensor, inputs: Tensor, scale: float
    ) -> dict[str, Tensor]:
        """Return the gradients of all but the output layer, each one product over all positions."""
        first, *deeper = (layer.flatten(0, 1) for layer in self.gradients_at)  # (T B, H) each
        over_gates = self.gate_gradients.flatten(0, 1)
        into_tokens = first @ weights["layer0.weight"][:, : self.size.embedding]
        embedding = torch.zeros(self.size.vocabulary, self.size.embedding, device=tokens.device)
        embedding.index_add_(0, inputs.T.reshape(-1), into_tokens.float())
        both = torch.cat([tokens, self.products.flatten(0, 1)], dim=1)  # (T B, D + C)
        found = {
            "embedding": embedding,
            "layer0.weight": (first.T @ both).float(),
            "layer0.bias": first.float().sum(0),
            "gates.weight": (over_gates.T @ self.top.flatten(0, 1)).float(),
            "gates.bias": over_gates.float().sum(0),
            "norm.gain": (self.norm_gradients * self.normed).sum((0, 1)),
            "norm.bias": self.norm_gradients.sum((0, 1)),
        }
        for layer, own in enumerate(deeper, 1):
            read = (self.reads[layer] if self.residual else self.outputs[layer - 1]).flatten(0, 1)
            found[f"layer{layer}.weight"] = (own.T @ read).float().mul_(1.0 if self.residual else scale)
            found[f"layer{layer}.bias"] = own.float().sum(0)
        return found


def layer_norm_backward(gradient: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of a LayerNorm's input, (B, H), from that of its output, the output and 1 / deviation."""
    along = (gradient * normed).mean(1, keepdim=True)
    return (gradient - gradient.mean(1, keepdim=True)).addcmul_(normed, along, value=-1.0).mul_(inverse)
