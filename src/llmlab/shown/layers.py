"""What is shown of chapter 4: each depth, whether it over- or underfits, differences seed by seed, and equal time.

Means, intervals and differences are read off the metrics that ``layers.metrics`` made.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmlab.lab.dataset import Dataset
from llmlab.lab.runs import LanguageRun, common_epochs, epochs_in_equal_time
from llmlab.lab.study import Arm, Runs, Study
from llmlab.measure.score import document_sums, perplexity
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import (
    Cell,
    Figure,
    Mark,
    Result,
    Role,
    Scalar,
    Table,
    of_documents,
    of_seeds,
    rounded,
)
from llmlab.settings import BaselineSettings, LayersSettings
from llmlab.shown.baseline import text_read
from llmlab.shown.curves import arm_curves, level, means, with_interval
from llmlab.shown.table import INTERVAL, cells, figure, table
from llmlab.shown.words import beside_counting, endings

WHY, HOW = say("layers.why"), say("layers.how")
SAMPLED = {name: name for name in ("val_ppl", "val_loss_token", "val_accuracy")}
SAMPLED |= {"train_loss": "train_loss_no_dropout", "gap": "gap"}
"""What is kept of every seed, and what a run calls it."""

Metrics = Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True)
class Stack(Arm):
    """A depth and a kind of stack; ``beside`` it is the residual stack beside a plain one: the remedy."""

    settings: BaselineSettings
    beside: bool = False

    @property
    def depth(self) -> int:
        """How many hidden layers it has."""
        return self.settings.layers

    @property
    def suffix(self) -> str:
        """How its metrics end; those of the remedy are marked before the depth."""
        return f"_residual_L{self.depth}" if self.beside else f"_L{self.depth}"

    def folder(self, seed: int) -> str:
        """Return what the folder of a run is called."""
        return f"L{self.depth}-{self.settings.stack}-seed{seed}"


StackRuns = Runs[Stack, LanguageRun]
Sweep = Study[Stack, LanguageRun]


def plain(stacks: Iterable[StackRuns]) -> list[StackRuns]:
    """Return the finished stacks that are swept, shallow ones first, without the remedy."""
    return [stack for stack in stacks if stack.runs and not stack.arm.beside]


def with_residual(stacks: Iterable[StackRuns]) -> list[tuple[StackRuns, StackRuns]]:
    """Return each finished residual stack behind the plain one of its depth."""
    swept, beside = {stack.arm.depth: stack for stack in plain(stacks)}, [one for one in stacks if one.arm.beside]
    return [(swept[stack.arm.depth], stack) for stack in beside if stack.runs and stack.arm.depth in swept]


def state(stack: StackRuns) -> Text:
    """Return how a stack stands, in a few words: done, not begun, or what went wrong with which seed."""
    told = [say("study.state_diverged", seed=seed, update=update) for seed, update in stack.diverged.items()]
    if stack.stopped is not None:
        done, planned = len(stack.unfinished.history) if stack.unfinished else 0, stack.arm.settings.epochs
        told.append(say("study.state_stopped", seed=stack.stopped, epochs=done, planned=planned))
    if len(told) > 1:
        return say("study.states", each=told)
    return told[0] if told else "done" if stack.runs else "not begun"


# ---- the result ---------------------------------------------------------------------------------------------------


def result(settings: LayersSettings, data: Dataset, found: Sweep, metrics: Metrics) -> Result:
    """Return the result of the chapter."""
    stacks = [*found.arms.values()]
    finished = [stack for stack in stacks if stack.runs]
    whole = [stack for stack in finished if len(stack.runs) == settings.seeds]  # a list of samples has no gaps
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="interrupted" if found.stop else "complete" if finished else "diverged",
        metrics=dict(metrics),
        summary=summary(settings, data, found, metrics) if finished else all_diverged(stacks),
        tables=tables(settings, data, stacks, metrics),
        figures=figures(settings, data, stacks, metrics),
        samples={
            f"{name}{stack.arm.suffix}": rounded(run.numbers[own] for run in stack.runs)
            for stack in whole
            for name, own in SAMPLED.items()
        },
        documents=document_sums({stack.arm.suffix: [run.score for run in stack.runs] for stack in finished}),
    )


# ---- tables -------------------------------------------------------------------------------------------------------


def tables(settings: LayersSettings, data: Dataset, stacks: Sequence[StackRuns], metrics: Metrics) -> list[Table]:
    """Return the tables of a sweep; of one in which every run diverged only the text and the depths."""
    finished = [stack for stack in stacks if stack.runs]
    found = [text_read(data), depths(settings, data, stacks, metrics)]
    if finished:
        found += [
            fit(data, finished, metrics),
            pairs(settings, data, finished, metrics),
            times(settings, finished, metrics),
            other_measures(data, finished, metrics),
        ]
    return [table for table in found if table.rows]


def depths(settings: LayersSettings, data: Dataset, stacks: Sequence[StackRuns], metrics: Metrics) -> Table:
    """Return what each depth reached after the same number of updates, one row per depth and kind of stack."""
    rows: list[list[Cell]] = []
    for stack in stacks:
        size, *reached = cells(metrics, "parameters val_ppl± test_ppl val_accuracy", stack.arm.suffix)
        rows.append([stack.arm.label, size, len(stack.runs), *reached, state(stack)])
    per_layer = settings.hidden**2 + settings.hidden
    return table(
        "layers.depths",
        rows,
        caption=sentences(
            say("layers.per_layer", parameters=per_layer) if len(stacks) > 1 else "",
            say("layers.depths"),
            say("layers.test") if any(name.startswith("test_ppl") for name in metrics) else "",
            _of_seeds(data, stacks),
            say("layers.residual") if any(stack.runs and stack.arm.beside for stack in stacks) else "",
        ),
    )


def fit(data: Dataset, finished: Sequence[StackRuns], metrics: Metrics) -> Table:
    """Return train and validation loss of the same parameters, both without dropout: does depth over- or underfit?"""
    swept, rows = plain(finished), list[list[Cell]]()
    for stack in finished:
        first = swept[0] if swept else stack
        change = stack.minus(first, "train_loss_no_dropout") if stack is not first else {}
        told = cells(metrics, "train_loss val_loss_token gap", stack.arm.suffix)
        rows.append([stack.arm.label, *told, *cells(change, "±")])
    minus = say("layers.train_minus", stack=swept[0].arm.label if swept else "the first")
    return table("layers.fit", rows, _of_seeds(data, finished), *reading(finished), made=[minus])


def reading(stacks: Sequence[StackRuns]) -> list[Text]:
    """Return in a sentence what the losses of the deepest and the shallowest stack mean; none if there is one."""
    swept = plain(stacks)
    if len(swept) < 2:
        return []
    shallow, deep = swept[0], swept[-1]
    train, val = (deep.minus(shallow, name) for name in ("train_loss_no_dropout", "val_loss_token"))
    if not train:
        return []
    told = {"first": shallow.arm.name, "last": deep.arm.name, "train": train[""], "val": val[""]}
    if "_low" not in val or val["_low"] <= 0 <= val["_high"]:
        return [say("layers.chance", **told)]
    if val[""] < 0:
        return [say("layers.helps", **told)]
    if train["_low"] > 0:
        return [say("layers.underfits", **told)]
    return [say("layers.overfits", **told) if train["_high"] < 0 else say("layers.harms", **told)]


def pairs(settings: LayersSettings, data: Dataset, finished: Sequence[StackRuns], metrics: Metrics) -> Table:
    """Return differences seed by seed: against the first depth, between neighbours, and of the remedy."""
    swept = plain(finished)
    wanted = [(swept[0], stack) for stack in swept[1:]] + [pair for pair in pairwise(swept) if pair[0] is not swept[0]]
    rows: list[list[Cell]] = []
    for first, second in [*wanted, *with_residual(finished)]:
        end = f"{second.arm.suffix}_minus{first.arm.suffix}"
        if f"val_ppl{end}" in metrics:
            what = say("layers.minus", second=second.arm.label, first=first.arm.label)
            rows.append([what, metrics[f"val_ppl{end}_n"], *cells(metrics, "val_ppl±± train_loss±", end)])
    documents, blocks = data.text.valid_document_count, len(finished[0].runs[0].score.targets_by_document)
    return table(
        "layers.pairs",
        rows,
        "" if settings.seeds > 1 else say("layers.one_seed"),
        _of_seeds(data, finished),
        of_documents(documents, blocks) if any(row[5] is not None for row in rows) else "",
    )


def times(settings: LayersSettings, finished: Sequence[StackRuns], metrics: Metrics) -> Table:
    """Return what depth costs, and what each depth reaches with equal updates and in equal time."""
    fits, rows = epochs_in_equal_time({stack.arm.name: stack.runs for stack in finished}), list[list[Cell]]()
    for stack in finished:
        made = sorted({run.updates for run in stack.runs})
        updates = f"{made[0]:,}" if len(made) == 1 else f"{made[0]:,}–{made[-1]:,}"
        seconds, first = (float(str(metrics[f"seconds_per_epoch{one.arm.suffix}"])) for one in (stack, finished[0]))
        speed = cells(metrics, "tokens_per_second val_ppl_equal_updates", stack.arm.suffix)
        in_equal_time = fits[stack.arm.name], *cells(metrics, "val_ppl_equal_time", stack.arm.suffix)
        rows.append([stack.arm.label, updates, seconds, seconds / max(first, 1e-9), *speed, *in_equal_time])
    return table(
        "layers.times",
        rows,
        say("layers.one_cycle") if settings.schedule == "one-cycle" else "",
        made=[say("layers.times_of", stack=finished[0].arm.label)],
        epochs=common_epochs([run for stack in finished for run in stack.runs]),
    )


def other_measures(data: Dataset, finished: Sequence[StackRuns], metrics: Metrics) -> Table:
    """Return the remaining measures of chapter 3 for each depth: the original notes' own ones among them."""
    names = "best_epoch val_loss val_ppl_batch_mean train_loss_trained val_accuracy_known context_recovered"
    rows = [[stack.arm.label, *cells(metrics, names, stack.arm.suffix)] for stack in finished]
    return table("layers.measures", rows, say("layers.recovered") if data.bayes_loss is not None else "")


# ---- figures ------------------------------------------------------------------------------------------------------


def figures(settings: LayersSettings, data: Dataset, stacks: Sequence[StackRuns], metrics: Metrics) -> list[Figure]:
    """Return the pictures of a sweep: against depth, where there are several, and the learning curves."""
    swept = plain(stacks)
    against = [by_depth(settings, data, stacks), fit_by_depth(swept, metrics)] if len(swept) > 1 else []
    return [*against, curves(data, swept)] if swept else []


def curves(data: Dataset, swept: Sequence[StackRuns]) -> Figure:
    """Return the learning curve of each depth: mean validation loss by epoch, with its interval over seeds."""
    each = [(stack.arm.label, [run.curve("val_loss_token") for run in stack.runs]) for stack in swept]
    told = [say("layers.loss_of", label=name, loss=means(runs)[-1]) for name, runs in each]
    bigram = data.references["bigram"].loss
    return figure("layers.curves", [*arm_curves(each), level(bigram, "bigram")], depths=told, bigram=bigram)


def by_depth(settings: LayersSettings, data: Dataset, stacks: Sequence[StackRuns]) -> Figure:
    """Return validation PPL against depth with its intervals, the remedy beside it."""
    swept = plain(stacks)
    marks = _against_depth(swept, "val_ppl", "series", settings.stack)
    residual = [*(stack for stack in swept if stack.arm.depth == 1), *(s for s in stacks if s.runs and s.arm.beside)]
    if len(residual) > 1:  # one point is no line
        marks += _against_depth(residual, "val_ppl", "winner", "residual")
    bigram = data.references["bigram"].ppl
    marks.append(level(bigram, "bigram"))
    told = [_ppl_of(stack) for stack in stacks if stack.runs]
    bands = "" if settings.seeds == 1 else say("layers.bands")
    caption = sentences(say("layers.by_depth", depths=told, bigram=bigram), bands)
    return figure("layers.by_depth", marks, caption=caption)


def fit_by_depth(swept: Sequence[StackRuns], metrics: Metrics) -> Figure:
    """Return train and validation loss against depth, both without dropout."""
    marks = [
        *_against_depth(swept, "val_loss_token", "series", "validation"),
        *_against_depth(swept, "train_loss_no_dropout", "before", "train"),
    ]
    first, last = swept[0], swept[-1]
    low, high = (metrics[f"train_loss{stack.arm.suffix}"] for stack in (first, last))
    return figure("layers.fit_by_depth", marks, first=first.arm.label, last=last.arm.label, low=low, high=high)


def _against_depth(stacks: Sequence[StackRuns], name: str, role: Role, legend: str) -> list[Mark]:
    depths = [float(stack.arm.depth) for stack in stacks]
    return with_interval(depths, [stack.stat(name) for stack in stacks], role, legend)


# ---- the result in short ------------------------------------------------------------------------------------------


def summary(settings: LayersSettings, data: Dataset, found: Sweep, metrics: Metrics) -> list[Text]:
    """Return the result of a sweep that has a finished run."""
    stacks = [*found.arms.values()]
    swept, told = plain(stacks), list[Text]()
    if swept:
        updates = min(run.updates for stack in swept for run in stack.runs)
        said = {"updates": updates, "depths": [_ppl_of(stack) for stack in swept], "beside": _beside(data)}
        several = settings.seeds > 1
        told.append(
            say("layers.reached_over_seeds", **said, seeds=settings.seeds) if several else say("layers.reached", **said)
        )
        told += beside_counting(data.references, [stack.stat("val_ppl")[""] for stack in swept])
    told += reading(stacks)
    for first, second in with_residual(stacks)[-1:]:
        end = f"val_ppl{second.arm.suffix}_minus{first.arm.suffix}"
        if f"{end}_low" in metrics:
            change, low, high = (metrics[end + each] for each in INTERVAL)
            told.append(say("layers.remedy_over_seeds", label=first.arm.label, change=change, low=low, high=high))
        elif end in metrics:
            told.append(say("layers.remedy", label=first.arm.label, change=metrics[end]))
    told += endings(found, settings.epochs)
    before = sum(not run.anew for run in found.finished)
    told += [say("layers.before", runs=before)] if before else []
    notes = [note for run in found.finished for note in run.notes if not note.startswith("Resumed")]
    return [*told, *dict.fromkeys([*data.notes, *notes])]


def all_diverged(stacks: Sequence[StackRuns]) -> list[Text]:
    """Return the result of a sweep in which no run stayed finite."""
    each = [say("layers.state", label=stack.arm.label, state=state(stack)) for stack in stacks]
    return [say("layers.all_diverged", each=each), say("run.way_out")]


def _ppl_of(stack: StackRuns) -> Text:
    return say("layers.ppl_of", label=stack.arm.label, ppl=stack.stat("val_ppl")[""])


def _beside(data: Dataset) -> list[Text]:
    """Return what a sweep stands between: what counting reaches, and the floor where it is known."""
    named = {"bigram": data.references["bigram"].ppl, "Kneser–Ney 3-gram": data.references["kneser_ney_3"].ppl}
    if data.bayes_loss is not None:
        named["Bayes floor"] = perplexity(data.bayes_loss)
    return [say("layers.ppl_of", label=name, ppl=ppl) for name, ppl in named.items()]


def _of_seeds(data: Dataset, stacks: Sequence[StackRuns]) -> Text:
    return of_seeds([len(stack.runs) for stack in stacks if stack.runs], data.text.valid_document_count)
