"""What a first screen says must hold for the numbers: laws over every record of the log, its numbers moved about."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from llmlab import phase1, phase1_2
from llmlab.cli.chapter import CHAPTERS, FOLLOW_UPS
from llmlab.report import screen
from llmlab.report.format import cell
from llmlab.report.language import language
from llmlab.report.messages import CODES
from llmlab.report.record import Record
from llmlab.report.result import Result
from llmlab.settings import Phase1Settings, Phase12Settings
from strategies_report import published

RECORDS = published()
UNDECIDED = re.compile(r"no difference shows|no measurable difference|includes zero")
MOVED = re.compile(r"apart|closer|because|Direction|rose")


def recorded(result: Result, command: str = "") -> Record:
    return Record(result, id="", created="2026-01-02", command=command, seconds=0.0)


def said(result: Result, code: str = "en") -> list[str]:
    """Return what the first screen says of a result."""
    return screen.findings(recorded(result), language(code))


def title(result: Result, code: str = "en") -> str:
    return screen.title(recorded(result), language(code))


@cache
def moved_by(**settings: Any) -> Result:
    return phase1_2.run(Phase12Settings(**settings))


def changed(result: Result, numbers: Mapping[str, Any], **settings: Any) -> Result:
    return replace(result, metrics={**result.metrics, **numbers}, settings={**result.settings, **settings})


def differences(result: Result) -> list[str]:
    """Return the metrics with an interval that are differences of two arms."""
    return [name for name in result.metrics if "_minus_" in name and f"{name}_low" in result.metrics]


def intervals(result: Result) -> Iterator[tuple[float, Result]]:
    """Yield the result with all its differences below zero, around zero and above zero, and where they lie."""
    for side in (-1.0, 0.0, 1.0):
        ends = [(name, end) for name in differences(result) for end in (("", 0.0), ("_low", -0.01), ("_high", 0.01))]
        yield side, changed(result, {name + end: 0.05 * side + shift for name, (end, shift) in ends})


@pytest.mark.parametrize("experiment", ["layers", "embedding-freeze", "two-stage", "finetune"])
def test_a_difference_is_claimed_where_its_interval_leaves_out_zero_and_only_there(experiment: str) -> None:
    """Around zero no sentence claims a direction of what was compared, and elsewhere none says that nothing shows."""
    compared = [record.result for record in RECORDS if record.result.experiment == experiment]
    assert any(differences(result) for result in compared)
    for result in compared:
        if not differences(result):
            continue
        titles = {}
        for side, moved in intervals(result):
            titles[side] = title(moved)
            undecided = [one for one in said(moved) if UNDECIDED.search(one)]
            assert bool(undecided) == (side == 0), (titles[side], undecided)
        assert len(set(titles.values())) == 3, titles


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("experiment", [*CHAPTERS, *FOLLOW_UPS])
def test_a_run_with_one_seed_and_so_without_intervals_has_a_finding(experiment: str, code: str) -> None:
    """No title falls back to chapter and time."""
    for record in RECORDS:
        if record.result.experiment == experiment:
            kept = {k: v for k, v in record.result.metrics.items() if not k.endswith(("_low", "_high", "_sd"))}
            alone = replace(record.result, metrics=kept, settings={**record.result.settings, "seeds": 1})
            assert "2026" not in title(alone, code), record.id


@pytest.mark.parametrize("layers", ["2", "1,3", "6,1", "1,2,4,6"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_any_depths_have_a_finding(layers: str, seeds: int) -> None:
    sweep = next(record.result for record in RECORDS if record.result.experiment == "layers")
    numbers = {f"val_ppl_L{depth}": 20.0 + depth for depth in (1, 2, 3, 4, 6)}
    ends = {"": 2.0, "_low": 1.0, "_high": 3.0} if seeds > 1 else {"": 2.0}
    apart = {f"val_ppl_L{deep}_minus_L1{end}": value for deep in (3, 6) for end, value in ends.items()}
    counting = {"common_epochs": 4, "kneser_ney_ppl": 15.0}
    result = replace(sweep, metrics={**numbers, **apart, **counting}, settings={"layers": layers, "seeds": seeds})
    assert "2026" not in title(result)
    first, *_ = said(result)
    assert all(
        f"{20 + depth:.2f}" in first for depth in {min(map(int, layers.split(","))), max(map(int, layers.split(",")))}
    )


@pytest.mark.parametrize("seeds", [1, 5])
@pytest.mark.parametrize("freeze", ["none", "embedding", "linear"])
def test_where_nothing_moves_nothing_is_said_to_have_moved(freeze: str, seeds: int) -> None:
    """At a rate of nearly zero no two letters came closer or moved apart, and no direction explains anything."""
    still = moved_by(lr=1e-9, seeds=seeds, freeze=freeze, epochs=5)
    assert [one for one in said(still) if MOVED.search(one) and "stay" not in one] == []


def test_a_direction_explains_only_what_turned() -> None:
    """In one dimension h lies along e's output row from the start: that is not why e comes next."""
    line = moved_by(dim=1)
    before, after = (line.metrics[f"cosine_{when}"] for when in ("before", "after"))
    assert before == pytest.approx(1) == after
    assert not any("because" in one for one in said(line))
    assert "e follows h because" in title(moved_by(seeds=1))


def test_what_is_said_of_a_letter_is_said_of_the_one_that_was_chosen() -> None:
    several = moved_by(text="the cat sat on the mat", focus=" ")
    first, second, *_ = said(several)
    assert "“␣” the model expects “t”" in first
    assert "“␣” and “c”, which follows it in the text, moved apart" in second


def test_shares_of_starts_are_told_of_enough_starts() -> None:
    """Nine starts of ten are not told of two."""
    assert "nine starts" not in " ".join(said(phase1.run(Phase1Settings(seeds=2))))
    assert "nine starts" in " ".join(said(phase1.run(Phase1Settings(seeds=20))))


def test_the_first_of_several_starts_is_called_so() -> None:
    for seeds, marked in ((1, False), (3, True)):
        result = moved_by(seeds=seeds)
        figure, (table, *_) = screen.picture(result), screen.tables(result)
        assert figure is not None
        assert ["first start" in str(part.title) for part in (figure, table)] == [marked, marked]


@pytest.mark.parametrize("experiment", ["embedding-freeze", "two-stage"])
def test_the_perplexity_of_an_arm_is_that_of_its_tables(experiment: str) -> None:
    """Sentences and tables say one number: exp of the mean loss, not the mean of each seed's perplexity."""
    for record in RECORDS:
        if record.result.experiment == experiment and not record.superseded_by:
            rows = [(table.columns, row) for table in record.result.tables for row in table.rows]
            shown = {cell(one, column) for columns, row in rows for one, column in zip(row, columns, strict=True)}
            told = re.findall(r"PPL(?: is)? (\d[\d,]*\.\d+\b)(?!%)", " ".join(said(record.result)))
            assert {one.replace(",", "") for one in told} <= shown, record.id


def test_a_run_that_diverged_proposes_nothing() -> None:
    """What would come next is a lower rate, as the run itself says."""
    for record in RECORDS:
        assert screen.proposal(record) is not None
        assert screen.proposal(replace(record, result=replace(record.result, status="diverged"))) is None


def test_a_proposal_keeps_what_was_asked_and_asks_no_false_question() -> None:
    """Dimensions and starts stay; a deep stack that is ahead has nothing to catch up."""
    result = moved_by(dim=3, seeds=3)
    command = "llmlab phase1-2 --dim 3 --seeds 3"
    assert (screen.proposal(recorded(result, command)) or ("",))[0] == f"{command} --freeze linear"
    sweep = next(record for record in RECORDS if record.result.experiment == "layers" and "--" not in record.command)
    for side, moved in intervals(sweep.result):
        _, asked = screen.proposal(replace(sweep, result=moved)) or ("", None)
        assert ("catch up" in str(asked)) == (side > 0)
