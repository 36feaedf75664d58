"""Chapter 1: train only the output layer, the embedding stays where it fell.

Question: if every token keeps the random place it was given, can a linear layer still learn what follows
what?  And how far from perfect does it end?

    score[x, k] = E[x] . W[k] + b[k],   E frozen,   W and b trained

Covers one text as pair counts, 200 full-batch Adam updates, the exact floor, and the spread over seeds.
But: nothing here moves the places themselves.  That is chapter 2.
"""

from torch import Tensor

from llmlab.measure.entropy import conditional_entropy
from llmlab.model.toy import TinyModel
from llmlab.report.result import Result, counted, rounded
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
        metrics={**outcome.metrics(trained, samples), **outcome.frozen(trained)},
        summary=_summary(settings, trained, samples),
        tables=shown if settings.seeds == 1 else [*shown, tables.over_seeds(samples)],
        figures=[figures.learning_curve(trained)],
        samples={name: rounded(values.tolist()) for name, values in samples.items()},
    )


def _summary(settings: Phase1Settings, run: TinyRun, samples: dict[str, Tensor]) -> list[str]:
    tokens = run.pairs.vocabulary.names
    focus = run.pairs.vocabulary.numbers[settings.focus]
    next_token = tokens[next(iter(run.pairs.followers(focus)))]
    return [
        f"With only the output layer trained, the loss before the last of {counted(settings.epochs, 'update')} was "
        f"{outcome.told(samples['loss'])}; the floor of this text is {conditional_entropy(run.pairs.counts):.6f}.",
        f"P({next_token} | {visible(settings.focus)}) ended at {outcome.told(samples['p_next'])}.",
        "The embedding did not move, to the last bit: it was never handed to the optimiser.",
    ]
