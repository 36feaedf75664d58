"""How chapters 5 and 6 come from numbers to verdicts on the claims of seed documents 002 and 004.

Directions are judged from differences seed by seed, and only where at least three seeds give an interval.  Leaves out
the claims themselves: ``freeze_findings`` and ``stage_findings``.
"""

from llmlab.contexts.running import ArmRuns, Comparison, paired
from llmlab.contexts.tables import LOSS
from llmlab.measure.score import perplexity
from llmlab.report.result import Verdict

LEAST_SEEDS = 3
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

    ``supported`` if the interval of the change holds the claimed one, ``refined`` if the sign is right and the size is
    not, ``refuted`` if the sign is wrong.
    """
    if told.get("n", 0) < LEAST_SEEDS:
        return "inconclusive"
    low, high = (perplexity(told[end]) - 1 for end in ("_low", "_high"))
    if low <= claimed <= high:
        return "supported"
    if low <= 0 <= high:
        return "inconclusive"
    return "refined" if (high < 0) == (claimed < 0) else "refuted"


def change(first: ArmRuns, second: ArmRuns, name: str = LOSS) -> str:
    """Return a difference seed by seed in words: of losses the change of perplexity that it is."""
    told = paired(name, first, second)
    label = f"{first.arm.label} → {second.arm.label}"
    if not told:
        return f"{label}: no seed finished in both"
    if name == LOSS:
        ends = [f"{perplexity(told[end]) - 1:+.1%}" for end in ("", "_low", "_high") if end in told]
        what = f"PPL {ends[0]}"
    else:
        ends = [f"{told[end]:+.3f}" for end in ("", "_low", "_high") if end in told]
        what = f"{name.replace('_', ' ')} {ends[0]}"
    interval = f" (95 % interval {ends[1]} to {ends[2]})" if len(ends) > 1 else ""
    return f"{label}: {what}{interval}, n = {int(told['n'])}"


def on(found: Comparison) -> str:
    """Return on what a verdict rests, to stand behind its evidence."""
    text = found.task.text
    return f"on {len(text.train.tokens):,} tokens of {text.name} with the embedding {found.task.embedding_name}"
