"""What is shown of chapter 3: the text, a model between counting and the floor, its epochs, the loss by position."""

from collections.abc import Sequence
from statistics import fmean

from llmlab.lab.dataset import Dataset
from llmlab.lab.epochs import Progress
from llmlab.lab.runs import LOSSES, LanguageRun
from llmlab.lab.sizes import MODELS
from llmlab.measure.score import Score, perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import Cell, Figure, Mark, Table, of_seeds, rounded
from llmlab.settings import BaselineSettings
from llmlab.shown.counting import COUNTING, beside, beside_counting, beside_the_floor, counted, exactly, what_predicts
from llmlab.shown.curves import curve, floor_level, level, loss_figure, means
from llmlab.shown.table import estimated, means_over_seeds, table
from llmlab.shown.windows import loss_by_groups, shown_epochs
from llmlab.text.words import BOS, EOS, PAD, UNK

WHY, HOW = say("baseline.why"), say("baseline.how")


# ---- tables -------------------------------------------------------------------------------------------------------


def tables(settings: BaselineSettings, data: Dataset, runs: Sequence[LanguageRun], beside_notes: bool) -> list[Table]:
    """Return the tables of a model's runs; those that are of one run are of the first."""
    first = runs[0]
    return [
        text_read(data),
        meaning(data, first.score, MODELS[settings.model], say("text.chosen")),
        *held_out(data, first.score, first.test_score, "choosing the epoch"),
        epochs(first, beside_notes=beside_notes),
        by_position(first.score),
        *([] if len(runs) == 1 else [over_seeds(data, runs)]),
    ]


def text_read(data: Dataset) -> Table:
    """Return what the text is: windows, targets, and how much of it has a number."""
    text, rows = data.text, list[list[Cell]]()
    for name, windows in (("train", text.train), ("validation", text.valid)):
        targets = windows[:, 1:]
        count = int((targets != PAD).sum())
        shares = [int((targets == mark).sum()) / count for mark in (UNK, EOS)]
        rows.append([name, len(windows), count, *shares, int((windows[:, 0] == BOS).sum()) / len(windows)])
    return table(
        "text",
        say("text.title", name=text.name),
        "split:text | windows:integer | targets:integer | <unk> share:share | <eos> share:share | start at <bos>:share",
        rows,
        say("text.windows", tokens=text.train.shape[1], words=len(text.vocabulary)),
    )


def meaning(data: Dataset, score: Score, name: str, chosen: Text) -> Table:
    """Return a model between what counting reaches and what can be reached at all.

    Args:
        data: the text, and what counting reaches on it.
        score: of the model.
        name: of the model.
        chosen: a sentence on which model this is.
    """
    rows: list[list[Cell]] = [
        *counted(data.references),
        *exactly("exact bigram", data.bigram_loss),
        [name, score.ppl, score.loss, score.accuracy, score.accuracy_known],
        *exactly("Bayes (floor)", data.bayes_loss),
    ]
    caption = say("text.known", targets=data.valid_targets, unknown=score.unknown_share, chosen=chosen)
    return what_predicts(rows, caption, known=True)


def held_out(data: Dataset, score: Score, test: Score | None, chosen: str) -> list[Table]:
    """Return a model on the windows that chose it beside those used for no choice; nothing without such windows.

    Args:
        data: the text.
        score: on the validation windows.
        test: on the test windows.
        chosen: what validation was used for.
    """
    if test is None:
        return []
    floors, rows = (data.bayes_loss, data.test_bayes_loss), list[list[Cell]]()
    for name, use, one, floor in zip(("validation", "test"), (chosen, "nothing"), (score, test), floors, strict=True):
        cells: list[Cell] = [name, use, one.targets, one.ppl, one.loss, one.accuracy]
        rows.append(cells if floor is None else [*cells, perplexity(floor)])
    columns = "split:text | used for:text | targets:integer | PPL:2 | loss | accuracy:share"
    floor_column = "" if data.bayes_loss is None else " | floor PPL:2"
    return [table("held_out", "Validation and test", columns + floor_column, rows, say("text.held_out"))]


def epochs(run: LanguageRun, *, beside_notes: bool) -> Table:
    """Return the epochs of a run; with ``beside_notes`` the original notes' validation PPL stands beside ours."""
    rows: list[list[Cell]] = []
    for number in shown_epochs(len(run.history), run.best_epoch):
        row = run.history[number - 1]
        ppl, theirs = perplexity(row["val_loss"]), list[Cell]()
        if beside_notes:
            noted = perplexity(LOSSES[number - 1]) if number <= len(LOSSES) else None
            theirs = [noted, None if noted is None else ppl / noted - 1]
        cells: list[Cell] = [number, int(row["updates"]), row["train_loss"], row["val_loss"], ppl, *theirs]
        rows.append([*cells, row["val_accuracy_batch_mean"], row["seconds"] / 60])
    noted_columns = "notes' PPL:2 | differs:share | " if beside_notes else ""
    caption = say("baseline.epochs", best=run.best_epoch)
    return table(
        "epochs",
        "Epoch by epoch",
        "epoch:integer | updates:integer | train loss | val loss | val PPL:2 | "
        f"{noted_columns}accuracy:share | minutes:1",
        rows,
        sentences(caption, say("baseline.of_seed", seed=run.seed)) if run.seed else caption,
    )


def by_position(score: Score) -> Table:
    """Return the loss by position in the window: what a longer past is worth."""
    return table(
        "by_position",
        "By position in the window",
        "position:text | loss | PPL:2 | targets:integer",
        [[name, loss, perplexity(loss), total] for name, loss, total in loss_by_groups(score)],
        say("baseline.by_position"),
    )


def over_seeds(data: Dataset, runs: Sequence[LanguageRun]) -> Table:
    """Return mean and interval of the headline metrics over seeds."""
    rows: list[list[Cell]] = []
    for name in runs[0].numbers:
        values = [run.numbers[name] for run in runs]
        rows.append([name, len(values), *estimated(mean_interval(values)), min(values), max(values)])
    intervals = of_seeds([len(runs)], data.text.valid_document_count)
    return means_over_seeds("metric:token", "", rows, "least | most", intervals)


# ---- figures ------------------------------------------------------------------------------------------------------


def figures(settings: BaselineSettings, data: Dataset, runs: Sequence[LanguageRun]) -> list[Figure]:
    """Return the learning curve and the loss by position."""
    return [
        learning_curve(settings, data, runs),
        loss_by_position(runs[0].score, MODELS[settings.model], data.bayes_by_position),
    ]


def learning_curve(settings: BaselineSettings, data: Dataset, runs: Sequence[LanguageRun]) -> Figure:
    """Return validation loss by epoch, its mean and range over seeds, between counting and the floor."""
    each = [run.curve("val_loss_token") for run in runs]
    train, middle = means(run.curve("train_loss_token") for run in runs), means(each)
    bigram, counting = (data.references[name].loss for name in ("bigram", "kneser_ney_3"))
    marks = _losses(data, train, middle, settings.dropout)
    if len(runs) > 1:
        low, high = (rounded(map(pick, zip(*each, strict=False))) for pick in (min, max))
        marks.insert(0, Mark("band", "series", marks[0].xs, low, tops=high, legend="all seeds"))
    said = {"model": MODELS[settings.model], "first": middle[0], "last": middle[-1], "epochs": len(middle)}
    said |= {"seeds": len(runs), "bigram": bigram, "counting": counting}
    caption = say("baseline.curve", **said)
    if data.bayes_loss is not None:
        caption = say("baseline.curve_to_floor", **said, floor=data.bayes_loss)
    return loss_figure("curve", "Learning curve", caption, marks, after="epochs")


def curve_so_far(data: Dataset, done: Progress, dropout: float) -> Figure:
    """Return the losses of the epochs that a run has finished, and the train loss of the one that it is in."""
    train, valid = ([row[name] for row in done.history] for name in ("train_loss_token", "val_loss_token"))
    if done.running.get("targets"):
        train.append(done.running["loss_targets"] / done.running["targets"])
    return loss_figure("curve", "Learning curve", "", _losses(data, train, valid, dropout), after="epochs")


def _losses(data: Dataset, train: Sequence[float], valid: Sequence[float], dropout: float) -> list[Mark]:
    """Return both losses by epoch, between counting and the floor."""
    return [
        curve(train, "before", "train (dropout on)" if dropout else "train"),
        curve(valid, "series", "validation"),
        level(data.references["bigram"].loss, COUNTING["bigram"]),
        level(data.references["kneser_ney_3"].loss, COUNTING["kneser_ney_3"], "winner"),
        *floor_level(data.bayes_loss),
    ]


def loss_by_position(score: Score, name: str, floor: Sequence[float] = ()) -> Figure:
    """Return the loss of a named model against the position in the window, above the floor at each if it is known."""
    kept = [(n + 1.0, loss) for n, loss in enumerate(score.loss_by_position) if score.targets_by_position[n]]
    xs, ys = [x for x, _ in kept], [y for _, y in kept]
    caption, x = say("baseline.loss_by_position", first=ys[0], last=ys[-1]), "position in the window"
    marks = [curve(ys, "series", name, xs)]
    if floor:
        marks.append(curve([floor[round(x) - 1] for x in xs], "floor", "Bayes floor", xs))
    return loss_figure("by-position", "Loss by position", caption, marks, x=x, after="by_position")


# ---- the result in short ------------------------------------------------------------------------------------------


def summary(settings: BaselineSettings, data: Dataset, runs: Sequence[LanguageRun]) -> list[Text]:
    """Return the result in a few sentences."""
    score, ppl = runs[0].score, fmean(run.score.ppl for run in runs)
    said = {"model": MODELS[settings.model], "parameters": runs[0].parameters, "ppl": ppl}
    said |= beside(data.references)
    told: list[Text] = [
        say("baseline.reached", **said)
        if len(runs) == 1
        else say("baseline.reached_over_seeds", **said, seeds=len(runs)),
        *beside_counting(data.references, [ppl]),
        *beside_the_floor(data, fmean(run.score.loss for run in runs)),
    ]
    return [*told, accuracy(data, score)]


def accuracy(data: Dataset, score: Score) -> Text:
    """Return a sentence on how often a model's likeliest token is right."""
    majority = data.references["majority"].accuracy
    return say("baseline.accuracy", accuracy=score.accuracy, known=score.accuracy_known, majority=majority)
