"""What is shown of chapter 1: three tables, the learning curve, and the result in three sentences."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from llmlab.measure.ranks import quantiles
from llmlab.measure.stats import metrics_of
from llmlab.report.messages import Text, say
from llmlab.report.result import Figure, Mark, Table, rounded
from llmlab.settings import Phase1Settings, TinySettings
from llmlab.shown.table import curve, figure, level, table
from llmlab.text.pairs import Pairs, visible

WHY, HOW = say("phase1.why"), say("phase1.how")
CURVE_POINTS = 100


def loss(pairs: Pairs, losses: Tensor) -> Table:
    """Return the loss, (T, S), beside its floor and the baselines that need no model."""
    floor = pairs.conditional_entropy()
    found = {
        "uniform guess": math.log(len(pairs.tokens)),
        "token frequencies only": pairs.unigram_entropy(),
        "before training": float(losses[0].mean()),
        "before the last update": float(losses[-1].mean()),
        "floor of the text": floor,
    }
    rows = [(name, value, value - floor) for name, value in found.items()]
    return table("phase1.loss", rows, seeds=losses.shape[1])


def next_token(pairs: Pairs, focus: int, before: Tensor, after: Tensor) -> Table:
    """Return P(next | focus) before and after, (S, V, V) each, beside the shares in the text."""
    names, followers = pairs.names, pairs.followers(focus)
    start, end = before[:, focus].mean(0), after[:, focus].mean(0)  # (V,)
    likeliest = end.argsort(descending=True).tolist()
    rows = [(names[k], followers.get(k, 0.0), float(start[k]), float(end[k])) for k in likeliest]
    return table("phase1.next_token", rows, focus=names[focus], seeds=len(after))


def tensors(before: dict[str, Tensor], after: dict[str, Tensor], trained: Collection[str]) -> Table:
    """Return what was trained and the largest change of any number in it, over all seeds."""
    rows = [
        (name, "trained" if name in trained else "frozen", start[0].numel(), float((after[name] - start).abs().max()))
        for name, start in before.items()
    ]
    caption = "Largest change of any single number, over all seeds. Frozen means exactly zero, not nearly."
    return table("phase1.tensors", rows, caption=caption)


def learning_curve(pairs: Pairs, losses: Tensor) -> Figure:
    """Return the loss, (T, S), against updates: the median with the band of 90 % of seeds, above the floor."""
    floor, (updates, seeds) = pairs.conditional_entropy(), losses.shape
    shown = torch.linspace(0, updates - 1, min(updates, CURVE_POINTS)).round().long()
    low, middle, high = zip(*(quantiles(each, 0.05, 0.5, 0.95) for each in losses[shown]), strict=True)
    line = curve(middle, "series", "loss" if seeds == 1 else "median loss", [float(update + 1) for update in shown])
    marks = [line, *level(floor, "floor", "floor")]
    if seeds > 1:
        marks.insert(0, Mark("band", "series", line.xs, rounded(low), tops=rounded(high), legend="90 % of seeds"))
    return figure("phase1.curve", marks, first=middle[0], last=middle[-1], updates=updates, seeds=seeds, floor=floor)


def summary(settings: Phase1Settings, pairs: Pairs, samples: dict[str, Tensor]) -> list[Text]:
    """Return the result in three sentences."""
    wanted = pairs.names[next(iter(pairs.followers(pairs.numbers[settings.focus])))]
    return [
        reached("phase1.reached", settings, pairs, samples),
        say("phase1.p_next", next=wanted, focus=visible(settings.focus), probability=over_seeds(samples["p_next"])),
        "The embedding did not move, to the last bit: it was never handed to the optimiser.",
    ]


def reached(key: str, settings: TinySettings, pairs: Pairs, samples: Mapping[str, Tensor]) -> Text:
    """Return what the loss came to, beside the floor of the text, as the message of a chapter."""
    floor = pairs.conditional_entropy()
    return say(key, updates=settings.epochs, loss=over_seeds(samples["loss"]), floor=floor)


def over_seeds(values: Tensor) -> Text | float:
    """Return a metric for a sentence: its value, or the mean over seeds with its interval."""
    found = metrics_of({"": values.tolist()})
    if len(values) == 1:
        return found[""]
    return say("phase1.mean", mean=found[""], seeds=len(values), low=found["_low"], high=found["_high"])
