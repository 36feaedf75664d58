"""What is shown of a model that leaves llmlab: its files, and the model card that goes with it."""

from collections.abc import Mapping, Sequence

from llmlab.lab.sizes import MODELS
from llmlab.measure.score import perplexity
from llmlab.report.messages import Message, group, say
from llmlab.report.result import Scalar, Table
from llmlab.settings import BaselineSettings
from llmlab.shown.table import table

BESIDE = {
    "Kneser–Ney 3-gram": "kneser_ney_ppl",
    "bigram": "bigram_ppl",
    "unigram": "unigram_ppl",
    "Bayes": "bayes_ppl",
}


def written(sizes: Mapping[str, int]) -> Table:
    """Return the files with their bytes."""
    return table("files", "What was written", "file:token | bytes:integer", sizes.items(), say("export.files"))


def written_down(history: Sequence[Mapping[str, float]]) -> dict[str, Scalar]:
    """Return what a run wrote down of its last epoch, under the names that a judged model's metrics have."""
    last = history[-1] if history else {}
    found: dict[str, Scalar] = {"val_accuracy": last["val_accuracy"]} if last else {}
    return found | ({"val_ppl": perplexity(last["val_loss_token"])} if last else {})


def card(
    settings: BaselineSettings, data: str, command: str, words: int, epochs: int, metrics: Mapping[str, Scalar]
) -> Message:
    """Return the model card, in Markdown.

    Args:
        settings: under which the model was trained.
        data: what it was trained on, ``path`` for a text of its reader's own.
        command: that trains such a model.
        words: how many have a number.
        epochs: how many were finished.
        metrics: of the model and, where they are known, of counting beside it.
    """
    rows = {MODELS[settings.model]: "val_ppl", **BESIDE}
    told = [f"| {name} | {metrics[metric]:.2f} |" for name, metric in rows.items() if metric in metrics]
    return say(
        "export.card",
        model=MODELS[settings.model],
        data=say(f"licence.{data}") if data in group("licence", "en") else data,
        epochs=epochs,
        words=words,
        command=command,
        rows="\n".join(told),
        accuracy=metrics.get("val_accuracy", float("nan")),
        opened=say("export.open_new_llm" if settings.model == "new-llm" else "export.open_gpt2"),
    )
