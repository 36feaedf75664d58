"""Chapter 2: how embeddings move, and what an inner product decides.

Question: when everything is trained, where do the tokens go?  Do tokens that follow each other move together?  And
what in the picture decides the next token?

    score[x, k] = sum over d of E[x, d] W[k, d] + b[k]      E, W and b trained, or some of them frozen

The model and its training are chapter 1's.  New here: how far rows move, every score taken apart, and four questions
that go beyond the original notes.  Does rotating the model change what it computes?  Rotating its start, what it
learns?  What moves a token that has no gradient?  In which dimensions does freezing hold the model back?

    (E R) (W R)^T = E W^T  for an orthogonal R, so coordinates mean nothing, only inner products do;
    SGD's step rotates with the model; Adam's does not, for it divides coordinate by coordinate.

The token x whose next token is asked for is the focus.  A token that is never an input has no gradient on its
embedding: the map calls it a pole star, for it stays while the others move.

But: one token of context is all this model sees.  Chapter 3 gives it a memory.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from llmlab.lab.optimizer import SGD, Adam, Optimizer, optimizer_named
from llmlab.lab.steps import Diverged, OnStep, one_of_several
from llmlab.measure.geometry import affine_rank, distances, moved, random_rotation
from llmlab.measure.ranks import rank_correlation
from llmlab.phase1 import TRAINED_WITH_FROZEN, TinyModel, TinyRun, metrics, over_seeds, samples_of, train
from llmlab.report.messages import Text, say
from llmlab.report.result import Figure, Result, Scalar, Table, rounded
from llmlab.settings import Phase12Settings
from llmlab.shown import phase1 as shown_phase1
from llmlab.shown import phase1_2 as shown
from llmlab.shown import table
from llmlab.text.pairs import Pairs

EXPERIMENT_TOKENS = 64
"""With more tokens than this the four questions are left out: they would take minutes."""

ROTATION_SEED = 20_251_124
ADAM_LR, WEIGHT_DECAY = 0.01, 0.01
SGD_LR = 0.5
"""At Adam's 0.01, SGD hardly moves in 200 updates; at 0.5 it ends nearer to the floor of "hello" than Adam."""

Rule = tuple[str, Callable[[], Optimizer]]
BY_SGD: Rule = f"SGD, lr {SGD_LR}", partial(SGD, SGD_LR)
BY_ADAM: Rule = f"Adam, lr {ADAM_LR}", partial(Adam, ADAM_LR)
BY_ADAMW: Rule = f"AdamW, decay {WEIGHT_DECAY}", partial(Adam, ADAM_LR, weight_decay=WEIGHT_DECAY)
"""The update rules that are compared: what a table calls each, and what makes a fresh one."""

LIMIT_UPDATES, LIMIT_LR = 1_000, 0.1
"""Of the long run of ``frozen_limit``."""

LIMIT_SCORES = 2**14
"""Its budget in scores per update; fewer starts where the text has many tokens."""

REASONS = dict.fromkeys(
    ("distance_before", "distance_after", "distance_shrank_fraction"), "nothing but the focus token itself follows it"
) | dict.fromkeys(
    ("rank_correlation_closeness", "rank_correlation_product"), "fewer than three pairs of an input and another token"
)
"""Why a text may be too small for a metric."""


# ---- what moved, and what predicts the next token ------------------------------------------------------------------


def movement(run: TinyRun, focus: int) -> dict[str, Tensor]:
    """Return the metrics that this chapter adds, each (S,).

    Whether the inner product alone names the winner; over all pairs of an input and another token, the rank
    correlation of P(next | input) with closeness (minus the distance of the two embeddings) and with the inner product
    that the model uses; how far tokens moved; and the distance of ``focus`` and the other token that follows it most.
    """
    inputs, unseen = run.pairs.inputs(), run.pairs.unseen()
    probabilities = run.after.probabilities()
    inner = run.after.embedding @ run.after.weight.transpose(1, 2)  # (S, V, V): scores without bias
    found = {"score_argmax_agrees_fraction": inner[:, focus].argmax(-1) == probabilities[:, focus].argmax(-1)}
    others = ~torch.eye(len(run.pairs.tokens), dtype=torch.bool)  # a token is at distance 0 from itself
    others[unseen] = False
    if others.sum() > 2:  # with one or two pairs, ranks say nothing
        closeness, probability = -distances(run.after.embedding)[:, others], probabilities[:, others]
        found["rank_correlation_closeness"] = rank_correlation(closeness, probability)
        found["rank_correlation_product"] = rank_correlation(inner[:, others], probability)
    distance = moved(run.before.embedding, run.after.embedding)  # (S, V)
    found["seen_moved"] = distance[:, inputs].mean(-1)
    if unseen:
        found["unseen_moved"] = distance[:, unseen].mean(-1)
    if (other := next_other_token(run.pairs, focus)) is not None:
        # one formula for both, so that what did not move is exactly as far apart as before
        before, now = (moved(model.embedding[:, focus], model.embedding[:, other]) for model in (run.before, run.after))
        found |= {"distance_before": before, "distance_after": now, "distance_shrank_fraction": now < before}
    return found


def next_other_token(pairs: Pairs, focus: int) -> int | None:
    """Return the token that follows ``focus`` most often and is not ``focus`` itself, if there is one."""
    return next((token for token in pairs.followers(focus) if token != focus), None)


def alignment(run: TinyRun, focus: int) -> dict[str, Tensor]:
    """Return the cosine of ``focus`` and the output row of its likeliest next token, before and after, each (S,)."""
    wanted = next(iter(run.pairs.followers(focus)))
    before, after = (
        torch.cosine_similarity(model.embedding[:, focus], model.weight[:, wanted], dim=-1)
        for model in (run.before, run.after)
    )
    return {"cosine_before": before, "cosine_after": after, "cosine_rose_fraction": after > before}


def growth(run: TinyRun, focus: int) -> dict[str, Tensor]:
    """Return the norms of the inputs' embeddings before and after, and which token changed most, each (S,).

    That is whether the token that follows ``focus`` moved farthest of all inputs, grew most, and both.
    """
    inputs, wanted = run.pairs.inputs(), next_other_token(run.pairs, focus)
    before, after = (model.embedding[:, inputs].norm(dim=-1) for model in (run.before, run.after))  # (S, inputs)
    found: dict[str, Tensor] = {}
    for column, number in enumerate(inputs):
        token = run.pairs.tokens[number]
        found |= {f"norm_before_{token}": before[:, column], f"norm_after_{token}": after[:, column]}
    if wanted in inputs:
        distance = moved(run.before.embedding, run.after.embedding)[:, inputs]
        farthest, largest = (values.argmax(-1) == inputs.index(wanted) for values in (distance, after - before))
        found |= {"moved_most_fraction": farthest, "grew_most_fraction": largest}
        found |= {"moved_and_grew_most_fraction": farthest & largest}
    return found


def all_metrics(run: TinyRun, samples: dict[str, Tensor]) -> dict[str, Scalar]:
    """Return the metrics of chapter 1 and of movement, with a reason for each that a text this small cannot have."""
    found = metrics(run, samples)
    for name, reason in REASONS.items():
        if name not in samples:
            found |= {name: None, f"{name}_reason": reason}
    if "rank_correlation_product" in samples:
        ahead = samples["rank_correlation_product"] - samples["rank_correlation_closeness"]
        found |= over_seeds({"rank_correlation_product_minus_closeness": ahead})
    return found


# ---- every score taken apart ------------------------------------------------------------------------------------


def products(model: TinyModel, focus: int) -> Tensor:
    """Return what each coordinate adds to each token's score after ``focus``, E[x, d] W[k, d], first seed: (V, D).

    Over the coordinates they sum to the inner product; with the bias that is the score.
    """
    return model.embedding[0, focus] * model.weight[0]


# ---- does rotating change what the model computes, or what it learns? -------------------------------------------


def rotated(model: TinyModel, rotation: Tensor) -> TinyModel:
    """Return the models with embeddings and output rows rotated together by an orthogonal (D, D) matrix."""
    return TinyModel(model.embedding @ rotation, model.weight @ rotation, model.bias.clone())


def rotation_differences(model: TinyModel) -> tuple[float, float]:
    """Return the largest change of a score and of a probability when all trained models are rotated."""
    other = rotated(model, random_rotation(model.embedding.shape[-1], ROTATION_SEED).float())
    score, probability = other.logits() - model.logits(), other.probabilities() - model.probabilities()
    return float(score.abs().max()), float(probability.abs().max())


def stacked(models: list[TinyModel]) -> TinyModel:
    """Return the untied models of several stacks in one, in order."""
    tensors = ((model.embedding, model.weight, model.bias) for model in models)
    return TinyModel(*(torch.cat(same) for same in zip(*tensors, strict=True)))


class Equivariance(NamedTuple):
    """What training from a start and from the same start rotated gave."""

    optimizer: str
    loss: float
    loss_rotated: float
    probability_difference: float  # largest difference of any P(k | x) between the two
    embedding_difference: float  # largest difference of any coordinate after rotating back


def equivariance(start: TinyModel, pairs: Pairs, updates: int) -> list[Equivariance]:
    """Train the first model from its start and from the rotated start, by SGD and by Adam.

    In float64, where rounding cannot be mistaken for an effect.  A change of sign, all there is in one dimension, Adam
    does not notice.
    """
    model = start[:1].each(Tensor.double)
    rotation = random_rotation(model.embedding.shape[-1], ROTATION_SEED)
    both, found = stacked([model, rotated(model, rotation)]), []
    for name, rule in (BY_SGD, BY_ADAM):
        run = train(both, pairs, rule, trained=TRAINED_WITH_FROZEN["none"], updates=updates)
        probabilities, rotated_back = run.after.probabilities(), run.after.embedding[1] @ rotation.T
        found.append(
            Equivariance(
                name,
                float(run.losses[-1, 0]),
                float(run.losses[-1, 1]),
                float((probabilities[0] - probabilities[1]).abs().max()),
                float((run.after.embedding[0] - rotated_back).abs().max()),
            )
        )
    return found


# ---- what moves a token that has no gradient? -------------------------------------------------------------------


def pole_star(start: TinyModel, pairs: Pairs, updates: int) -> list[tuple[str, float, float]]:
    """Return how far the first unseen token's embedding and output row moved under Adam, SGD, AdamW, and tied weights.

    No gradient reaches its embedding, so Adam and SGD leave it alone; AdamW shrinks every parameter, and tied weights
    make the embedding an output row as well, which every update moves.
    """
    if not pairs.unseen():
        return []
    star, untied, found = pairs.unseen()[0], start[:1], []
    tied = TinyModel(untied.embedding, untied.embedding, untied.bias)
    with_tied = "Adam, tied weights", BY_ADAM[1], tied
    for name, rule, model in ((*BY_ADAM, untied), (*BY_SGD, untied), (*BY_ADAMW, untied), with_tied):
        run = train(model, pairs, rule, trained=TRAINED_WITH_FROZEN["none"], updates=updates)
        embedding, output = (moved(getattr(run.before, of), getattr(run.after, of)) for of in ("embedding", "weight"))
        found.append((name, float(embedding[0, star]), float(output[0, star])))
    return found


# ---- in which dimensions does freezing hold the model back? -----------------------------------------------------


def padded(model: TinyModel, dim: int) -> TinyModel:
    """Return the models in ``dim`` dimensions, the new coordinates all zero.

    The function is the same, and so is training: a coordinate that is zero in E and in W has gradient zero in both.
    So models of different dimensions can share one stack.
    """
    missing = dim - model.embedding.shape[-1]
    return TinyModel(pad(model.embedding, (0, missing)), pad(model.weight, (0, missing)), model.bias.clone())


def frozen_limit(pairs: Pairs, updates: int, first_seed: int) -> shown.Limits:
    """Compare frozen with free training in one, two, … dimensions around the one from which freezing limits nothing.

    With the embedding frozen, training is a convex problem: the best linear layer for fixed places.  It can reach every
    table of scores exactly if the inputs' vectors with a constant 1 appended are linearly independent, that is (almost
    surely) from dimension N - 1 on, for N inputs.  Below, a long run shows how many starts can still fit *this* text.

    Returns:
        Of each dimension whether every table can be reached, and the losses of its starts: frozen and free after the
        run's own number of updates, and frozen after LIMIT_UPDATES at LIMIT_LR.
    """
    inputs, size = pairs.inputs(), len(pairs.tokens)
    dims = sorted({dim for dim in (1, 2, 3, len(inputs) - 2, len(inputs) - 1) if dim >= 1})
    starts = max(3, min(32, LIMIT_SCORES // (size * size * len(dims))))
    seeds = range(first_seed, first_seed + starts)
    start = stacked([padded(TinyModel.initial(size, dim, seeds), max(dims)) for dim in dims])

    def losses(frozen: str, lr: float, updates: int) -> list[list[float]]:
        run = train(start, pairs, lambda: Adam(lr), trained=TRAINED_WITH_FROZEN[frozen], updates=updates)
        return run.losses[-1].reshape(len(dims), starts).tolist()

    frozen, free = losses("embedding", ADAM_LR, updates), losses("none", ADAM_LR, updates)
    long = losses("embedding", LIMIT_LR, LIMIT_UPDATES)
    ranks = affine_rank(start.embedding[:, inputs]).reshape(len(dims), starts)
    return [
        (dim, bool((ranks[row] == len(inputs)).all()), frozen[row], free[row], long[row])
        for row, dim in enumerate(dims)
    ]


# ---- the four questions together, and what freezing changes -----------------------------------------------------


def side_experiments(
    settings: Phase12Settings,
    run: TinyRun,
    focus: int,
    rule: Callable[[], Optimizer],
    on_step: OnStep | None = None,
) -> tuple[list[Table], dict[str, float], list[Text]]:
    """Return tables and metrics of what goes beyond the run, or a sentence that says why there are none.

    Of the metrics all but the losses are of the first seed.
    """
    pairs, start, updates = run.pairs, run.before, settings.epochs
    if len(pairs.tokens) > EXPERIMENT_TOKENS:
        return [], {}, [say("phase1_2.too_many_tokens", tokens=EXPERIMENT_TOKENS)]
    arms = dict.fromkeys(TRAINED_WITH_FROZEN, run)  # by what is frozen
    try:
        for number, frozen in enumerate(sorted(arms.keys() - {settings.freeze}), start=1):
            step = one_of_several(on_step, number, len(arms), f"training {number + 1} of {len(arms)}, frozen: {frozen}")
            trained = TRAINED_WITH_FROZEN[frozen]
            arms[frozen] = train(start, pairs, rule, trained=trained, updates=updates, on_step=step)
        turned = equivariance(start, pairs, updates)
        star = pole_star(start, pairs, updates)
        limit = frozen_limit(pairs, updates, settings.seed)
    except Diverged as diverged:
        return [], {}, [say("phase1_2.side_diverged", update=diverged.update)]
    found = over_seeds({f"loss_freeze_{frozen}": one.losses[-1] for frozen, one in arms.items()})
    for name, row in zip(("sgd", "adam"), turned, strict=True):
        found[f"rotation_training_difference_{name}"] = row.probability_difference
    for name, (_, embedding_moved, _) in zip(("adam", "sgd", "adamw", "tied"), star, strict=False):
        found[f"unseen_moved_under_{name}"] = embedding_moved
    tables = [
        shown.freezes({frozen: samples_of(one, focus) | movement(one, focus) for frozen, one in arms.items()}),
        shown.equivariance(turned),
        *([shown.pole_star(star, pairs.names[pairs.unseen()[0]])] if star else []),
        shown.frozen_limit(limit, pairs, updates, ADAM_LR, (LIMIT_UPDATES, LIMIT_LR)),
    ]
    return tables, found, []


# ---- the chapter ------------------------------------------------------------------------------------------------


@torch.inference_mode()  # the gradients are written out: autograd has nothing to record
def run(settings: Phase12Settings, on_step: OnStep | None = None) -> Result:
    """Train one model per seed and report how they moved and what decides their predictions; see ``phase1.run``."""
    asked = settings.experiment, settings.document(), shown.WHY, shown.HOW
    pairs = Pairs.of(settings.text)
    focus = pairs.numbers[settings.focus]
    start = TinyModel.initial(len(pairs.tokens), settings.dim, settings.every_seed)
    trainings = 1 if len(pairs.tokens) > EXPERIMENT_TOKENS else len(TRAINED_WITH_FROZEN)

    def mapped(run: TinyRun) -> Figure:
        return shown.stations_and_tracks(pairs, focus, run.path, run.after.embedding[0], run.after.weight[0])

    step = one_of_several(on_step, 0, trainings, f"training 1 of {trainings}" if trainings > 1 else "")
    free, updates = TRAINED_WITH_FROZEN[settings.freeze], settings.epochs
    rule = partial(optimizer_named, settings.optimizer, settings.lr, settings.weight_decay)
    try:
        trained = train(start, pairs, rule, trained=free, updates=updates, on_step=step, picture=mapped)
    except Diverged as diverged:
        return Result.diverged(*asked, diverged.update)
    samples = samples_of(trained, focus) | movement(trained, focus)
    differences = rotation_differences(trained.after)
    side_tables, side_metrics, left_out = side_experiments(settings, trained, focus, rule, on_step)
    before, after = trained.before, trained.after
    first = after.embedding[0, focus], after.weight[0], after.bias[0]
    taken_apart = shown.decomposition(settings, pairs, products(after, focus), after.bias[0])
    return Result(
        *asked,
        metrics={
            **all_metrics(trained, samples),
            "rotation_max_logit_difference": differences[0],
            **over_seeds(alignment(trained, focus) | growth(trained, focus)),
            **side_metrics,
        },
        summary=[*shown.summary(settings, pairs, samples, first, next_other_token(pairs, focus)), *left_out],
        tables=[
            shown_phase1.loss(pairs, trained.losses),
            shown.places(settings, pairs, "embedding", before.embedding[0], after.embedding[0]),
            shown.places(settings, pairs, "linear", before.weight[0], after.weight[0]),
            shown.pair_distances(pairs, before.embedding[0], after.embedding[0]),
            taken_apart,
            shown_phase1.next_token(pairs, focus, before.probabilities(), after.probabilities()),
            shown_phase1.tensors(before.parameters(), after.parameters(), free),
            shown.rotation_check(settings.dim, *differences, float(after.logits().abs().max())),
            *table.over_seeds(samples),
            *side_tables,
        ],
        figures=[
            mapped(trained),
            shown.scores_apart(taken_apart),
            shown.distance_and_product(pairs, after.embedding, after.weight),
            shown_phase1.learning_curve(pairs, trained.losses),
        ],
        samples={name: rounded(values.tolist()) for name, values in samples.items()},
    )
