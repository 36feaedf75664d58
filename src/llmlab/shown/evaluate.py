"""What is shown of a model that is judged again: it beside counting, and beside what its run wrote down."""

from collections.abc import Mapping

from llmlab.lab.dataset import Dataset
from llmlab.measure.score import Score
from llmlab.report.messages import Text, say
from llmlab.report.result import TO_ROUNDING, Cell, Table
from llmlab.shown.baseline import accuracy
from llmlab.shown.table import table
from llmlab.shown.words import beside, beside_counting, beside_the_floor

ROUNDING = 1e-6
"""Two losses that differ by less are one loss in float32, added up in another order."""


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


def summary(
    model: str, parameters: int, data: Dataset, score: Score, then: Mapping[str, float] | None, trained_on: str | None
) -> list[Text]:
    """Return the result in a few sentences.

    ``then`` is what the run wrote down of the same text, and ``trained_on`` the model's own text, if it is another.
    """
    said = {"model": model, "parameters": parameters, "ppl": score.ppl, "text": data.name, **beside(data.references)}
    told: list[Text] = [
        say("evaluate.reached", **said),
        *beside_counting(data.references, [score.ppl]),
        *beside_the_floor(data, score.loss),
        accuracy(data, score),
    ]
    if then:
        differs, loss = abs(score.loss - then["val_loss_token"]), then["val_loss_token"]
        same = say("evaluate.same" if differs == 0 else "evaluate.same_to_rounding")
        told.append(same if differs < ROUNDING else say("evaluate.differs", loss=loss, differs=differs))
    if trained_on is not None:
        told.append(say("evaluate.another_text", text=trained_on, unknown=score.unknown_share))
    return told
