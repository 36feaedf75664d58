"""What the training loop asks of a language model, and how good one is: every target judged, the judgements averaged.

New-LLM, its peers and the token block share the protocol; the averages are ``measure.score``'s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llmlab.lab.device import measure
from llmlab.lab.team import ALONE, Team
from llmlab.measure.score import Score, score
from llmlab.text.windows import WindowedText
from llmlab.text.words import PAD

EPS = 1e-5
"""What every LayerNorm adds to a variance."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Place:
    """Where in a run some rows of a batch stand: what dropout depends on."""

    seed: int
    update: int
    first_row: int = 0


@dataclass(frozen=True)
class Judged:
    """What a model says of every target: its loss in nats and whether it was the likeliest, (B, T) each."""

    losses: Tensor
    hits: Tensor


class LanguageModel(Protocol):
    """A model that predicts each next token of windows.

    ``parameters`` are fp32 tensors by name, which the training loop changes in place.
    """

    parameters: dict[str, Tensor]

    def gradients(
        self, inputs: Tensor, targets: Tensor, *, count: int, place: Place
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the (B, T) targets but padding, summed and divided by ``count``, and its gradients."""

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """Return loss and hit of every target, in fp32 and without dropout."""


def parameter_count(model: LanguageModel) -> int:
    """Return the exact number of a model's parameters."""
    return sum(tensor.numel() for tensor in model.parameters.values())


ROWS_AT_ONCE = 256
"""Windows that are read at a time."""


@dataclass(frozen=True)
class Judging:
    """Which targets count, and how many rows are worked off at once, in training as in judging.

    ``padding`` is the target that is not scored; ``unknown`` the one that stands for a word without a number, -1 if
    there is none.
    """

    padding: int = 0
    unknown: int = 1
    rows_at_once: int = ROWS_AT_ONCE


WINDOWS = Judging()
"""The marks of ``text.words``."""


def evaluate(
    model: LanguageModel,
    windows: Tensor,
    batch: int,
    between: Callable[[], None] | None = None,
    team: Team = ALONE,
    judging: Judging = WINDOWS,
    documents: Tensor | None = None,
) -> Score:
    """Return how a model does on windows, (N, L), in the order in which the batch mean counts them.

    A batch of that mean has ``batch`` windows; ``documents``, (N,), are those of the windows, for the sums over
    documents.  ``between`` is called after each part that is read at once, whose rows a team shares: each process gets
    the whole score.
    """
    measure(model.parameters, windows[: judging.rows_at_once], lambda some: model.judge(some[:, :-1], some[:, 1:]))
    losses, hits = [], []
    for part in torch.split(windows, judging.rows_at_once):
        found = judged(model, part, team)
        losses.append(found.losses)
        hits.append(found.hits)
        if between:
            between()
    marks = {"padding": judging.padding, "unknown": judging.unknown}
    return score(torch.cat(losses), torch.cat(hits), windows[:, 1:], batch=batch, documents=documents, **marks)


def score_on_test(model: LanguageModel, text: WindowedText, batch: int, team: Team = ALONE) -> Score | None:
    """Return the score on the test windows, by which nothing is chosen; ``None`` where the text has none."""
    if not (text.test[:, 1:] != PAD).any():
        return None
    return evaluate(model, text.test, batch, team=team, documents=text.test_documents)


def judged(model: LanguageModel, windows: Tensor, team: Team) -> Judged:
    """Return what a model says of every target of windows (N, L), each process of a team having read some of them."""
    inputs, targets, mine = windows[:, :-1], windows[:, 1:], team.rows(len(windows))
    if team.size == 1:
        return model.judge(inputs, targets)
    losses, hits = torch.zeros(2, *targets.shape).unbind()  # zero where others read
    if mine:
        rows = slice(mine.start, mine.stop)
        own = model.judge(inputs[rows], targets[rows])
        losses[rows], hits[rows] = own.losses, own.hits.float()
    team.add([losses, hits])
    return Judged(losses, hits > 0)
