"""One entry of the log as data: a Result with its when, how and where.

``record.json`` is this document; the page and the pictures are pure functions of it.  Reading is strict:
what is not a record of ours raises ``ValueError`` and nothing else.

A record is never taken back.  What turns out later is added to it: numbers that were counted again stand in
``amendments`` with what they were, a record that another one replaces names its successor, and an expectation that was
written when results were known says so.
"""

import json
import math
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from llmlab.report.messages import read, stored
from llmlab.report.result import LARGEST, Result, Scalar

SCHEMA = "llmlab.result/1"
CREATED = "%Y-%m-%dT%H:%M:%SZ"
DATE = "%Y-%m-%d"
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
MOST_DIGITS = 17
"""A float has no more of them that mean anything."""

ONE_POINT = ("track", "shadow", "level")
"""Kinds of marks with one point, or one height."""

LIST_OF_NUMBERS = re.compile(r"\[\n([-+.\deE,\s]+)\]")
"""Only between brackets that JSON itself wrote: inside a string, a line break is an escape."""


@dataclass(frozen=True)
class Amendment:
    """Numbers of a record that were counted again.

    ``was`` maps a metric to its old value, and ``samples.<name>`` to the old values by seed.
    """

    date: str
    why: str
    was: dict[str, Scalar | list[int | float]]
    why_ja: str = ""


@dataclass(frozen=True)
class Record:
    """A Result and the circumstances of its run, and what was added later."""

    result: Result
    id: str
    created: str
    """UTC, ISO 8601 to the second."""
    command: str
    seconds: float
    environment: dict[str, Scalar] = field(default_factory=dict)
    expectation: str = ""
    note: str = ""
    amendments: list[Amendment] = field(default_factory=list)
    superseded_by: str = ""
    """The id of the record that stands in for this one: the log keeps both, and claims are judged by the other."""
    superseded_why: str = ""
    superseded_why_ja: str = ""
    supersedes: list[str] = field(default_factory=list)
    """The ids of the records that this one stands in for."""
    rerun_of: str = ""
    """The id of the record whose claims this one was run to confirm: it stands beside that one, and never in for it."""
    expectation_after_look: bool = False
    """Whether some of what the expectation speaks of was known when it was written."""

    @property
    def name(self) -> str:
        """The entry's folder: date, experiment and id.  All three are made of safe characters by construction."""
        return f"{self.created[:10]}-{self.result.experiment}-{self.id}"

    def numbers(self) -> dict[str, Scalar | list[float]]:
        """Return what an amendment may name: every metric, and the samples as ``samples.<name>``."""
        return {**self.result.metrics, **{f"samples.{name}": by for name, by in self.result.samples.items()}}

    def document(self) -> dict[str, Any]:
        """Return the record as one flat document of strict JSON values."""
        own = {name: getattr(self, name) for name in OWN}
        own["amendments"] = [
            {name: value for name, value in asdict(one).items() if value or name != "why_ja"} for one in self.amendments
        ]
        there = {name: value for name, value in own.items() if value or name not in LATER}
        return {"schema": SCHEMA, **there, **self.result.document()}

    def json(self) -> str:
        """Return the document as text: no NaN, one final newline; equal records, equal bytes.

        Keys keep their order, so that a page made from the text has its rows where the run had them.  A list of
        numbers stands on one line, so that a thousand seeds do not make a thousand lines.
        """
        text = json.dumps(stored(self.document()), indent=1, ensure_ascii=False, allow_nan=False)
        return LIST_OF_NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Return the record that ``json`` wrote.

        Raises:
            ValueError: not JSON, another schema, or something missing or of the wrong type.
        """
        document = read(json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_finite))
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError(f"not a {SCHEMA} document")
        own = {name: document[name] for name in OWN if name in document} | {"result": document}
        try:
            _reader().validate_json(json.dumps(own), strict=True)  # "3.5" is no number, nor 1 a yes
            record: Record = _reader().validate_python(own)  # which keeps messages as they are
        except ValueError as error:
            first = error.errors()[0]  # type: ignore[attr-defined]  # pydantic's ValidationError is a ValueError
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        _refuse_unusable(record)
        _refuse_loose(record, document)
        return record


OWN = tuple(name for name in Record.__dataclass_fields__ if name != "result")
LATER = OWN[OWN.index("amendments") :]
"""What may be added to a record; a record without them does not name them."""


@cache
def _reader() -> Any:
    from pydantic import TypeAdapter  # here, for reading is rare and this takes a tenth of a second

    return TypeAdapter(Record)


def _refuse_unusable(record: Record) -> None:
    """Refuse what has the right types and is still no record of ours: a name like a path, a ragged table."""
    result = record.result
    datetime.strptime(record.created, CREATED)
    names = [record.id, result.experiment, *(figure.name for figure in result.figures)]
    if not all(SAFE_NAME.fullmatch(name) for name in names):
        raise ValueError("an id, an experiment or a figure with a name that none of ours has")
    for table in result.tables:
        if any(len(row) != len(table.columns) for row in table.rows) or not table.columns:
            raise ValueError(f"table {table.name}: a row with too many or too few cells")
        if not all(0 <= column.digits <= MOST_DIGITS for column in table.columns):
            raise ValueError(f"table {table.name}: a column with a number of decimals that none of ours has")
    for mark in (mark for figure in result.figures for mark in figure.marks):
        columns = [mark.ys, *([mark.xs] if mark.kind != "level" else []), *([mark.tops] if mark.kind == "band" else [])]
        if len({len(column) for column in columns}) != 1 or (mark.kind in ONE_POINT and len(mark.ys) != 1):
            raise ValueError("a mark whose coordinates do not match")
        if any(abs(value) > LARGEST for value in (*mark.xs, *mark.ys, *mark.tops)):
            raise ValueError("a coordinate that no picture could show")


def _refuse_loose(record: Record, document: dict[str, Any]) -> None:
    """Refuse later additions that mean nothing, or that are not written as ``document`` writes them."""
    written = record.document()
    for name in LATER:
        there, ours = (json.dumps(one.get(name), sort_keys=True) for one in (document, written))
        if document.get(name) and there != ours:
            raise ValueError(f"{name}: not as llmlab writes it")
    others = [*filter(None, [record.superseded_by]), *record.supersedes]
    if not all(SAFE_NAME.fullmatch(other) for other in others) or len({record.id, *others}) <= len(others):
        raise ValueError("superseded_by, supersedes: ids of other records, each once")
    if record.rerun_of == record.id or not SAFE_NAME.fullmatch(record.rerun_of or "none"):
        raise ValueError("rerun_of: the id of another record")
    if bool(record.superseded_by) != bool(record.superseded_why):
        raise ValueError("superseded_by and superseded_why: neither goes without the other")
    for amendment in record.amendments:
        datetime.strptime(amendment.date, DATE)
        unknown = amendment.was.keys() - record.numbers().keys()
        if unknown or not amendment.was or not amendment.why:
            raise ValueError(f"amendments: no reason, or no number of this run: {', '.join(sorted(unknown))}")


def _finite(text: str) -> int | float:
    """Return a number of a document."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return int(text) if text.lstrip("-").isdecimal() else value
