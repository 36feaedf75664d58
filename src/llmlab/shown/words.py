"""What the chapters on words share: how their runs ended, counting beside a model, which epochs and positions stand.

Counting is judged on the same targets as a model, and beside both stands the floor, where it is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from llmlab.lab.dataset import Dataset
from llmlab.lab.runs import LanguageRun
from llmlab.lab.study import Study
from llmlab.measure.ngram import Baseline
from llmlab.measure.score import Score, perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell
from llmlab.shown.table import tell

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
        one = found[key]
        losses = [None, None] if key == "majority" else [one.ppl, one.loss]
        rows.append([title, *losses, one.accuracy, one.accuracy_known])
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


def judged(key: str, data: Dataset, model: str, parameters: int, scores: Sequence[Score]) -> list[Text]:
    """Return in sentences what a model reached, by the message ``key``, beside counting and beside the floor.

    ``scores`` are those of its seeds; the accuracy is that of the first.
    """
    first, references, loss = scores[0], data.references, fmean(score.loss for score in scores)
    ppl, recovered = fmean(score.ppl for score in scores), data.context_recovered(loss)
    said = {
        "model": model,
        "parameters": parameters,
        "ppl": ppl,
        "text": data.name,
        "counting": references["kneser_ney_3"].ppl,
        "bigram": references["bigram"].ppl,
        "frequencies": references["unigram"].ppl,
        "seeds": len(scores),
        "accuracy": first.accuracy,
        "known": first.accuracy_known,
        "majority": references["majority"].accuracy,
    }
    floor = ""
    if recovered is not None and data.bayes_loss is not None:
        said |= {"floor": perplexity(data.bayes_loss), "recovered": recovered}
        floor = "baseline.below_the_bigram" if recovered < 0 else "baseline.recovered"
    return [*tell(said, key), *beside_counting(references, [ppl]), *tell(said, floor, "baseline.accuracy")]


def beside_counting(found: Mapping[str, Baseline], ppls: Sequence[float]) -> list[Text]:
    """Return a sentence where the best way of counting does better than a model, or than some of several models."""
    best = min(baseline.ppl for baseline in found.values())
    said = {"worse": sum(ppl > best for ppl in ppls), "models": len(ppls)}
    if not said["worse"]:
        return []
    if said["models"] == 1:
        return [say("counting.better")]
    every = said["worse"] == said["models"]
    return tell(said, "counting.better_than_all" if every else "counting.better_than_some")


def endings(found: Study[Any, LanguageRun], epochs: int) -> list[Text]:
    """Return a sentence for each run that diverged, and one if the study was stopped; a run plans ``epochs``."""
    several, told = len(found.arms) > 1, list[Text]()
    labels = {key: runs.arm.label or key for key, runs in found.arms.items()}
    for seed, key, update in found.diverged:
        lost = {"arm": labels[key], "seed": seed, "update": update}
        told += tell(lost, "study.arm_lost" if several else "study.seed_lost")
    for key, runs in found.arms.items():
        if runs.stopped is not None:
            done = len(runs.unfinished.history) if runs.unfinished else 0
            said = {"arm": labels[key], "seed": runs.stopped, "finished": len(found.finished)}
            ended = "study.stopped_in" if found.finished or several else "study.stopped_run"
            told += tell({**said, "epochs": done, "planned": epochs}, ended)
    return told
