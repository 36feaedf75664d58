"""Side experiments with the tiny model, each a small training of its own that settles one question.

Covers whether training commutes with rotation, which update rules leave an unseen token alone, and from
which dimension on a frozen embedding limits what can be learned.  All of them use float64 where exactness is
the point, and models of one first seed, or a few.  Leaves out words and tables: chapter 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from llmlab.measure.geometry import affine_rank, moved, random_rotation
from llmlab.model.toy import TinyModel, stacked
from llmlab.text.pairs import Pairs
from llmlab.tiny.training import TRAINED, starts_in_one_stack, train
from llmlab.train.optimizer import SGD, Adam, Optimizer

ALL = TRAINED["none"]
SGD_LR = 0.5
"""At Adam's 0.01, SGD hardly moves in 200 updates; 0.5 learns "hello" about as far as Adam does."""

ADAM_LR = 0.01
WEIGHT_DECAY = 0.01
ROTATION_SEED = 20_251_124
LIMIT_UPDATES, LIMIT_LR, LIMIT_GAP = 1_000, 0.1, 0.1
LIMIT_SCORES = 2**14
"""Budget of ``frozen_limit`` in scores per update; fewer starts where the text has many tokens."""


def double(model: TinyModel) -> TinyModel:
    """Return the models in float64, where rounding cannot be mistaken for an effect."""
    return TinyModel(model.embedding.double(), model.weight.double(), model.bias.double())


@dataclass(frozen=True)
class Equivariance:
    """What training from a start and from the same start rotated gave."""

    optimizer: str
    loss: float
    loss_rotated: float
    probability_difference: float  # largest difference of any P(k | x) between the two
    embedding_difference: float  # largest difference of any coordinate after rotating back


def rotation_and_training(start: TinyModel, pairs: Pairs, updates: int) -> list[Equivariance]:
    """Train one model from its start and from the rotated start, by SGD and by Adam.

    Rotating before or after training is the same for SGD, whose gradient rotates with the model, and not for
    Adam, which divides coordinate by coordinate.  In one dimension the only rotation is a change of sign,
    which Adam does not notice.
    """
    start = double(start[:1])
    dim = start.embedding.shape[-1]
    rotation = random_rotation(dim, torch.Generator().manual_seed(ROTATION_SEED))
    both = stacked([start, start.rotated(rotation)])
    rules: list[tuple[str, Callable[[], Optimizer]]] = [
        (f"SGD, lr {SGD_LR}", lambda: SGD(SGD_LR)),
        (f"Adam, lr {ADAM_LR}", lambda: Adam(ADAM_LR)),
    ]
    found = []
    for name, rule in rules:
        run = train(both, pairs, rule, trained=ALL, updates=updates)
        probabilities = run.after.probabilities()
        turned_back = run.after.embedding[1] @ rotation.T
        found.append(
            Equivariance(
                name,
                float(run.losses[-1, 0]),
                float(run.losses[-1, 1]),
                float((probabilities[0] - probabilities[1]).abs().max()),
                float((run.after.embedding[0] - turned_back).abs().max()),
            )
        )
    return found


@dataclass(frozen=True)
class PoleStar:
    """How far a token that is never an input moved under one rule."""

    rule: str
    embedding_moved: float
    output_moved: float


def pole_star(start: TinyModel, pairs: Pairs, updates: int) -> list[PoleStar]:
    """Return how far the first unseen token moved under Adam, SGD, AdamW, and with tied weights.

    No gradient reaches its embedding, so Adam and SGD leave it alone; AdamW shrinks every parameter, and tied
    weights make the embedding an output row as well, which every update moves.
    """
    unseen = pairs.unseen()
    if not unseen:
        return []
    star, start = unseen[0], start[:1]
    rules: list[tuple[str, TinyModel, Callable[[], Optimizer]]] = [
        (f"Adam, lr {ADAM_LR}", start, lambda: Adam(ADAM_LR)),
        (f"SGD, lr {SGD_LR}", start, lambda: SGD(SGD_LR)),
        (f"AdamW, decay {WEIGHT_DECAY}", start, lambda: Adam(ADAM_LR, weight_decay=WEIGHT_DECAY)),
        ("Adam, tied weights", start.with_tied_weights(), lambda: Adam(ADAM_LR)),
    ]
    found = []
    for name, model, rule in rules:
        run = train(model, pairs, rule, trained=ALL, updates=updates)
        found.append(
            PoleStar(
                name,
                float(moved(run.before.embedding, run.after.embedding)[0, star]),
                float(moved(run.before.weight, run.after.weight)[0, star]),
            )
        )
    return found


@dataclass(frozen=True)
class FrozenLimit:
    """What a frozen embedding of one dimension allows, over several random starts."""

    dim: int
    full_rank: bool  # can every table of scores be reached?
    losses_frozen: list[float]  # after the run's own number of updates
    losses_free: list[float]
    losses_long: list[float]  # frozen, after LIMIT_UPDATES updates at LIMIT_LR


def frozen_limit(pairs: Pairs, updates: int, first_seed: int) -> list[FrozenLimit]:
    """Compare frozen with free training in one, two, … dimensions around the one where freezing stops to limit.

    With the embedding frozen, training is a convex problem: the best linear layer for fixed places.  It can
    reach every table of scores exactly if the inputs' vectors with a constant 1 appended are linearly
    independent, that is (almost surely) from dimension N - 1 on, for N inputs.  Below, a long run shows how
    many starts can still fit *this* text.
    """
    inputs = pairs.inputs()
    dims = sorted({dim for dim in (1, 2, 3, len(inputs) - 2, len(inputs) - 1) if dim >= 1})
    size = len(pairs.vocabulary)
    starts = max(3, min(32, LIMIT_SCORES // (size * size * len(dims))))
    seeds = range(first_seed, first_seed + starts)
    start = starts_in_one_stack(size, dims, seeds)

    def losses(frozen: str, lr: float, updates: int) -> list[list[float]]:
        run = train(start, pairs, lambda: Adam(lr), trained=TRAINED[frozen], updates=updates)
        return run.losses[-1].reshape(len(dims), starts).tolist()

    frozen = losses("embedding", ADAM_LR, updates)
    free = losses("none", ADAM_LR, updates)
    long = losses("embedding", LIMIT_LR, LIMIT_UPDATES)
    ranks = affine_rank(start.embedding[:, inputs]).reshape(len(dims), starts)
    return [
        FrozenLimit(dim, bool((ranks[row] == len(inputs)).all()), frozen[row], free[row], long[row])
        for row, dim in enumerate(dims)
    ]
