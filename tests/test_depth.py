"""A depth sweep without training: which depths there are, exact counts, pairs, and equal time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done
from llmlab import layers
from llmlab.errors import SettingError
from llmlab.lab.runs import LanguageRun, epochs_in_equal_time
from llmlab.lab.sizes import Size
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, Runs
from llmlab.measure.score import Score
from llmlab.report.result import time_span
from llmlab.settings import LanguageSettings, LayersSettings, flag
from llmlab.shown.layers import Stack, reading


def test_the_parameters_of_the_original_depths_are_exact():
    """Each depth of the original notes has the count that its formula gives, 262,656 for each layer."""
    counts = {n: Size(layers=n).parameters() for n in (1, 4, 5, 6, 7)}

    assert counts == {1: 1_426_152, 4: 2_214_120, 5: 2_476_776, 6: 2_739_432, 7: 3_002_088}


def test_the_original_preset_is_the_documents_sweep():
    """Its depths, batch, rate, epochs and patience, and one run each."""
    original = LayersSettings(preset="original")

    assert original.depths == [1, 2, 3, 4, 5, 6, 7]
    assert (original.batch, original.lr, original.epochs, original.patience, original.seeds) == (2048, 8e-4, 150, 30, 1)
    assert original.stacks == ["plain"]


def test_every_model_of_a_sweep_is_one_of_chapter_three():
    """All settings but depth and stack are shared, and belong to New-LLM."""
    swept = LayersSettings(lr=0.5, dropout=0.25, seeds=7)
    one = swept.of_one(3, "residual", resume="auto")
    shared = {field.name for field in fields(LanguageSettings)} - {"stack", "resume", "seeds"}

    assert all(getattr(one, name) == getattr(swept, name) for name in shared)
    assert (one.model, one.layers, one.stack, one.resume) == ("new-llm", 3, "residual", "auto")
    assert one.seeds == 1


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8, unique=True))
def test_depths_are_read_in_any_order_and_come_in_order(wanted: list[int]):
    """A list of different depths is what it says, sorted; each of them may be trained alone."""
    words = ", ".join(map(str, wanted))

    assert LayersSettings(layers=words).depths == sorted(wanted)
    assert LayersSettings(layers=words, only=str(wanted[0])).depths == [wanted[0]]


@pytest.mark.parametrize("name", ["layers", "only"])
@pytest.mark.parametrize("value", ["0", "1,x", "1,1", "65", "-1", "1.5", ",", "1,,2", " ", "9" * 30, "²", "nan"])
def test_a_list_that_is_no_list_of_depths_is_refused_by_name(name: str, value: str):
    """Zero, words, doubles, nothing between commas and the absurd are refused, and the option is named."""
    with pytest.raises(SettingError, match=flag(name)):
        LayersSettings(**{name: value})


def test_only_takes_depths_of_the_sweep():
    """A depth that the sweep has not is refused; so is no depth at all."""
    with pytest.raises(SettingError, match="--only: 3 is not among --layers 1,2"):
        LayersSettings(layers="1,2", only="1,3")
    with pytest.raises(SettingError, match="--layers"):
        LayersSettings(layers="")


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (119, "119 s"), (720, "12 min"), (37 * 3600, "37.0 h")])
def test_a_span_of_time_has_the_unit_that_fits(seconds: float, words: str):
    """Seconds, then minutes, then hours."""
    assert time_span(seconds) == words


WORSE = {1: [20.0, 20.2, 20.1], 5: [20.5, 20.8, 20.6], 6: [21.5, 21.8, 21.7]}
"""Validation PPL of three seeds that rises with depth in each of them."""


def made(seed: int, ppl: float, train: float = 2.0, ends: Sequence[float] = (1.0,)) -> LanguageRun:
    """Return a finished run of these numbers, its epochs at these seconds, the last one's loss that of the PPL."""
    loss = math.log(ppl)
    rows = [
        {"val_loss": loss, "val_loss_token": loss + len(ends) - n, "seconds": end, "updates": float(n)}
        for n, end in enumerate(ends, 1)
    ]
    numbers = {"val_ppl": ppl, "val_loss_token": loss, "train_loss_no_dropout": train, "gap": loss - train}
    return LanguageRun(seed, 0, "fp32", rows, len(rows), Score(loss, loss, 0, 0, 0, 0, 1, [], []), numbers)


def stack(depth: int, runs: list[LanguageRun]) -> Stack:
    """Return a depth with runs made by hand."""

    def nothing(seed: int, on_step: OnStep) -> LanguageRun:
        raise AssertionError(seed, on_step)

    return Stack(f"L{depth}", depth, 0, Runs(Arm(f"L{depth}", 1, nothing), runs), epochs=1)


def by_hand(ppls: dict[int, list[float]], trains: dict[int, list[float]]) -> list[Stack]:
    """Return a sweep with the numbers given by depth and seed."""
    return [stack(n, list(map(made, range(len(own)), own, trains[n]))) for n, own in ppls.items()]


def test_the_words_under_the_table_follow_both_losses():
    """PPL and train loss that rise together with depth are underfitting; a train loss that falls is overfitting."""
    rising, falling = {1: [2.7, 2.71, 2.72], 5: [2.8, 2.82, 2.81], 6: [2.9, 2.92, 2.93]}, {1: [2.9] * 3, 5: [2.8] * 3}
    falling[6] = [2.7] * 3

    assert "underfitting, not overfitting" in reading(by_hand(WORSE, rising))[0]
    assert reading(by_hand(WORSE, falling))[0].endswith("overfitting.")
    assert reading(by_hand(WORSE, falling)[:1]) == []


def test_differences_between_depths_are_metrics_with_their_intervals():
    """Every deeper stack minus every shallower one, seed by seed; with one seed there is no interval."""
    found = layers.differences(by_hand(WORSE, {n: [2.0] * 3 for n in WORSE}))
    few = layers.differences(by_hand({n: ppls[:1] for n, ppls in WORSE.items()}, {n: [2.0] for n in WORSE}))

    assert found["val_ppl_L6_minus_L5"] == pytest.approx(31 / 30)
    assert found["val_ppl_L6_minus_L5_low"] == pytest.approx(31 / 30 - 4.3027 * (1 / 300) ** 0.5 / 3**0.5, rel=1e-3)
    assert (found["train_loss_L5_minus_L1"], found["val_ppl_L6_minus_L1_n"]) == (0, 3)
    assert (few["val_ppl_L6_minus_L5"], few["val_ppl_L6_minus_L5_n"]) == (1.0, 1)
    assert "val_ppl_L6_minus_L5_low" not in few


@given(st.lists(st.tuples(st.floats(1, 99), st.floats(1, 99)), min_size=1, max_size=6), st.data())
def test_pairs_are_only_made_of_seeds_that_both_finished(values: list[tuple[float, float]], data: st.DataObject):
    """Whatever runs are missing, the mean difference is that of the common seeds."""
    lost = [data.draw(st.sets(st.integers(0, len(values) - 1))) for _ in range(2)]
    one, other = (
        stack(side, [made(seed, pair[side]) for seed, pair in enumerate(values) if seed not in lost[side]])
        for side in (0, 1)
    )
    wanted = [b - a for seed, (a, b) in enumerate(values) if seed not in lost[0] | lost[1]]
    told = other.minus(one, "val_ppl")

    assert told.get("n", 0) == len(wanted)
    if wanted:
        assert told[""] == pytest.approx(sum(wanted) / len(wanted))


def test_equal_time_gives_the_slower_fewer_epochs():
    """A stack that takes twice as long gets half the epochs; one that gets none has no PPL."""
    slow = {1: 1.0, 5: 2.0, 6: 9.0}
    stacks = [stack(n, [made(0, 2.0, ends=[step * k for k in (1, 2, 3, 4)])]) for n, step in slow.items()]
    fits = epochs_in_equal_time({one.label: one.runs for one in stacks})
    found = [layers.of_stack(one, 4, fits[one.label]) for one in stacks]

    assert fits == {"L1": 4, "L5": 2, "L6": 0}
    assert [found[n][f"val_ppl_equal_time_L{depth}"] for n, depth in enumerate(slow)] == [
        pytest.approx(2.0),
        pytest.approx(2.0 * math.e**2),
        None,
    ]
    equal = [own[f"val_ppl_equal_updates_L{depth}"] for own, depth in zip(found, slow, strict=True)]
    assert equal == pytest.approx([2.0] * 3)


def test_the_command_line_knows_the_remedy_both_ways():
    """``--remedy`` and ``--no-remedy`` are both options; pocket has it, the original conditions do not."""
    assert LayersSettings().stacks == ["plain", "residual"]
    assert LayersSettings(remedy=False).stacks == ["plain"]
    assert LayersSettings(stack="residual").stacks == ["residual"]
    assert LayersSettings(preset="original", remedy=True).stacks == ["plain", "residual"]


@pytest.mark.parametrize("words", [("--layers", "0"), ("--layers", ""), ("--only", "5"), ("--layers", "1,1")])
def test_the_command_line_refuses_before_torch(run_llmlab: Callable[..., Done], words: tuple[str, str]):
    """Exit 2 with the option's name, and nothing is written."""
    done = run_llmlab("layers", *words)

    assert (done.code, done.out) == (2, "")
    assert words[0] in done.err
    assert list(done.folder.iterdir()) == []
