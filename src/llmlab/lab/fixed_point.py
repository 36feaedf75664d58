"""Stage 1's training: a ContextBlock learns, with no target from outside, contexts that stay put and fill the space.

With P_t the context after token t as it was found last, w a weight and m positions in a batch, every iteration moves
all positions at once:

    Q_t  = P_(t-1) + noise                               Q_1 = P_n + noise: the text goes round
    O_t  = block(Q_t, x_t)
    loss = (1 - w) mean (O - P)^2  +  w Div(O)           P is constant here
    Div  = - |O - mean row of O| / m                     length over all numbers; minus, so spread is rewarded

It adds up the gradients of all batches, clips their norm once, makes one step of Adam, and takes O, from before the
step, for P.  Iteration 1 learns nothing: P is the pass through the text.  It ends early once nearly every position
has stopped moving.

Div goes with 1 / sqrt(m), so another batch size is another recipe: it reaches -sqrt(c / m), and passes it only as far
as the last LayerNorm's gain grows.  It asks for distance from the mean and not for directions: contexts at two opposite
points have all of it.

One (n, c) buffer is enough: the batches are worked off from the last to the first, so that P_(t-1) is still the old
one when position t reads it.  Noise is a function of (seed, iteration, batch).

Covers one training.  Leaves out what contexts are worth: ``measure.spectrum``.

Source: seed document 004, and section 8.3 of its code.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlab.lab.optimizer import Adam, clip
from llmlab.lab.rng import generator
from llmlab.lab.steps import Diverged, OnStep
from llmlab.model.context_token import BlockSize, context_outputs
from llmlab.model.inputs import Inputs

FIRST_THAT_MAY_STOP = 3
"""The second iteration finds nothing moved: it starts from the block's own pass."""


@dataclass(frozen=True)
class FixedPointRecipe:
    """How Stage 1 trains its block; the defaults are seed document 004's.

    ``iterations`` counts the first one, which learns nothing.  ``weight`` is that of the diversity: 0 has none of it,
    1 nothing else.  A position has converged when its context's mean squared change is below ``near``; training stops
    once the share ``enough`` of positions has.  ``clip`` is the largest gradient norm.
    """

    iterations: int = 10
    lr: float = 0.002
    noise: float = 0.1
    weight: float = 0.5
    near: float = 0.03
    enough: float = 0.95
    batch: int = 4096
    clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FixedPointTrained:
    """What the training left.

    ``contexts``, (n, c), are those of the last iteration, from before its step and with its noise: what the seed
    measures.  ``rows`` has a row per iteration from the second on: ``iteration``, ``fixed_point_loss``, ``diversity``,
    ``converged_fraction``, ``seconds``.
    """

    parameters: dict[str, Tensor]
    contexts: Tensor
    rows: list[dict[str, float]]


def fixed_point(
    size: BlockSize,
    parameters: dict[str, Tensor],
    inputs: Inputs,
    contexts: Tensor,
    recipe: FixedPointRecipe,
    on_step: OnStep | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> FixedPointTrained:
    """Train a copy of a ContextBlock on n tokens.

    Args:
        size: the sizes.
        parameters: of the ContextBlock; they stay as they are.
        inputs: what is read.
        contexts: (n, c), of iteration 1: the block's own pass through the text.  They are written over.
        recipe: how.
        on_step: called after each batch.
        dtype: of the products; all else is float32.

    Raises:
        Diverged: a loss or a gradient is not finite.
    """
    trained = {name: parameter.clone() for name, parameter in parameters.items()}
    sweep = _Sweep(size, inputs, contexts, recipe, dtype)
    optimizer, rows = Adam(recipe.lr), list[dict[str, float]]()
    for iteration in range(2, recipe.iterations + 1):
        began, rate = time.monotonic(), rows[-1]["converged_fraction"] if rows else 0.0
        batches, planned = (iteration - 2) * sweep.batches, (recipe.iterations - 1) * sweep.batches
        told = f"iteration {iteration} of {recipe.iterations}, {rate:.1%} converged"

        def step(done: int, batches: int = batches, planned: int = planned, told: str = told) -> None:
            if on_step:
                on_step(batches + done, planned, told)

        found, gradients = sweep(trained, iteration, step)
        if not math.isfinite(clip(gradients, recipe.clip)):
            raise Diverged(iteration - 1)
        optimizer.update(trained, gradients)
        seconds = time.monotonic() - began
        rows.append({"iteration": iteration, **found, "seconds": seconds})
        if iteration >= FIRST_THAT_MAY_STOP and found["converged_fraction"] >= recipe.enough:
            break
    return FixedPointTrained(trained, contexts, rows)


class _Sweep:
    """One iteration over all positions: new contexts in place of the old, and the gradients of the loss."""

    def __init__(
        self, size: BlockSize, inputs: Inputs, contexts: Tensor, recipe: FixedPointRecipe, dtype: torch.dtype
    ) -> None:
        self.size, self.inputs, self.contexts, self.recipe, self.dtype = size, inputs, contexts, recipe, dtype
        self.batches = -(-len(contexts) // recipe.batch)

    def __call__(
        self, parameters: dict[str, Tensor], iteration: int, step: Callable[[int], None]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Return what the iteration found, means over batches, and the gradients."""
        contexts, recipe = self.contexts, self.recipe
        wrapped = contexts[-1:].clone()  # is written over long before the first position reads it
        fixed, spread, settled = 0.0, 0.0, 0
        gradients: dict[str, Tensor] = {}
        for done, number in enumerate(reversed(range(self.batches)), 1):
            first, stop = number * recipe.batch, min((number + 1) * recipe.batch, len(contexts))
            old = contexts[first:stop]
            before = torch.cat([contexts[first - 1 : first] if first else wrapped, old[:-1]])
            output, losses, part = self._batch(parameters, before, old, range(first, stop), (iteration, number))
            fixed, spread = fixed + losses[0], spread + losses[1]
            settled += int(((output - old).square().mean(1) < recipe.near).sum())
            gradients = {name: gradients[name].add_(part[name]) for name in part} if gradients else part
            contexts[first:stop] = output
            step(done)
        found = {"fixed_point_loss": fixed / self.batches, "diversity": spread / self.batches}
        return found | {"converged_fraction": settled / len(contexts)}, gradients

    def _batch(
        self, parameters: dict[str, Tensor], before: Tensor, old: Tensor, positions: range, place: tuple[int, int]
    ) -> tuple[Tensor, tuple[float, float], dict[str, Tensor]]:
        """Return a batch's new contexts, its two losses, and its share of the gradients."""
        recipe, device = self.recipe, before.device
        if recipe.noise:
            drawn = torch.randn(before.shape, generator=generator("context noise", recipe.seed, *place))
            before = before.add_(drawn.to(device, before.dtype), alpha=recipe.noise)
        x = self.inputs(torch.arange(positions.start, positions.stop, device=device))
        leaves = {name: parameter.detach().requires_grad_() for name, parameter in parameters.items()}
        with torch.enable_grad():
            output = context_outputs(self.size, leaves, before, x, self.dtype)[-1]
            fixed, spread = (output - old).square().mean(), diversity(output)
            loss = ((1 - recipe.weight) * fixed + recipe.weight * spread) / self.batches
            found = torch.autograd.grad(loss, list(leaves.values()))
        return output.detach(), (float(fixed.detach()), float(spread.detach())), dict(zip(leaves, found, strict=True))


def diversity(contexts: Tensor) -> Tensor:
    """Return minus the length of what contexts, (m, c), differ by from their mean, divided by m."""
    length: Tensor = torch.linalg.vector_norm(contexts - contexts.mean(0))
    return -length / len(contexts)
