"""Verdicts: the rows of the ledger judged by the records of the log, or by sums.

A verdict is a function of a record's metrics, computed whenever it is shown.  Only complete runs count, and none that
another entry supersedes.  Where several speak of a claim, those come first that meet most of the conditions which the
row names, then of its document's, then those of more seeds, then the newer ones, whatever they say; the others are kept
beside the verdict.  A run that does not meet the row's conditions informs and decides nothing.  A rerun of an entry is
never the evidence: it confirms the verdict on its machine, or does not.

A document's claims are about the text, sizes and training that it had.  A verdict from a run on another text, or under
other conditions, stays what it is, and says so (``Judged.basis``), but for what is arithmetic whatever was run.  One
from sums of quoted inputs, which are neither in the document nor measured or computed here, says so too.
"""

import math
import operator
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

from llmlab.claims.evaluate import Missing, filled, names, value
from llmlab.claims.ledger import Claim, Kind, RecordsCheck, Sum, read
from llmlab.report.messages import CODES, Message, said, say, worded
from llmlab.report.record import Record
from llmlab.report.result import Finding, Scalar, Verdict

Judgement = Literal[Verdict, "not yet run"]
JUDGEMENTS: tuple[Judgement, ...] = (*get_args(Verdict), "not yet run")
Basis = Literal["runs", "runs under other conditions", "runs on another text", "sums", "quoted figures", "opinion"]
BASES: tuple[Basis, ...] = get_args(Basis)
EXACT: tuple[Kind, ...] = ("arithmetic", "fact")
"""Kinds of claims that the conditions of a run have no part in."""
SCHEMA = "llmlab.claims/1"
BOUND = re.compile(r"(?P<sign>[<>]=?) *(?P<number>-?\d+(?:\.\d+)?(?:e-?\d+)?)")
"""A condition that is no value but a bound."""
SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
Words = dict[str, str]
"""A text by language."""


@dataclass(frozen=True)
class Said:
    """What one record, or a computation (``record``, a folder's name in the log, is then empty), says of a claim.

    ``differs`` are the conditions of the claim's document that the run did not have (name, its own value, the
    document's), and ``unmet`` those of the rule, likewise: then it decides nothing.  ``brief`` is the evidence in a
    line, empty texts where the whole is short enough.  ``machine`` is the processor and the version of llmlab.
    """

    verdict: Judgement
    evidence: Words
    record: str = ""
    differs: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    seeds: int = 1
    brief: Words = field(default_factory=dict)
    machine: str = ""


@dataclass(frozen=True)
class Judged:
    """A claim with what is said of it, by ``others`` that stand behind, and by ``reruns`` that were to confirm one."""

    claim: Claim
    said: Said
    others: tuple[Said, ...] = ()
    reruns: tuple[Said, ...] = ()

    def confirmations(self) -> list[Message]:
        """Return on which machines reruns came to the same verdict, and on which they did not."""
        told: dict[str, dict[str, None]] = {"claims.confirmed": {}, "claims.not_confirmed": {}}
        for one in self.reruns:
            told["claims.confirmed" if one.verdict == self.said.verdict else "claims.not_confirmed"][one.machine] = None
        return [say(key, machines=len(each), each=[*each]) for key, each in told.items() if each]

    @property
    def basis(self) -> Basis:
        """What the verdict rests on; for a claim that nothing was run for yet, what it waits for."""
        if self.claim.check == "opinion":
            return "opinion"
        if self.claim.check == "sums":
            return "quoted figures" if any(one.source for one in self.claim.sums) else "sums"
        if not self.said.differs or self.claim.kind in EXACT:
            return "runs"
        text = any(each.startswith("data ") for each in self.said.differs)
        return "runs on another text" if text else "runs under other conditions"

    @property
    def elsewhere(self) -> str:
        """In what the runs differed from the document's, where that is a limit of the verdict; otherwise empty."""
        return ", ".join(self.said.differs) if self.basis.startswith("runs ") else ""

    def in_brief(self, code: str) -> str:
        """Return the evidence in a line; for a claim that waits for a run, the command that makes one."""
        if self.said.verdict == "not yet run":
            return self.claim.command
        return self.said.brief.get(code) or self.said.evidence[code]

    def also(self) -> dict[Judgement, int]:
        """Return how many of the others say what."""
        counted = Counter(other.verdict for other in self.others)
        return {judgement: counted[judgement] for judgement in JUDGEMENTS if counted[judgement]}

    def document(self) -> dict[str, Any]:
        """Return the row as strict JSON values."""
        return {
            **{name: getattr(self.claim, name) for name in ("id", "chapter", "kind", "claim", "figures")},
            "seed": self.claim.document,  # the key that readers of the JSON know
            "ours": self.claim.ours,
            "verdict": self.said.verdict,
            "basis": self.basis,
            "differs": list(self.said.differs),
            "unmet": list(self.said.unmet),
            "changed": self.claim.changed.on if self.claim.changed else None,
            "evidence": self.said.evidence["en"],
            "known": self.claim.known,
            "check": self.claim.check,
            "command": self.claim.command,
            "record": self.said.record or None,
            "reruns": [{"verdict": one.verdict, "record": one.record, "machine": one.machine} for one in self.reruns],
            "others": [{"verdict": other.verdict, "record": other.record} for other in self.others],
            **{f"{name}_ja": worded(self.claim, name, "ja") for name in ("claim", "figures", "known")},
            "evidence_ja": self.said.evidence["ja"],
        }  # fmt: skip


def judged(claim: Claim, records: Iterable[Record]) -> Judged:
    """Return a claim with its verdict.

    Raises:
        ValueError: an expression of the row cannot be evaluated; the message names the row.
    """
    if claim.check == "opinion":
        return Judged(claim, Said("inconclusive", told("claims.opinion", known=words(claim, "known"))))
    newest_first = sorted(records, key=lambda record: (record.created, record.id), reverse=True)
    complete = [one for one in newest_first if one.result.status == "complete" and not one.superseded_by]
    try:
        if claim.check == "sums":
            return Judged(claim, by_sums(claim))
        found = list(by_metrics(claim, [one for one in complete if not one.rerun_of]))
        names = {said.record.rsplit("-", 1)[-1] for said in found}
        again = [one for one in by_metrics(claim, [one for one in complete if one.rerun_of in names]) if not one.unmet]
    except ValueError as error:
        raise ValueError(f"{claim.id}: {error}") from error
    # a stable sort: the newer ones stay first
    found.sort(key=lambda said: (len(said.unmet), len(said.differs), -said.seeds))
    first, *others = found or [Said("not yet run", told("claims.not_yet_run"))]
    return Judged(claim, first, tuple(others), tuple(again))


def first(rows: Iterable[Judged]) -> list[Judged]:
    """Return the claims worth reading first, in that order."""
    return sorted((row for row in rows if row.claim.first), key=lambda row: row.claim.first)


@cache
def measured_claims() -> list[Claim]:
    """Return the claims that are judged by metrics, in the ledger's order."""
    return [claim for document in read() for claim in document.claims if claim.records]


def findings(record: Record, lang: str = "en") -> list[Finding]:
    """Return what a run decides of the claims, in a language, in the ledger's order: of other claims nothing.

    A run that another entry supersedes decides none, nor does one that did not end.
    """
    if record.superseded_by or record.result.status != "complete":
        return []
    return [
        Finding(claim.id, worded(claim, "claim", lang), one.verdict, one.evidence[lang])
        for claim in measured_claims()
        for one in by_metrics(claim, [record])
        if not one.unmet
    ]


# ---- by the metrics of a run --------------------------------------------------------------------------------------


def by_metrics(claim: Claim, records: Iterable[Record]) -> Iterator[Said]:
    """Yield what the metrics of runs say of a claim; a run that did not measure them says nothing."""
    for record in records:
        check, result = claim.records, record.result
        if check and result.experiment in check.experiments and check.where.items() <= result.settings.items():
            with suppress(Missing):
                yield by_rule(claim, check, record)


def by_rule(claim: Claim, check: RecordsCheck, record: Record) -> Said:
    """Return what a claim's rule makes of a run: the verdict whose expression is the first to hold."""
    differs, unmet = tuple(differing(claim, check, record)), tuple(unmet_needs(check, record))
    known = names(record.result) | {"as_documented": not differs}
    rules: dict[Verdict, str] = {"supported": check.supported, "refined": check.refined, "refuted": check.refuted}
    holds = (verdict for verdict, rule in rules.items() if rule and not unmet and value(rule, known))
    verdict: Verdict = next(holds, "inconclusive")
    evidence, brief = (
        {code: filled(text, known) for code, text in words(check, name).items()} for name in ("evidence", "brief")
    )
    if unmet:
        evidence = told("claims.unmet", told=evidence, why=", ".join(unmet))
    if claim.changed and record.created[:10] < claim.changed.on:
        evidence = with_change(claim, evidence)
    machine = ", llmlab ".join(str(record.environment.get(name, "?")) for name in ("processor", "llmlab"))
    return Said(verdict, evidence, record.name, differs, unmet, seeds_of(record), brief, machine)


def unmet_needs(check: RecordsCheck, record: Record) -> Iterator[str]:
    """Yield the conditions of a rule that a run does not meet: name, its own value, and what it takes."""
    known = record.result.settings | record.result.metrics | {"seeds": seeds_of(record)}  # what was done, not planned
    for name, wanted in check.needs.items():
        own = known.get(name)
        if not meets(own, wanted):
            shown = f"{own:.4g}" if isinstance(own, float) else own
            yield f"{name} {shown} ({' / '.join(map(str, wanted)) if isinstance(wanted, tuple) else wanted})"


def meets(own: Scalar, wanted: Scalar | tuple[Scalar, ...]) -> bool:
    """Return whether a number or word is what a condition asks for: a value, one of several, or within a bound."""
    if isinstance(wanted, tuple):
        return own in wanted
    bound = BOUND.fullmatch(wanted) if isinstance(wanted, str) else None
    if not bound:
        return own == wanted
    return isinstance(own, int | float) and bool(SIGNS[bound["sign"]](float(own), float(bound["number"])))


def differing(claim: Claim, check: RecordsCheck, record: Record) -> Iterator[str]:
    """Yield the conditions of a claim's document that a run had otherwise.

    What it does not say, or says as nothing, is no condition, nor is what the rule itself asks for.
    """
    settings, own = record.result.settings, claim.conditions.get(record.result.experiment)
    for name, wanted in (own if isinstance(own, dict) else claim.conditions).items():
        if name not in check.where and settings.get(name) and settings[name] != wanted:
            yield f"{name} {settings[name]} ({wanted})"


def seeds_of(record: Record) -> int:
    """Return how many seeds a run's numbers are of: those that diverged are in none."""
    seeds = record.result.settings.get("seeds", 1)
    finished = max(map(len, record.result.samples.values()), default=0)
    return finished or (seeds if isinstance(seeds, int) else 1)


# ---- by sums ------------------------------------------------------------------------------------------------------


def by_sums(claim: Claim) -> Said:
    """Return what computing again says of a claim."""
    each = [computed(one) for one in claim.sums]
    right = sum(agrees for agrees, _ in each)
    verdict: Verdict = "supported" if right == len(each) else "refined" if right else "refuted"
    evidence = {code: joint.join(text[code] for _, text in each) for code, joint in (("en", "; "), ("ja", "。"))}
    if claim.quoted and verdict == "supported":
        verdict, evidence = "refined", told("claims.quoted", told=evidence)
    return Said(verdict, with_change(claim, evidence))


def computed(one: Sum) -> tuple[bool, Words]:
    """Return whether a sum agrees with its document, and what to say of it."""
    what = words(one, "what")
    if one.says is None or one.within is None:
        holds = bool(value(one.holds))
        return holds, told("claims.holds" if holds else "claims.fails", what=what)
    found = value(one.value)
    if isinstance(found, str) or found is None:
        raise ValueError(f"{one.value}: not a number")
    decimals = max(0, math.ceil(-math.log10(2 * (one.within or 0.5)) - 1e-9))  # those that the document gave it
    shown, says = (format(number, one.format or f",.{decimals}f") for number in (found, one.says))
    if abs(found - one.says) <= one.within * (1 + 1e-9):
        return True, told("claims.as_said", what=what, found=shown, said=says)
    return False, told("claims.not_said", what=what, found=shown, said=says)


# ---- in both languages --------------------------------------------------------------------------------------------


def words(row: object, name: str) -> Words:
    """Return a text of a row in each language."""
    return {code: worded(row, name, code) for code in CODES}


def told(key: str, **values: str | Words) -> Words:
    """Return a message in each language, with values that are the same in both or have a text for each."""
    return {
        code: said(key, {name: each if isinstance(each, str) else each[code] for name, each in values.items()}, code)
        for code in CODES
    }


def with_change(claim: Claim, evidence: Words) -> Words:
    """Return evidence with a word on when and why its rule was changed, if it was."""
    change = claim.changed
    return told("claims.changed", told=evidence, on=change.on, why=words(change, "why")) if change else evidence
