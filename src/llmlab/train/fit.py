"""The training loop, once.

Freezing is data: ``trained`` names the parameters that may change, all others are never handed to the
optimiser.  The loop knows neither the model nor the text; ``gradients`` is a function that returns the
present loss and gradients.  Leaves out progress bars and files: ``on_step`` is where they hook in.
"""

from collections.abc import Callable, Collection
from typing import Protocol

import torch
from torch import Tensor

from llmlab.train.optimizer import Optimizer


class OnStep(Protocol):
    """What is called after each update, and now and then in between: to show progress, or to stop the run."""

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update (from 1), of how many are planned, and of a few words on how it goes."""


def one_of_several(on_step: OnStep | None, before: int, runs: int, label: str) -> OnStep | None:
    """Return ``on_step`` for one of several runs of equal length, counted as one long run.

    Args:
        on_step: of the long run.
        before: how many runs are done.
        runs: how many there are.
        label: which one this is, for people.
    """
    if on_step is None:
        return None

    def step(update: int, planned: int, told: str = "") -> None:
        on_step(before * planned + update, runs * planned, f"{label}, {told}")

    return step


class Diverged(Exception):  # noqa: N818 - a fact about the run, not a mistake of the caller
    """A loss, a gradient, or the norm of a parameter after the last update is no longer a finite number."""

    def __init__(self, update: int) -> None:
        super().__init__(f"diverged at update {update}")
        self.update = update


def fit(
    parameters: dict[str, Tensor],
    gradients: Callable[[], tuple[Tensor, dict[str, Tensor]]],
    optimizer: Optimizer,
    *,
    trained: Collection[str],
    updates: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """Change the trained parameters in place and return the loss before each update, (updates, S).

    Args:
        parameters: every parameter by name.
        gradients: returns the loss, (S,), and the gradient of each parameter, at the present parameters.
        optimizer: the update rule, with its state.
        trained: names of the parameters that may change.
        updates: how many updates.
        on_step: called after each update.

    Raises:
        Diverged: a loss is not finite, before an update or after the last one, or a parameter has grown so
            large that its norm is not.
    """
    free = {name: parameter for name, parameter in parameters.items() if name in trained}
    losses: list[Tensor] = []
    for update in range(1, updates + 1):
        loss, gradient = gradients()
        if not loss.isfinite().all():
            raise Diverged(update)
        losses.append(loss)
        optimizer.update(free, gradient)
        if on_step:
            on_step(update, updates)
    norms = [parameter.square().sum() for parameter in free.values()]
    if not (gradients()[0].isfinite().all() and all(norm.isfinite() for norm in norms)):
        raise Diverged(updates)
    return torch.stack(losses)
