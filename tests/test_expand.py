"""A longer context for a trained New-LLM: what the arithmetic says of it, and that it is what is measured."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from claims_by_hand import verdicts
from llmlab import peers
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
from llmlab.fast.sweep import Sweep
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import EPS
from llmlab.lab.sizes import Size
from llmlab.report.result import Result
from llmlab.settings import BaselineSettings, ExpandSettings
from llmlab.shown.expand import curves
from strategies_trained import TINY, grown_up, sizes

SIZES = sizes(1)


def windows(size: Size, count: int = 6, length: int = 9) -> Tensor:
    """Return random windows, some of them padded."""
    found = torch.randint(1, size.vocabulary, (count, length), generator=torch.Generator().manual_seed(1))
    found[::3, 6:] = 0
    return found


def trained(model: ContextVectorLM, *, hold: int = 0, epochs: int = 4, lr: float = 0.01) -> ContextVectorLM:
    """Return a model after some updates with dropout and clipping; ``hold`` holds so many old numbers still."""
    rows = windows(model.size, 40)
    mask = partial(hold_still, size=model.size, old=hold) if hold else None
    training = Training(SweptNewLLM(model), rows, rows[:4], Recipe(epochs, 16, lr), mask_gradients=mask)
    training.run()
    return model


# ---- laws of the larger model --------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(SIZES, st.integers(1, 7), st.integers(0, 99))
def test_a_layer_norm_of_its_own_leaves_every_score_as_it_was(size: Size, more: int, seed: int):
    """With zero columns and the new part normalised for itself, every model scores as before."""
    model, rows = grown_up(size, seed), windows(size)
    # in float64: a LayerNorm over two numbers that happen to lie close together makes a thousand roundings of one
    model.parameters = {name: tensor.double() for name, tensor in model.parameters.items()}

    larger = expanded(model, size.context + more, rows="random", own_norm=True, seed=seed)

    assert (larger.logits(rows) - model.logits(rows)).abs().max() <= 1e-9


@settings(max_examples=30)
@given(SIZES, st.integers(1, 7), st.integers(0, 99))
def test_the_sweep_has_autograds_gradients_with_two_layer_norms(size: Size, more: int, seed: int):
    model = grown_up(expanded(grown_up(size), size.context + more, own_norm=True).size, seed)
    assert model.size.first_norm == size.context
    rows = windows(size)
    inputs, targets = rows[:, :-1], rows[:, 1:]
    scored = int((targets != 0).sum())
    loss, found = Sweep(model.size, *inputs.shape).gradients(model.parameters, inputs, targets, count=scored)

    def plain(dtype: torch.dtype) -> tuple[float, dict[str, Tensor]]:
        leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in model.parameters.items()}
        logits = ContextVectorLM(model.size, leaves).logits(inputs).flatten(0, 1)
        expected = (
            torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=0, reduction="sum") / scored
        )
        expected.backward()
        return float(expected.detach()), {name: leaf.grad.double() for name, leaf in leaves.items()}

    (exact, gradients), (_, rounded) = plain(torch.float64), plain(torch.float32)
    assert loss.item() == pytest.approx(exact, rel=1e-5)
    for name, gradient in gradients.items():
        # a part of one number has deviation 0: its 1 / sqrt(eps) makes roundings 300 times larger, in the loop's too
        allowed = 2e-4 + 1e-3 * gradient.abs() + 10 * (rounded[name] - gradient).abs().max()
        assert ((found[name] - gradient).abs() <= allowed).all(), name


@given(SIZES, st.integers(1, 7))
def test_the_parts_of_old_and_new_numbers_share_no_entry_and_have_the_count(size: Size, more: int):
    """Old and new part are apart, together all that grew, and as many as ``count`` says."""
    larger = expanded(grown_up(size), size.context + more).size
    seen = {name: torch.zeros(shape) for name, shape in larger.shapes().items()}
    for first, last in ((0, size.context), (size.context, larger.context)):
        before = sum(float(tensor.sum()) for tensor in seen.values())
        for name, here in parts(larger, first, last):
            seen[name][here] += 1
        assert sum(float(tensor.sum()) for tensor in seen.values()) - before == count(larger, first, last)
    assert max(float(tensor.max()) for tensor in seen.values()) == 1
    assert larger.parameters() - size.parameters() == count(larger, size.context, larger.context)


@given(SIZES, st.integers(1, 7))
def test_the_new_part_begins_as_is_said(size: Size, more: int):
    """Gains are 1, random rows have no 0, and all else is 0; the trained numbers are a copy."""
    model = grown_up(size)
    larger = expanded(model, size.context + more, rows="random")
    for name, here in parts(larger.size, size.context, larger.size.context):
        new = larger.parameters[name][here]
        assert (
            bool(new.all()) if name == "gates.weight" else torch.equal(new, torch.full_like(new, name == "norm.gain"))
        )
    larger.parameters["embedding"].zero_()
    assert model.parameters["embedding"].any()


# ---- what training does to it --------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(SIZES, st.integers(1, 7))
def test_pattern_a_leaves_the_old_entries_as_they_were(size: Size, more: int):
    model = grown_up(size, dropout=0.2)
    begun = expanded(model, size.context + more)

    after = trained(expanded(model, size.context + more), hold=size.context)

    assert largest_difference(after, begun, size.context) == 0.0
    assert not torch.equal(after.parameters["output.bias"], begun.parameters["output.bias"])


def test_what_is_held_still_is_no_part_of_the_norm():
    """A step of gradient descent moves what is trained by all of the clip's norm: nothing is spent on the held part."""
    model = expanded(grown_up(Size(20, 8, 16, 8, 1, "plain")), 16)
    begun, rows = {name: tensor.clone() for name, tensor in model.parameters.items()}, windows(model.size, 16)
    one_step = Recipe(1, 16, 1.0, optimizer="sgd", clip="0.01", round_updates=1)

    Training(
        SweptNewLLM(model), rows, rows[:4], one_step, mask_gradients=partial(hold_still, size=model.size, old=8)
    ).run()

    steps = [(tensor - begun[name]).double().square().sum() for name, tensor in model.parameters.items()]
    assert float(sum(steps)) ** 0.5 == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("hold", [0, 16])
@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_new_numbers_that_begin_equal_stay_equal_to_the_bit(hold: int, stack: str):
    """Under A and B the new numbers' weights are the same bits after training; they did learn something."""
    size = Size(20, 16, 32, 16, 2, stack)

    after = trained(expanded(grown_up(size, dropout=0.1), 32), hold=hold)

    assert spread(after, 16) == 0.0
    assert after.parameters["layer0.weight"][:, 32:].abs().max() > 1e-3


def test_random_rows_come_apart_and_a_dead_part_never_wakes():
    """Random rows learn with and without a LayerNorm of their own; zero rows with one of their own never move."""
    size = Size(20, 16, 32, 16, 1)
    model = grown_up(size)
    for own_norm in (False, True):
        assert spread(trained(expanded(model, 32, rows="random", own_norm=own_norm)), 16) > 0.01
    dead = trained(expanded(model, 32, own_norm=True))
    assert not dead.parameters["layer0.weight"][:, 32:].any()


def test_old_numbers_grow_as_the_arithmetic_says():
    """At the first token the measured growth is that of mean and variance; computed by hand it is the same."""
    size = Size(20, 16, 32, 16, 2)
    model, rows = grown_up(size), windows(size, 8)
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
    model = grown_up(Size(20, 16, 32, 16, 2))
    rows = torch.nn.functional.pad(windows(model.size, 8), (0, 1))
    longer, larger = torch.nn.functional.pad(rows, (0, 5)), expanded(model, 32)

    assert growth(model, larger, longer).all == pytest.approx(growth(model, larger, rows).all, rel=1e-5)
    assert len(context_values(model, longer)) == int((rows != 0).sum())
    assert torch.allclose(context_values(model, longer), context_values(model, rows))


# ---- measures and the loop's rounds --------------------------------------------------------------------------------


@given(st.integers(1, 9))
def test_rounds_change_when_a_run_is_judged_and_nothing_else(length: int):
    size, rows = Size(20, 4, 8, 4, 1), windows(Size(20), 40)

    def after(recipe: Recipe) -> list[Tensor]:
        training = Training(SweptNewLLM(grown_up(size, dropout=0.2)), rows, rows[:4], recipe)
        while training.progress.updates < 12:
            training._update()
            training.progress.waited = 0
        return list(training.model.parameters.values())

    passes = after(Recipe(4, 16, 0.01, clip="0.5"))
    rounds = after(Recipe(20, 16, 0.01, clip="0.5", round_updates=length))
    assert all(torch.equal(one, other) for one, other in zip(passes, rounds, strict=True))


@given(st.integers(1, 10_000), st.integers(1, 30))
def test_rounds_make_exactly_the_updates_asked_for(updates: int, rounds: int):
    chosen = ExpandSettings(checkpoint=Path("x"), updates=updates, rounds=rounds)
    assert updates % chosen.round_updates == 0
    assert updates // chosen.round_updates <= rounds


# ---- the command ---------------------------------------------------------------------------------------------------


def run(trained: Path, own_text: Path, **changes: Any) -> Result:
    return expand.run(ExpandSettings(checkpoint=trained, data=str(own_text), updates=6, rounds=2, **changes))


def test_every_arm_is_measured_and_judged(trained: Path, own_text: Path):
    result = run(trained, own_text)
    metrics = result.metrics
    assert result.status == "complete"
    found = verdicts(result)
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
    with pytest.raises(SettingError, match="--context: 8 is not longer"):
        run(trained, own_text, context=8)
    with pytest.raises(SettingError, match="--batch"):
        run(trained, own_text, batch=401)
    with pytest.raises(SettingError, match="--data"):
        expand.run(ExpandSettings(checkpoint=trained))
    with pytest.raises(CheckpointError):
        run(tmp_path / "nothing", own_text)
    gru = tmp_path / "gru"
    peers.run(BaselineSettings(**TINY, model="gru", data=str(own_text), epochs=1, out=gru))
    with pytest.raises(SettingError, match="expand is for New-LLM"):
        run(gru, own_text)
