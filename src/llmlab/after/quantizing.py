"""What quantising a New-LLM costs and saves, as numbers.

Covers bytes as they are written, scores, the way of the context, the error of each weight, and time.  Leaves out what
is said about them: ``quantize``.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from llmlab.after.opening import Restored
from llmlab.after.quantized import QuantizedLM
from llmlab.fast.sweep import Sweep
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import packed
from llmlab.lab.judging import evaluate
from llmlab.measure.score import Score, document_difference
from llmlab.model.new_llm import ContextVectorLM
from llmlab.text.windows import WindowedText
from llmlab.text.words import PAD

ROUNDS = 15
STEPS = 32
"""How many tokens are read for one measurement of a token's time."""

BATCHES = (1, 32)
DRIFT_ROWS = 128


@dataclass(frozen=True)
class StoredModel:
    """A model as it is stored: in fp32, or in int8 with scales by row or tensor."""

    name: str
    model: ContextVectorLM  # dequantised
    score: Score
    nbytes: int  # of the numbers
    file: memoryview
    quantized: QuantizedLM | None = None


def stored_model(
    found: Restored,
    exact: ContextVectorLM,
    scheme: str,
    text: WindowedText,
    batch: int,
    *,
    embedding: bool = False,
    between: Callable[[], None] | None = None,
) -> StoredModel:
    """Return a model as it is stored, its file and its score.

    Args:
        found: whose it is.
        exact: the model in fp32.
        scheme: ``fp32``, ``row`` or ``tensor``.
        text: whose validation windows it is scored on.
        batch: of the batch mean.
        embedding: whether the embedding is quantised too.
        between: called after each part of the windows.

    Raises:
        CheckpointError: a loss is not finite.
    """
    quantized = None if scheme == "fp32" else QuantizedLM.of(exact, scheme, embedding=embedding)
    model = quantized.dequantized() if quantized else exact
    score = evaluate(SweptNewLLM(model), text.valid, batch, between, documents=text.valid_documents)
    numbers = quantized.nbytes if quantized else sum(4 * tensor.numel() for tensor in exact.parameters.values())
    parameters = quantized.state() if quantized else {"model": exact.parameters}
    return StoredModel(scheme, model, score, numbers, packed(identity(found) | parameters), quantized)


def identity(found: Restored) -> dict[str, Any]:
    """Return what a file says of a model beside its numbers: all that ``opening.restored`` asks for."""
    return {
        "settings": found.settings.document() | {"data": found.settings.data},
        "seed": found.seed,
        "text": found.text,
        "vocabulary": list(found.vocabulary.words),
        "progress": {"history": found.history},
    }


def context_errors(exact: ContextVectorLM, quantized: ContextVectorLM, windows: Tensor) -> list[float]:
    """Return how far the context is from the exact one after each position, as a share of its length.

    The mean over windows, (N, L), of those positions that are not padding.
    """
    inputs, targets = windows[:DRIFT_ROWS, :-1], windows[:DRIFT_ROWS, 1:]
    ways = [_contexts(model, inputs, targets) for model in (exact, quantized)]  # (T, B, C) each
    share = (ways[1] - ways[0]).norm(dim=2) / ways[0].norm(dim=2).clamp_min(1e-12)  # (T, B)
    there = inputs.T != PAD
    counted = there.sum(1)
    means = (share * there).sum(1) / counted.clamp_min(1)
    return [float(mean) for mean, rows in zip(means, counted, strict=True) if rows]


def _contexts(model: ContextVectorLM, inputs: Tensor, targets: Tensor) -> Tensor:
    sweep = Sweep(model.size, *inputs.shape, learns=False)
    sweep.judge(model.parameters, inputs, targets)
    return sweep.contexts[1:].clone()


def biggest_errors(
    exact: ContextVectorLM, models: list[StoredModel]
) -> list[tuple[str, tuple[int, ...], float, list[float]]]:
    """Return of each quantised matrix its name, shape, largest weight, and largest error in each stored model."""
    names = models[0].quantized.matrices if models[0].quantized else {}
    found = []
    for name in names:
        weight = exact.parameters[name]
        errors = [float((one.model.parameters[name] - weight).abs().max()) for one in models]
        found.append((name, tuple(weight.shape), float(weight.abs().max()), errors))
    return found


@dataclass(frozen=True)
class Times:
    """Medians in milliseconds: of one token or one window, at one batch."""

    what: str
    batch: int
    fp32: float
    int8: float

    @property
    def ratio(self) -> float:
        """How many times longer int8 takes."""
        return self.int8 / self.fp32


@dataclass(frozen=True)
class Quantization:
    """All that was measured: the three ways of storing a model, how far their contexts stray, and the times.

    ``scheme`` is that of the headline numbers; ``errors`` are by scheme and position; ``times`` begin with one token
    at batch 1.
    """

    models: dict[str, StoredModel]
    scheme: str
    errors: dict[str, list[float]]
    times: list[Times]

    @property
    def exact(self) -> StoredModel:
        """The model in fp32."""
        return self.models["fp32"]

    @property
    def chosen(self) -> StoredModel:
        """The model in int8."""
        return self.models[self.scheme]

    def change(self, scheme: str, *, batch_mean: bool = False) -> float:
        """Return by which share the perplexity of a scheme is above that of fp32."""
        ours, theirs = self.models[scheme].score, self.exact.score
        return (ours.ppl_batch_mean / theirs.ppl_batch_mean if batch_mean else ours.ppl / theirs.ppl) - 1

    def change_by_documents(self, scheme: str) -> dict[str, float]:
        """Return by how much the perplexity of a scheme is above that of fp32, and with documents drawn anew."""
        ours, theirs = self.models[scheme].score, self.exact.score
        return {"": ours.ppl - theirs.ppl, **document_difference([theirs], [ours])}


def times(exact: ContextVectorLM, quantized: QuantizedLM, windows: Tensor, between: Callable[[], None]) -> list[Times]:
    """Return the processor time of a token and of a window, fp32 and int8 in turns, at one thread.

    int8 is dequantised anew for each token, or once for each window.
    """
    with one_thread():
        return [
            Times(what, batch, *in_turns(ways, per, between))
            for batch in BATCHES
            for what, per, ways in (
                ("token", STEPS, [_tokens(model, batch, windows) for model in (exact, quantized)]),
                ("window", 1, _window_ways(exact, quantized, batch, windows)),
            )
        ]


def in_turns(ways: list[Callable[[], object]], per: int, between: Callable[[], None]) -> list[float]:
    """Return the median milliseconds of each way, divided by ``per``; the first round is not counted."""
    taken: list[list[float]] = [[] for _ in ways]
    for turn in range(ROUNDS + 1):
        for way, times in zip(ways, taken, strict=True):
            start = time.thread_time()  # at one thread it is what the way takes, whoever else is computing
            way()
            if turn:
                times.append(1e3 * (time.thread_time() - start) / per)
        between()
    return [median(times) for times in taken]


def _tokens(model: ContextVectorLM | QuantizedLM, batch: int, windows: Tensor) -> Callable[[], object]:
    rows = _rows(windows, batch)

    def read() -> Tensor:
        context = torch.zeros(batch, model.size.context)
        with torch.no_grad():
            for number in range(STEPS):
                _, context = model.step(rows[:, number % rows.shape[1]], context)
        return context

    return read


def _window_ways(
    exact: ContextVectorLM, quantized: QuantizedLM, batch: int, windows: Tensor
) -> list[Callable[[], object]]:
    rows = _rows(windows, batch)
    inputs, targets = rows[:, :-1], rows[:, 1:]
    sweep = Sweep(exact.size, *inputs.shape, learns=False)
    return [
        lambda: sweep.judge(exact.parameters, inputs, targets),
        lambda: sweep.judge(quantized.dequantized().parameters, inputs, targets),
    ]


def _rows(windows: Tensor, batch: int) -> Tensor:
    """Return ``batch`` windows, the first ones again if there are too few: (batch, L)."""
    return windows.repeat(-(-batch // len(windows)), 1)[:batch]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
