"""A claim run again: beside the evidence, never in its place, and confirmed only where it comes out alike."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import site_hooks
from claims_by_hand import LEDGER
from conftest import Done
from llmlab.claims.verdicts import Judged, judged
from llmlab.report import entry
from llmlab.report.language import language
from llmlab.report.logbook import Logbook
from llmlab.report.record import Record
from strategies_report import published, specimen
from strategies_trained import saved, state_of

CLAIM = next(claim for claim in LEDGER if claim.id == "P1-4")
EVIDENCE = "0123abcd"


def run(change: float, processor: str, rerun_of: str = "", name: str = EVIDENCE, seeds: int = 30) -> Record:
    """Return a run of chapter 1 in which the embedding moved so far."""
    record = specimen(losses=[0.5] * seeds)
    result = replace(record.result, experiment="phase1", metrics={"embedding_change_max": change})
    facts = {"processor": processor, "llmlab": "0.1.0"}
    return replace(record, result=result, environment=facts, rerun_of=rerun_of, id=name)


def told(row: Judged, code: str = "en") -> list[str]:
    return [language(code).say(one) for one in row.confirmations()]


def test_reruns_confirm_by_machine_and_the_evidence_stays() -> None:
    """Two alike on one machine count once; one that comes out otherwise is named, and decides nothing."""
    again = [
        run(0.0, "A", EVIDENCE, "00000001"),
        run(0.0, "A", EVIDENCE, "00000002"),
        run(0.0, "B", EVIDENCE, "00000003"),
        run(0.5, "C", EVIDENCE, "00000004", seeds=60),
    ]
    alone, row = judged(CLAIM, [run(0.0, "Z")]), judged(CLAIM, [run(0.0, "Z"), *again])

    assert (row.said, row.others) == (alone.said, alone.others)
    assert row.said.verdict == "supported"
    assert told(alone) == []
    assert sorted(told(row)[0].removeprefix("Confirmed on 2 machines: ").rstrip(".").split(", ")) == [
        *("A", "B", "llmlab 0.1.0", "llmlab 0.1.0")
    ]
    assert told(row)[1:] == ["Not confirmed on 1 machine: C, llmlab 0.1.0."]
    assert told(row, "ja")[1] == "1台のマシンでは確認できず: C, llmlab 0.1.0。"
    assert len(row.document()["reruns"]) == 4


def test_a_rerun_alone_is_no_evidence() -> None:
    """Where the entry is gone, or speaks of something else, a rerun of it says nothing."""
    for others in ([], [run(0.0, "Z", name="89abcdef")]):
        row = judged(CLAIM, [*others, run(0.5, "A", EVIDENCE, "00000001")])
        assert row.said.verdict == ("supported" if others else "not yet run")
        assert row.reruns == ()


def test_the_page_shows_what_was_confirmed() -> None:
    """In the line of the evidence, escaped."""
    row = judged(CLAIM, [run(0.0, "Z"), run(0.5, "<b>", EVIDENCE, "00000001")])
    hook = site_hooks.hook("claims")

    assert "Not confirmed on 1 machine: &lt;b&gt;, llmlab 0.1.0." in hook.block(row, "en", "log/")
    assert "1台のマシンでは確認できず: &lt;b&gt;" in hook.block(row, "ja", "log/")


def test_a_record_says_of_what_it_is_a_rerun() -> None:
    """It comes back from JSON as it went, its page links to that entry, and it cannot be one of itself."""
    record = run(0.0, "A", "89abcdef")
    page = entry.page(record, names={"89abcdef": "2026-01-01-phase1-89abcdef"})

    assert Record.from_json(record.json()) == record
    assert "Rerun of [89abcdef](../2026-01-01-phase1-89abcdef/entry.md)" in page
    assert '"rerun_of"' not in run(0.0, "A").json()
    for other in (record.id, "../x"):
        with pytest.raises(ValueError, match="rerun_of"):
            Record.from_json(replace(record, rerun_of=other).json())


def test_a_rerun_supersedes_no_evidence(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    """Neither what it reran nor another run: one line, exit code 2, and the entries stay; another rerun it may."""
    evidence, other = (log.put(run(0.0, "A"))[0].id for _ in range(2))
    rerun, again = (log.put(run(0.0, "A", evidence))[0].id for _ in range(2))
    before = dict(log.read())

    for old in (evidence, other):
        done = run_llmlab("log", "supersede", old, rerun, "--why", "It is newer.")
        assert (done.code, len(done.err.splitlines()), f"is a rerun of {evidence}" in done.err) == (2, 1, True)
        assert dict(log.read()) == before
    assert run_llmlab("log", "supersede", rerun, again, "--why", "It is newer.").code == 0


def test_confirm_runs_the_claims_command_and_logs_a_rerun(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    """What took hours only with --yes; the evidence is still the old entry, and the machine of the new one is named."""
    evidence, _ = log.put(replace(run(0.0, "Z"), seconds=7200.0))
    refused = run_llmlab("claims", "confirm", "p1-4")
    assert (refused.code, "took 2.0 h; with --yes" in refused.err, len(refused.entries)) == (2, True, 1)

    done = run_llmlab("claims", "confirm", "p1-4", "--yes")
    (again,) = [record for _, record in log.read() if isinstance(record, Record) and record.rerun_of]
    (claim,) = run_llmlab("claims", "--id", "P1-4", "--json").document["claims"]

    assert done.code == 0
    assert "P1-4 is confirmed on this machine: supported" in " ".join(done.out.split())
    assert (again.command, again.rerun_of) == ("llmlab phase1 --seeds 1000", evidence.id)
    assert (claim["record"], [one["record"] for one in claim["reruns"]]) == (evidence.name, [again.name])
    assert "Confirmed on 1 machine" in " ".join(run_llmlab("claims", "--id", "P1-4").out.split())


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("confirm", "P1-0"), "no such claim"),
        (("confirm", "BL-1"), "nothing to run"),
        (("confirm", "P1-4"), "no entry of this log to confirm"),
        (("--all", "confirm", "P1-4"), "--all: it stands before confirm"),
    ],
)
def test_what_cannot_be_run_again_is_refused(run_llmlab: Callable[..., Done], args: tuple[str, ...], why: str) -> None:
    done = run_llmlab("claims", *args)

    assert (done.code, len(done.err.splitlines()), why in done.err, done.entries) == (2, 1, True, [])


@pytest.mark.parametrize(("placed", "args", "told"), [(True, ["--yes"], "--path"), (False, [], "--yes")])
def test_what_needs_data_or_a_place_says_so(
    run_llmlab: Callable[..., Done], log: Logbook, placed: bool, args: list[str], told: str
) -> None:
    """--yes does not help where a path is missing."""
    measured = (one for one in LEDGER if one.records and "phase1" not in one.command)
    claim = next(one for one in measured if ("CHECKPOINT" in one.command) == placed)
    log.put(next(record for record in published() if judged(claim, [record]).said.record))
    done = run_llmlab("claims", "confirm", claim.id, *args)

    assert (done.code, len(done.err.splitlines()), told in done.err) == (2, 1, True)


def test_a_rerun_under_other_conditions_neither_confirms_nor_refutes(
    run_llmlab: Callable[..., Done], log: Logbook, tmp_path: Path
) -> None:
    """A model of another size says nothing, whatever an earlier rerun said."""
    claim = next(one for one in LEDGER if one.id == "BL-25")
    sizes = dict.fromkeys(("number_bytes_fp32", "bytes_fp32", "bytes_int8"), 10_957_728)
    result = replace(specimen().result, experiment="quantize", metrics=sizes)
    evidence, _ = log.put(replace(specimen(), result=result))
    log.put(replace(evidence, rerun_of=evidence.id))
    done = run_llmlab("claims", "confirm", "BL-25", "--path", str(saved(tmp_path / "small", state_of())))
    row = judged(claim, [one for _, one in log.read() if isinstance(one, Record)])

    assert (done.code, len(done.entries), len(row.reruns)) == (0, 3, 1)
    assert "This run says nothing of BL-25" in " ".join(done.out.split())
    assert "confirmed" not in done.out
    assert row.said.record == evidence.name
