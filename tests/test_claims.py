"""The ledger: every row can be read and checked, names what there is, and counts as the models count."""

import ast
import contextlib
import math
import re

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from claims_by_hand import LEDGER, ROW, ledger_of
from llmlab.claims import counts
from llmlab.claims.evaluate import Missing, filled, functions, holm, hours, names, value
from llmlab.claims.ledger import Claim, Sum
from llmlab.claims.verdicts import judged, meets
from llmlab.cli import app, chapter
from llmlab.cli.chapter import CHAPTERS, FOLLOW_UPS
from llmlab.errors import TextError
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import worded
from llmlab.report.result import Result
from llmlab.settings import Settings
from llmlab.settings.contexts import ABLATIONS, FREEZE_ARMS

COMMANDS = typer.main.get_command(app)
EXPRESSIONS = ("supported", "refined", "refuted")
SUMS = {
    "refined": (
        "P12-4 BL-5 BL-15 BL-16 BL-23 CN-1 CN-2 WT-3 CN-7 CN-8 CN-11 X-2 X-4 X-5 X-6 X-7 X-9 LY-3 LY-5 LY-6 "
        "LY-7 LY-8 LY-9L LY-13 LY-14 LY-16 LY-19 LY-20L LY-22 LY-24 LY-29 LY-30 LY-S1 LY-S3 EF-2 EF-3 EF-4 EF-7 EF-8 "
        "EF-9 EF-10 EF-19 EF-21 EF-M1 EF-M2 EF-M3 EF-M4"
    ),
    "refuted": (
        "BL-1 BL-6 BL-11 BL-20 BL-20H BL-28P BL-31C NZ-5 CN-12 LY-12 LY-15 LY-17 LY-23 LY-25 EF-13 EF-15 EF-16 EF-17"
    ),
    "supported": ("BL-2 BL-9 BL-12 BL-22 BL-D6 BL-D7 X-1 X-3 LY-2 LY-11 EF-14 WT-1"),
}
"""What every row of sums comes to; a typing error in a figure shows here."""


@pytest.mark.parametrize("claim", LEDGER, ids=lambda claim: claim.id)
def test_every_row_asks_only_for_what_there_is_in_two_languages(claim: Claim) -> None:
    rules = [text for name in EXPRESSIONS if (text := getattr(claim.records, name, ""))]
    trees = [ast.parse(text, mode="eval") for text in (*rules, *(one.value or one.holds for one in claim.sums))]
    calls = [node.func for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]

    assert {ast.unparse(call) for call in calls} <= functions({}).keys()
    assert bool(claim.known) == bool(claim.known_ja)
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", worded(claim, "claim", "ja"))
    assert worded(claim, "claim", "en") == claim.claim
    if claim.records:
        options = [(CHAPTERS | FOLLOW_UPS)[each].__dataclass_fields__ for each in claim.records.experiments]
        assert rules
        assert claim.records.where.keys() <= {name for each in options for name in each}


@pytest.mark.parametrize("claim", LEDGER, ids=lambda claim: claim.id)
def test_every_row_names_a_command_that_there_is(claim: Claim) -> None:
    """The command and its options exist, so that a reader can make the evidence anew."""
    command: typer.core.TyperCommand | typer.core.TyperGroup = COMMANDS  # type: ignore[assignment]
    words = claim.command.split()[1:]
    while isinstance(command, typer.core.TyperGroup) and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]  # type: ignore[assignment]
    options = {option for parameter in command.params for option in parameter.opts}

    assert command.name
    assert command.name != "llmlab"
    assert {word for word in words if word.startswith("--")} <= options
    if claim.check in ("sums", "opinion") and claim.command.startswith("llmlab claims"):
        assert claim.command == f"llmlab claims --id {claim.id}"


@pytest.mark.parametrize("claim", [claim for claim in LEDGER if claim.records], ids=lambda claim: claim.id)
def test_the_command_of_a_row_can_decide_it(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs what the row is judged by, under the row's own conditions, with all that its rule names.

    Of ``needs``, those that only the run itself can tell are left to it.
    """
    asked: list[Settings] = []
    monkeypatch.setattr(chapter, "execute", lambda name, module, picked, typed: asked.append(picked.settings))
    with contextlib.suppress(SystemExit):
        COMMANDS.main(claim.command.split()[1:], standalone_mode=False)
    (settings,), row = asked, claim.records
    assert row is not None
    planned = settings.document() | {"common_epochs": getattr(settings, "epochs", 0)}
    planned |= {"tuning_tries": 2.0 if planned.get("tune") else 0.0}
    rules = " ".join(getattr(row, name) for name in EXPRESSIONS)

    assert settings.experiment in row.experiments
    assert row.where.items() <= planned.items()
    assert [name for name, wanted in row.needs.items() if name in planned and not meets(planned[name], wanted)] == []
    if settings.experiment == "layers":
        assert set(re.findall(r"_L(\d+)", rules)) <= {*str(planned["only"] or planned["layers"]).split(",")}
    if settings.experiment == "embedding-freeze":
        sizes = {str(planned["tokens"]), *str(planned["grow"]).split(",")}
        assert set(re.findall(r"_(\d{5,6})(?!\d)", rules)) <= sizes
        assert {arm for arm in FREEZE_ARMS[2:] if arm.replace("-", "_") in rules} <= {*str(planned["arms"]).split(",")}
    if settings.experiment == "two-stage":
        marks = ("untrained_block", "_noise_", r"\d_layer", "first_|every_", "before_|no_context")
        changed = {what for what, mark in zip(ABLATIONS, marks, strict=True) if re.search(mark, rules)}
        assert changed <= {*str(planned["ablate"]).split(",")}


def agrees(one: Sum) -> bool:
    """Return whether a sum agrees with its document, by Python's own evaluation of the text."""
    known = {name: getattr(math, name) for name in ("exp", "log", "sqrt")} | {"hours": hours}
    known |= {function.__name__: function for function in counts.FORMULAS}
    found = eval(one.value or one.holds, known)  # noqa: S307 - our own rows; the judge never does this
    return bool(found) if one.says is None else abs(found - one.says) <= (one.within or 0) * (1 + 1e-9)


@pytest.mark.parametrize("claim", [claim for claim in LEDGER if claim.sums], ids=lambda claim: claim.id)
def test_every_sum_comes_to_what_it_came_to_and_to_what_python_makes_of_it(claim: Claim) -> None:
    """A row of sums has its verdict without any log: all right supports, none refutes, the rest refines."""
    found = judged(claim, []).said.verdict
    right = [agrees(one) for one in claim.sums]
    expected = "supported" if all(right) else "refined" if any(right) else "refuted"

    assert found == ("refined" if claim.quoted and expected == "supported" else expected)
    assert claim.id in SUMS[found].split()


OPINION = ROW + 'check = "opinion"\nknown = "k"\nknown_ja = "l"\n'


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (OPINION.replace('kind = "measured"', 'kind = "felt"'), "T-1.kind"),
        (OPINION + 'verdict = "supported"\n', "T-1.verdict"),
        (OPINION.replace("T-1", "t 1"), "t 1.id"),
        (ROW + 'check = "sums"\n', "T-1: check"),
        (ROW + 'check = "opinion"\n', "T-1: an opinion needs known"),
        (ROW + 'check = "sums"\n[[claim.sums]]\nwhat = "x"\nsays = 1\n', "says, is and within"),
        (OPINION.replace('id = "T-1"', ""), "row 1.id"),
        (OPINION + OPINION, "T-1 stands in it twice"),
        ("[[claim", "some.toml"),
    ],
)
def test_a_broken_row_is_refused_by_its_name(rows: str, told: str) -> None:
    with pytest.raises(TextError, match=re.escape(told)):
        ledger_of(rows)


def test_counts_are_those_of_llmlab_params() -> None:
    from llmlab.params import models

    counted = {each["name"]: (each["total"], each["trainable"]) for each in models()}
    for tied in (True, False):
        for frozen in (True, False):
            arm = f"{'tied' if tied else 'untied'}, {'frozen' if frozen else 'trained'}"
            both = (counts.two_stage(tied=tied), counts.two_stage_trained(tied=tied, frozen=frozen))
            assert counted[f"GPT-2 size 6 + 6, {arm}"] == both
    assert counts.two_stage(tied=False) - counts.two_stage() == counts.head()
    assert counted["tiny GPT-2, as its author coded it"][0] == counts.tiny_gpt2(layers=6, width=256)
    assert counted["New-LLM, advanced"][0] == counts.new_llm(layers=12, context=512)


def test_expressions_reach_numbers_and_nothing_else() -> None:
    """Sums and comparisons have their values; a missing number is told apart from a mistake."""
    known = names(Result("phase1", {"seeds": 3}, "", "", metrics={"loss": 0.5, "gone": None, "off": -3e-8}))
    assert value("abs(loss - 0.5) <= 0.01 and setting_seeds == 3", known) is True
    assert value("hours('2025-11-18 00:12', '2025-11-18 17:42')") == hours("2025-11-18 00:12", "2025-11-18 17:42")
    assert filled("PPL {loss:.1f}, off by {off:<1e-6} and {off:<1e-9}", known) == "PPL 0.5, off by < 1e-6 and -3.0e-08"
    for text in ("gone + 1", "unheard_of"):
        with pytest.raises(Missing):
            value(text, known)
    for text in ("loss.__class__", "open('x')", "1 / 0", "exp(1000)", "1 +", "log(0)"):
        with pytest.raises(ValueError, match=re.escape(text)):
            value(text, known)


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=8, unique=True), st.lists(st.floats(0, 1), min_size=1, max_size=6)
)
def test_p_values_are_those_of_student_and_corrected_those_of_holm(samples: list[float], ps: list[float]) -> None:
    """A metric's interval gives back its p-value as scipy has it; the correction is Holm's, worked out by hand.

    Where some seeds diverged there are fewer samples than seeds.
    """
    stats = pytest.importorskip("scipy.stats")
    metrics = mean_interval(samples)
    known = {f"m{suffix}": number for suffix, number in metrics.items()} | {"setting_seeds": len(samples)}
    found, theirs = value('p("m")', known), stats.ttest_1samp(samples, 0.0).pvalue

    assert found == pytest.approx(theirs, rel=1e-6, abs=1e-12)
    assert value('p("m")', known | {"m_n": len(samples), "setting_seeds": 99}) == found
    corrected, so_far = {}, 0.0
    for rank, one in enumerate(sorted(ps)):
        so_far = max(so_far, min(1.0, (len(ps) - rank) * one))
        corrected[one] = so_far
    for here, one in enumerate(ps):
        assert holm(one, *ps[:here], *ps[here + 1 :]) == pytest.approx(corrected[one])


def test_one_of_several_comparisons_decides_only_when_corrected() -> None:
    """An interval that just misses zero counts alone, and no longer among six; what is not there is missing."""
    alone = {"a": -1.0, "a_low": -1.99, "a_high": -0.01, "setting_seeds": 3}
    beside = {f"{name}{suffix}": number for name in "bcdef" for suffix, number in (("", 0), ("_low", -1), ("_high", 1))}

    assert value('some_below("a")', alone) is True
    assert value('some_above("a")', alone) is False
    assert value('some_below("a", "b", "c", "d", "e", "f")', alone | beside) is False
    assert value('some_below("a", "b")', alone | beside | {"a_low": -1.0001, "a_high": -0.9999}) is True
    with pytest.raises(Missing):
        value('some_below("a", "gone")', alone)
