"""Chapter 1 as a reader meets it: what its result says, and that it is true."""

import math

import pytest
from hypothesis import given, settings

from claims_by_hand import verdicts
from llmlab import phase1
from llmlab.report.record import Record
from llmlab.report.result import Result
from llmlab.settings import Phase1Settings
from strategies import any_texts

SEEDS = 1_000


@pytest.fixture(scope="module")
def thousand() -> Result:
    return phase1.run(Phase1Settings(seeds=SEEDS))


def test_the_embedding_does_not_move_at_all(thousand: Result):
    """Zero, not small: over a thousand seeds no embedding number changed."""
    moved = {name: value for name, value in thousand.metrics.items() if name.startswith(("moved_", "embedding_moved"))}

    assert set(moved.values()) == {0.0}
    assert thousand.metrics["linear_moved"] > 1


def test_the_loss_stays_above_the_exact_floor_and_falls_as_measured_elsewhere(thousand: Result):
    """The quantiles are those another program measured, within four standard errors of its sample of 1,000."""
    measured = {"loss_p05": 0.3555, "loss_p50": 0.3633, "loss_p95": 0.3840}

    for name, level in (("loss_p05", 0.05), ("loss_p50", 0.5), ("loss_p95", 0.95)):
        below = sum(loss < measured[name] for loss in thousand.samples["loss"]) / SEEDS
        assert abs(below - level) < 4 * math.sqrt(2 * level * (1 - level) / SEEDS), name
    assert thousand.metrics["loss_floor"] == pytest.approx(math.log(2) / 2)
    assert min(thousand.samples["loss"]) > thousand.metrics["loss_floor"]


def test_the_verdicts_on_the_notes_claims_follow_from_the_numbers(thousand: Result):
    """The loss and the prediction are as claimed; the freedom is not limited; two logged losses are out of place."""
    assert verdicts(thousand) == {
        "P1-1": "supported",
        "P1-2": "supported",
        "P1-3": "supported",
        "P1-4": "supported",
        "P1-5": "supported",
        "P1-6": "refined",
        "P1-7": "refined",
    }


def test_one_seed_or_another_text_decides_nothing_of_the_notes_run():
    one, other = phase1.run(Phase1Settings()), phase1.run(Phase1Settings(text="banana", seeds=25))

    assert verdicts(one) == verdicts(other) == {"P1-4": "supported"}
    assert not [name for name in one.metrics if name.endswith(("_sd", "_low", "_high"))]


def test_how_far_the_output_layer_can_reach_is_counted():
    """In one dimension three inputs are never independent, in two nearly always; what is frozen changes by nothing."""
    for dim, share in ((1, 0.0), (2, 1.0), (8, 1.0)):
        metrics = phase1.run(Phase1Settings(dim=dim, seeds=5, epochs=3)).metrics
        assert metrics["reaches_every_table_fraction"] == share
        assert metrics["embedding_change_max"] == 0


def test_more_dimensions_make_the_frozen_model_faster():
    """With two dimensions the median loss is far from the floor, with eight it is close."""
    two, eight = (phase1.run(Phase1Settings(dim=dim, seeds=200)).metrics["loss_p50"] for dim in (2, 8))

    assert two > eight + 0.1


def test_divergence_is_a_result_of_its_own():
    result = phase1.run(Phase1Settings(lr=1e37, epochs=50))

    assert result.status == "diverged"
    assert result.metrics["loss"] is None
    assert "update" in result.metrics["loss_reason"]


@settings(max_examples=25)
@given(any_texts)
def test_any_text_gives_a_result_that_survives_strict_json(text: str):
    result = phase1.run(Phase1Settings(text=text, dim=2, epochs=3))

    record = Record(result, "0", "2026-11-22T00:00:00Z", "llmlab", 0.0)

    assert Record.from_json(record.json()) == record
    assert result.metrics["loss"] >= result.metrics["loss_floor"] - 1e-6
