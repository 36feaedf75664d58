"""What is shown of a model in eight bits: bytes and perplexities, the cost by position, the largest errors, and time.

Models are called ``fp32``, ``row`` and ``tensor``, the latter two by what has a scale of its own.
"""

from collections.abc import Mapping, Sequence

from llmlab.measure.score import Score, perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Figure, Mark, Role, Table
from llmlab.settings import QuantizeSettings
from llmlab.shown.after import Metrics
from llmlab.shown.curves import curve, level
from llmlab.shown.table import figure, table
from llmlab.shown.words import loss_by_groups

NAMES = {"fp32": "fp32", "row": "int8, scale per row", "tensor": "int8, scale per tensor"}
SCHEMES = ("row", "tensor")
FASTER = 0.95
"""A time below this share is called faster."""


def sizes(
    scores: Mapping[str, Score], numbers: Mapping[str, int], files: Mapping[str, int], metrics: Metrics, documents: int
) -> Table:
    """Return bytes, of the numbers and of the files, perplexity and accuracy of each way of storing the model."""
    exact, rows = scores["fp32"], list[list[Cell]]()
    for name, score in scores.items():
        cells: list[Cell] = [NAMES[name], numbers[name], files[name], files["fp32"] / files[name]]
        cells += [score.ppl, 100 * (score.ppl / exact.ppl - 1), score.ppl_batch_mean]
        rows.append([*cells, 100 * (score.ppl_batch_mean / exact.ppl_batch_mean - 1), score.accuracy])
    return table("quantize.sizes", rows, *(_of_documents(metrics, scheme, documents) for scheme in SCHEMES))


def _of_documents(metrics: Metrics, scheme: str, documents: int) -> Text:
    """Return what a scheme costs when validation documents are drawn anew; empty for one document."""
    change, low, high = (metrics.get(f"val_ppl_{scheme}_minus_fp32{end}") for end in ("", "_doc_low", "_doc_high"))
    if low is None:
        return ""
    return say("quantize.documents", scheme=scheme, change=change, low=low, high=high, documents=documents)


def by_position(scores: Mapping[str, Score], errors: Mapping[str, Sequence[float]]) -> Table:
    """Return perplexity by position in each way, and how far the context is off there."""
    groups, rows = {name: loss_by_groups(score) for name, score in scores.items()}, list[list[Cell]]()
    for number, (name, exact, _) in enumerate(groups["fp32"]):
        cells: list[Cell] = [name, perplexity(exact)]
        for scheme in SCHEMES:
            ppl = perplexity(groups[scheme][number][1])
            cells += [ppl, 100 * (ppl / perplexity(exact) - 1)]
        last = int(name.split("–")[-1])
        off = (100 * errors[scheme][last - 1] if last <= len(errors[scheme]) else None for scheme in SCHEMES)
        rows.append([*cells, *off])
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


def cost_by_position(scores: Mapping[str, Score]) -> Figure:
    """Return by how much the loss of each position changes."""
    exact = scores["fp32"]
    read = [place for place, targets in enumerate(exact.targets_by_position) if targets]
    lines = {
        scheme: [1000 * (scores[scheme].loss_by_position[n] - exact.loss_by_position[n]) for n in read]
        for scheme in SCHEMES
    }
    marks = [*_lines([n + 1.0 for n in read], lines), level(0.0, "fp32", "floor")]
    row, tensor = (max(map(abs, lines[scheme])) for scheme in SCHEMES)
    return figure("quantize.cost", marks, row=row, tensor=tensor)


def context_by_position(errors: Mapping[str, Sequence[float]]) -> Figure:
    """Return how far the context strays along the window."""
    row, tensor = (errors[scheme] for scheme in SCHEMES)
    lines = {scheme: [100 * one for one in each] for scheme, each in errors.items()}
    marks = _lines([n + 1.0 for n in range(len(row))], lines)
    return figure("quantize.context", marks, row=row[0], row_last=row[-1], tensor=tensor[0], tensor_last=tensor[-1])


def _lines(xs: list[float], lines: Mapping[str, Sequence[float]]) -> list[Mark]:
    roles: dict[str, Role] = {"tensor": "other", "row": "series"}
    return [curve(lines[each], role, f"scale per {each}", xs) for each, role in roles.items()]


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
    piles_up = "quantize.still_grows" if last > 1.25 * half else "quantize.hardly_grows"
    told: list[Text] = [
        say(
            "quantize.saves_embedding_too" if settings.embedding else "quantize.saves",
            scheme=scheme,
            small=small,
            large=large,
            times=large / small,
            speed=speed(ratios),
        ),
        say(
            "quantize.costs",
            text=text,
            before=metrics["val_ppl_fp32"],
            after=metrics["val_ppl_int8"],
            change=metrics[f"val_ppl_change_{scheme}"],
            other=other,
            other_change=metrics[f"val_ppl_change_{other}"],
        ),
        say(piles_up, first=off[0], half=half, last=last),
    ]
    return told if settings.save is None else [*told, say("quantize.saved")]


def speed(ratios: Sequence[float]) -> Text:
    """Return ``faster`` only where it was measured throughout."""
    if max(ratios) < FASTER:
        return say("quantize.faster", by=1 - max(ratios))
    key = "quantize.not_faster" if min(ratios) >= FASTER else "quantize.not_always_faster"
    return say(key, least=min(ratios), most=max(ratios))
