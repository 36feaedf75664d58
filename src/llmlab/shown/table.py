"""Tables by a line of columns: ``"next:token | in text:share | loss | n:integer | mean:3"``.

After a column's name and a colon stands its kind or its number of decimals; without one it is a number of four.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from llmlab.measure.ranks import quantiles
from llmlab.measure.stats import metrics_of
from llmlab.report.messages import Text, say, sentences
from llmlab.report.result import Cell, Column, Scalar, Table, columns_of, of_seeds

MAX_ROWS = 24
"""A longer table keeps the rows that say most, which stand first, and tells how many are left out."""

INTERVAL = ("", "_low", "_high")
BOTH_INTERVALS = (*INTERVAL, "_doc_low", "_doc_high")
"""How the names of a mean and of the ends of its intervals end: over seeds, and over validation documents."""


def table(
    name: str,
    title: str,
    columns: str | list[Column],
    rows: Iterable[Sequence[Cell]],
    caption: Text = "",
    *,
    total: int = 0,
    most: int | None = MAX_ROWS,
    left_out: str = "table.rows_left_out",
) -> Table:
    """Return a table of at most ``most`` rows; its caption admits to the cut.

    Args:
        name: of the table, for figures that belong under it.
        title: above it.
        columns: names with their kinds, see above; or the columns themselves.
        rows: their cells.
        caption: what to see in it.
        total: how many rows there would be, if not all of them are handed over.
        most: how many rows are kept; ``None`` keeps all.
        left_out: the message that admits to the cut.
    """
    cells = [list(row) for row in rows]
    more = 0 if most is None else max(total, len(cells)) - most
    if more > 0:
        caption = say(left_out, caption=caption, left_out=more)
    return Table(name, title, columns_of(columns) if isinstance(columns, str) else columns, cells[:most], caption)


def estimate(column: str, *, documents: bool = False) -> str:
    """Return the columns of a mean and of its interval over seeds and, if asked, over documents."""
    kind = "".join(column.partition(":")[1:])
    ends = ["95 % low", "95 % high", "docs low", "docs high"][: 4 if documents else 2]
    return " | ".join([column, *(end + kind for end in ends)])


def estimated(told: Mapping[str, Scalar], name: str = "", ends: Sequence[str] = INTERVAL) -> list[Cell]:
    """Return the cells under ``estimate``: of a metric, or of a mean; empty where there is none."""
    return [told.get(name + end) for end in ends]


def means_over_seeds(heading: str, kind: str, rows: Iterable[Sequence[Cell]], more: str, *caption: Text) -> Table:
    """Return metrics with their means and intervals over seeds.

    Args:
        heading: of the first column; that of the second is ``n``.
        kind: of the numbers, as in a column.
        rows: the cells.
        more: the columns after the interval.
        caption: what the intervals speak of.
    """
    columns = f"{heading} | n:integer | {estimate('mean' + kind)} | {more}"
    return table("over_seeds", "Over seeds", columns, rows, sentences(say("intervals.of_means"), *caption))


def over_seeds(samples: dict[str, Tensor]) -> list[Table]:
    """Return n, mean and 95 % interval of every headline metric, and its spread: no table for a single seed."""
    rows: list[list[Cell]] = []
    for name, values in samples.items():
        found = metrics_of({"": values.tolist()})
        spread = [None] * 3 if isinstance(values.tolist()[0], bool) else quantiles(values, 0.05, 0.5, 0.95)
        rows.append([name.replace("_", " "), len(values), found[""], found.get("_low"), found.get("_high"), *spread])
    if any(row[1] == 1 for row in rows):
        return []
    return [
        table(
            "over_seeds",
            "Over all seeds",
            "metric:text | n:integer | mean:3 | 95% low:3 | 95% high:3 | p05:3 | p50:3 | p95:3",
            rows,
            sentences(
                "Intervals of means are Student's t, of fractions Wilson's. p05 to p95 hold 90 % of the seeds.",
                of_seeds(len(values) for values in samples.values()),
            ),
        )
    ]
