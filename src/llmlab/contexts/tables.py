"""From arms to the tables that chapters 5 and 6 share.

Leaves out what Stage 1 measured, ``stage1_tables``, pictures, verdicts, and every question of layout.
"""

from collections.abc import Sequence
from dataclasses import replace

from llmlab.contexts.running import LOSS, TEST_LOSS, ArmRuns, Comparison, over_documents, paired
from llmlab.contexts.stage1_tables import mean_ranks, rank_columns
from llmlab.contexts.task import ContextTask
from llmlab.measure.score import perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Cell, Column, Table, counted, of_documents, of_seeds, sentences

REFERENCES = {
    "majority": "always the commonest token",
    "unigram": "unigram",
    "bigram": "bigram",
    "kneser_ney_3": "Kneser–Ney 3-gram",
}
TRAIN = "train_loss_at_best"
ENDS = ("_low", "_high", "_doc_low", "_doc_high")
END_COLUMNS = [Column("95 % low"), Column("95 % high"), Column("docs low"), Column("docs high")]
"""The ends of both intervals of a difference: over seeds, and over validation documents."""


def text_read(task: ContextTask) -> Table:
    """Return what the text is: tokens, documents, and how many targets are scored."""
    rows: list[list[Cell]] = []
    for name, stream in (("train", task.text.train), ("validation", task.text.valid)):
        scored = task.text.scored(stream)
        kinds = int(stream.tokens.bincount().count_nonzero())
        rows.append(
            [name, len(stream.tokens), len(stream.starts), int(scored.sum()), 1 - float(scored.double().mean()), kinds]
        )
    vocabulary, width = task.embedding.shape
    return Table(
        "text",
        f"The text: {task.text.name}",
        [
            Column("split", "text"),
            Column("tokens", "integer"),
            Column("documents", "integer"),
            Column("targets", "integer"),
            Column("not scored", "share"),
            Column("kinds of token", "integer"),
        ],
        rows,
        f"{vocabulary:,} tokens have an embedding ({task.embedding_name}) of {width} numbers. A document ends with a "
        "token of its own. Validation documents are held out whole, and the same whatever the number of training "
        "tokens. Not scored: targets that stand for an unknown word.",
    )


def meaning(found: Comparison, names: Sequence[str]) -> Table:
    """Return arms between what counting reaches on the same targets and, where it is known, the floor."""
    task, rows = found.task, list[list[Cell]]()
    for key, title in REFERENCES.items():
        reference = task.references[key]
        shown = [None, None] if key == "majority" else [reference.ppl, reference.loss]
        rows.append([title, *shown, reference.accuracy])
    for arm in (found.arms[name] for name in names if found.arms[name].runs):
        rows.append([arm.arm.label, arm.ppl[""], arm.mean(LOSS)[""], arm.mean("val_accuracy")[""]])
    if task.bigram_loss is not None:
        rows.append(["exact bigram", perplexity(task.bigram_loss), task.bigram_loss, None])
    if task.bayes_loss is not None:
        rows.append(["Bayes (floor)", perplexity(task.bayes_loss), task.bayes_loss, None])
    targets = int(task.text.scored(task.text.valid).sum())
    return Table(
        "meaning",
        "What the number means",
        [Column("what predicts", "text"), Column("PPL", digits=2), Column("loss"), Column("accuracy", "share")],
        rows,
        f"All on the same {targets:,} validation targets, counting on the same {len(task.text.train.tokens):,} "
        "training tokens. PPL of an arm: exp of its mean loss over seeds, each seed at its best epoch, chosen on this "
        "text.",
    )


def of_these_seeds(task: ContextTask, shown: Sequence[ArmRuns]) -> str:
    """Return in a sentence what intervals over the seeds of arms speak of."""
    return of_seeds([len(arm.runs) for arm in shown if arm.runs], len(task.valid_counts))


def of_these_documents(task: ContextTask) -> str:
    """Return in a sentence what intervals over the validation documents speak of; empty where there are none."""
    documents = len(task.valid_counts)
    return of_documents(documents, documents)


def arms(title: str, shown: Sequence[ArmRuns], task: ContextTask, name: str = "arms") -> Table:
    """Return what each arm reached, with what of it was trained."""
    rows: list[list[Cell]] = []
    for arm in shown:
        if not arm.runs:
            rows.append([arm.arm.label, None, None, None, 0, *[None] * 6, arm.state])
            continue
        run, ppl = arm.runs[0], arm.ppl
        rows.append(
            [
                arm.arm.label,
                run.trainable,
                run.total,
                run.trainable / run.tokens,
                len(arm.runs),
                ppl[""],
                ppl.get("_low"),
                ppl.get("_high"),
                arm.mean("val_accuracy")[""],
                arm.mean("best_epoch")[""],
                arm.mean("updates")[""],
                arm.state,
            ]
        )
    return Table(
        name,
        title,
        [
            Column("arm", "text"),
            Column("trained", "integer"),
            Column("total", "integer"),
            Column("trained per token", digits=2),
            Column("n", "integer"),
            Column("val PPL", digits=2),
            Column("95 % low", digits=2),
            Column("95 % high", digits=2),
            Column("accuracy", "share"),
            Column("best epoch", digits=1),
            Column("updates", digits=0),
            Column("state", "text"),
        ],
        rows,
        "Trained counts what learns beside the contexts: embedding or not, its LayerNorm, token block, head; total has "
        "the context block too, and the embedding once, though beside a trained one the contexts' own stays as it was. "
        "Per token: trained parameters for each training token. PPL: exp of the mean loss of n seeds and of its "
        "interval (Student's t), each seed at its best epoch on the validation text, which also chose it. Updates: all "
        "arms may make as many; patience ends a run that no longer gets better. " + of_these_seeds(task, shown),
    )


def differences(pairs: Sequence[tuple[str, ArmRuns, ArmRuns]], task: ContextTask, name: str = "pairs") -> Table:
    """Return differences of the loss seed by seed, and the ratio of perplexities that they are."""
    rows: list[list[Cell]] = []
    for label, first, second in pairs:
        told = paired(LOSS, first, second)
        if told:
            told |= over_documents(LOSS, task, first, second)
            ends = (told.get(end) for end in ENDS)
            rows.append([label, int(told["n"]), told[""], *ends, perplexity(told[""]) - 1])
    return Table(
        name,
        "Differences, seed by seed",
        [
            Column("from, to", "text"),
            Column("n", "integer"),
            Column("loss changes by"),
            *END_COLUMNS,
            Column("PPL changes by", "share"),
        ],
        rows,
        sentences(
            "Validation loss of the second minus that of the first, with equal seeds; below 0 the second is better.",
            "The change of PPL is the exponential of the mean difference.",
            of_these_seeds(task, [arm for _, *both in pairs for arm in both]),
            of_these_documents(task),
        ),
    )


def final(found: Comparison, shown: Sequence[ArmRuns]) -> Table:
    """Return what arms reach on the test text, beside the validation text that chose their best epochs."""
    task, rows = found.task, list[list[Cell]]()
    for arm in shown:
        if all(TEST_LOSS in run.numbers for run in arm.runs):
            test = arm.mean(TEST_LOSS)
            ends = (perplexity(test[end]) if end in test else None for end in ("", "_low", "_high"))
            rows.append([arm.arm.label, len(arm.runs), arm.ppl[""], *ends])
    for key in ("bigram", "kneser_ney_3") if rows else ():
        rows.append([REFERENCES[key], None, task.references[key].ppl, task.test_references[key].ppl, None, None])
    return Table(
        "final",
        "On text that chose nothing",
        [
            Column("what predicts", "text"),
            Column("n", "integer"),
            Column("val PPL", digits=2),
            Column("test PPL", digits=2),
            Column("95 % low", digits=2),
            Column("95 % high", digits=2),
        ],
        rows,
        f"Test: {sum(task.test_counts):,} targets, {counted(len(task.test_counts), 'document')}, {task.text.test_is}. "
        "The best epoch of a run was chosen on the validation text; this text had no say in anything. The interval "
        "is over seeds.",
    )


def growth(sizes: Sequence[tuple[int, ArmRuns, ArmRuns]], task: ContextTask) -> Table:
    """Return frozen beside trained at each number of training tokens."""
    rows: list[list[Cell]] = []
    for tokens, frozen, trained in sizes:
        change = paired(LOSS, trained, frozen) | over_documents(LOSS, task, trained, frozen)
        ends = [perplexity(change[end]) - 1 if end in change else None for end in ("", *ENDS)]
        means = [arm.ppl[""] for arm in (frozen, trained)]
        rows.append([tokens, int(change.get("n", 0)), *means, *ends, trained.runs[0].trainable / tokens])
    return Table(
        "growth",
        "By number of tokens",
        [
            Column("tokens", "integer"),
            Column("n", "integer"),
            Column("PPL, frozen", digits=2),
            Column("PPL, trained", digits=2),
            Column("freezing changes PPL by", "share"),
            *(replace(column, kind="share") for column in END_COLUMNS),
            Column("parameters per token, trained", digits=2),
        ],
        rows,
        sentences(
            "The same held-out documents at every size; the first tokens of the same text.",
            "Below 0 % freezing is better.",
            of_these_seeds(task, [arm for _, *both in sizes for arm in both]),
            of_these_documents(task),
        ),
    )


def ablation(name: str, title: str, column: str, shown: Sequence[ArmRuns], found: Comparison, caption: str) -> Table:
    """Return arms that differ in one thing: what they reach, against the main arm, and the rank of their contexts.

    What is the same for all arms has no column: the number of trained parameters, the contexts, and that all is done.
    """
    main = found.arms["main"]
    changes = [{} if arm.arm.name == main.arm.name else _change(found.task, main, arm) for arm in shown]
    trained = [arm.runs[0].trainable if arm.runs else None for arm in shown]
    sized, ranked = (len(set(kinds)) > 1 for kinds in (trained, [arm.arm.design for arm in shown]))
    columns: list[tuple[Column, Sequence[Cell]]] = [
        (Column(column, "text"), [arm.arm.label for arm in shown]),
        *([(Column("trained", "integer"), trained)] if sized else []),
        (Column("n", "integer"), [len(arm.runs) for arm in shown]),
        (Column("val PPL", digits=2), [arm.ppl.get("") for arm in shown]),
        (Column("loss changes by"), [change.get("") for change in changes]),
        *((column, [change.get(end) for change in changes]) for end, column in zip(ENDS, END_COLUMNS, strict=True)),
    ]
    if ranked:
        ranks = [mean_ranks(found.contexts.get(arm.arm.design, [])) for arm in shown]
        columns += zip(rank_columns(), zip(*ranks, strict=True), strict=True)
    if any(arm.state != "done" for arm in shown):
        columns.append((Column("state", "text"), [arm.state for arm in shown]))
    return Table(
        name,
        title,
        [heading for heading, _ in columns],
        [list(row) for row in zip(*(cells for _, cells in columns), strict=True)],
        sentences(
            caption,
            "Trained: parameters of the token block." if sized else "",
            "Loss changes by: against the model as set, seed by seed.",
            "Rank: effective rank of the contexts, as a share of their width." if ranked else "",
            of_these_seeds(found.task, shown),
            of_these_documents(found.task),
        ),
    )


def _change(task: ContextTask, main: ArmRuns, arm: ArmRuns) -> dict[str, float]:
    """Return by how much an arm's loss differs from the main arm's, with both intervals."""
    return paired(LOSS, main, arm) | over_documents(LOSS, task, main, arm)


def fit(shown: Sequence[ArmRuns]) -> Table:
    """Return train and validation loss at the best and at the last epoch: who overfits, and when?"""
    rows: list[list[Cell]] = []
    for arm in shown:
        if arm.runs:
            names = (TRAIN, LOSS, "gap", "train_loss_last", "val_loss_last", "gap_last")
            rows.append([arm.arm.label, *(arm.mean(name)[""] for name in names)])
    return Table(
        "fit",
        "Train and validation loss",
        [
            Column("arm", "text"),
            Column("train, best"),
            Column("val, best"),
            Column("gap, best"),
            Column("train, last"),
            Column("val, last"),
            Column("gap, last"),
        ],
        rows,
        "Best: at each run's best epoch; last: at its last. Train loss is the mean over the epoch while weights "
        "change, so it lags behind; a gap that grows from best to last is overfitting.",
    )


def epochs(shown: Sequence[ArmRuns]) -> Table:
    """Return the validation PPL of every arm epoch by epoch, means over seeds."""
    most = max(len(run.losses) for arm in shown for run in arm.runs)
    rows: list[list[Cell]] = []
    for epoch in range(most):
        cells: list[Cell] = [epoch + 1]
        for arm in shown:
            reached = [run.losses[epoch] for run in arm.runs if len(run.losses) > epoch]
            whole = len(reached) == len(arm.runs) > 0
            cells.append(perplexity(mean_interval(reached)[""]) if whole else None)
        rows.append(cells)
    labels = [arm.arm.label for arm in shown]
    return Table(
        "epochs",
        "Validation PPL by epoch",
        [Column("epoch", "integer"), *(Column(label, digits=1) for label in labels)],
        rows,
        "Exp of the mean loss over seeds, as long as all of them were training; patience ends a run. "
        f"{counted(len(shown), 'arm')}.",
    )
