"""ContextBlock and TokenBlock: one stack writes the memory, another one reads it and predicts.

With x_t the normalised embedding of token t (of the last M tokens side by side, the newest last), and N layers each:

    context layer k    ctx^(k) = LayerNorm( P_k ctx^(k-1) + ReLU( A_k [ctx^(k-1) ; x_t] + a_k ) )    ctx^(0) = ctx_(t-1)
    token layer k      y^(k)   = LayerNorm( P'_k y^(k-1)  + ReLU( C_k [ctx^(k) ; y^(k-1)] + c_k ) )    y^(0)   = x_t

The context after token t is the last context layer's output.  P is the identity where the width stays, and a learned
linear map where it changes.

Covers sizes, names, counts and start of both blocks, one step of each, and the plain loop over a text, token by token,
that a reader can check against these equations.  Leaves out speed: ``fixed_contexts`` runs the ContextBlock over a long
text, ``fixed_context_lm`` trains the TokenBlock.

Source: seed documents 002 and 004, and sections 8 to 10 of their code.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.rng import generator

EPS = 1e-5
WEIGHT_DEVIATION, BIAS_DEVIATION = 0.1, 0.01


@dataclass(frozen=True)
class BlockSize:
    """The sizes of a ContextBlock and of the TokenBlock beside it.

    ``inputs`` is the number M of tokens that are read at once.  ``token_in`` says which context layers read them:
    ``every``, or the ``first`` only.  ``widths`` of the context layers' outputs: ``constant``, or ``decreasing`` in
    equal steps from context and tokens together down to the context.  ``layerwise`` gives token layer k the output of
    context layer k; otherwise all token layers get the context, the last one's output.

    The seed has ``every`` with ``constant`` and ``first`` with ``decreasing``.  In the other two corners, ``every``
    adds the tokens to what each layer reads, and ``widths`` sets what each layer writes, just the same.
    """

    embedding: int = 768
    context: int = 768
    layers: int = 6
    inputs: int = 1
    token_in: str = "every"  # noqa: S105 - a place, no secret
    widths: str = "constant"
    layerwise: bool = True

    @property
    def read(self) -> int:
        """Width of x, the last M tokens side by side."""
        return self.embedding * self.inputs

    def context_widths(self) -> list[int]:
        """Return the width of each context layer's output; the last is the context's.

        Example:
            >>> BlockSize(token_in="first", widths="decreasing").context_widths()
            [1408, 1280, 1152, 1024, 896, 768]
        """
        if self.widths == "constant":
            return [self.context] * self.layers
        return [self.context + self.read - self.read * k // self.layers for k in range(1, self.layers + 1)]

    def token_widths(self) -> list[int]:
        """Return the width of each token layer's output; the last is the embedding's."""
        if self.widths == "constant":
            return [self.embedding] * self.layers
        extra = self.read - self.embedding
        return [self.read - extra * k // self.layers for k in range(1, self.layers + 1)]

    def given_widths(self) -> list[int]:
        """Return the width of the context that each token layer is given."""
        return self.context_widths() if self.layerwise else [self.context] * self.layers

    def reads_tokens(self, layer: int) -> bool:
        """Return whether a context layer, counted from 0, reads the tokens."""
        return layer == 0 or self.token_in == "every"  # noqa: S105 - a place, no secret

    def context_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter of the ContextBlock by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        width = self.context
        for layer, out in enumerate(self.context_widths()):
            reads = width + (self.read if self.reads_tokens(layer) else 0)
            shapes |= _layer_shapes(f"context{layer}", reads, out, residual=width)
            width = out
        return shapes

    def token_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter of the TokenBlock by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        width = self.read
        for layer, (given, out) in enumerate(zip(self.given_widths(), self.token_widths(), strict=True)):
            # where widths are constant, only the newest of several tokens is added to the first layer's output
            residual = width if self.widths == "decreasing" else self.embedding
            shapes |= _layer_shapes(f"token{layer}", given + width, out, residual)
            width = out
        return shapes

    def context_parameters(self) -> int:
        """Return the exact number of the ContextBlock's parameters; 7,091,712 for the seed's sizes."""
        return sum(math.prod(shape) for shape in self.context_shapes().values())

    def token_parameters(self) -> int:
        """Return the exact number of the TokenBlock's parameters; 7,091,712 for the seed's sizes."""
        return sum(math.prod(shape) for shape in self.token_shapes().values())


def _layer_shapes(name: str, reads: int, out: int, residual: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, reads), f"{name}.bias": (out,)}
    if residual != out:
        shapes |= {f"{name}.projection.weight": (out, residual), f"{name}.projection.bias": (out,)}
    return shapes | {f"{name}.norm.gain": (out,), f"{name}.norm.bias": (out,)}


def initial(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return fresh parameters: weights N(0, 0.1^2), biases N(0, 0.01^2), LayerNorms that change nothing.

    What a parameter starts with depends on its name, its shape and the seed, so no other parameter can move it.
    """
    parameters: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith("norm.gain"):
            parameters[name] = torch.ones(shape)
        elif name.endswith("norm.bias"):
            parameters[name] = torch.zeros(shape)
        else:
            deviation = WEIGHT_DEVIATION if len(shape) > 1 else BIAS_DEVIATION
            parameters[name] = torch.randn(shape, generator=generator(name, seed)) * deviation
    return parameters


def is_rounded(name: str) -> bool:
    """Return whether a parameter enters products, and may be rounded to their dtype; LayerNorms do not."""
    return "norm." not in name


def rounded(parameters: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return parameters with all that enters products in another dtype."""
    return {name: tensor.to(dtype) if is_rounded(name) else tensor for name, tensor in parameters.items()}


def context_outputs(
    size: BlockSize,
    parameters: dict[str, Tensor],
    context: Tensor,
    x: Tensor,
    dtype: torch.dtype = torch.float32,
    layers: int | None = None,
) -> list[Tensor]:
    """Run the ContextBlock over one token per row.

    Args:
        size: the sizes.
        parameters: as named by ``BlockSize.context_shapes``; what ``rounded`` returns is not rounded again.
        context: (B, c), before the token.
        x: (B, M d), the normalised embeddings of the last M tokens.
        dtype: of the products; sums and LayerNorm are those of ``context``.
        layers: how many of the layers to run; ``None`` for all.

    Returns:
        The output of each layer, (B, w_k); the last of all is the context after the token.
    """
    outputs: list[Tensor] = []
    for layer, width in enumerate(size.context_widths()[:layers]):
        read = torch.cat([context, x], dim=1) if size.reads_tokens(layer) else context
        context = _layer(parameters, f"context{layer}", read, context, width, dtype)
        outputs.append(context)
    return outputs


def token_output(
    size: BlockSize,
    parameters: dict[str, Tensor],
    contexts: list[Tensor],
    x: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Run the TokenBlock over one token per row.

    Args:
        size: the sizes.
        parameters: as named by ``BlockSize.token_shapes``; what ``rounded`` returns is not rounded again.
        contexts: for each layer the context it is given, (B, w_k); see ``given``.
        x: (B, M d), the normalised embeddings of the last M tokens.
        dtype: of the products; sums and LayerNorm are those of ``x``.

    Returns:
        (B, d), for the head.
    """
    y = x
    for layer, (context, width) in enumerate(zip(contexts, size.token_widths(), strict=True)):
        residual = y[:, -size.embedding :] if size.widths == "constant" else y  # the newest token's
        y = _layer(parameters, f"token{layer}", torch.cat([context, y], dim=1), residual, width, dtype)
    return y


def given(size: BlockSize, outputs: list[Tensor]) -> list[Tensor]:
    """Return what each token layer is given of the context layers' outputs: its own one, or the last."""
    return outputs if size.layerwise else outputs[-1:] * size.layers


def _layer(
    parameters: dict[str, Tensor], name: str, read: Tensor, residual: Tensor, width: int, dtype: torch.dtype
) -> Tensor:
    def product(matrix: str, vector: Tensor) -> Tensor:
        weight, bias = parameters[f"{name}.{matrix}weight"], parameters[f"{name}.{matrix}bias"]
        if not vector.dtype == weight.dtype == bias.dtype == dtype:  # casts that change nothing take time too
            vector, weight, bias = vector.to(dtype), weight.to(dtype), bias.to(dtype)
        return F.linear(vector, weight, bias)

    if residual.shape[1] != width:
        residual = product("projection.", residual).to(residual.dtype)
    summed = residual + product("", read).relu()
    return F.layer_norm(summed, (width,), parameters[f"{name}.norm.gain"], parameters[f"{name}.norm.bias"], EPS)


def normalised(rows: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
    """Return embedding rows after LayerNorm, with the trained ``norm.gain`` and ``norm.bias`` if there are any."""
    gain, bias = (parameters["norm.gain"], parameters["norm.bias"]) if parameters else (None, None)
    return F.layer_norm(rows, rows.shape[-1:], gain, bias, EPS)


def logits_by_token(
    size: BlockSize,
    frozen: dict[str, Tensor],
    parameters: dict[str, Tensor],
    ids: Tensor,
    *,
    when: str = "after",
) -> Iterator[Tensor]:
    """Yield the logits after each token of a text, by the plain loop; (V,) each.

    Args:
        size: the sizes.
        frozen: the ContextBlock and ``embedding``, (V, d), as the contexts read it.
        parameters: the TokenBlock, ``norm.gain`` and ``norm.bias``; ``embedding`` if that is trained, ``head.weight``
            and ``head.bias`` if the head is not tied to it.  Gradients flow into these, and into no context.
        ids: (n,) token numbers.
        when: the token layers see the context ``after`` their token, or ``before`` it.
    """
    embedding = parameters.get("embedding", frozen["embedding"])
    head, bias = parameters.get("head.weight", embedding), parameters.get("head.bias")
    fixed = embedding.new_zeros(size.inputs, size.embedding)  # what the contexts read of the last M tokens
    own = fixed  # what the token layers read
    outputs = [embedding.new_zeros(1, width) for width in size.context_widths()]
    for token in ids.tolist():
        before = outputs
        with torch.no_grad():
            fixed = torch.cat([fixed[1:], normalised(frozen["embedding"][[token]])])
            outputs = context_outputs(size, frozen, before[-1], fixed.view(1, -1))
        own = torch.cat([own[1:], normalised(embedding[[token]], parameters)])
        seen = given(size, outputs if when == "after" else before)
        y = token_output(size, parameters, seen, own.view(1, -1))
        yield F.linear(y, head, bias)[0]
