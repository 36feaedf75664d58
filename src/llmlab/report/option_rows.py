"""The rows of a help's options: a table, or on a narrow console the name of each with what it is below it."""

from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW = 60
"""On fewer columns names would be cut."""


class OptionsTable(Table):
    """A table whose rows become two lines, the name and what it is, where there is no room for both beside each other.

    One whose last column has a name is of commands, and those are short.
    """

    def add_row(self, *cells: Any, **how: Any) -> None:
        """Add a row, as ``rich.table.Table.add_row`` does."""
        if (self.columns and self.columns[-1].header) or Console().width >= NARROW:
            super().add_row(*cells, **how)
        else:
            *names, told = cells
            name = Text(" ").join(Text(str(each)) for each in names if str(each))
            super().add_row(Group(name, Padding(told, (0, 0, 0, 2))), **how)
