"""Chapter 2 as a reader meets it: what its result says, and that it is true."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claims_by_hand import verdicts
from llmlab import phase1_2
from llmlab.phase1 import TinyModel
from llmlab.report.record import Record
from llmlab.report.result import Result, Table
from llmlab.settings import Phase12Settings
from strategies import any_texts

SEEDS = 1_000


@pytest.fixture(scope="module")
def thousand() -> Result:
    return phase1_2.run(Phase12Settings(seeds=SEEDS))


def table(result: Result, name: str) -> Table:
    return next(table for table in result.tables if table.name == name)


def column(table: Table, name: str) -> list[object]:
    index = [column.name for column in table.columns].index(name)
    return [row[index] for row in table.rows]


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
    farthest, grew = [], []
    for seed in range(7):
        one = phase1_2.run(Phase12Settings(seed=seed, freeze="linear", epochs=50)).metrics
        ways = {token: one[f"moved_{token}"] for token in "hel"}
        gains = {token: one[f"norm_after_{token}"] - one[f"norm_before_{token}"] for token in "hel"}
        farthest.append(max(ways, key=ways.get) == "e")
        grew.append(max(gains, key=gains.get) == "e")

    assert metrics["moved_most_fraction"] == pytest.approx(sum(farthest) / 7)
    assert metrics["grew_most_fraction"] == pytest.approx(sum(grew) / 7)
    assert metrics["moved_and_grew_most_fraction"] == pytest.approx(
        sum(a and b for a, b in zip(farthest, grew, strict=True)) / 7
    )
    assert "norm_before_o" not in metrics


def test_the_decomposition_of_many_dimensions_sums_what_it_does_not_show():
    rows = table(phase1_2.run(Phase12Settings(dim=9)), "decomposition")

    shown = [name.name for name in rows.columns if name.name.startswith("axis")]
    for row in rows.rows:
        cells = dict(zip((column.name for column in rows.columns), row, strict=True))
        assert sum(cells[name] for name in shown) + cells["other axes"] == pytest.approx(cells["inner"], abs=1e-4)
        assert cells["inner"] + cells["bias"] == pytest.approx(cells["score"], abs=1e-5)
    assert sum(column(rows, "P")) == pytest.approx(1, abs=1e-5)


def test_rotation_leaves_the_function_and_sgd_but_not_adam(thousand: Result):
    sgd, adam = column(table(thousand, "equivariance"), "P differs by")

    assert thousand.metrics["rotation_max_logit_difference"] < 1e-4
    assert sgd < 1e-9
    assert adam > 1e-3


def test_the_pole_star_moves_only_by_decay_or_tying(thousand: Result):
    """Adam and SGD leave it alone to the last bit; AdamW and tied weights do not; its output row always moves."""
    star = table(thousand, "pole_star")
    embedding, output = column(star, "embedding moved"), column(star, "output row moved")

    assert embedding[:2] == [0.0, 0.0]
    assert min(embedding[2:]) > 0.01
    assert min(output) > 0.1


def test_freezing_limits_hello_in_one_dimension_only(thousand: Result):
    """In one dimension a third of the starts can never fit; from two on nothing is out of reach, only slow."""
    limit = table(thousand, "frozen_limit")

    assert column(limit, "dim") == [1, 2, 3]
    assert column(limit, "any scores?") == ["no", "yes", "yes"]
    fits = column(limit, "fits in the end")
    assert fits[0] < 0.85
    assert min(fits[1:]) > 0.9
    assert all(frozen > free for frozen, free in zip(column(limit, "frozen"), column(limit, "free"), strict=True))


@pytest.mark.parametrize(
    ("text", "focus", "name"),
    [
        ("abcab", "a", "unseen_moved_max"),
        ("baaa", "a", "distance_shrank_fraction"),
        ("ab", "a", "rank_correlation_product"),
    ],
)
def test_what_a_text_lacks_is_empty_with_a_reason(text: str, focus: str, name: str):
    """No unseen token, no next token but itself, a single pair: the metric says why it is empty, and no table tells."""
    result = phase1_2.run(Phase12Settings(text=text, focus=focus, epochs=20, seeds=3))

    assert result.metrics[name] is None
    assert result.metrics[f"{name}_reason"]
    assert ("pole_star" in [table.name for table in result.tables]) == (text == "ab")


def test_what_is_frozen_comes_no_closer_in_any_seed():
    """Distances before and after are computed alike, so a frozen embedding shrinks none of them by rounding."""
    result = phase1_2.run(Phase12Settings(freeze="embedding", dim=64, seeds=100, epochs=3))

    assert result.metrics["distance_shrank_fraction"] == 0.0
    assert result.samples["distance_before"] == result.samples["distance_after"]


@pytest.mark.parametrize(("text", "dim"), [("ab", 1), ("aab", 9), ("aabb", 2), ("abcab", 1)])
def test_no_sentence_holds_what_is_not_a_number(text: str, dim: int):
    result = phase1_2.run(Phase12Settings(text=text, dim=dim, seeds=3, epochs=20))

    captions = [part.caption for part in (*result.tables, *result.figures)]
    for sentence in (*captions, *result.summary):
        assert not re.search(r"\b(nan|inf)\b", sentence)


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
    turned = table(phase1_2.run(Phase12Settings(dim=1)), "equivariance")

    assert max(column(turned, "P differs by")) < 1e-9
    assert "Adam's does not" in turned.caption


def test_side_experiments_that_diverge_are_said_to_be_left_out():
    """A comparison that breaks down takes no table away in silence."""
    result = phase1_2.run(Phase12Settings(dim=2, epochs=2, freeze="embedding", optimizer="sgd", lr=1e18))

    assert result.status == "complete"
    assert any("left out" in sentence for sentence in result.summary)


def test_a_text_of_many_characters_leaves_the_side_experiments_out():
    """They would take minutes; the main report stays whole, and long tables say what they leave out."""
    result = phase1_2.run(Phase12Settings(text="".join(map(chr, range(0x4E00, 0x4E00 + 200))), epochs=3))

    assert "frozen_limit" not in [table.name for table in result.tables]
    assert "left out" in table(result, "distances").caption
    assert result.metrics["loss"] is not None


@settings(max_examples=8)
@given(any_texts, st.integers(1, 6), st.sampled_from(["adam", "sgd", "adamw"]))
def test_any_text_gives_a_result_that_survives_strict_json(text: str, dim: int, optimizer: str):
    result = phase1_2.run(Phase12Settings(text=text, dim=dim, optimizer=optimizer, epochs=3))

    record = Record(result, "0", "2026-11-22T00:00:00Z", "llmlab", 0.0)

    assert Record.from_json(record.json()) == record


def test_the_bars_of_a_score_add_up_to_it() -> None:
    figures = phase1_2.run(Phase12Settings(dim=3, seeds=2)).figures
    figure = next(figure for figure in figures if figure.name == "scores")
    *parts, scores = (mark.xs for mark in figure.marks)
    assert figure.names[-1] == "e"
    assert [sum(each) for each in zip(*parts, strict=True)] == pytest.approx(scores, abs=1e-4)
