"""What stands beside every model of words: counting on the same targets, and the floor where it is known."""

from collections.abc import Iterable, Mapping, Sequence

from llmlab.lab.dataset import Dataset
from llmlab.measure.ngram import Baseline
from llmlab.measure.score import perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Table
from llmlab.shown.table import table

COUNTING = {
    "majority": "always the commonest token",
    "unigram": "unigram",
    "bigram": "bigram",
    "kneser_ney_3": "Kneser–Ney 3-gram",
}


def what_predicts(rows: Iterable[Sequence[Cell]], caption: Text, *, known: bool) -> Table:
    """Return models between what counting reaches and what can be reached at all.

    Args:
        rows: of counting, models and floors: name, PPL, loss, accuracy, and accuracy of known targets.
        caption: what they predict.
        known: whether some targets have no number of their own, so that accuracy is told of the others too.
    """
    columns = "what predicts:text | PPL:2 | loss | accuracy:share" + (" | accuracy of known:share" if known else "")
    cells = (row[: 5 if known else 4] for row in rows)
    return table("meaning", "What the number means", columns, cells, caption)


def counted(found: Mapping[str, Baseline]) -> list[list[Cell]]:
    """Return the rows of counting; what always says the same token gives no probabilities, so it has no loss."""
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
    all_of = worse == len(ppls)
    return [
        say("counting.better_than_all", models=len(ppls))
        if all_of
        else say("counting.better_than_some", worse=worse, models=len(ppls))
    ]


def beside_the_floor(data: Dataset, loss: float) -> list[Text]:
    """Return a sentence on how near a model comes to the reader who knows the made-up language; none in another text.

    Args:
        data: the text.
        loss: of the model, in nats per token.
    """
    recovered = data.context_recovered(loss)
    if recovered is None or data.bayes_loss is None:
        return []
    if recovered < 0:
        return [say("baseline.below_the_bigram", floor=perplexity(data.bayes_loss))]
    return [say("baseline.recovered", floor=perplexity(data.bayes_loss), recovered=recovered)]
