"""Three models beside each other, as tables, pictures and metrics: at equal updates, at equal time, while generating.

Leaves out how they were trained and measured: ``peers``.
"""

from collections.abc import Sequence

from llmlab.lm.outcome import of_test
from llmlab.lm.peers import MODELS, Peers, at_time, best_within, epochs_of_all, first_done
from llmlab.lm.training import Trained
from llmlab.measure.ngram import beside_counting
from llmlab.measure.score import Score, document_difference, perplexity
from llmlab.measure.stats import as_metrics, mean_interval, paired_interval
from llmlab.report.result import (
    Cell,
    Column,
    Figure,
    Mark,
    Role,
    Scalar,
    Table,
    counted,
    of_documents,
    of_seeds,
    rounded,
    sentences,
)

INK: dict[str, Role] = {"new-llm": "series", "tiny-gpt2": "winner", "gru": "foot"}


def tables(peers: Peers) -> list[Table]:
    """Return every table of the comparison."""
    found = [at_equal_updates(peers), *pairs(peers), at_equal_time(peers)]
    return [*found, generation(peers)] if peers.generation else found


def figures(peers: Peers) -> list[Figure]:
    """Return every picture of the comparison."""
    return [curves(peers), *(generation_pictures(peers) if peers.generation else [])]


def at_equal_updates(peers: Peers) -> Table:
    """Return what each model has learned from the same batches, and what it took."""
    epochs, rows = epochs_of_all(peers), list[list[Cell]]()
    for name, runs in _there(peers):
        best = [best_within(run, epochs) for run in runs]
        last = [run.history[epochs - 1] for run in runs]
        seconds = [row["seconds"] for row in last]
        targets = sum(row["train_targets"] for row in runs[0].history[:epochs])
        rows.append(
            [
                MODELS[name],
                runs[0].parameters,
                *_over_seeds(peers, [perplexity(row["val_loss_token"]) for row in best]),
                *_over_seeds(peers, [row["val_accuracy"] for row in best], counts=False),
                _mean(seconds),
                _mean([targets / max(one, 1e-9) for one in seconds]),
            ]
        )
    columns = [
        Column("model", "text"),
        Column("parameters", "integer"),
        *_columns(peers, Column("PPL", digits=2)),
        *_columns(peers, Column("accuracy", "share"), counts=False),
        Column("seconds", digits=1),
        Column("tokens/s", digits=0),
    ]
    updates = int(peers.all[0].history[epochs - 1]["updates"])
    return Table(
        "peers_updates",
        "Three models at equal updates",
        columns,
        rows,
        f"The same {counted(updates, 'update')} on the same batches by one recipe, chosen for New-LLM and not for its "
        f"peers. {_sizes(peers)} PPL and accuracy per token are of the best epoch of {epochs}; seconds include "
        f"validation and checkpoints, tokens are scored targets.{_intervals(peers)}",
    )


def pairs(peers: Peers) -> list[Table]:
    """Return by how much New-LLM differs from each peer at equal updates; nothing without an interval of any kind."""
    told = above_peers(peers)
    if not any("_low" in one or "_doc_low" in one for one in told.values()):
        return []
    text, blocks = peers.all[0].task.text, len(peers.all[0].score.targets_by_document)
    ends = ("", "_low", "_high", "_doc_low", "_doc_high")
    names = ("PPL", "95 % low", "95 % high", "docs low", "docs high")
    rows: list[list[Cell]] = [
        [f"New-LLM minus {MODELS[name]}", int(one["n"]), *map(one.get, ends)] for name, one in told.items()
    ]
    return [
        Table(
            "peers_pairs",
            "New-LLM and its peers: differences at equal updates",
            [Column("what", "text"), Column("n", "integer"), *(Column(name, digits=2) for name in names)],
            rows,
            sentences(
                "Seed by seed, on the same batches; the interval of the mean is Student's t.",
                of_seeds((int(one["n"]) for one in told.values()), text.valid_document_count),
                of_documents(text.valid_document_count, blocks),
            ),
        )
    ]


def at_equal_time(peers: Peers) -> Table:
    """Return what each model had learned when the fastest was done."""
    rows = list[list[Cell]]()
    for name, runs in _there(peers):
        seconds = [first_done(peers, run.seed) for run in runs]
        losses = [at_time(run, time, "val_loss_token") for run, time in zip(runs, seconds, strict=True)]
        updates = [at_time(run, time, "updates") for run, time in zip(runs, seconds, strict=True)]
        known = [perplexity(loss) for loss in losses if loss is not None]
        made = [update for update in updates if update is not None]
        made_then = round(_mean(made)) if made else None
        rows.append([MODELS[name], _mean(seconds), made_then, *_over_seeds(peers, known)])
    settings = peers.all[0].settings
    unfinished = (
        " The learning rate of a model that was still under way had not yet come down, which counts against it."
        if settings.schedule == "one-cycle"
        else ""
    )
    return Table(
        "peers_time",
        "Three models at equal time",
        [
            Column("model", "text"),
            Column("seconds", digits=1),
            Column("updates", "integer"),
            *_columns(peers, Column("PPL", digits=2)),
        ],
        rows,
        "The validation PPL that each had when the fastest was done. Between the ends of two epochs the loss is taken "
        "to lie on a straight line; before the end of its first epoch a model has none."
        f"{unfinished}{_intervals(peers)}",
    )


def generation(peers: Peers) -> Table:
    """Return what one more token costs after texts of rising length."""
    rows: list[list[Cell]] = [
        [MODELS[name], cost.length, cost.kept, 1e3 * cost.seconds]
        for name, found in peers.generation.items()
        for cost in found
    ]
    longest = max(cost.length for found in peers.generation.values() for cost in found)
    return Table(
        "generation",
        "Generating: what the next token costs",
        [
            Column("model", "text"),
            Column("tokens", "integer"),
            Column("bytes kept", "integer"),
            Column("ms per token", digits=3),
        ],
        rows,
        "Bytes kept between two tokens, counted exactly, fp32: New-LLM's context, the GRU's state, tiny GPT-2's keys "
        "and values (KV cache). Time is that of the last of so many tokens, alone on the CPU, the median of rounds in "
        f"which the models take turns. For this only, tiny GPT-2 has {longest:,} positions, untrained: the one above "
        "cannot read past its window.",
    )


def curves(peers: Peers) -> Figure:
    """Return the validation loss of each model by update, the mean over seeds, beside what counting reaches."""
    marks, told = [], []
    for name, runs in _there(peers):
        epochs = min(len(run.history) for run in runs)
        xs = [runs[0].history[epoch]["updates"] for epoch in range(epochs)]
        ys = [_mean([run.history[epoch]["val_loss_token"] for run in runs]) for epoch in range(epochs)]
        marks.append(Mark("line", INK[name], xs, rounded(ys), legend=MODELS[name]))
        told.append(f"{MODELS[name]} from {ys[0]:.3f} to {ys[-1]:.3f}")
    counting = peers.all[0].task.references["kneser_ney_3"].loss
    marks.append(Mark("level", "other", [], [counting], legend="Kneser–Ney 3-gram"))
    return Figure(
        "peers-curves",
        "Learning curves of three models",
        f"Validation loss per token by update: {'; '.join(told)} nats; Kneser–Ney has {counting:.3f}.",
        "updates",
        "loss (nats)",
        marks,
        after="peers_updates",
    )


def generation_pictures(peers: Peers) -> list[Figure]:
    """Return bytes and time of the next token against the length of the text."""

    def picture(name: str, title: str, unit: str, values: dict[str, list[float]], digits: int) -> Figure:
        marks, told = [], []
        for model, found in peers.generation.items():
            ys = values[model]
            xs = [float(cost.length) for cost in found]
            marks.append(Mark("line", INK[model], xs, rounded(ys), legend=MODELS[model]))
            told.append(f"{MODELS[model]} {ys[0]:,.{digits}f} to {ys[-1]:,.{digits}f}")
        lengths = [cost.length for cost in peers.generation["new-llm"]]
        caption = f"{unit} from token {lengths[0]:,} to token {lengths[-1]:,}: {'; '.join(told)}."
        return Figure(name, title, caption, "tokens read", unit, marks, after="generation")

    kept = {name: [cost.kept / 1024 for cost in found] for name, found in peers.generation.items()}
    taken = {name: [1e3 * cost.seconds for cost in found] for name, found in peers.generation.items()}
    return [
        picture("generation-memory", "Memory of the past", "KiB kept", kept, 1),
        picture("generation-time", "Time of the next token", "ms per token", taken, 2),
    ]


def metrics(peers: Peers) -> dict[str, Scalar]:
    """Return the headline numbers of each model, ``_<model>`` at the end of their names."""
    found: dict[str, Scalar] = {}
    for name, runs in _there(peers):
        model, epochs = name.replace("-", "_"), epochs_of_all(peers)
        best = [best_within(run, epochs) for run in runs]
        then = [at_time(run, first_done(peers, run.seed), "val_loss_token") for run in runs]
        samples = {
            "val_ppl": [perplexity(row["val_loss_token"]) for row in best],
            "val_accuracy": [row["val_accuracy"] for row in best],
            "tokens_per_second": [run.tokens_per_second for run in runs],
            "val_ppl_equal_time": [perplexity(loss) for loss in then if loss is not None],
        }
        found[f"parameters_{model}"] = runs[0].parameters
        for metric, values in samples.items():
            if values:
                found |= {f"{metric}_{model}{suffix}": value for suffix, value in mean_interval(values).items()}
        for cost in peers.generation.get(name, [])[-1:]:
            found |= {f"state_bytes_{model}_at_{cost.length}": cost.kept}
        if all(run.test_score for run in runs):
            tests = [of_test(run.test_score) for run in runs]
            for metric in tests[0]:
                told = mean_interval([test[metric] for test in tests])
                found |= {f"{metric}_{model}{suffix}": value for suffix, value in told.items()}
    return found | differences(peers)


def differences(peers: Peers) -> dict[str, Scalar]:
    """Return by how much New-LLM's perplexity is above each peer's at equal updates and at equal time."""
    found: dict[str, Scalar] = {}
    for name, told in above_peers(peers).items():
        found |= as_metrics(f"val_ppl_new_llm_minus_{name.replace('-', '_')}", told)
    then = {
        name: {run.seed: at_time(run, first_done(peers, run.seed), "val_loss_token") for run in runs}
        for name, runs in _there(peers)
    }
    known = {
        name: {seed: perplexity(loss) for seed, loss in losses.items() if loss is not None}
        for name, losses in then.items()
    }
    for name in known.keys() - {"new-llm"} if "new-llm" in known else ():
        told = paired_interval(known[name], known["new-llm"])
        found |= as_metrics(f"val_ppl_equal_time_new_llm_minus_{name.replace('-', '_')}", told)
    return dict(sorted(found.items()))


def above_peers(peers: Peers) -> dict[str, dict[str, float]]:
    """Return by peer how much larger New-LLM's PPL is at equal updates: seed by seed, and with documents drawn anew.

    By documents not where early stopping spared some runs epochs: what is kept of them is their best epoch's.
    """
    there, epochs = dict(_there(peers)), epochs_of_all(peers)
    ours, found = there.pop("new-llm", []), dict[str, dict[str, float]]()
    for name, runs in there.items():
        ppls, scores = list[dict[int, float]](), list[list[Score]]()
        for own, other in ((runs, ours), (ours, runs)):
            common = [run for run in own if run.seed in {each.seed for each in other}]
            ppls.append({run.seed: perplexity(best_within(run, epochs)["val_loss_token"]) for run in common})
            scores.append([run.score for run in common if run.best_epoch <= epochs])
        if ppls[0]:
            found[name] = paired_interval(*ppls)
            if all(len(one) == len(ppls[0]) for one in scores):
                found[name] |= document_difference(*scores)
    return found


def summary(peers: Peers) -> list[str]:
    """Return the comparison in a sentence or two."""
    epochs = epochs_of_all(peers)
    updates = int(peers.all[0].history[epochs - 1]["updates"])
    at_updates, at_once, ppls = list[str](), list[str](), list[float]()
    for name, runs in _there(peers):
        reached = [perplexity(best_within(run, epochs)["val_loss_token"]) for run in runs]
        then = [at_time(run, first_done(peers, run.seed), "val_loss_token") for run in runs]
        known = [perplexity(loss) for loss in then if loss is not None]
        ppls.append(_mean(reached))
        at_updates.append(f"{MODELS[name]} {_mean(reached):.2f}")
        at_once.append(f"{MODELS[name]} {_mean(known):.2f}" if known else f"{MODELS[name]} not yet any")
    told = [
        f"Perplexity after the same {counted(updates, 'update')}: {', '.join(at_updates)}; when the fastest was done: "
        f"{', '.join(at_once)}.",
        *beside_counting(peers.all[0].task.references, ppls),
    ]
    if peers.stopped:
        told.append("Unfinished: stopped while the peers were training.")
    return [*told, *peers.notes]


def _there(peers: Peers) -> list[tuple[str, list[Trained]]]:
    return [(name, runs) for name, runs in peers.runs.items() if runs]


def _sizes(peers: Peers) -> str:
    """Return a sentence on the sizes of the peers."""
    told = []
    for name, runs in _there(peers):
        settings = runs[0].settings
        if name != "new-llm":
            width = settings.hidden if name == "gru" else settings.embedding
            told.append(f"{MODELS[name]} has {counted(settings.layers, 'layer')} of width {width:,}")
    return f"Sized like New-LLM, {' and '.join(told)}." if told else ""


def _columns(peers: Peers, column: Column, *, counts: bool = True) -> list[Column]:
    """Return one column, or with several seeds also their number and the ends of the interval."""
    if not _several(peers):
        return [column]
    ends = [Column(f"{column.name} {end}", column.kind, column.digits) for end in ("low", "high")]
    return [*([Column("n", "integer")] if counts else []), column, *ends]


def _over_seeds(peers: Peers, values: Sequence[float], *, counts: bool = True) -> list[Cell]:
    """Return the cells under ``_columns``."""
    told = mean_interval(values) if values else {}
    if not _several(peers):
        return [told.get("")]
    return [*([len(values)] if counts else []), told.get(""), told.get("_low"), told.get("_high")]


def _several(peers: Peers) -> bool:
    return max(len(runs) for runs in peers.runs.values()) > 1


def _intervals(peers: Peers) -> str:
    if not _several(peers):
        return ""
    counts, text = [len(runs) for _, runs in _there(peers)], peers.all[0].task.text
    told = of_seeds(counts, text.valid_document_count)
    return f" Means over seeds, with the ends of the 95 % interval (Student's t). {told}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
