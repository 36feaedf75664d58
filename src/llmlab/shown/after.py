"""What is shown of every trained model that is taken further: what its checkpoint holds, intervals, lost seeds."""

from collections.abc import Iterable, Mapping

from llmlab.lab.sizes import MODELS
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Scalar, Table, of_documents, of_seeds
from llmlab.settings import BaselineSettings
from llmlab.shown.table import BOTH_INTERVALS, estimated, means_over_seeds, table

Metrics = Mapping[str, Scalar]


def the_model(settings: BaselineSettings, parameters: int, words: int, epochs: int, seed: int) -> Table:
    """Return what a checkpoint holds: the settings it was trained under, how long, and from which seed."""
    rows: dict[str, Cell] = {
        "model": MODELS[settings.model],
        "parameters": f"{parameters:,}",
        "layers": str(settings.layers),
        "embedding, hidden, context": f"{settings.embedding}, {settings.hidden}, {settings.context}",
        "words with a number": f"{words:,}",
        "trained on": settings.data,
        "epochs finished": str(epochs),
        "seed": str(seed),
    }
    if settings.model != "new-llm":
        del rows["embedding, hidden, context"]
    return table("model", "The model", "what:text | value:token", rows.items(), say("after.model"))


def over_seeds(
    heading: str, rows: Mapping[Text, str], metrics: Metrics, seeds: int, documents: int, blocks: int
) -> list[Table]:
    """Return metrics with their intervals, over seeds and over documents drawn anew; nothing for a single seed.

    Args:
        heading: of the first column, with its kind.
        rows: the metric of each row by what it is called there.
        metrics: of the result.
        seeds: how many runs each arm has.
        documents: of the validation text.
        blocks: how many of them, or blocks of neighbours, are drawn; 0 where nothing is.
    """
    if seeds < 2:
        return []
    cells = [[name, seeds, *estimated(metrics, metric, BOTH_INTERVALS)] for name, metric in rows.items()]
    intervals = of_seeds([seeds], documents), of_documents(documents, blocks)
    return [means_over_seeds(heading, ":3", cells, "docs low:3 | docs high:3", *intervals)]


def left_out(diverged: Iterable[tuple[int, str, int]], stopped_after: int | None) -> list[Text]:
    """Return what is in no number of a comparison of arms.

    Args:
        diverged: seed, arm and update of each run that did.
        stopped_after: how many seeds are whole, if the comparison was stopped.
    """
    lost: list[Text] = [say("study.lost", seed=seed, arm=arm, update=update) for seed, arm, update in diverged]
    return lost if stopped_after is None else [*lost, say("study.stopped", seeds=stopped_after)]
