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
from collections.abc import Callable
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
from llmlab.measure.stats import as_metrics
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
    found, threads = [], torch.get_num_threads()
    models: list[Model] = [lambda: exact, lambda: widened(exact.size, quantized)]
    torch.set_num_threads(1)
    try:
        for batch in BATCHES:
            rows = windows.repeat(-(-batch // len(windows)), 1)[:batch]  # the first ones again if there are too few
            tokens = partial(_read_tokens, rows, torch.zeros(batch, exact.size.context))
            window = partial(_read_window, rows, Sweep(exact.size, batch, rows.shape[1] - 1, learns=False))
            for what, per, read in (("token", STEPS, tokens), ("window", 1, window)):
                taken: list[list[float]] = [[] for _ in models]
                for _ in range(ROUNDS + 1):
                    for model, seconds in zip(models, taken, strict=True):
                        start = time.thread_time()  # at one thread it is what the work takes, whoever else is computing
                        read(model)
                        seconds.append(time.thread_time() - start)
                    between()
                fp32, int8 = (1e3 * median(seconds[1:]) / per for seconds in taken)  # the first round warms up
                found.append(Times(what, batch, fp32, int8, int8 / fp32))
    finally:
        torch.set_num_threads(threads)
    return found


def _read_tokens(rows: Tensor, context: Tensor, model: Model) -> None:
    with torch.no_grad():
        for number in range(STEPS):
            _, context = model().step(rows[:, number % rows.shape[1]], context)


def _read_window(rows: Tensor, sweep: Sweep, model: Model) -> None:
    sweep.judge(model().parameters, rows[:, :-1], rows[:, 1:])


# ---- the command ------------------------------------------------------------------------------------------------


def files_of(found: Restored, parameters: dict[str, Tensor]) -> dict[str, bytes]:
    """Return a model as the files of a checkpoint, which hold all that ``restored`` asks for."""
    header: dict[str, Any] = {
        "settings": found.settings.document() | {"data": found.settings.data},
        "seed": found.seed,
        "text": found.text,
        "vocabulary": list(found.vocabulary.words),
        "progress": {"history": found.history},
    }
    return packed(header | {"model": parameters})


def run(settings: QuantizeSettings, on_step: OnStep | None = None) -> Result:
    """Quantise the New-LLM of a checkpoint and report what that saves and costs."""
    if settings.save is not None:
        check_free(settings.save, "--save")
    found, exact = opened_new_llm(settings.checkpoint, "quantize")
    data = found.dataset(settings.data, offline=settings.offline)
    windows, documents = data.text.valid, data.text.valid_documents
    parts = (1 + len(SCHEMES)) * -(-len(windows) // ROWS_AT_ONCE) + 2 * len(BATCHES) * (ROUNDS + 1)
    step = counting(on_step, parts)
    kept = {"fp32": exact.parameters}
    kept |= {scheme: eight_bits(exact, scheme, embedding=settings.embedding) for scheme in SCHEMES}
    models = {name: widened(exact.size, parameters) for name, parameters in kept.items()}
    scores: dict[str, Score] = {}
    for name, model in models.items():
        swept = SweptNewLLM(model)
        scores[name] = evaluate(swept, windows, settings.batch, lambda: step("judging"), documents=documents)
        check_finite(scores[name], settings.checkpoint)
    files = {name: files_of(found, parameters) for name, parameters in kept.items()}
    if settings.save is not None:
        save(settings.save, files[settings.scheme], "--save")
    errors = {scheme: context_errors(exact, models[scheme], windows) for scheme in SCHEMES}
    taken = times(exact, kept[settings.scheme], windows, lambda: step("timing"))
    held = {name: sum(tensor.nbytes for tensor in parameters.values()) for name, parameters in kept.items()}
    sizes = {name: sum(map(len, each.values())) for name, each in files.items()}
    told = metrics(settings.scheme, scores, held, sizes, errors[settings.scheme], taken)
    matrices = [name for name in exact.parameters if name + SCALE in kept["row"]]
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
            shown.sizes(scores, held, sizes, told, data.text.valid_document_count),
            shown.by_position(scores, errors),
            shown.weights(largest_errors(exact, [models[scheme] for scheme in SCHEMES], matrices)),
            shown.latency(taken, STEPS),
        ],
        figures=shown.figures(scores, errors),
        samples={"val_ppl_fp32": [scores["fp32"].ppl], "val_ppl_int8": [scores[settings.scheme].ppl]},
        documents=document_sums({f"_{name}": [score] for name, score in scores.items()}),
    )


def metrics(
    chosen: str,
    scores: dict[str, Score],
    held: dict[str, int],
    sizes: dict[str, int],
    errors: list[float],
    taken: list[Times],
) -> dict[str, Scalar]:
    """Return perplexities, accuracies, bytes and times; int8 is the scheme that was chosen.

    ``held`` are the bytes of all numbers, scales included, and ``sizes`` those of all files.
    """
    exact, found = scores["fp32"], dict[str, Scalar]()
    for end, name in (("fp32", "fp32"), ("int8", chosen)):
        score = scores[name]
        found |= {f"bytes_{end}": sizes[name], f"number_bytes_{end}": held[name], f"val_ppl_{end}": score.ppl}
        found |= {f"val_ppl_batch_mean_{end}": score.ppl_batch_mean, f"val_accuracy_{end}": score.accuracy}
    for scheme in SCHEMES:
        score = scores[scheme]
        found[f"val_ppl_change_{scheme}"] = score.ppl / exact.ppl - 1
        found[f"val_ppl_batch_mean_change_{scheme}"] = score.ppl_batch_mean / exact.ppl_batch_mean - 1
        drawn = {"": score.ppl - exact.ppl, **document_difference([exact], [score])}
        found |= as_metrics(f"val_ppl_{scheme}_minus_fp32", drawn)
        found[f"bytes_int8_{scheme}"] = sizes[scheme]
    found |= {"context_error_first": errors[0], "context_error_last": errors[-1], "latency_ratio": taken[0].ratio}
    for what, batch, fp32, int8, ratio in taken:
        key = f"{what}_{batch}"
        found |= {f"latency_ratio_{key}": ratio, f"latency_ms_fp32_{key}": fp32, f"latency_ms_int8_{key}": int8}
    return found
