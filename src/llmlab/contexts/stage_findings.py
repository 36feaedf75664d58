"""What chapter 6 says about the claims of seed documents 002 and 004.

Each function looks at numbers and returns a verdict with its evidence; no verdict is written in by hand.  Leaves out
claims on times, and on which settings the documents' code had.
"""

from collections.abc import Sequence

from llmlab.contexts.findings import LEAST_SEEDS, better, by_ratio, change, on, worse
from llmlab.contexts.running import LOSS, ArmRuns, Comparison, paired
from llmlab.measure.stats import mean_interval, paired_interval
from llmlab.report.result import Finding, Verdict

CLAIMS = {
    "CN-4": "One layer is best.",
    "CN-5": "Contexts of 3 layers have a higher effective rank than those of 6.",
    "CN-6": "6 layers are worse than 3.",
    "CN-9": "6 layers overfit faster than 3.",
    "EF-23": "The context block learns what the token block needs.",
    "NZ-1": "With noise, validation goes on improving for more epochs.",
    "NZ-2": "Noise makes the gap between train and validation 12 times smaller.",
    "NZ-3": "Noise raises the validation accuracy.",
    "NZ-4": "Noise makes the best perplexity worse.",
    "CS-1": "The context before the token is enough to predict by.",
    "TS-1": "The token in every layer is better than in the first with decreasing widths.",
    "TS-2": "The token in every layer lowers the perplexity by 38 %.",
    "TS-3": "Better contexts come from the wiring: it gives them their effective rank.",
}
"""What the seed documents say, in our words."""

CLAIMED_WIRING, CLAIMED_GAP = -0.377, 1 / 12 - 1
"""Claimed changes of perplexity, and of the ratio of validation to train perplexity, whose logarithm is the gap."""

CLAIMED_RANK = 0.763 - 0.086
"""Claimed difference of the effective ranks, as shares of the width."""

NOISE = "noise 0.1"

ENOUGH = 0.01
"""In nats: a context that costs at most so much is enough, and a training that brings at most so much is none."""

ByName = dict[str, list[ArmRuns]]


def of(found: Comparison, by_name: ByName) -> list[Finding]:
    """Return what a comparison says of the claims whose arms it has."""
    told = [
        *_block(found, _labelled(by_name, "block")),
        *_noise(found, _labelled(by_name, "noise")),
        *_layers(found, _labelled(by_name, "layers")),
        *_wiring(found, _labelled(by_name, "wiring")),
        *_reading(found, _labelled(by_name, "reading")),
    ]
    return sorted(told, key=lambda finding: (finding.claim[:2], int(finding.claim[3:])))


def _labelled(by_name: ByName, name: str) -> dict[str, ArmRuns]:
    """Return the finished arms of an ablation by their labels."""
    return {arm.arm.label: arm for arm in by_name.get(name, []) if arm.runs}


def _finding(claim: str, verdict: Verdict, evidence: str, found: Comparison) -> Finding:
    return Finding(claim, CLAIMS[claim], verdict, f"{evidence}, {on(found)}")


def _block(found: Comparison, arms: dict[str, ArmRuns]) -> list[Finding]:
    """EF-23: is the trained block better than the untrained one, by more than nothing, which is ``ENOUGH``?"""
    if not {"trained block", "untrained block"} <= arms.keys():
        return []
    one, other = arms["untrained block"], arms["trained block"]
    told = paired(LOSS, one, other)
    nothing = told.get("n", 0) >= LEAST_SEEDS and told["_low"] > -ENOUGH
    verdict: Verdict = "refuted" if nothing else better(told)
    return [_finding("EF-23", verdict, f"{change(one, other)}; less than {ENOUGH:g} nats is nothing", found)]


def _noise(found: Comparison, arms: dict[str, ArmRuns]) -> list[Finding]:
    """NZ-1 to NZ-4: noise 0.1 against none, at equal passes, updates and patience."""
    if not {"noise 0", NOISE} <= arms.keys():
        return []
    one, other = arms["noise 0"], arms[NOISE]
    cut = "" if any(_turned(arm) for arm in (one, other)) else "; every run was best when it ended"
    return [
        _finding("NZ-1", worse(paired("best_epoch", one, other)), change(one, other, "best_epoch") + cut, found),
        _finding("NZ-2", by_ratio(paired("gap", one, other), CLAIMED_GAP), change(one, other, "gap") + cut, found),
        _finding("NZ-3", worse(paired("val_accuracy", one, other)), change(one, other, "val_accuracy"), found),
        _finding("NZ-4", worse(paired(LOSS, one, other)), change(one, other), found),
    ]


def _layers(found: Comparison, arms: dict[str, ArmRuns]) -> list[Finding]:
    """CN-4, CN-5, CN-6, CN-9: one layer against more, three against six."""
    told: list[Finding] = []
    if "1 layer" in arms and len(arms) > 1:
        others = [arm for label, arm in arms.items() if label != "1 layer"]
        verdicts = [worse(paired(LOSS, arms["1 layer"], arm)) for arm in others]
        verdict: Verdict = "inconclusive"
        if "refuted" in verdicts:
            verdict = "refuted"
        elif set(verdicts) == {"supported"}:
            verdict = "supported"
        told.append(_finding("CN-4", verdict, "; ".join(change(arms["1 layer"], arm) for arm in others), found))
    if {"3 layers", "6 layers"} <= arms.keys():
        three, six = arms["3 layers"], arms["6 layers"]
        told += [
            _ranks("CN-5", found, three, six),
            _finding("CN-6", worse(paired(LOSS, three, six)), change(three, six), found),
            _overfitting(found, three, six),
        ]
    return told


def _overfitting(found: Comparison, three: ArmRuns, six: ArmRuns) -> Finding:
    """CN-9: a gap that is larger at the end, of runs whose validation loss rises by then: else none overfits yet."""
    told = change(three, six, "gap_last")
    if not _turned(six):
        told += "; but with six layers no run had overfitted when it ended"
        return _finding("CN-9", "inconclusive", told, found)
    return _finding("CN-9", worse(paired("gap_last", three, six)), told, found)


def _turned(arm: ArmRuns) -> bool:
    """Return whether any run's validation loss rose again before it ended."""
    return any(run.numbers["val_loss_last"] > run.numbers[LOSS] for run in arm.runs)


def _ranks(claim: str, found: Comparison, higher: ArmRuns, lower: ArmRuns) -> Finding:
    """Return whether one arm's contexts have a higher effective rank on validation text, seed by seed."""
    told, evidence = _rank_change(found, higher, lower)
    return _finding(claim, better(told), evidence, found)


def _rank_change(found: Comparison, higher: ArmRuns, lower: ArmRuns) -> tuple[dict[str, float], str]:
    """Return by how much the second arm's rank is the higher one, seed by seed with its interval, and both in words."""
    ours, theirs = (found.contexts[arm.arm.design] for arm in (higher, lower))
    one, other = ({measured.seed: measured.ranks["valid"] for measured in each} for each in (ours, theirs))
    told = paired_interval(one, other)
    before, after = (
        [mean_interval([measured.ranks[name] for measured in each])[""] for each in (ours, theirs)]
        for name in ("untrained", "valid")
    )
    return told, (
        f"{higher.arm.label} {after[0]:.1%}, {lower.arm.label} {after[1]:.1%}; untrained {before[0]:.1%} and "
        f"{before[1]:.1%}, n = {told.get('n', 0)}"
    )


def _wiring(found: Comparison, arms: dict[str, ArmRuns]) -> list[Finding]:
    """TS-1, TS-2, TS-3: the seed's two designs, and the two between them that take wiring and widths apart."""
    ours, theirs = arms.get("every, constant"), arms.get("first, decreasing")
    if ours is None or theirs is None:
        return []
    told = paired(LOSS, theirs, ours)
    shown = change(theirs, ours)
    findings = [
        _finding("TS-1", better(told), shown, found),
        _finding("TS-2", by_ratio(told, CLAIMED_WIRING), shown, found),
    ]
    if len(arms) == 4:
        findings.append(_wiring_alone(found, [arms[f"first, {widths}"] for widths in ("constant", "decreasing")], arms))
    return findings


def _wiring_alone(found: Comparison, first: Sequence[ArmRuns], arms: dict[str, ArmRuns]) -> Finding:
    """TS-3: at equal widths, does the token in every layer give a higher rank, and most of what is claimed?"""
    each = [_rank_change(found, arms[arm.arm.label.replace("first", "every")], arm) for arm in first]
    verdicts = {better(told) for told, _ in each}
    verdict: Verdict = verdicts.pop() if len(verdicts) == 1 else "refined"
    if any(len(arm.runs) < LEAST_SEEDS for arm in arms.values()):
        verdict = "inconclusive"
    if verdict == "supported" and any(-told[""] < CLAIMED_RANK / 2 for told, _ in each):
        verdict = "refined"
    claimed = f"the document has {100 * CLAIMED_RANK:.1f} points between its designs"
    told = "; ".join([*(evidence for _, evidence in each), claimed])
    return _finding("TS-3", verdict, told, found)


def _reading(found: Comparison, arms: dict[str, ArmRuns]) -> list[Finding]:
    """CS-1: the context before the token against the one that holds it, both the last layer's for all layers."""
    if not {"after, last layer", "before"} <= arms.keys():
        return []
    after, before = arms["after, last layer"], arms["before"]
    told = paired(LOSS, after, before)
    verdict: Verdict = "inconclusive"
    if told.get("n", 0) >= LEAST_SEEDS:
        verdict = "supported" if told["_high"] < ENOUGH else "refuted" if told["_low"] > ENOUGH else "inconclusive"
    return [_finding("CS-1", verdict, f"{change(after, before)}; enough is at most {ENOUGH:g} nats more", found)]
