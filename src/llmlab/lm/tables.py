"""From trained language models to the tables of chapters 3 and 4.

Leaves out pictures, verdicts, and every question of layout.
"""

from collections.abc import Sequence

from llmlab.lab.dataset import Dataset
from llmlab.lm.outcome import SEED_VALIDATION, per_seed
from llmlab.lm.training import Trained
from llmlab.measure.score import Score, perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Cell, Column, Table, counted, of_seeds, sentences
from llmlab.settings import BaselineSettings
from llmlab.shown.windows import loss_by_groups, shown_epochs
from llmlab.text.words import PAD

CHOSEN = "The model is that of its best epoch, chosen on this very validation text."
REFERENCES = {
    "majority": "always the commonest token",
    "unigram": "unigram",
    "bigram": "bigram",
    "kneser_ney_3": "Kneser–Ney 3-gram",
}


def text_read(task: Dataset) -> Table:
    """Return what the text is: windows, targets, and how much of it has a number."""
    text = task.text
    rows: list[list[Cell]] = []
    for name, windows in (("train", text.train), ("validation", text.valid)):
        targets = windows[:, 1:]
        scored = targets != PAD
        count = int(scored.sum())
        rows.append(
            [
                name,
                len(windows),
                count,
                int((targets == 1).sum()) / count,
                int((targets == 3).sum()) / count,
                int((windows[:, 0] == 2).sum()) / len(windows),
            ]
        )
    return Table(
        "text",
        f"The text: {text.name}",
        [
            Column("split", "text"),
            Column("windows", "integer"),
            Column("targets", "integer"),
            Column("<unk> share", "share"),
            Column("<eos> share", "share"),
            Column("start at <bos>", "share"),
        ],
        rows,
        f"Windows of {counted(text.train.shape[1], 'token')}; {len(text.vocabulary):,} words have a number, all others "
        "are <unk>. A window starts with an empty context, whether or not it starts a line.",
    )


def meaning(task: Dataset, score: Score, name: str, chosen: str = CHOSEN) -> Table:
    """Return a model between what counting reaches and what can be reached at all.

    Args:
        task: the text, and what counting reaches on it.
        score: of the model.
        name: of the model.
        chosen: a sentence on which model this is.
    """
    rows: list[list[Cell]] = []
    for key, title in REFERENCES.items():
        found = task.references[key]
        shown = [None, None] if key == "majority" else [found.ppl, found.loss]
        rows.append([title, *shown, found.accuracy, found.accuracy_known])
    if task.bigram_loss is not None:
        rows.append(["exact bigram", perplexity(task.bigram_loss), task.bigram_loss, None, None])
    rows.append([name, score.ppl, score.loss, score.accuracy, score.accuracy_known])
    if task.bayes_loss is not None:
        rows.append(["Bayes (floor)", perplexity(task.bayes_loss), task.bayes_loss, None, None])
    columns = [
        Column("what predicts", "text"),
        Column("PPL", digits=2),
        Column("loss"),
        Column("accuracy", "share"),
        Column("accuracy of known", "share"),
    ]
    return Table(
        "meaning",
        "What the number means",
        columns,
        rows,
        f"All on the same {task.valid_targets:,} validation targets, per token. Known leaves out targets that are "
        f"<unk>, {score.unknown_share:.1%} of them. {chosen}",
    )


def held_out(task: Dataset, score: Score, test: Score | None, chosen: str) -> list[Table]:
    """Return a model on the windows that chose it beside those that chose nothing; nothing without such windows.

    Args:
        task: the text.
        score: on the validation windows.
        test: on the test windows.
        chosen: what validation was used for.
    """
    if test is None:
        return []
    floors, rows = (task.bayes_loss, task.test_bayes_loss), list[list[Cell]]()
    for name, use, one, floor in zip(("validation", "test"), (chosen, "nothing"), (score, test), floors, strict=True):
        cells: list[Cell] = [name, use, one.targets, one.ppl, one.loss, one.accuracy]
        rows.append(cells if floor is None else [*cells, perplexity(floor)])
    columns = [
        Column("split", "text"),
        Column("used for", "text"),
        Column("targets", "integer"),
        Column("PPL", digits=2),
        Column("loss"),
        Column("accuracy", "share"),
    ]
    if task.bayes_loss is not None:
        columns.append(Column("floor PPL", digits=2))
    return [
        Table(
            "held_out",
            "Validation and test",
            columns,
            rows,
            "Per token. What chooses looks a little better than it is; the test text chose nothing and was read once, "
            "at the end. The two differ in difficulty too, so a difference between them need not be the choice's.",
        )
    ]


def named(settings: BaselineSettings) -> str:
    """Return what a model is called in a table."""
    return {"new-llm": "New-LLM", "tiny-gpt2": "tiny GPT-2", "gru": "GRU"}[settings.model]


def epochs(run: Trained, *, beside_seed: bool = False) -> Table:
    """Return the epochs of a run; with ``beside_seed`` the seed's validation PPL stands beside ours."""
    columns = [
        Column("epoch", "integer"),
        Column("updates", "integer"),
        Column("train loss"),
        Column("val loss"),
        Column("val PPL", digits=2),
        Column("accuracy", "share"),
        Column("minutes", digits=1),
    ]
    if beside_seed:
        columns[5:5] = [Column("seed's PPL", digits=2), Column("differs", "share")]
    rows: list[list[Cell]] = []
    for number in shown_epochs(len(run.history), run.best_epoch):
        row = run.history[number - 1]
        ppl = perplexity(row["val_loss"])
        cells: list[Cell] = [number, int(row["updates"]), row["train_loss"], row["val_loss"], ppl]
        if beside_seed:
            theirs = perplexity(SEED_VALIDATION[number - 1]) if number <= len(SEED_VALIDATION) else None
            cells += [theirs, None if theirs is None else ppl / theirs - 1]
        rows.append([*cells, row["val_accuracy_batch_mean"], row["seconds"] / 60])
    return Table(
        "epochs",
        "Epoch by epoch",
        columns,
        rows,
        f"Best epoch: {run.best_epoch}. Train loss is averaged over the epoch, with dropout on while weights change; "
        "validation loss and PPL are the mean over batches of each batch's mean, the seed's way. "
        + (f"Seed {run.seed}." if run.seed else ""),
    )


def beside_the_floor(bayes_loss: float, recovered: float) -> str:
    """Return a sentence on how near a model comes to the reader who knows the made-up language.

    Args:
        bayes_loss: of that reader, in nats per token.
        recovered: of what context can give beyond the last word, the model's share; see ``Dataset.context_recovered``.
    """
    floor = f"Whoever knows this language reaches {perplexity(bayes_loss):.2f}"
    if recovered < 0:
        return f"{floor}; the model does not yet reach what the last word alone can give."
    return f"{floor}; of what context can give beyond the last word the model has {recovered:.0%}."


def by_position(score: Score) -> Table:
    """Return the loss by position in the window: what a longer past is worth."""
    rows: list[list[Cell]] = [[name, loss, perplexity(loss), total] for name, loss, total in loss_by_groups(score)]
    return Table(
        "by_position",
        "By position in the window",
        [Column("position", "text"), Column("loss"), Column("PPL", digits=2), Column("targets", "integer")],
        rows,
        "The first target has one token of past, the last one all but one of the window.",
    )


def over_seeds(runs: Sequence[Trained]) -> Table:
    """Return mean and interval of the headline metrics over seeds."""
    rows: list[list[Cell]] = []
    for name, values in per_seed(runs).items():
        told = mean_interval(values)
        rows.append([name, len(values), told[""], told.get("_low"), told.get("_high"), min(values), max(values)])
    ends = [Column(name) for name in ("mean", "95 % low", "95 % high", "least", "most")]
    return Table(
        "over_seeds",
        "Over seeds",
        [Column("metric", "token"), Column("n", "integer"), *ends],
        rows,
        sentences(
            "The interval is of the mean (Student's t).",
            of_seeds([len(runs)], runs[0].task.text.valid_document_count),
        ),
    )
