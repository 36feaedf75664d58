"""The log at a glance: one line per entry, with what it found."""

from typing import Any

from rich.table import Table as RichTable

from llmlab.report import screen
from llmlab.report.escape import printable
from llmlab.report.language import Language
from llmlab.report.messages import Text, say, sentences
from llmlab.report.record import Record

DATED = 60
"""On fewer columns a line has no room for the date."""


def entries_lines(records: list[Record], language: Language, width: int) -> RichTable:
    """Return the entries, a line each: when, the chapter's number, what was found, id; what does not fit is cut."""
    lines = RichTable.grid(padding=(0, 2, 0, 0), expand=True)
    names = ["date", "", "found", "id"] if width >= DATED else ["", "found", "id"]
    for name in names:
        lines.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if name == "found" else None)
    for record in records:
        number = screen.chapter(record.result.experiment).split(" ")[0]
        told = [record.created[:10], number, screen.title(record, language), record.id]
        lines.add_row(*map(printable, told[-len(names) :]))
    return lines


def said_of(records: list[Record], folded: int) -> Text:
    """Return how many entries there are and how to see one; ``folded`` is how many superseded ones are left out."""
    return sentences(
        say("list.one") if len(records) == 1 else say("list.entries", entries=len(records)),
        say("list.folded", folded=folded) if folded else "",
        say("list.show"),
    )


def matches(record: Record, words: str) -> bool:
    """Return whether an entry's findings, command, expectation or note hold some words, in either case."""
    held = [*screen.findings(record), record.command, record.expectation, record.note, record.result.experiment]
    return words.casefold() in "\n".join(held).casefold()


def entries_document(records: list[Record]) -> dict[str, Any]:
    """Return the entries as strict JSON values, without their tables and figures."""
    kept = ("id", "created", "experiment", "status", "command", "settings", "metrics")
    entries = [(record.document(), record.superseded_by or None) for record in records]
    found = [screen.findings(record) for record in records]
    return {
        "schema": "llmlab.log/1",
        "entries": [
            {name: told[name] for name in kept} | {"superseded_by": by, "found": said}
            for (told, by), said in zip(entries, found, strict=True)
        ],
    }
