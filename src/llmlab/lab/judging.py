"""How good a language model is on windows: every target judged, and the judgements averaged.

Covers models alone and in a team, parts so small that memory does not grow with the text, and which targets count.
Leaves out the averages themselves, ``measure.score``, and training, ``epochs``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlab.lab.language import Judged, LanguageModel
from llmlab.lab.team import ALONE, Team
from llmlab.lab.threads import measure
from llmlab.measure.score import Score, score

ROWS_AT_ONCE = 256
"""Default number of windows that are read at a time."""


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
    """Return how a model does on windows, (N, L).

    Args:
        model: judges.
        windows: in the order in which the batch mean counts them.
        batch: how many windows one batch of the batch mean has.
        between: called after each part.
        team: shares the rows of every part; each process gets the whole score.
        judging: which targets count, and how many windows a part has.
        documents: (N,), the document of each window, for the sums over documents.
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


def judged(model: LanguageModel, windows: Tensor, team: Team) -> Judged:
    """Return what a model says of every target of windows (N, L), each process of a team having read some of them.

    Raises:
        Stopped: a process was asked to stop; raised in all of them alike.
        UnreachableError: a process has gone.
    """
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
