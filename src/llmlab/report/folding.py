"""What folds in a terminal: lines of Japanese, and the options of a help.

A line of Japanese may end between phrases, never inside a number, never before a closing mark.

Rich ends lines at spaces, which Japanese does not have; it would cut after any character, a digit too.  A phrase is
what carries meaning and the kana behind it.  Leaves out every text of narrow characters only: that is Rich's own.
"""

import re
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.containers import Lines
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

OPENING = "\u3008\u300a\u300c\u300e\u3010\uff08"
CLOSING = "\u3001\u3002\u3009\u300b\u300d\u300f\u3011\u30fb\u30fc\uff01\uff09\uff0c\uff0e\uff0f\uff1a\uff1b\uff1f…"
KANJI, KATAKANA, HIRAGANA = "\u3005\u3006\u4e00-\u9fff", "\u30a1-\u30fa\u30fc", "\u3041-\u3096"
WHOLE = "\u57cb\u3081\u8fbc\u307f"
"""A word that the rule would break: embedding."""

NARROW = r"[^\s\u2e80-\u9fff\uff00-\uffef]"
PHRASE = re.compile(
    rf"[{OPENING}]*(?:{WHOLE}|{NARROW}+[{KANJI}]{{0,2}}|[{KATAKANA}]+|[{KANJI}]+)?[{HIRAGANA}]*[{CLOSING}]*\s*",
    re.DOTALL,
)
"""A number keeps the counter behind it; an empty match is any other character."""

NARROW_HELP = 60
"""On fewer columns the names of options would be cut."""


def phrases(text: str) -> list[str]:
    """Return the pieces of a text between which a line may end, each with the spaces behind it.

    Example:
        >>> phrases("PPL 2, or 3")
        ['PPL ', '2, ', 'or ', '3']
    """
    found, at = [], 0
    while at < len(text):
        match = PHRASE.match(text, at)
        end = max(match.end() if match else at, at + 1)
        found.append(text[at:end])
        at = end
    return found


def folded(text: str, width: int) -> list[str]:
    """Return a text as lines of at most ``width`` columns; a phrase that is longer is cut between wide characters."""
    lines = [""]
    for phrase in phrases(text):
        if lines[-1] and cell_len(lines[-1]) + cell_len(phrase.rstrip()) > width:
            lines.append("")
        for sign in [phrase] if phrase.isascii() else phrase:  # measured sign by sign, a long word takes its square
            if is_wide(sign) and cell_len(lines[-1]) + cell_len(sign) > width:
                end = _end(lines[-1]) if sign in CLOSING else len(lines[-1])
                lines[-1:] = [lines[-1][:end], lines[-1][end:]] if end else lines[-1:]
            lines[-1] += sign
    return lines


def _end(line: str) -> int:
    """Return where a full line ends whose next character is a closing mark: it takes along what it stands behind.

    That is one wide character, or a whole word or number; 0 where the line has nothing else.
    """
    end = len(line) - 1
    while end > 0 and (line[end] in CLOSING or not (is_wide(line[end]) or is_wide(line[end - 1]))):
        end -= 1
    return max(end, 0)


def is_wide(text: str) -> bool:
    """Return whether a text has characters of two columns."""
    return not text.isascii() and cell_len(text) > len(text)


class Words(Text):
    """Rich's Text, whose lines end between phrases where there are wide characters."""

    def wrap(self, console: Console, width: int, *, no_wrap: bool | None = None, **how: Any) -> Lines:
        """Return the text as lines; see ``rich.text.Text.wrap``."""
        if no_wrap or self.no_wrap or not is_wide(self.plain):
            return super().wrap(console, width, no_wrap=no_wrap, **how)
        lines = Lines()
        for paragraph in self.split(allow_blank=True):
            ends, at = [], 0
            for line in folded(paragraph.plain, width)[:-1]:
                at += len(line)
                ends.append(at)
            for part in paragraph.divide(ends):
                part.rstrip()
                lines.extend(part.wrap(console, width, no_wrap=no_wrap, **how))
        return lines


class OptionsTable(Table):
    """A help's options: a table, or on a narrow console the name of each with what it is below it.

    One whose last column has a name is of commands, and those are short.
    """

    def add_row(self, *cells: Any, **how: Any) -> None:
        """Add a row, as ``rich.table.Table.add_row`` does."""
        if (self.columns and self.columns[-1].header) or Console().width >= NARROW_HELP:
            super().add_row(*cells, **how)
        else:
            *names, told = cells
            name = Text(" ").join(Text(str(each)) for each in names if str(each))
            super().add_row(Group(name, Padding(told, (0, 0, 0, 2))), **how)
