"""Weights as whole numbers of eight bits and a scale: a quarter of the bytes.

    scale = max|w| / 127,    n = round(w / scale),    w' = n * scale,    so |w - w'| <= scale / 2

A whole tensor has one scale, or each row its own (a row of weights makes one output number).  The scale is rounded up
to 17 binary digits, by less than 0.002 %: n * scale is then exact in fp32, and to quantise again changes nothing.

Covers tensors, and New-LLM with its linear weights so kept, dequantised to fp32 at each use.  Biases, LayerNorm and
the context stay fp32.  Leaves out products of whole numbers, and files.

Source: seed document 001, which plans it with one scale per tensor.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmlab.lab.sizes import Size
from llmlab.model.new_llm import ContextVectorLM

LEVELS = 127
SCALE_BITS = 17
"""With the 7 bits of n they fill the 24 of a float."""

SMALLEST, LARGEST = 2.0**-100, LEVELS * 2.0**120
"""The smallest scale, and the largest weight: between them no product leaves the range of fp32."""

SCHEMES = ("row", "tensor")


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix as ``numbers``, (R, C) int8, and ``scale``, (R, 1) or (1, 1) fp32."""

    numbers: Tensor
    scale: Tensor

    def tensor(self) -> Tensor:
        """Return the matrix that the numbers stand for, (R, C) fp32."""
        return self.numbers.float() * self.scale

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers and of the scale."""
        return self.numbers.numel() + 4 * self.scale.numel()


def quantize(weight: Tensor, scheme: str = "row") -> QuantizedMatrix:
    """Return a matrix in eight bits.

    Args:
        weight: (R, C).
        scheme: ``row`` gives each row its scale, ``tensor`` gives all of them one.

    Raises:
        ValueError: a weight is not finite, or larger than ``LARGEST``, about 1.7e38.
    """
    size = weight.double().abs()
    if not bool((size <= LARGEST).all()):
        raise ValueError(f"a weight is not finite, or beyond {LARGEST:.1e}")
    largest = size.amax(1, keepdim=True) if scheme == "row" else size.amax().view(1, 1)
    fraction, exponent = torch.frexp(largest / LEVELS)
    scale = torch.ldexp((fraction * 2**SCALE_BITS).ceil() / 2**SCALE_BITS, exponent).clamp_min(SMALLEST)
    return QuantizedMatrix((weight.double() / scale).round().to(torch.int8), scale.float())


def to_quantize(parameters: dict[str, Tensor], *, embedding: bool = False) -> list[str]:
    """Return the names of the linear layers' matrices, and of the embedding if it is wanted."""
    return [
        name for name, tensor in parameters.items() if tensor.dim() == 2 and (embedding or not name.startswith("emb"))
    ]


class QuantizedLM:
    """New-LLM with some matrices in eight bits, dequantised to fp32 at each use.

    Args:
        size: the sizes.
        kept: the parameters that stay fp32.
        matrices: the others.
    """

    def __init__(self, size: Size, kept: dict[str, Tensor], matrices: dict[str, QuantizedMatrix]) -> None:
        self.size, self.kept, self.matrices = size, kept, matrices

    @classmethod
    def of(cls, model: ContextVectorLM, scheme: str = "row", *, embedding: bool = False) -> "QuantizedLM":
        """Return a model quantised; see ``quantize`` and ``to_quantize``."""
        chosen = to_quantize(model.parameters, embedding=embedding)
        return cls(
            model.size,
            {name: tensor for name, tensor in model.parameters.items() if name not in chosen},
            {name: quantize(model.parameters[name], scheme) for name in chosen},
        )

    def dequantized(self) -> ContextVectorLM:
        """Return the model with all parameters in fp32, computed now."""
        wide = {name: part.tensor() for name, part in self.matrices.items()}
        return ContextVectorLM(self.size, {name: (self.kept | wide)[name] for name in self.size.shapes()})

    def step(self, tokens: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Read one token per row; see ``ContextVectorLM.step``."""
        return self.dequantized().step(tokens, context)

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers, scales included."""
        kept = sum(tensor.numel() * tensor.element_size() for tensor in self.kept.values())
        return kept + sum(part.nbytes for part in self.matrices.values())

    def state(self) -> dict[str, Any]:
        """Return the parameters as they are kept in a checkpoint."""
        parts = {name: {"numbers": part.numbers, "scale": part.scale} for name, part in self.matrices.items()}
        return {"model": self.kept, "int8": parts}


def dequantized(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return all parameters of a checkpoint in fp32, whether or not some are kept in eight bits.

    Raises:
        KeyError, TypeError, ValueError: they are neither of the two.
    """
    found: dict[str, Tensor] = dict(state["model"])
    for name, part in dict(state.get("int8", {})).items():
        numbers, scale = part["numbers"], part["scale"]
        if numbers.dtype != torch.int8 or numbers.dim() != 2 or scale.shape not in {(1, 1), (len(numbers), 1)}:
            raise ValueError(f"{name} is no matrix in eight bits")
        found[name] = QuantizedMatrix(numbers, scale).tensor()
    return found
