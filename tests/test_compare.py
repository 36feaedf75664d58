"""Two runs side by side: differences are paired by seed, and right to the last digit that a hand can compute."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done
from llmlab import compare
from llmlab.report.logbook import Logbook
from llmlab.report.record import Record
from strategies_report import specimen, strict_json

T_975_TWO_DEGREES = 4.302652729911275
"""From a printed table of Student's t."""


def other(record: Record, **settings: object) -> Record:
    result = replace(record.result, settings=record.result.settings | settings)
    return replace(record, id="feedbeef", result=result)


def test_paired_differences_are_what_a_hand_computes() -> None:
    """Three seeds, three differences -1, 0 and 4: mean 1, standard deviation sqrt(7), Student's interval."""
    a, b = specimen(losses=[2.0, 3.0, 1.0]), specimen(losses=[1.0, 3.0, 5.0])
    found = compare.document(a, b)["paired"]["loss"]
    half = T_975_TWO_DEGREES * math.sqrt(7) / math.sqrt(3)
    assert found == {
        "n": 3,
        "difference": 1.0,
        "difference_sd": pytest.approx(math.sqrt(7)),
        "difference_low": pytest.approx(1 - half),
        "difference_high": pytest.approx(1 + half),
    }


def test_only_seeds_that_both_ran_are_paired() -> None:
    """Seeds 0 to 2 against seeds 1 to 4: the pairs are 1 with 1 and 2 with 2; of one pair nothing is said."""
    a, b = specimen(seed=0, losses=[9.0, 1.0, 2.0]), specimen(seed=1, losses=[1.5, 2.5, 9.0, 9.0])
    found = compare.document(a, b)["paired"]["loss"]
    assert (found["n"], found["difference"], found["difference_sd"]) == (2, 0.5, 0.0)
    for first in (3, 100, 2):
        apart = compare.document(specimen(), specimen(seed=first))
        assert (apart["paired"], apart["metrics"]["loss"]["difference"]) == ({}, 0.0)


def test_different_experiments_are_compared_in_what_they_share() -> None:
    """A width of one and a switch of the other are two settings, even under one name; what one lacks is told."""
    a = other(specimen(), embedding=1, clip=1.0)
    b = other(specimen(), embedding=True)
    b = replace(b, result=replace(b.result, experiment="quantize", metrics={"loss": 0.5, "other": 1.0}))
    found = compare.document(a, b)
    assert found["settings"] == {
        "experiment": ["phase1-2", "quantize"],
        "embedding (phase1-2)": [1, None],
        "embedding (quantize)": [None, True],
        "clip": [1.0, None],
    }
    assert found["metrics"] == {"loss": {"a": 0.374, "b": 0.5, "difference": pytest.approx(0.126)}}


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_a_run_does_not_differ_from_itself(losses: list[float]) -> None:
    record = specimen(losses=losses)
    found = compare.document(record, record)
    assert found["settings"] == {}
    assert {metric["difference"] for metric in found["metrics"].values()} == {0.0}
    assert {found["paired"]["loss"][name] for name in found["paired"]["loss"] if name != "n"} == {0.0}


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=20))
def test_comparing_the_other_way_round_turns_the_sign(pairs: list[tuple[float, float]]) -> None:
    a, b = (specimen(losses=[pair[side] for pair in pairs]) for side in (0, 1))
    there, back = (compare.document(*both)["paired"]["loss"] for both in ((a, b), (b, a)))
    assert there["difference"] == pytest.approx(-back["difference"])
    assert there["difference_low"] == pytest.approx(-back["difference_high"])
    assert there["difference_sd"] == pytest.approx(back["difference_sd"])


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_comparison_is_strict_json(left: float, right: float) -> None:
    """Any two finite metrics give a document that a strict reader accepts, even where the difference overflows."""
    document = compare.document(specimen("h", left), specimen("h", right))
    strict_json(json.dumps(document, allow_nan=False))


def test_the_command_prints_both_forms(run_llmlab: Callable[..., Done], log: Logbook) -> None:
    """A document of two entries, and tables that keep their words and digits on any terminal."""
    a, b = (log.put(specimen(*told))[0].id for told in (("[red]", 0.3740), ("b", 1234.5678)))
    document = run_llmlab("log", "compare", a, b, "--json").document
    assert document["schema"] == "llmlab.compare/1"
    assert set(document) == {"schema", "a", "b", "superseded_by", "settings", "metrics", "paired"}
    assert (document["a"][-8:], document["b"][-8:]) == (a, b)
    for columns in ("40", "80"):
        words = set(run_llmlab("log", "compare", a, b, COLUMNS=columns).out.split())
        assert {"0.3740", "1234.5678", "1234.1938", "[red]", "focus"} <= words
    assert {a, b} <= words
