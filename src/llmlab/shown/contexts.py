"""What is shown of chapters 5 and 6 alike: the text, the arms and their differences, the contexts, the rates tried."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from llmlab.lab.context_metrics import change, of_arms, samples
from llmlab.lab.context_study import (
    BESIDE,
    FACTORS,
    LOSS,
    SHARES,
    TEST_LOSS,
    ArmRuns,
    Comparison,
    ContextSpec,
    Measured,
    Tuned,
)
from llmlab.lab.context_text import ContextDataset
from llmlab.measure.score import perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say
from llmlab.report.result import (
    ARMS,
    Cell,
    Figure,
    Result,
    Scalar,
    Table,
    of_documents,
    of_seeds,
)
from llmlab.shown.curves import arm_curves, floor_level, level, means, with_interval
from llmlab.shown.table import BOTH_INTERVALS, INTERVAL, cells, declared, figure, table
from llmlab.shown.words import COUNTING, counted, exactly, ppls_at

RANKS = ("train", "valid", "untrained")
"""Effective ranks, in the order of their columns."""

# ---- text and arms ----------------------------------------------------------------------------------------------


ABLATION = (
    "trained:integer? | n:integer | val PPL:2 | loss changes by ±± | "
    "rank, train:share? | rank, val:share? | rank, untrained:share? | state:text?"
)
"""The columns of every ablation, after the one that says what differs."""


def text_read(text: ContextDataset) -> Table:
    """Return what the text is: tokens, documents, and how many targets are scored."""
    rows: list[list[Cell]] = []
    for name, stream in (("train", text.text.train), ("validation", text.text.valid)):
        scored = text.text.scored(stream)
        kinds, counted = int(stream.tokens.bincount().count_nonzero()), int(scored.sum())
        left_out = 1 - float(scored.double().mean())
        rows.append([name, len(stream.tokens), len(stream.starts), counted, left_out, kinds])
    vocabulary, width = text.source.embedding.shape
    title, name = say("text.title", name=text.text.name), text.source.name
    return table("contexts.text", rows, title=title, vocabulary=vocabulary, embedding=name, width=width)


def meaning(found: Comparison, names: Sequence[str]) -> Table:
    """Return arms between what counting reaches on the same targets and, where it is known, the floor."""
    text, rows = found.text, counted(found.text.references)
    for arm in (found.arms[name] for name in names if found.arms[name].runs):
        rows.append([arm.arm.label, ppl(arm)[""], arm.stat(LOSS)[""], arm.stat("val_accuracy")[""]])
    rows += exactly("exact bigram", text.bigram_loss) + exactly("Bayes (floor)", text.bayes_loss)
    targets, tokens = sum(text.valid_counts), len(text.text.train.tokens)
    return table("contexts.meaning", (row[:4] for row in rows), targets=targets, tokens=tokens)


def ppl(arm: ArmRuns) -> dict[str, float]:
    """Return the perplexity over seeds and its interval: exp of those of the loss; empty without runs."""
    told = arm.stat(LOSS) if arm.runs else {}
    return {end: perplexity(told[end]) for end in INTERVAL if end in told}


def arms(title: str, shown: Sequence[ArmRuns], found: Comparison) -> Table:
    """Return what each arm reached, with what of it was trained."""
    rows: list[list[Cell]] = []
    for arm in shown:
        if not arm.runs:
            rows.append([arm.arm.label, None, None, None, 0, *[None] * 6, found.state(arm)])
            continue
        run, reached = arm.runs[0], [arm.stat(name)[""] for name in ("val_accuracy", "best_epoch", "updates")]
        counts = [run.trainable, run.total, run.trainable / run.tokens, len(arm.runs)]
        rows.append([arm.arm.label, *counts, *cells(ppl(arm), "±"), *reached, found.state(arm)])
    return table("contexts.arms", rows, of_these_seeds(found.text, shown), title=title)


def of_these_seeds(text: ContextDataset, shown: Sequence[ArmRuns]) -> Text:
    """Return in a sentence what intervals over the seeds of arms speak of."""
    return of_seeds([len(arm.runs) for arm in shown if arm.runs], len(text.valid_counts))


def of_both(text: ContextDataset, shown: Sequence[ArmRuns]) -> tuple[Text, Text]:
    """Return what intervals over seeds and over the validation documents speak of; empty where there are none."""
    return of_these_seeds(text, shown), of_documents(len(text.valid_counts), len(text.valid_counts))


def differences(pairs: Sequence[tuple[ArmRuns, ArmRuns]], text: ContextDataset) -> Table:
    """Return differences of the loss seed by seed, and the ratio of perplexities that they are."""
    rows: list[list[Cell]] = []
    for first, second in pairs:
        if told := change(LOSS, text, first, second):
            label = say("contexts.pair", first=first.arm.label, second=second.arm.label)
            rows.append([label, int(told["_n"]), *cells(told, "±±"), perplexity(told[""]) - 1])
    return table("contexts.differences", rows, *of_both(text, [arm for both in pairs for arm in both]))


def ablation(key: str, shown: Sequence[ArmRuns], found: Comparison) -> Table:
    """Return arms that differ in one thing: what they reach, against the main arm, and the rank of their contexts.

    What is the same for all arms has no column: the number of trained parameters, the contexts, and that all is done.
    """
    main, text = found.arms["main"], found.text
    trained = [arm.runs[0].trainable if arm.runs else None for arm in shown]
    sized, ranked = (len(set(kinds)) > 1 for kinds in (trained, [arm.arm.contexts for arm in shown]))
    troubled, rows = any(found.state(arm) != "done" for arm in shown), list[list[Cell]]()
    for arm, own in zip(shown, trained, strict=True):
        changes = {} if arm.arm.name == main.arm.name else change(LOSS, text, main, arm)
        ranks = mean_ranks(found.contexts.get(arm.arm.contexts, []) if ranked else [])
        ends = [own if sized else None, len(arm.runs), ppl(arm).get(""), *cells(changes, "±±"), *ranks]
        rows.append([arm.arm.label, *ends, found.state(arm) if troubled else None])
    told = [say("contexts.ablation_trained")] if sized else []
    told += [say("contexts.ablation_change"), *([say("contexts.ablation_rank")] if ranked else [])]
    return table(key, rows, *told, *of_both(text, shown), columns=f"{declared()[key]['columns']} | {ABLATION}")


def final(found: Comparison) -> Table:
    """Return what arms reach on the test text, beside the validation text that chose their best epochs."""
    text, rows = found.text, list[list[Cell]]()
    for arm in found.arms.values():
        if arm.runs and all(TEST_LOSS in run.numbers for run in arm.runs):
            test = arm.stat(TEST_LOSS)
            ends = (perplexity(test[end]) if end in test else None for end in INTERVAL)
            rows.append([arm.arm.label, len(arm.runs), ppl(arm)[""], *ends])
    for key in ("bigram", "kneser_ney_3") if rows else ():
        rows.append([COUNTING[key], None, text.references[key].ppl, text.test_references[key].ppl, None, None])
    targets, documents, where = sum(text.test_counts), len(text.test_counts), text.text.test_is
    return table("contexts.test", rows, targets=targets, documents=documents, where=where)


def growth(sizes: Sequence[tuple[int, ArmRuns, ArmRuns]], text: ContextDataset) -> Table:
    """Return frozen beside trained at each number of training tokens."""
    rows: list[list[Cell]] = []
    for tokens, frozen, trained in sizes:
        told = change(LOSS, text, trained, frozen)
        ends = [perplexity(told[end]) - 1 if end in told else None for end in BOTH_INTERVALS]
        ppls = [ppl(arm)[""] for arm in (frozen, trained)]
        rows.append([tokens, int(told.get("_n", 0)), *ppls, *ends, trained.runs[0].trainable / tokens])
    return table("contexts.growth", rows, *of_both(text, [arm for _, *both in sizes for arm in both]))


def fit(shown: Sequence[ArmRuns]) -> Table:
    """Return train and validation loss at the best and at the last epoch: who overfits, and when?"""
    names = ("train_loss_at_best", LOSS, "gap", "train_loss_last", "val_loss_last", "gap_last")
    return table(
        "contexts.fit", [[arm.arm.label, *(arm.stat(name)[""] for name in names)] for arm in shown if arm.runs]
    )


def epochs(shown: Sequence[ArmRuns]) -> Table:
    """Return the validation PPL of every arm epoch by epoch, means over seeds."""
    most = max(len(run.history) for arm in shown for run in arm.runs)
    each = [means(run.curve(LOSS) for run in arm.runs) for arm in shown]
    rows = [[epoch + 1, *ppls_at(epoch, each)] for epoch in range(most)]
    columns = " | ".join(["epoch:integer", *(f"{arm.arm.label}:1" for arm in shown)])
    return table("contexts.epochs", rows, columns=columns, arms=len(shown))


# ---- Stage 1, and the rates that were tried ---------------------------------------------------------------------


def contexts(found: Comparison, label: Callable[[ContextSpec], Text]) -> Table:
    """Return what Stage 1 measured of each spec: how far training brought its block, and how exact its contexts are."""
    rows: list[list[Cell]] = []
    for spec, measured in found.contexts.items():
        first = measured[0]
        rows.append(
            [
                label(spec),
                first.size.context_parameters(),
                len(measured),
                _mean([one.rows[-1]["iteration"] for one in measured if one.rows]),
                _mean([one.rows[-1]["converged_fraction"] for one in measured if one.rows]),
                *mean_ranks(measured),
                None if first.plain else first.warm_up,
                max((one.max_error for one in measured if not one.plain), default=None),
                _mean([one.tokens_per_second for one in measured]),
            ]
        )
    return table("contexts.stage1", rows)


def passes(one: Measured) -> Table:
    """Return the passes of a context block's training."""
    names = ("fixed_point_loss", "diversity", "converged_fraction")
    rows = [[int(row["iteration"]), *(row[name] for name in names)] for row in one.rows]
    return table("contexts.passes", rows, seed=one.seed)


def mean_ranks(measured: Sequence[Measured]) -> list[Cell]:
    """Return the effective ranks of contexts as shares of their width, means over seeds; empty cells without a seed."""
    return [_mean([one.ranks[name] for one in measured]) for name in RANKS]


def _mean(values: Sequence[float]) -> float | None:
    return mean_interval(values)[""] if values else None


def rates(found: Comparison) -> list[Table]:
    """Return what each arm's tries reached, for the arms that train the embedding and for those that do not."""
    tuned = [(arm.arm.label, found.tuned[name]) for name, arm in found.arms.items() if arm.runs and name in found.tuned]
    tried = [f"embedding × {share:g}" for share in SHARES] + [f"rest × {factor:g}" for factor in BESIDE]
    both = {
        "contexts.rates_of_both": [*tried, "rate:5", "embedding's:6"],
        "contexts.rates_of_one": [*(f"× {one:g}" for one in FACTORS), "rate:5"],
    }
    told = list[Table]()
    for (key, own), moves in zip(both.items(), (True, False), strict=True):
        rows = [_tried(label, each) for label, each in tuned if each.arm.trains_embedding == moves]
        columns = " | ".join(["arm:text", *own, "at the edge:text", "judged on:integer"])
        told.append(table(key, rows, say("contexts.rates_tried"), columns=columns))
    return [each for each in told if each.rows]


def _tried(label: Text, found: Tuned) -> list[Cell]:
    own = found.at(found.best)
    chosen = [own.lr, own.lr * own.embedding_lr] if found.arm.trains_embedding else [own.lr]
    edge = "no" if not found.edge else found.edge[0] if len(found.edge) == 1 else "rate and embedding"
    return [label, *(one.loss for one in found.tries), *chosen, edge, found.tail]


# ---- pictures ---------------------------------------------------------------------------------------------------


def curves(shown: Sequence[ArmRuns], text: ContextDataset) -> Figure:
    """Return the validation loss of each arm by epoch, mean over seeds, between a bigram and the floor."""
    each = [(arm.arm.label, [run.curve(LOSS) for run in arm.runs]) for arm in shown]
    told = [say("contexts.arm_loss", arm=arm, loss=min(means(runs))) for arm, runs in each]
    bigram = text.references["bigram"].loss
    marks = [*arm_curves(each), level(bigram, "bigram"), *floor_level(text.bayes_loss)]
    return figure("contexts.curves", marks, arms=told, bigram=bigram)


def train_and_validation(shown: Sequence[ArmRuns]) -> Figure:
    """Return train and validation loss of a few arms by epoch, mean over seeds."""
    each, told = list[tuple[Text, list[list[float]]]](), list[Text]()
    for arm in shown:
        for what, loss in (("validation", LOSS), ("train", "train_loss_token")):
            runs = [run.curve(loss) for run in arm.runs]
            each.append((say("contexts.curve", arm=arm.arm.label, what=what), runs))
            told.append(say("contexts.curve_loss", arm=arm.arm.label, what=what, loss=means(runs)[-1]))
    return figure("contexts.fit_curves", arm_curves(each), curves=told)


def growth_curves(sizes: Sequence[tuple[int, ArmRuns, ArmRuns]]) -> Figure:
    """Return the loss of frozen and of trained against the number of training tokens, with intervals."""
    xs = [float(tokens) for tokens, _, _ in sizes]
    marks = with_interval(xs, [frozen.stat(LOSS) for _, frozen, _ in sizes], ARMS[0], "frozen")
    marks += with_interval(xs, [trained.stat(LOSS) for _, _, trained in sizes], ARMS[1], "trained")
    first, last = sizes[0], sizes[-1]
    return figure(
        "contexts.growth_curves",
        marks,
        few=first[0],
        frozen_few=first[1].stat(LOSS)[""],
        trained_few=first[2].stat(LOSS)[""],
        many=last[0],
        frozen_many=last[1].stat(LOSS)[""],
        trained_many=last[2].stat(LOSS)[""],
    )


def by_value(key: str, values: Sequence[float], shown: Sequence[ArmRuns]) -> Figure:
    """Return the loss of arms against the number that tells them apart, with intervals."""
    told = [
        say("contexts.value_loss", value=value, loss=arm.stat(LOSS)[""])
        for value, arm in zip(values, shown, strict=True)
    ]
    marks = with_interval(values, [arm.stat(LOSS) for arm in shown], "series", "validation")
    shown_by = figure(key, marks, caption="")
    return replace(shown_by, caption=say("contexts.by_value", label=shown_by.x_label, values=told))


# ---- sentences --------------------------------------------------------------------------------------------------


def difference(first: ArmRuns, second: ArmRuns) -> list[Text]:
    """Return in a sentence what going from the first to the second arm does to the perplexity; none without a pair."""
    told = second.minus(first, LOSS)
    if not told:
        return []
    low, middle, high = (perplexity(told.get(end, told[""])) - 1 for end in ("_low", "", "_high"))
    arms = {"first": first.arm.label, "second": second.arm.label, "change": middle}
    if "_low" not in told:
        return [say("contexts.difference", **arms)]
    return [say("contexts.difference_with_interval", **arms, low=low, high=high)]


def notes(found: Comparison) -> list[Text]:
    """Return what else a reader has to know: what stopped, what diverged, what the text was like."""
    told: list[Text] = [
        say("contexts.state", arm=arm.arm.label, state=found.state(arm))
        for arm in found.arms.values()
        if found.trouble(arm)
    ]
    if found.stop:
        left = [arm.arm.label for arm in found.arms.values() if found.state(arm) == "not begun"]
        told.append(say("contexts.stopped_without", arms=left) if left else say("contexts.stopped"))
    every = [one for each in found.contexts.values() for one in each]
    if plain := sum(one.plain for one in every):
        told.append(say("contexts.token_by_token", blocks=len(every), plain=plain))
    own = [note for run in found.finished for note in run.notes]
    texts = [note for text in found.texts.values() for note in text.notes]
    return [*told, *dict.fromkeys([*texts, *own])]


def all_diverged(found: Comparison, why: Text, how: Text) -> Result:
    """Return the result of a comparison in which no run stayed finite."""
    reasons = [say("contexts.reason", arm=arm.arm.label, state=found.state(arm)) for arm in found.arms.values()]
    told = [say("contexts.all_diverged", reasons=reasons), say("contexts.no_number")]
    return replace(result(found, why, how, of_arms(found), told, [], []), status="diverged")


def result(
    found: Comparison,
    why: Text,
    how: Text,
    metrics: dict[str, Scalar],
    told: Sequence[Text],
    tables: Sequence[Table],
    figures: Sequence[Figure],
) -> Result:
    """Return the result of a comparison, without the tables that have no rows."""
    return Result(
        found.settings.experiment,
        found.settings.document(),
        why,
        how,
        status="interrupted" if found.stop else "complete",
        metrics=metrics,
        summary=list(told),
        tables=[table for table in tables if table.rows],
        figures=list(figures),
        samples=samples(found),
    )
