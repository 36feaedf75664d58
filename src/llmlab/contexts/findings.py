"""How chapters 5 and 6 come from numbers to verdicts on the claims of seed documents 002 and 004.

Directions are judged from differences seed by seed, and only where at least three seeds give an interval.  Leaves out
the claims themselves: ``freeze_findings`` and ``stage_findings``.
"""

import math

from llmlab.contexts.running import LOSS, ArmRuns, Comparison, paired
from llmlab.measure.score import perplexity
from llmlab.report.result import Verdict

LEAST_SEEDS = 3
WORDS = {
    LOSS: "PPL",
    "gap": "validation minus train loss at the best epoch",
    "gap_last": "validation minus train loss at the last epoch",
    "gap_equal": "validation minus train loss after the last epoch that both made",
    "best_epoch": "best epoch",
    "val_accuracy": "accuracy",
}
"""What differences are of, as a reader calls it."""

OPPOSITE: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported", "inconclusive": "inconclusive"}


def better(told: dict[str, float]) -> Verdict:
    """Return whether a difference of losses is below 0: ``supported``, ``refuted`` if above, else ``inconclusive``."""
    if told.get("n", 0) < LEAST_SEEDS:
        return "inconclusive"
    if told["_high"] < 0:
        return "supported"
    return "refuted" if told["_low"] > 0 else "inconclusive"


def worse(told: dict[str, float]) -> Verdict:
    """Return whether a difference of losses is above 0: ``supported``, ``refuted`` if below, else ``inconclusive``."""
    return OPPOSITE[better(told)]


def by_ratio(told: dict[str, float], claimed: float) -> Verdict:
    """Return what a difference of losses says of a claimed change of perplexity, for example -0.719.

    ``supported`` if the interval of the change holds the claimed one, ``refined`` if the difference of losses is
    between half and twice the claimed one, ``refuted`` if it is not, and ``inconclusive`` if chance could have made it.
    """
    if told.get("n", 0) < LEAST_SEEDS:
        return "inconclusive"
    low, high = (perplexity(told[end]) - 1 for end in ("_low", "_high"))
    if low <= claimed <= high:
        return "supported"
    if low <= 0 <= high:
        return "inconclusive"
    share = told[""] / math.log1p(claimed)
    return "refined" if 0.5 <= share <= 2 else "refuted"


def change(first: ArmRuns, second: ArmRuns, name: str = LOSS) -> str:
    """Return a difference seed by seed in words: of losses the change of perplexity that it is."""
    told = paired(name, first, second)
    return f"{first.arm.label} → {second.arm.label}: {changed(told, name)}"


def changed(told: dict[str, float], name: str = LOSS) -> str:
    """Return a difference that ``paired`` found in words."""
    if not told:
        return "no seed finished in both"
    there = [end for end in ("", "_low", "_high") if end in told]
    ends = [f"{perplexity(told[end]) - 1:+.1%}" if name == LOSS else f"{told[end]:+.3f}" for end in there]
    interval = f" (95 % interval {ends[1]} to {ends[2]})" if len(ends) > 1 else ""
    return f"{WORDS[name]} {ends[0]}{interval}, n = {int(told['n'])}"


def on(found: Comparison) -> str:
    """Return on what a verdict rests, to stand behind its evidence."""
    text = found.task.text
    return f"on {len(text.train.tokens):,} tokens of {text.name} with the embedding {found.task.embedding_name}"
