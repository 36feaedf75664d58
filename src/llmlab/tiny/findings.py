"""What a run says about the claims of the seed document on the tiny model.

Each function looks at numbers and returns verdicts with their evidence; no verdict is written in by hand.
Leaves out when a run may judge a claim at all: only under the claim's own conditions, which the chapters check.
"""

from torch import Tensor

from llmlab.measure.entropy import unigram_entropy
from llmlab.measure.geometry import affine_rank, moved
from llmlab.measure.ranks import quantiles
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Finding, Verdict, counted
from llmlab.tiny.outcome import interval
from llmlab.tiny.training import TinyRun
from llmlab.tiny.trials import Equivariance, PoleStar

CLAIMS = {
    "P1-1": "With the embedding frozen in eight dimensions the loss ends at about 0.36.",
    "P1-2": "After h the model expects e.",
    "P1-3": "The probability of e after h ends at 0.978.",
    "P1-4": "The embedding is not updated, only the linear layer.",
    "P1-5": "The output layer alone can adjust the probabilities.",
    "P1-6": "With a frozen embedding the freedom is limited.",
    "P1-7": "Four runs of this experiment ended at 0.3504, 0.3496, 0.3754 and 0.3620.",
    "P12-1": "With everything trained in two dimensions h, e and l move far and o does not move at all.",
    "P12-2": "A token that is never an input gets no gradient and stays put, a pole star.",
    "P12-3": "h and e did not come closer, against intuition.",
    "P12-5": "The next letter is decided by the inner product of an embedding with an output row.",
    "P12-7": "Meaning is not closeness of words but agreement of a word with an output direction.",
    "P12-8": "Turning embedding and output layer together changes nothing; only relations matter.",
}
"""What the seed document says, in our words."""

SEED_LOSSES = (0.350415, 0.349635, 0.375358, 0.361999)
"""The four final losses in the seed document's log of its first experiment."""

SEED_P_NEXT = 0.97796
ENOUGH_SEEDS = 20
"""Fewer seeds than this decide no claim about what usually happens."""

ENOUGH_FOR_EXTREMES = 1_000
"""Fewer seeds than this say nothing of a run that lies outside all of them."""

FAR = 0.5
"""A mean way longer than this counts as far: half the spread that embeddings start with."""


def frozen_embedding(run: TinyRun) -> Finding:
    """Judge whether a frozen embedding was still to the last bit; one run decides it."""
    change = float((run.after.embedding - run.before.embedding).abs().max())
    evidence = f"largest change of any embedding number over {counted(len(run.after), 'seed')}: {change}"
    return Finding("P1-4", CLAIMS["P1-4"], "supported" if change == 0 else "refuted", evidence)


def output_layer_alone(run: TinyRun, samples: dict[str, Tensor]) -> list[Finding]:
    """Judge the claims that were made for "hello" in eight dimensions with the embedding frozen."""
    loss, p_next, seeds = samples["loss"], samples["p_next"], len(run.after)
    low, middle, high = quantiles(loss, 0.05, 0.5, 0.95)
    p_low, p_high = quantiles(p_next, 0.05, 0.95)
    right = interval("", samples["correct_fraction"])
    beaten = int((loss < unigram_entropy(run.pairs.counts)).sum())
    return [
        _usually("P1-1", seeds, low <= 0.36 <= high, f"median {middle:.4f}, 90 % of seeds in {low:.4f} to {high:.4f}"),
        _judged(
            "P1-2",
            seeds,
            _side_of(right, 0.5, below="refuted", above="supported"),
            f"e is the likeliest token after h in {right['']:.1%} of seeds",
        ),
        _usually("P1-3", seeds, p_low <= SEED_P_NEXT <= p_high, f"90 % of seeds in {p_low:.3f} to {p_high:.3f}"),
        _usually("P1-5", seeds, beaten == seeds, f"{beaten:,} of {counted(seeds, 'seed')} beat token frequencies"),
        _limited_freedom(run),
        _logged_losses(loss),
    ]


def _limited_freedom(run: TinyRun) -> Finding:
    inputs = run.pairs.inputs()
    if bool((affine_rank(run.before.embedding[:, inputs]) == len(inputs)).all()):
        return Finding(
            "P1-6",
            CLAIMS["P1-6"],
            "refined",
            "the places of h, e and l are linearly independent, so the linear layer can reach every table of scores: "
            "freezing limits the speed, not the reach",
        )
    return Finding("P1-6", CLAIMS["P1-6"], "supported", "some start cannot reach every table of scores")


def _logged_losses(loss: Tensor) -> Finding:
    seeds, smallest = len(loss), float(loss.min())
    below = [value for value in SEED_LOSSES if value < smallest]
    evidence = f"{len(below)} of the four lie below the smallest of {counted(seeds, 'seed')}, {smallest:.4f}"
    if seeds < ENOUGH_FOR_EXTREMES:
        return Finding("P1-7", CLAIMS["P1-7"], "inconclusive", evidence)
    if not below:
        return Finding("P1-7", CLAIMS["P1-7"], "supported", evidence)
    return Finding(
        "P1-7", CLAIMS["P1-7"], "refined", f"{evidence}; they could be runs in which the embedding was not yet frozen"
    )


def exact_movement(
    run: TinyRun, rotation_difference: float, equivariance: list[Equivariance], star: list[PoleStar]
) -> list[Finding]:
    """Judge the claims on movement that one seed can decide: they hold to the last bit or they do not."""
    way = moved(run.before.embedding, run.after.embedding)  # (S, V): h, e, l, o
    means, still = way[:, :3].mean(0).tolist(), float(way[:, 3].max())
    sgd, adam = (row.probability_difference for row in equivariance)
    moves_elsewhere = any(row.embedding_moved > 0 for row in star)
    return [
        Finding(
            "P12-1",
            CLAIMS["P12-1"],
            "supported" if still == 0 and min(means) > FAR else "refuted",
            f"mean way of h, e, l: {', '.join(f'{mean:.2f}' for mean in means)} (far: above {FAR}); of o: {still:.2f} "
            f"({counted(len(run.after), 'seed')})",
        ),
        Finding(
            "P12-2",
            CLAIMS["P12-2"],
            "refuted" if still > 0 else "refined" if moves_elsewhere else "supported",
            f"way of o's embedding under {'; '.join(f'{row.rule}: {row.embedding_moved:.4f}' for row in star)}",
        ),
        Finding(
            "P12-8",
            CLAIMS["P12-8"],
            "refuted" if rotation_difference > 1e-4 else "refined" if adam > 1e-6 else "supported",
            f"rotating the trained model changes no score by more than {rotation_difference:.1e}; but rotating the "
            f"start changes the P that training ends with by up to {adam:.1e} under Adam ({sgd:.0e} under SGD)",
        ),
    ]


def usual_movement(samples: dict[str, Tensor]) -> list[Finding]:
    """Judge the claims on movement that speak of what usually happens, each from an interval over seeds."""
    seeds = len(samples["loss"])
    shrank, agree = (interval("", samples[f"{name}_fraction"]) for name in ("distance_shrank", "score_argmax_agrees"))
    product, closeness = (samples[f"rank_correlation_{name}"] for name in ("product", "closeness"))
    ahead = mean_interval((product - closeness).tolist())
    return [
        _judged(
            "P12-3",
            seeds,
            _side_of(shrank, 0.5, below="supported", above="refuted"),
            f"h and e came closer in {shrank['']:.1%} of seeds",
        ),
        _judged(
            "P12-5",
            seeds,
            # never plain "supported": the bias is trained, and it is in every score
            _side_of(agree, 0.5, below="refuted", above="refined"),
            f"the score is inner product plus bias; without the bias the same token wins in {agree['']:.1%} of seeds",
        ),
        _judged(
            "P12-7",
            seeds,
            _side_of(ahead, 0.0, below="refuted", above="supported"),
            f"rank correlation with P(next): inner product {float(product.mean()):.2f}, closeness "
            f"{float(closeness.mean()):.2f}",
        ),
    ]


def _side_of(found: dict[str, float], border: float, *, below: Verdict, above: Verdict) -> Verdict:
    """Return a verdict by the side of a border that a whole interval lies on."""
    if found.get("_high", border) < border:
        return below
    return above if found.get("_low", border) > border else "inconclusive"


def _usually(claim: str, seeds: int, holds: bool, evidence: str) -> Finding:
    return _judged(claim, seeds, "supported" if holds else "refuted", evidence)


def _judged(claim: str, seeds: int, verdict: Verdict, evidence: str) -> Finding:
    enough = seeds >= ENOUGH_SEEDS
    return Finding(
        claim, CLAIMS[claim], verdict if enough else "inconclusive", f"{evidence} ({counted(seeds, 'seed')})"
    )
