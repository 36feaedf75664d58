"""Tables and figures that ``parts.toml`` declares, their cells and curves, and the sentences about them.

    [generate.cost]
    title = "What a token costs"
    columns = "seed:integer | what:token | tokens | µs per token:0 | mean:3 ± | test PPL:2?"

    [generate.price]
    title = "What a token costs"
    x = "token"
    y = "microseconds"
    after = "cost"

The key is that of the message below; ``name`` is the part's own, if it is not the key's second half.  Of a table
``most`` is how many of its rows are kept, 0 for all.  After a column's name and a colon stands its kind or its number
of decimals; without one it is a number of four.  ``±`` stands for two more columns, the interval over seeds, and ``±±``
for another two, the one over documents; a column with ``?`` is left out where all of its cells are empty.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from statistics import fmean
from string import Formatter
from typing import Any

from torch import Tensor

from llmlab.measure.ranks import quantiles
from llmlab.measure.stats import mean_interval, metrics_of
from llmlab.report.messages import Text, messages, say, sentences
from llmlab.report.result import ARMS, Cell, Figure, Mark, Role, Scalar, Table, columns_of, of_seeds, rounded

MAX_ROWS = 24
"""A longer table keeps the rows that say most, which stand first, and tells how many are left out."""

INTERVAL = ("", "_low", "_high")
ENDS = {"": INTERVAL[:1], "±": INTERVAL, "±±": (*INTERVAL, "_doc_low", "_doc_high")}
"""How the names of a mean and of the ends of its intervals end: over seeds, and over validation documents."""

HEADINGS = {"": (), "±": ("95 % low", "95 % high"), "±±": ("95 % low", "95 % high", "docs low", "docs high")}


@cache
def declared() -> dict[str, dict[str, Any]]:
    """Return what is declared of each table and figure, by key."""
    told = tomllib.loads((files("llmlab") / "shown" / "parts.toml").read_text("utf-8"))
    return {f"{group}.{name}": {"name": name} | one for group, each in told.items() for name, one in each.items()}


# ---- sentences ----------------------------------------------------------------------------------------------------


def tell(values: Mapping[str, Any], *keys: str) -> list[Text]:
    """Return the messages of these keys, of empty ones none, each filled with those of the values that it takes."""
    told = list[Text]()
    for key in filter(None, keys):
        holes = {name for _, name, _, _ in Formatter().parse(messages()[key]["en"])}
        told.append(say(key, **{name: value for name, value in values.items() if name in holes}))
    return told


# ---- tables -------------------------------------------------------------------------------------------------------


def table(
    key: str,
    rows: Iterable[Sequence[Cell]],
    *more: Text,
    title: Text = "",
    columns: str = "",
    made: Sequence[Text] = (),
    says: str = "",
    caption: Text | None = None,
    **values: Any,
) -> Table:
    """Return a declared table; its caption admits to the rows that are left out.

    Its message, of its own key or the one that it ``says``, is filled with ``values``; ``caption`` stands in place of
    it, and ``more`` are sentences after it.  ``title`` and ``columns`` are those that differ from run to run, ``made``
    the names of columns called ``{}``.
    """
    told = declared()[key]
    parts = [each for column in (columns or told["columns"]).split(" | ") for each in _with_ends(column)]
    whole = [list(row) for row in rows]
    kept = [at for at, part in enumerate(parts) if part[-1] != "?" or any(row[at] is not None for row in whole)]
    below = sentences(*(tell(values, says or key) if caption is None else [caption]), *more)
    most = told.get("most", MAX_ROWS) or len(whole)
    if len(whole) > most:
        below = say("table.rows_left_out", caption=below, left_out=len(whole) - most)
    headings = columns_of(" | ".join(parts[at].removesuffix("?") for at in kept), *made)
    shown = [[row[at] for at in kept] for row in whole[:most]]
    return Table(told["name"], title or told["title"], headings, shown, below)


def _with_ends(column: str) -> list[str]:
    """Return a column, and those of the ends of its intervals, which are of its kind."""
    sign = "±" * column.count("±")
    name = column.removesuffix(f" {sign}") if sign else column
    return [name, *(end + "".join(name.partition(":")[1:]) for end in HEADINGS[sign])]


def cells(told: Mapping[str, Scalar], names: str, end: str = "") -> list[Cell]:
    """Return metrics as cells, with their intervals where their columns have some: ``"val_ppl± val_accuracy"``.

    ``told`` may be ``{"": mean, "_low": …}`` too; what is not there is an empty cell.  All names have the same ``end``.
    """
    each = [(name.rstrip("±"), name) for name in names.split()]
    return [told.get(metric + end + last) for metric, name in each for last in ENDS[name[len(metric) :]]]


def over_seeds(samples: dict[str, Tensor]) -> list[Table]:
    """Return n, mean and 95 % interval of every headline metric, and its spread: no table for a single seed."""
    rows: list[list[Cell]] = []
    for name, values in samples.items():
        spread = [None] * 3 if isinstance(values.tolist()[0], bool) else quantiles(values, 0.05, 0.5, 0.95)
        told = cells(metrics_of({"": values.tolist()}), "±")
        rows.append([name.replace("_", " "), len(values), *told, *spread])
    if any(row[1] == 1 for row in rows):
        return []
    what = "Intervals of means are Student's t, of fractions Wilson's. p05 to p95 hold 90 % of the seeds."
    return [table("tiny.over_seeds", rows, of_seeds(len(values) for values in samples.values()), caption=what)]


# ---- figures ------------------------------------------------------------------------------------------------------


def figure(key: str, marks: list[Mark], *, says: str = "", caption: Text | None = None, **values: Any) -> Figure:
    """Return a declared figure: of the loss by epoch, if it has no other axes; its sentences are those of a table."""
    told, below = declared()[key], caption
    if below is None:
        (below,) = tell(values, says or key)
    axes = told.get("x", "epoch"), told.get("y", "loss (nats)")
    return Figure(told["name"], told["title"], below, *axes, marks, after=told["after"])


def means(curves: Iterable[Sequence[float]]) -> list[float]:
    """Return the mean of the runs' curves, as far as all of them go."""
    return [fmean(values) for values in zip(*curves, strict=False)]


def curve(ys: Sequence[float], role: Role, legend: Text, xs: Sequence[float] = ()) -> Mark:
    """Return a line through ``ys``, by epoch from 1 where no ``xs`` are given."""
    return Mark("line", role, list(xs) or [epoch + 1.0 for epoch in range(len(ys))], rounded(ys), legend=legend)


def arm_curves(each: Iterable[tuple[Text, Sequence[Sequence[float]]]]) -> list[Mark]:
    """Return the means of each arm's runs by epoch, by its legend, in the colours of arms, with their intervals."""
    marks = list[Mark]()
    for number, (legend, runs) in enumerate(each):
        told = [mean_interval(values) for values in zip(*runs, strict=False)]
        marks += with_interval((), told, ARMS[number % len(ARMS)], legend)
    return marks


def with_interval(xs: Sequence[float], told: Sequence[Mapping[str, float]], role: Role, legend: Text) -> list[Mark]:
    """Return a line through means and, behind it, the band of their intervals where every one has several seeds."""
    line = curve([one[""] for one in told], role, legend, xs)
    if not all("_low" in one for one in told):
        return [line]
    low, high = (rounded(one[end] for one in told) for end in ("_low", "_high"))
    return [Mark("band", role, line.xs, low, tops=high), line]


def level(loss: float | None, legend: Text, role: Role = "other") -> list[Mark]:
    """Return what a curve stands beside, as a horizontal line; nothing where it is not known."""
    return [] if loss is None else [Mark("level", role, [], [loss], legend=legend)]
