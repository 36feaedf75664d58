"""The arms of a context expansion: how each begins, what it trains, and what is measured on it.

Covers training all of them with the same updates.  Leaves out what is said about them: ``expand``.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from llmlab.after.expanded import count, expanded, hold_still, largest_difference, spread
from llmlab.after.opening import Restored
from llmlab.fast.sweep import Sweep
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.dataset import Dataset
from llmlab.lab.epochs import Training
from llmlab.lab.judging import evaluate
from llmlab.lab.recipe import Recipe
from llmlab.lab.steps import OnStep
from llmlab.measure.score import Score
from llmlab.measure.spectrum import effective_rank
from llmlab.model.new_llm import ContextVectorLM
from llmlab.settings import ExpandSettings
from llmlab.text.words import PAD

SAMPLE = 256
"""How many validation windows are read for the context's values."""


@dataclass(frozen=True)
class ExpandedArm:
    """One way to go on from the base, trained.

    ``losses`` are per token on validation, before the first update and after each round.  ``apart``, ``rank`` and
    ``old_moved`` (see ``model.expanded``) are ``None`` where there is no new part, or no old one.
    """

    name: str
    seed: int
    context: int
    parameters: int
    trained: int
    losses: list[float]
    updates: list[int]
    score: Score
    apart: float | None
    rank: float | None
    old_moved: float | None


def begun(name: str, base: Restored, model: ContextVectorLM, context: int, seed: int) -> ContextVectorLM:
    """Return the model with which an arm begins."""
    if name == "continue":
        parameters = {key: tensor.clone() for key, tensor in model.parameters.items()}
        return ContextVectorLM(model.size, parameters, model.dropout)
    if name == "scratch":
        size = expanded(model, context).size
        fresh = ContextVectorLM.initial(size, seed, dropout=model.dropout, start=base.settings.start)
        device = model.parameters["embedding"].device
        fresh.parameters = {key: tensor.to(device) for key, tensor in fresh.parameters.items()}
        return fresh
    rows = "zero" if name in ("A", "B") else "random"
    return expanded(model, context, rows=rows, own_norm=name == "preserving", seed=seed)


def trained_arm(
    settings: ExpandSettings,
    name: str,
    seed: int,
    task: Dataset,
    base: Restored,
    model: ContextVectorLM,
    context: int,
    on_step: OnStep | None = None,
) -> ExpandedArm:
    """Train one arm of one seed.

    Args:
        settings: the options.
        name: one of ``settings.adapted.ARMS``.
        seed: of the order of windows, dropout, new rows, and of the model from scratch.
        task: the text.
        base: where the base model came from.
        model: the base; it is not changed.
        context: numbers of the longer context.
        on_step: called after each update.

    Raises:
        Diverged: a number was not finite.
    """
    start = begun(name, base, model, context, seed)
    size, old = start.size, model.size.context
    has_new, holds = name not in ("continue", "scratch"), name == "A"
    swept = SweptNewLLM(start, settings.precision, str(start.parameters["embedding"].device))
    before = evaluate(swept, task.text.valid, settings.batch)
    training = Training(
        swept,
        task.text.train,
        task.text.valid,
        recipe(settings, seed),
        mask_gradients=partial(hold_still, size=size, old=old) if holds else None,
    )
    training.run(on_step)
    history = training.progress.history
    return ExpandedArm(
        name=name,
        seed=seed,
        context=size.context,
        parameters=size.parameters(),
        trained=size.parameters() - (count(size, 0, old) if holds else 0),
        losses=[before.loss, *(row["val_loss_token"] for row in history)],
        updates=[0, *(int(row["updates"]) for row in history)],
        score=evaluate(swept, task.text.valid, settings.batch, documents=task.text.valid_documents),
        apart=spread(start, old) if has_new else None,
        rank=effective_rank(context_values(start, task.text.valid[:SAMPLE])[:, old:]) if has_new else None,
        old_moved=largest_difference(start, expanded(model, context), old) if has_new else None,
    )


def recipe(settings: ExpandSettings, seed: int) -> Recipe:
    """Return how every arm is trained: the seed's Adam without decay, and its clip, with no early stopping."""
    rounds = settings.updates // settings.round_updates
    return Recipe(
        epochs=rounds,
        batch=settings.batch,
        lr=settings.lr,
        seed=seed,
        schedule=settings.schedule,
        patience=rounds + 1,
        round_updates=settings.round_updates,
    )


def context_values(model: ContextVectorLM, windows: Tensor) -> Tensor:
    """Return the context after every token that is no padding: (N, L) -> (tokens, C)."""
    sweep = _read(model, windows)
    return sweep.contexts[1:][windows[:, :-1].T != PAD]


@dataclass(frozen=True)
class Growth:
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
    batch, time = len(windows), windows.shape[1] - 1
    sweep, windows = Sweep(model.size, batch, time, device=str(device), learns=False), windows.to(device)
    sweep.judge(model.parameters, windows[:, :-1], windows[:, 1:])
    return sweep
