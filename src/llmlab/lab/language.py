"""What the training loop asks of a language model.

Covers the protocol that New-LLM, its peers and the token block share, and what the fast twins of New-LLM read.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llmlab.lab.sizes import Size

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Place:
    """Where in a run some rows of a batch stand: what dropout depends on."""

    seed: int
    update: int
    first_row: int = 0


@dataclass(frozen=True)
class Judged:
    """What a model says of every target: its loss in nats and whether it was the likeliest, (B, T) each."""

    losses: Tensor
    hits: Tensor


class LanguageModel(Protocol):
    """A model that predicts each next token of windows.

    ``parameters`` are fp32 tensors by name, which the training loop changes in place.
    """

    parameters: dict[str, Tensor]

    def gradients(
        self, inputs: Tensor, targets: Tensor, *, count: int, place: Place
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the (B, T) targets but padding, summed and divided by ``count``, and its gradients."""

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """Return loss and hit of every target, in fp32 and without dropout."""


class NewLLM(Protocol):
    """What a fast twin reads of New-LLM, which is ``baseline.ContextVectorLM``: sizes, parameters by name, dropout."""

    size: Size
    parameters: dict[str, Tensor]
    dropout: float


def parameter_count(model: LanguageModel) -> int:
    """Return the exact number of a model's parameters."""
    return sum(tensor.numel() for tensor in model.parameters.values())
