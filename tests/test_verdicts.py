"""Verdicts follow the rule whatever the log holds: which run counts, what sums say, and on which text they rest."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claims_by_hand import judge_of, run
from llmlab.claims.ledger import Claim, read, worded
from llmlab.claims.verdicts import Judged, judged
from llmlab.errors import TextError
from llmlab.report.logbook import read_record
from llmlab.report.record import Record
from llmlab.report.result import Verdict

CLAIMS = [claim for document in read() for claim in document.claims]


def best(claim: Claim, records: list[Record]) -> tuple[str, str]:
    """Return the verdict and which run it comes from."""
    said = judged(claim, records).said
    return said.verdict, said.record.rsplit("-", 1)[-1].lstrip("0")


def test_of_several_runs_the_one_that_decided_with_most_seeds_and_newest_counts() -> None:
    """The rule of the page, one step after the other, and the order in which runs are read does not matter."""
    claim = judge_of()
    records = [run(1, "supported", seeds=3), run(2, "refuted", seeds=3), run(3, "supported", seeds=1)]
    records += [run(4, "inconclusive", seeds=9), run(5, "refuted", status="interrupted", seeds=99), run(6)]
    for seed in range(5):
        Random(seed).shuffle(records)
        assert best(claim, records) == ("refuted", "2")
    row = judged(claim, records)

    assert row.also() == {"supported": 2, "inconclusive": 1}
    assert best(claim, [run(1, status="diverged")]) == ("not yet run", "")


def test_runs_under_preferred_settings_come_first_where_there_are_any() -> None:
    """A preferred run counts before a decided one, and the preference falls through where nothing matches."""
    claim = judge_of(text='finding.prefer = [{data = "a"}, {data = "b"}, {}]\n')
    plain, preferred = run(1, "supported", seeds=9), run(2, "inconclusive", data="b")

    assert best(claim, [plain, preferred]) == ("inconclusive", "2")
    assert best(claim, [plain]) == ("supported", "1")
    assert best(claim, [plain, preferred, run(3, "refuted", data="a")]) == ("refuted", "3")


METRICS = """
[claim.records]
experiment = "phase1"
where = {seeds = 3}
supported = "loss < 1"
refined = "loss < 2"
refuted = "loss < 3"
evidence = "loss {loss:.1f} of {setting_seeds}"
evidence_ja = "損失 {loss:.1f}"
"""


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [(0.5, "supported"), (1.5, "refined"), (2.5, "refuted"), (3.5, "inconclusive"), (None, "not yet run")],
)
def test_the_first_expression_that_holds_gives_the_verdict(loss: float | None, verdict: str) -> None:
    """Metrics decide, the evidence is filled from them, and a run without the metric says nothing."""
    row = judged(judge_of("records", METRICS), [run(1, metrics={"loss": loss}, seeds=3)])

    assert row.said.verdict == verdict
    if loss is not None:
        assert worded(row.said, "evidence", "en") == f"loss {loss} of 3"
        assert worded(row.said, "evidence", "ja") == f"損失 {loss}"


def test_a_run_under_other_settings_or_without_the_metric_does_not_speak() -> None:
    """Newer runs that do not match, or did not measure it, leave the word to an older one."""
    records = [run(1, metrics={"loss": 0.5}, seeds=3), run(2, metrics={"loss": 2.5}, seeds=4), run(3, seeds=3)]

    assert best(judge_of("records", METRICS), records) == ("supported", "1")


SUM = '[[claim.sums]]\nwhat = "{what}"\nwhat_ja = "和"\nsays = {says}\nis = "{of}"\nwithin = 0.05\n'


POSTS = Path(__file__).resolve().parents[1] / "docs" / "log" / "posts"
SEED_RUN = read_record(next(POSTS.glob("*-2dfb0bd8")))
SEED_ROWS = [claim for claim in CLAIMS if claim.records and claim.records.where.get("hidden") == 512]


@pytest.mark.parametrize("name", ["data", "vocabulary", "length", "embedding", "hidden", "context", "layers", "batch"])
def test_a_run_under_other_conditions_than_the_documents_says_nothing_of_its_figures(name: str) -> None:
    """The seed run decides rows on the document's own numbers; with one condition changed it decides none of them."""
    other = replace(SEED_RUN.result, settings=SEED_RUN.result.settings | {name: "other"})
    decided = [judged(claim, [SEED_RUN]).said.verdict for claim in SEED_ROWS]

    assert sum(verdict != "not yet run" for verdict in decided) >= 3
    for claim in SEED_ROWS:
        assert judged(claim, [replace(SEED_RUN, result=other)]).said.verdict == "not yet run"


def test_words_where_a_run_should_have_numbers_say_nothing() -> None:
    """A record that somebody wrote by hand stops no verdict but its own."""
    odd = replace(SEED_RUN.result, metrics=dict.fromkeys(SEED_RUN.result.metrics, "many"))

    for claim in SEED_ROWS:
        assert judged(claim, [replace(SEED_RUN, result=odd)]).said.verdict == "not yet run"


def test_sums_all_some_or_none_of_which_hold() -> None:
    """All right is supported, some refined, none refuted; the evidence shows what was found and what was said."""
    right, wrong = SUM.format(what="a", says=2.0, of="1 + 1"), SUM.format(what="b", says=3.0, of="1 + 1")
    told = {text: judged(judge_of("sums", text), []).said for text in (right, wrong, right + wrong)}

    assert [said.verdict for said in told.values()] == ["supported", "refuted", "refined"]
    assert [said.evidence for said in told.values()] == [
        "a: 2.0, as said",
        "b: 2.0, not 3.0",
        "a: 2.0, as said; b: 2.0, not 3.0",
    ]
    assert told[wrong].evidence_ja == "和: 2.0（文書では 3.0）"
    share = right.replace("2.0", "-0.189").replace("1 + 1", "3.150 / 3.884 - 1").replace("0.05", "0.0005")
    assert judged(judge_of("sums", share), []).said.evidence == "a: -0.189, as said"
    assert judged(judge_of("sums", share + 'format = ".1%"\n'), []).said.evidence == "a: -18.9%, as said"


@pytest.mark.parametrize(
    ("kind", "read", "epochs", "basis"),
    [
        ("measured", "a", 3, "runs"),
        ("measured", "b", 3, "runs on another text"),
        ("measured", "b", 1, "runs on another text"),
        ("measured", "a", 1, "runs under other conditions"),
        ("opinion", "b", 3, "runs on another text"),
        ("measured", "", 3, "runs"),
        ("arithmetic", "b", 1, "runs"),
    ],
)
def test_a_verdict_from_other_conditions_says_so(kind: str, read: str, epochs: int, basis: str) -> None:
    """A run on another text, or of other sizes, is marked, but for arithmetic; what a run does not say is no mark."""
    claim = replace(judge_of(), kind=kind, conditions={"data": "a", "epochs": 3, "hidden": 512})
    row = judged(claim, [run(1, "supported", data=read, epochs=epochs)])
    differs = [f"data {read} (a)"] * (read == "b") + [f"epochs {epochs} (3)"] * (epochs == 1)

    assert (row.said.verdict, row.basis) == ("supported", basis)
    assert row.elsewhere == (", ".join(differs) if basis != "runs" else "")
    assert (row.document()["basis"], row.document()["differs"]) == (basis, differs)
    assert judged(replace(claim, conditions={}), [run(1, "supported", data=read)]).basis == "runs"
    assert judged(claim, []).basis == "runs"


def test_what_an_author_logged_is_no_support_for_what_the_author_wrote() -> None:
    """Sums of quoted figures refute, and refine, but agree with nothing more than themselves."""
    right, wrong = SUM.format(what="a", says=2.0, of="1 + 1"), SUM.format(what="b", says=3.0, of="1 + 1")
    said = judged(judge_of("sums", "quoted = true\n" + right), []).said

    assert said.verdict == "refined"
    assert said.evidence.startswith("a: 2.0, as said; these are quoted figures")
    assert judged(judge_of("sums", "quoted = true\n" + wrong), []).said.verdict == "refuted"
    with pytest.raises(TextError, match="quoted is a word about sums"):
        judge_of(text="quoted = true\n")


def test_the_ledger_rests_on_each_of_the_bases() -> None:
    """Rows of each kind of check are there, and those of sums and opinions are told apart whatever the log holds."""
    bases = {(claim.check, judged(claim, []).basis) for claim in CLAIMS}
    runs = {("finding", "runs"), ("records", "runs")}

    assert bases == runs | {("sums", "sums"), ("sums", "quoted figures"), ("opinion", "opinion")}


def test_a_sum_of_a_figure_from_somewhere_else_says_so() -> None:
    """One source among several sums is enough; the verdict is that of the sums."""
    one = SUM.format(what="a", says=2.0, of="1 + 1")
    rows = [judged(judge_of("sums", text), []) for text in (one, one + one + 'source = "a log"\n')]

    assert [row.basis for row in rows] == ["sums", "quoted figures"]
    assert {row.said.verdict for row in rows} == {"supported"}


def test_what_no_document_says_is_told_apart() -> None:
    """Statements of llmlab's own stand in the ledger, and are not counted as a document's."""
    ours = [claim for claim in CLAIMS if claim.ours]

    assert {claim.id.split("-")[0] for claim in ours} == {"BL", "X", "EF", "LY", "NZ"}
    assert all(judged(claim, []).document()["ours"] for claim in ours)
    assert {claim.id for claim in ours} >= {claim.id for claim in CLAIMS if claim.id.startswith("X-")}


def test_a_statement_holds_or_does_not() -> None:
    """A sum may be a comparison instead of a number."""
    for text, words in (("1 < 2", "holds"), ("2 < 1", "does not hold")):
        said = judged(judge_of("sums", f'[[claim.sums]]\nwhat = "x"\nholds = "{text}"\n'), []).said
        assert said.evidence == f"x: {words}"


def test_an_opinion_is_never_decided() -> None:
    """It is inconclusive, and says what would have to be shown."""
    row = judged(judge_of("opinion", 'known = "Show it."\nknown_ja = "示す。"\n'), [run(1, "supported")])

    assert (row.said.verdict, row.others) == ("inconclusive", ())
    assert "Show it." in row.said.evidence
    assert "示す。" in row.said.evidence_ja


@given(st.lists(st.tuples(st.sampled_from(["supported", "refuted", "inconclusive", None]), st.integers(1, 3))))
def test_no_record_is_lost(runs: list[tuple[Verdict | None, int]]) -> None:
    """Every run that speaks is the one that counts or among the others, once."""
    records = [run(number, verdict, seeds=seeds) for number, (verdict, seeds) in enumerate(runs)]
    row = judged(judge_of(), records)
    heard = sorted(said.record for said in (row.said, *row.others) if said.record)

    assert heard == sorted(record.name for record in records if record.result.findings)
    assert isinstance(replace(row), Judged)
    assert row.document()["verdict"] == row.said.verdict


def test_every_verdict_of_the_log_is_told_in_both_languages() -> None:
    """What runs and sums say is Japanese in the JSON document, too, and not English beside a Japanese name."""
    records = [read_record(folder) for folder in sorted(POSTS.iterdir())]

    for claim in CLAIMS:
        document = judged(claim, records).document()
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", document["evidence_ja"]), (claim.id, document["evidence"])
