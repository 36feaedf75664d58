"""What is shown of a model that leaves llmlab: its files, and the model card that goes with it."""

from collections.abc import Mapping

from llmlab.lab.sizes import MODELS
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
    return table("export.files", sizes.items())


def card(settings: BaselineSettings, command: str, words: int, epochs: int, metrics: Mapping[str, Scalar]) -> Message:
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
