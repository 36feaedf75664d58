"""What a run says about the claims of seed documents 001 and 003.

Each function looks at numbers and returns verdicts with their evidence; no verdict is written in by hand.
"""

from collections.abc import Sequence
from itertools import pairwise

from llmlab.lm.tables import SEED_VALIDATION
from llmlab.lm.training import Trained
from llmlab.measure.score import perplexity
from llmlab.report.result import Finding, Verdict
from llmlab.settings import BaselineSettings

CLAIMS = {
    "BL-2": "The model has 2.74 million parameters.",
    "BL-3": "The text gives 51,026 training and 5,272 validation windows.",
    "BL-4": "The vocabulary of 1,000 words and windows of 64 tokens describe the task.",
    "BL-8": "The accuracy is about 31 %.",
    "BL-10": "Validation PPL falls from 48.60 in epoch 1 to 23.34 in epoch 27 along a recorded curve.",
    "BL-13": "Validation improves in every one of 27 epochs.",
    "BL-14": "There is no overfitting: train and validation loss fall together.",
    "BL-18": "The result is efficient for 2.74 million parameters.",
}
"""What the seed documents say, in our words."""

TOLERANCE = 0.05
"""A perplexity within this share of the recorded one repeats it."""

SEED_CONDITIONS = (
    *("data", "vocabulary", "length", "embedding", "hidden", "context", "stack", "start", "dropout"),
    *("batch", "lr", "schedule", "optimizer", "clip", "model", "layers"),
)


def repeats_the_seed(settings: BaselineSettings) -> bool:
    """Return whether a run has the conditions of seed document 001."""
    theirs = BaselineSettings(preset="seed")
    return all(getattr(settings, name) == getattr(theirs, name) for name in SEED_CONDITIONS)


def of_baseline(settings: BaselineSettings, runs: Sequence[Trained]) -> list[Finding]:
    """Return what runs under the seed's conditions say of its claims; of other runs nothing."""
    if not repeats_the_seed(settings):
        return []
    run = runs[0]
    return [*_exact(run), *_curve(run), *_said(run)]


def _exact(run: Trained) -> list[Finding]:
    text, unknown = run.task.text, run.score.unknown_share
    windows, sizes = (len(text.train), len(text.valid)), (len(text.vocabulary), run.settings.length)
    untold = ", which the document does not say" if unknown else ""
    return [
        _found("BL-2", run.parameters == 2_739_432, f"exactly {run.parameters:,}"),
        _found("BL-3", windows == (51_026, 5_272), f"{windows[0]:,} and {windows[1]:,}"),
        Finding(
            "BL-4",
            CLAIMS["BL-4"],
            "refuted" if sizes != (1000, 64) else "refined" if unknown else "supported",
            f"{sizes[0]:,} words with a number, and windows of {sizes[1]}, of which {sizes[1] - 1} positions are "
            f"predicted; {unknown:.2%} of the validation targets are <unk>{untold}",
        ),
    ]


def _curve(run: Trained) -> list[Finding]:
    ours = [row["val_loss"] for row in run.history[: len(SEED_VALIDATION)]]
    reached = len(ours)
    ratios = [perplexity(mine) / perplexity(theirs) - 1 for mine, theirs in zip(ours, SEED_VALIDATION, strict=False)]
    far = max(ratios, key=abs)
    falls = all(later < earlier for earlier, later in pairwise(ours))
    whole = reached == len(SEED_VALIDATION)
    evidence = (
        f"epochs 1 to {reached} of 27: PPL {perplexity(ours[0]):.2f} to {perplexity(ours[-1]):.2f}, at most "
        f"{far:+.1%} from the recorded curve"
    )
    held: Verdict = "supported" if whole else "inconclusive"
    return [
        Finding("BL-10", CLAIMS["BL-10"], held if abs(far) <= TOLERANCE else "refuted", evidence),
        Finding(
            "BL-13", CLAIMS["BL-13"], held if falls else "refuted", f"in {reached} epochs: {'yes' if falls else 'no'}"
        ),
    ]


def _said(run: Trained) -> list[Finding]:
    task, accuracy = run.task, run.score.accuracy_batch_mean
    majority = task.references["majority"].accuracy or 0.0
    counting = task.references["kneser_ney_3"].ppl
    gap = f"train {run.train_score.loss:.3f} without dropout" if run.train_score else "train not measured"
    return [
        _found(
            "BL-8",
            abs(accuracy - 0.31) < 0.01,
            f"{accuracy:.1%} at PPL {run.score.ppl_batch_mean:.2f}; {majority:.1%} is what always <unk> gives",
        ),
        Finding(
            "BL-14",
            CLAIMS["BL-14"],
            "inconclusive"
            if run.train_score is None
            else "supported"
            if run.score.loss - run.train_score.loss < 0.05
            else "refined",
            f"at the best epoch {gap}, validation {run.score.loss:.3f} per token",
        ),
        Finding(
            "BL-18",
            CLAIMS["BL-18"],
            "refined" if run.score.ppl < counting else "refuted",
            f"PPL {run.score.ppl:.2f} per token beside {counting:.2f} of a Kneser–Ney 3-gram counted in seconds",
        ),
    ]


def _found(claim: str, holds: bool, evidence: str) -> Finding:
    return Finding(claim, CLAIMS[claim], "supported" if holds else "refuted", evidence)
