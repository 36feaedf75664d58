"""``llmlab baseline expand CHECKPOINT``: give a trained New-LLM a longer context.

Question: document 003 of the original notes planned to double a trained context, with the new weights at zero.  Does
the model keep what it knows, and do the new numbers come to hold anything?

A context of c0 numbers becomes one of c1.  The parameters that belong to single context numbers grow: the columns
of the first layer that read them (token columns, old context, new context), the rows of W_D, W_F and W_I that write
them, and the gains and biases of their LayerNorm.  Everything else is copied.  Two facts hold whatever the model is:

(1) One LayerNorm over old numbers and new zeros divides by a smaller deviation.  With r = c0 / c1, and mean m and
variance v of the old numbers,

    v becomes r v + r (1 - r) m^2, so for m = 0 the old numbers grow by sqrt(1 / r),

and every new one becomes the same constant.  (2) New numbers whose weights are equal get equal gradients, at every
update: they stay equal for ever, and are one number, written down many times.  In fp32 they are equal to the bit where
a product sums every column in the same order, as it does at the original sizes; at sizes that leave an odd rest they
differ by a rounding (which Adam enlarges where a gradient is nothing but roundings).

So there are the two patterns of the plan, two repairs and two controls, all with the same updates:

    B            new weights 0, everything trains            continue   not expanded
    A            new weights 0, the old context held still   scratch    begun anew at the larger size
    random       new rows at N(0, 0.02^2)
    preserving   likewise, and the new part normalised for itself: nothing changes at first

But: the larger model is not kept.

Source: the plan at the end of document 003 of the original notes, and section 7 of its code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from llmlab.after.arms import ArmRun, minus, nothing_whole, result
from llmlab.after.opening import Restored, opened_new_llm
from llmlab.baseline import ContextVectorLM
from llmlab.errors import SettingError
from llmlab.fast.sweep import Sweep
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.dataset import Dataset, check_fits
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import evaluate
from llmlab.lab.rng import generator
from llmlab.lab.sizes import Size
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, study
from llmlab.measure.score import Score
from llmlab.measure.spectrum import effective_rank
from llmlab.measure.stats import as_metrics, metrics_of
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar
from llmlab.settings import ExpandSettings
from llmlab.settings.language import MAX_PARAMETERS
from llmlab.shown import after
from llmlab.shown import expand as shown
from llmlab.shown.baseline import text_read
from llmlab.text.words import PAD

Part = tuple[str, tuple[slice, ...]]
"""A parameter's name, and where in it."""

DEVIATION = 0.02
"""Of new rows that start by chance; the deviation that all weights of the original model start with."""

SAMPLE = 256
"""How many validation windows are read for the context's values."""


# ---- a longer context -------------------------------------------------------------------------------------------


def parts(size: Size, first: int, last: int) -> list[Part]:
    """Return where the parameters of the context numbers from ``first`` up to ``last`` stand."""
    found: list[Part] = [
        ("layer0.weight", (slice(None), slice(size.embedding + first, size.embedding + last))),
        ("norm.gain", (slice(first, last),)),
        ("norm.bias", (slice(first, last),)),
    ]
    for gate in range(3):  # D, then F, then I
        rows = slice(gate * size.context + first, gate * size.context + last)
        found += [("gates.weight", (rows,)), ("gates.bias", (rows,))]
    return found


def expanded(
    model: ContextVectorLM, context: int, *, rows: str = "zero", own_norm: bool = False, seed: int = 0
) -> ContextVectorLM:
    """Return a model with a longer context that has copies of the trained parameters in its old part.

    New columns, biases and gains are 0, 0 and 1; the new rows of ``gates`` are ``zero``, or ``random`` by the seed for
    N(0, 0.02^2).  With ``own_norm`` old and new part are normalised each for itself.  As no column reads the new part
    yet, the logits are then exactly those of ``model``; with zero rows the new part would stay 0 and could never learn.
    """
    old = model.size
    size = replace(old, context=context, first_norm=old.context if own_norm else 0)
    parameters: dict[str, Tensor] = {}
    for name, shape in size.shapes().items():
        trained = model.parameters[name]
        parameters[name] = trained.clone() if trained.shape == shape else trained.new_zeros(shape)
    parameters["layer0.weight"][:, : size.embedding] = model.parameters["layer0.weight"][:, : size.embedding]
    parameters["norm.gain"][old.context :] = 1.0
    for (name, there), (_, here) in zip(parts(old, 0, old.context), parts(size, 0, old.context), strict=True):
        parameters[name][here] = model.parameters[name][there]
    rng = generator("new rows", seed)
    for name, here in parts(size, old.context, context) if rows == "random" else ():
        if name == "gates.weight":
            new = parameters[name][here]
            new.copy_(torch.randn(new.shape, generator=rng) * DEVIATION)
    return ContextVectorLM(size, parameters, model.dropout)


def count(size: Size, first: int, last: int) -> int:
    """Return how many parameters belong to the context numbers from ``first`` up to ``last``.

    Example:
        >>> 1_951_720 - count(Size(layers=1, context=512), 0, 256)  # what pattern A trains at the original sizes
        1426152
    """
    return (last - first) * (size.hidden + 2 + 3 * (size.hidden + 1))


def hold_still(gradients: dict[str, Tensor], size: Size, old: int) -> None:
    """Set the gradients of the first ``old`` context numbers' parameters to 0: pattern A.

    Under Adam without decay a parameter whose gradient has always been 0 does not move.
    """
    for name, here in parts(size, 0, old):
        gradients[name][here] = 0.0


# ---- what became of the numbers ---------------------------------------------------------------------------------


def largest_difference(after: ContextVectorLM, before: ContextVectorLM, old: int) -> float:
    """Return how far the parameters of the first ``old`` context numbers moved, the one that moved most."""
    return max(
        float((after.parameters[name][here] - before.parameters[name][here]).abs().max())
        for name, here in parts(after.size, 0, old)
    )


def spread(model: ContextVectorLM, old: int) -> float:
    """Return the largest difference between the same parameter of any two new context numbers; 0: they are one."""
    found = 0.0
    for name, here in parts(model.size, old, model.size.context):
        new = model.parameters[name][here]
        axis = 1 if name == "layer0.weight" else 0  # along which the new numbers stand
        found = max(found, float((new.amax(axis) - new.amin(axis)).max()))
    return found


def context_values(model: ContextVectorLM, windows: Tensor) -> Tensor:
    """Return the context after every token that is no padding: (N, L) -> (tokens, C)."""
    return _read(model, windows).contexts[1:][windows[:, :-1].T != PAD]


class Growth(NamedTuple):
    """By how much the old context numbers grow under a LayerNorm over new ones too: expected and measured.

    ``simple`` is for old numbers with mean 0, ``exact`` for those there are; both at the first token of a window,
    where the new numbers are still 0.  ``first`` and ``all`` are measured, there and over all tokens.
    """

    simple: float
    exact: float
    first: float
    all: float


def growth(model: ContextVectorLM, larger: ContextVectorLM, windows: Tensor) -> Growth:
    """Return how much larger the old numbers are in an expanded model, before any update."""
    old, share = model.size.context, model.size.context / larger.size.context
    base, grown = _read(model, windows), _read(larger, windows)
    first = base.gates[0, :, :old] * base.contexts[0] + base.gates[0, :, old:] * base.change[0]  # (B, C)
    mean, variance = first.mean(1), first.var(1, correction=0)
    exact = (variance / (share * variance + share * (1 - share) * mean.square())).sqrt()
    deviations = grown.normed[..., :old].std(-1, correction=0) / base.normed.std(-1, correction=0)  # (T, B)
    read = windows[:, :-1].T != PAD
    return Growth(share**-0.5, float(exact.mean()), float(deviations[0].mean()), float(deviations[read].mean()))


def _read(model: ContextVectorLM, windows: Tensor) -> Sweep:
    """Return a sweep that has read windows, with everything that it found on the way."""
    device = model.parameters["embedding"].device
    sweep = Sweep(model.size, len(windows), windows.shape[1] - 1, device=str(device), learns=False)
    windows = windows.to(device)
    sweep.judge(model.parameters, windows[:, :-1], windows[:, 1:])
    return sweep


# ---- one arm ----------------------------------------------------------------------------------------------------


def begun(name: str, base: Restored, model: ContextVectorLM, context: int, seed: int) -> ContextVectorLM:
    """Return the model with which an arm begins."""
    if name == "continue":
        return expanded(model, model.size.context)
    if name == "scratch":
        fresh = ContextVectorLM.initial(
            replace(model.size, context=context), seed, dropout=model.dropout, init=base.settings.init
        )
        device = model.parameters["embedding"].device
        fresh.parameters = {key: tensor.to(device) for key, tensor in fresh.parameters.items()}
        return fresh
    rows = "zero" if name in ("A", "B") else "random"
    return expanded(model, context, rows=rows, own_norm=name == "preserving", seed=seed)


def trained_arm(
    settings: ExpandSettings,
    name: str,
    seed: int,
    data: Dataset,
    base: Restored,
    model: ContextVectorLM,
    context: int,
    on_step: OnStep | None = None,
) -> ArmRun:
    """Train one arm of one seed, by the notes' Adam without decay and their clip, with no early stopping.

    Its ``numbers`` are the sizes, and of an arm with a new part ``new_apart`` (``spread``), ``new_rank`` and
    ``old_moved`` (``largest_difference``).
    """
    start = begun(name, base, model, context, seed)
    size, old, text = start.size, model.size.context, data.text
    held = old if name == "A" else 0
    swept = SweptNewLLM(start, settings.precision, str(start.parameters["embedding"].device))
    before = evaluate(swept, text.valid, settings.batch)
    length = settings.round_updates
    rounds = settings.updates // length
    recipe = Recipe(
        rounds, settings.batch, settings.lr, seed, settings.schedule, patience=rounds + 1, round_updates=length
    )
    mask = partial(hold_still, size=size, old=held) if held else None
    training = Training(swept, text.train, text.valid, recipe, mask_gradients=mask)
    training.run(on_step)
    numbers: dict[str, float] = {"context": size.context, "parameters": size.parameters()}
    numbers["trained_parameters"] = size.parameters() - count(size, 0, held)
    if name not in ("continue", "scratch"):
        numbers["new_apart"] = spread(start, old)
        numbers["new_rank"] = effective_rank(context_values(start, text.valid[:SAMPLE])[:, old:])
        numbers["old_moved"] = largest_difference(start, expanded(model, context), old)
    return ArmRun(
        seed=seed,
        numbers=numbers,
        history=training.progress.history,
        start=before,
        score=evaluate(swept, text.valid, settings.batch, documents=text.valid_documents),
    )


# ---- the comparison ---------------------------------------------------------------------------------------------


def run(settings: ExpandSettings, on_step: OnStep | None = None) -> Result:
    """Expand a trained model in several ways, train each, and report what it cost and brought; see ``finetune.run``."""
    base, model = opened_new_llm(settings.checkpoint, "expand", device="auto")
    context = settings.context or 2 * model.size.context
    check_context(model, context)
    data = base.dataset(settings.data, offline=settings.offline)
    check_fits(replace(base.settings, batch=settings.batch, context=context), data.text)
    score = evaluate(base.model, data.text.valid, settings.batch)
    names, asked = settings.arms.split(","), (say("expand.why"), say("expand.how"))

    def train(arm: Arm, seed: int, step: OnStep) -> ArmRun:
        return trained_arm(settings, arm.name, seed, data, base, model, context, step)

    found = study(settings, [Arm(name, updates=settings.updates) for name in names], train, on_step)
    if not (arms := found.whole()):
        return nothing_whole(settings, asked, found)
    grown = growth(model, expanded(model, context), data.text.valid[:SAMPLE])
    told = metrics(model, score, grown, arms)
    rounds = {name: zip(*(run.losses for run in runs), strict=True) for name, runs in arms.items()}
    means = {name: [fmean(losses) for losses in each] for name, each in rounds.items()}
    seeds, rows = len(arms[names[0]]), dict[Text, str]()
    for name in names:
        rows[say("expand.ppl", arm=name)] = f"val_ppl_{name}"
        if f"val_ppl_{name}_minus_continue" in told:
            rows[say("expand.minus_continue", arm=name)] = f"val_ppl_{name}_minus_continue"
    blocks = len(arms[names[0]][0].score.targets_by_document) if len(rows) > len(names) else 0
    known = bool(settings.data) or data.text.digest == base.text
    summary = [*shown.summary(settings, told, names, seeds), *([] if known else [say("expand.text_changed")])]
    tables = [
        base.table(),
        text_read(data),
        shown.compared(
            told, {name: int(runs[0].numbers["context"]) for name, runs in arms.items()}, settings.updates, seeds
        ),
        shown.growth_of_old(grown),
        *shown.new_numbers(told, names),
        *after.over_seeds("after the last update:text", rows, told, seeds, data.text.valid_document_count, blocks),
    ]
    figure = shown.curves(score.loss, means, settings.round_updates)
    return result(settings, asked, found, arms, told, [*summary, *data.notes, *base.notes], tables, figure)


def check_context(model: ContextVectorLM, context: int) -> None:
    """Refuse a context that is not longer, or a model that is too large."""
    if context <= model.size.context:
        raise SettingError(f"--context: {context} is not longer than the model's {model.size.context}")
    parameters = replace(model.size, context=context).parameters()
    if parameters > MAX_PARAMETERS:
        raise SettingError(f"--context: {context} makes {parameters:,} parameters; at most {MAX_PARAMETERS:,}")


def metrics(
    model: ContextVectorLM, score: Score, grown: Growth, by_name: Mapping[str, Sequence[ArmRun]]
) -> dict[str, Scalar]:
    """Return the headline numbers: of each arm the mean over seeds, of a perplexity with its interval.

    The differences from ``continue``, which trained as long without expanding, are taken seed by seed, and with
    documents drawn anew.
    """
    found: dict[str, Scalar] = {
        "base_ppl": score.ppl,
        "base_ppl_batch_mean": score.ppl_batch_mean,
        "parameters_base": model.size.parameters(),
        "context_base": model.size.context,
        "growth_expected": grown.exact,
        "growth_first": grown.first,
        "growth_all": grown.all,
    }
    for name, arms in by_name.items():
        own = arms[0].numbers
        found |= {f"{what}_{name}": own[what] for what in ("parameters", "trained_parameters")}
        found[f"start_ppl_{name}"] = fmean(arm.start.ppl for arm in arms)
        found |= metrics_of({f"val_ppl_{name}": [arm.score.ppl for arm in arms]})
        if "new_apart" in own:
            found["context"] = context = int(own["context"])
            found["new_parameters"] = count(model.size, model.size.context, context)
            for what in ("new_apart", "new_rank", "old_moved"):
                each = [arm.numbers[what] for arm in arms]
                found[f"{what}_{name}"] = fmean(each) if what == "new_rank" else max(each)
    plain = by_name.get("continue", [])
    for name, arms in by_name.items() if plain else ():
        if name != "continue":
            found |= as_metrics(f"val_ppl_{name}_minus_continue", minus(arms, plain))
    return found
