"""Chapter 2 as a reader meets it: what its result says, and that it is true."""

import math
import re
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claims_by_hand import verdicts
from conftest import rows
from llmlab import phase1_2
from llmlab.lab.optimizer import Adam
from llmlab.phase1 import TRAINED_WITH_FROZEN, TinyModel, train
from llmlab.report.record import Record
from llmlab.report.result import Result
from llmlab.settings import Phase12Settings
from llmlab.text.pairs import Pairs
from strategies import any_texts

SEEDS = 1_000


@pytest.fixture(scope="module")
def thousand() -> Result:
    return phase1_2.run(Phase12Settings(seeds=SEEDS))


def column(result: Result, table: str, name: str) -> list[Any]:
    return [row[name] for row in rows(result, table).values()]


def test_tokens_that_follow_each_other_move_apart(thousand: Result):
    """The distance from h to e shrinks in hardly any seed: closeness is not what is learned."""
    metrics = thousand.metrics

    assert metrics["distance_shrank_fraction_high"] < 0.02
    assert metrics["distance_after"] > 2 * metrics["distance_before"]
    assert metrics["rank_correlation_product"] > 0.8 > 0.2 > metrics["rank_correlation_closeness"]


@pytest.mark.parametrize(
    ("freeze", "measured"),
    [("none", (0.3576, 0.3646, 0.4046)), ("embedding", (0.4163, 0.5448, 0.8267)), ("linear", (0.6721, 0.9918, 1.3348))],
)
def test_losses_are_spread_as_measured_elsewhere(thousand: Result, freeze: str, measured: tuple[float, float, float]):
    """The quantiles are those another program measured, within four standard errors of its sample of 1,000."""
    result = thousand if freeze == "none" else phase1_2.run(Phase12Settings(seeds=SEEDS, freeze=freeze))

    for value, level in zip(measured, (0.05, 0.5, 0.95), strict=True):
        below = sum(loss < value for loss in result.samples["loss"]) / SEEDS
        assert abs(below - level) < 4 * math.sqrt(2 * level * (1 - level) / SEEDS), level


def test_the_verdicts_on_the_notes_claims_follow_from_the_numbers(thousand: Result):
    """What held exactly or in nearly all seeds is supported; what held with a limit is refined."""
    assert verdicts(thousand) == {
        "P12-1": "supported",
        "P12-2": "refined",
        "P12-3": "supported",
        "P12-5": "refined",
        "P12-6": "supported",
        "P12-7": "refined",
        "P12-8": "refined",
        "P12-N1": "supported",
        "P12-N2": "supported",
        "P12-N3": "supported",
    }


def test_what_grew_and_who_was_first_is_counted_as_by_hand():
    metrics = phase1_2.run(Phase12Settings(seeds=7, freeze="linear", epochs=50)).metrics
    start, trained = TinyModel.initial(4, 2, range(7)), TRAINED_WITH_FROZEN["linear"]
    run = train(start, Pairs.of("hello"), lambda: Adam(Phase12Settings().lr), trained=trained, updates=50)
    before, after = run.before.embedding[:, :3], run.after.embedding[:, :3]  # of o nothing is ever learned
    farthest, grew = (
        [way.index(max(way)) == 1 for way in ways.tolist()]
        for ways in ((after - before).norm(dim=-1), after.norm(dim=-1) - before.norm(dim=-1))
    )

    assert metrics["moved_most_fraction"] == pytest.approx(sum(farthest) / 7)
    assert metrics["grew_most_fraction"] == pytest.approx(sum(grew) / 7)
    both = sum(a and b for a, b in zip(farthest, grew, strict=True))
    assert metrics["moved_and_grew_most_fraction"] == pytest.approx(both / 7)
    assert 0 < sum(grew) < 7
    assert "norm_before_o" not in metrics


def test_the_decomposition_of_many_dimensions_sums_what_it_does_not_show():
    cells = rows(phase1_2.run(Phase12Settings(dim=9)), "decomposition").values()

    for row in cells:
        shown = math.fsum(number for name, number in row.items() if name.startswith("axis"))
        assert shown + row["other axes"] == pytest.approx(row["inner"], abs=1e-4)
        assert row["inner"] + row["bias"] == pytest.approx(row["score"], abs=1e-5)
    assert math.fsum(row["P"] for row in cells) == pytest.approx(1, abs=1e-5)


def test_rotation_leaves_the_function_and_sgd_but_not_adam(thousand: Result):
    sgd, adam = column(thousand, "equivariance", "P differs by")

    assert thousand.metrics["rotation_max_logit_difference"] < 1e-4
    assert sgd < 1e-9
    assert adam > 1e-3


def test_the_pole_star_moves_only_by_decay_or_tying(thousand: Result):
    """Adam and SGD leave it alone to the last bit; AdamW and tied weights do not; its output row always moves."""
    embedding, output = (column(thousand, "pole_star", name) for name in ("embedding moved", "output row moved"))

    assert embedding[:2] == [0.0, 0.0]
    assert min(embedding[2:]) > 0.01
    assert min(output) > 0.1


def test_freezing_limits_hello_in_one_dimension_only(thousand: Result):
    """In one dimension a third of the starts can never fit; from two on nothing is out of reach, only slow."""
    limit = rows(thousand, "frozen_limit")

    assert {dim: row["any scores?"] for dim, row in limit.items()} == {1: "no", 2: "yes", 3: "yes"}
    assert limit[1]["fits in the end"] < 0.85
    assert min(limit[dim]["fits in the end"] for dim in (2, 3)) > 0.9
    assert all(row["frozen"] > row["free"] for row in limit.values())


@pytest.mark.parametrize(
    ("text", "dim", "name"),
    [
        ("abcab", 1, "unseen_moved_max"),
        ("baaa", 2, "distance_shrank_fraction"),
        ("ab", 1, "rank_correlation_product"),
        ("aab", 9, "rank_correlation_product"),
        ("aabb", 2, "rank_correlation_product"),
    ],
)
def test_what_a_text_lacks_is_empty_with_a_reason(text: str, dim: int, name: str):
    """No unseen token, no next token but itself, a single pair: the metric says why it is empty, and no table tells.

    Nor does a sentence hold what is not a number.
    """
    result = phase1_2.run(Phase12Settings(text=text, focus="a", dim=dim, epochs=20, seeds=3))

    assert result.metrics[name] is None
    assert result.metrics[f"{name}_reason"]
    assert ("pole_star" in [table.name for table in result.tables]) == (text in ("ab", "aab"))
    captions = [part.caption for part in (*result.tables, *result.figures)]
    for sentence in (*captions, *result.summary):
        assert not re.search(r"\b(nan|inf)\b", sentence)


def test_what_is_frozen_comes_no_closer_in_any_seed():
    """Distances before and after are computed alike, so a frozen embedding shrinks none of them by rounding."""
    result = phase1_2.run(Phase12Settings(freeze="embedding", dim=64, seeds=100, epochs=3))

    assert result.metrics["distance_shrank_fraction"] == 0.0
    assert result.samples["distance_before"] == result.samples["distance_after"]


def test_a_rotation_that_changed_something_would_be_seen(monkeypatch: pytest.MonkeyPatch):
    """With every embedding doubled in place of rotated, both differences are those that a hand computes."""
    model = TinyModel.initial(4, 2, range(3))
    doubled = TinyModel(2 * model.embedding, model.weight, model.bias)
    monkeypatch.setattr(phase1_2, "rotated", lambda *_: doubled)
    scores, changes = (model.logits(), doubled.logits()), (model.probabilities(), doubled.probabilities())

    wanted = [float((after - before).abs().max()) for before, after in (scores, changes)]
    assert list(phase1_2.rotation_differences(model)) == wanted
    assert min(wanted) > 0.1


def test_in_one_dimension_adam_does_not_notice_a_rotation():
    """The only rotation of a line is a change of sign, and the caption says what the numbers say."""
    result = phase1_2.run(Phase12Settings(dim=1))

    assert max(column(result, "equivariance", "P differs by")) < 1e-9
    assert any("Adam's does not" in table.caption for table in result.tables if table.name == "equivariance")


def test_side_experiments_that_diverge_are_said_to_be_left_out():
    """A comparison that breaks down takes no table away in silence."""
    result = phase1_2.run(Phase12Settings(dim=2, epochs=2, freeze="embedding", optimizer="sgd", lr=1e18))

    assert result.status == "complete"
    assert any("left out" in sentence for sentence in result.summary)


def test_a_text_of_many_characters_leaves_the_side_experiments_out():
    """They would take minutes; the main report stays whole, and long tables say what they leave out."""
    result = phase1_2.run(Phase12Settings(text="".join(map(chr, range(0x4E00, 0x4E00 + 200))), epochs=3))

    captions = {table.name: table.caption for table in result.tables}
    assert "frozen_limit" not in captions
    assert "left out" in captions["distances"]
    assert result.metrics["loss"] is not None


@settings(max_examples=8)
@given(any_texts, st.integers(1, 6), st.sampled_from(["adam", "sgd", "adamw"]))
def test_any_text_gives_a_result_that_survives_strict_json(text: str, dim: int, optimizer: str):
    with mock.patch.object(phase1_2, "LIMIT_UPDATES", 5):
        result = phase1_2.run(Phase12Settings(text=text, dim=dim, optimizer=optimizer, epochs=3))

    record = Record(result, "0", "2026-11-22T00:00:00Z", "llmlab", 0.0)

    assert Record.from_json(record.json()) == record


def test_the_bars_of_a_score_add_up_to_it() -> None:
    figures = phase1_2.run(Phase12Settings(dim=3, seeds=2)).figures
    figure = next(figure for figure in figures if figure.name == "scores")
    *parts, scores = (mark.xs for mark in figure.marks)
    assert figure.names[-1] == "e"
    assert [sum(each) for each in zip(*parts, strict=True)] == pytest.approx(scores, abs=1e-4)
