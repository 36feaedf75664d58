"""Tables and figures that ``parts.toml`` declares, and the cells of tables.

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
from typing import Any

from torch import Tensor

from llmlab.measure.ranks import quantiles
from llmlab.measure.stats import metrics_of
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import Cell, Figure, Mark, Scalar, Table, columns_of, of_seeds

MAX_ROWS = 24
"""A longer table keeps the rows that say most, which stand first, and tells how many are left out."""

INTERVAL = ("", "_low", "_high")
BOTH_INTERVALS = (*INTERVAL, "_doc_low", "_doc_high")
"""How the names of a mean and of the ends of its intervals end: over seeds, and over validation documents."""

ENDS = {"": INTERVAL[:1], "±": INTERVAL, "±±": BOTH_INTERVALS}
HEADINGS = {"": (), "±": ("95 % low", "95 % high"), "±±": ("95 % low", "95 % high", "docs low", "docs high")}


@cache
def declared() -> dict[str, dict[str, Any]]:
    """Return what is declared of each table and figure, by key."""
    told = tomllib.loads((files("llmlab") / "shown" / "parts.toml").read_text("utf-8"))
    return {f"{group}.{name}": {"name": name} | one for group, each in told.items() for name, one in each.items()}


def figure(key: str, marks: list[Mark], *, caption: Text | None = None, **values: Any) -> Figure:
    """Return a declared figure: of the loss by epoch, if it has no other axes; its message is filled with ``values``.

    ``caption`` stands in place of that message.
    """
    told, below = declared()[key], say(key, **values) if caption is None else caption
    axes = told.get("x", "epoch"), told.get("y", "loss (nats)")
    return Figure(told["name"], told["title"], below, *axes, marks, after=told["after"])


def table(
    key: str,
    rows: Iterable[Sequence[Cell]],
    *more: Text,
    title: Text = "",
    columns: str = "",
    made: Sequence[Text] = (),
    caption: Text | None = None,
    **values: Any,
) -> Table:
    """Return a declared table; its caption admits to the rows that are left out.

    Args:
        key: of the table, and of the message below it.
        rows: their cells.
        more: sentences after that message.
        title: above it, where that has something in it.
        columns: its columns, where they differ from run to run.
        made: the names of the columns that are declared as ``{}``.
        caption: what stands below it in place of that message.
        values: of that message.
    """
    told = declared()[key]
    parts = [each for column in (columns or told["columns"]).split(" | ") for each in _with_ends(column)]
    whole = [list(row) for row in rows]
    kept = [at for at, part in enumerate(parts) if part[-1] != "?" or any(row[at] is not None for row in whole)]
    below = sentences(say(key, **values) if caption is None else caption, *more)
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

    Args:
        told: the metrics, or ``{"": mean, "_low": …}``; what is not there is an empty cell.
        names: with blanks between them.
        end: of all of these names.
    """
    found: list[Cell] = []
    for name in names.split():
        metric = name.rstrip("±")
        found += [told.get(metric + end + each) for each in ENDS[name[len(metric) :]]]
    return found


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
