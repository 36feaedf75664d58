"""What document 001 of the original notes recorded of its training, and how a run of the same conditions lies to it."""

from itertools import pairwise

from llmlab.lab.runs import LanguageRun
from llmlab.measure.score import perplexity
from llmlab.report.result import Scalar
from llmlab.settings import BaselineSettings

CONDITIONS = (
    *("data", "vocabulary", "length", "embedding", "hidden", "context", "stack", "init", "dropout"),
    *("batch", "lr", "schedule", "optimizer", "clip", "model", "layers"),
)
"""The settings in which a run has to be like document 001's to be held against its numbers."""


LOSSES = (
    *(3.8836, 3.8053, 3.7398, 3.6814, 3.6028, 3.5286, 3.4811, 3.4435, 3.4111, 3.3845, 3.3532, 3.3201, 3.2928, 3.2739),
    *(3.2595, 3.2443, 3.2334, 3.2236, 3.2175, 3.2015, 3.1937, 3.1893, 3.1780, 3.1723, 3.1649, 3.1563, 3.1501),
)
"""The validation losses of epochs 1 to 27 that it recorded."""


def repeats_the_notes(settings: BaselineSettings) -> bool:
    """Return whether a run has the conditions of document 001, for however many epochs."""
    theirs = BaselineSettings(preset="original")
    return all(getattr(settings, name) == getattr(theirs, name) for name in CONDITIONS)


def beside_the_notes(run: LanguageRun) -> dict[str, Scalar]:
    """Return how a run's curve lies to the one that document 001's author recorded, as metrics.

    How many of its epochs there are, the perplexity's largest difference as a share, and how many did not improve.
    """
    ours = [row["val_loss"] for row in run.history[: len(LOSSES)]]
    ratios = [perplexity(mine) / perplexity(theirs) - 1 for mine, theirs in zip(ours, LOSSES, strict=False)]
    rises = sum(later >= earlier for earlier, later in pairwise(ours))
    return {"curve_epochs": len(ours), "curve_farthest": max(ratios, key=abs), "curve_rises": rises}
