"""``llmlab baseline quantize CHECKPOINT``: a trained New-LLM with weights of eight bits.

Question: how many bytes does it save, what does it cost in perplexity, and does the recurrence, which hands its error
on from word to word, make that cost grow along the window?

Covers one scale per row and one per tensor, files as they are really written, perplexity by position, how far the
context strays, and time.
But: the products stay fp32.  A processor's products of whole numbers would need activations in whole numbers too.
"""

from pathlib import Path

from llmlab.after import quantize_shown as shown
from llmlab.after.opening import check_finite, opened_new_llm
from llmlab.after.quantizing import (
    BATCHES,
    ROUNDS,
    Quantization,
    StoredModel,
    Times,
    context_errors,
    stored_model,
    times,
)
from llmlab.disk import replace_file
from llmlab.errors import SettingError, WriteError
from llmlab.lab.judging import ROWS_AT_ONCE
from llmlab.lab.steps import OnStep
from llmlab.measure.score import document_sums
from llmlab.report.result import Result, Scalar
from llmlab.settings import QuantizeSettings

WHY = (
    "A weight of fp32 takes four bytes. In eight bits it takes one, and is off by at most half a step of its scale. "
    "How small does the model become, what does it cost in perplexity, and does the context carry the error on?"
)
HOW = (
    "Each weight w of the linear layers becomes a whole number n = round(w / scale) with scale = max|w| / 127, for "
    "each row or for a whole tensor; biases, LayerNorm, context and all products stay fp32, and the weights are "
    "widened to n · scale at each use. Both models are written as files, score the same validation windows, and are "
    "timed in turns at one thread."
)
SCHEMES = ("fp32", "row", "tensor")


def run(settings: QuantizeSettings, on_step: OnStep | None = None) -> Result:
    """Quantise the New-LLM of a checkpoint and report what that saves and costs.

    Args:
        settings: the options.
        on_step: called after each part of the work with its number, the number planned, and a few words.

    Raises:
        CheckpointError: there is no usable checkpoint, or its losses are not finite.
        SettingError: it holds another model, or the file to write exists.
        WriteError: the int8 model cannot be written.
        LlmlabError: the text cannot be used.
    """
    check_free(settings.save)
    found, exact = opened_new_llm(settings.checkpoint, "quantize")
    task = found.task(settings.data, offline=settings.offline)
    windows, step = task.text.valid, _Steps(on_step, len(task.text.valid))
    models: dict[str, StoredModel] = {}
    for scheme in SCHEMES:
        models[scheme] = stored_model(
            found, exact, scheme, task.text, settings.batch, embedding=settings.embedding, between=step.judged
        )
        check_finite(models[scheme].score, settings.checkpoint)
    chosen = models[settings.scheme]
    if settings.save is not None:
        saved(settings.save, chosen.file)
    assert chosen.quantized is not None  # noqa: S101 - fp32 is not among the schemes of the settings
    measured = Quantization(
        models,
        settings.scheme,
        {name: context_errors(exact, models[name].model, windows) for name in SCHEMES[1:]},
        times(exact, chosen.quantized, windows, step.timed),
    )
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        metrics=metrics(measured),
        summary=[*shown.summary(measured, task.name, embedding=settings.embedding), *_told(settings), *task.notes],
        tables=[
            found.table(),
            shown.sizes(measured, task.text.valid_document_count),
            shown.by_position(measured),
            shown.weights(exact, measured),
            shown.latency(measured),
        ],
        figures=[shown.cost_by_position(measured), shown.context_by_position(measured)],
        samples={"val_ppl_fp32": [models["fp32"].score.ppl], "val_ppl_int8": [chosen.score.ppl]},
        documents=document_sums({f"_{name}": [stored.score] for name, stored in models.items()}),
    )


class _Steps:
    """Counts the parts of the work for whoever watches."""

    def __init__(self, on_step: OnStep | None, windows: int) -> None:
        self.on_step, self.done = on_step, 0
        self.planned = len(SCHEMES) * -(-windows // ROWS_AT_ONCE) + 2 * len(BATCHES) * (ROUNDS + 1)

    def judged(self) -> None:
        self._next("judging")

    def timed(self) -> None:
        self._next("timing")

    def _next(self, told: str) -> None:
        self.done += 1
        if self.on_step:
            self.on_step(self.done, self.planned, told)


def metrics(measured: Quantization) -> dict[str, Scalar]:
    """Return the metrics: perplexities, accuracies, bytes and times."""
    exact, chosen = measured.exact, measured.chosen
    errors = measured.errors[measured.scheme]
    found: dict[str, Scalar] = {
        "bytes_fp32": len(exact.file),
        "bytes_int8": len(chosen.file),
        "number_bytes_fp32": exact.nbytes,
        "number_bytes_int8": chosen.nbytes,
        "val_ppl_fp32": exact.score.ppl,
        "val_ppl_int8": chosen.score.ppl,
        "val_ppl_batch_mean_fp32": exact.score.ppl_batch_mean,
        "val_ppl_batch_mean_int8": chosen.score.ppl_batch_mean,
        "val_accuracy_fp32": exact.score.accuracy,
        "val_accuracy_int8": chosen.score.accuracy,
    }
    for name in SCHEMES[1:]:
        found[f"val_ppl_change_{name}"] = measured.change(name)
        found[f"val_ppl_batch_mean_change_{name}"] = measured.change(name, batch_mean=True)
        for end, value in measured.change_by_documents(name).items():
            found[f"val_ppl_{name}_minus_fp32{end}"] = value
        found[f"bytes_int8_{name}"] = len(measured.models[name].file)
    found |= {"context_error_first": errors[0], "context_error_last": errors[-1]}
    found["latency_ratio"] = measured.times[0].ratio
    for taken in measured.times:
        found[f"latency_ratio_{_key(taken)}"] = taken.ratio
        found[f"latency_ms_fp32_{_key(taken)}"] = taken.fp32
        found[f"latency_ms_int8_{_key(taken)}"] = taken.int8
    return found


def _key(taken: Times) -> str:
    return f"{taken.what}_{taken.batch}"


def check_free(path: Path | None) -> None:
    """Refuse, before any work, a file that exists or a folder that does not.

    Raises:
        SettingError: the file exists.
        WriteError: its folder does not, or the name is impossible.
    """
    if path is None:
        return
    try:
        there, folder = path.exists() or path.is_symlink(), path.parent.is_dir()
    except (OSError, ValueError) as error:
        raise WriteError(f"--save: {path} cannot be written ({error}); choose another name") from error
    if there:
        raise SettingError(f"--save: {path} exists; choose another name")
    if not folder:
        raise WriteError(f"--save: there is no folder {path.parent}; make it, or choose another")


def saved(path: Path, file: memoryview) -> None:
    """Write a file in one step.

    Raises:
        WriteError: it was not written.
    """
    try:
        replace_file(path, file)
    except OSError as error:
        raise WriteError(f"--save: {path} was not written: {error.strerror}; choose another place") from error


def _told(settings: QuantizeSettings) -> list[str]:
    if settings.save is None:
        return []
    return ["The int8 model was written to the file asked for; evaluate and generate read it like any checkpoint."]
