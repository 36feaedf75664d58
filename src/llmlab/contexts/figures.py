"""From arms to the pictures of chapters 5 and 6, as plain data.

Leaves out every question of ink.
"""

from collections.abc import Sequence

from llmlab.contexts.running import LOSS, ArmRuns
from llmlab.contexts.task import ContextTask
from llmlab.measure.stats import mean_interval
from llmlab.report.result import ARMS, Figure, Mark, Role, rounded


def curves(shown: Sequence[ArmRuns], task: ContextTask) -> Figure:
    """Return the validation loss of each arm by epoch, mean over seeds, between a bigram and the floor."""
    marks, told = list[Mark](), list[str]()
    for number, arm in enumerate(shown):
        means = common(arm, "losses")
        marks.append(_curve(means, ARMS[number % len(ARMS)], arm.arm.label))
        told.append(f"{arm.arm.label} {min(means):.3f}")
    marks.append(Mark("level", "other", [], [task.references["bigram"].loss], legend="bigram"))
    if task.bayes_loss is not None:
        marks.append(Mark("level", "floor", [], [task.bayes_loss], legend="Bayes floor"))
    return Figure(
        "curves",
        "Validation loss by epoch",
        f"Lowest mean validation loss of each arm: {', '.join(told)} nats; a bigram has "
        f"{task.references['bigram'].loss:.3f}.",
        "epoch",
        "loss (nats)",
        marks,
        after="epochs",
    )


def train_and_validation(shown: Sequence[ArmRuns]) -> Figure:
    """Return train and validation loss of a few arms by epoch, mean over seeds."""
    marks, told = list[Mark](), list[str]()
    for number, arm in enumerate(shown):
        for place, (name, what) in enumerate((("losses", "validation"), ("train_losses", "train"))):
            means = common(arm, name)
            marks.append(_curve(means, ARMS[(2 * number + place) % len(ARMS)], f"{arm.arm.label}: {what}"))
            told.append(f"{arm.arm.label}, {what} {means[-1]:.3f}")
    return Figure(
        "fit",
        "Train and validation loss by epoch",
        f"After the last common epoch: {'; '.join(told)} nats. Where train falls and validation rises, a model "
        "overfits.",
        "epoch",
        "loss (nats)",
        marks,
        after="fit",
    )


def growth(sizes: Sequence[tuple[int, ArmRuns, ArmRuns]]) -> Figure:
    """Return the loss of frozen and of trained against the number of training tokens, with intervals."""
    xs = [float(tokens) for tokens, _, _ in sizes]
    marks: list[Mark] = []
    for number, name in enumerate(("frozen", "trained")):
        marks += _line(xs, [(frozen, trained)[number] for _, frozen, trained in sizes], ARMS[number], name)
    first, last = sizes[0], sizes[-1]
    ends = [[f"{arm.mean(LOSS)['']:.3f}" for arm in (row[1], row[2])] for row in (first, last)]
    return Figure(
        "growth",
        "Frozen and trained by number of tokens",
        f"Validation loss, frozen and trained: {' and '.join(ends[0])} nats on {first[0]:,} tokens, "
        f"{' and '.join(ends[1])} on {last[0]:,}.",
        "training tokens",
        "loss (nats)",
        marks,
        after="growth",
    )


def by_value(name: str, title: str, label: str, values: Sequence[float], shown: Sequence[ArmRuns]) -> Figure:
    """Return the loss of arms against the number that tells them apart, with intervals."""
    told = ", ".join(f"{value:g}: {arm.mean(LOSS)['']:.3f}" for value, arm in zip(values, shown, strict=True))
    return Figure(
        f"{name}-loss",
        title,
        f"Validation loss at the best epoch, mean over seeds, by {label}: {told} nats.",
        label,
        "loss (nats)",
        _line(list(values), shown, "series", "validation"),
        after=name,
    )


def common(arm: ArmRuns, name: str) -> list[float]:
    """Return the mean over seeds of a curve, as far as all seeds have it."""
    curves_of = [getattr(run, name) for run in arm.runs]
    return [mean_interval(list(each))[""] for each in zip(*curves_of, strict=False)]


def _curve(means: list[float], role: Role, legend: str) -> Mark:
    return Mark("line", role, [epoch + 1.0 for epoch in range(len(means))], rounded(means), legend=legend)


def _line(xs: list[float], shown: Sequence[ArmRuns], role: Role, legend: str) -> list[Mark]:
    """Return a line and, where every arm has several seeds, the band of its intervals."""
    told = [arm.mean(LOSS) for arm in shown]
    marks = [Mark("line", role, xs, rounded(one[""] for one in told), legend=legend)]
    if all("_low" in one for one in told):
        low, high = (rounded(one[end] for one in told) for end in ("_low", "_high"))
        marks.insert(0, Mark("band", role, xs, low, tops=high))
    return marks
