"""What is shown of three models beside each other: at equal updates, at equal time, while generating.

Means, intervals and differences are read off the metrics that ``peers.metrics`` made.
"""

from collections.abc import Mapping
from statistics import fmean

from llmlab.lab.dataset import Dataset
from llmlab.lab.runs import LanguageRun, common_epochs, first_done
from llmlab.lab.sizes import MODELS
from llmlab.measure.generation import Cost
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import Cell, Figure, Mark, Role, Scalar, Table, of_documents, of_seeds
from llmlab.settings import BaselineSettings
from llmlab.shown.table import cells, curve, declared, figure, level, table, with_interval
from llmlab.shown.words import COUNTING, beside_counting

INK: dict[str, Role] = {"new-llm": "series", "tiny-gpt2": "winner", "gru": "foot"}
Models = Mapping[str, list[LanguageRun]]
"""The finished runs by model; one without any is not there."""


def asked(model: str) -> tuple[Text, Text]:
    """Return why and how of a peer that is trained alone."""
    what = say("peers.what_gru") if model == "gru" else say("peers.what_tiny_gpt2")
    return say("peers.why", model=MODELS[model]), say("peers.how", what=what)


def tables(
    data: Dataset,
    models: Models,
    each: Mapping[str, BaselineSettings],
    generation: Mapping[str, list[Cost]],
    metrics: Mapping[str, Scalar],
) -> list[Table]:
    """Return every table of the comparison; ``each`` are the models' own settings."""
    counts, documents = [*map(len, models.values())], data.text.valid_document_count
    several = sentences(say("peers.intervals"), of_seeds(counts, documents)) if max(counts) > 1 else ""
    costs = [
        (MODELS[name], cost.length, cost.kept, 1e3 * cost.seconds)
        for name, found in generation.items()
        for cost in found
    ]
    return [
        at_equal_updates(models, each, metrics, several),
        *pairs(data, models, metrics),
        at_equal_time(models, each, metrics, several),
        *([table("peers.generation", costs, longest=max(length for _, length, *_ in costs))] if costs else []),
    ]


def at_equal_updates(
    models: Models, each: Mapping[str, BaselineSettings], metrics: Mapping[str, Scalar], intervals: Text
) -> Table:
    """Return what each model has learned from the same batches, and what it took."""
    (epochs, updates), rows, sizes = _common(models), list[list[Cell]](), list[Text]()
    for name, runs in models.items():
        seconds = [run.history[epochs - 1]["seconds"] for run in runs]
        targets = sum(row["train_targets"] for row in runs[0].history[:epochs])
        speed = fmean(seconds), fmean(targets / max(one, 1e-9) for one in seconds)
        reached = cells(metrics, "val_ppl± val_accuracy±", _end(name))
        rows.append([MODELS[name], runs[0].parameters, len(runs) if intervals else None, *reached, *speed])
    for name, own in each.items():
        if name != "new-llm" and name in models:
            width = own.hidden if name == "gru" else own.embedding
            sizes.append(say("peers.size", model=MODELS[name], layers=own.layers, width=width))
    of_sizes = say("peers.sizes", sizes=sizes) if sizes else ""
    return table("peers.one_recipe", rows, of_sizes, say("peers.best_of", epochs=epochs), intervals, updates=updates)


def pairs(data: Dataset, models: Models, metrics: Mapping[str, Scalar]) -> list[Table]:
    """Return by how much New-LLM differs from each peer at equal updates; nothing without an interval of any kind."""
    rows, counts = list[list[Cell]](), list[int]()
    for name in models:
        difference = f"val_ppl_new_llm_minus{_end(name)}"
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
    rows, several = list[list[Cell]](), max(map(len, models.values())) > 1
    for name, runs in models.items():
        done = [first_done(models, run.seed) for run in runs]
        ends = [run.at_time(seconds, "updates") for run, seconds in zip(runs, done, strict=True)]
        made = [updates for updates in ends if updates is not None]
        updates, count = round(fmean(made)) if made else None, len(made) if several else None
        rows.append([MODELS[name], fmean(done), updates, count, *cells(metrics, "val_ppl_equal_time±", _end(name))])
    one_cycle = next(iter(each.values())).schedule == "one-cycle"
    return table("peers.equal_time", rows, say("peers.one_cycle") if one_cycle else "", intervals)


def figures(data: Dataset, models: Models, generation: Mapping[str, list[Cost]]) -> list[Figure]:
    """Return the learning curves, and bytes and time of the next token against the length of the text."""
    marks, told = list[Mark](), list[Text]()
    for name, runs in models.items():
        ys = [mean_interval(values) for values in zip(*(run.curve("val_loss_token") for run in runs), strict=False)]
        marks += with_interval(runs[0].curve("updates")[: len(ys)], ys, INK[name], MODELS[name])
        told.append(say("peers.from_to", model=MODELS[name], first=ys[0][""], last=ys[-1][""]))
    counting = data.references["kneser_ney_3"].loss
    marks += level(counting, COUNTING["kneser_ney_3"])
    drawn = [figure("peers.curves", marks, models=told, counting=counting)]
    kept = {name: [cost.kept / 1024 for cost in found] for name, found in generation.items()}
    taken = {name: [1e3 * cost.seconds for cost in found] for name, found in generation.items()}
    for key, values in (("peers.kept", kept), ("peers.took", taken)) if generation else ():
        xs = [float(cost.length) for cost in next(iter(generation.values()))]
        told = [say(key, model=MODELS[name], first=ys[0], last=ys[-1]) for name, ys in values.items()]
        of_all = {"what": declared()[key]["y"], "first": int(xs[0]), "last": int(xs[-1]), "models": told}
        lines = [curve(ys, INK[name], MODELS[name], xs) for name, ys in values.items()]
        drawn.append(figure(key, lines, says="peers.generating", **of_all))
    return drawn


def summary(data: Dataset, models: Models, metrics: Mapping[str, Scalar]) -> list[Text]:
    """Return the comparison in a sentence or two."""
    at_end, then, ppls = list[Text](), list[Text](), list[float]()
    for name in models:
        ppls.append(float(str(metrics[f"val_ppl{_end(name)}"])))
        at_once = metrics.get(f"val_ppl_equal_time{_end(name)}")
        at_end.append(say("peers.ppl", model=MODELS[name], ppl=ppls[-1]))
        none_yet = say("peers.no_ppl_yet", model=MODELS[name])
        then.append(none_yet if at_once is None else say("peers.ppl", model=MODELS[name], ppl=at_once))
    reached = say("peers.reached", updates=_common(models)[1], models=at_end, then=then)
    return [reached, *beside_counting(data.references, ppls)]


def _common(models: Models) -> tuple[int, int]:
    """Return how many epochs all runs have, and the updates of so many."""
    epochs = common_epochs([run for runs in models.values() for run in runs])
    return epochs, int(next(iter(models.values()))[0].history[epochs - 1]["updates"])


def _end(model: str) -> str:
    """Return how the metrics of a model end."""
    return f"_{model.replace('-', '_')}"
