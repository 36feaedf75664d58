"""The log at a glance: one row per entry."""

from typing import Any

from llmlab.report.messages import say, sentences
from llmlab.report.record import Record
from llmlab.report.result import Cell, Scalar, Table, columns_of


def entries_table(records: list[Record], folded: int = 0) -> Table:
    """Return the entries as a table: id, when, what, and the loss as the one number that all have.

    Args:
        records: the entries.
        folded: how many superseded ones are left out.
    """
    return Table(
        "log",
        "Experiment log",
        columns_of("id:token | date:token | experiment:text | status:text | seeds:integer | loss | command:text"),
        [
            [
                record.id,
                record.created[:10],
                record.result.experiment,
                "superseded" if record.superseded_by else record.result.status,
                _number(record.result.settings.get("seeds")),
                _number(record.result.metrics.get("loss", record.result.metrics.get("val_loss"))),
                _words(record),
            ]
            for record in records
        ],
        sentences(
            say("list.one") if len(records) == 1 else say("list.entries", entries=len(records)),
            say("list.folded", folded=folded) if folded else "",
            say("list.show"),
        ),
    )


def entries_document(records: list[Record]) -> dict[str, Any]:
    """Return the entries as strict JSON values, without their tables and figures."""
    kept = ("id", "created", "experiment", "status", "command", "settings", "metrics")
    entries = [(record.document(), record.superseded_by or None) for record in records]
    return {
        "schema": "llmlab.log/1",
        "entries": [{name: told[name] for name in kept} | {"superseded_by": by} for told, by in entries],
    }


def _words(record: Record) -> str:
    """Return a command without what the column of experiments says already."""
    command = record.command.removeprefix("llmlab ").removeprefix("baseline ")
    return command.removeprefix(record.result.experiment).strip()


def _number(value: Scalar) -> Cell:
    return value if isinstance(value, int | float) else None
