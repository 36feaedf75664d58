"""What the training loop asks of a language model, and New-LLM's answer to it.

Covers the protocol that New-LLM and its peers share, and New-LLM computed by sweeps.  Leaves out training and
everything that is said about a model.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llmlab.model.chance import kept, scale
from llmlab.model.new_llm import ContextVectorLM
from llmlab.model.replayed import ReplayedSweep
from llmlab.model.sweep import Judged, Sweep

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SWEEPS: dict[str, type[Sweep]] = {"cpu": Sweep, "cuda": ReplayedSweep}


@dataclass(frozen=True)
class Place:
    """Where in a run some rows of a batch stand: what dropout depends on."""

    seed: int
    update: int
    first_row: int = 0


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


def parameter_count(model: LanguageModel) -> int:
    """Return the exact number of a model's parameters."""
    return sum(tensor.numel() for tensor in model.parameters.values())


class SweptNewLLM:
    """New-LLM, computed by sweeps whose rooms are kept from batch to batch; on a card they are replayed.

    Args:
        model: the parameters and the dropout.
        precision: of the products in training, ``fp32`` or ``bf16``; judging is always fp32.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, model: ContextVectorLM, precision: str = "fp32", device: str = "cpu") -> None:
        self.model, self.parameters = model, model.parameters
        self.dtype, self.device = PRECISIONS[precision], device
        self.sweeps: dict[tuple[int, int, bool], Sweep] = {}

    def gradients(
        self, inputs: Tensor, targets: Tensor, *, count: int, place: Place
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``LanguageModel``."""
        size, dropout = self.model.size, self.model.dropout
        rows = range(place.first_row, place.first_row + len(inputs))
        shape = (size.layers, inputs.shape[1], size.hidden)
        keep = kept(dropout, shape, rows, seed=place.seed, update=place.update, dtype=self.dtype, device=self.device)
        return self._sweep(inputs, learns=True).gradients(
            self.parameters,
            inputs.to(self.device),
            targets.to(self.device),
            count=count,
            keep=keep,
            scale=scale(dropout),
        )

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """See ``LanguageModel``."""
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        judged = self._sweep(inputs, learns=False).judge(self.parameters, inputs, targets)
        return Judged(judged.losses.cpu(), judged.hits.cpu())

    def _sweep(self, inputs: Tensor, *, learns: bool) -> Sweep:
        batch, time = inputs.shape
        dtype = self.dtype if learns else torch.float32
        if (batch, time, learns) not in self.sweeps:
            kind = SWEEPS[torch.device(self.device).type]
            self.sweeps[batch, time, learns] = kind(self.model.size, batch, time, dtype, self.device, learns=learns)
        return self.sweeps[batch, time, learns]


def give_back_rooms(model: LanguageModel) -> None:
    """Let go of the memory in which a model computed its batches; if it is asked again, it takes new."""
    if isinstance(model, SweptNewLLM):
        model.sweeps.clear()
