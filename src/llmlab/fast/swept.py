"""New-LLM as the training loop wants it: computed by sweeps, on a card without the cost of launching each kernel.

A training step of the original notes' model makes 2,146 small calls forward and 1,643 back, one after the other because
of the recurrence, and a card is done with one before the processor has launched the next.  A sweep's rooms stay where
they are, so its kernels can be recorded once as a CUDA graph and launched together ever after: forward, and back.  The
output layer between them is a few large kernels, whose number of rows changes from batch to batch.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from llmlab.fast.sweep import Sweep
from llmlab.lab.language import PRECISIONS, Judged, Place
from llmlab.lab.rng import kept, scale
from llmlab.lab.sizes import Size

Given = dict[str, Tensor]
Key = tuple[str | float, ...]

WARM_UP = 3
"""Calls before the recording, in which libraries set themselves up: nothing may be set up while a card records."""


class NewLLM(Protocol):
    """What a fast twin reads of New-LLM, which is ``baseline.ContextVectorLM``: sizes, parameters by name, dropout."""

    size: Size
    parameters: dict[str, Tensor]
    dropout: float


class Recording:
    """Work whose kernels are recorded and launched now, and launched together at every later call.

    Args:
        work: reads the tensors that it is given, and others that stay where they are; it must not read their values
            on the CPU, and doing it twice must be the same as doing it once.
        given: tensors such as all calls will have: their shapes and dtypes never change.
    """

    def __init__(self, work: Callable[[Given], Tensor], given: Given) -> None:
        self.given = {name: tensor.clone() for name, tensor in given.items()}
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                work(self.given)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        # a stream of its own: the one that torch would take belongs to the first card that recorded
        with torch.cuda.graph(self.graph, stream=aside):
            self.result = work(self.given)
        self.graph.replay()

    def replay(self, given: Given) -> None:
        """Do the work with these tensors; the result is overwritten in its place."""
        for name, tensor in self.given.items():
            tensor.copy_(given[name])
        self.graph.replay()


class ReplayedSweep(Sweep):
    """A ``Sweep`` on a card, whose ways forward and back are recorded at their first call and replayed from then on."""

    @cached_property
    def recordings(self) -> dict[Key, Recording]:
        """What was recorded, by which way it is and what besides the tensors' numbers it depends on."""
        return {}

    def _forward(
        self, weights: dict[str, Tensor], inputs: Tensor, keep: Tensor | None, scale: float, context: Tensor | None
    ) -> Tensor:
        given = {"inputs": inputs, "keep": keep, "context": context}
        there = {name: tensor for name, tensor in given.items() if tensor is not None}
        run = super()._forward

        def work(given: Given) -> Tensor:
            return run(given, given["inputs"], given.get("keep"), scale, given.get("context"))

        return self._replayed(("forward", scale, *there), work, weights | there)

    def _backward(self, weights: dict[str, Tensor], into_stack: Tensor) -> None:
        run = super()._backward

        def work(given: Given) -> Tensor:
            run(given, given["into_stack"])
            return self.gate_gradients

        self._replayed(("back",), work, weights | {"into_stack": into_stack})

    def _may_be_clamped(self, inside: Tensor) -> bool:
        """Say yes without a look: a recording serves every batch, and where nothing was clamped 1 is multiplied by."""
        return True

    def _replayed(self, key: Key, work: Callable[[Given], Tensor], given: Given) -> Tensor:
        if key in self.recordings:
            self.recordings[key].replay(given)
        else:
            self.recordings[key] = Recording(work, given)
        return self.recordings[key].result


SWEEPS: dict[str, type[Sweep]] = {"cpu": Sweep, "cuda": ReplayedSweep}


class SweptNewLLM:
    """New-LLM, computed by sweeps whose buffers are kept from batch to batch; on a card they are replayed.

    The precision, ``fp32`` or ``bf16``, is of the products in training; judging is always fp32.
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
