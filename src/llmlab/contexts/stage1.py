"""Stage 1: a context block, trained to a fixed point or not, and the fixed contexts it makes of both texts.

Covers the block of a design and seed, its training, its contexts, and what of them is measured.  Leaves out what they
are used for: ``token_block``.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlab.contexts.arms import Design
from llmlab.contexts.task import ContextTask
from llmlab.fast.fixed_contexts import fixed_contexts
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.fixed_point import FixedPointRecipe, fixed_point
from llmlab.lab.language import PRECISIONS
from llmlab.lab.steps import OnStep
from llmlab.measure.spectrum import effective_rank
from llmlab.model.context_token import BlockSize, initial
from llmlab.model.inputs import embedded
from llmlab.settings import ContextSettings

FEWEST_CHECKED, WORK_CHECKED = 32, 2 * 10**7
"""At least this many contexts are checked, and more while tokens times parameters stay below this."""

RANKED = 10_000
"""The effective rank is computed of this many contexts, the first ones."""


@dataclass(frozen=True)
class Measured:
    """What is kept of the contexts of a design and seed when they themselves are let go.

    ``ranks`` are effective ranks as shares of the width: of ``train`` and ``valid``, and of ``untrained``, the same
    block before it was trained.  ``rows`` are the passes of its training, ``converged`` the share of the last.
    """

    design: Design
    seed: int
    size: BlockSize
    warm_up: int
    seam_error: float
    max_error: float
    checked: int
    plain: bool
    tokens_per_second: float
    ranks: dict[str, float]
    rows: list[dict[str, float]]
    converged: float | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained context block, the passes of its training, and the effective rank of the contexts before it.

    Plain enough to be kept in a checkpoint.
    """

    block: dict[str, Tensor]
    rows: list[dict[str, float]]
    rank: float


@dataclass(frozen=True, eq=False)
class Contexts:
    """The fixed contexts of a design and seed: (n, c), after each token of the text's streams, one after the other."""

    size: BlockSize
    block: dict[str, Tensor]
    embedding: Tensor  # that the block reads
    after: Tensor
    measured: Measured


def size_of(settings: ContextSettings, design: Design, embedding: Tensor) -> BlockSize:
    """Return the sizes of both blocks of a design; which contexts the token block reads is the arm's to say."""
    return BlockSize(
        embedding=embedding.shape[1],
        context=settings.context,
        layers=design.layers,
        inputs=settings.inputs,
        token_in=design.wiring,
        widths=design.widths,
    )


def contexts_of(
    settings: ContextSettings,
    task: ContextTask,
    design: Design,
    seed: int,
    on_pass: OnStep | None = None,
    learned: Learned | None = None,
) -> Contexts:
    """Compute the contexts of a design, training its block first if the design says so and no trained one is given.

    Args:
        settings: widths, tolerance, and how the block is trained.
        task: text and embedding.
        design: which block.
        seed: of its start and its noise.
        on_pass: called now and then; may raise to stop it.
        learned: the trained block, where that is done already.
    """
    begun, between, device = time.perf_counter(), _between(on_pass), device_of(settings.device)
    embedding = task.vectors(design.vectors, seed).to(device)
    size = size_of(settings, design, embedding)
    streams = [part.tokens.to(device) for part in task.text.streams]
    if design.trained:
        learned = learned or learn(settings, task, design, seed, on_pass)
    block = _on(device, learned.block if learned else initial(size.context_shapes(), seed))
    room = torch.empty(sum(map(len, streams)), size.context, device=device)
    found, held_out, *others = [
        fixed_contexts(
            size,
            block,
            embedded(embedding, tokens, size.inputs),
            len(own),
            tolerance=settings.tolerance,
            check=checked(size, own),
            out=own,
            between=between,
        )
        for tokens, own in zip(streams, torch.split(room, [len(tokens) for tokens in streams]), strict=True)
    ]
    held_out_too = [held_out, *others]
    ranks = {"train": _rank(found.contexts), "valid": _rank(held_out.contexts)}
    ranks["untrained"] = learned.rank if learned else ranks["train"]
    rows = learned.rows if learned else []
    measured = Measured(
        design=design,
        seed=seed,
        size=size,
        warm_up=found.warm_up,
        seam_error=max(found.seam_error, *(each.seam_error for each in held_out_too)),
        max_error=max(found.max_error, *(each.max_error for each in held_out_too)),
        checked=found.checked + sum(each.checked for each in held_out_too),
        plain=found.plain,
        tokens_per_second=len(streams[0]) / max(found.seconds, 1e-9),
        ranks=ranks,
        rows=rows,
        converged=rows[-1]["converged_fraction"] if rows else None,
        seconds=time.perf_counter() - begun,
    )
    return Contexts(size, block, embedding, room, measured)


def checked(size: BlockSize, contexts: Tensor) -> int:
    """Return how many of the contexts to compare with the token-by-token pass: many where a token costs little.

    A narrow block forgets slowly, and is the one to watch.
    """
    return min(len(contexts), max(FEWEST_CHECKED, len(contexts) // 500, WORK_CHECKED // size.context_parameters()))


def learn(
    settings: ContextSettings, task: ContextTask, design: Design, seed: int, on_pass: OnStep | None = None
) -> Learned:
    """Train the context block of a design on the training text, by the rule of seed document 004.

    Args:
        settings: widths, and how the block is trained.
        task: text and embedding.
        design: which block.
        seed: of its start and its noise.
        on_pass: called now and then; may raise to stop it.

    Raises:
        Diverged: a loss or a gradient is not finite.
    """
    device = device_of(settings.device)
    embedding, text = task.vectors(design.vectors, seed).to(device), task.text.train.tokens.to(device)
    size = size_of(settings, design, embedding)
    recipe = FixedPointRecipe(
        iterations=settings.iterations,
        lr=settings.block_lr,
        noise=design.noise,
        weight=settings.diversity,
        enough=FixedPointRecipe.enough if design.stops else math.inf,
        seed=seed,
    )
    block, reads = _on(device, initial(size.context_shapes(), seed)), embedded(embedding, text, size.inputs)
    dtype = PRECISIONS[chosen_precision(settings.precision, device, settings.context)]
    between = _between(on_pass)
    contexts = fixed_contexts(size, block, reads, len(text), tolerance=settings.tolerance, between=between).contexts
    rank = _rank(contexts)
    trained = fixed_point(size, block, reads, contexts, recipe, on_pass, dtype=dtype)
    return Learned(trained.parameters, trained.rows, rank)


def _rank(contexts: Tensor) -> float:
    """Return the effective rank of the first contexts, (n, c), as a share of their width."""
    return effective_rank(contexts[:RANKED], centred=False) / contexts.shape[1]


def _on(device: str, block: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in block.items()}


def _between(on_pass: OnStep | None) -> Callable[[int], None] | None:
    """Return what a pass over a text calls now and then, so that it can be stopped."""
    if on_pass is None:
        return None
    return lambda done: on_pass(0, 1, f"{done:,} tokens read")
