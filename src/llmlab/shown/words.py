"""What the chapters on words share: how their runs ended, counting beside a model, which epochs and positions stand.

Counting is judged on the same targets as a model, and beside both stands the floor, where it is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmlab.lab.dataset import Dataset
from llmlab.lab.runs import LanguageRun
from llmlab.lab.study import Study
from llmlab.measure.ngram import Baseline
from llmlab.measure.score import Score, perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell

COUNTING = {
    "majority": "always the commonest token",
    "unigram": "unigram",
    "bigram": "bigram",
    "kneser_ney_3": "Kneser–Ney 3-gram",
}

MOST_EPOCHS_SHOWN = 16


# ---- cells -------------------------------------------------------------------------------------------------------


def counted(found: Mapping[str, Baseline]) -> list[list[Cell]]:
    """Return name, PPL, loss, accuracy and accuracy of known targets of each way of counting.

    What always says the same token gives no probabilities, so it has no loss.
    """
    rows: list[list[Cell]] = []
    for key, title in COUNTING.items():
        reached = [None, None] if key == "majority" else [found[key].ppl, found[key].loss]
        rows.append([title, *reached, found[key].accuracy, found[key].accuracy_known])
    return rows


def exactly(title: str, loss: float | None) -> list[list[Cell]]:
    """Return the row of a reader who knows the made-up language; none where nobody does."""
    return [] if loss is None else [[title, perplexity(loss), loss, None, None]]


def shown_epochs(count: int, best: int) -> list[int]:
    """Return which epochs a table shows: all, or the first, every fifth or so, the best and the last."""
    if count <= MOST_EPOCHS_SHOWN:
        return list(range(1, count + 1))
    stride = next(step for step in (2, 5, 10, 20, 50, 100, 1000, 10_000, 100_000) if count // step < MOST_EPOCHS_SHOWN)
    return sorted({1, best, count, *range(stride, count + 1, stride)})


def ppls_at(epoch: int, losses: Iterable[Sequence[float]]) -> list[Cell]:
    """Return the perplexity of each curve at an epoch; an empty cell where one has ended before."""
    return [perplexity(each[epoch]) if epoch < len(each) else None for each in losses]


def loss_by_groups(score: Score) -> list[tuple[str, float, int]]:
    """Return the positions of the window in groups that double: their name, their loss, their targets."""
    found: list[tuple[str, float, int]] = []
    first, last = 1, len(score.loss_by_position)
    while first <= last:
        stop = min(2 * first - 1, last)
        losses, targets = score.loss_by_position[first - 1 : stop], score.targets_by_position[first - 1 : stop]
        if total := sum(targets):
            loss = sum(one * count for one, count in zip(losses, targets, strict=True)) / total
            found.append((f"{first}" if first == stop else f"{first}–{stop}", loss, total))
        first *= 2
    return found


# ---- in sentences -------------------------------------------------------------------------------------------------


def beside(found: Mapping[str, Baseline]) -> dict[str, float]:
    """Return what a model's perplexity stands beside in a sentence, by the names of its holes."""
    named = {"counting": "kneser_ney_3", "bigram": "bigram", "frequencies": "unigram"}
    return {name: found[key].ppl for name, key in named.items()}


def beside_counting(found: Mapping[str, Baseline], ppls: Sequence[float]) -> list[Text]:
    """Return a sentence where the best way of counting does better than a model, or than some of several models."""
    best = min(baseline.ppl for baseline in found.values())
    worse = sum(ppl > best for ppl in ppls)
    if not worse:
        return []
    if len(ppls) == 1:
        return [say("counting.better")]
    if worse == len(ppls):
        return [say("counting.better_than_all", models=worse)]
    return [say("counting.better_than_some", worse=worse, models=len(ppls))]


def beside_the_floor(data: Dataset, loss: float) -> list[Text]:
    """Return a sentence on how near a model's loss comes to a reader's who knows the language; none in other texts."""
    recovered = data.context_recovered(loss)
    if recovered is None or data.bayes_loss is None:
        return []
    if recovered < 0:
        return [say("baseline.below_the_bigram", floor=perplexity(data.bayes_loss))]
    return [say("baseline.recovered", floor=perplexity(data.bayes_loss), recovered=recovered)]


def endings(found: Study[Any, LanguageRun], epochs: int) -> list[Text]:
    """Return a sentence for each run that diverged, and one if the study was stopped; a run plans ``epochs``."""
    several, told = len(found.arms) > 1, list[Text]()
    labels = {key: runs.arm.label or key for key, runs in found.arms.items()}
    for seed, key, update in found.diverged:
        lost = say("study.arm_lost", arm=labels[key], seed=seed, update=update)
        told.append(lost if several else say("study.seed_lost", seed=seed, update=update))
    for key, runs in found.arms.items():
        if runs.stopped is not None:
            done = {"epochs": len(runs.unfinished.history) if runs.unfinished else 0, "planned": epochs}
            if found.finished or several:
                whole = len(found.finished)
                told.append(say("study.stopped_in", arm=labels[key], seed=runs.stopped, finished=whole, **done))
            else:
                told.append(say("study.stopped_run", **done))
    return told
