"""What is said about a quantised model: tables, pictures and a few sentences.

Leaves out every measurement: ``quantizing``.
"""

from llmlab.after.quantizing import STEPS, Quantization, biggest_errors
from llmlab.measure.score import perplexity
from llmlab.model.new_llm import ContextVectorLM
from llmlab.report.result import Cell, Column, Figure, Mark, Table, rounded, sentences
from llmlab.shown.windows import loss_by_groups

NAMES = {"fp32": "fp32", "row": "int8, scale per row", "tensor": "int8, scale per tensor"}
FASTER = 0.95
"""A time below this share is called faster."""


def sizes(measured: Quantization, documents: int) -> Table:
    """Return bytes, perplexity and accuracy of each way of storing the model."""
    rows: list[list[Cell]] = []
    for name, stored in measured.models.items():
        score = stored.score
        rows.append(
            [
                NAMES[name],
                stored.nbytes,
                len(stored.file),
                len(measured.exact.file) / len(stored.file),
                score.ppl,
                100 * measured.change(name),
                score.ppl_batch_mean,
                100 * measured.change(name, batch_mean=True),
                score.accuracy,
            ]
        )
    columns = [
        Column("weights", "text"),
        Column("bytes of numbers", "integer"),
        Column("bytes of the file", "integer"),
        Column("times smaller", digits=2),
        Column("PPL per token", digits=3),
        Column("change in %", digits=3),
        Column("PPL batch mean", digits=3),
        Column("change in %", digits=3),
        Column("accuracy", "share"),
    ]
    return Table(
        "sizes",
        "What eight bits save and cost",
        columns,
        rows,
        sentences(
            "Bytes of numbers count parameters and scales; the file holds the words and the run's history too, in all "
            "three. A checkpoint of a run is about three times the fp32 file: it also holds the optimiser's two "
            "numbers per parameter.",
            *(said_of_documents(measured, scheme, documents) for scheme in ("row", "tensor")),
        ),
    )


def said_of_documents(measured: Quantization, scheme: str, documents: int) -> str:
    """Return in a sentence what a scheme costs when validation documents are drawn anew; empty for one document."""
    told = measured.change_by_documents(scheme)
    if "_doc_low" not in told:
        return ""
    return (
        f"With a scale per {scheme} PPL changes by {told['']:+.3f}; by {told['_doc_low']:+.3f} to "
        f"{told['_doc_high']:+.3f} in 95 % of the draws when the {documents:,} validation documents are drawn anew "
        "(paired bootstrap)."
    )


def by_position(measured: Quantization) -> Table:
    """Return perplexity by position in each way, and how far the context is off there."""
    columns = [
        Column("position", "text"),
        Column("PPL fp32", digits=3),
        Column("PPL by row", digits=3),
        Column("change in %", digits=3),
        Column("PPL by tensor", digits=3),
        Column("change in %", digits=3),
        Column("context off in %, by row", digits=2),
        Column("context off in %, by tensor", digits=2),
    ]
    groups = {name: loss_by_groups(stored.score) for name, stored in measured.models.items()}
    rows: list[list[Cell]] = []
    for number, (name, exact, _) in enumerate(groups["fp32"]):
        cells: list[Cell] = [name, perplexity(exact)]
        for scheme in ("row", "tensor"):
            ppl = perplexity(groups[scheme][number][1])
            cells += [ppl, 100 * (ppl / perplexity(exact) - 1)]
        last = int(name.split("–")[-1])
        rows.append([*cells, *(_at(measured.errors[scheme], last) for scheme in ("row", "tensor"))])
    return Table(
        "by_position",
        "By position in the window",
        columns,
        rows,
        "If the recurrence piled the error up, the change would grow with the position. Context off: the distance of "
        "the context from the one in fp32 after the last position of the group, as a share of its length.",
    )


def _at(errors: list[float], position: int) -> float | None:
    return 100 * errors[position - 1] if position <= len(errors) else None


def weights(exact: ContextVectorLM, measured: Quantization) -> Table:
    """Return the biggest error of a weight in each quantised matrix."""
    schemes = ("row", "tensor")
    rows: list[list[Cell]] = []
    for name, shape, largest, errors in biggest_errors(exact, [measured.models[scheme] for scheme in schemes]):
        rows.append([name, f"{shape[0]} × {shape[1]}", largest, *errors, errors[1] / largest if largest else None])
    return Table(
        "weights",
        "The biggest error of a weight",
        [
            Column("matrix", "text"),
            Column("shape", "text"),
            Column("largest weight"),
            Column("error, by row", digits=6),
            Column("error, by tensor", digits=6),
            Column("by tensor, of the largest", "share"),
        ],
        rows,
        "By tensor no error is above 1/254 of the largest weight, 0.39 %; by row the largest weight of its own row "
        "counts.",
    )


def latency(measured: Quantization) -> Table:
    """Return what a token and a window cost in time."""
    rows: list[list[Cell]] = [
        [f"one {taken.what}", taken.batch, taken.fp32, taken.int8, taken.ratio] for taken in measured.times
    ]
    return Table(
        "latency",
        "Time at one thread",
        [
            Column("what is read", "text"),
            Column("batch", "integer"),
            Column("ms fp32", digits=3),
            Column("ms int8", digits=3),
            Column("int8 / fp32", digits=2),
        ],
        rows,
        f"Processor time, medians in turns; a token's is that of {STEPS} tokens, divided. "
        "int8 weights are widened to fp32 anew for each token, or once for each window.",
    )


def cost_by_position(measured: Quantization) -> Figure:
    """Return by how much the loss of each position changes."""
    lines = {}
    exact = measured.exact.score
    for scheme in ("row", "tensor"):
        several = zip(
            measured.models[scheme].score.loss_by_position,
            exact.loss_by_position,
            exact.targets_by_position,
            strict=True,
        )
        lines[scheme] = [(n, 1000 * (ours - theirs)) for n, (ours, theirs, there) in enumerate(several, 1) if there]
    worst = {scheme: max(abs(change) for _, change in line) for scheme, line in lines.items()}
    return Figure(
        "cost-by-position",
        "What eight bits cost at each position",
        f"Change of the loss at each position of the window, in thousandths of a nat: at most {worst['row']:.2f} with "
        f"a scale per row, {worst['tensor']:.2f} with one per tensor.",
        "position in the window",
        "int8 − fp32 (0.001 nats)",
        [
            _line("other", lines["tensor"], "scale per tensor"),
            _line("series", lines["row"], "scale per row"),
            Mark("level", "floor", [], [0.0], legend="fp32"),
        ],
        after="by_position",
    )


def context_by_position(measured: Quantization) -> Figure:
    """Return how far the context strays along the window."""
    lines = {scheme: [(n, 100 * one) for n, one in enumerate(each, 1)] for scheme, each in measured.errors.items()}
    row, tensor = measured.errors["row"], measured.errors["tensor"]
    return Figure(
        "context-by-position",
        "How far the context strays",
        f"Distance of the context from the one in fp32, as a share of its length: with a scale per row {row[0]:.2%} "
        f"after the first token and {row[-1]:.2%} after the last, with one per tensor {tensor[0]:.2%} and "
        f"{tensor[-1]:.2%}.",
        "position in the window",
        "context off (%)",
        [
            _line("other", lines["tensor"], "scale per tensor"),
            _line("series", lines["row"], "scale per row"),
        ],
        after="by_position",
    )


def _line(role: str, points: list[tuple[int, float]], legend: str) -> Mark:
    xs, ys = [float(x) for x, _ in points], rounded(y for _, y in points)
    return Mark("line", "series" if role == "series" else "other", xs, ys, legend=legend)


def summary(measured: Quantization, text: str, *, embedding: bool) -> list[str]:
    """Return the run in a few sentences."""
    exact, chosen, scheme = measured.exact, measured.chosen, measured.scheme
    other = "tensor" if scheme == "row" else "row"
    what = "linear layers and embedding" if embedding else "linear layers"
    small, large = len(chosen.file), len(exact.file)
    return [
        f"With the weights of its {what} in eight bits, a scale per {scheme}, the model's file has {small:,} instead "
        f"of {large:,} bytes: {large / small:.2f} times smaller, {verdict_on_time(measured)}.",
        f"Perplexity per token on {text} goes from {exact.score.ppl:.3f} to {chosen.score.ppl:.3f} "
        f"({measured.change(scheme):+.3%}); with a scale per {other} the change is {measured.change(other):+.3%}.",
        straying(measured.errors[scheme]),
    ]


def straying(errors: list[float]) -> str:
    """Return in a sentence whether the recurrence piles the error up."""
    half, last = errors[(len(errors) - 1) // 2], errors[-1]
    told = "it still grows" if last > 1.25 * half else "it hardly grows"
    return (
        f"The context is {errors[0]:.2%} off after the first token, {half:.2%} in the middle of the window and "
        f"{last:.2%} at its end: {told} in the second half."
    )


def verdict_on_time(measured: Quantization) -> str:
    """Return ``faster`` only where it was measured."""
    ratios = [taken.ratio for taken in measured.times]
    if max(ratios) < FASTER:
        return f"and faster, by {1 - max(ratios):.0%} or more"
    where = "not faster" if min(ratios) >= FASTER else "not faster throughout"
    return f"{where} ({min(ratios):.2f} to {max(ratios):.2f} times the time of fp32 at one thread)"
