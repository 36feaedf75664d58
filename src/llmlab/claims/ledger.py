"""The rows of the ledger: claims of the original notes as data, read from ``ledger/*.toml`` and checked.

A file is one document of the original notes: its ``name``, ``title`` and ``about``, the ``conditions`` that it ran
under, settings of ``runs`` that rows name instead of repeating them (``[runs.original]``, ``where = "original"``), and
its rows, ``[[claim]]``.  What a row may hold stands in the classes below, field by field; a field that no class knows
is refused.
Text in Japanese stands beside the English under the same name with ``_ja``, and where there is none the English is
shown.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from llmlab.errors import TextError
from llmlab.report.result import Scalar

FOLDER = Path(__file__).with_name("ledger")
Chapter = Literal["phase1", "phase1-2", "baseline", "layers", "embedding-freeze", "two-stage"]
Kind = Literal["measured", "arithmetic", "estimate", "opinion", "planned", "fact"]
Check = Literal["records", "sums", "opinion"]
Text = Annotated[str, Field(min_length=1)]
Conditions = dict[str, Scalar | dict[str, Scalar]]
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class RecordsCheck:
    """A claim that is judged by the metrics of a run: the first of three expressions that holds gives the verdict.

    ``experiment`` is whose runs speak of it, one or several.  ``where`` names settings to match: of other runs the rule
    does not speak.  ``needs`` are conditions on settings and metrics, a value, a list of them or a bound
    (``seeds = ">= 20"``): a run that does not meet them informs, and decides nothing.  ``evidence`` is filled with the
    metrics by ``str.format``, ``brief`` is the same in a line.  ``only`` says why a rule cannot come out both ways.  An
    expression may ask ``as_documented``: whether a run had the conditions of the claim's document.
    """

    experiment: Text | tuple[Text, ...]
    evidence: Text
    evidence_ja: Text
    brief: str = ""
    brief_ja: str = ""
    where: dict[str, Scalar] = Field(default_factory=dict)
    needs: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    supported: str = ""
    refined: str = ""
    refuted: str = ""
    only: str = ""
    only_ja: str = ""

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments whose runs speak of the claim."""
        return (self.experiment,) if isinstance(self.experiment, str) else self.experiment

    def __post_init__(self) -> None:
        """Refuse a text that stands in one language."""
        for name in ("only", "brief"):
            if bool(getattr(self, name)) != bool(getattr(self, f"{name}_ja")):
                raise ValueError(f"{name} needs {name}_ja beside it")


@dataclass(frozen=True, config=STRICT)
class Changed:
    """When a rule was changed after its result was known, and why."""

    on: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    why: Text
    why_ja: Text


@dataclass(frozen=True, config=STRICT)
class Sum:
    """A number of a document that is computed again: ``is`` should be ``says``, within ``within``.

    Or a statement, ``holds``, instead of the three.  ``format`` is how the number is shown, by default with the
    decimals that ``within`` gives it; ``source`` is where inputs come from that are in neither document nor code.
    """

    what: Text
    what_ja: str = ""
    says: float | None = None
    value: Annotated[str, Field(alias="is")] = ""
    within: float | None = None
    holds: str = ""
    source: str = ""
    source_ja: str = ""
    format: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that is neither a number nor a statement, or both."""
        number = (self.says is not None, bool(self.value), self.within is not None)
        if number != ((False,) * 3 if self.holds else (True,) * 3):
            raise ValueError(f"the sum {self.what!r} needs says, is and within, or else holds alone")


@dataclass(frozen=True, config=STRICT)
class Claim:
    """One row: what a document says, in our words, its ``figures``, what is ``known`` of it, and how it is checked.

    ``first`` is its place among the claims worth reading first, 0 if it is none of them.  ``command`` makes the
    evidence that would decide it.  An opinion's ``known`` says what would have to be shown.  ``quoted`` says that the
    sums only set quoted figures beside each other, so that they support nothing.  ``ours`` says that no document makes
    the claim: it is llmlab's own, stands beside one, and is judged alike.  ``changed`` is there where the rule was
    changed after the result.
    """

    id: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*-[A-Z0-9]+$")]
    chapter: Chapter
    kind: Kind
    claim: Text
    claim_ja: Text
    command: Annotated[str, Field(pattern=r"^llmlab ")]
    check: Check
    figures: str = ""
    figures_ja: str = ""
    known: str = ""
    known_ja: str = ""
    records: RecordsCheck | None = None
    sums: tuple[Sum, ...] = ()
    first: int = 0
    quoted: bool = False
    ours: bool = False
    changed: Changed | None = None
    document: str = ""
    """The document's file name, which stands once at the head of the file."""
    conditions: Conditions = Field(default_factory=dict)
    """Settings that the document's own runs had, likewise: what it says, it says of them.

    A table is of the runs of the experiment that it is named after, in place of the others: there the same name may
    mean something else."""

    def __post_init__(self) -> None:
        """Refuse a row whose check has nothing to check."""
        if (self.check == "records") != (self.records is not None) or (self.check == "sums") != bool(self.sums):
            raise ValueError(f'check = "{self.check}" does not go with the tables that follow')
        if self.quoted and self.check != "sums":
            raise ValueError("quoted is a word about sums")
        if self.check == "opinion" and not self.known:
            raise ValueError("an opinion needs known: what would have to be shown")


@dataclass(frozen=True, config=STRICT)
class Document:
    """One document of the original notes: its file name, title, what it is about, and its claims in order."""

    name: Text
    title: Text
    title_ja: Text
    about: Text
    about_ja: Text
    claims: tuple[Claim, ...]
    conditions: Conditions = Field(default_factory=dict)


def read(folder: Path = FOLDER) -> list[Document]:
    """Return all documents, in the order of their numbers.

    Raises:
        TextError: a file or a row cannot be used; the message names file and id.
    """
    documents = sorted((_document(path) for path in folder.glob("*.toml")), key=lambda document: document.name)
    seen: set[str] = set()
    for claim in (claim for document in documents for claim in document.claims):
        if claim.id in seen:
            raise TextError(f"the ledger: {claim.id} stands in it twice")
        seen.add(claim.id)
    return documents


def _document(path: Path) -> Document:
    """Return one file's document, each claim with the document it belongs to."""
    try:
        head = tomllib.loads(path.read_text("utf-8"))
        shared = {"document": head.get("name", ""), "conditions": head.get("conditions", {})}
        rows = [{**shared, **row} for row in head.pop("claim", [])]
        named = head.pop("runs", {})
        for check in (row["records"] for row in rows if "records" in row):
            for field in ("where", "needs"):
                name = check.get(field)
                check |= {field: named.get(name, name)} if isinstance(name, str) else {}
        return TypeAdapter(Document).validate_python({**head, "claims": rows})
    except tomllib.TOMLDecodeError as error:
        raise TextError(f"{path.name}: {error}") from error
    except ValidationError as error:
        raise TextError(f"{path.name}: {_complaint(error, rows)}") from error


def _complaint(error: ValidationError, rows: list[dict[str, Any]]) -> str:
    """Return the first complaint as one line, with the row's id in place of its number."""
    first = error.errors()[0]
    where = list(first["loc"])
    if where[0] == "claims" and len(where) > 1:
        row = int(where[1])
        where[:2] = [rows[row].get("id", f"row {row + 1}")]
    return f"{'.'.join(map(str, where))}: {first['msg'].removeprefix('Value error, ')}"
