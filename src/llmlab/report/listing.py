"""The log at a glance: one row per entry."""

from typing import Any

from llmlab.report.record import Record
from llmlab.report.result import Column, Table


def entries_table(records: list[Record]) -> Table:
    """Return the entries as a table: id, when, what, and the loss as the one number that all have."""
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
        ],
        [
            [
                record.id,
                record.created[:10],
                record.result.experiment,
                record.result.status,
                record.result.settings.get("seeds"),
                record.result.metrics.get("loss"),
            ]
            for record in records
        ],
        f"{len(records)} entries. llmlab log show ID shows one.",
    )


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
            }
            for record in records
        ],
    }
