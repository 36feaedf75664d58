"""From a depth sweep to its pictures, as plain data.

Leaves out every question of ink.
"""

from collections.abc import Sequence

from llmlab.lm.depth import DepthArm, DepthSweep
from llmlab.lm.depth_tables import reference_losses, reference_ppls
from llmlab.measure.stats import mean_interval
from llmlab.report.result import ARMS, Figure, Mark, Role, rounded


def curves(found: DepthSweep) -> Figure:
    """Return the learning curve of each depth: mean validation loss over seeds, by epoch."""
    marks, told = list[Mark](), list[str]()
    for number, arm in enumerate(found.main):
        count = min(len(run.losses) for run in arm.runs)
        means = [mean_interval([run.losses[epoch] for run in arm.runs])[""] for epoch in range(count)]
        role = ARMS[number % len(ARMS)]
        marks.append(Mark("line", role, [epoch + 1.0 for epoch in range(count)], rounded(means), legend=arm.label))
        told.append(f"{arm.label} {means[-1]:.3f}")
    bigram = reference_losses(found)["bigram"]
    marks.append(Mark("level", "other", [], [bigram], legend="bigram"))
    return Figure(
        "curves",
        "Learning curves",
        f"Mean validation loss per token after the last common epoch of each depth: {', '.join(told)} nats; a bigram "
        f"has {bigram:.3f}.",
        "epoch",
        "loss (nats)",
        marks,
        after="times",
    )


def by_depth(found: DepthSweep) -> Figure:
    """Return validation PPL against depth with its intervals, the remedy beside it."""
    marks = [*_against_depth(found.main, "val_ppl", "series", found.settings.stack)]
    residual = [*(arm for arm in found.main if arm.depth == 1), *found.remedies]
    if found.remedies and len(residual) > 1:  # one point is no line
        marks += _against_depth(residual, "val_ppl", "winner", "residual")
    ppls = reference_ppls(found)
    bigram = ppls["bigram"]
    marks.append(Mark("level", "other", [], [bigram], legend="bigram"))
    told = ", ".join(f"{arm.label} {mean_interval(arm.values('val_ppl'))['']:.2f}" for arm in found.finished)
    bands = "" if found.settings.seeds == 1 else " The bands are 95 % intervals of the means."
    return Figure(
        "by-depth",
        "Perplexity by depth",
        f"Validation PPL at the best epoch: {told}; a bigram has {bigram:.2f}.{bands}",
        "hidden layers",
        "PPL",
        marks,
        after="depths",
    )


def fit_by_depth(found: DepthSweep) -> Figure:
    """Return train and validation loss against depth, both without dropout."""
    marks = [
        *_against_depth(found.main, "val_loss_token", "series", "validation"),
        *_against_depth(found.main, "train_loss_no_dropout", "before", "train"),
    ]
    shallow, deep = found.main[0], found.main[-1]
    ends = [mean_interval(arm.values("train_loss_no_dropout"))[""] for arm in (shallow, deep)]
    return Figure(
        "fit-by-depth",
        "Train and validation loss by depth",
        f"Without dropout: train loss {ends[0]:.3f} nats at {shallow.label} and {ends[1]:.3f} at {deep.label}. Where "
        "both curves rise together, depth hinders learning; where only validation rises, it overfits.",
        "hidden layers",
        "loss (nats)",
        marks,
        after="fit",
    )


def _against_depth(arms: Sequence[DepthArm], name: str, role: Role, legend: str) -> list[Mark]:
    """Return a line and, where every arm has several seeds, the band of its intervals."""
    told = [mean_interval(arm.values(name)) for arm in arms]
    xs, ys = [float(arm.depth) for arm in arms], rounded(one[""] for one in told)
    marks = [Mark("line", role, xs, ys, legend=legend)]
    if all("_low" in one for one in told):
        low, high = (rounded(one[end] for one in told) for end in ("_low", "_high"))
        marks.insert(0, Mark("band", role, xs, low, tops=high))
    return marks
