"""Chapter 2: how embeddings move, and what an inner product decides.

Question: when everything is trained, where do the tokens go?  Do tokens that follow each other move
together?  And what in the picture decides the next token?

    score[x, k] = E[x] . W[k] + b[k],   E, W and b trained   (or one of them frozen)

Covers movement of embeddings and output rows, all distances, every score taken apart, three checks that go
beyond the seed document (does rotation change the function? the training? what moves a token that has no
gradient? from which dimension on does freezing limit?), and the spread over seeds.
But: one token of context is all this model sees.  Chapter 3 gives it a memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlab.measure.entropy import conditional_entropy
from llmlab.measure.geometry import moved, random_rotation
from llmlab.model.toy import TinyModel
from llmlab.report.result import Finding, Result, Table, Verdict, counted, rounded
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
CLAIMS = {
    "P12-1": "With everything trained in two dimensions h, e and l move far and o does not move at all.",
    "P12-2": "A token that is never an input gets no gradient and stays put, a pole star.",
    "P12-3": "h and e did not come closer, against intuition.",
    "P12-5": "The next letter is decided by the inner product of an embedding with an output row.",
    "P12-7": "Meaning is not closeness of words but agreement of a word with an output direction.",
    "P12-8": "Turning embedding and output layer together changes nothing; only relations matter.",
}
"""What the seed document says of this experiment, in our words."""

ENOUGH_SEEDS = 20
"""Fewer seeds than this decide no claim about a share of seeds."""

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
    side = _side_experiments(settings, trained)
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        metrics=_metrics(trained, samples, differences[0]),
        summary=_summary(settings, trained, focus),
        tables=[
            *_tables(settings, trained, focus),
            trial_tables.rotation_check(settings.dim, *differences),
            *([tables.over_seeds(samples)] if settings.seeds > 1 else []),
            *([] if side is None else side.tables(pairs, focus, settings.epochs)),
        ],
        figures=[
            figures.stations_and_tracks(trained, focus),
            figures.distance_and_product(trained),
            figures.learning_curve(trained),
        ],
        findings=_findings(settings, trained, samples, differences[0], side),
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
    still = "A token that is never an input stays where it was." if settings.optimizer != "adamw" else ""
    places = "Frozen: nothing moved." if settings.freeze == "embedding" else still
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
        tables.decomposition(run.after, tokens, focus),
        tables.next_token(run, focus),
        tables.tensors(run, TRAINED[settings.freeze]),
    ]


@dataclass(frozen=True)
class _SideExperiments:
    """What the small trainings beside the main one found."""

    freezes: dict[str, TinyRun]
    equivariance: list[trials.Equivariance]
    star: list[trials.PoleStar]
    limit: list[trials.FrozenLimit]

    def tables(self, pairs: Pairs, focus: int, updates: int) -> list[Table]:
        unseen = pairs.unseen()
        star = [trial_tables.pole_star(self.star, pairs.vocabulary.names[unseen[0]])] if unseen else []
        return [
            trial_tables.freezes(self.freezes, focus),
            trial_tables.rotation_and_training(self.equivariance),
            *star,
            trial_tables.frozen_limit(self.limit, pairs, updates),
        ]


def _side_experiments(settings: Phase12Settings, run: TinyRun) -> _SideExperiments | None:
    """Return the side experiments; none for a text with very many tokens, or where one of them diverges."""
    pairs, start = run.pairs, run.before
    if len(pairs.vocabulary) > TRIAL_TOKENS:
        return None
    try:
        return _SideExperiments(
            {arm: run if arm == settings.freeze else _trained(settings, start, pairs, arm) for arm in TRAINED},
            trials.rotation_and_training(start, pairs, settings.epochs),
            trials.pole_star(start, pairs, settings.epochs),
            trials.frozen_limit(pairs, settings.epochs, settings.seed),
        )
    except Diverged:
        return None


def _metrics(run: TinyRun, samples: dict[str, Tensor], rotation_difference: float) -> dict[str, float | str | None]:
    metrics = outcome.metrics(run, samples) | {"rotation_max_logit_difference": rotation_difference}
    if "distance_after" not in samples:
        for name in ("distance_before", "distance_after", "distance_shrank_fraction"):
            metrics |= {name: None, name + "_reason": "nothing but the focus token itself follows it"}
    return metrics


def _summary(settings: Phase12Settings, run: TinyRun, focus: int) -> list[str]:
    names = run.pairs.vocabulary.names
    after = run.after.probabilities()[0, focus]
    winner = int(after.argmax())
    inner = float(run.after.embedding[0, focus] @ run.after.weight[0, winner])
    bias = float(run.after.bias[0, winner])
    told = [
        f"{counted(settings.epochs, 'update')} brought the loss to {outcome.told(run.losses[-1])}; the floor of this "
        f"text is {conditional_entropy(run.pairs.counts):.6f}.",
        f"With seed {settings.seed}, after {names[focus]} the model expects {names[winner]} with probability "
        f"{float(after[winner]):.3f}: the highest score, {inner + bias:.2f}, is an inner product of {inner:.2f} and "
        f"a bias of {bias:.2f}.",
    ]
    other = outcome.next_other_token(run.pairs, focus)
    if other is not None:
        before, now = (moved(model.embedding[:, focus], model.embedding[:, other]) for model in (run.before, run.after))
        closer = f"; they came closer in {int((now < before).sum()):,} of {counted(settings.seeds, 'seed')}"
        told.append(
            f"{names[focus]} and {names[other]}, its next token, went from distance {float(before[0]):.2f} to "
            f"{float(now[0]):.2f}{closer if settings.seeds > 1 else ''}."
        )
    return told


def _findings(
    settings: Phase12Settings,
    run: TinyRun,
    samples: dict[str, Tensor],
    rotation_difference: float,
    side: _SideExperiments | None,
) -> list[Finding]:
    """Judge the seed's claims where this run repeats its conditions."""
    seed = Phase12Settings()
    names = ("text", "focus", "dim", "epochs", "lr", "freeze", "optimizer")
    if side is None or any(getattr(settings, name) != getattr(seed, name) for name in names):
        return []
    found = [*_exact_findings(run, rotation_difference, side), *_findings_over_seeds(samples, settings.seeds)]
    return sorted(found, key=lambda finding: finding.claim)


def _exact_findings(run: TinyRun, rotation_difference: float, side: _SideExperiments) -> list[Finding]:
    """Judge the claims that one seed can decide: they hold to the last bit or they do not."""
    way = moved(run.before.embedding, run.after.embedding)  # (S, V): h, e, l, o
    still = float(way[:, 3].max())
    star = "; ".join(f"{row.rule}: {row.embedding_moved:.4f}" for row in side.star)
    moves_elsewhere = any(row.embedding_moved > 0 for row in side.star)
    sgd, adam = (row.probability_difference for row in side.equivariance)
    return [
        Finding(
            "P12-1",
            CLAIMS["P12-1"],
            "supported" if still == 0 and float(way[:, :3].min()) > 0 else "refuted",
            f"mean way of h, e, l: {', '.join(f'{float(mean):.2f}' for mean in way[:, :3].mean(0))}; of o: {still:.2f} "
            f"({counted(len(run.after), 'seed')})",
        ),
        Finding(
            "P12-2",
            CLAIMS["P12-2"],
            "refuted" if still > 0 else "refined" if moves_elsewhere else "supported",
            f"way of o's embedding under {star}",
        ),
        Finding(
            "P12-8",
            CLAIMS["P12-8"],
            "refuted" if rotation_difference > 1e-4 else "refined" if adam > 1e-6 else "supported",
            f"rotating the trained model changes no score by more than {rotation_difference:.1e}; but rotating the "
            f"start changes the P that training ends with by up to {adam:.1e} under Adam ({sgd:.0e} under SGD)",
        ),
    ]


def _findings_over_seeds(samples: dict[str, Tensor], seeds: int) -> list[Finding]:
    """Judge the claims that speak of what usually happens."""
    found = {name: outcome.interval("", values) for name, values in samples.items()}
    shrank, agree = found["distance_shrank_fraction"], found["score_argmax_agrees_fraction"]
    product, closeness = found["rank_correlation_product"], found["rank_correlation_closeness"]

    def judged(claim: str, verdict: Callable[[], Verdict], evidence: str) -> Finding:
        enough = seeds >= ENOUGH_SEEDS
        return Finding(
            claim, CLAIMS[claim], verdict() if enough else "inconclusive", f"{evidence} ({counted(seeds, 'seed')})"
        )

    return [
        judged(
            "P12-3",
            lambda: "supported" if shrank["_high"] < 0.5 else "refuted",
            f"h and e came closer in {shrank['']:.1%} of seeds",
        ),
        judged(
            "P12-5",
            lambda: "supported" if agree[""] == 1 else "refined" if agree["_low"] > 0.5 else "refuted",
            f"the inner product without the trained bias names the same token in {agree['']:.1%} of seeds",
        ),
        judged(
            "P12-7",
            lambda: "supported" if product["_low"] > closeness["_high"] else "refuted",
            f"rank correlation with P(next): inner product {product['']:.2f}, closeness {closeness['']:.2f}",
        ),
    ]
