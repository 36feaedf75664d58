"""From trained language models to pictures, as plain data.

Leaves out every question of ink.
"""

from collections.abc import Sequence

from llmlab.lm.tables import named
from llmlab.lm.training import Trained
from llmlab.measure.score import Score
from llmlab.report.result import Figure, Mark, counted, rounded


def learning_curve(runs: Sequence[Trained]) -> Figure:
    """Return validation loss by epoch, its mean and range over seeds, between counting and the floor."""
    count = min(len(run.history) for run in runs)
    xs = [float(epoch) for epoch in range(1, count + 1)]
    by_epoch = [[run.history[epoch]["val_loss_token"] for run in runs] for epoch in range(count)]
    train = [sum(run.history[epoch]["train_loss_token"] for run in runs) / len(runs) for epoch in range(count)]
    middle = [sum(losses) / len(losses) for losses in by_epoch]
    task = runs[0].task
    marks = [
        Mark("line", "before", xs, rounded(train), legend="train (dropout on)"),
        Mark("line", "series", xs, rounded(middle), legend="validation"),
        Mark("level", "other", [], [task.references["bigram"].loss], legend="bigram"),
        Mark("level", "winner", [], [task.references["kneser_ney_3"].loss], legend="Kneser–Ney 3-gram"),
    ]
    if len(runs) > 1:
        low, high = ([pick(losses) for losses in by_epoch] for pick in (min, max))
        marks.insert(0, Mark("band", "series", xs, rounded(low), tops=rounded(high), legend="all seeds"))
    floor = ""
    if task.bayes_loss is not None:
        marks.append(Mark("level", "floor", [], [task.bayes_loss], legend="Bayes floor"))
        floor = f", the Bayes floor {task.bayes_loss:.3f}"
    return Figure(
        "curve",
        "Learning curve",
        f"Validation loss per token of {named(runs[0].settings)} from {middle[0]:.3f} to {middle[-1]:.3f} nats in "
        f"{counted(count, 'epoch')}, mean of {counted(len(runs), 'seed')}; a bigram has "
        f"{task.references['bigram'].loss:.3f}, Kneser–Ney {task.references['kneser_ney_3'].loss:.3f}{floor}.",
        "epoch",
        "loss (nats)",
        marks,
        after="epochs",
    )


def loss_by_position(score: Score, name: str) -> Figure:
    """Return the loss of a named model against the position in the window."""
    kept = [(n + 1.0, loss) for n, loss in enumerate(score.loss_by_position) if score.targets_by_position[n]]
    xs, ys = [x for x, _ in kept], [y for _, y in kept]
    return Figure(
        "by-position",
        "Loss by position",
        f"Loss of the target at each position of the window: {ys[0]:.3f} nats at the first, {ys[-1]:.3f} at the last.",
        "position in the window",
        "loss (nats)",
        [Mark("line", "series", xs, rounded(ys), legend=name)],
        after="by_position",
    )
