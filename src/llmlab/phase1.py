"""Chapter 1: train only the output layer, the embedding stays where it fell.

Question: if every token keeps the random place it was given, can a linear layer still learn what follows
what?  And how far from perfect does it end?

    score[x, k] = E[x] . W[k] + b[k],   E frozen,   W and b trained

Covers one text as pair counts, 200 full-batch Adam updates, the exact floor, and the spread over seeds.
But: nothing here moves the places themselves.  That is chapter 2.
"""

from torch import Tensor

from llmlab.measure.entropy import conditional_entropy, unigram_entropy
from llmlab.measure.geometry import affine_rank
from llmlab.measure.ranks import quantiles
from llmlab.model.toy import TinyModel
from llmlab.report.result import Finding, Result, Verdict, counted, rounded
from llmlab.settings import Phase1Settings
from llmlab.text.pairs import Pairs
from llmlab.text.vocabulary import visible
from llmlab.tiny import figures, outcome, tables
from llmlab.tiny.training import TRAINED, TinyRun, train
from llmlab.train.fit import Diverged, OnStep
from llmlab.train.optimizer import Adam

WHY = (
    "A token embedding is a place in space. Here the places are random and never move; only the output layer, "
    "which reads the place, is trained. Is that enough to learn what follows what?"
)
HOW = (
    "Each character is a token. The model scores every possible next token k after token x by the inner product "
    "of x's embedding with k's output row, plus a bias. All pairs of the text form one batch; Adam makes the "
    "updates; the embedding is not handed to it. The floor is the conditional entropy of the pairs: no model that "
    "sees one token can do better."
)
SEED_LOSSES = (0.350415, 0.349635, 0.375358, 0.361999)
"""The four final losses in the seed document's log of this experiment."""

SEED_P_NEXT = 0.97796
CLAIMS = {
    "P1-1": "With the embedding frozen in eight dimensions the loss ends at about 0.36.",
    "P1-2": "After h the model expects e.",
    "P1-3": "The probability of e after h ends at 0.978.",
    "P1-4": "The embedding is not updated, only the linear layer.",
    "P1-5": "The output layer alone can adjust the probabilities.",
    "P1-6": "With a frozen embedding the freedom is limited.",
    "P1-7": "Four runs of this experiment ended at 0.3504, 0.3496, 0.3754 and 0.3620.",
}
"""What the seed document says of this experiment, in our words."""

ENOUGH_SEEDS = 20
"""Fewer seeds than this decide no claim about a distribution."""


def run(settings: Phase1Settings, on_step: OnStep | None = None) -> Result:
    """Train S models with a frozen embedding and report what that was enough for.

    Args:
        settings: the options of the chapter.
        on_step: called after each update with its number and the number planned.

    Returns:
        The result; its ``status`` is ``diverged`` if a loss stopped being finite.
    """
    pairs = Pairs.of(settings.text)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    start = TinyModel.initial(len(pairs.vocabulary), settings.dim, seeds)
    try:
        trained = train(
            start,
            pairs,
            lambda: Adam(settings.lr),
            trained=TRAINED["embedding"],
            updates=settings.epochs,
            on_step=on_step,
        )
    except Diverged as diverged:
        return Result.diverged(settings.experiment, settings.document(), WHY, HOW, diverged.update)
    focus = pairs.vocabulary.numbers[settings.focus]
    samples = outcome.per_seed(trained, focus)
    shown = [tables.loss(trained), tables.next_token(trained, focus), tables.tensors(trained, TRAINED["embedding"])]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        metrics=outcome.metrics(trained, samples),
        summary=_summary(settings, trained, samples),
        tables=shown if settings.seeds == 1 else [*shown, tables.over_seeds(samples)],
        figures=[figures.learning_curve(trained)],
        findings=_findings(settings, trained, samples),
        samples={name: rounded(values.tolist()) for name, values in samples.items()},
    )


def _summary(settings: Phase1Settings, run: TinyRun, samples: dict[str, Tensor]) -> list[str]:
    tokens = run.pairs.vocabulary.names
    focus = run.pairs.vocabulary.numbers[settings.focus]
    next_token = tokens[next(iter(run.pairs.followers(focus)))]
    return [
        f"{counted(settings.epochs, 'update')} of the output layer alone brought the loss to "
        f"{outcome.told(samples['loss'])}; the floor of this text is {conditional_entropy(run.pairs.counts):.6f}.",
        f"P({next_token} | {visible(settings.focus)}) ended at {outcome.told(samples['p_next'])}.",
        "The embedding did not move, to the last bit: it was never handed to the optimiser.",
    ]


def _findings(settings: Phase1Settings, run: TinyRun, samples: dict[str, Tensor]) -> list[Finding]:
    change = float((run.after.embedding - run.before.embedding).abs().max())
    still: Verdict = "supported" if change == 0 else "refuted"
    found = [
        Finding(
            "P1-4",
            CLAIMS["P1-4"],
            still,
            f"largest change of any embedding number over {counted(settings.seeds, 'seed')}: {change}",
        )
    ]
    seed = Phase1Settings()
    if (settings.text, settings.dim, settings.epochs, settings.lr) != (seed.text, seed.dim, seed.epochs, seed.lr):
        return found
    return sorted([*found, *_findings_of_the_seed(run, samples)], key=lambda finding: finding.claim)


def _findings_of_the_seed(run: TinyRun, samples: dict[str, Tensor]) -> list[Finding]:
    """Judge the claims that were made for "hello" in eight dimensions."""
    loss, p_next = samples["loss"].double(), samples["p_next"].double()
    seeds = len(loss)

    def judged(claim: str, holds: bool, evidence: str, otherwise: Verdict = "refuted") -> Finding:
        verdict: Verdict = "inconclusive" if seeds < ENOUGH_SEEDS else "supported" if holds else otherwise
        return Finding(claim, CLAIMS[claim], verdict, f"{evidence} ({counted(seeds, 'seed')})")

    low, middle, high = quantiles(loss, 0.05, 0.5, 0.95)
    p_low, p_high = quantiles(p_next, 0.05, 0.95)
    right = float(samples["correct_fraction"].double().mean())
    inputs = run.pairs.inputs()
    reachable = bool((affine_rank(run.before.embedding[:, inputs]) == len(inputs)).all())
    outside = [value for value in SEED_LOSSES if value < float(loss.min())]
    return [
        judged(
            "P1-1", low <= 0.36 <= high, f"final loss: median {middle:.4f}, 90 % of seeds in {low:.4f} to {high:.4f}"
        ),
        judged("P1-2", right > 0.95, f"e is the likeliest token after h in {right:.1%} of seeds"),
        judged("P1-3", p_low <= SEED_P_NEXT <= p_high, f"P(e given h): 90 % of seeds in {p_low:.3f} to {p_high:.3f}"),
        judged("P1-5", bool((loss < unigram_entropy(run.pairs.counts)).all()), "every seed beats token frequencies"),
        Finding(
            "P1-6",
            CLAIMS["P1-6"],
            "refuted" if reachable else "supported",
            "in 8 dimensions the places of h, e and l are linearly independent, so a linear layer can reach every "
            "table of scores: nothing is limited but the speed",
        ),
        judged(
            "P1-7",
            not outside,
            f"{len(outside)} of the four logged losses lie below the smallest of these runs, {float(loss.min()):.4f}: "
            "they look like runs in which the embedding was free",
            otherwise="refined",
        ),
    ]
