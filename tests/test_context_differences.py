"""Differences between arms as metrics: named by what is subtracted from what, and subtracted that way."""

import math
from dataclasses import replace

import pytest

from llmlab.lab.context_metrics import differences, interaction, of_each
from llmlab.lab.context_study import ArmRuns
from llmlab.shown import contexts as shown
from llmlab.shown import embedding_freeze, two_stage
from strategies_contexts import FREEZE, arm_named, arm_runs, compared_by_hand

pytestmark = pytest.mark.usefixtures("one_thread")


def arm(name: str, losses: list[float], accuracy: float = 0.5, layers: int = 1) -> ArmRuns:
    """Return an arm with these validation losses by seed, which rose by 0.1 until the last epoch."""
    numbers = {"val_accuracy": accuracy, "best_epoch": 2.0}
    made = arm_named(FREEZE, name)
    made = replace(made, contexts=replace(made.contexts, layers=layers))
    return arm_runs(made, {seed: numbers | {"val_loss_token": loss} for seed, loss in enumerate(losses)})


def test_a_difference_is_the_second_arm_less_the_first_as_its_name_says() -> None:
    """Frozen 2.0 and trained 2.5 by seed: frozen minus trained is -0.5, and the perplexity falls by 39 %."""
    trained, frozen = arm("trained", [2.5, 2.75], 0.25), arm("frozen", [2.0, 2.25], 0.5)
    told = differences(compared_by_hand(FREEZE, [trained, frozen]), [(("trained", trained), ("frozen", frozen))])

    assert told["val_loss_token_frozen_minus_trained"] == -0.5
    assert told["val_loss_token_frozen_minus_trained_n"] == 2
    assert told["val_ppl_change_frozen_minus_trained"] == pytest.approx(math.exp(-0.5) - 1)
    assert told["val_accuracy_frozen_minus_trained"] == 0.25
    assert told["gap_equal_frozen_minus_trained"] == -0.5
    assert not [name for name in told if "trained_minus_frozen" in name]


def test_a_difference_of_ranks_has_the_sign_of_its_name() -> None:
    """Contexts of two layers have a quarter more rank than those of one: two minus one is +0.25."""
    one, two = arm("one", [1.0, 1.0]), arm("two", [1.0, 1.0], layers=2)
    ranks = {"one": {0: (0.5, 0.4), 1: (0.25, 0.4)}, "two": {0: (0.75, 0.4), 1: (0.5, 0.4)}}
    told = differences(compared_by_hand(FREEZE, [one, two], ranks), [(("one", one), ("two", two))])

    assert told["effective_rank_validation_two_minus_one"] == 0.25
    assert told["effective_rank_validation_two_minus_one_n"] == 2


def test_tying_and_freezing_help_each_other_if_freezing_gains_more_when_tied() -> None:
    """Freezing changes a tied loss by -0.5 and an untied one by -0.125: together they gain 0.375 more."""
    arms = [arm(name, [loss, loss]) for name, loss in (("t", 2.5), ("f", 2.0), ("tu", 2.5), ("fu", 2.375))]
    assert interaction(*arms)["val_loss_token_tying_with_freezing"] == -0.375


def test_of_each_arm_its_own_ranks_and_how_far_its_loss_rose_again() -> None:
    """Last loss less best loss is positive; the ranks are those of the trained block and of the untrained one."""
    a = arm("a", [1.0, 2.0])
    told = of_each(compared_by_hand(FREEZE, [a], {"a": {0: (0.5, 0.25), 1: (0.75, 0.25)}}), [("a", a)])

    assert told["val_loss_rise_a"] == pytest.approx(0.1)
    assert told["effective_rank_validation_a"] == 0.625
    assert told["effective_rank_untrained_a"] == 0.25


def test_sentences_go_from_the_first_arm_to_the_second() -> None:
    """Each sentence's share is that of going from what it names first, or from training, to the other."""
    trained, frozen = arm("trained", [2.5, 2.5]), arm("frozen", [2.0, 2.0])

    assert shown.difference(trained, frozen)[0].startswith("From trained to frozen the PPL changes by -39.3%")
    assert two_stage.spread(trained, [frozen, arm("c", [2.75, 2.75])])[0].startswith(
        "2 changes, one at a time, move the PPL by -39.3% (frozen) to +28.4% (c)"
    )
    assert (
        "-39.3% at 100 tokens; +64.9% at 200 tokens"
        in embedding_freeze.crossing([(100, frozen, trained), (200, trained, frozen)])[0]
    )
