"""How arms are compared: pairs seed by seed, named by what is subtracted from what, and in tables that say n."""

import math
from dataclasses import replace

import pytest

from llmlab.lab import context_metrics
from llmlab.lab.context_metrics import change, differences, interaction, of_each, paired_gap
from llmlab.lab.context_runs import ArmRuns
from llmlab.measure.stats import mean_interval
from llmlab.shown import contexts as shown
from llmlab.shown import embedding_freeze, two_stage
from llmlab.shown.table import means
from strategies_contexts import FREEZE, arm_named, arm_runs, compared_by_hand, small_text

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- pairs -----------------------------------------------------------------------------------------------------------


def test_the_gap_of_the_second_arm_is_larger_by_its_own_gap() -> None:
    """Validation less train loss, after the last epoch that both made: 0.75 against 0.25 is half a nat more."""
    arms = [arm_runs(arm_named(FREEZE, name), {0: {}, 1: {}}) for name in ("a", "b")]
    epochs = [([2.0, 1.5], [1.5, 1.25]), ([2.0, 2.0, 9.0], [1.5, 1.25, 1.0])]
    for arm, both in zip(arms, epochs, strict=True):
        rows = [{"val_loss_token": valid, "train_loss_token": train} for valid, train in zip(*both, strict=True)]
        arm.runs[:] = [replace(run, history=rows) for run in arm.runs]

    assert paired_gap(*arms)[""] == 0.5
    assert paired_gap(*arms[::-1])[""] == -0.5
    assert paired_gap(*arms)["_n"] == 2


def test_documents_give_the_difference_the_same_sign() -> None:
    arms = [arm_runs(arm_named(FREEZE, name), {0: {}, 1: {}}) for name in ("a", "b")]
    task = small_text()
    for arm, loss in zip(arms, (1.0, 1.25), strict=True):
        arm.runs[:] = [replace(run, valid_sums=[loss * count for count in task.valid_counts]) for run in arm.runs]

    told = change("val_loss_token", task, *arms)
    assert [told["_doc_low"], told["_doc_high"]] == [pytest.approx(0.25)] * 2


# ---- how a comparison is told ---------------------------------------------------------------------------------------


def by_loss(name: str, *values: float, accuracy: float = 1.0, layers: int = 1) -> ArmRuns:
    """Return an arm with these losses, seed by seed, which rose by 0.1 until the last epoch."""
    same = dict.fromkeys(("gap", "gap_last", "best_epoch", "epochs", "updates"), 1.0) | {"val_accuracy": accuracy}
    of_loss = ("val_loss_token", "train_loss_at_best", "train_loss_last")
    told = {seed: same | dict.fromkeys(of_loss, loss) | {"val_ppl": math.exp(loss)} for seed, loss in enumerate(values)}
    made = arm_named(FREEZE, name)
    return arm_runs(replace(made, contexts=replace(made.contexts, layers=layers)), told)


def test_tables_have_n_means_and_intervals() -> None:
    arms = [by_loss("a", 3.0, 3.1, 3.2), by_loss("b", 3.0), ArmRuns(arm_named(FREEZE, "c"), diverged={0: 3})]
    told = shown.arms("x", arms, compared_by_hand(FREEZE, arms))
    cells = [dict(zip([column.name for column in told.columns], row, strict=True)) for row in told.rows]
    wanted = mean_interval([3.0, 3.1, 3.2])

    assert [row["n"] for row in cells] == [3, 1, 0]
    assert [cells[0][name] for name in ("val PPL", "95 % low", "95 % high")] == [
        pytest.approx(math.exp(wanted[end])) for end in ("", "_low", "_high")
    ]
    assert cells[1]["95 % low"] is None
    assert (cells[2]["val PPL"], cells[2]["state"]) == (None, "seed 0 diverged at update 3")


def test_samples_have_no_gaps_and_metrics_end_in_their_arm() -> None:
    """Values by seed only of arms that finished every seed; an arm without a run is null with its reason."""
    lost = ArmRuns(arm_named(FREEZE, "noise-0.05"), diverged={0: 3})
    found = compared_by_hand(FREEZE, [by_loss("main", 1.0, 2.0), by_loss("b-c", 2.0), lost])
    metrics = context_metrics.metrics(found)

    assert set(context_metrics.samples(found)) == {"val_ppl", "val_loss_token", "val_accuracy"}
    assert metrics["val_loss_token"] == 1.5
    assert metrics["val_loss_token_b_c"] == 2.0
    assert metrics["val_ppl_noise_0_05"] is None
    assert metrics["val_ppl_noise_0_05_reason"] == "seed 0 diverged at update 3"
    assert metrics["total_parameters"] == 20
    assert (metrics["stage1_seam_error"], metrics["stage1_max_error"]) == (2e-6, 1e-6)
    assert (metrics["effective_rank"], metrics["effective_rank_untrained"]) == (0.5, 0.4)


def test_an_untrained_block_has_no_share_that_converged() -> None:
    """The contract's name is there all the same, as null with its reason."""
    found = compared_by_hand(FREEZE, [by_loss("main", 1.0)])
    for each in found.contexts.values():
        each[:] = [replace(one, rows=[]) for one in each]
    metrics = context_metrics.metrics(found)

    assert metrics["converged_fraction"] is None
    assert "not trained" in str(metrics["converged_fraction_reason"])


def test_curves_end_with_their_shortest_seed() -> None:
    arm = by_loss("a", 3.0, 2.0)
    rows = [{"val_loss_token": loss} for loss in (3.0, 2.0, 1.0)]
    arm.runs = [replace(run, history=rows[: 2 + run.seed]) for run in arm.runs]

    assert means(run.curve("val_loss_token") for run in arm.runs) == [3.0, 2.0]
    assert [row[1] for row in shown.epochs([arm]).rows] == [
        pytest.approx(math.exp(3)),
        pytest.approx(math.exp(2)),
        None,
    ]


def test_the_spread_needs_two_changes_and_names_the_ends() -> None:
    main, least, most = by_loss("main", 2.0), by_loss("a", 1.9), by_loss("b", 2.2)

    assert two_stage.spread(main, [least]) == []
    (told,) = two_stage.spread(main, [most, least])
    assert "2 changes, one at a time, move the PPL by -9.5% (a) to +22.1% (b)" in told


# ---- differences as metrics -----------------------------------------------------------------------------------------


def test_a_difference_is_the_second_arm_less_the_first_as_its_name_says() -> None:
    """Frozen 2.0 and trained 2.5 by seed: frozen minus trained is -0.5, and the perplexity falls by 39 %."""
    trained, frozen = by_loss("trained", 2.5, 2.75, accuracy=0.25), by_loss("frozen", 2.0, 2.25, accuracy=0.5)
    told = differences(
        compared_by_hand(FREEZE, [trained, frozen]), {"trained": trained, "frozen": frozen}, [("trained", "frozen")]
    )

    assert told["val_loss_token_frozen_minus_trained"] == -0.5
    assert told["val_loss_token_frozen_minus_trained_n"] == 2
    assert told["val_ppl_change_frozen_minus_trained"] == pytest.approx(math.exp(-0.5) - 1)
    assert told["val_accuracy_frozen_minus_trained"] == 0.25
    assert told["gap_equal_frozen_minus_trained"] == -0.5
    assert not [name for name in told if "trained_minus_frozen" in name]


def test_a_difference_of_ranks_has_the_sign_of_its_name() -> None:
    one, two = by_loss("one", 1.0, 1.0), by_loss("two", 1.0, 1.0, layers=2)
    ranks = {"one": {0: (0.5, 0.4), 1: (0.25, 0.4)}, "two": {0: (0.75, 0.4), 1: (0.5, 0.4)}}
    told = differences(compared_by_hand(FREEZE, [one, two], ranks), {"one": one, "two": two}, [("one", "two")])

    assert told["effective_rank_validation_two_minus_one"] == 0.25
    assert told["effective_rank_validation_two_minus_one_n"] == 2


def test_tying_and_freezing_help_each_other_if_freezing_gains_more_when_tied() -> None:
    """Freezing changes a tied loss by -0.5 and an untied one by -0.125: together they gain 0.375 more."""
    arms = [by_loss(name, loss, loss) for name, loss in (("t", 2.5), ("f", 2.0), ("tu", 2.5), ("fu", 2.375))]
    tied, untied = (arms[0], arms[1]), (arms[2], arms[3])
    assert interaction(untied, tied)["val_loss_token_tying_with_freezing"] == -0.375


def test_of_each_arm_its_own_ranks_and_how_far_its_loss_rose_again() -> None:
    """Last loss less best loss is positive; the ranks are those of the trained block and of the untrained one."""
    a = by_loss("a", 1.0, 2.0)
    told = of_each(compared_by_hand(FREEZE, [a], {"a": {0: (0.5, 0.25), 1: (0.75, 0.25)}}), {"a": a})

    assert told["val_loss_rise_a"] == pytest.approx(0.1)
    assert told["effective_rank_validation_a"] == 0.625
    assert told["effective_rank_untrained_a"] == 0.25


def test_sentences_go_from_the_first_arm_to_the_second() -> None:
    """Each sentence's share is that of going from what it names first, or from training, to the other."""
    trained, frozen = by_loss("trained", 2.5, 2.5), by_loss("frozen", 2.0, 2.0)

    assert shown.difference(trained, frozen)[0].startswith("From trained to frozen the PPL changes by -39.3%")
    assert (
        "-39.3% at 100 tokens; +64.9% at 200 tokens"
        in embedding_freeze.crossing([(100, frozen, trained), (200, trained, frozen)])[0]
    )
