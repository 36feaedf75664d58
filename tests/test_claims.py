"""The ledger: every row can be read and checked, and verdicts follow the rule whatever the log holds."""

import ast
import importlib
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from llmlab.claims import counts
from llmlab.claims.evaluate import FUNCTIONS, Missing, filled, hours, names, value
from llmlab.claims.ledger import Claim, read, worded
from llmlab.claims.verdicts import Judged, judged
from llmlab.cli import app
from llmlab.cli.chapter import CHAPTERS, Chapter
from llmlab.errors import TextError
from llmlab.report.logbook import read_record
from llmlab.report.record import CREATED, Record
from llmlab.report.result import Finding, Result, Status, Verdict

CLAIMS = [claim for document in read() for claim in document.claims]
IDS = {claim.id: claim for claim in CLAIMS}
EXPRESSIONS = ("supported", "refined", "refuted")
FINDINGS = (
    *("tiny.findings", "lm.findings", "lm.depth_findings", "contexts.freeze_findings", "contexts.stage_findings"),
    *("trained.narrowing_shown", "trained.finetune_shown", "trained.expand_shown"),
)
HEAD = 'seed = "9.txt"\nabout = "a"\nabout_ja = "b"\n'
ROW = """
[[claim]]
id = "T-1"
chapter = "phase1"
kind = "measured"
claim = "c"
claim_ja = "d"
command = "llmlab phase1"
check = "finding"
"""


def experiments() -> dict[str, Chapter]:
    """Return every experiment that leaves a record, by its name there."""
    follow_ups = {name: each for chapter in CHAPTERS.values() for name, each in chapter.follow_ups.items()}
    return dict(CHAPTERS) | follow_ups


def judge_of(check: str = "finding", text: str = "") -> Claim:
    """Return a row to be judged, read from TOML as all rows are."""
    row = ROW.replace('"finding"', f'"{check}"') + text
    return ledger_of(row)[0]


def ledger_of(rows: str) -> tuple[Claim, ...]:
    """Return the claims of a ledger with one document of these rows."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "some.toml").write_text(HEAD + rows, "utf-8")
        return read(Path(folder))[0].claims


def run(
    number: int,
    verdict: Verdict | None = None,
    *,
    status: Status = "complete",
    metrics: dict[str, float | None] | None = None,
    **settings: str | int,
) -> Record:
    """Return the record of a run, the newer the higher its number."""
    findings = [Finding("T-1", "c", verdict, f"run {number}")] if verdict else []
    result = Result("phase1", dict(settings), "why", "how", status, dict(metrics or {}), findings=findings)
    created = (datetime(2026, 1, 1) + timedelta(days=number)).strftime(CREATED)
    return Record(result, f"{number:08x}", created, "llmlab phase1", 1.0)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_row_asks_only_for_what_there_is(claim: Claim) -> None:
    """Expressions parse and call known functions; experiments and the settings to match exist."""
    expressions = [one.value or one.holds for one in claim.sums]
    wishes = list(claim.finding.prefer)
    known = {name for each in experiments().values() for name in each.settings.__dataclass_fields__}
    if claim.records:
        expressions += [text for name in EXPRESSIONS if (text := getattr(claim.records, name))]
        wishes.append(claim.records.where)
        known = set(experiments()[claim.records.experiment].settings.__dataclass_fields__)
        assert any(getattr(claim.records, name) for name in EXPRESSIONS)
    called = {
        node.func.id
        for text in expressions
        for node in ast.walk(ast.parse(text, mode="eval"))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert called <= FUNCTIONS.keys()
    assert {name for wish in wishes for name in wish} <= known
    assert bool(claim.known) == bool(claim.known_ja)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_row_names_a_command_that_there_is(claim: Claim) -> None:
    """The command and its options exist, so that a reader can make the evidence anew."""
    command: typer.core.TyperCommand | typer.core.TyperGroup = typer.main.get_command(app)  # type: ignore[assignment]
    words = claim.command.split()[1:]
    while isinstance(command, typer.core.TyperGroup) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]  # type: ignore[assignment]
    options = {option for parameter in command.params for option in parameter.opts}

    assert command.name
    assert command.name != "llmlab"
    assert {word for word in words if word.startswith("--")} <= options
    if claim.check in ("sums", "opinion") and claim.command.startswith("llmlab claims"):
        assert claim.command == f"llmlab claims --id {claim.id}"


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.sums], ids=lambda claim: claim.id)
def test_every_sum_can_be_computed(claim: Claim) -> None:
    """A row of sums has a verdict without any log."""
    assert judged(claim, []).said.verdict in ("supported", "refined", "refuted")


def test_a_claim_that_runs_judge_stands_in_the_ledger_as_the_code_says_it() -> None:
    """Each claim that code judges has its row, with the same sentence; and no other row is left to the code."""
    said: dict[str, str] = {}
    for module in FINDINGS:
        said |= importlib.import_module(f"llmlab.{module}").CLAIMS

    assert {name: IDS[name].claim for name in said if name in IDS} == {n: c for n, c in said.items() if n in IDS}
    assert {claim.id for claim in CLAIMS if claim.check == "finding"} == said.keys()


def test_every_row_is_written_in_two_languages() -> None:
    """What has Japanese letters is not empty, and is not the English."""
    for claim in CLAIMS:
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", worded(claim, "claim", "ja")), claim.id
        assert worded(claim, "claim", "en") == claim.claim


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (ROW.replace('kind = "measured"', 'kind = "felt"'), "T-1.kind"),
        (ROW + 'verdict = "supported"\n', "T-1.verdict"),
        (ROW.replace("T-1", "t 1"), "t 1.id"),
        (ROW.replace('"finding"', '"sums"'), "T-1: check"),
        (ROW.replace('"finding"', '"opinion"'), "T-1: an opinion needs known"),
        (ROW.replace('"finding"', '"sums"') + '[[claim.sums]]\nwhat = "x"\nsays = 1\n', "says, is and within"),
        (ROW.replace('id = "T-1"', ""), "row 1.id"),
        (ROW + ROW, "T-1 stands in it twice"),
        ("[[claim", "some.toml"),
    ],
)
def test_a_broken_row_is_refused_by_its_name(rows: str, told: str) -> None:
    """A row with a verdict typed in, an unknown word or a missing table stops the reading and is named."""
    with pytest.raises(TextError, match=re.escape(told)):
        ledger_of(rows)


@given(
    st.integers(1, 9), st.integers(1, 700), st.integers(1, 700), st.integers(1, 700), st.integers(1, 3000)
)  # fmt: skip
def test_counts_of_new_llm_are_those_of_the_model(
    layers: int, context: int, hidden: int, width: int, words: int
) -> None:
    """The closed formula and the shapes that the model declares agree for all sizes."""
    from llmlab.model.new_llm import Size

    size = Size(vocabulary=words, embedding=width, hidden=hidden, context=context, layers=layers)
    assert counts.new_llm(layers, context, hidden, width, words) == size.parameters()


@given(
    st.integers(1, 8),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 3),
    st.sampled_from(["every", "first"]),
    st.sampled_from(["constant", "decreasing"]),
)
def test_counts_of_both_blocks_are_those_of_the_model(
    layers: int, context: int, width: int, inputs: int, token_in: str, widths: str
) -> None:
    """The closed formulas and the shapes that the blocks declare agree for all sizes and wirings."""
    from llmlab.model.context_token import BlockSize

    size = BlockSize(width, context, layers, inputs, token_in, widths)
    assert counts.context_block(layers, context, width, inputs, token_in, widths) == size.context_parameters()
    assert counts.token_block(layers, context, width, inputs, widths) == size.token_parameters()


def test_counts_are_those_of_llmlab_params() -> None:
    """Every count that a claim hangs on is the one that ``llmlab params`` prints."""
    from llmlab.params import models

    counted = {each.name: (each.total, each.trainable) for each in models()}
    for tied in (True, False):
        for frozen in (True, False):
            arm = f"{'tied' if tied else 'untied'}, {'frozen' if frozen else 'trained'}"
            both = (counts.two_stage(tied=tied), counts.two_stage_trained(tied=tied, frozen=frozen))
            assert counted[f"GPT-2 size 6 + 6, {arm}"] == both
    assert counted["tiny, d = 8, frozen: embedding"] == (counts.tiny(8), counts.head(4, 8))
    assert counted["tiny GPT-2, as its author coded it"][0] == counts.tiny_gpt2()
    assert counted["New-LLM, advanced"][0] == counts.new_llm(layers=12, context=512)


def test_expressions_reach_numbers_and_nothing_else() -> None:
    """Sums and comparisons have their values; a missing number is told apart from a mistake."""
    known = names(Result("phase1", {"seeds": 3}, "", "", metrics={"loss": 0.5, "gone": None}))
    assert value("abs(loss - 0.5) <= 0.01 and setting_seeds == 3", known) is True
    assert value("hours('2025-11-18 00:12', '2025-11-18 17:42')") == hours("2025-11-18 00:12", "2025-11-18 17:42")
    assert filled("PPL {loss:.1f}", known) == "PPL 0.5"
    for text in ("gone + 1", "unheard_of"):
        with pytest.raises(Missing):
            value(text, known)
    for text in ("loss.__class__", "open('x')", "1 / 0", "exp(1000)", "1 +", "log(0)"):
        with pytest.raises(ValueError, match=re.escape(text)):
            value(text, known)


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
