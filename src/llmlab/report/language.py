"""What a run says, in another language than the one it was written in.

Sentences with something in them are messages, which have both languages side by side (``report.messages``).  All
else, headings, labels and texts that are always the same, is English in the records; the TOML files in ``report/ja``
have the Japanese for it: ``"loss" = "…"``.  A text is looked up whole and then sentence by sentence; what is not found
stays English as a whole: no text is half translated.

Errors and progress are English, and the JSON document is nobody's language.
"""

import re
import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from llmlab.report.folding import is_wide
from llmlab.report.format import cell
from llmlab.report.messages import CODES, Message
from llmlab.report.result import TO_ROUNDING, Cell, Column, Figure, Mark, Result, Table

Part = TypeVar("Part", Result, Table, Column, Figure, Mark)
SENTENCE = re.compile(r"(?<=[.!?]) +(?=[^a-z ])")
WORDS = re.compile(r"[A-Za-z]{2,}[^A-Za-z]* [^A-Za-z]*[A-Za-z]{2,}")


@dataclass(frozen=True)
class Language:
    """A language and what it says for English words and sentences; English itself has an empty catalogue."""

    code: str
    catalogue: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> str:
        """Return a text of ours in this language, or as it is where the catalogue does not have it."""
        return self.translation(text) or text

    def translation(self, text: str) -> str | None:
        """Return a text of ours in this language, or nothing."""
        if isinstance(text, Message):
            return text.spoken(self.code, self.say)
        if text in self.catalogue or not self.catalogue:
            return self.catalogue.get(text)
        told = [self.catalogue.get(sentence) for sentence in SENTENCE.split(text.strip())]
        return "".join(map(str, told)) if all(told) else None

    def is_foreign(self, text: str) -> bool:
        """Return whether a text that this language has to show is an English one: words, and all of them Latin."""
        return self.code != "en" and not is_wide(text) and bool(WORDS.search(text))

    def result(self, result: Result) -> Result:
        """Return a result with everything that a person reads of it in this language; its numbers and names stay."""
        if not self.catalogue:
            return result
        return replace(
            self._said(result, "why", "how"),
            summary=[self.say(sentence) for sentence in result.summary],
            tables=[self.table(table) for table in result.tables],
            figures=[self.figure(figure) for figure in result.figures],
        )

    def table(self, table: Table) -> Table:
        """Return a table likewise."""
        columns, say = table.columns, self._cell
        rows = [[say(value, column) for value, column in zip(row, columns, strict=True)] for row in table.rows]
        named = [self._said(column, "name") for column in columns]
        return replace(self._said(table, "title", "caption"), columns=named, rows=rows)

    def _cell(self, value: Cell, column: Column) -> Cell:
        """Return a cell likewise: its words, or what stands in place of a number that only rounding decides.

        A token is the reader's own word and stays.
        """
        told = cell(value, column)
        ours = isinstance(value, str) or told == TO_ROUNDING
        return self.say(told) if ours and column.kind != "token" else value

    def figure(self, figure: Figure) -> Figure:
        """Return a figure likewise; labels inside it are tokens and stay."""
        marks = [self._said(mark, "legend") for mark in figure.marks]
        return replace(self._said(figure, "title", "caption", "x_label", "y_label"), marks=marks)

    def _said(self, part: Part, *names: str) -> Part:
        """Return one of a result's parts with some of its texts in this language."""
        told: dict[str, Any] = {name: self.say(getattr(part, name)) for name in names}
        return replace(part, **told)


ENGLISH = Language("en")


@cache
def language(code: str) -> Language:
    """Return a language by its code.

    Raises:
        KeyError: there is no such language.
    """
    if code not in CODES:
        raise KeyError(code)
    if code == "en":
        return ENGLISH
    catalogue: dict[str, str] = {}
    for file in sorted((files("llmlab.report") / code).iterdir(), key=lambda file: file.name):
        catalogue |= tomllib.loads(file.read_text("utf-8"))
    return Language(code, catalogue)
