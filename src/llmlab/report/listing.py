"""The log at a glance: one row per entry."""

from typing import Any

from llmlab.report.record import Record
from llmlab.report.result import Cell, Column, Scalar, Table


def entries_table(records: list[Record], folded: int = 0) -> Table:
    """Return the entries as a table: id, when, what, and the loss as the one number that all have.

    Args:
        records: the entries.
        folded: how many superseded ones are left out.
    """
    caption = [f"{'1 entry' if len(records) == 1 else f'{len(records):,} entries'}."]
    caption += [f"{folded:,} superseded, shown by --all."] if folded else []
    return Table(
        "log",
        "Experiment log",
        [
            Column("id", "token"),
            Column("date", "token"),
            Column("experiment", "text"),
            Column("status", "text"),
            Column("seeds", "integer"),
            Column("loss"),
            Column("command", "text"),
        ],
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
        " ".join([*caption, "llmlab log show ID shows one."]),
    )


def _words(record: Record) -> str:
    """Return a command without what the column of experiments says already."""
    command = record.command.removeprefix("llmlab ").removeprefix("baseline ")
    return command.removeprefix(record.result.experiment).strip()


def _number(value: Scalar) -> Cell:
    return value if isinstance(value, (int, float)) else None


def entries_document(records: list[Record]) -> dict[str, Any]:
    """Return the entries as strict JSON values, without their tables and figures."""
    return {
        "schema": "llmlab.log/1",
        "entries": [
            {
                "id": record.id,
                "created": record.created,
                "experiment": record.result.experiment,
                "status": record.result.status,
                "command": record.command,
                "settings": record.result.settings,
                "metrics": record.result.metrics,
                "superseded_by": record.superseded_by or None,
            }
            for record in records
        ],
    }
