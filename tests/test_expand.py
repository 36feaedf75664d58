"""A longer context for a trained New-LLM: what the arithmetic says of it, and that it is what is measured.

That the gradients with two LayerNorms are autograd's is shown where all gradients are: in ``test_sweep``.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from claims_by_hand import verdicts
from llmlab.after import expand
from llmlab.after.expand import (
    context_values,
    count,
    expanded,
    growth,
    hold_still,
    largest_difference,
    parts,
    spread,
)
from llmlab.baseline import ContextVectorLM
from llmlab.errors import CheckpointError, SettingError
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import EPS
from llmlab.lab.sizes import Size
from llmlab.report.result import Result
from llmlab.settings import ExpandSettings
from llmlab.shown.expand import curves
from strategies_trained import grown_up, saved, sizes, state_of, windows

SIZES, MORE = sizes(1), st.integers(1, 7)
WIDE = Size(20, 16, 32, 16, 2)


def trained(model: ContextVectorLM, *, hold: int = 0, recipe: Recipe | None = None) -> ContextVectorLM:
    """Return a model after some updates with dropout and clipping; ``hold`` holds so many old numbers still."""
    rows = windows(model.size.vocabulary, 40)
    mask = partial(hold_still, size=model.size, old=hold) if hold else None
    Training(SweptNewLLM(model), rows, rows[:4], recipe or Recipe(4, 16, 0.01), mask_gradients=mask).run()
    return model


# ---- the larger model ----------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(SIZES, MORE, st.integers(0, 99))
def test_a_layer_norm_of_its_own_leaves_every_score_as_it_was(size: Size, more: int, seed: int):
    """With zero columns and the new part normalised for itself, every model scores as before."""
    model, rows = grown_up(size, seed), windows(size.vocabulary, 6)
    # in float64: a LayerNorm over two numbers that happen to lie close together makes a thousand roundings of one
    model.parameters = {name: tensor.double() for name, tensor in model.parameters.items()}
    larger = expanded(model, size.context + more, rows="random", own_norm=True, seed=seed)
    assert (larger.logits(rows) - model.logits(rows)).abs().max() <= 1e-9


@given(SIZES, MORE)
def test_old_and_new_numbers_have_parts_of_their_own(size: Size, more: int):
    """They share no entry, together are all that grew, and as many as ``count`` says.

    New gains are 1, random rows have no 0, and all else new is 0; the trained numbers are a copy.
    """
    model = grown_up(size)
    made = expanded(model, size.context + more, rows="random")
    seen = {name: torch.zeros(shape) for name, shape in made.size.shapes().items()}
    for first, last in ((0, size.context), (size.context, made.size.context)):
        before = sum(float(tensor.sum()) for tensor in seen.values())
        for name, here in parts(made.size, first, last):
            seen[name][here] += 1
        assert sum(float(tensor.sum()) for tensor in seen.values()) - before == count(made.size, first, last)
    assert max(float(tensor.max()) for tensor in seen.values()) == 1
    assert made.size.parameters() - size.parameters() == count(made.size, size.context, made.size.context)
    for name, here in parts(made.size, size.context, made.size.context):
        new = made.parameters[name][here]
        random = name == "gates.weight"
        assert bool(new.all()) if random else torch.equal(new, torch.full_like(new, name == "norm.gain"))
    made.parameters["embedding"].zero_()
    assert model.parameters["embedding"].any()


# ---- what training does to it --------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(SIZES, MORE)
def test_pattern_a_leaves_the_old_entries_as_they_were(size: Size, more: int):
    model = grown_up(size, dropout=0.2)
    begun = expanded(model, size.context + more)
    after = trained(expanded(model, size.context + more), hold=size.context)
    assert largest_difference(after, begun, size.context) == 0.0
    assert not torch.equal(after.parameters["output.bias"], begun.parameters["output.bias"])


def test_what_is_held_still_is_no_part_of_the_norm():
    """A step of gradient descent moves what is trained by all of the clip's norm: nothing is spent on the held part."""
    model = expanded(grown_up(Size(20, 8, 16, 8, 1)), 16)
    begun = {name: tensor.clone() for name, tensor in model.parameters.items()}
    after = trained(model, hold=8, recipe=Recipe(1, 16, 1.0, optimizer="sgd", clip="0.01", round_updates=1))
    steps = [(tensor - begun[name]).double().square().sum() for name, tensor in after.parameters.items()]
    assert float(sum(steps)) ** 0.5 == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("hold", [0, 16])
@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_new_numbers_that_begin_equal_stay_equal_to_the_bit(hold: int, stack: str):
    """Under A and B the new numbers' weights are the same bits after training; they did learn something."""
    after = trained(expanded(grown_up(Size(20, 16, 32, 16, 2, stack), dropout=0.1), 32), hold=hold)
    assert spread(after, 16) == 0.0
    assert after.parameters["layer0.weight"][:, 32:].abs().max() > 1e-3


def test_random_rows_come_apart_and_a_dead_part_never_wakes():
    """Random rows learn with and without a LayerNorm of their own; zero rows with one of their own never move."""
    model = grown_up(Size(20, 16, 32, 16, 1))
    for own_norm in (False, True):
        assert spread(trained(expanded(model, 32, rows="random", own_norm=own_norm)), 16) > 0.01
    dead = trained(expanded(model, 32, own_norm=True))
    assert not dead.parameters["layer0.weight"][:, 32:].any()


# ---- what is measured ----------------------------------------------------------------------------------------------


def test_old_numbers_grow_as_the_arithmetic_says():
    """At the first token the measured growth is that of mean and variance; computed by hand it is the same."""
    model, rows = grown_up(WIDE), windows(WIDE.vocabulary, 8)
    found = growth(model, expanded(model, 32), rows)
    assert found.simple == pytest.approx(2**0.5)
    assert found.first == pytest.approx(found.exact, rel=1e-3)

    p, tokens = model.parameters, rows[:, 0]
    hidden = model.stack(torch.cat([p["embedding"][tokens], torch.zeros(8, 16)], 1), None)
    change, _, write = (hidden @ p["gates.weight"].T + p["gates.bias"]).chunk(3, 1)
    mixed = write.sigmoid() * change
    both = torch.cat([mixed, torch.zeros(8, 16)], 1)
    ratio = ((mixed.var(1, correction=0) + EPS) / (both.var(1, correction=0) + EPS)).sqrt()
    assert found.first == pytest.approx(float(ratio.mean()), rel=1e-4)


def test_padding_is_no_context():
    model = grown_up(WIDE)
    rows = torch.nn.functional.pad(windows(WIDE.vocabulary, 8), (0, 1))
    longer, larger = torch.nn.functional.pad(rows, (0, 5)), expanded(model, 32)
    assert growth(model, larger, longer).all == pytest.approx(growth(model, larger, rows).all, rel=1e-5)
    assert len(context_values(model, longer)) == int((rows != 0).sum())
    assert torch.allclose(context_values(model, longer), context_values(model, rows))


@given(st.integers(1, 10_000), st.integers(1, 30))
def test_rounds_make_exactly_the_updates_asked_for(updates: int, rounds: int):
    chosen = ExpandSettings(checkpoint=Path("x"), updates=updates, rounds=rounds)
    assert updates % chosen.round_updates == 0
    assert updates // chosen.round_updates <= rounds


def run(trained: Path, own_text: Path, **changes: Any) -> Result:
    return expand.run(ExpandSettings(checkpoint=trained, data=str(own_text), updates=6, rounds=2, **changes))


def test_every_arm_is_measured_and_judged(trained: Path, own_text: Path):
    result = run(trained, own_text)
    metrics, found = result.metrics, verdicts(result)
    assert result.status == "complete"
    assert (found.keys(), found["EX-1"], found["EX-2"]) == ({"EX-1", "EX-2", "EX-3"}, "refined", "refined")
    assert metrics["context"] == 2 * metrics["context_base"]
    assert metrics["new_parameters"] == metrics["parameters_B"] - metrics["parameters_base"]
    for name in ("continue", "preserving"):
        assert metrics[f"start_ppl_{name}"] == pytest.approx(metrics["base_ppl"], rel=1e-5)
    assert metrics["start_ppl_A"] == metrics["start_ppl_B"] != metrics["base_ppl"]
    assert metrics["trained_parameters_A"] == metrics["parameters_base"]
    assert metrics["trained_parameters_B"] == metrics["parameters_scratch"]
    assert metrics["old_moved_A"] == 0.0 < metrics["old_moved_B"]
    assert max(metrics["new_apart_A"], metrics["new_apart_B"]) < 1e-6
    assert metrics["new_rank_A"] == pytest.approx(1, abs=0.01)
    assert metrics["new_rank_random"] > 2
    assert metrics["growth_first"] == pytest.approx(metrics["growth_expected"], rel=1e-2)
    assert [len(found) for found in result.samples.values()] == [1] * 6
    assert max(mark.xs[-1] for mark in result.figures[0].marks if mark.xs) == 6.0
    losses = {name: [1.0, 1.0] for name in ("continue", "random")}
    assert curves(1.0, losses, 3).caption.endswith("In the picture: continue, random.")


def test_what_cannot_be_expanded_is_refused(trained: Path, own_text: Path, tmp_path: Path):
    gru = saved(tmp_path / "gru", state_of(model="gru"))
    for checkpoint, data, change, error, told in (
        (trained, str(own_text), {"context": 8}, SettingError, "--context: 8 is not longer"),
        (trained, str(own_text), {"batch": 401}, SettingError, "--batch"),
        (trained, "", {}, SettingError, "--data"),
        (tmp_path / "nothing", "", {}, CheckpointError, "nothing"),
        (gru, "", {}, SettingError, "a GRU; expand is for New-LLM"),
    ):
        with pytest.raises(error, match=told):
            expand.run(ExpandSettings(checkpoint=checkpoint, data=data, **change))
