"""Chapter 2: how embeddings move, and what an inner product decides.

Question: when everything is trained, where do the tokens go?  Do tokens that follow each other move
together?  And what in the picture decides the next token?

    score[x, k] = E[x] . W[k] + b[k],   E, W and b trained   (or one of them frozen)

Covers movement of embeddings and output rows, all distances, every score taken apart, four questions that go
beyond the seed document (does rotation change the function? the training? what moves a token that has no
gradient? from which dimension on does freezing limit?), and the spread over seeds.
But: one token of context is all this model sees.  Chapter 3 gives it a memory.
"""

import torch
from torch import Tensor

from llmlab.measure.entropy import conditional_entropy
from llmlab.measure.geometry import random_rotation
from llmlab.model.toy import TinyModel
from llmlab.report.result import Result, Table, counted, rounded
from llmlab.settings import Phase12Settings
from llmlab.text.pairs import Pairs
from llmlab.tiny import figures, outcome, tables, trial_tables, trials
from llmlab.tiny.training import TRAINED, TinyRun, train
from llmlab.train.fit import Diverged, OnStep
from llmlab.train.optimizer import optimizer_named

WHY = (
    "A token embedding is a place, gradients move it, and an inner product with an output row (plus a bias) decides "
    "what comes next. Do tokens that follow each other end up close? And do the coordinates mean anything?"
)
HOW = (
    "Each character is a token. The model scores every possible next token k after token x by the inner product of x's "
    "embedding with k's output row, plus a bias. All pairs of the text form one batch. Places are compared before and "
    "after; every score of one focus token is taken apart; then the trained model and its start are rotated."
)
TRIAL_TOKENS = 64
"""With more tokens than this the side experiments are left out: they would take minutes."""


def run(settings: Phase12Settings, on_step: OnStep | None = None) -> Result:
    """Train S models and report how they moved and what decides their answers.

    Args:
        settings: the options of the chapter.
        on_step: called after each update with its number and the number planned.

    Returns:
        The result; its ``status`` is ``diverged`` if a loss stopped being finite.
    """
    pairs = Pairs.of(settings.text)
    focus = pairs.vocabulary.numbers[settings.focus]
    seeds = range(settings.seed, settings.seed + settings.seeds)
    start = TinyModel.initial(len(pairs.vocabulary), settings.dim, seeds)
    try:
        trained = _trained(settings, start, pairs, settings.freeze, on_step)
    except Diverged as diverged:
        return Result.diverged(settings.experiment, settings.document(), WHY, HOW, diverged.update)
    samples = outcome.per_seed(trained, focus) | outcome.movement_per_seed(trained, focus)
    differences = _rotation_differences(trained)
    side_tables, side_metrics, left_out = _side_experiments(settings, trained, focus)
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        metrics={
            **_metrics(trained, samples, differences[0]),
            **outcome.turning(trained, focus),
            **outcome.growth(trained, focus),
            **side_metrics,
        },
        summary=[*_summary(settings, trained, focus, samples), *left_out],
        tables=[
            *_tables(settings, trained, focus),
            trial_tables.rotation_check(settings.dim, *differences, float(trained.after.logits().abs().max())),
            *([tables.over_seeds(samples)] if settings.seeds > 1 else []),
            *side_tables,
        ],
        figures=[
            figures.stations_and_tracks(trained, focus),
            figures.distance_and_product(trained),
            figures.learning_curve(trained),
        ],
        samples={name: rounded(values.tolist()) for name, values in samples.items()},
    )


def _trained(
    settings: Phase12Settings, start: TinyModel, pairs: Pairs, freeze: str, on_step: OnStep | None = None
) -> TinyRun:
    return train(
        start,
        pairs,
        lambda: optimizer_named(settings.optimizer, settings.lr, settings.weight_decay),
        trained=TRAINED[freeze],
        updates=settings.epochs,
        on_step=on_step,
    )


def _rotation_differences(run: TinyRun) -> tuple[float, float]:
    """Return the largest change of a score and of a probability when all trained models are rotated."""
    dim = run.after.embedding.shape[-1]
    rotation = random_rotation(dim, torch.Generator().manual_seed(trials.ROTATION_SEED)).float()
    turned = run.after.rotated(rotation)
    return (
        float((turned.logits() - run.after.logits()).abs().max()),
        float((turned.probabilities() - run.after.probabilities()).abs().max()),
    )


def _tables(settings: Phase12Settings, run: TinyRun, focus: int) -> list[Table]:
    tokens = run.pairs.vocabulary.names
    places = "Frozen: nothing moved." if settings.freeze == "embedding" else _said_of_unseen(run, settings.optimizer)
    rows = (
        "Frozen: nothing moved." if settings.freeze == "linear" else "Every row moves: each token competes to be next."
    )
    return [
        tables.loss(run),
        tables.rows_before_and_after(
            "embedding", "Where the tokens are", places, tokens, run.before.embedding[0], run.after.embedding[0]
        ),
        tables.rows_before_and_after(
            "output_rows", "Where the output rows point", rows, tokens, run.before.weight[0], run.after.weight[0]
        ),
        tables.pair_distances(run),
        tables.decomposition(run.after, tokens, focus, seeds_own_text=settings.text == Phase12Settings().text),
        tables.next_token(run, focus),
        tables.tensors(run, TRAINED[settings.freeze]),
    ]


def _said_of_unseen(run: TinyRun, optimizer: str) -> str:
    unseen = run.pairs.unseen()
    if not unseen:
        return "Every token is an input, so every token gets a gradient."
    name = run.pairs.vocabulary.names[unseen[0]]
    if optimizer == "adamw":
        return f"{name} is never an input: no gradient reaches it, only the decay moves it."
    return f"{name} is never an input: no gradient reaches it, and it stayed where it was."


def _side_experiments(
    settings: Phase12Settings, run: TinyRun, focus: int
) -> tuple[list[Table], dict[str, float], list[str]]:
    """Return tables and metrics of the side experiments, or a sentence that says why there are none."""
    pairs, start, updates = run.pairs, run.before, settings.epochs
    if len(pairs.vocabulary) > TRIAL_TOKENS:
        why_not = f"with more than {TRIAL_TOKENS} tokens they would take minutes"
        return [], {}, [f"The side experiments are left out: {why_not}."]
    try:
        arms = {arm: run if arm == settings.freeze else _trained(settings, start, pairs, arm) for arm in TRAINED}
        turned = trials.rotation_and_training(start, pairs, updates)
        star = trials.pole_star(start, pairs, updates)
        limit = trials.frozen_limit(pairs, updates, settings.seed)
    except Diverged as diverged:
        return [], {}, [f"The side experiments are left out: one of them {diverged}."]
    shown = [
        trial_tables.freezes(arms, focus),
        trial_tables.rotation_and_training(turned),
        *([trial_tables.pole_star(star, pairs.vocabulary.names[pairs.unseen()[0]])] if star else []),
        trial_tables.frozen_limit(limit, pairs, updates),
    ]
    return shown, outcome.of_trials(arms, turned, star), []


def _metrics(run: TinyRun, samples: dict[str, Tensor], rotation_difference: float) -> dict[str, float | str | None]:
    metrics = outcome.metrics(run, samples) | {"rotation_max_logit_difference": rotation_difference}
    alone = "nothing but the focus token itself follows it"
    few = "fewer than three pairs of an input and another token"
    for prefix, names, reason in (
        ("distance", ("before", "after", "shrank_fraction"), alone),
        ("rank_correlation", ("closeness", "product"), few),
    ):
        for name in (f"{prefix}_{end}" for end in names):
            if name not in samples:
                metrics |= {name: None, name + "_reason": reason}
    if "rank_correlation_product" in samples:
        ahead = samples["rank_correlation_product"] - samples["rank_correlation_closeness"]
        metrics |= outcome.interval("rank_correlation_product_minus_closeness", ahead)
    return metrics


def _summary(settings: Phase12Settings, run: TinyRun, focus: int, samples: dict[str, Tensor]) -> list[str]:
    names = run.pairs.vocabulary.names
    after = run.after.probabilities()[0, focus]
    winner = int(after.argmax())
    inner = float(run.after.embedding[0, focus] @ run.after.weight[0, winner])
    bias = float(run.after.bias[0, winner])
    told = [
        f"The loss before the last of {counted(settings.epochs, 'update')} was {outcome.told(samples['loss'])}; the "
        f"floor of this text is {conditional_entropy(run.pairs.counts):.6f}.",
        f"With seed {settings.seed}, after {names[focus]} the model expects {names[winner]} with probability "
        f"{float(after[winner]):.3f}: the highest score, {inner + bias:.4g}, is an inner product of {inner:.4g} and "
        f"a bias of {bias:.4g}.",
    ]
    other = outcome.next_other_token(run.pairs, focus)
    if other is not None:
        before, now = (float(samples[f"distance_{when}"][0]) for when in ("before", "after"))
        closer = int(samples["distance_shrank_fraction"].sum())
        told.append(
            f"{names[focus]} and {names[other]}, its next token, went from distance {before:.2f} to {now:.2f}"
            + (f"; they came closer in {closer:,} of {counted(settings.seeds, 'seed')}." if settings.seeds > 1 else ".")
        )
    return told
