"""Verdicts of chapter 5, of losses made by hand: freezing, its size, growth, and counts that are arithmetic."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.contexts import freeze_findings
from llmlab.contexts.arms import freeze_arms, grown
from llmlab.contexts.running import ArmRuns
from strategies_contexts import GROWN, arm_runs, compared_by_hand

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(losses: dict[str, list[float]], growth: dict[int, tuple[float, float]] | None = None) -> dict[str, str]:
    """Return the verdicts of a comparison with these losses by arm and seed; growth has (frozen, trained) by size."""
    arms = {arm.name: arm for arm in freeze_arms(replace(GROWN, grow="none"))}

    def with_losses(arm: Any, values: list[float]) -> ArmRuns:
        return arm_runs(arm, {seed: {"val_loss_token": v} for seed, v in enumerate(values)})

    found = compared_by_hand(GROWN, [with_losses(arms[name], values) for name, values in losses.items()])
    sizes = []
    for tokens, pair in (growth or {}).items():
        both = [
            with_losses(grown(arms[name], tokens), [loss, loss + 0.01, loss + 0.02])
            for name, loss in zip(("frozen", "trained"), pair, strict=True)
        ]
        sizes.append((tokens, *both))
    return {finding.claim: finding.verdict for finding in freeze_findings.of(found, sizes)}


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.booleans())
def test_the_direction_of_freezing_decides_its_claims(gains: list[float], frozen_wins: bool) -> None:
    """Equal gains in every seed decide; the claimed 72 % is refined by half of it in nats and refuted by less."""
    gain = sum(gains) / 3
    sign = 1 if frozen_wins else -1
    told = by_hand({"frozen": [3.0] * 3, "trained": [3 + sign * gain] * 3, "random-frozen": [3 + gain] * 3})

    assert told["EF-1"] == ("supported" if frozen_wins else "refuted")
    assert told["EF-25"] in (("supported", "refined") if frozen_wins else ("refuted",))
    assert told["EF-11"] == ("refined" if frozen_wins and gain > -math.log(1 - 0.719) / 2 else "refuted")
    assert told["EF-18"] == "supported"
    assert "WT-2" not in told
    assert "EF-20" not in told


def test_freezing_is_stabler_if_its_losses_differ_less_over_seeds() -> None:
    """A smaller gap and a smaller spread support the claim; a smaller gap and a larger spread refine it."""
    wide, narrow = [3.9, 4.0, 4.1], [2.99, 3.0, 3.01]

    assert by_hand({"frozen": narrow, "trained": wide})["EF-25"] == "supported"
    assert by_hand({"frozen": [loss - 1 for loss in wide], "trained": [4.0] * 3})["EF-25"] == "refined"


def test_a_drop_of_72_percent_supports_its_claim() -> None:
    """From 1,189 to 334, with a spread over seeds that holds it."""
    told = by_hand({"frozen": [math.log(334) + d for d in (-0.1, 0, 0.1)], "trained": [math.log(1189)] * 3})
    assert told["EF-11"] == "supported"


@pytest.mark.parametrize(
    ("growth", "verdict"),
    [
        ({1_000: (3.0, 3.1), 64_000: (3.0, 3.2)}, "refined"),
        ({1_000: (3.0, 3.1), 64_000: (3.2, 3.0)}, "refuted"),
        ({1_000: (3.0, 3.1), 2_000_000: (3.2, 3.0)}, "supported"),
        ({1_000: (3.0, 3.0), 64_000: (3.0, 3.2)}, "inconclusive"),
        ({2_000_000: (3.0, 3.1), 3_000_000: (3.0, 3.1)}, "inconclusive"),
    ],
)
def test_below_a_million_means_at_every_size_below_a_million(
    growth: dict[int, tuple[float, float]], verdict: str
) -> None:
    """One size that speaks against it refutes it, one that is open leaves it open, sizes above it say nothing.

    None near it refines.
    """
    assert by_hand({"frozen": [3.0] * 3, "trained": [3.1] * 3}, growth)["EF-20"] == verdict


def test_counts_are_arithmetic() -> None:
    """The document's counts against exact ones: 49.2 million and 85.6 % fewer are wrong, 7.09 and 52.78 are right."""
    told = {finding.claim: finding for finding in freeze_findings.counts()}

    assert "exactly 45,690,624 of 52,782,336" in told["EF-13"].evidence
    assert "exactly 7,093,248 of 52,782,336, 13.4%" in told["EF-14"].evidence
    assert "exactly 91,429,969 to 52,782,336" in told["WT-1"].evidence
    assert [told[claim].verdict for claim in ("EF-13", "EF-14", "EF-15", "WT-1")] == [
        *("refuted", "supported", "refuted", "supported")
    ]
