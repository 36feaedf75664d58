"""One entry of the log as data: a Result with its when, how and where.

``record.json`` is this document; the page and the pictures are pure functions of it.  Reading is strict:
what is not a record of ours raises ``ValueError`` and nothing else.
"""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from llmlab.report.result import Result

SCHEMA = "llmlab.result/1"
LIST_OF_NUMBERS = re.compile(r"\[\n([-+.\deE,\s]+)\]")
"""Only between brackets that JSON itself wrote: inside a string, a line break is an escape."""


@dataclass(frozen=True)
class Record:
    """A Result and the circumstances of its run."""

    result: Result
    id: str
    created: str
    """UTC, ISO 8601 to the second."""
    command: str
    seconds: float
    environment: dict[str, Any] = field(default_factory=dict)
    expectation: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The entry's folder: date, experiment and id.  All three are made of safe characters by construction."""
        return f"{self.created[:10]}-{self.result.experiment}-{self.id}"

    def document(self) -> dict[str, Any]:
        """Return the record as one flat document of strict JSON values."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "created": self.created,
            "command": self.command,
            "seconds": self.seconds,
            "environment": self.environment,
            "expectation": self.expectation,
            "note": self.note,
            **self.result.document(),
        }

    def json(self) -> str:
        """Return the document as text: no NaN, one final newline; equal records, equal bytes.

        Keys keep their order, so that a page made from the text has its rows where the run had them.  A list of
        numbers stands on one line, so that a thousand seeds do not make a thousand lines.
        """
        text = json.dumps(self.document(), indent=1, ensure_ascii=False, allow_nan=False)
        return LIST_OF_NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Return the record that ``json`` wrote.

        Raises:
            ValueError: not JSON, another schema, or something missing.
        """
        document = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA} document")
        try:
            own = {name: document[name] for name in cls.__dataclass_fields__ if name != "result"}
            record = cls(result=Result.from_document(document), **own)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"incomplete record: {error}") from error
        if not _safe(record.id) or not _safe(record.result.experiment) or len(record.created) != 20:
            raise ValueError("an id, experiment or date that no record of ours has")
        return record


def _safe(name: str) -> bool:
    return 0 < len(name) <= 40 and all(
        character.isascii() and (character.isalnum() or character == "-") for character in name
    )


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
