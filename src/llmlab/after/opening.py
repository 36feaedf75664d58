"""How every command on a checkpoint begins: the model, the text it is judged on, and the table that says what it is.

Leaves out files: ``lm.restored``.
"""

from pathlib import Path

from llmlab.errors import CheckpointError, SettingError
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.language import parameter_count
from llmlab.lm.restored import Restored, restored
from llmlab.lm.tables import named
from llmlab.measure.score import Score
from llmlab.model.new_llm import ContextVectorLM
from llmlab.report.result import Cell, Column, Table


def opened_new_llm(path: Path, verb: str) -> tuple[Restored, ContextVectorLM]:
    """Return the New-LLM of a checkpoint, to compute on the CPU.

    Raises:
        CheckpointError: there is no usable checkpoint.
        SettingError: it holds another model.
    """
    found = restored(path, device="cpu")
    model = new_llm_of(found, path, verb)
    return found, ContextVectorLM(model.size, model.parameters)


def new_llm_of(found: Restored, path: Path, verb: str) -> ContextVectorLM:
    """Return the New-LLM of a checkpoint where it is, with its dropout.

    Raises:
        SettingError: it holds another model.
    """
    if not isinstance(found.model, SweptNewLLM):
        raise SettingError(f"{path}: a {named(found.settings)}; {verb} is for New-LLM")
    return found.model.model


def check_finite(score: Score, path: Path) -> None:
    """Refuse a model whose losses are no numbers.

    Raises:
        CheckpointError: they are not.
    """
    if not score.loss < float("inf"):
        raise CheckpointError(f"{path}: the model's losses are not finite; give another checkpoint")


def the_model(found: Restored) -> Table:
    """Return what a checkpoint holds."""
    settings = found.settings
    told: dict[str, Cell] = {
        "model": named(settings),
        "parameters": f"{parameter_count(found.model):,}",
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
