"""``llmlab baseline evaluate CHECKPOINT``: a trained model judged again.

Question: what is the model in this file worth, on the text that it was trained for, or on another one?

Covers everything that chapter 3 reports of the same parameters, and a comparison with what the run itself wrote
down.  But: how the model came to be is the run's own entry.
"""

import time

from llmlab.after.opening import Restored, check_finite, restored
from llmlab.baseline import TRAIN_SAMPLE, of_score, of_test, of_text, score_on_test
from llmlab.lab.dataset import Dataset
from llmlab.lab.judging import ROWS_AT_ONCE, evaluate
from llmlab.lab.language import parameter_count
from llmlab.lab.sizes import MODELS
from llmlab.lab.steps import OnStep
from llmlab.measure.score import Score
from llmlab.report.result import TO_ROUNDING, Cell, Column, Result, Scalar, Table, counted, rounded
from llmlab.settings import EvaluateSettings
from llmlab.shown import baseline as shown_baseline
from llmlab.shown.baseline import beside_counting

ROUNDING = 1e-6
"""Two losses that differ by less are one loss in float32, added up in another order."""

WHY = (
    "A checkpoint is a file of numbers. What is the model in it worth: does it still reach what its run wrote down, "
    "and what does it reach on another text?"
)
HOW = (
    "The model reads every validation window from an empty context, without dropout and in fp32, and is scored on each "
    "next word but padding. The same windows are scored by counting on the training text. On another text the model "
    "keeps its own words; all others are <unk> to it."
)


def run(settings: EvaluateSettings, on_step: OnStep | None = None) -> Result:
    """Judge the model of a checkpoint.

    Args:
        settings: the options.
        on_step: called after each part of the windows with its number, the number planned, and a few words.

    Raises:
        LlmlabError: checkpoint or text cannot be used.
    """
    found = restored(settings.checkpoint)
    task = found.task(settings.data, offline=settings.offline)
    own = task.text.digest == found.text
    sample = task.text.train[:TRAIN_SAMPLE]
    step = _Steps(on_step, len(task.text.valid), len(sample) if own else 0)
    start = time.perf_counter()
    score = evaluate(found.model, task.text.valid, settings.batch, step.next)
    seconds = time.perf_counter() - start
    check_finite(score, settings.checkpoint)
    test = score_on_test(found.model, task.text, settings.batch)
    headline = of_score(task, score) | of_test(test)
    if own:
        headline["train_loss_no_dropout"] = evaluate(found.model, sample, settings.batch, step.next).loss
    metrics: dict[str, Scalar] = {"parameters": parameter_count(found.model), "epochs": len(found.history), **headline}
    metrics |= {"tokens_per_second": score.targets / max(seconds, 1e-9)} | of_text(task)
    name, shown = MODELS[found.settings.model], [found.table(), shown_baseline.text_read(task)]
    shown.append(shown_baseline.meaning(task, score, name, _which(found, own)))
    shown += shown_baseline.held_out(task, score, test, "choosing the epoch" if own else "nothing")
    written = written_down(found, score) if own and found.history else None
    if written:
        shown.append(written)
        metrics["recorded_val_loss_token"] = found.history[-1]["val_loss_token"]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        metrics=metrics,
        summary=_summary(found, task, score, own),
        tables=[*shown, shown_baseline.by_position(score)],
        figures=[shown_baseline.loss_by_position(score, name)],
        samples={key: rounded([value]) for key, value in headline.items()},
    )


class _Steps:
    """Counts the parts of the windows that are judged, for whoever watches."""

    def __init__(self, on_step: OnStep | None, *windows: int) -> None:
        self.on_step, self.done = on_step, 0
        self.planned = sum(-(-number // ROWS_AT_ONCE) for number in windows)

    def next(self) -> None:
        self.done += 1
        if self.on_step:
            self.on_step(self.done, self.planned, "judging")


def written_down(found: Restored, score: Score) -> Table:
    """Return what the run wrote down of its last finished epoch beside what is measured now."""
    last = found.history[-1]
    now = {"val_loss_token": score.loss, "val_accuracy": score.accuracy, "val_accuracy_known": score.accuracy_known}
    names = {
        "val_loss_token": "loss per token",
        "val_accuracy": "accuracy",
        "val_accuracy_known": "accuracy of known",
    }
    rows: list[list[Cell]] = []
    for key, value in now.items():
        differs = value - last[key]
        rows.append([names[key], last[key], value, TO_ROUNDING if 0 < abs(differs) < ROUNDING else differs])
    return Table(
        "written_down",
        "Beside what the run wrote down",
        [Column("what", "text"), Column("then"), Column("now"), Column("differs", digits=6)],
        rows,
        f"Then is the end of epoch {len(found.history)}. A checkpoint taken within an epoch is a few updates further, "
        "and another machine or another number of threads rounds differently; otherwise the two are equal.",
    )


def _which(found: Restored, own: bool) -> str:
    after = f"The model is that of the checkpoint, after {counted(len(found.history), 'epoch')}"
    return f"{after}; its run chose its best epoch on this very text." if own else f"{after} on another text."


def _summary(found: Restored, task: Dataset, score: Score, own: bool) -> list[str]:
    counting = task.references["kneser_ney_3"]
    told = [
        f"{MODELS[found.settings.model]} with {parameter_count(found.model):,} parameters has a validation "
        f"perplexity of {score.ppl:.2f} per token on {task.name}; counting with Kneser–Ney reaches {counting.ppl:.2f}, "
        f"a bigram {task.references['bigram'].ppl:.2f}, token frequencies {task.references['unigram'].ppl:.2f}.",
        *beside_counting(task.references, [score.ppl]),
        f"Accuracy {score.accuracy:.1%}, without the targets that are <unk> {score.accuracy_known:.1%}; always naming "
        f"the commonest token has {task.references['majority'].accuracy:.1%}.",
    ]
    recovered = task.context_recovered(score.loss)
    if recovered is not None and task.bayes_loss is not None:
        told.insert(-1, shown_baseline.beside_the_floor(task.bayes_loss, recovered))
    if own and found.history:
        differs = abs(score.loss - found.history[-1]["val_loss_token"])
        told.append(
            "It is what the run wrote down, to the last digit."
            if differs == 0
            else "It is what the run wrote down, to rounding."
            if differs < ROUNDING
            else f"The run wrote down a loss of {found.history[-1]['val_loss_token']:.4f}; it differs by {differs:.1e}."
        )
    if not own:
        told.append(
            f"The text is not the one that the model was trained on ({found.settings.data}): {score.unknown_share:.1%} "
            "of its targets are <unk> to the model, and counting was done on this text."
        )
    return [*told, *task.notes]
