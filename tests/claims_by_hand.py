"""A ledger and runs by hand, for the tests of claims: rows from TOML, as all rows are, and records that judge them."""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from llmlab.claims import findings
from llmlab.claims.ledger import Claim, read
from llmlab.report.record import CREATED, Record
from llmlab.report.result import Result, Status, Verdict

LEDGER = [claim for document in read() for claim in document.claims]
HEAD = 'name = "9.txt"\ntitle = "t"\ntitle_ja = "t"\nabout = "a"\nabout_ja = "b"\n'
ROW = """
[[claim]]
id = "T-1"
chapter = "phase1"
kind = "measured"
claim = "c"
claim_ja = "d"
command = "llmlab phase1"
"""
SAYS = """
check = "records"
[claim.records]
experiment = "phase1"
supported = "verdict == 0"
refined = "verdict == 1"
refuted = "verdict == 2"
evidence = "run {number:.0f}"
evidence_ja = "実行{number:.0f}"
"""
"""A rule that says what a run made by ``run`` is told to say."""


SAID: tuple[Verdict, ...] = ("supported", "refined", "refuted", "inconclusive")


def judge_of(check: str = "", text: str = "") -> Claim:
    """Return a row to be judged, read from TOML as all rows are; without a check, one that believes ``run``."""
    return ledger_of(ROW + (f'check = "{check}"\n' if check else SAYS) + text)[0]


def ledger_of(rows: str) -> tuple[Claim, ...]:
    """Return the claims of a ledger with one document of these rows."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "some.toml").write_text(HEAD + rows, "utf-8")
        return read(Path(folder))[0].claims


def verdicts(result: Result) -> dict[str, Verdict]:
    """Return what a result decides of the claims, by their ids."""
    record = Record(result, "00000000", "2026-01-01T00:00:00Z", "llmlab", 1.0)
    return {finding.claim: finding.verdict for finding in findings(record)}


def run(
    number: int,
    verdict: Verdict | None = None,
    *,
    status: Status = "complete",
    metrics: dict[str, float | None] | None = None,
    **settings: str | float,
) -> Record:
    """Return the record of a run, the newer the higher its number."""
    says = {"verdict": SAID.index(verdict), "number": number} if verdict else {}
    result = Result("phase1", dict(settings), "why", "how", status, {**says, **(metrics or {})})
    created = (datetime(2026, 1, 1) + timedelta(days=number)).strftime(CREATED)
    return Record(result, f"{number:08x}", created, "llmlab phase1", 1.0)
