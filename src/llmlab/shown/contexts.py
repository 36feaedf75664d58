"""What is shown of chapters 5 and 6 alike: the text, the arms and their differences, the contexts, the rates tried."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from statistics import fmean
from typing import Any

from llmlab.lab.context_metrics import change, of_arms, samples
from llmlab.lab.context_runs import LOSS, TEST_LOSS, ArmRuns, ContextSpec, Measured
from llmlab.lab.context_study import BESIDE, FACTORS, SHARES, Comparison
from llmlab.lab.context_text import ContextDataset
from llmlab.measure.score import perplexity
from llmlab.measure.stats import metrics_of
from llmlab.report.messages import Text, say
from llmlab.report.result import ARMS, Cell, Figure, Result, Scalar, Table, of_documents, of_seeds
from llmlab.shown.table import (
    ENDS,
    INTERVAL,
    arm_curves,
    cells,
    declared,
    figure,
    level,
    means,
    table,
    tell,
    with_interval,
)
from llmlab.shown.words import COUNTING, counted, exactly, ppls_at

ABLATION = (
    "trained:integer? | n:integer | val PPL:2 | loss changes by ±± | "
    "rank, train:share? | rank, val:share? | rank, untrained:share? | state:text?"
)
"""The columns of every ablation, after the one that says what differs."""

Growth = Sequence[tuple[int, ArmRuns, ArmRuns]]
"""Frozen and trained, by number of tokens."""


# ---- what arms reached --------------------------------------------------------------------------------------------


def reached(arm: ArmRuns) -> dict[str, float]:
    """Return the numbers that all runs of an arm have, means over seeds with intervals; ``n`` is how many runs.

    Of perplexities they are exp of those of the loss.
    """
    if not arm.runs:
        return {"n": 0}
    run = arm.runs[0]
    every = [name for name in run.numbers if all(name in one.numbers for one in arm.runs)]
    told = metrics_of({name: list(arm.by_seed(name).values()) for name in every})
    for ppl, loss in (("val_ppl", LOSS), ("test_ppl", TEST_LOSS)):
        told |= {ppl + end: perplexity(told[loss + end]) for end in INTERVAL if loss + end in told}
    sizes = {"trainable": run.trainable, "total": run.total, "per_token": run.trainable / run.tokens}
    return {"n": len(arm.runs), **sizes, **told}


def ppl_changes(told: Mapping[str, float]) -> dict[str, float]:
    """Return a difference of losses, with the ends of its intervals, as shares of the perplexity."""
    return {end: perplexity(told[end]) - 1 for end in ENDS["±±"] if end in told}


def intervals(text: ContextDataset, shown: Iterable[ArmRuns]) -> tuple[Text, Text]:
    """Return what intervals over the seeds of arms, and over the validation documents, speak of."""
    documents = len(text.valid_counts)
    return of_seeds([len(arm.runs) for arm in shown if arm.runs], documents), of_documents(documents, documents)


def tables(
    found: Comparison,
    title: str,
    shown: Sequence[ArmRuns],
    fitted: Iterable[ArmRuns],
    compared: Iterable[Table],
    sizes: Growth,
    label: Callable[[ContextSpec], Text],
) -> Iterator[Table]:
    """Yield the tables of a comparison: of the arms ``shown``, of how they were ``compared``, of growth and contexts.

    ``fitted`` are the arms whose train and validation losses are put side by side; ``label`` names contexts.
    """
    text, trained, own = found.text, [arm for arm in shown if arm.runs], found.own_contexts[0]
    rows = list[list[Cell]]()
    for name, stream in (("train", text.text.train), ("validation", text.text.valid)):
        scored, kinds = text.text.scored(stream), int(stream.tokens.bincount().count_nonzero())
        left_out = 1 - float(scored.double().mean())
        rows.append([name, len(stream.tokens), len(stream.starts), int(scored.sum()), left_out, kinds])
    (size, width), of_text = text.source.embedding.shape, say("text.title", name=text.text.name)
    yield table("contexts.text", rows, title=of_text, vocabulary=size, embedding=text.source.name, width=width)

    rows = [row[:4] for row in counted(text.references)]
    rows += [[arm.arm.label, *cells(reached(arm), f"val_ppl {LOSS} val_accuracy")] for arm in trained]
    rows += [row[:4] for row in exactly("exact bigram", text.bigram_loss) + exactly("Bayes (floor)", text.bayes_loss)]
    targets, tokens = sum(text.valid_counts), len(text.text.train.tokens)
    yield table("contexts.meaning", rows, targets=targets, tokens=tokens)
    yield arms(title, shown, found)
    yield from compared
    yield from rates(found)
    yield final(found)
    names = f"train_loss_at_best {LOSS} gap train_loss_last val_loss_last gap_last"
    yield table("contexts.fit", ([arm.arm.label, *cells(reached(arm), names)] for arm in fitted if arm.runs))
    if len(sizes) > 1:
        yield growth(sizes, text)
    yield epochs(trained)
    yield stage1(found, label)
    names = "fixed_point_loss diversity converged_fraction"
    yield table("contexts.passes", ([int(row["iteration"]), *cells(row, names)] for row in own.rows), seed=own.seed)


def arms(title: str, shown: Sequence[ArmRuns], found: Comparison) -> Table:
    """Return what each arm reached, with what of it was trained."""
    names = "trainable total per_token n val_ppl± val_accuracy best_epoch updates"
    rows = [[arm.arm.label, *cells(reached(arm), names), found.state(arm)] for arm in shown]
    return table("contexts.arms", rows, intervals(found.text, shown)[0], title=title)


def differences(pairs: Sequence[tuple[ArmRuns, ArmRuns]], text: ContextDataset) -> Table:
    """Return differences of the loss seed by seed, and the ratio of perplexities that they are."""
    rows: list[list[Cell]] = []
    for first, second in pairs:
        if told := change(LOSS, text, first, second):
            label = say("contexts.pair", first=first.arm.label, second=second.arm.label)
            rows.append([label, int(told["_n"]), *cells(told, "±±"), ppl_changes(told)[""]])
    return table("contexts.differences", rows, *intervals(text, chain(*pairs)))


def ablation(key: str, shown: Sequence[ArmRuns], found: Comparison) -> Table:
    """Return arms that differ in one thing: what they reach, against the main arm, and the rank of their contexts.

    What is the same for all arms has no column: the number of trained parameters, the contexts, and that all is done.
    """
    main, text, each = found.arms["main"], found.text, [reached(arm) for arm in shown]
    sized = len({told.get("trainable") for told in each}) > 1
    ranked = len({arm.arm.contexts for arm in shown}) > 1
    troubled, rows = any(found.state(arm) != "done" for arm in shown), list[list[Cell]]()
    for arm, told in zip(shown, each, strict=True):
        changes = {} if arm.arm.name == main.arm.name else change(LOSS, text, main, arm)
        ranks = mean_ranks(found.contexts.get(arm.arm.contexts, []) if ranked else [])
        ends = *cells(changes, "±±"), *ranks, found.state(arm) if troubled else None
        rows.append([arm.arm.label, told.get("trainable") if sized else None, *cells(told, "n val_ppl"), *ends])
    sentences = {"contexts.ablation_trained": sized, "contexts.ablation_change": True, "contexts.ablation_rank": ranked}
    more = tell({}, *(name for name, there in sentences.items() if there))
    return table(key, rows, *more, *intervals(text, shown), columns=f"{declared()[key]['columns']} | {ABLATION}")


def final(found: Comparison) -> Table:
    """Return what arms reach on the test text, beside the validation text that chose their best epochs."""
    text, each = found.text, [(arm.arm.label, reached(arm)) for arm in found.arms.values()]
    rows = [[label, *cells(told, "n val_ppl test_ppl±")] for label, told in each if TEST_LOSS in told]
    for key in ("bigram", "kneser_ney_3") if rows else ():
        rows.append([COUNTING[key], None, text.references[key].ppl, text.test_references[key].ppl, None, None])
    targets, documents, where = sum(text.test_counts), len(text.test_counts), text.text.test_is
    return table("contexts.test", rows, targets=targets, documents=documents, where=where)


def growth(sizes: Growth, text: ContextDataset) -> Table:
    """Return frozen beside trained at each number of training tokens."""
    rows: list[list[Cell]] = []
    for tokens, frozen, trained in sizes:
        told, (one, other) = change(LOSS, text, trained, frozen), map(reached, (frozen, trained))
        ppls = one["val_ppl"], other["val_ppl"]
        rows.append([tokens, int(told.get("_n", 0)), *ppls, *cells(ppl_changes(told), "±±"), other["per_token"]])
    return table("contexts.growth", rows, *intervals(text, (arm for _, *both in sizes for arm in both)))


def epochs(shown: Sequence[ArmRuns]) -> Table:
    """Return the validation PPL of every arm epoch by epoch, means over seeds."""
    most = max((len(run.history) for arm in shown for run in arm.runs), default=0)
    each = [means(run.curve(LOSS) for run in arm.runs) for arm in shown]
    rows = [[epoch + 1, *ppls_at(epoch, each)] for epoch in range(most)]
    columns = " | ".join(["epoch:integer", *(f"{arm.arm.label}:1" for arm in shown)])
    return table("contexts.epochs", rows, columns=columns, arms=len(shown))


# ---- Stage 1, and the rates that were tried -----------------------------------------------------------------------


def stage1(found: Comparison, label: Callable[[ContextSpec], Text]) -> Table:
    """Return what Stage 1 measured of each spec: how far training brought its block, and how exact its contexts are."""
    rows: list[list[Cell]] = [
        [
            label(spec),
            measured[0].size.context_parameters(),
            len(measured),
            _mean(one.rows[-1]["iteration"] for one in measured if one.rows),
            _mean(one.rows[-1]["converged_fraction"] for one in measured if one.rows),
            *mean_ranks(measured),
            None if measured[0].plain else measured[0].warm_up,
            max((one.max_error for one in measured if not one.plain), default=None),
            _mean(one.tokens_per_second for one in measured),
        ]
        for spec, measured in found.contexts.items()
    ]
    return table("contexts.stage1", rows)


def mean_ranks(measured: Sequence[Measured]) -> list[Cell]:
    """Return the effective ranks of contexts as shares of their width, means over seeds; empty cells without a seed."""
    return [_mean(one.ranks[name] for one in measured) for name in ("train", "valid", "untrained")]


def _mean(values: Iterable[float]) -> float | None:
    each = list(values)
    return fmean(each) if each else None


def rates(found: Comparison) -> Iterator[Table]:
    """Yield what each arm's tries reached, for the arms that train the embedding and for those that do not."""
    of_both = [f"embedding × {share:g}" for share in SHARES] + [f"rest × {factor:g}" for factor in BESIDE]
    of_one = [f"× {factor:g}" for factor in FACTORS]
    for key, moves, tried in (
        ("contexts.rates_of_both", True, [*of_both, "rate:5", "embedding's:6"]),
        ("contexts.rates_of_one", False, [*of_one, "rate:5"]),
    ):
        rows = list[list[Cell]]()
        for name, arm in found.arms.items():
            tuned = found.tuned.get(name)
            if arm.runs and tuned and tuned.arm.trains_embedding == moves:
                own, losses = tuned.at(tuned.best), [one.loss for one in tuned.tries]
                chosen = [own.lr, own.lr * own.embedding_lr] if moves else [own.lr]
                edge = "rate and embedding" if len(tuned.edge) > 1 else next(iter(tuned.edge), "no")
                rows.append([arm.arm.label, *losses, *chosen, edge, tuned.tail])
        columns = " | ".join(["arm:text", *tried, "at the edge:text", "judged on:integer"])
        yield table(key, rows, say("contexts.rates_tried"), columns=columns)


# ---- pictures -----------------------------------------------------------------------------------------------------


def curves(shown: Sequence[ArmRuns], text: ContextDataset) -> Figure:
    """Return the validation loss of each arm by epoch, mean over seeds, between a bigram and the floor."""
    each = [(arm.arm.label, [run.curve(LOSS) for run in arm.runs]) for arm in shown]
    told = [say("contexts.arm_loss", arm=arm, loss=min(means(runs))) for arm, runs in each]
    bigram = text.references["bigram"].loss
    marks = [*arm_curves(each), *level(bigram, "bigram"), *level(text.bayes_loss, "Bayes floor", "floor")]
    return figure("contexts.curves", marks, arms=told, bigram=bigram)


def train_and_validation(shown: Sequence[ArmRuns]) -> Figure:
    """Return train and validation loss of a few arms by epoch, mean over seeds."""
    each, told = list[tuple[Text, list[list[float]]]](), list[Text]()
    for arm in shown:
        for what, loss in (("validation", LOSS), ("train", "train_loss_token")):
            runs, named = [run.curve(loss) for run in arm.runs], {"arm": arm.arm.label, "what": what}
            each.append((say("contexts.curve", **named), runs))
            told.append(say("contexts.curve_loss", **named, loss=means(runs)[-1]))
    return figure("contexts.fit_curves", arm_curves(each), curves=told)


def growth_curves(sizes: Growth) -> Figure:
    """Return the loss of frozen and of trained against the number of training tokens, with intervals."""
    tokens, *both = zip(*sizes, strict=True)
    losses = [[arm.stat(LOSS) for arm in each] for each in both]
    frozen, trained = (
        with_interval([*map(float, tokens)], each, role, name)
        for each, role, name in zip(losses, ARMS, ("frozen", "trained"), strict=False)
    )
    told = dict[str, Any]()
    for size, at in (("few", 0), ("many", -1)):
        told |= {size: tokens[at], f"frozen_{size}": losses[0][at][""], f"trained_{size}": losses[1][at][""]}
    return figure("contexts.growth_curves", [*frozen, *trained], **told)


def by_value(key: str, values: Sequence[float], shown: Sequence[ArmRuns]) -> Figure:
    """Return the loss of arms against the number that tells them apart, with intervals."""
    losses = [arm.stat(LOSS) for arm in shown]
    told = [say("contexts.value_loss", value=at, loss=loss[""]) for at, loss in zip(values, losses, strict=True)]
    caption = say("contexts.by_value", label=declared()[key]["x"], values=told)
    return figure(key, with_interval(values, losses, "series", "validation"), caption=caption)


# ---- sentences, and the result ------------------------------------------------------------------------------------


def difference(first: ArmRuns, second: ArmRuns) -> list[Text]:
    """Return in a sentence what going from the first to the second arm does to the perplexity; none without a pair."""
    told = ppl_changes(second.minus(first, LOSS))
    if not told:
        return []
    change, low, high = cells(told, "±")
    key = "contexts.difference" if low is None else "contexts.difference_with_interval"
    arms = {"first": first.arm.label, "second": second.arm.label}
    return tell({**arms, "change": change, "low": low, "high": high}, key)


def notes(found: Comparison) -> list[Text]:
    """Return what else a reader has to know: what stopped, what diverged, what the text was like."""
    states = [(arm, found.state(arm)) for arm in found.arms.values()]
    told: list[Text] = [
        say("contexts.state", arm=arm.arm.label, state=state) for arm, state in states if found.trouble(arm)
    ]
    if found.stop:
        left = [arm.arm.label for arm, state in states if state == "not begun"]
        told += tell({"arms": left}, "contexts.stopped_without" if left else "contexts.stopped")
    every = [*chain(*found.contexts.values())]
    if plain := sum(one.plain for one in every):
        told.append(say("contexts.token_by_token", blocks=len(every), plain=plain))
    noted = [one.notes for one in found.texts.values()] + [one.notes for one in found.finished]
    return [*told, *dict.fromkeys(chain(*noted))]


def all_diverged(found: Comparison, asked: tuple[Text, Text]) -> Result:
    """Return the result of a comparison in which no run stayed finite."""
    reasons = [say("contexts.reason", arm=arm.arm.label, state=found.state(arm)) for arm in found.arms.values()]
    told = [say("contexts.all_diverged", reasons=reasons), say("contexts.no_number")]
    return replace(result(found, asked, of_arms(found), told, [], []), status="diverged")


def result(
    found: Comparison,
    asked: tuple[Text, Text],
    metrics: dict[str, Scalar],
    told: Sequence[Text],
    tables: Iterable[Table],
    figures: Sequence[Figure],
) -> Result:
    """Return the result of a comparison, without the tables that have no rows."""
    return Result(
        found.settings.experiment,
        found.settings.document(),
        *asked,
        status="interrupted" if found.stop else "complete",
        metrics=metrics,
        summary=list(told),
        tables=[table for table in tables if table.rows],
        figures=list(figures),
        samples=samples(found),
    )
