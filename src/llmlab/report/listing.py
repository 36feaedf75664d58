"""The log at a glance: one line per entry, with what it found."""

from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from llmlab.report import screen
from llmlab.report.escape import printable
from llmlab.report.language import Language
from llmlab.report.messages import Text as Words
from llmlab.report.messages import say, sentences
from llmlab.report.record import Record

DATED = 100
"""On fewer columns the date is that of the year's day."""


def entries_lines(records: list[Record], language: Language, width: int = 0) -> Group:
    """Return the entries, a line each: when, the chapter's number, what was found, id.

    Of a finding that does not fit the ends stay, for its number stands last; without a width all of it stays.
    """
    lines = []
    for record in records:
        date = record.created[:10] if not width or width >= DATED else record.created[5:10]
        number = screen.chapter(record.result.experiment).split(" ")[0]
        number = number if number.isdigit() else "-"
        room = width - len(f"{date}  {number}    {record.id}")
        found = printable(screen.title(record, language))
        found = _shortened(found, max(room, 1)) if width else found
        lines.append(Text(f"{date}  {number}  {found}  {record.id}", no_wrap=True, overflow="ignore"))
    return Group(*lines)


def _shortened(text: str, width: int) -> str:
    """Return a text of exactly so many columns: filled up, or without its middle."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    end = text[-1:]
    while cell_len(text[-len(end) - 1 :]) <= (width - 1) // 2:
        end = text[-len(end) - 1 :]
    return set_cell_size(text, width - 1 - cell_len(end)) + "…" + end


def said_of(records: list[Record], folded: int, asked: bool = False) -> Words:
    """Return how many entries there are, how many superseded ones are ``folded`` away, and how to see one.

    ``asked`` is whether only some were asked for.
    """
    if not records and not folded:
        return say("list.nothing") if asked else say("list.empty")
    return sentences(
        say("list.one") if len(records) == 1 else say("list.entries", entries=len(records)),
        say("list.folded", folded=folded) if folded else "",
        say("list.show"),
    )


def matches(record: Record, words: str, language: Language) -> bool:
    """Return whether what is listed of an entry, its command, or what its owner wrote to it holds some words."""
    held = [record.id, screen.title(record, language), record.command, record.expectation, record.note]
    return words.casefold() in "\n".join(held).casefold()


def entries_document(records: list[Record]) -> dict[str, Any]:
    """Return the entries as strict JSON values, without their tables and figures."""
    kept = ("id", "created", "experiment", "status", "command", "settings", "metrics")
    entries = []
    for record in records:
        document, later = record.document(), {"superseded_by": record.superseded_by or None}
        entries.append({name: document[name] for name in kept} | later | {"found": screen.findings(record)})
    return {"schema": "llmlab.log/1", "entries": entries}
