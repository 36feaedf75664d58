"""How one cell is written, the same in the terminal and on the page.

A number never loses a digit to a narrow screen: it is short to begin with, and what surrounds it folds.
"""

from collections.abc import Sequence

from llmlab.report.result import TO_ROUNDING, Cell, Column, Table

NOTHING = "–"
ROUNDING = 1e-12


def cell(value: Cell, column: Column) -> str:
    """Return a cell as text."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if column.kind == "share":
        return f"{value:.1%}"
    if column.kind == "integer" or isinstance(value, int):
        return f"{value:,}"
    return number(value, column.digits)


def texts(table: Table) -> list[list[str]]:
    """Return the cells of a table as text."""
    return [[cell(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows]


def number(value: float, digits: int = 4) -> str:
    """Return a float with ``digits`` decimals, or in powers of ten where that would hide or bloat it.

    With two decimals and fewer what is smaller is zero: a column of plain decimals stays one.
    """
    size = abs(value)
    if 0 < size < ROUNDING:
        return TO_ROUNDING
    if size >= 1e6 or (digits > 2 and 0 < size < 0.5 * 10**-digits):
        return f"{value:.1e}"
    return f"{round(value, digits) + 0.0:.{digits}f}"


def several(value: Cell | Sequence[float]) -> str:
    """Return a number, or one for each seed, as text."""
    values = [value] if value is None or isinstance(value, (str, int, float)) else value
    return ", ".join(cell(each, Column("", "number")) for each in values)


def is_text(column: Column) -> bool:
    """Return whether the column holds words, which may fold and stand at the left."""
    return column.kind in ("text", "token")
