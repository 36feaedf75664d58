"""What is shown of every trained model that is taken further: what its checkpoint holds, intervals, lost seeds."""

from collections.abc import Iterable, Mapping

from llmlab.lab.sizes import MODELS
from llmlab.report.messages import Text, say
from llmlab.report.result import Scalar, Table, of_documents, of_seeds
from llmlab.settings import BaselineSettings
from llmlab.shown.table import cells, table

Metrics = Mapping[str, Scalar]


def the_model(settings: BaselineSettings, parameters: int, words: int, epochs: int, seed: int) -> Table:
    """Return what a checkpoint holds: the settings it was trained under, how long, and from which seed."""
    widths = f"{settings.embedding}, {settings.hidden}, {settings.context}"
    rows = {
        "model": MODELS[settings.model],
        "parameters": f"{parameters:,}",
        "layers": str(settings.layers),
        **({"embedding, hidden, context": widths} if settings.model == "new-llm" else {}),
        "words with a number": f"{words:,}",
        "trained on": settings.data,
        "epochs finished": str(epochs),
        "seed": str(seed),
    }
    return table("after.model", rows.items())


def over_seeds(
    heading: str, rows: Mapping[Text, str], metrics: Metrics, seeds: int, documents: int, blocks: int
) -> list[Table]:
    """Return metrics with their intervals, over seeds and over documents drawn anew; nothing for a single seed.

    ``rows`` are metrics by what they are called; ``documents``, or ``blocks`` of neighbours, are drawn.
    """
    if seeds < 2:
        return []
    each = [[name, seeds, *cells(metrics, f"{metric}±±")] for name, metric in rows.items()]
    intervals = of_seeds([seeds], documents), of_documents(documents, blocks)
    return [table("intervals.of_means", each, *intervals, columns=f"{heading} | n:integer | mean:3 ±±")]


def left_out(diverged: Iterable[tuple[int, str, int]], stopped_after: int | None) -> list[Text]:
    """Return what is in no number of a comparison: the seed, arm and update of each run that diverged, and a stop."""
    lost: list[Text] = [say("study.lost", seed=seed, arm=arm, update=update) for seed, arm, update in diverged]
    return lost if stopped_after is None else [*lost, say("study.stopped", seeds=stopped_after)]
