"""Verdicts follow the rule whatever the log holds: which run counts, what sums say, and on which text they rest."""

import re
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claims_by_hand import LEDGER, judge_of, run
from llmlab.claims.ledger import RecordsCheck
from llmlab.claims.verdicts import findings, judged
from llmlab.errors import TextError
from llmlab.report.record import Record
from llmlab.report.result import Verdict
from strategies_report import published

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
NEEDS = """
conditions = {{text = "hello"}}
[claim.records]
experiment = "phase1"
needs = {needs}
supported = "loss < 1"
refuted = "loss >= 1"
evidence = "loss {{loss:.1f}}"
evidence_ja = "損失 {{loss:.1f}}"
"""


def test_of_several_runs_conditions_come_first_then_seeds_then_the_newest_whatever_they_say() -> None:
    """The rule of the page, one step after the other, and the order in which runs are read does not matter."""
    claim = judge_of("records", NEEDS.format(needs='{dim = 8, lr = "<= 0.1"}'))
    other = run(7, metrics={"loss": 0.5}, seeds=9, dim=8, lr=0.1, text="other")
    steps = [
        (run(1, metrics={"loss": 0.5}, seeds=99, dim=2, lr=0.5), "inconclusive"),
        (run(2, metrics={"loss": 0.5}, seeds=99, dim=8, lr=0.5), "inconclusive"),
        (other, "supported"),
        (run(3, metrics={"loss": 0.5}, seeds=3, dim=8, lr=0.1, text="hello"), "supported"),
        (run(4, metrics={"loss": 1.5}, seeds=5, dim=8, lr=0.01, text="hello"), "refuted"),
        (run(5, metrics={"loss": 0.5}, seeds=5, dim=8, lr=0.01, text="hello"), "supported"),
    ]
    records = [run(6), run(8, metrics={"loss": 1.5}, status="interrupted", seeds=999, dim=8, lr=0.1, text="hello")]
    for number, (record, verdict) in enumerate(steps):
        records.append(record)
        Random(number).shuffle(records)
        said = judged(claim, records).said
        assert (said.verdict, said.record) == (verdict, record.name)
    assert judged(claim, records).also() == {"supported": 2, "refuted": 1, "inconclusive": 2}
    assert judged(claim, [run(1, status="diverged")]).said.verdict == "not yet run"


def test_a_run_that_does_not_meet_the_conditions_informs_and_decides_nothing() -> None:
    """Its evidence stands there with what is wanting, in both languages; it is no finding of the run."""
    claim = judge_of("records", NEEDS.format(needs='{seeds = ">= 3", dim = 8}'))
    (said, few) = (judged(claim, [run(1, metrics={"loss": 0.5}, seeds=n, dim=8)]).said for n in (3, 2))

    assert (said.verdict, said.evidence["en"], said.unmet) == ("supported", "loss 0.5", ())
    assert (few.verdict, few.unmet) == ("inconclusive", ("seeds 2 (>= 3)",))
    assert few.evidence["en"] == "loss 0.5 (decides nothing: seeds 2 (>= 3))"
    assert few.evidence["ja"] == "損失 0.5（これだけでは判定できない: seeds 2 (>= 3)）"
    several = judge_of("records", NEEDS.format(needs='{dim = [2, 8], loss = "< 0.4"}'))
    (said, other) = (judged(several, [run(1, metrics={"loss": 0.25 * n}, dim=n)]).said for n in (1, 2))
    assert (said.unmet, other.unmet) == (("dim 1 (2 / 8)",), ("loss 0.5 (< 0.4)",))


def test_a_word_of_another_experiment_is_no_condition() -> None:
    """What an option means in training it does not mean in quantising or fine-tuning, nor against the rule's own."""
    claim = judge_of("records", NEEDS.format(needs="{}"))
    record = run(1, metrics={"loss": 0.5}, embedding=True, data="dialect")
    shared = {"embedding": 256, "data": "wikitext-2"}
    own: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({}, ("embedding True (256)", "data dialect (wikitext-2)")),
        ({"phase1": {}}, ()),
        ({"phase1": {"data": "dialogues"}}, ("data dialect (dialogues)",)),
    ]
    for conditions, differs in own:
        assert judged(replace(claim, conditions=shared | conditions), [record]).said.differs == differs
    rule = replace(cast(RecordsCheck, claim.records), where={"data": "dialect"})
    assert judged(replace(claim, records=rule, conditions=shared), [record]).said.differs == ("embedding True (256)",)


def test_seeds_that_diverged_are_not_counted() -> None:
    """What counts is of how many seeds the numbers are, not how many were asked for."""
    claim = judge_of("records", NEEDS.format(needs='{seeds = ">= 3"}'))
    record = run(1, metrics={"loss": 0.5}, seeds=3)
    short = replace(record, result=replace(record.result, samples={"loss": [0.4, 0.6]}))

    assert [judged(claim, [each]).said.verdict for each in (record, short)] == ["supported", "inconclusive"]


def test_a_rule_that_was_changed_says_so_of_the_runs_before() -> None:
    """The evidence of an older run has the day and the reason in both languages; that of a run of the day does not."""
    change = '[claim.changed]\non = "2026-01-03"\nwhy = "it could not refute"\nwhy_ja = "反証できなかった"\n'
    claim = judge_of("records", NEEDS.format(needs="{}") + change)
    old, new = (judged(claim, [run(day, metrics={"loss": 0.5})]).said for day in (1, 2))

    assert old.evidence["en"] == "loss 0.5 (the rule was changed on 2026-01-03, after the result: it could not refute)"
    assert "2026-01-03に変更した: 反証できなかった" in old.evidence["ja"]
    assert new.evidence["en"] == "loss 0.5"
    assert judged(claim, []).document()["changed"] == "2026-01-03"


ORIGINAL_RUN = next(record for record in published() if record.id == "2dfb0bd8")
ORIGINAL_ROWS = [claim for claim in LEDGER if claim.records and claim.records.where.get("hidden") == 512]


def with_original(**changes: Any) -> Record:
    return replace(ORIGINAL_RUN, result=replace(ORIGINAL_RUN.result, **changes))


def test_what_a_run_decides_is_told_with_it_in_both_languages() -> None:
    """Findings are computed from the metrics, in the ledger's order; a record need not hold any."""
    decided = {lang: findings(ORIGINAL_RUN, lang) for lang in ("en", "ja")}
    order = [claim.id for claim in LEDGER]

    assert {finding.claim for finding in decided["en"]} >= {"BL-19", "BL-32", "BL-D1"}
    assert [f.claim for f in decided["en"]] == sorted((f.claim for f in decided["en"]), key=order.index)
    assert [(f.claim, f.verdict) for f in decided["en"]] == [(f.claim, f.verdict) for f in decided["ja"]]
    assert all(JAPANESE.search(f.statement + f.evidence) for f in decided["ja"])
    assert findings(with_original(status="interrupted")) == []


SEVERAL = """
[claim.records]
experiment = ["phase1-2", "phase1"]
where = {seeds = 3}
supported = "loss < 1"
refuted = "loss >= 1"
evidence = "loss {loss:.1f}"
evidence_ja = "損失 {loss:.1f}"
"""


def test_a_run_under_other_settings_or_without_the_metric_does_not_speak() -> None:
    """Newer runs that do not match, or did not measure it, leave the word to an older one; of several experiments."""
    silent = [run(2, metrics={"loss": 2.5}, seeds=4), run(3, seeds=3), run(4, metrics={"loss": None}, seeds=3)]
    speaking = run(1, metrics={"loss": 0.5}, seeds=3)
    row = judged(judge_of("records", SEVERAL), [speaking, *silent])

    assert (row.said.verdict, row.said.record, row.others) == ("supported", speaking.name, ())
    assert judged(judge_of("records", SEVERAL), silent).said.verdict == "not yet run"


@pytest.mark.parametrize("name", ["data", "vocabulary", "length", "embedding", "hidden", "context", "layers", "batch"])
def test_a_run_under_other_conditions_than_the_documents_says_nothing_of_its_figures(name: str) -> None:
    other = with_original(settings=ORIGINAL_RUN.result.settings | {name: "other"})

    assert sum(judged(claim, [ORIGINAL_RUN]).said.verdict != "not yet run" for claim in ORIGINAL_ROWS) >= 3
    assert {judged(claim, [other]).said.verdict for claim in ORIGINAL_ROWS} == {"not yet run"}


def test_words_where_a_run_should_have_numbers_decide_nothing() -> None:
    """A record that somebody wrote by hand stops no verdict but its own."""
    odd = with_original(metrics=dict.fromkeys(ORIGINAL_RUN.result.metrics, "many"))

    assert {judged(claim, [odd]).said.verdict for claim in ORIGINAL_ROWS} <= {"not yet run", "inconclusive"}


SUM = '[[claim.sums]]\nwhat = "{what}"\nwhat_ja = "和"\nsays = {says}\nis = "{of}"\nwithin = {within}\n'
RIGHT = SUM.format(what="a", says=2.0, of="1 + 1", within=0.05)
WRONG = SUM.format(what="b", says=3.0, of="1 + 1", within=0.05)
SHARE = SUM.format(what="a", says=-0.189, of="3.150 / 3.884 - 1", within=0.0005)
HOLDS = '[[claim.sums]]\nwhat = "x"\nholds = "{}"\n'
ALONE = "a: 2.0, as said; these are quoted figures, and nothing was run again"


@pytest.mark.parametrize(
    ("sums", "verdict", "evidence", "basis"),
    [
        (RIGHT, "supported", "a: 2.0, as said", "sums"),
        (WRONG, "refuted", "b: 2.0, not 3.0", "sums"),
        (RIGHT + WRONG, "refined", "a: 2.0, as said; b: 2.0, not 3.0", "sums"),
        (SHARE, "supported", "a: -0.189, as said", "sums"),
        (SHARE + 'format = ".1%"\n', "supported", "a: -18.9%, as said", "sums"),
        (HOLDS.format("1 < 2"), "supported", "x: holds", "sums"),
        (HOLDS.format("2 < 1"), "refuted", "x: does not hold", "sums"),
        (RIGHT + RIGHT + 'source = "a log"\n', "supported", "a: 2.0, as said; a: 2.0, as said", "quoted figures"),
        ("quoted = true\n" + WRONG, "refuted", "b: 2.0, not 3.0", "sums"),
        ("quoted = true\n" + RIGHT, "refined", ALONE, "sums"),
    ],
)
def test_sums_all_some_or_none_of_which_hold(sums: str, verdict: str, evidence: str, basis: str) -> None:
    """All right is supported, some refined, none refuted; the evidence shows what was found and what was said.

    One figure from somewhere else is enough to say so.  What an author logged is no support for what the author wrote:
    sums of quoted figures refute, and refine, but agree with nothing more than themselves.
    """
    row = judged(judge_of("sums", sums), [])

    assert (row.said.verdict, row.said.evidence["en"], row.basis) == (verdict, evidence, basis)
    assert sums != WRONG or row.said.evidence["ja"] == "和: 2.0（文書では 3.0）"


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


def test_an_opinion_is_never_decided() -> None:
    """It is inconclusive, and says what would have to be shown."""
    row = judged(judge_of("opinion", 'known = "Show it."\nknown_ja = "示す。"\n'), [run(1, "supported")])

    assert (row.said.verdict, row.others) == ("inconclusive", ())
    assert "Show it." in row.said.evidence["en"]
    assert "示す。" in row.said.evidence["ja"]
    with pytest.raises(TextError, match="quoted is a word about sums"):
        judge_of("opinion", 'known = "k"\nquoted = true\n')


@given(st.lists(st.tuples(st.sampled_from(["supported", "refuted", "inconclusive", None]), st.integers(1, 3))))
def test_no_record_is_lost(runs: list[tuple[Verdict | None, int]]) -> None:
    records = [run(number, verdict, seeds=seeds) for number, (verdict, seeds) in enumerate(runs)]
    row = judged(judge_of(), records)
    heard = sorted(said.record for said in (row.said, *row.others) if said.record)

    assert heard == sorted(record.name for record in records if record.result.metrics)
    assert row.document()["verdict"] == row.said.verdict


def test_every_verdict_of_the_log_is_told_in_both_languages() -> None:
    documents = [judged(claim, published()).document() for claim in LEDGER]
    assert [one["id"] for one in documents if not JAPANESE.search(one["evidence_ja"])] == []
