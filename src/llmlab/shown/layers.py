"""What is shown of chapter 4: each depth, whether it over- or underfits, differences seed by seed, and equal time.

Means, intervals and differences are read off the metrics that ``layers.metrics`` made.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llmlab.lab.dataset import Dataset
from llmlab.lab.runs import LanguageRun, common_epochs, epochs_in_equal_time
from llmlab.lab.study import Arm, Runs, Study
from llmlab.measure.score import document_sums, perplexity
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import Cell, Figure, Mark, Result, Role, Scalar, Table, of_documents, of_seeds, rounded
from llmlab.settings import BaselineSettings, LayersSettings
from llmlab.shown.baseline import text_read
from llmlab.shown.table import arm_curves, cells, figure, level, means, table, tell, with_interval
from llmlab.shown.words import COUNTING, beside_counting, endings

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
    each = [say("layers.state", label=stack.arm.label, state=state(stack)) for stack in stacks]
    all_diverged: list[Text] = [say("layers.all_diverged", each=each), say("run.way_out")]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="interrupted" if found.stop else "complete" if finished else "diverged",
        metrics=dict(metrics),
        summary=summary(settings, data, found, metrics) if finished else all_diverged,
        tables=[table for table in tables(settings, data, stacks, metrics) if table.rows],
        figures=figures(settings, data, stacks, metrics),
        samples={
            f"{name}{stack.arm.suffix}": rounded(run.numbers[own] for run in stack.runs)
            for stack in whole
            for name, own in SAMPLED.items()
        },
        documents=document_sums({stack.arm.suffix: [run.score for run in stack.runs] for stack in finished}),
    )


def tables(settings: LayersSettings, data: Dataset, stacks: Sequence[StackRuns], metrics: Metrics) -> Iterator[Table]:
    """Yield the tables of a sweep; of one in which every run diverged only the text and the depths."""
    finished, swept = [stack for stack in stacks if stack.runs], plain(stacks)
    of_these = of_seeds([len(stack.runs) for stack in finished], data.text.valid_document_count)
    yield text_read(data)
    rows = list[list[Cell]]()
    for stack in stacks:
        size, *reached = cells(metrics, "parameters val_ppl± test_ppl val_accuracy", stack.arm.suffix)
        rows.append([stack.arm.label, size, len(stack.runs), *reached, state(stack)])
    told = tell(
        {"parameters": settings.hidden**2 + settings.hidden},
        "layers.per_layer" if len(stacks) > 1 else "",
        "layers.depths",
        "layers.test" if any(name.startswith("test_ppl") for name in metrics) else "",
    )
    beside = say("layers.residual") if any(stack.arm.beside for stack in finished) else ""
    yield table("layers.depths", rows, *told, of_these, beside, caption="")
    if not finished:
        return

    rows = []
    for stack in finished:
        change = stack.minus(swept[0], "train_loss_no_dropout") if swept and stack is not swept[0] else {}
        losses = cells(metrics, "train_loss val_loss_token gap", stack.arm.suffix)
        rows.append([stack.arm.label, *losses, *cells(change, "±")])
    minus = say("layers.train_minus", stack=swept[0].arm.label if swept else "the first")
    yield table("layers.fit", rows, of_these, *reading(finished), made=[minus])

    rows = []  # against the first depth, between neighbours, and of the remedy
    for first, second in [*((swept[0], one) for one in swept[1:]), *pairwise(swept[1:]), *with_residual(finished)]:
        end = f"{second.arm.suffix}_minus{first.arm.suffix}"
        if f"val_ppl{end}" in metrics:
            what = say("layers.minus", second=second.arm.label, first=first.arm.label)
            rows.append([what, metrics[f"val_ppl{end}_n"], *cells(metrics, "val_ppl±± train_loss±", end)])
    alone = "" if settings.seeds > 1 else say("layers.one_seed")
    blocks = len(finished[0].runs[0].score.targets_by_document)
    drawn = of_documents(data.text.valid_document_count, blocks) if any(row[5] is not None for row in rows) else ""
    yield table("layers.pairs", rows, alone, of_these, drawn)
    yield times(settings, finished, metrics)
    names = "best_epoch val_loss val_ppl_batch_mean train_loss_trained val_accuracy_known context_recovered"
    rows = [[stack.arm.label, *cells(metrics, names, stack.arm.suffix)] for stack in finished]
    yield table("layers.measures", rows, say("layers.recovered") if data.bayes_loss is not None else "")


def times(settings: LayersSettings, finished: Sequence[StackRuns], metrics: Metrics) -> Table:
    """Return what depth costs, and what each depth reaches with equal updates and in equal time."""
    fits, rows = epochs_in_equal_time({stack.arm.name: stack.runs for stack in finished}), list[list[Cell]]()
    for stack in finished:
        made = sorted({run.updates for run in stack.runs})
        updates = f"{made[0]:,}" if len(made) == 1 else f"{made[0]:,}–{made[-1]:,}"
        seconds, first = (float(str(metrics[f"seconds_per_epoch{one.arm.suffix}"])) for one in (stack, finished[0]))
        *speed, in_time = cells(metrics, "tokens_per_second val_ppl_equal_updates val_ppl_equal_time", stack.arm.suffix)
        equal = fits[stack.arm.name], in_time
        rows.append([stack.arm.label, updates, seconds, seconds / max(first, 1e-9), *speed, *equal])
    return table(
        "layers.times",
        rows,
        say("layers.one_cycle") if settings.schedule == "one-cycle" else "",
        made=[say("layers.times_of", stack=finished[0].arm.label)],
        epochs=common_epochs([run for stack in finished for run in stack.runs]),
    )


def figures(settings: LayersSettings, data: Dataset, stacks: Sequence[StackRuns], metrics: Metrics) -> list[Figure]:
    """Return the pictures of a sweep: against depth, where there are several, and the learning curves."""
    if not (swept := plain(stacks)):
        return []
    bigram = data.references["bigram"]

    def by_depth(stacks: Sequence[StackRuns], name: str, role: Role, legend: str) -> list[Mark]:
        depths = [float(stack.arm.depth) for stack in stacks]
        return with_interval(depths, [stack.stat(name) for stack in stacks], role, legend)

    each = [(stack.arm.label, [run.curve("val_loss_token") for run in stack.runs]) for stack in swept]
    told = [say("layers.loss_of", label=name, loss=means(runs)[-1]) for name, runs in each]
    marks = [*arm_curves(each), *level(bigram.loss, "bigram")]
    curves = figure("layers.curves", marks, depths=told, bigram=bigram.loss)
    if len(swept) < 2:
        return [curves]
    ppls, finished = by_depth(swept, "val_ppl", "series", settings.stack), [stack for stack in stacks if stack.runs]
    residual = [*(one for one in swept if one.arm.depth == 1), *(one for one in finished if one.arm.beside)]
    if len(residual) > 1:  # one point is no line
        ppls += by_depth(residual, "val_ppl", "winner", "residual")
    said = say("layers.by_depth", depths=[_ppl_of(stack) for stack in finished], bigram=bigram.ppl)
    caption = sentences(said, say("layers.bands") if settings.seeds > 1 else "")
    losses = by_depth(swept, "val_loss_token", "series", "validation")
    losses += by_depth(swept, "train_loss_no_dropout", "before", "train")
    first, last = swept[0].arm, swept[-1].arm
    low, high = (metrics[f"train_loss{one.suffix}"] for one in (first, last))
    return [
        figure("layers.by_depth", [*ppls, *level(bigram.ppl, "bigram")], caption=caption),
        figure("layers.fit_by_depth", losses, first=first.label, last=last.label, low=low, high=high),
        curves,
    ]


# ---- the result in short ------------------------------------------------------------------------------------------


def summary(settings: LayersSettings, data: Dataset, found: Sweep, metrics: Metrics) -> list[Text]:
    """Return the result of a sweep that has a finished run."""
    stacks, told, several = [*found.arms.values()], list[Text](), settings.seeds > 1
    if swept := plain(stacks):
        beside = {COUNTING[name]: data.references[name].ppl for name in ("bigram", "kneser_ney_3")}
        beside |= {} if data.bayes_loss is None else {"Bayes floor": perplexity(data.bayes_loss)}
        said = {
            "updates": min(run.updates for stack in swept for run in stack.runs),
            "depths": [_ppl_of(stack) for stack in swept],
            "beside": [say("layers.ppl_of", label=name, ppl=ppl) for name, ppl in beside.items()],
            "seeds": settings.seeds,
        }
        told += tell(said, "layers.reached_over_seeds" if several else "layers.reached")
        told += beside_counting(data.references, [stack.stat("val_ppl")[""] for stack in swept])
    told += reading(stacks)
    for first, second in with_residual(stacks)[-1:]:
        end = f"val_ppl{second.arm.suffix}_minus{first.arm.suffix}"
        change, low, high = cells(metrics, f"{end}±")
        if change is not None:
            key = "layers.remedy" if low is None else "layers.remedy_over_seeds"
            told += tell({"label": first.arm.label, "change": change, "low": low, "high": high}, key)
    told += endings(found, settings.epochs)
    before = sum(not run.anew for run in found.finished)
    told += [say("layers.before", runs=before)] if before else []
    notes = [note for run in found.finished for note in run.notes if not note.startswith("Resumed")]
    return [*told, *dict.fromkeys([*data.notes, *notes])]


def reading(stacks: Sequence[StackRuns]) -> list[Text]:
    """Return in a sentence what the losses of the deepest and the shallowest stack mean; none if there is one."""
    swept = plain(stacks)
    if len(swept) < 2:
        return []
    shallow, deep = swept[0], swept[-1]
    train, val = (deep.minus(shallow, name) for name in ("train_loss_no_dropout", "val_loss_token"))
    if not train:
        return []
    if "_low" not in val or val["_low"] <= 0 <= val["_high"]:
        key = "layers.chance"
    elif val[""] < 0:
        key = "layers.helps"
    elif train["_low"] > 0:
        key = "layers.underfits"
    else:
        key = "layers.overfits" if train["_high"] < 0 else "layers.harms"
    return [say(key, first=shallow.arm.name, last=deep.arm.name, train=train[""], val=val[""])]


def _ppl_of(stack: StackRuns) -> Text:
    return say("layers.ppl_of", label=stack.arm.label, ppl=stack.stat("val_ppl")[""])
