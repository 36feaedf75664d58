"""What is shown of chapter 3: the text, a model between counting and the floor, its epochs, the loss by position."""

from collections.abc import Sequence
from typing import Any

from llmlab.lab.dataset import Dataset
from llmlab.lab.epochs import Progress
from llmlab.lab.runs import LOSSES, LanguageRun
from llmlab.lab.sizes import MODELS
from llmlab.lab.study import Arm, Study
from llmlab.measure.score import Score, document_sums, perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Figure, Mark, Result, Scalar, Table, of_seeds, rounded
from llmlab.settings import BaselineSettings
from llmlab.shown.table import cells, curve, figure, level, means, table
from llmlab.shown.words import COUNTING, counted, endings, exactly, judged, loss_by_groups, shown_epochs
from llmlab.text.words import BOS, EOS, PAD, UNK

WHY, HOW = say("baseline.why"), say("baseline.how")


def result(
    settings: BaselineSettings,
    data: Dataset,
    found: Study[Arm, LanguageRun],
    runs: Sequence[LanguageRun],
    metrics: dict[str, Scalar],
    asked: tuple[Text, Text],
) -> Result:
    """Return the result of what there is to report of the model asked for: its ``runs``; ``asked`` is why and how.

    The tables that are of one run are of the first.
    """
    names, model = (settings.experiment, settings.document(), *asked), MODELS[settings.model]
    if not runs:
        return Result.diverged(*names, next(iter(found.arms[settings.model].diverged.values())))
    first, scores = runs[0], [run.score for run in runs]
    reached = "baseline.reached" if len(runs) == 1 else "baseline.reached_over_seeds"
    return Result(
        *names,
        status="interrupted" if found.stop else "complete",
        metrics=metrics,
        summary=[
            *judged(reached, data, model, first.parameters, scores),
            *endings(found, settings.epochs),
            *data.notes,
            *(note for one in runs for note in one.notes),
        ],
        tables=[
            text_read(data),
            meaning(data, first.score, model, say("text.chosen")),
            *held_out(data, first.score, first.test_score, "choosing the epoch"),
            epochs(first, beside_notes="curve_epochs" in metrics),
            by_position(first.score),
            *([] if len(runs) == 1 else [over_seeds(data, runs)]),
        ],
        figures=[learning_curve(settings, data, runs), loss_by_position(first.score, model, data.bayes_by_position)],
        samples={name: rounded(run.numbers[name] for run in runs) for name in first.numbers},
        documents=document_sums({"": scores}),
    )


# ---- tables -------------------------------------------------------------------------------------------------------


def text_read(data: Dataset) -> Table:
    """Return what the text is: windows, targets, and how much of it has a number."""
    text, rows = data.text, list[list[Cell]]()
    for name, windows in (("train", text.train), ("validation", text.valid)):
        targets = windows[:, 1:]
        count = int((targets != PAD).sum())
        shares = [int((targets == mark).sum()) / count for mark in (UNK, EOS)]
        rows.append([name, len(windows), count, *shares, int((windows[:, 0] == BOS).sum()) / len(windows)])
    title, tokens = say("text.title", name=text.name), text.train.shape[1]
    return table("text.windows", rows, title=title, tokens=tokens, words=len(text.vocabulary))


def meaning(data: Dataset, score: Score, name: str, chosen: Text) -> Table:
    """Return a model between what counting reaches and what can be reached; ``chosen`` says which model this is."""
    rows: list[list[Cell]] = [
        *counted(data.references),
        *exactly("exact bigram", data.bigram_loss),
        [name, score.ppl, score.loss, score.accuracy, score.accuracy_known],
        *exactly("Bayes (floor)", data.bayes_loss),
    ]
    return table("text.known", rows, targets=data.valid_targets, unknown=score.unknown_share, chosen=chosen)


def held_out(data: Dataset, score: Score, test: Score | None, chosen: str) -> list[Table]:
    """Return a model on the windows that chose it beside those used for no choice; nothing without such windows.

    ``chosen`` is what the validation windows were used for.
    """
    if test is None:
        return []
    rows: list[list[Cell]] = []
    both = ("validation", chosen, score, data.bayes_loss), ("test", "nothing", test, data.test_bayes_loss)
    for name, use, one, floor in both:
        floor_ppl = None if floor is None else perplexity(floor)
        rows.append([name, use, one.targets, one.ppl, one.loss, one.accuracy, floor_ppl])
    return [table("text.held_out", rows, says="text.unchosen" if chosen == "nothing" else "")]


def epochs(run: LanguageRun, *, beside_notes: bool) -> Table:
    """Return the epochs of a run; with ``beside_notes`` the original notes' validation PPL stands beside ours."""
    rows: list[list[Cell]] = []
    for number in shown_epochs(len(run.history), run.best_epoch):
        row = run.history[number - 1]
        ppl, losses = perplexity(row["val_loss"]), (row["train_loss"], row["val_loss"])
        noted = perplexity(LOSSES[number - 1]) if beside_notes and number <= len(LOSSES) else None
        theirs = noted, None if noted is None else ppl / noted - 1
        accuracy, minutes = row["val_accuracy_batch_mean"], row["seconds"] / 60
        rows.append([number, int(row["updates"]), *losses, ppl, *theirs, accuracy, minutes])
    of_seed = say("baseline.of_seed", seed=run.seed) if run.seed else ""
    return table("baseline.epochs", rows, of_seed, best=run.best_epoch)


def by_position(score: Score) -> Table:
    """Return the loss by position in the window: what a longer past is worth."""
    rows = [(name, loss, perplexity(loss), total) for name, loss, total in loss_by_groups(score)]
    return table("baseline.by_position", rows)


def over_seeds(data: Dataset, runs: Sequence[LanguageRun]) -> Table:
    """Return mean and interval of the headline metrics over seeds."""
    rows: list[list[Cell]] = []
    for name in runs[0].numbers:
        values = [run.numbers[name] for run in runs]
        rows.append([name, len(values), *cells(mean_interval(values), "±"), min(values), max(values)])
    intervals = of_seeds([len(runs)], data.text.valid_document_count)
    return table("intervals.of_means", rows, intervals, columns="metric:token | n:integer | mean ± | least | most")


# ---- figures ------------------------------------------------------------------------------------------------------


def learning_curve(settings: BaselineSettings, data: Dataset, runs: Sequence[LanguageRun]) -> Figure:
    """Return validation loss by epoch, its mean and range over seeds, between counting and the floor."""
    train, valid = ([run.curve(name) for run in runs] for name in ("train_loss_token", "val_loss_token"))
    middle = means(valid)
    marks = _losses(data, means(train), middle, settings.dropout)
    if len(runs) > 1:
        low, high = (rounded(map(pick, zip(*valid, strict=False))) for pick in (min, max))
        marks.insert(0, Mark("band", "series", marks[0].xs, low, tops=high, legend="all seeds"))
    said: dict[str, Any] = {"model": MODELS[settings.model], "first": middle[0], "last": middle[-1]}
    said |= {"epochs": len(middle), "seeds": len(runs), "bigram": data.references["bigram"].loss}
    said |= {"counting": data.references["kneser_ney_3"].loss, "floor": data.bayes_loss}
    return figure("baseline.curve", marks, says="" if data.bayes_loss is None else "baseline.curve_to_floor", **said)


def curve_so_far(data: Dataset, done: Progress, dropout: float) -> Figure:
    """Return the losses of the epochs that a run has finished, and the train loss of the one that it is in."""
    train, valid = ([row[name] for row in done.history] for name in ("train_loss_token", "val_loss_token"))
    if done.running.get("targets"):
        train.append(done.running["loss_targets"] / done.running["targets"])
    return figure("baseline.curve", _losses(data, train, valid, dropout), caption="")


def _losses(data: Dataset, train: Sequence[float], valid: Sequence[float], dropout: float) -> list[Mark]:
    """Return both losses by epoch, between counting and the floor."""
    return [
        curve(train, "before", "train (dropout on)" if dropout else "train"),
        curve(valid, "series", "validation"),
        *level(data.references["bigram"].loss, COUNTING["bigram"]),
        *level(data.references["kneser_ney_3"].loss, COUNTING["kneser_ney_3"], "winner"),
        *level(data.bayes_loss, "Bayes floor", "floor"),
    ]


def loss_by_position(score: Score, name: str, floor: Sequence[float] = ()) -> Figure:
    """Return the loss of a named model against the position in the window, above the floor at each if it is known."""
    read = [place for place, targets in enumerate(score.targets_by_position) if targets]
    xs, ys = [place + 1.0 for place in read], [score.loss_by_position[place] for place in read]
    marks = [curve(ys, "series", name, xs)]
    if floor:
        marks.append(curve([floor[place] for place in read], "floor", "Bayes floor", xs))
    return figure("baseline.loss_by_position", marks, first=ys[0], last=ys[-1])
