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
from typing import Any, Literal, cast, get_args

from llmlab.claims.evaluate import Missing, filled, names, value
from llmlab.claims.ledger import Changed, Claim, Kind, RecordsCheck, Sum, read
from llmlab.report.messages import CODES, Message, say, worded
from llmlab.report.messages import said as told
from llmlab.report.record import Record
from llmlab.report.result import Finding, Scalar, Verdict

Judgement = Literal[Verdict, "not yet run"]
JUDGEMENTS: tuple[Judgement, ...] = (*get_args(Verdict), "not yet run")
Basis = Literal["runs", "runs under other conditions", "runs on another text", "sums", "quoted figures", "opinion"]
ELSEWHERE: tuple[Basis, ...] = ("runs under other conditions", "runs on another text")
EXACT: tuple[Kind, ...] = ("arithmetic", "fact")
"""Kinds of claims that the conditions of a run have no part in."""
TEXT = "data"
"""The setting that says what a run read."""
BASES: tuple[Basis, ...] = get_args(Basis)
SCHEMA = "llmlab.claims/1"
BOUND = re.compile(r"(?P<sign>[<>]=?) *(?P<number>-?\d+(?:\.\d+)?(?:e-?\d+)?)")
"""A condition that is no value but a bound."""
SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
BETWEEN_SUMS = {"en": "; ", "ja": "。"}


@dataclass(frozen=True)
class Said:
    """What one record, or a computation (``record``, a folder's name in the log, is then empty), says of a claim.

    ``differs`` are the conditions of the claim's document that the run did not have (name, its own value, the
    document's), and ``unmet`` those of the rule, likewise: then it decides nothing.  ``brief`` is the evidence in a
    line; both by language.  ``machine`` is the processor and the version of llmlab that it ran with.
    """

    verdict: Judgement
    evidence: dict[str, str]
    record: str = ""
    differs: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    seeds: int = 1
    brief: dict[str, str] = field(default_factory=dict)  # empty where the whole is short enough
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
        told = {
            "claims.confirmed": [one.machine for one in self.reruns if one.verdict == self.said.verdict],
            "claims.not_confirmed": [one.machine for one in self.reruns if one.verdict != self.said.verdict],
        }
        each = {key: list(dict.fromkeys(machines)) for key, machines in told.items()}
        return [say(key, machines=len(names), each=names) for key, names in each.items() if names]

    @property
    def basis(self) -> Basis:
        """What the verdict rests on; for a claim that nothing was run for yet, what it waits for."""
        if self.claim.check == "opinion":
            return "opinion"
        if self.claim.check == "sums":
            return "quoted figures" if any(one.source for one in self.claim.sums) else "sums"
        if not self.said.differs or self.claim.kind in EXACT:
            return "runs"
        text = any(each.startswith(f"{TEXT} ") for each in self.said.differs)
        return "runs on another text" if text else "runs under other conditions"

    @property
    def elsewhere(self) -> str:
        """In what the runs differed from the document's, where that is a limit of the verdict; otherwise empty."""
        return ", ".join(self.said.differs) if self.basis in ELSEWHERE else ""

    def in_brief(self, code: str) -> str:
        """Return the evidence in a line; for a claim that waits for a run, the command that makes one."""
        return (
            self.claim.command
            if self.said.verdict == "not yet run"
            else self.said.brief.get(code, self.said.evidence[code])
        )

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
    try:
        if claim.check == "sums":
            return Judged(claim, _sums(claim))
        if claim.check == "opinion":
            known = {code: told("claims.opinion", {"known": worded(claim, "known", code)}, code) for code in CODES}
            return Judged(claim, Said("inconclusive", known))
        newest_first = sorted(records, key=lambda record: (record.created, record.id), reverse=True)
        complete = [one for one in newest_first if one.result.status == "complete" and not one.superseded_by]
        found = list(_metrics(claim, [one for one in complete if not one.rerun_of]))
        names = {said.record.rsplit("-", 1)[-1] for said in found}
        again = [said for said in _metrics(claim, [one for one in complete if one.rerun_of in names]) if not said.unmet]
    except ValueError as error:
        raise ValueError(f"{claim.id}: {error}") from error
    # a stable sort: the newer ones stay first
    ordered = sorted(found, key=lambda said: (len(said.unmet), len(said.differs), -said.seeds))
    said = ordered or [Said("not yet run", {code: told("claims.not_yet_run", {}, code) for code in CODES})]
    return Judged(claim, said[0], tuple(said[1:]), tuple(again))


def first(rows: Iterable[Judged]) -> list[Judged]:
    """Return the claims worth reading first, in that order."""
    return sorted((row for row in rows if row.claim.first), key=lambda row: row.claim.first)


@cache
def _rows() -> tuple[Claim, ...]:
    return tuple(claim for document in read() for claim in document.claims)


def findings(record: Record, lang: str = "en") -> list[Finding]:
    """Return what a run decides of the claims, in a language, in the ledger's order: of other claims nothing.

    A run that another entry supersedes decides none, nor does one that did not end.
    """
    if record.superseded_by or record.result.status != "complete":
        return []
    return [
        Finding(claim.id, worded(claim, "claim", lang), said.verdict, said.evidence[lang])
        for claim in _rows()
        if claim.records
        for said in _metrics(claim, [record])
        if said.verdict != "not yet run" and not said.unmet
    ]


def _metrics(claim: Claim, records: list[Record]) -> Iterator[Said]:
    """Yield what the metrics of runs say of a claim; a run that did not measure them says nothing."""
    check = cast(RecordsCheck, claim.records)
    for record in records:
        if record.result.experiment in check.experiments and check.where.items() <= record.result.settings.items():
            with suppress(Missing):
                yield _by_metrics(claim, check, record)


def _by_metrics(claim: Claim, check: RecordsCheck, record: Record) -> Said:
    differs = _differing(claim, record)
    known = names(record.result) | {"as_documented": not differs}
    unmet = tuple(_unmet(check, record))
    verdict = "inconclusive" if unmet else _decided(check, known)
    evidence = {code: filled(worded(check, "evidence", code), known) for code in CODES}
    brief = {code: filled(worded(check, "brief", code), known) for code in CODES} if check.brief else evidence
    if unmet:
        evidence = _around(evidence, "claims.unmet", why=", ".join(unmet))
    if claim.changed and record.created[:10] < claim.changed.on:
        evidence = _with_change(evidence, claim.changed)
    machine = ", llmlab ".join(str(record.environment.get(name, "?")) for name in ("processor", "llmlab"))
    return Said(verdict, evidence, record.name, differs, unmet, _seeds(record), brief, machine)


def _decided(check: RecordsCheck, known: dict[str, Scalar]) -> Verdict:
    """Return the verdict whose expression is the first to hold."""
    rules: dict[Verdict, str] = {"supported": check.supported, "refined": check.refined, "refuted": check.refuted}
    return next((verdict for verdict, rule in rules.items() if rule and value(rule, known)), "inconclusive")


def _around(evidence: dict[str, str], key: str, **values: str) -> dict[str, str]:
    """Return evidence within a message, in each language."""
    return {code: told(key, {"told": each, **values}, code) for code, each in evidence.items()}


def _with_change(evidence: dict[str, str], changed: Changed) -> dict[str, str]:
    """Return evidence with a word on when and why its rule was changed."""
    return {
        code: told("claims.changed", {"told": each, "on": changed.on, "why": worded(changed, "why", code)}, code)
        for code, each in evidence.items()
    }


def _unmet(check: RecordsCheck, record: Record) -> Iterator[str]:
    """Yield the conditions of a rule that a run does not meet: name, its own value, and what it takes."""
    known = record.result.settings | record.result.metrics | {"seeds": _seeds(record)}  # what was done, not planned
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


def _sums(claim: Claim) -> Said:
    """Return what computing again says of a claim."""
    each = [_computed(one) for one in claim.sums]
    right = sum(agrees for agrees, _, _ in each)
    verdict: Verdict = "supported" if right == len(each) else "refined" if right else "refuted"
    evidence = {
        code: BETWEEN_SUMS[code].join(
            told(key, {"what": worded(one, "what", code), **numbers}, code)
            for one, (_, key, numbers) in zip(claim.sums, each, strict=True)
        )
        for code in CODES
    }
    if claim.quoted and verdict == "supported":
        verdict, evidence = "refined", _around(evidence, "claims.quoted")
    if claim.changed:
        evidence = _with_change(evidence, claim.changed)
    return Said(verdict, evidence)


def _computed(one: Sum) -> tuple[bool, str, dict[str, str]]:
    """Return whether a sum agrees with its document, and the message that says so with its numbers."""
    if one.says is None or one.within is None:
        holds = bool(value(one.holds))
        return holds, "claims.holds" if holds else "claims.fails", {}
    found = value(one.value)
    if isinstance(found, str) or found is None:
        raise ValueError(f"{one.value}: not a number")
    agrees = abs(found - one.says) <= one.within * (1 + 1e-9)
    numbers = {"found": _shown(found, one), "said": _shown(one.says, one)}
    return agrees, "claims.as_said" if agrees else "claims.not_said", numbers


def _shown(number: float, one: Sum) -> str:
    """Return a number with the decimals that the document gave it."""
    decimals = max(0, math.ceil(-math.log10(2 * (one.within or 0.5)) - 1e-9))
    return format(number, one.format or f",.{decimals}f")


def _differing(claim: Claim, record: Record) -> tuple[str, ...]:
    """Return the conditions that a run had otherwise.

    What it does not say, or says as nothing, is no condition, nor is what the rule itself asks for.
    """
    settings, own = record.result.settings, claim.conditions.get(record.result.experiment)
    ruled = cast(RecordsCheck, claim.records).where
    return tuple(
        f"{name} {settings[name]} ({wanted})"
        for name, wanted in (own if isinstance(own, dict) else claim.conditions).items()
        if name not in ruled and settings.get(name) and settings[name] != wanted
    )


def _seeds(record: Record) -> int:
    """Return how many seeds a run's numbers are of: those that diverged are in none."""
    seeds = record.result.settings.get("seeds", 1)
    finished = max(map(len, record.result.samples.values()), default=0)
    return finished or (seeds if isinstance(seeds, int) else 1)
