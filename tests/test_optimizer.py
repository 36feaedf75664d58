"""The update rules and clipping against those of ``torch``."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.lab.optimizer import SGD, Adam, clip, optimizer_named

RULES = {
    "sgd": (lambda: SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "adam": (lambda: Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01, foreach=False)),
    "adamw": (
        lambda: Adam(0.01, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=False),
    ),
}


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), updates=st.integers(1, 30))
def test_updates_equal_those_of_torch_optim_to_the_last_bit(rule: str, seed: int, updates: int):
    """Thirty updates on a noisy quadratic end in the same bits as the library's."""
    ours_rule, oracle_rule = RULES[rule]
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(3, 4, generator=generator)
    ours, theirs = start.clone(), start.clone().requires_grad_()
    optimizer, oracle = ours_rule(), oracle_rule([theirs])

    for _ in range(updates):
        noise = torch.randn(3, 4, generator=generator)
        optimizer.update({"p": ours}, {"p": ours + noise})
        theirs.grad = theirs.detach() + noise
        oracle.step()

    assert torch.equal(ours, theirs.detach())


@pytest.mark.parametrize(("name", "decay"), [("sgd", 0.0), ("adam", 0.0), ("adamw", 0.3)])
def test_a_parameter_without_gradient_moves_by_its_decay_alone(name: str, decay: float):
    """Zero gradient, zero step: not even Adam's division by a small number makes one; only AdamW decays."""
    optimizer, parameter = optimizer_named(name, 0.1, 0.3), torch.ones(2)
    for _ in range(5):
        optimizer.update({"p": parameter}, {"p": torch.zeros(2)})
    torch.testing.assert_close(parameter, torch.full((2,), (1 - 0.1 * decay) ** 5), rtol=1e-6, atol=0)


@given(
    seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), largest=st.floats(0.01, 9)
)
def test_clipping_is_torchs_own(seed: int, sizes: list[int], largest: float):
    """One norm over all tensors, one factor for all; what is short enough stays as it is."""
    generator = torch.Generator().manual_seed(seed)
    gradients = {str(number): torch.randn(size, generator=generator) for number, size in enumerate(sizes)}
    leaves = [gradient.clone().requires_grad_() for gradient in gradients.values()]
    for leaf in leaves:
        leaf.grad = leaf.detach().clone()
    norm = math.sqrt(sum(float(number) ** 2 for gradient in gradients.values() for number in gradient))

    found = clip(gradients, largest)

    torch.nn.utils.clip_grad_norm_(leaves, largest)
    assert found == pytest.approx(norm, rel=1e-5)
    torch.testing.assert_close(list(gradients.values()), [leaf.grad for leaf in leaves], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite_shows_in_its_norm(bad: float):
    """One bad number in one tensor is enough."""
    assert not math.isfinite(clip({"good": torch.ones(3), "bad": torch.tensor([1.0, bad])}, 1.0))
