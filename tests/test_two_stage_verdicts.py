"""Verdicts of chapter 6, of losses made by hand: each claim follows the arms that it is about, and no others."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.contexts import stage_findings
from llmlab.contexts.arms import stage_arms
from llmlab.contexts.running import ArmRuns
from llmlab.settings import TwoStageSettings
from strategies_contexts import SMALL, arm_runs, compared_by_hand

pytestmark = pytest.mark.usefixtures("one_thread")

EVERY = TwoStageSettings(**SMALL, noises="0,0.1", depths="1,3,6")


def by_hand(losses: dict[str, float], ranks: dict[str, float] | None = None, **others: Any) -> dict[str, Any]:
    """Return the verdicts of arms with these losses by label, a hundredth apart from seed to seed.

    ``others`` are further numbers by metric, then by label; from seed to seed every arm's rise faster than the last's.
    """
    arms, by_name = dict[str, ArmRuns](), dict[str, list[ArmRuns]]()
    for name, each in stage_arms(EVERY).items():
        for arm in each:
            if arm.label in losses:
                values = {
                    seed: {"val_loss_token": losses[arm.label] + seed / 100}
                    | {metric: told.get(arm.label, 1.0) + len(arms) * seed / 100 for metric, told in others.items()}
                    for seed in range(3)
                }
                arms[arm.label] = arm_runs(replace(arm, name=arm.label), values)
                by_name.setdefault(name, []).append(arms[arm.label])
    told = {name: {seed: (rank + seed / 1000, 0.4) for seed in range(3)} for name, rank in (ranks or {}).items()}
    found = compared_by_hand(EVERY, list(arms.values()), told)
    return {finding.claim: finding for finding in stage_findings.of(found, by_name)}


@given(st.floats(0.05, 1), st.booleans())
def test_the_worth_of_the_block_and_of_the_reading_is_a_direction(gap: float, better: bool) -> None:
    """EF-23 and CS-1 follow their own pair of arms, and no other claim is told."""
    sign = -1 if better else 1
    block = by_hand({"untrained block": 3.0, "trained block": 3.0 + sign * gap})
    reading = by_hand({"after, last layer": 3.0, "before": 3.0 + sign * gap})

    assert {claim: each.verdict for claim, each in block.items()} == {"EF-23": "supported" if better else "refuted"}
    assert {claim: each.verdict for claim, each in reading.items()} == {"CS-1": "supported" if better else "refuted"}


def test_noise_is_judged_by_epochs_gap_accuracy_and_loss() -> None:
    """Each of the four claims has its own number; a gap that is smaller by far less than twelve times refutes."""
    told = by_hand(
        {"noise 0": 3.0, "noise 0.1": 3.2},
        best_epoch={"noise 0": 3.0, "noise 0.1": 5.0},
        gap={"noise 0": 1.0, "noise 0.1": 0.5},
        val_accuracy={"noise 0": 0.3, "noise 0.1": 0.1},
    )
    assert {claim: each.verdict for claim, each in told.items()} == {
        "NZ-1": "supported",
        "NZ-2": "refuted",
        "NZ-3": "refuted",
        "NZ-4": "supported",
    }
    twelfth = {"noise 0": 3.0, "noise 0.1": 3.0 - math.log(12) - 0.01}
    told = by_hand({"noise 0": 3.0, "noise 0.1": 3.2}, best_epoch={}, val_accuracy={}, gap=twelfth)
    assert told["NZ-2"].verdict == "supported"
    assert "every run was best" not in told["NZ-1"].evidence


def test_runs_that_still_got_better_when_they_ended_do_not_say_when_they_turn() -> None:
    """Of noise it is then said; that six layers overfit faster is then open."""
    labels = ("noise 0", "noise 0.1", "3 layers", "6 layers")
    still = dict.fromkeys(labels, 0.0)
    told = by_hand(
        dict.fromkeys(labels, 3.0),
        dict.fromkeys(labels, 0.5),
        best_epoch={},
        gap={},
        val_accuracy={},
        gap_last={"3 layers": 0.2, "6 layers": 0.5},
        val_loss_last=still,
    )
    assert told["NZ-1"].evidence.count("every run was best when it ended") == 1
    assert told["CN-9"].verdict == "inconclusive"
    assert "no run had overfitted" in told["CN-9"].evidence


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, "supported"), (0.001, "refuted"), (-0.02, "refuted")])
def test_a_training_that_brings_nothing_is_not_needed(gain: float, verdict: str) -> None:
    """EF-23 is refuted where the gain is surely less than a hundredth of a nat, not only where there is a loss."""
    spread = {seed: 3.0 + seed / 100 for seed in range(3)}
    noisy = {seed: loss - gain + (seed - 1) / 4000 for seed, loss in spread.items()}
    arms = {arm.label: arm for arm in stage_arms(EVERY)["block"]}
    runs = [
        arm_runs(replace(arms[label], name=label), {seed: {"val_loss_token": loss} for seed, loss in losses.items()})
        for label, losses in (("untrained block", spread), ("trained block", noisy))
    ]
    (told,) = stage_findings.of(compared_by_hand(EVERY, runs), {"block": runs})
    assert (told.claim, told.verdict) == ("EF-23", verdict)


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [((3.0, 3.1, 3.2), "supported"), ((3.0, 2.9, 3.2), "refuted"), ((3.0, 3.0, 3.2), "inconclusive")],
)
def test_one_layer_is_best_if_every_other_depth_is_worse(losses: tuple[float, ...], verdict: str) -> None:
    """One better depth refutes it; one that is as good leaves it open; ranks and gaps have claims of their own."""
    labels = ("1 layer", "3 layers", "6 layers")
    told = by_hand(
        dict(zip(labels, losses, strict=True)),
        {"1 layer": 0.9, "3 layers": 0.8, "6 layers": 0.6},
        gap_last={"3 layers": 0.2, "6 layers": 0.5},
    )
    assert told["CN-4"].verdict == verdict
    assert (told["CN-5"].verdict, told["CN-6"].verdict, told["CN-9"].verdict) == ("supported",) * 3
    assert "3 layers 80.1%, 6 layers 60.1%; untrained 40.0% and 40.0%, n = 3" in told["CN-5"].evidence


def test_wiring_is_taken_apart_from_width() -> None:
    """The two designs of the document are one verdict, the token's place at equal widths another.

    Of the latter a rank that is higher at one of the widths only, or by less than half of what is claimed, is a limit.
    """
    labels = ("every, constant", "every, decreasing", "first, constant", "first, decreasing")
    losses = dict(zip(labels, (3.0, 3.1, 3.2, 3.3), strict=True))
    both, one, little = (
        by_hand(losses, dict(zip(labels, ranks, strict=True)))
        for ranks in ((0.8, 0.8, 0.2, 0.2), (0.8, 0.2, 0.2, 0.8), (0.8, 0.8, 0.75, 0.75))
    )
    two = by_hand({label: losses[label] for label in labels[:2]})

    assert (both["TS-1"].verdict, both["TS-2"].verdict, both["TS-3"].verdict) == ("supported", "refined", "supported")
    assert (one["TS-3"].verdict, little["TS-3"].verdict) == ("refined", "refined")
    assert "67.7 points between its designs" in little["TS-3"].evidence
    assert two == {}
    assert set(both) <= set(stage_findings.CLAIMS)
