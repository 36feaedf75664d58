"""``llmlab claims``: the ledger in a terminal and as JSON, from any log, at once."""

from collections.abc import Callable
from dataclasses import replace

from claims_by_hand import LEDGER
from conftest import Done
from llmlab.report.logbook import Logbook
from strategies_report import specimen

FIELDS = {"id", "seed", "claim", "kind", "verdict", "evidence", "command"}


def put(log: Logbook, change: float) -> str:
    """Put a run of chapter 1 in which the embedding changed so much into a log, and return its name."""
    record = specimen()
    result = replace(record.result, experiment="phase1", metrics={"embedding_change_max": change})
    return log.put(replace(record, result=result))[0].name


def test_ten_claims_come_first_and_all_on_demand(run_llmlab: Callable[..., Done]) -> None:
    """By default ten claims of all six chapters, in the ledger's order, and how many there are; --all prints all."""
    document = run_llmlab("claims", "--json").document
    claims = document["claims"]
    ids = {claim["id"]: claim["chapter"] for claim in claims}
    short, everything = run_llmlab("claims").out, run_llmlab("claims", "--all").out
    shown = [words[0] for line in short.splitlines() if (words := line.split()) and words[0] in ids]

    assert (document["schema"], len(ids)) == ("llmlab.claims/1", len(claims))
    assert all(claim.keys() >= FIELDS and claim["evidence"] for claim in claims)
    assert {claim["verdict"] for claim in claims if claim["check"] == "records"} == {"not yet run"}
    assert {claim["entry"] for claim in claims} == {None}
    assert shown == [claim.id for claim in sorted((c for c in LEDGER if c.first), key=lambda claim: claim.first)]
    assert len(shown) == len(set(shown)) == 10
    assert {ids[one] for one in shown} == set(ids.values())
    assert f"10 of {len(claims)} claims" in short
    assert all(claim in everything for claim in ids)


def test_a_run_in_the_log_gives_the_verdict_and_its_page(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    name = put(log, 0.25)
    (claim,) = run_llmlab("claims", "--id", "P1-4", "--json").document["claims"]
    shown = run_llmlab("claims", "--id", "P1-4").out

    assert (claim["verdict"], claim["record"]) == ("refuted", name)
    assert claim["evidence"] == "largest change of any embedding number: 0.25 (seeds: 3)"
    assert (log.site.parent / claim["entry"]).is_file()
    for words in ("refuted", "largest change of any embedding number: 0.25", claim["command"], "log does not print it"):
        assert words in " ".join(shown.split())


CHOSEN: dict[str, Callable[[dict[str, str]], bool]] = {
    "--chapter phase1": lambda claim: claim["chapter"] == "phase1",
    "--verdict refined": lambda claim: claim["verdict"] == "refined",
    "--document 000": lambda claim: claim["seed"].startswith("000"),
    "--id P1-1 --verdict refuted": lambda claim: False,  # to ask for nothing is not a mistake
}


def test_options_choose_rows(run_llmlab: Callable[..., Done]) -> None:
    everything = run_llmlab("claims", "--json").document["claims"]
    for args, kept in CHOSEN.items():
        rows = run_llmlab("claims", *args.split(), "--json").document["claims"]
        assert rows == [claim for claim in everything if kept(claim)], args
    assert "No claim is all of that." in run_llmlab("claims", *args.split()).out


def test_a_damaged_entry_hides_no_other(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    put(log, 0.0)
    broken = put(log, 0.25)
    (log.posts / broken / "record.json").write_text("{", "utf-8")
    done = run_llmlab("claims", "--json")
    verdicts = {claim["id"]: claim["verdict"] for claim in done.document["claims"]}

    assert broken in done.err
    assert (verdicts["P1-4"], verdicts["P1-2"]) == ("supported", "not yet run")
