"""How arms are compared: pairs seed by seed, named by what is subtracted from what, and in tables that say n."""

import math
from dataclasses import replace

import pytest

from llmlab.lab import context_metrics
from llmlab.lab.context_metrics import differences, interaction, of_each
from llmlab.lab.context_runs import ArmRuns
from llmlab.measure.stats import mean_interval
from llmlab.shown import contexts as shown
from llmlab.shown import embedding_freeze, two_stage
from llmlab.shown.table import means
from strategies_contexts import FREEZE, arm_named, arm_runs, compared_by_hand, small_text


def by_loss(name: str, *values: float, accuracy: float = 1.0, layers: int = 1) -> ArmRuns:
    """Return an arm with these losses, seed by seed and in every document, which rose by 0.1 until the last epoch."""
    same = dict.fromkeys(("gap", "gap_last", "best_epoch", "epochs", "updates"), 1.0) | {"val_accuracy": accuracy}
    of_loss = ("val_loss_token", "train_loss_at_best", "train_loss_last")
    told = {seed: same | dict.fromkeys(of_loss, loss) | {"val_ppl": math.exp(loss)} for seed, loss in enumerate(values)}
    made = arm_named(FREEZE, name)
    found, counts = arm_runs(replace(made, contexts=replace(made.contexts, layers=layers)), told), small_text()
    sums = ([loss * count for count in counts.valid_counts] for loss in values)
    found.runs = [replace(run, valid_sums=each) for run, each in zip(found.runs, sums, strict=True)]
    return found


def with_losses(arm: ArmRuns, *epochs: tuple[float, float]) -> None:
    """Give every run of an arm these validation and train losses, epoch by epoch."""
    rows = [{"val_loss_token": valid, "train_loss_token": train} for valid, train in epochs]
    arm.runs = [replace(run, history=rows) for run in arm.runs]


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_a_difference_is_the_second_arm_less_the_first_as_its_name_says() -> None:
    """Frozen 2.0 and trained 2.5: frozen minus trained is -0.5 by seeds as by documents, and the PPL falls by 39 %.

    The gap between validation and train loss is compared after the last epoch that both made: 0.25 less 0.75.
    """
    trained, frozen = by_loss("trained", 2.5, 2.75, accuracy=0.25), by_loss("frozen", 2.0, 2.25, accuracy=0.5, layers=2)
    with_losses(trained, (2.0, 1.5), (2.0, 1.25), (9.0, 1.0))
    with_losses(frozen, (2.0, 1.5), (1.5, 1.25))
    have = {"trained": trained, "frozen": frozen}
    ranks = {"trained": {0: (0.5, 0.25), 1: (0.25, 0.25)}, "frozen": {0: (0.75, 0.5), 1: (0.5, 0.5)}}
    found = compared_by_hand(FREEZE, [trained, frozen], ranks)

    told = differences(found, have, [("trained", "frozen")])

    names = ("val_loss_token", "val_ppl_change", "val_accuracy", "gap_equal", "effective_rank_validation")
    wanted = dict(zip(names, (-0.5, math.expm1(-0.5), 0.25, -0.5, 0.25), strict=True))
    assert {name: told[f"{name}_frozen_minus_trained"] for name in names} == pytest.approx(wanted)
    assert [told[f"{name}_frozen_minus_trained_n"] for name in names if name != "val_ppl_change"] == [2] * 4
    assert [told[f"val_loss_token_frozen_minus_trained_doc_{end}"] for end in ("low", "high")] == pytest.approx(
        [-0.5] * 2
    )
    assert not [name for name in told if "trained_minus_frozen" in name]
    # and of each arm its own ranks, and how far its loss rose again
    alone = of_each(found, have)
    assert alone["val_loss_rise_trained"] == pytest.approx(0.1)
    assert (alone["effective_rank_validation_trained"], alone["effective_rank_untrained_trained"]) == (0.375, 0.25)


def test_tying_and_freezing_help_each_other_if_freezing_gains_more_when_tied() -> None:
    """Freezing changes a tied loss by -0.5 and an untied one by -0.125: together they gain 0.375 more."""
    arms = [by_loss(name, loss, loss) for name, loss in (("t", 2.5), ("f", 2.0), ("tu", 2.5), ("fu", 2.375))]
    tied, untied = (arms[0], arms[1]), (arms[2], arms[3])
    assert interaction(untied, tied)["val_loss_token_tying_with_freezing"] == -0.375


def test_samples_have_no_gaps_and_metrics_end_in_their_arm() -> None:
    """Values by seed only of arms that finished every seed; what is not there is null with its reason."""
    lost = ArmRuns(arm_named(FREEZE, "noise-0.05"), diverged={0: 3})
    found = compared_by_hand(FREEZE, [by_loss("main", 1.0, 2.0), by_loss("b-c", 2.0), lost])
    metrics = context_metrics.metrics(found)

    assert set(context_metrics.samples(found)) == {"val_ppl", "val_loss_token", "val_accuracy"}
    assert (metrics["val_loss_token"], metrics["val_loss_token_b_c"]) == (1.5, 2.0)
    assert metrics["val_ppl_noise_0_05"] is None
    assert metrics["val_ppl_noise_0_05_reason"] == "seed 0 diverged at update 3"
    assert metrics["total_parameters"] == 20
    assert (metrics["stage1_seam_error"], metrics["stage1_max_error"]) == (2e-6, 1e-6)
    assert (metrics["effective_rank"], metrics["effective_rank_untrained"]) == (0.5, 0.4)
    for each in found.contexts.values():
        each[:] = [replace(one, rows=[]) for one in each]
    untrained = context_metrics.metrics(found)
    assert untrained["converged_fraction"] is None
    assert "not trained" in str(untrained["converged_fraction_reason"])


# ---- tables and sentences -------------------------------------------------------------------------------------------


def test_tables_have_n_means_and_intervals() -> None:
    arms = [by_loss("a", 3.0, 3.1, 3.2), by_loss("b", 3.0), ArmRuns(arm_named(FREEZE, "c"), diverged={0: 3})]
    told = shown.arms("x", arms, compared_by_hand(FREEZE, arms))
    cells = [dict(zip([column.name for column in told.columns], row, strict=True)) for row in told.rows]
    wanted = {end: math.exp(loss) for end, loss in mean_interval([3.0, 3.1, 3.2]).items()}

    assert [row["n"] for row in cells] == [3, 1, 0]
    assert [cells[0][name] for name in ("val PPL", "95 % low", "95 % high")] == pytest.approx(
        [wanted[end] for end in ("", "_low", "_high")]
    )
    assert cells[1]["95 % low"] is None
    assert (cells[2]["val PPL"], cells[2]["state"]) == (None, "seed 0 diverged at update 3")


def test_curves_end_with_their_shortest_seed() -> None:
    arm = by_loss("a", 3.0, 2.0)
    with_losses(arm, (3.0, 1.0), (2.0, 1.0), (1.0, 1.0))
    arm.runs[0] = replace(arm.runs[0], history=arm.runs[0].history[:2])

    assert means(run.curve("val_loss_token") for run in arm.runs) == [3.0, 2.0]
    assert [row[1] for row in shown.epochs([arm]).rows] == [*map(pytest.approx, map(math.exp, (3, 2))), None]


def test_the_spread_needs_two_changes_and_names_the_ends() -> None:
    main, least, most = by_loss("main", 2.0), by_loss("a", 1.9), by_loss("b", 2.2)

    assert two_stage.spread(main, [least]) == []
    (told,) = two_stage.spread(main, [most, least])
    assert "2 changes, one at a time, move the PPL by -9.5% (a) to +22.1% (b)" in told


def test_sentences_go_from_the_first_arm_to_the_second() -> None:
    """Each sentence's share is that of going from what it names first, or from training, to the other."""
    trained, frozen = by_loss("trained", 2.5, 2.5), by_loss("frozen", 2.0, 2.0)

    assert shown.difference(trained, frozen)[0].startswith("From trained to frozen the PPL changes by -39.3%")
    (told,) = embedding_freeze.crossing([(100, frozen, trained), (200, trained, frozen)])
    assert "-39.3% at 100 tokens; +64.9% at 200 tokens" in told
