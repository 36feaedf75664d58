"""What is shown of a model in eight bits: bytes and perplexities, the cost by position, the largest errors, and time.

Models are called ``fp32``, ``row`` and ``tensor``, the latter two by what has a scale of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmlab.measure.score import Score, perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Figure, Mark, Role, Table
from llmlab.settings import QuantizeSettings
from llmlab.shown.after import Metrics
from llmlab.shown.table import cells, curve, figure, level, table, tell
from llmlab.shown.words import loss_by_groups

NAMES = {"fp32": "fp32", "row": "int8, scale per row", "tensor": "int8, scale per tensor"}
SCHEMES = ("row", "tensor")
FASTER = 0.95
"""A time below this share is called faster."""


def sizes(
    scores: Mapping[str, Score], numbers: Mapping[str, int], files: Mapping[str, int], metrics: Metrics, documents: int
) -> Table:
    """Return bytes, of the numbers and of the files, perplexity and accuracy of each way of storing the model."""
    exact, rows, told = scores["fp32"], list[list[Cell]](), list[Text]()
    for name, score in scores.items():
        per_token = score.ppl, 100 * (score.ppl / exact.ppl - 1)
        batch_mean = score.ppl_batch_mean, 100 * (score.ppl_batch_mean / exact.ppl_batch_mean - 1)
        sizes = numbers[name], files[name], files["fp32"] / files[name]
        rows.append([NAMES[name], *sizes, *per_token, *batch_mean, score.accuracy])
    for scheme in SCHEMES:  # one document has no interval
        change, _, _, low, high = cells(metrics, f"val_ppl_{scheme}_minus_fp32±±")
        if low is not None:
            drawn = {"change": change, "low": low, "high": high, "documents": documents}
            told.append(say("quantize.documents", scheme=scheme, **drawn))
    return table("quantize.sizes", rows, *told)


def by_position(scores: Mapping[str, Score], errors: Mapping[str, Sequence[float]]) -> Table:
    """Return perplexity by position in each way, and how far the context is off there."""
    groups, rows = {name: loss_by_groups(score) for name, score in scores.items()}, list[list[Cell]]()
    for (name, loss, _), *others in zip(groups["fp32"], *(groups[scheme] for scheme in SCHEMES), strict=True):
        exact, last = perplexity(loss), int(name.split("–")[-1])
        ppls = [perplexity(other) for _, other, _ in others]
        changes = (cell for ppl in ppls for cell in (ppl, 100 * (ppl / exact - 1)))
        off = (100 * errors[scheme][last - 1] if last <= len(errors[scheme]) else None for scheme in SCHEMES)
        rows.append([name, exact, *changes, *off])
    return table("quantize.by_position", rows)


def weights(found: Sequence[tuple[str, int, int, float, Sequence[float]]]) -> Table:
    """Return the biggest error of a weight: matrix, rows, columns, largest weight, and error by row and by tensor."""
    rows = [
        (name, f"{height} × {width}", largest, *errors, errors[1] / largest if largest else None)
        for name, height, width, largest, errors in found
    ]
    return table("quantize.weights", rows)


def latency(found: Sequence[tuple[str, int, float, float, float]], steps: int) -> Table:
    """Return what a token and a window cost in time; ``steps`` tokens were read for each measurement."""
    return table("quantize.latency", [(f"one {what}", *numbers) for what, *numbers in found], steps=steps)


def figures(scores: Mapping[str, Score], errors: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Return by how much the loss of each position changes, and how far the context strays along the window."""
    roles: dict[str, Role] = {"tensor": "other", "row": "series"}
    exact, (row, tensor) = scores["fp32"].loss_by_position, (errors[scheme] for scheme in SCHEMES)
    read = [place for place, targets in enumerate(scores["fp32"].targets_by_position) if targets]
    costs = {name: [1000 * (scores[name].loss_by_position[n] - exact[n]) for n in read] for name in SCHEMES}
    astray = {name: [100 * one for one in errors[name]] for name in SCHEMES}

    def lines(each: Mapping[str, Sequence[float]], places: Iterable[int]) -> list[Mark]:
        xs = [place + 1.0 for place in places]
        return [curve(each[name], role, f"scale per {name}", xs) for name, role in roles.items()]

    largest: dict[str, Any] = {name: max(map(abs, each)) for name, each in costs.items()}
    ends: dict[str, Any] = {"row": row[0], "row_last": row[-1], "tensor": tensor[0], "tensor_last": tensor[-1]}
    return [
        figure("quantize.cost", [*lines(costs, read), *level(0.0, "fp32", "floor")], **largest),
        figure("quantize.context", lines(astray, range(len(row))), **ends),
    ]


def summary(
    settings: QuantizeSettings,
    text: str,
    metrics: Metrics,
    errors: Mapping[str, Sequence[float]],
    ratios: Sequence[float],
) -> list[Text]:
    """Return the run in a few sentences; ``ratios`` are times of int8 by those of fp32."""
    scheme, off = settings.scheme, errors[settings.scheme]
    other = next(each for each in SCHEMES if each != scheme)
    small, large = (int(metrics[f"bytes_{end}"] or 0) for end in ("int8", "fp32"))
    half, last = off[(len(off) - 1) // 2], off[-1]
    said = {
        "scheme": scheme,
        "small": small,
        "large": large,
        "times": large / small,
        "speed": speed(ratios),
        "text": text,
        "before": metrics["val_ppl_fp32"],
        "after": metrics["val_ppl_int8"],
        "change": metrics[f"val_ppl_change_{scheme}"],
        "other": other,
        "other_change": metrics[f"val_ppl_change_{other}"],
        "first": off[0],
        "half": half,
        "last": last,
    }
    return tell(
        said,
        "quantize.saves_embedding_too" if settings.embedding else "quantize.saves",
        "quantize.costs",
        "quantize.still_grows" if last > 1.25 * half else "quantize.hardly_grows",
        "quantize.saved" if settings.save is not None else "",
    )


def speed(ratios: Sequence[float]) -> Text:
    """Return ``faster`` only where it was measured throughout."""
    if max(ratios) < FASTER:
        return say("quantize.faster", by=1 - max(ratios))
    key = "quantize.not_faster" if min(ratios) >= FASTER else "quantize.not_always_faster"
    return say(key, least=min(ratios), most=max(ratios))
