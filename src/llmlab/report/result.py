"""What a chapter hands over: plain data, nothing else.

A Result holds floats, strings, lists and dictionaries; no tensors, no paths, no clock.  Tables, plots, log
entries and the JSON document are all made from it, and it survives a round trip through strict JSON.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from itertools import compress
from typing import Any, Literal, cast, get_args

from llmlab.report.messages import Text, say

Cell = Text | int | float | None
Scalar = str | bool | int | float | None
Status = Literal["complete", "interrupted", "diverged"]
Verdict = Literal["supported", "refuted", "refined", "inconclusive"]
CellKind = Literal["text", "token", "integer", "number", "share"]
MarkKind = Literal["line", "band", "points", "track", "shadow", "bar", "level"]
Role = Literal[
    "before", "after", "path", "track", "winner", "foot", "other", "series", "floor",
    "arm1", "arm2", "arm3", "arm4", "arm5", "arm6", "arm7",
]  # fmt: skip

LARGEST = 1e30
"""Of the coordinates that a picture can show."""

TO_ROUNDING = "to rounding"
"""Stands for a number so near 0 that only rounding decides its digits, which differ between processors."""

BAND = "95 % interval over seeds"
"""What a band shows that has no legend of its own."""

ARMS: tuple[Role, ...] = ("arm1", "arm2", "arm3", "arm4", "arm5", "arm6", "arm7")
"""For the arms of a comparison, in their order: no two look alike."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    ``kind`` says how its cells are shown: ``text`` (ours), ``token`` (from the user's text), ``integer``,
    ``number`` (a float with ``digits`` decimals) or ``share`` (a float from 0 to 1, shown in per cent).
    """

    name: Text
    kind: CellKind = "number"
    digits: int = 4


def columns_of(line: str, *made: Text) -> list[Column]:
    """Return the columns that a line names: ``"next:token | in text:share | loss | n:integer | mean:3 | {}:2"``.

    After a column's name and a colon stands its kind or its number of decimals; without one it is a number of four.
    ``{}`` is a name with something in it, the next of those that are ``made``.
    """
    names, columns = iter(made), []
    for column in line.split(" | "):
        name, _, kind = column.rpartition(":") if ":" in column else (column, "", "number")
        text = next(names) if name == "{}" else name
        known = kind in get_args(CellKind)
        columns.append(Column(text, cast(CellKind, kind)) if known else Column(text, digits=int(kind)))
    return columns


@dataclass(frozen=True)
class Table:
    """Rows of cells under typed columns, with a caption that says what to see in them."""

    name: str
    title: Text
    columns: list[Column]
    rows: list[list[Cell]]
    caption: Text = ""


@dataclass(frozen=True)
class Mark:
    """One thing in a figure.

    ``kind``: ``line`` (through the points), ``band`` (between ``ys`` and ``tops``), ``points``, ``track`` (the
    line through zero and the one point given, with an arrow up to it), ``shadow`` (a thick bar from zero to the one
    point given), ``bar`` (from zero across to each of ``xs``, at the height of ``ys``) or ``level`` (horizontal, at
    ``ys[0]``).  A band without a legend is ``BAND`` of the line that it goes with.
    ``role`` chooses the colour and is the same word in every figure.
    """

    kind: MarkKind
    role: Role
    xs: list[float]
    ys: list[float]
    labels: list[str] = field(default_factory=list)
    legend: Text = ""
    tops: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A picture as data.  ``caption`` says in words and numbers what it shows; it is the text alternative too.

    ``after`` names the table that the picture belongs under; without one it comes last.  ``names`` are what the whole
    heights 0, 1, 2, … stand for, if they stand for no number.
    """

    name: str
    title: Text
    caption: Text
    x_label: Text
    y_label: Text
    marks: list[Mark]
    equal_axes: bool = False
    after: str = ""
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """What this run says about one claim of the original notes.

    ``claim`` is the claim's id and ``statement`` what it says, in our words.  ``verdict`` is ``supported``,
    ``refuted``, ``refined`` (true with a limit that the evidence names), ``inconclusive``, or ``not yet run`` of a
    claim that waits for one.
    """

    claim: str
    statement: str
    verdict: Verdict | Literal["not yet run"]
    evidence: str


@dataclass(frozen=True)
class Result:
    """Everything one run found.

    ``metrics`` maps names to numbers; ``None`` stands for "no finite number", and then
    ``<name>_reason`` says why.  ``samples`` keeps the headline metrics per seed, so that two runs can be
    compared seed by seed.  ``documents`` keeps sums over each validation document, or block of documents: its
    targets, and each model's loss in nats, the mean over seeds.  ``summary`` is what one would say of the run in a few
    sentences.
    """

    experiment: str
    settings: dict[str, Scalar]
    why: Text
    how: Text
    status: Status = "complete"
    metrics: dict[str, Scalar] = field(default_factory=dict)
    summary: list[Text] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    documents: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def diverged(
        cls, experiment: str, settings: dict[str, Any], why: Text, how: Text, update: int, *, of: str = ""
    ) -> "Result":
        """Return the result of a run whose numbers stopped being finite at an update, ``of`` one of its parts."""
        told = say("run.diverged_of", update=update, of=of) if of else say("run.diverged", update=update)
        metrics: dict[str, Scalar] = {"loss": None}
        metrics["loss_reason"] = f"diverged at update {update}" + (f" of {of}" if of else "")
        return cls(experiment, settings, why, how, "diverged", metrics, summary=[told, say("run.way_out")])

    def parts(self) -> Iterator[Table | Figure]:
        """Yield tables and figures in reading order: each figure after its table, and those without one at the end."""
        for table in self.tables:
            yield table
            yield from (figure for figure in self.figures if figure.after == table.name)
        names = {table.name for table in self.tables}
        yield from (figure for figure in self.figures if figure.after not in names)

    def _repr_html_(self) -> str:
        """Return what a notebook shows; what makes HTML knows results, and no result needs to know it."""
        return str(import_module("llmlab.report.notebook").html(self))

    def document(self) -> dict[str, Any]:
        """Return the result, made ``finite``, as strict JSON values."""
        document = asdict(self.finite())
        if not self.documents:
            del document["documents"]
        for figure in document["figures"]:
            if not figure["names"]:  # most have none, and an entry of before names were thought of stays as it is
                del figure["names"]
        return document

    def finite(self) -> "Result":
        """Return the result as it can be written down and read back, whatever is in it.

        A number that is not finite is nothing in a setting, a metric (with its reason) and a cell; no picture goes
        through it; and of a sample or a document's sums that hold one, none is kept.
        """
        reasons = {f"{name}_reason": f"not a finite number: {one}" for name, one in self.metrics.items() if _lost(one)}
        return replace(
            self,
            settings=_finite(self.settings),
            metrics=_finite(self.metrics) | reasons,
            tables=[replace(table, rows=_finite(table.rows)) for table in self.tables],
            figures=[replace(figure, marks=[*_drawable(figure.marks)]) for figure in self.figures],
            samples={name: numbers for name, numbers in self.samples.items() if not any(map(_lost, numbers))},
            documents={name: sums for name, sums in self.documents.items() if not any(map(_lost, sums))},
        )


def of_seeds(counts: Iterable[int], documents: int | None = None) -> Text:
    """Return what the intervals over seeds in a table speak of; empty where no row has two seeds, so no interval.

    ``counts`` are the seeds of each row; each run was judged on so many validation documents, if any are held out.
    """
    least, most = min(counts := list(counts), default=0), max(counts, default=0)
    if most < 2:
        return ""
    seeds = most if least == most else say("intervals.from_to", least=least, most=most)
    if documents is None:
        return say("intervals.of_seeds", seeds=seeds)
    return say("intervals.of_seeds_held_out", seeds=seeds, documents=documents)


def of_documents(documents: int, blocks: int) -> Text:
    """Return what the columns ``docs low`` and ``docs high`` hold; empty for one document, which has no interval.

    Of so many validation documents as many ``blocks`` of neighbours are drawn, if not each by itself.
    """
    if blocks < 2:
        return ""
    if blocks < documents:
        return say("intervals.of_blocks", documents=documents, blocks=blocks)
    return say("intervals.of_documents", documents=documents)


def time_span(seconds: float) -> str:
    """Return a span of time in the unit that fits it: ``90 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rounded(values: Iterable[float], digits: int = 6) -> list[float]:
    """Return floats cut to significant digits, so that a record stays small enough to read."""
    return [float(f"{value:.{digits}g}") for value in values]


def _lost(value: object) -> bool:
    """Return whether a value is a float that JSON has no name for."""
    return isinstance(value, float) and not math.isfinite(value)


def _finite(value: Any) -> Any:
    """Return a value, or a dictionary or lists of such, with nothing in the place of what is lost."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if _lost(value) else value


def _drawable(marks: Iterable[Mark]) -> Iterator[Mark]:
    """Yield marks without the points that no picture can show, and without the marks that have no other."""
    for mark in marks:
        columns = [column for column in (mark.xs, mark.ys, mark.tops) if column]
        shown = [all(abs(one) <= LARGEST for one in point) for point in zip(*columns, strict=False)]
        if all(shown):
            yield mark
        elif any(shown):
            xs, ys, tops = ([*compress(one, shown)] for one in (mark.xs, mark.ys, mark.tops))
            yield replace(mark, xs=xs, ys=ys, tops=tops, labels=[*compress(mark.labels, shown)])
