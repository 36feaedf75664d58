"""What a depth sweep says about the claims of seed document 003.

Each function looks at numbers and returns a verdict with its evidence; no verdict is written in by hand.  Directions
are judged from differences seed by seed, and only where at least three seeds give an interval; one claim is
arithmetic and needs no run.

Leaves out the claims on times and partial runs of the document's own record: nothing here could repeat them.
"""

from llmlab.lm.depth import DepthArm, DepthSweep, paired
from llmlab.measure.stats import mean_interval
from llmlab.model.new_llm import Size
from llmlab.report.result import Finding, Verdict, counted

CLAIMS = {
    "LY-1": "Fewer layers may be better.",
    "LY-9": "One layer has too little expressive power.",
    "LY-10": "Five layers are better than the baseline's six.",
    "LY-15": "Stacks of 1, 4, 5, 6, 7 layers have 1.2, 2.0, 2.3, 2.74, 3.1 million parameters.",
    "LY-20": "More layers do harm, by overfitting.",
    "LY-21": "The best depth is 4 to 5; six layers are too many.",
    "LY-28": "WikiText-2 is simple, so 4 to 5 layers are enough.",
}
"""What the seed document says, in our words."""

CLAIMED_MILLIONS = {1: (1.2, 1), 4: (2.0, 1), 5: (2.3, 1), 6: (2.74, 2), 7: (3.1, 1)}
"""By depth the parameters that LY-15 names, and to how many decimals."""

LEAST_SEEDS = 3
PPL, TRAIN = "val_ppl", "train_loss_no_dropout"


def of_layers(found: DepthSweep) -> list[Finding]:
    """Return what a sweep says of the claims whose depths it has.

    A plain stack is what the claims are about; with a residual one only the arithmetic is left.
    """
    told = [parameter_counts()]
    if found.settings.stack == "plain" and len(found.main) > 1:
        told += [*_fewer(found), *_expressive_power(found), *_five(found), *_overfitting(found), *_optimum(found)]
    return sorted(told, key=lambda finding: int(finding.claim.removeprefix("LY-")))


def parameter_counts() -> Finding:
    """Return the verdict on the parameter counts, which holds by arithmetic for the seed's sizes."""
    exact = {depth: Size(layers=depth).parameters() for depth in CLAIMED_MILLIONS}
    wrong = [d for d, (claimed, digits) in CLAIMED_MILLIONS.items() if round(exact[d] / 1e6, digits) != claimed]
    shares = " / ".join(f"{count / exact[6] - 1:+.1%}" for count in exact.values())
    return Finding(
        "LY-15",
        CLAIMS["LY-15"],
        "refuted" if wrong else "supported",
        f"exactly {' / '.join(f'{count:,}' for count in exact.values())}, beside six layers {shares}; "
        f"{exact[7] - exact[6]:,} per layer (arithmetic for the seed's sizes, whatever was run)",
    )


def _fewer(found: DepthSweep) -> list[Finding]:
    """LY-1: is the shallowest better than the deepest?"""
    shallow, deep = found.main[0], found.main[-1]
    told = paired(PPL, shallow, deep)
    return [_found(found, "LY-1", _sign(told, "supported", "refuted"), _difference(PPL, shallow, deep))] if told else []


def _expressive_power(found: DepthSweep) -> list[Finding]:
    """LY-9: what lacks expressive power fits even its training text worse."""
    one, deeper = found.main[0], found.main[1:]
    if one.depth != 1:
        return []
    told = [paired(TRAIN, one, arm) for arm in deeper]
    verdict: Verdict = "inconclusive"
    if any(_below_zero(difference) for difference in told):
        verdict = "supported"
    elif all(_above_zero(difference) for difference in told):
        verdict = "refuted"
    return [_found(found, "LY-9", verdict, "; ".join(_difference(TRAIN, one, arm) for arm in deeper))]


def _five(found: DepthSweep) -> list[Finding]:
    """LY-10: five against six."""
    by_depth = {arm.depth: arm for arm in found.main}
    if not {5, 6} <= by_depth.keys():
        return []
    told = paired(PPL, by_depth[5], by_depth[6])
    return [_found(found, "LY-10", _sign(told, "supported", "refuted"), _difference(PPL, by_depth[5], by_depth[6]))]


def _overfitting(found: DepthSweep) -> list[Finding]:
    """LY-20: where the deepest is worse than the shallowest, is it better on what it was trained on?"""
    shallow, deep = found.main[0], found.main[-1]
    evidence = [_difference(PPL, shallow, deep), _difference(TRAIN, shallow, deep)]
    evidence += [_difference(PPL, deep, arm) for arm in found.remedies if arm.depth == deep.depth]
    worse = _above_zero(paired(PPL, shallow, deep))
    verdict = _sign(paired(TRAIN, shallow, deep), "refuted", "supported") if worse else "inconclusive"
    said = {"refuted": "harm without overfitting: ", "supported": "overfitting: "}.get(verdict, "")
    return [_found(found, "LY-20", verdict, said + "; ".join(evidence))]


def _optimum(found: DepthSweep) -> list[Finding]:
    """LY-21 and LY-28: are 4 or 5 layers better than fewer and than more?"""
    middle = [arm for arm in found.main if arm.depth in (4, 5)]
    shallower, deeper = [arm for arm in found.main if arm.depth < 4], [arm for arm in found.main if arm.depth > 5]
    if not middle:
        return []
    best = min(middle, key=lambda arm: mean_interval(arm.values(PPL))[""])
    told = []
    verdict: Verdict
    if shallower and deeper:
        others, missing = [*shallower, *deeper], {4, 5} - {arm.depth for arm in middle}
        verdict = "inconclusive" if missing else _beaten(best, others)
        without = "".join(f"; {depth} layers, which the claim names, were not run" for depth in missing)
        told.append(_found(found, "LY-21", verdict, _differences(best, others) + without))
    if deeper and found.settings.data == "wikitext-2":
        verdict = "refuted" if _beaten(best, deeper) == "refuted" else "inconclusive"
        told.append(_found(found, "LY-28", verdict, _differences(best, deeper)))
    return told


def _beaten(best: DepthArm, others: list[DepthArm]) -> Verdict:
    """Return refuted if any other is better, supported if all are worse, by intervals without zero."""
    told = [paired(PPL, best, arm) for arm in others]
    if any(_below_zero(difference) for difference in told):
        return "refuted"
    return "supported" if all(_above_zero(difference) for difference in told) else "inconclusive"


def _above_zero(told: dict[str, float]) -> bool:
    return told.get("n", 0) >= LEAST_SEEDS and told["_low"] > 0


def _below_zero(told: dict[str, float]) -> bool:
    return told.get("n", 0) >= LEAST_SEEDS and told["_high"] < 0


def _sign(told: dict[str, float], if_above: Verdict, if_below: Verdict) -> Verdict:
    return if_above if _above_zero(told) else if_below if _below_zero(told) else "inconclusive"


def _differences(best: DepthArm, others: list[DepthArm]) -> str:
    return "; ".join(_difference(PPL, best, arm) for arm in others)


def _difference(name: str, first: DepthArm, second: DepthArm) -> str:
    """Return a difference in words, with its interval where there is one."""
    told, what = paired(name, first, second), {PPL: "PPL", TRAIN: "train loss"}[name]
    if not told:
        return f"{second.label} and {first.label} share no seed"
    digits = 2 if name == PPL else 3
    interval = f" ({told['_low']:+.{digits}f} to {told['_high']:+.{digits}f})" if "_low" in told else ""
    return f"{what} of {second.label} minus {first.label}: {told['']:+.{digits}f}{interval}"


def _found(found: DepthSweep, claim: str, verdict: Verdict, evidence: str) -> Finding:
    """Return a finding whose evidence says under which conditions it was made."""
    data = found.settings.data
    text = {"synthetic": "on the synthetic language", "wikitext-2": "on WikiText-2"}.get(data, "on another text")
    conditions = f"{text}, {counted(found.settings.seeds, 'seed')}, {counted(found.settings.epochs, 'epoch')}"
    few = found.settings.seeds < LEAST_SEEDS
    return Finding(
        claim,
        CLAIMS[claim],
        "inconclusive" if few else verdict,
        f"{conditions}: {evidence}" + (f"; a verdict takes at least {LEAST_SEEDS} seeds" if few else ""),
    )
