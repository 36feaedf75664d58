"""From a depth sweep to its tables.

Leaves out pictures and verdicts, and the tables that any language model has: ``tables``.
"""

from itertools import pairwise

from llmlab.lm.depth import DepthArm, DepthSweep, paired
from llmlab.measure.score import perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Cell, Column, Table, counted, of_documents, of_seeds, sentences

ENDS = [Column("95 % low", digits=2), Column("95 % high", digits=2)]
DOCUMENT_ENDS = [Column("docs low", digits=2), Column("docs high", digits=2)]
PPL_ENDS = ("", "_low", "_high", "_doc_low", "_doc_high")


def depths(found: DepthSweep) -> Table:
    """Return what each depth reached after the same number of updates, one row per depth and kind of stack."""
    tested = any("test_ppl" in run.numbers for arm in found.arms for run in arm.runs)
    rows = [_depth_row(arm, tested=tested) for arm in found.arms]
    columns = [
        Column("stack", "text"),
        Column("parameters", "integer"),
        Column("n", "integer"),
        Column("val PPL", digits=2),
        *ENDS,
        *([Column("test PPL", digits=2)] if tested else []),
        Column("accuracy", "share"),
        Column("state", "text"),
    ]
    same = f"Adding a layer adds {_per_layer(found)} parameters." if len(found.arms) > 1 else ""
    return Table(
        "depths",
        "By depth",
        columns,
        rows,
        sentences(
            same,
            "PPL of each run's best epoch on the validation windows, which also chose it; mean over n seeds with the "
            "interval of the mean (Student's t).",
            "The test text chose nothing." if tested else "",
            of_found_seeds(found),
            _said_of_residual(found),
        ),
    )


def _depth_row(arm: DepthArm, *, tested: bool) -> list[Cell]:
    if not arm.runs:
        return [arm.label, arm.parameters, 0, *[None] * (5 if tested else 4), arm.state]
    ppl, accuracy = (mean_interval(arm.values(name)) for name in ("val_ppl", "val_accuracy"))
    test = [mean_interval(arm.values("test_ppl"))[""] if "test_ppl" in arm.runs[0].numbers else None]
    ends = ppl.get("_low"), ppl.get("_high")
    return [
        arm.label,
        arm.parameters,
        len(arm.runs),
        ppl[""],
        *ends,
        *(test if tested else []),
        accuracy[""],
        arm.state,
    ]


def of_found_seeds(found: DepthSweep) -> str:
    """Return in a sentence what a sweep's intervals over seeds speak of."""
    return of_seeds([len(arm.runs) for arm in found.finished], found.task.text.valid_document_count)


def _per_layer(found: DepthSweep) -> str:
    width = found.settings.hidden
    return f"{width * width + width:,}"


def _said_of_residual(found: DepthSweep) -> str:
    if not found.remedies:
        return ""
    return (
        "A residual layer adds to what it reads, through a LayerNorm without parameters, so the counts are the same; "
        "--stack residual trains all depths so."
    )


def other_measures(found: DepthSweep) -> Table:
    """Return the remaining measures of chapter 3 for each depth: the seed document's own ones among them."""
    names = ("best_epoch", "val_loss", "val_ppl_batch_mean", "train_loss", "val_accuracy_known", "context_recovered")
    recovered = found.task.bayes_loss is not None
    rows: list[list[Cell]] = []
    for arm in found.finished:
        shown = names if recovered else names[:-1]
        rows.append([arm.label, *(mean_interval(arm.values(name))[""] for name in shown)])
    return Table(
        "measures",
        "As the seed document measures",
        [
            Column("stack", "text"),
            Column("best epoch", digits=1),
            Column("val loss, batch mean"),
            Column("PPL, batch mean", digits=2),
            Column("train loss, as trained"),
            Column("accuracy of known", "share"),
            *([Column("context recovered", "share")] if recovered else []),
        ],
        rows,
        "Means over seeds. Batch mean: the mean over batches of each batch's mean. Train loss as trained: averaged "
        "over the epoch, with dropout on and while weights change. Known leaves out targets that are <unk>."
        + (" Context recovered: 0 for the exact bigram, 1 for who knows the language." if recovered else ""),
    )


def fit(found: DepthSweep) -> Table:
    """Return train and validation loss of the same parameters, both without dropout: does depth over- or underfit?"""
    rows: list[list[Cell]] = []
    for arm in found.finished:
        first = found.main[0] if found.main else arm
        means = [mean_interval(arm.values(name))[""] for name in ("train_loss_no_dropout", "val_loss_token", "gap")]
        change = paired("train_loss_no_dropout", first, arm) if arm is not first else {}
        rows.append([arm.label, *means, *map(change.get, ("", "_low", "_high"))])
    first_label = found.main[0].label if found.main else "the first"
    return Table(
        "fit",
        "Overfitting or underfitting?",
        [
            Column("stack", "text"),
            Column("train loss"),
            Column("val loss"),
            Column("gap"),
            Column(f"train minus {first_label}"),
            Column("95 % low"),
            Column("95 % high"),
        ],
        rows,
        sentences(
            "Train and val loss: the same parameters (the best epoch's) on training and on validation windows, without "
            "dropout; gap: val minus train.",
            of_found_seeds(found),
            reading(found),
        ),
    )


def reading(found: DepthSweep) -> str:
    """Return in a sentence what the losses of the deepest and the shallowest stack mean; empty if there is one."""
    if len(found.main) < 2:
        return ""
    shallow, deep = found.main[0], found.main[-1]
    train, val = (paired(name, shallow, deep) for name in ("train_loss_no_dropout", "val_loss_token"))
    if not train:
        return ""
    changes = f"From {shallow.label} to {deep.label} train loss changes by {train['']:+.3f}, val loss by {val['']:+.3f}"
    if "_low" not in val or val["_low"] <= 0 <= val["_high"]:
        return f"{changes}: that could be chance."
    if val[""] < 0:
        return f"{changes}: depth helps here."
    if train["_low"] > 0:
        return f"{changes}: the deeper stack fits worse what it was trained on. That is underfitting, not overfitting."
    if train["_high"] < 0:
        return (
            f"{changes}: the deeper stack fits better what it was trained on, and worse what it was not: overfitting."
        )
    return f"{changes}: depth does harm here, but whether by over- or underfitting cannot be told."


def pairs(found: DepthSweep) -> Table:
    """Return differences seed by seed: against the first depth, between neighbours, and of the remedy."""
    told, by_documents = list[tuple[str, dict[str, float], dict[str, float]]](), False
    for first, second in compared(found):
        ppl, loss = (paired(name, first, second) for name in ("val_ppl", "train_loss_no_dropout"))
        if ppl:
            by_documents = by_documents or "_doc_low" in ppl
            told.append((f"{second.label} minus {first.label}", ppl, loss))
    rows: list[list[Cell]] = []
    for what, ppl, loss in told:
        ends = [*map(ppl.get, PPL_ENDS if by_documents else PPL_ENDS[:3]), *map(loss.get, PPL_ENDS[:3])]
        rows.append([what, int(ppl["n"]), *ends])
    return Table(
        "pairs",
        "Differences seed by seed",
        [
            Column("what", "text"),
            Column("n", "integer"),
            Column("val PPL", digits=2),
            *ENDS,
            *(DOCUMENT_ENDS if by_documents else []),
            Column("train loss"),
            Column("95 % low"),
            Column("95 % high"),
        ],
        rows,
        sentences(
            "Runs of one seed read the same windows in the same order. An interval without zero says that the sign is "
            "not chance; it holds for one comparison, not for the best of several. Train loss without dropout.",
            "" if found.settings.seeds > 1 else "One seed has no interval: nothing here can be told from chance.",
            of_found_seeds(found),
            said_of_documents(found) if by_documents else "",
        ),
    )


def said_of_documents(found: DepthSweep) -> str:
    """Return in a sentence what a sweep's intervals over validation documents speak of."""
    scores = [run.score for arm in found.finished for run in arm.runs if run.score]
    blocks = len(scores[0].targets_by_document) if scores else 0
    return of_documents(found.task.text.valid_document_count, blocks)


def compared(found: DepthSweep) -> list[tuple[DepthArm, DepthArm]]:
    """Return which arms are subtracted: each depth minus the first, minus its neighbour, and residual minus plain."""
    main = found.main
    wanted = [(main[0], arm) for arm in main[1:]] + [pair for pair in pairwise(main) if pair[0] is not main[0]]
    plain = {arm.depth: arm for arm in main}
    return wanted + [(plain[arm.depth], arm) for arm in found.remedies if arm.depth in plain]


def common_epochs(found: DepthSweep) -> int:
    """Return how many epochs every finished run has: more where early stopping spared none."""
    return min(len(run.losses) for arm in found.finished for run in arm.runs)


def epochs_in_the_same_time(found: DepthSweep) -> dict[str, int]:
    """Return by label how many epochs an arm makes while the fastest one makes all that every run has."""
    least, most = min(arm.seconds_per_epoch for arm in found.finished), common_epochs(found)
    return {arm.label: min(most, int(most * least / max(arm.seconds_per_epoch, 1e-9) + 1e-9)) for arm in found.finished}


def equal_time_ppl(found: DepthSweep, arm: DepthArm) -> float | None:
    """Return the mean PPL of an arm after the epochs that fit into the same time; nothing if not one fits."""
    epochs = epochs_in_the_same_time(found)[arm.label]
    return mean_interval([run.ppl_after(epochs) for run in arm.runs])[""] if epochs else None


def equal_updates_ppl(found: DepthSweep, arm: DepthArm) -> float:
    """Return the mean PPL of an arm after as many updates as every run made."""
    return mean_interval([run.ppl_after(common_epochs(found)) for run in arm.runs])[""]


def times(found: DepthSweep) -> Table:
    """Return what depth costs, and what each depth reaches with equal updates and in equal time."""
    fits, rows = epochs_in_the_same_time(found), list[list[Cell]]()
    first = found.finished[0].seconds_per_epoch
    for arm in found.finished:
        seconds = arm.seconds_per_epoch
        made = {run.updates for run in arm.runs}
        rows.append(
            [
                arm.label,
                f"{made.pop():,}" if len(made) == 1 else f"{min(made):,}–{max(made):,}",
                seconds,
                seconds / max(first, 1e-9),
                mean_interval(arm.values("tokens_per_second"))[""],
                equal_updates_ppl(found, arm),
                fits[arm.label],
                equal_time_ppl(found, arm),
            ]
        )
    cycle = found.settings.schedule == "one-cycle"
    return Table(
        "times",
        "Equal updates and equal time",
        [
            Column("stack", "text"),
            Column("updates", "text"),
            Column("seconds an epoch", digits=2),
            Column(f"times {found.finished[0].label}", digits=2),
            Column("tokens a second", digits=0),
            Column("PPL, equal updates", digits=2),
            Column("epochs in equal time", "integer"),
            Column("PPL, equal time", digits=2),
        ],
        rows,
        f"Equal updates: the best of the first {counted(common_epochs(found), 'epoch')}, which every run has. Equal "
        "time: whole epochs that a stack makes while the fastest makes these; seconds are medians over epochs, and "
        "depend on what else the machine does."
        + (" A one-cycle rate is still high in the middle, which makes equal time look worse." if cycle else ""),
    )


def reference_losses(found: DepthSweep) -> dict[str, float]:
    """Return by name the losses that the sweep stands between."""
    task = found.task
    named = {"bigram": task.references["bigram"].loss, "Kneser–Ney 3-gram": task.references["kneser_ney_3"].loss}
    return named if task.bayes_loss is None else named | {"Bayes floor": task.bayes_loss}


def reference_ppls(found: DepthSweep) -> dict[str, float]:
    """Return the same as perplexities."""
    return {name: perplexity(loss) for name, loss in reference_losses(found).items()}
