"""TinyModel against autograd and ``torch.nn``, and its training loop: what is recorded, and when a run ends early."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab import phase1
from llmlab.lab.optimizer import SGD, Adam
from llmlab.lab.steps import Diverged
from llmlab.phase1 import BIAS, EMBEDDING, TRAINED_WITH_FROZEN, WEIGHT, TinyModel, TinyRun, train
from llmlab.phase1_2 import stacked
from llmlab.text.pairs import Pairs
from strategies import SEEDS, double, texts, texts_and_models

PAIRS = Pairs.of("hello")
ALL = TRAINED_WITH_FROZEN["none"]


@given(texts, SEEDS, st.integers(min_value=1, max_value=4))
def test_scores_loss_and_gradients_equal_those_of_torch_modules(text: str, seed: int, dim: int):
    """An Embedding followed by a Linear with the same numbers, read through the text pair by pair, gives the same."""
    pairs = Pairs.of(text)
    numbers, size = torch.tensor([pairs.tokens.index(token) for token in text]), len(pairs.tokens)
    model = double(TinyModel.initial(size, dim, [seed]))
    embedding, linear = torch.nn.Embedding(size, dim).double(), torch.nn.Linear(dim, size).double()
    embedding.load_state_dict({"weight": model.embedding[0]})
    linear.load_state_dict({"weight": model.weight[0], "bias": model.bias[0]})

    scores = linear(embedding(numbers[:-1]))
    expected = torch.nn.functional.cross_entropy(scores, numbers[1:])
    expected.backward()
    loss, gradients = model.loss_and_gradients(pairs.joint().double())

    assert torch.allclose(model.logits()[0, numbers[:-1]], scores)
    assert torch.allclose(model.probabilities()[0, numbers[:-1]], scores.softmax(1))
    assert float(loss) == float(model.loss(pairs.joint().double())) == pytest.approx(expected.item(), abs=1e-6)
    for name, parameter in ((EMBEDDING, embedding.weight), (WEIGHT, linear.weight), (BIAS, linear.bias)):
        assert torch.allclose(gradients[name][0], parameter.grad, atol=1e-6)


@pytest.mark.parametrize("tied", [False, True])
@given(drawn=texts_and_models())
def test_written_out_gradients_equal_autograd(tied: bool, drawn: tuple[Pairs, TinyModel]):
    """dL/dE = G W, dL/dW = G^T E and dL/db = sum of G are the derivatives of the loss; tied, they add up."""
    pairs, model = drawn
    model = TinyModel(model.embedding, model.embedding, model.bias) if tied else model
    joint = pairs.joint().double()
    parameters = model.parameters()
    for parameter in parameters.values():
        parameter.requires_grad_()

    expected = torch.autograd.grad(model.loss(joint).sum(), list(parameters.values()))
    with torch.no_grad():
        _, written_out = model.loss_and_gradients(joint)

    for name, gradient in zip(parameters, expected, strict=True):
        assert torch.allclose(written_out[name], gradient, atol=1e-12)


def test_initial_numbers_are_spread_as_torch_modules_spread_them():
    model = TinyModel.initial(4, 4, range(2_000))

    assert abs(float(model.embedding.mean())) < 0.02
    assert abs(float(model.embedding.std()) - 1) < 0.02
    for uniform in (model.weight, model.bias):
        assert 0.49 < float(uniform.abs().max()) <= 0.5
        assert abs(float(uniform.std()) - 0.5 / math.sqrt(3)) < 0.01


def test_stacking_joins_models_in_order():
    parts = [TinyModel.initial(4, 2, range(2)), TinyModel.initial(4, 2, range(5, 8))]

    joined = stacked(parts)

    assert len(joined) == 5
    assert torch.equal(joined.embedding[2:], parts[1].embedding)


# ---- its training ----------------------------------------------------------------------------------------------------


def trained(seeds: int, updates: int, rule: Callable[[], Any] = lambda: Adam(0.01), **options: Any) -> TinyRun:
    start = TinyModel.initial(4, 2, range(seeds))
    return train(start, PAIRS, rule, trained=ALL, updates=updates, **options)


def test_a_run_records_the_losses_before_each_update_and_its_way():
    """The first loss is that of the start; the last is that before the last update, as the notes printed it.

    The first seed's way is remembered from its first to its last place, and the start is left alone.
    """
    start = TinyModel.initial(4, 2, range(3))
    copy = start.embedding.clone(), start.weight.clone()
    run = train(start, PAIRS, lambda: Adam(0.01), trained=ALL, updates=50)
    assert run.losses.shape == (50, 3)
    assert torch.equal(run.losses[0], start.loss(PAIRS.joint()))
    assert torch.equal(run.losses[-1], trained(3, 49).after.loss(PAIRS.joint()))
    assert torch.equal(run.path[0], start.embedding[0])
    assert torch.equal(run.path[-1], run.after.embedding[0])
    assert 2 < len(run.path) <= phase1.PATH_POINTS
    assert all(map(torch.equal, copy, (start.embedding, start.weight)))


def test_splitting_the_seeds_into_stacks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    """Every update of every stack is announced, in one count."""
    heard: list[tuple[int, int]] = []
    whole = trained(10, 20)
    monkeypatch.setattr(phase1, "STACK_SCORES", 3 * 16)
    split = trained(10, 20, on_step=lambda at, planned: heard.append((at, planned)))
    assert torch.equal(whole.after.embedding, split.after.embedding)
    assert torch.equal(whole.losses, split.losses)
    assert torch.equal(whole.path, split.path)
    assert heard == [(update, 80) for update in range(1, 81)]


def test_a_picture_shows_the_first_seed_whichever_stack_is_in_training(monkeypatch: pytest.MonkeyPatch):
    """Its path ends where its embedding is drawn, while the seeds of the second stack move."""
    monkeypatch.setattr(phase1, "STACK_SCORES", 2 * 16)
    drawn: list[bool] = []

    class Screen:
        draw: Callable[[], Any] | None = None

        def watch(self, picture: Callable[[], Any] | None) -> None:
            self.draw = picture

        def keep(self, folder: Path) -> None: ...

        def __call__(self, at: int, planned: int, told: str = "") -> None:
            if at in {20, 40} and self.draw:
                self.draw()

    trained(
        4, 20, on_step=Screen(), picture=lambda run: drawn.append(torch.equal(run.path[-1], run.after.embedding[0]))
    )
    assert drawn == [True, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_the_run_at_once(bad: float):
    """Update 3 makes a bias non-finite, so the loss before update 4 is, and that update is not made."""

    class Spoiling(SGD):
        made = 0

        def update(self, parameters: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]) -> None:
            super().update(parameters, gradients)
            self.made += 1
            if self.made == 3:
                parameters[BIAS][0, 0] = bad

    rule = Spoiling(0.1)
    with pytest.raises(Diverged, match="update 4"):
        trained(1, 9, lambda: rule)
    assert rule.made == 3


def test_a_parameter_that_is_no_number_after_the_last_update_counts_as_divergence():
    """The last update is not followed by a loss that would tell."""
    with pytest.raises(Diverged, match="update 1"):
        trained(1, 1, lambda: SGD(1e38))
