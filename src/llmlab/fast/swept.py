"""New-LLM as the training loop wants it: computed by sweeps, on a card by recorded ones.

Covers the choice of the sweep, its dropout and its buffers.  Leaves out the sweep itself: ``fast.sweep``.
"""

import torch
from torch import Tensor

from llmlab.fast.replayed import ReplayedSweep
from llmlab.fast.sweep import Sweep
from llmlab.lab.language import PRECISIONS, Judged, NewLLM, Place
from llmlab.lab.rng import kept, scale

SWEEPS: dict[str, type[Sweep]] = {"cpu": Sweep, "cuda": ReplayedSweep}


class SweptNewLLM:
    """New-LLM, computed by sweeps whose buffers are kept from batch to batch; on a card they are replayed.

    Args:
        model: the parameters and the dropout.
        precision: of the products in training, ``fp32`` or ``bf16``; judging is always fp32.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, model: NewLLM, precision: str = "fp32", device: str = "cpu") -> None:
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
