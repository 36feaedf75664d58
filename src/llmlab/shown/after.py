"""What is shown of every trained model that is taken further: its checkpoint, what it is worth now, its model card."""

from collections.abc import Iterable, Mapping

from llmlab.lab.sizes import MODELS
from llmlab.measure.score import Score
from llmlab.report.messages import Message, Text, group, say
from llmlab.report.result import TO_ROUNDING, Cell, Scalar, Table, of_documents, of_seeds
from llmlab.settings import BaselineSettings
from llmlab.shown.table import cells, table, tell

Metrics = Mapping[str, Scalar]

BESIDE = {
    "Kneser–Ney 3-gram": "kneser_ney_ppl",
    "bigram": "bigram_ppl",
    "unigram": "unigram_ppl",
    "Bayes": "bayes_ppl",
}
"""What stands on a model card, by the names of its metrics."""

ROUNDING = 1e-6
"""Two losses that differ by less are one loss in float32, added up in another order."""


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


# ---- a model that is judged again ---------------------------------------------------------------------------------


def written_down(then: Mapping[str, float], score: Score, epochs: int) -> Table:
    """Return what the run wrote down at the end of its last finished epoch beside what is measured now."""
    now = {
        "loss per token": (then["val_loss_token"], score.loss),
        "accuracy": (then["val_accuracy"], score.accuracy),
        "accuracy of known": (then["val_accuracy_known"], score.accuracy_known),
    }
    rows: list[list[Cell]] = []
    for name, (before, value) in now.items():
        differs = value - before
        rows.append([name, before, value, TO_ROUNDING if 0 < abs(differs) < ROUNDING else differs])
    return table("evaluate.written_down", rows, epoch=epochs)


def judged_again(score: Score, then: Mapping[str, float] | None, trained_on: str | None) -> list[Text]:
    """Return in sentences how a score lies to what the run wrote down of the same text, or what another text is.

    ``then`` is what it wrote down, and ``trained_on`` the model's own text, if it is another.
    """
    told = list[Text]()
    if then:
        loss = then["val_loss_token"]
        differs = abs(score.loss - loss)
        same = "evaluate.same" if differs == 0 else "evaluate.same_to_rounding"
        told += tell({"loss": loss, "differs": differs}, same if differs < ROUNDING else "evaluate.differs")
    if trained_on is not None:
        told.append(say("evaluate.another_text", text=trained_on, unknown=score.unknown_share))
    return told


# ---- a model that leaves llmlab -----------------------------------------------------------------------------------


def written(sizes: Mapping[str, int]) -> Table:
    """Return the files with their bytes."""
    return table("export.files", sizes.items())


def card(settings: BaselineSettings, command: str, words: int, epochs: int, metrics: Metrics) -> Message:
    """Return the model card, in Markdown; ``command`` trains such a model, ``metrics`` are its own and of counting."""
    text = settings.data if settings.data in group("licence", "en") else "path"
    rows = {MODELS[settings.model]: "val_ppl", **BESIDE}
    told = [f"| {name} | {metrics[metric]:.2f} |" for name, metric in rows.items() if metric in metrics]
    return say(
        "export.card",
        model=MODELS[settings.model],
        data=say(f"licence.{text}"),
        epochs=epochs,
        words=words,
        command=command,
        rows="\n".join(told),
        accuracy=metrics["val_accuracy"],
        opened=say("export.open_new_llm" if settings.model == "new-llm" else "export.open_gpt2"),
    )
