"""One training of S tiny models on one text, with everything that is looked at afterwards.

Covers the full batch over pair counts, the split of very many seeds into stacks that fit the cache, and
the way the first seed's embedding took.  Leaves out what it means: ``measure`` and the chapters.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlab.model.toy import BIAS, EMBEDDING, WEIGHT, TinyModel, stacked
from llmlab.text.pairs import Pairs
from llmlab.train.fit import OnStep, fit
from llmlab.train.optimizer import Optimizer

TRAINED = {
    "none": frozenset({EMBEDDING, WEIGHT, BIAS}),
    "embedding": frozenset({WEIGHT, BIAS}),
    "linear": frozenset({EMBEDDING}),
}
"""What is trained, by what is frozen."""

STACK_SCORES = 2**22
"""Scores in one stack: V x V per model.  About 16 MB a temporary, so that a small machine keeps up."""

PATH_POINTS = 24
"""How many places the path of an embedding is remembered at, the start and the end among them."""


@dataclass(frozen=True)
class TinyRun:
    """S trained models and how they came there."""

    pairs: Pairs
    before: TinyModel
    after: TinyModel
    losses: Tensor  # (T, S), each before its update
    path: Tensor  # (K, V, D), the first seed's embedding on its way


def train(
    start: TinyModel,
    pairs: Pairs,
    new_optimizer: Callable[[], Optimizer],
    *,
    trained: Collection[str],
    updates: int,
    on_step: OnStep | None = None,
) -> TinyRun:
    """Train copies of the S models in ``start`` and return them with their history.

    Args:
        start: the models before training; left as they are.
        pairs: the text.
        new_optimizer: returns a fresh optimiser; one is made per stack.
        trained: names of the parameters that may change.
        updates: full-batch updates.
        on_step: called after each update of each stack, counted over all of them.

    Raises:
        Diverged: see ``fit``.
    """
    joint = pairs.joint()
    after = start.clone()
    models_at_once = max(1, STACK_SCORES // len(pairs.vocabulary) ** 2)
    keep = set(torch.linspace(1, updates, PATH_POINTS - 1).round().int().tolist())
    path = [start.embedding[0].clone()]
    losses = []
    for first in range(0, len(start), models_at_once):
        part = after[slice(first, first + models_at_once)]

        def seen(update: int, planned: int, told: str = "", *, part: TinyModel = part, first: int = first) -> None:
            if first == 0 and update in keep:
                path.append(part.embedding[0].clone())
            if on_step:
                on_step(first // models_at_once * planned + update, -(-len(start) // models_at_once) * planned)

        losses.append(
            fit(
                part.parameters(),
                lambda part=part: part.loss_and_gradients(joint),  # type: ignore[misc]
                new_optimizer(),
                trained=trained,
                updates=updates,
                on_step=seen,
            )
        )
    return TinyRun(pairs, start, after, torch.cat(losses, dim=1), torch.stack(path))


def starts_in_one_stack(vocabulary_size: int, dims: list[int], seeds: range) -> TinyModel:
    """Return the starts of all ``dims`` x ``seeds`` models, padded with zeros to the largest dimension."""
    return stacked(TinyModel.initial(vocabulary_size, dim, seeds).padded(max(dims)) for dim in dims)
