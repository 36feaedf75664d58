"""What chapter 5 says about the claims of seed document 004.

Each function looks at numbers and returns a verdict with its evidence; no verdict is written in by hand.  Claims on
counts are arithmetic, and hold or fail whatever was run.  Leaves out the claims on times and on the document's own log.
"""

from statistics import fmean

from llmlab.contexts.findings import LEAST_SEEDS, better, by_ratio, change, changed, on
from llmlab.contexts.running import LOSS, ArmRuns, Comparison, paired, paired_gap
from llmlab.model.context_token import BlockSize
from llmlab.report.result import Finding, Verdict, counted

CLAIMS = {
    "EF-1": "Freezing the pretrained embedding generalises better than training it further.",
    "EF-5": "99.8 % of the contexts converge, so the context block has learned.",
    "EF-6": "An effective rank of 76 % is good.",
    "EF-11": "Freezing lowers the perplexity by 72 %.",
    "EF-13": "With the embedding trained, 49.2 million parameters learn, 93.2 % of all.",
    "EF-14": "With the embedding frozen, 7.09 million learn, 13.4 % of 52.78 million.",
    "EF-15": "Freezing cuts the trained parameters by 85.6 %.",
    "EF-16": "Trained, there are about 100 parameters for each token.",
    "EF-17": "Frozen, there are 14 to 7 parameters for each token.",
    "EF-18": "What the embedding learned from 40 GB of text is worth keeping.",
    "EF-20": "Below a million tokens, freeze.",
    "EF-25": "Frozen, training is more stable and overfits less.",
    "WT-1": "Tying the head cuts 91.43 million parameters to 52.78 million.",
    "WT-2": "Tying the head pays, above all in small models.",
}
"""What the seed documents say, in our words."""

VOCABULARY, WIDTH, TOKENS = 50_257, 768, (251_208, 502_498)
CLAIMED_DROP = -0.719
UNTOUCHED = 0.95
A_MILLION = 1_000_000

Growth = list[tuple[int, ArmRuns, ArmRuns]]


def of(found: Comparison, growth: Growth) -> list[Finding]:
    """Return what a comparison says of the claims whose arms it has."""
    have = {name: arm for name, arm in found.arms.items() if arm.runs}
    told = [*_contexts(found), *counts()]
    if {"frozen", "trained"} <= have.keys():
        told += _freezing(found, have["trained"], have["frozen"])
    if {"frozen", "random-frozen"} <= have.keys():
        told.append(
            _by_loss("EF-18", have["random-frozen"], have["frozen"], found, " (input, head and contexts at once)")
        )
    if {"frozen", "frozen-untied"} <= have.keys():
        told.append(_tying(found, have["frozen-untied"], have["frozen"]))
    if len(growth) > 1:
        told.append(_below_a_million(found, growth))
    return sorted(told, key=lambda finding: (finding.claim[:2], int(finding.claim[3:])))


def counts() -> list[Finding]:
    """Return the verdicts on the document's parameter counts, which hold by arithmetic for its sizes."""
    embedding, norm = VOCABULARY * WIDTH, 2 * WIDTH
    block, head = BlockSize().token_parameters(), VOCABULARY * WIDTH + VOCABULARY
    frozen, trained = block + norm, block + norm + embedding
    total = embedding + norm + 2 * block
    per = {name: [count / tokens for tokens in TOKENS] for name, count in (("trained", trained), ("frozen", frozen))}
    cut = 1 - frozen / trained

    def found(claim: str, holds: bool, evidence: str) -> Finding:
        verdict: Verdict = "supported" if holds else "refuted"
        return Finding(claim, CLAIMS[claim], verdict, f"{evidence} (arithmetic for the seed's sizes, whatever was run)")

    return [
        found("EF-13", round(trained / 1e6, 1) == 49.2, f"exactly {trained:,} of {total:,}, {trained / total:.1%}"),
        found("EF-14", round(frozen / 1e6, 2) == 7.09, f"exactly {frozen:,} of {total:,}, {frozen / total:.1%}"),
        found("EF-15", round(cut, 3) == 0.856, f"{trained:,} to {frozen:,} is {cut:.1%} fewer"),
        found(
            "EF-16",
            abs(per["trained"][0] - 100) < 10,
            f"{per['trained'][0]:.0f} and {per['trained'][1]:.0f} at {TOKENS[0]:,} and {TOKENS[1]:,} tokens",
        ),
        found(
            "EF-17",
            abs(per["frozen"][0] - 14) < 1,
            f"{per['frozen'][0]:.1f} and {per['frozen'][1]:.1f} at these tokens",
        ),
        found(
            "WT-1",
            round((total + head) / 1e6, 2) == 91.43,
            f"exactly {total + head:,} to {total:,}, {total / (total + head) - 1:.1%}",
        ),
    ]


def _freezing(found: Comparison, trained: ArmRuns, frozen: ArmRuns) -> list[Finding]:
    """EF-1, EF-11, EF-25: what freezing does to the best loss, and to the gap at the end of training."""
    told = paired(LOSS, trained, frozen)
    ratio = by_ratio(told, CLAIMED_DROP) if told else "inconclusive"
    return [
        _by_loss("EF-1", trained, frozen, found),
        Finding(
            "EF-11", CLAIMS["EF-11"], ratio, f"{change(trained, frozen)}, {on(found)}; the seed compared 1,189 with 334"
        ),
        _steadier(trained, frozen, found),
    ]


def _steadier(trained: ArmRuns, frozen: ArmRuns, found: Comparison) -> Finding:
    """EF-25: less overfitting is a smaller gap after equal updates, stabler training a smaller spread over seeds."""
    gap = paired_gap(trained, frozen)
    verdict = better(gap)
    spread = [arm.mean(LOSS).get("_sd", 0.0) for arm in (trained, frozen)]
    told = f"{trained.arm.label} → {frozen.arm.label}: {changed(gap, 'gap_equal')}, {on(found)}"
    if verdict != "inconclusive":
        told += f"; standard deviation of the loss over seeds {spread[0]:.3f} → {spread[1]:.3f}"
    if verdict == "supported" and spread[1] >= spread[0]:
        verdict = "refined"
    return Finding("EF-25", CLAIMS["EF-25"], verdict, told)


def _by_loss(claim: str, worse_one: ArmRuns, better_one: ArmRuns, found: Comparison, what: str = "") -> Finding:
    told = paired(LOSS, worse_one, better_one)
    return Finding(claim, CLAIMS[claim], better(told), f"{change(worse_one, better_one)}{what}, {on(found)}")


def _tying(found: Comparison, untied: ArmRuns, tied: ArmRuns) -> Finding:
    """WT-2: what tying does to the loss.  At most refined: models of one size cannot say where it pays most."""
    verdict = better(paired(LOSS, untied, tied))
    told = f"{change(untied, tied)}, {on(found)}; whether it pays more in small models takes models of several sizes"
    return Finding("WT-2", CLAIMS["WT-2"], "refined" if verdict == "supported" else verdict, told)


def _contexts(found: Comparison) -> list[Finding]:
    """EF-5, EF-6: does the share that converged, or the effective rank, tell a trained block from an untrained one?"""
    measured = [one for one in found.own_contexts if one.rows]
    if not measured:
        return []
    told: list[Finding] = []
    if len(measured[0].rows) > 1:
        second, last = (min(each.rows[place]["converged_fraction"] for each in measured) for place in (0, -1))
        decided = second >= UNTOUCHED and len(measured) >= LEAST_SEEDS
        told.append(
            Finding(
                "EF-5",
                CLAIMS["EF-5"],
                "refuted" if decided else "inconclusive",
                f"before its first update the block has {second:.1%} of the contexts where they were, at the end "
                f"{last:.1%} (the lowest of {counted(len(measured), 'seed')})"
                + (": the share cannot tell learning from not learning" if second >= UNTOUCHED else "")
                + f", {on(found)}",
            )
        )
    lower = all(each.ranks["train"] <= each.ranks["untrained"] + 0.01 for each in measured)
    higher = all(each.ranks["train"] > each.ranks["untrained"] + 0.01 for each in measured)
    ranks = {part: fmean(each.ranks[part] for each in measured) for part in ("train", "valid", "untrained")}
    told.append(
        Finding(
            "EF-6",
            CLAIMS["EF-6"],
            "refuted" if lower else "refined" if higher else "inconclusive",
            f"{ranks['train']:.1%} after training and {ranks['untrained']:.1%} before it (validation "
            f"{ranks['valid']:.1%}): what is good has to be measured against the untrained block, {on(found)}",
        )
    )
    return told


def _below_a_million(found: Comparison, growth: Growth) -> Finding:
    """EF-20: is freezing better at every number of tokens below a million?  Supported only by a run that goes there."""
    verdicts = {
        tokens: better(paired(LOSS, trained, frozen)) for tokens, frozen, trained in growth if tokens < A_MILLION
    }
    verdict: Verdict = "inconclusive"
    if "refuted" in verdicts.values():
        verdict = "refuted"
    elif set(verdicts.values()) == {"supported"}:
        verdict = "supported" if max(tokens for tokens, *_ in growth) >= A_MILLION else "refined"
    each = [f"{tokens:,} tokens: {changed(paired(LOSS, trained, frozen))}" for tokens, frozen, trained in growth]
    told = f"freezing instead of training, {'; '.join(each)}; text {found.task.text.name}"
    if verdict == "refined":
        told += "; nothing was run between there and a million"
    return Finding("EF-20", CLAIMS["EF-20"], verdict, told)
