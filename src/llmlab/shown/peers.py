"""What is shown of three models beside each other: at equal updates, at equal time, while generating.

Means, intervals and differences are read off the metrics that ``peers.metrics`` made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from llmlab.lab.dataset import Dataset
from llmlab.lab.runs import LanguageRun, common_epochs, first_done
from llmlab.lab.sizes import MODELS
from llmlab.measure.generation import Cost
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import Cell, Figure, Mark, Role, Scalar, Table, of_documents, of_seeds
from llmlab.settings import BaselineSettings
from llmlab.shown.curves import curve, level, with_interval
from llmlab.shown.table import cells, figure, table
from llmlab.shown.words import COUNTING, beside_counting

INK: dict[str, Role] = {"new-llm": "series", "tiny-gpt2": "winner", "gru": "foot"}
Models = Mapping[str, list[LanguageRun]]
"""The finished runs by model; one without any is not there."""


def asked(model: str) -> tuple[Text, Text]:
    """Return why and how of a peer that is trained alone."""
    what = say("peers.what_gru") if model == "gru" else say("peers.what_tiny_gpt2")
    return say("peers.why", model=MODELS[model]), say("peers.how", what=what)


# ---- tables -------------------------------------------------------------------------------------------------------


def tables(
    data: Dataset,
    models: Models,
    each: Mapping[str, BaselineSettings],
    generation: Mapping[str, list[Cost]],
    metrics: Mapping[str, Scalar],
) -> list[Table]:
    """Return every table of the comparison; ``each`` are the models' own settings."""
    intervals: Text = ""
    if _several(models):
        speaks_of = of_seeds(map(len, models.values()), data.text.valid_document_count)
        intervals = sentences(say("peers.intervals"), speaks_of)
    return [
        at_equal_updates(models, each, metrics, intervals),
        *pairs(data, models, metrics),
        at_equal_time(models, each, metrics, intervals),
        *([generation_table(generation)] if generation else []),
    ]


def at_equal_updates(
    models: Models, each: Mapping[str, BaselineSettings], metrics: Mapping[str, Scalar], intervals: Text
) -> Table:
    """Return what each model has learned from the same batches, and what it took."""
    epochs, rows = _common(models), list[list[Cell]]()
    for name, runs in models.items():
        end, seconds = f"_{name.replace('-', '_')}", [run.history[epochs - 1]["seconds"] for run in runs]
        targets = sum(row["train_targets"] for row in runs[0].history[:epochs])
        speed = fmean(seconds), fmean(targets / max(one, 1e-9) for one in seconds)
        reached = cells(metrics, "val_ppl± val_accuracy±", end)
        rows.append([MODELS[name], runs[0].parameters, _count(models, runs), *reached, *speed])
    sizes = [
        say("peers.size", model=MODELS[name], layers=own.layers, width=own.hidden if name == "gru" else own.embedding)
        for name, own in each.items()
        if name != "new-llm" and name in models
    ]
    return table(
        "peers.one_recipe",
        rows,
        say("peers.sizes", sizes=sizes) if sizes else "",
        say("peers.best_of", epochs=epochs),
        intervals,
        updates=_updates(models, epochs),
    )


def pairs(data: Dataset, models: Models, metrics: Mapping[str, Scalar]) -> list[Table]:
    """Return by how much New-LLM differs from each peer at equal updates; nothing without an interval of any kind."""
    rows, counts = list[list[Cell]](), list[int]()
    for name in models:
        difference = f"val_ppl_new_llm_minus_{name.replace('-', '_')}"
        if difference in metrics:
            counts.append(int(str(metrics[f"{difference}_n"])))
            rows.append([say("peers.minus", model=MODELS[name]), counts[-1], *cells(metrics, f"{difference}±±")])
    if not any(cell is not None for row in rows for cell in row[3:]):
        return []
    documents = data.text.valid_document_count
    blocks = len(next(iter(models.values()))[0].score.targets_by_document)
    return [table("peers.pairs", rows, of_seeds(counts, documents), of_documents(documents, blocks))]


def at_equal_time(
    models: Models, each: Mapping[str, BaselineSettings], metrics: Mapping[str, Scalar], intervals: Text
) -> Table:
    """Return what each model had learned when the fastest was done."""
    rows = list[list[Cell]]()
    for name, runs in models.items():
        done = [first_done(models, run.seed) for run in runs]
        ends = [run.at_time(seconds, "updates") for run, seconds in zip(runs, done, strict=True)]
        made = [updates for updates in ends if updates is not None]
        reached = cells(metrics, f"val_ppl_equal_time_{name.replace('-', '_')}±")
        rows.append([MODELS[name], fmean(done), round(fmean(made)) if made else None, _count(models, made), *reached])
    one_cycle = next(iter(each.values())).schedule == "one-cycle"
    return table("peers.equal_time", rows, say("peers.one_cycle") if one_cycle else "", intervals)


def generation_table(generation: Mapping[str, list[Cost]]) -> Table:
    """Return what one more token costs after texts of rising length."""
    longest = max(cost.length for found in generation.values() for cost in found)
    rows = [
        (MODELS[name], cost.length, cost.kept, 1e3 * cost.seconds)
        for name, found in generation.items()
        for cost in found
    ]
    return table("peers.generation", rows, longest=longest)


# ---- figures and the result in short ------------------------------------------------------------------------------


def figures(data: Dataset, models: Models, generation: Mapping[str, list[Cost]]) -> list[Figure]:
    """Return the learning curves, and bytes and time of the next token against the length of the text."""
    kept = {name: [cost.kept / 1024 for cost in found] for name, found in generation.items()}
    taken = {name: [1e3 * cost.seconds for cost in found] for name, found in generation.items()}
    return [
        curves(data, models),
        *_generating("peers.kept", generation, kept),
        *_generating("peers.took", generation, taken),
    ]


def curves(data: Dataset, models: Models) -> Figure:
    """Return the validation loss of each model by update, with intervals over seeds, beside what counting reaches."""
    marks, told = list[Mark](), list[Text]()
    for name, runs in models.items():
        ys = [mean_interval(values) for values in zip(*(run.curve("val_loss_token") for run in runs), strict=False)]
        marks += with_interval(runs[0].curve("updates")[: len(ys)], ys, INK[name], MODELS[name])
        told.append(say("peers.from_to", model=MODELS[name], first=ys[0][""], last=ys[-1][""]))
    counting = data.references["kneser_ney_3"].loss
    marks.append(level(counting, COUNTING["kneser_ney_3"]))
    return figure("peers.curves", marks, models=told, counting=counting)


def _generating(key: str, generation: Mapping[str, list[Cost]], values: Mapping[str, list[float]]) -> list[Figure]:
    marks, told = list[Mark](), list[Text]()
    for model, ys in values.items():
        xs = [float(cost.length) for cost in generation[model]]
        marks.append(curve(ys, INK[model], MODELS[model], xs))
        told.append(say(key, model=MODELS[model], first=ys[0], last=ys[-1]))
    if not marks:
        return []
    first, last, shown = int(marks[0].xs[0]), int(marks[0].xs[-1]), figure(key, marks, caption="")
    return [replace(shown, caption=say("peers.generating", what=shown.y_label, first=first, last=last, models=told))]


def summary(data: Dataset, models: Models, metrics: Mapping[str, Scalar]) -> list[Text]:
    """Return the comparison in a sentence or two."""
    updates, then, ppls = list[Text](), list[Text](), list[float]()
    for name in models:
        end = name.replace("-", "_")
        ppls.append(float(str(metrics[f"val_ppl_{end}"])))
        updates.append(say("peers.ppl", model=MODELS[name], ppl=ppls[-1]))
        at_once = metrics.get(f"val_ppl_equal_time_{end}")
        none_yet = say("peers.no_ppl_yet", model=MODELS[name])
        then.append(none_yet if at_once is None else say("peers.ppl", model=MODELS[name], ppl=at_once))
    made = _updates(models, _common(models))
    return [say("peers.reached", updates=made, models=updates, then=then), *beside_counting(data.references, ppls)]


def _common(models: Models) -> int:
    return common_epochs([run for runs in models.values() for run in runs])


def _updates(models: Models, epochs: int) -> int:
    return int(next(iter(models.values()))[0].history[epochs - 1]["updates"])


def _several(models: Models) -> bool:
    return max(map(len, models.values())) > 1


def _count(models: Models, values: Sequence[object]) -> int | None:
    """Return how many there are, for a column that only several seeds have."""
    return len(values) if _several(models) else None
