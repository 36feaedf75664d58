"""How every command on a checkpoint begins: the model, the text it is judged on, and the table that says what it is.

Leaves out files: ``lm.restored``.
"""

from dataclasses import replace
from pathlib import Path

from llmlab.errors import CheckpointError, SettingError
from llmlab.lm.restored import Restored, restored
from llmlab.lm.tables import named
from llmlab.lm.task import Task
from llmlab.measure.score import Score
from llmlab.model.language import SweptNewLLM
from llmlab.model.new_llm import ContextVectorLM
from llmlab.report.result import Cell, Column, Table
from llmlab.settings.trained import JudgedSettings


def opened_new_llm(path: Path, verb: str) -> tuple[Restored, ContextVectorLM]:
    """Return the New-LLM of a checkpoint, its numbers on the CPU.

    Raises:
        CheckpointError: there is no usable checkpoint.
        SettingError: it holds another model.
    """
    found = restored(path)
    if not isinstance(found.model, SweptNewLLM):
        raise SettingError(f"{path}: a {named(found.settings)}; {verb} is for New-LLM")
    parameters = {name: tensor.cpu() for name, tensor in found.model.parameters.items()}
    return found, ContextVectorLM(found.model.model.size, parameters)


def judged_on(found: Restored, settings: JudgedSettings) -> Task:
    """Return the text to judge a model on, over the model's own words.

    Raises:
        LlmlabError: it cannot be used, or is not here.
    """
    # how many windows the model was trained on at once says nothing about the text that it is judged on
    alone = replace(found, settings=replace(found.settings, batch=1))
    return alone.task(settings.data, offline=settings.offline)


def check_finite(score: Score, path: Path) -> None:
    """Refuse a model whose losses are no numbers.

    Raises:
        CheckpointError: they are not.
    """
    if not score.loss < float("inf"):
        raise CheckpointError(f"{path}: the model's losses are not finite; give another checkpoint")


def count(found: Restored) -> int:
    """Return the exact number of a model's parameters."""
    return sum(tensor.numel() for tensor in found.model.parameters.values())


def the_model(found: Restored) -> Table:
    """Return what a checkpoint holds."""
    settings = found.settings
    told: dict[str, Cell] = {
        "model": named(settings),
        "parameters": f"{count(found):,}",
        "layers": str(settings.layers),
        "embedding, hidden, context": f"{settings.embedding}, {settings.hidden}, {settings.context}",
        "words with a number": f"{len(found.vocabulary):,}",
        "trained on": settings.data,
        "epochs finished": str(len(found.history)),
        "seed": str(found.seed),
    }
    if settings.model != "new-llm":
        del told["embedding, hidden, context"]
    return Table(
        "model",
        "The model",
        [Column("what", "text"), Column("value", "token")],
        [[name, value] for name, value in told.items()],
        "As its checkpoint says.",
    )
