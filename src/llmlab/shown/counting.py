"""What stands beside every model of words: counting on the same targets, and the floor where it is known."""

from collections.abc import Mapping, Sequence

from llmlab.lab.dataset import Dataset
from llmlab.measure.ngram import Baseline
from llmlab.measure.score import perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell

COUNTING = {
    "majority": "always the commonest token",
    "unigram": "unigram",
    "bigram": "bigram",
    "kneser_ney_3": "Kneser–Ney 3-gram",
}


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
