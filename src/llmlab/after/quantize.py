"""``llmlab baseline quantize CHECKPOINT``: a trained New-LLM with weights of eight bits, a quarter of the bytes.

Question: how many bytes does it save, what does it cost in perplexity, and does the recurrence, which hands its error
on from word to word, make that cost grow along the window?

    scale = max|w| / 127,    n = round(w / scale),    w' = n * scale,    so |w - w'| <= scale / 2

A whole tensor has one scale, or each row its own (a row of weights makes one output number).  The scale is rounded up
to 17 binary digits, by less than 0.002 %: n * scale is then exact in fp32, and to quantise again changes nothing.
Biases, LayerNorm, context and all products stay fp32; the weights are dequantised on each use.

But: a processor's products of whole numbers would need activations in whole numbers too.

Source: document 001 of the original notes, which plans it with one scale per tensor.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmlab.after.opening import SCALE, Restored, check_finite, counting, dequantized, opened_new_llm
from llmlab.after.saving import check_free, save
from llmlab.baseline import ContextVectorLM
from llmlab.fast.sweep import Sweep
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import packed
from llmlab.lab.language import ROWS_AT_ONCE, evaluate
from llmlab.lab.sizes import Size
from llmlab.lab.steps import OnStep
from llmlab.measure.score import Score, document_difference, document_sums
from llmlab.report.messages import say
from llmlab.report.result import Result, Scalar
from llmlab.settings import QuantizeSettings
from llmlab.shown import quantize as shown
from llmlab.text.words import PAD

Model = Callable[[], ContextVectorLM]
"""Gives a model, dequantised when it is asked for."""

LEVELS = 127
SCALE_BITS = 17
"""With the 7 bits of n they fill the 24 of a float."""

SMALLEST, LARGEST = 2.0**-100, LEVELS * 2.0**120
"""The smallest scale, and the largest weight: between them no product leaves the range of fp32."""

SCHEMES = ("row", "tensor")
ROUNDS = 15
STEPS = 32
"""How many tokens are read for one measurement of a token's time."""

BATCHES = (1, 32)
DRIFT_ROWS = 128


# ---- eight bits -------------------------------------------------------------------------------------------------


class QuantizedMatrix(NamedTuple):
    """A matrix as numbers, (R, C) int8, times a scale, (R, 1) or (1, 1) fp32."""

    numbers: Tensor
    scale: Tensor


def quantize(weight: Tensor, scheme: str = "row") -> QuantizedMatrix:
    """Return a matrix, (R, C), in eight bits: by ``row``, each with its scale, or by ``tensor``, with one for all.

    A weight that is not finite, or larger than ``LARGEST``, about 1.7e38, is a ``ValueError``.
    """
    size = weight.double().abs()
    if not bool((size <= LARGEST).all()):
        raise ValueError(f"a weight is not finite, or beyond {LARGEST:.1e}")
    largest = size.amax(1, keepdim=True) if scheme == "row" else size.amax().view(1, 1)
    fraction, exponent = torch.frexp(largest / LEVELS)
    scale = torch.ldexp((fraction * 2**SCALE_BITS).ceil() / 2**SCALE_BITS, exponent).clamp_min(SMALLEST)
    return QuantizedMatrix((weight.double() / scale).round().to(torch.int8), scale.float())


def eight_bits(model: ContextVectorLM, scheme: str = "row", *, embedding: bool = False) -> dict[str, Tensor]:
    """Return a model's parameters with the matrices of its linear layers in eight bits, and the embedding if asked for.

    Beside each stands its scale; so they are kept in a checkpoint, and ``opening.dequantized`` reads them.
    """
    chosen = {
        name: quantize(tensor, scheme)
        for name, tensor in model.parameters.items()
        if tensor.dim() == 2 and (embedding or name != "embedding")
    }
    numbers = {name: part.numbers for name, part in chosen.items()}
    return {**model.parameters, **numbers, **{name + SCALE: part.scale for name, part in chosen.items()}}


def widened(size: Size, parameters: dict[str, Tensor]) -> ContextVectorLM:
    """Return the model of parameters that may be in eight bits, with all of them in fp32, computed now."""
    return ContextVectorLM(size, dequantized(parameters))


# ---- what it costs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredModel:
    """A model as it is stored: its parameters as they are kept, the model read back, its score, and its files."""

    parameters: dict[str, Tensor]
    model: ContextVectorLM
    score: Score
    files: dict[str, bytes]

    @property
    def nbytes(self) -> int:
        """Bytes of all its numbers, scales included."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.parameters.values())

    @property
    def file_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(map(len, self.files.values()))


def header(found: Restored) -> dict[str, Any]:
    """Return what a checkpoint says of a model beside its numbers: all that ``restored`` asks for."""
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
    contexts = []  # (T, B, C) each
    for model in (exact, quantized):
        sweep = Sweep(model.size, *inputs.shape, learns=False)
        sweep.judge(model.parameters, inputs, targets)
        contexts.append(sweep.contexts[1:].clone())
    share = (contexts[1] - contexts[0]).norm(dim=2) / contexts[0].norm(dim=2).clamp_min(1e-12)  # (T, B)
    there = inputs.T != PAD
    counted = there.sum(1)
    means = (share * there).sum(1) / counted.clamp_min(1)
    return [float(mean) for mean, rows in zip(means, counted, strict=True) if rows]


def largest_errors(
    exact: ContextVectorLM, models: list[ContextVectorLM], names: list[str]
) -> list[tuple[str, int, int, float, list[float]]]:
    """Return of each named matrix its rows, columns and largest weight, and the largest error in each of the models."""
    found = []
    for name in names:
        weight = exact.parameters[name]
        errors = [float((model.parameters[name] - weight).abs().max()) for model in models]
        found.append((name, len(weight), weight.shape[1], float(weight.abs().max()), errors))
    return found


# ---- time -------------------------------------------------------------------------------------------------------


class Times(NamedTuple):
    """Medians in milliseconds, of one token or one window at one batch, and how many times longer int8 takes."""

    what: str
    batch: int
    fp32: float
    int8: float
    ratio: float


def times(
    exact: ContextVectorLM, quantized: dict[str, Tensor], windows: Tensor, between: Callable[[], None]
) -> list[Times]:
    """Return the processor time of a token and of a window, fp32 and int8 in turns, at one thread.

    int8 is dequantised anew for each token, or once for each window.
    """
    found, size = [], exact.size
    models: list[Model] = [lambda: exact, lambda: widened(size, quantized)]
    with one_thread():
        for batch in BATCHES:
            rows = windows.repeat(-(-batch // len(windows)), 1)[:batch]  # the first ones again if there are too few
            context = torch.zeros(batch, size.context)
            sweep = Sweep(size, batch, rows.shape[1] - 1, learns=False)
            tokens = [partial(_read_tokens, model, rows, context) for model in models]
            whole = [partial(_read_window, model, rows, sweep) for model in models]
            for what, per, ways in (("token", STEPS, tokens), ("window", 1, whole)):
                fp32, int8 = in_turns(ways, per, between)
                found.append(Times(what, batch, fp32, int8, int8 / fp32))
    return found


def in_turns(ways: Sequence[Callable[[], object]], per: int, between: Callable[[], None]) -> list[float]:
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


def _read_tokens(model: Model, rows: Tensor, context: Tensor) -> None:
    with torch.no_grad():
        for number in range(STEPS):
            _, context = model().step(rows[:, number % rows.shape[1]], context)


def _read_window(model: Model, rows: Tensor, sweep: Sweep) -> None:
    sweep.judge(model().parameters, rows[:, :-1], rows[:, 1:])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- the command ------------------------------------------------------------------------------------------------


def run(settings: QuantizeSettings, on_step: OnStep | None = None) -> Result:
    """Quantise the New-LLM of a checkpoint and report what that saves and costs.

    Raises:
        CheckpointError: there is no usable checkpoint, or its losses are not finite.
        SettingError: it holds another model, or the folder to write exists.
        WriteError: the int8 model cannot be written.
        LlmlabError: the text cannot be used.
    """
    if settings.save is not None:
        check_free(settings.save, "--save")
    found, exact = opened_new_llm(settings.checkpoint, "quantize")
    data = found.dataset(settings.data, offline=settings.offline)
    text, windows = data.text, data.text.valid
    parts = (1 + len(SCHEMES)) * -(-len(windows) // ROWS_AT_ONCE) + 2 * len(BATCHES) * (ROUNDS + 1)
    step = counting(on_step, parts)
    quantized = {scheme: eight_bits(exact, scheme, embedding=settings.embedding) for scheme in SCHEMES}
    stored: dict[str, StoredModel] = {}
    for name, parameters in {"fp32": exact.parameters, **quantized}.items():
        model = widened(exact.size, parameters)
        score = evaluate(
            SweptNewLLM(model), windows, settings.batch, lambda: step("judging"), documents=text.valid_documents
        )
        check_finite(score, settings.checkpoint)
        stored[name] = StoredModel(parameters, model, score, packed(header(found) | {"model": parameters}))
    if settings.save is not None:
        save(settings.save, stored[settings.scheme].files, "--save")
    errors = {scheme: context_errors(exact, stored[scheme].model, windows) for scheme in SCHEMES}
    taken = times(exact, quantized[settings.scheme], windows, lambda: step("timing"))
    scores, files = ({n: one.score for n, one in stored.items()}, {n: one.file_bytes for n, one in stored.items()})
    numbers = {name: one.nbytes for name, one in stored.items()}
    told = metrics(settings.scheme, stored, errors[settings.scheme], taken)
    models = [stored[scheme].model for scheme in SCHEMES]
    matrices = [name for name in exact.parameters if name + SCALE in quantized["row"]]
    return Result(
        settings.experiment,
        settings.document(),
        say("quantize.why"),
        say("quantize.how"),
        metrics=told,
        summary=[
            *shown.summary(settings, data.name, told, errors, [one.ratio for one in taken]),
            *data.notes,
            *found.notes,
        ],
        tables=[
            found.table(),
            shown.sizes(scores, numbers, files, told, text.valid_document_count),
            shown.by_position(scores, errors),
            shown.weights(largest_errors(exact, models, matrices)),
            shown.latency(taken, STEPS),
        ],
        figures=[shown.cost_by_position(scores), shown.context_by_position(errors)],
        samples={"val_ppl_fp32": [scores["fp32"].ppl], "val_ppl_int8": [scores[settings.scheme].ppl]},
        documents=document_sums({f"_{name}": [score] for name, score in scores.items()}),
    )


def metrics(chosen: str, stored: dict[str, StoredModel], errors: list[float], taken: list[Times]) -> dict[str, Scalar]:
    """Return perplexities, accuracies, bytes and times; int8 is the scheme that was chosen."""
    exact, found = stored["fp32"].score, dict[str, Scalar]()
    for end, one in (("fp32", stored["fp32"]), ("int8", stored[chosen])):
        found |= {f"bytes_{end}": one.file_bytes, f"number_bytes_{end}": one.nbytes, f"val_ppl_{end}": one.score.ppl}
        found |= {f"val_ppl_batch_mean_{end}": one.score.ppl_batch_mean, f"val_accuracy_{end}": one.score.accuracy}
    for scheme in SCHEMES:
        score = stored[scheme].score
        found[f"val_ppl_change_{scheme}"] = score.ppl / exact.ppl - 1
        found[f"val_ppl_batch_mean_change_{scheme}"] = score.ppl_batch_mean / exact.ppl_batch_mean - 1
        drawn = {"": score.ppl - exact.ppl, **document_difference([exact], [score])}
        found |= {f"val_ppl_{scheme}_minus_fp32{end}": value for end, value in drawn.items()}
        found[f"bytes_int8_{scheme}"] = stored[scheme].file_bytes
    found |= {"context_error_first": errors[0], "context_error_last": errors[-1], "latency_ratio": taken[0].ratio}
    for what, batch, fp32, int8, ratio in taken:
        key = f"{what}_{batch}"
        found |= {f"latency_ratio_{key}": ratio, f"latency_ms_fp32_{key}": fp32, f"latency_ms_int8_{key}": int8}
    return found
