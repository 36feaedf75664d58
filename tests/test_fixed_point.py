"""Stage 1's training against a loop that keeps to the specification word by word, with torch's autograd and Adam."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.embedding_freeze import FixedPointRecipe, context_layers, diversity, fixed_point, initial
from llmlab.errors import Stopped
from llmlab.fast.fixed_contexts import Inputs, embedded
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.rng import generator
from llmlab.lab.steps import Diverged
from llmlab.measure.spectrum import effective_rank
from strategies import SEEDS, block_sizes

SMALL = BlockSize(embedding=5, context=6, layers=2)

Done = tuple[dict[str, Tensor], list[dict[str, float]], Tensor]
"""What training left: parameters, a row per iteration, and the contexts of the last."""


def text(size: BlockSize, seed: int, n: int, dtype: torch.dtype = torch.float64) -> tuple[dict[str, Tensor], Inputs]:
    """Return a fresh block, and what is read of a random text; in float64 the order of sums does not matter."""
    chance = torch.Generator().manual_seed(seed)
    embedding = torch.randn(11, size.embedding, generator=chance, dtype=torch.float64).to(dtype)
    parameters = {name: parameter.to(dtype) for name, parameter in initial(size.context_shapes(), seed).items()}
    return parameters, embedded(embedding, torch.randint(11, (n,), generator=chance), size.n_tokens)


def passed(size: BlockSize, parameters: dict[str, Tensor], inputs: Inputs, n: int) -> Tensor:
    """Return the token-by-token pass from a zero context."""
    x, contexts = inputs(torch.arange(n)), []
    context = x.new_zeros(1, size.context)
    for own in x.split(1):
        context = context_layers(size, parameters, context, own)[-1]
        contexts.append(context)
    return torch.cat(contexts)


def trained(n: int, size: BlockSize = SMALL, dtype: torch.dtype = torch.float64, **recipe: Any) -> Done:
    """Train from the block's own pass; of bf16 only the products are."""
    parameters, inputs = text(size, 0, n, dtype if dtype == torch.float64 else torch.float32)
    contexts = passed(size, parameters, inputs, n)
    return *fixed_point(size, parameters, inputs, contexts, FixedPointRecipe(dtype=dtype, **recipe)), contexts


def by_the_specification(
    size: BlockSize, parameters: dict[str, Tensor], contexts: Tensor, x: Tensor, recipe: FixedPointRecipe
) -> Done:
    """The training with whole (n, c) tensors, batches in order, ``backward``, and ``torch.optim.Adam``."""
    weights = {name: parameter.clone().requires_grad_() for name, parameter in parameters.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=recipe.lr, foreach=False)
    previous, rows = contexts.clone(), list[dict[str, float]]()
    batches = [slice(first, first + recipe.batch) for first in range(0, len(x), recipe.batch)]
    for iteration in range(2, recipe.iterations + 1):
        inputs = torch.cat([previous[-1:], previous[:-1]])
        optimizer.zero_grad()
        new, fixed, spread = [], 0.0, 0.0
        for number, own in enumerate(batches):
            chance = generator("context noise", recipe.seed, iteration, number)
            noise = torch.randn(inputs[own].shape, generator=chance).double()
            out = context_layers(size, weights, inputs[own] + recipe.noise * noise, x[own])[-1]
            distance = ((out - previous[own]) ** 2).mean()
            apart = -torch.norm(out - out.mean(dim=0, keepdim=True)) / out.shape[0]
            ((1 - recipe.weight) * distance + recipe.weight * apart).div(len(batches)).backward()
            new.append(out.detach())
            fixed, spread = fixed + float(distance.detach()), spread + float(apart.detach())
        torch.nn.utils.clip_grad_norm_(weights.values(), recipe.clip)
        optimizer.step()
        output = torch.cat(new)
        rate = float((((output - previous) ** 2).mean(1) < recipe.near).double().mean())
        found = {"fixed_point_loss": fixed / len(batches), "diversity": spread / len(batches)}
        rows.append({"iteration": iteration} | found | {"converged_fraction": rate})
        previous = output
        if iteration >= 3 and rate >= recipe.enough:
            break
    return {name: weight.detach() for name, weight in weights.items()}, rows, previous


recipes = st.builds(
    FixedPointRecipe,
    iterations=st.sampled_from([1, 5]),
    batch=st.integers(1, 50),
    noise=st.sampled_from([0.0, 0.1]),
    weight=st.sampled_from([0.0, 0.5, 1.0]),
    clip=st.sampled_from([0.01, 1.0, 100.0]),
    near=st.sampled_from([0.03, 0.5]),
    seed=st.integers(0, 96),
    dtype=st.just(torch.float64),
)


@settings(max_examples=25)
@given(size=block_sizes((4, 6), (1, 3), 3), seed=SEEDS, n=st.integers(2, 40), recipe=recipes)
def test_training_is_the_specifications_loop(size: BlockSize, seed: int, n: int, recipe: FixedPointRecipe):
    """One buffer, batches from the back and our Adam end where the plain loop ends: weights, contexts and rows.

    The first iteration learns nothing, and the block that was given stays as it was.
    """
    parameters, inputs = text(size, seed, n)
    before = {name: parameter.clone() for name, parameter in parameters.items()}
    contexts = passed(size, parameters, inputs, n)
    weights, rows, last = by_the_specification(size, parameters, contexts, inputs(torch.arange(n)), recipe)

    block, found = fixed_point(size, parameters, inputs, contexts, recipe)

    for row, expected in zip(found, rows, strict=True):
        assert row == pytest.approx(expected | {"seconds": row["seconds"]}, rel=1e-6, abs=1e-9)
    torch.testing.assert_close((block, contexts), (weights, last), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parameters, before, rtol=0, atol=0)


def test_the_second_iteration_finds_nothing_moved_and_yet_does_not_stop():
    """From the block's own pass all positions have converged at once; the rule waits for the third iteration."""
    _, rows, _ = trained(50, iterations=10, noise=0.0, near=1e9)
    assert [row["converged_fraction"] for row in rows] == [1.0, 1.0]
    _, rows, _ = trained(50, iterations=6, noise=0.0, near=0.0)
    assert len(rows) == 5


def test_rounded_products_train_nearly_the_same_block():
    wide = BlockSize(32, 32, 3)
    fine, coarse = (trained(500, wide, dtype, iterations=4, batch=200) for dtype in (torch.float32, torch.bfloat16))
    assert coarse[2].dtype == coarse[0]["context0.weight"].dtype == torch.float32
    for one, other in zip(fine[1], coarse[1], strict=True):
        assert one["fixed_point_loss"] == pytest.approx(other["fixed_point_loss"], rel=0.05, abs=1e-3)
        assert one["diversity"] == pytest.approx(other["diversity"], rel=0.02)


@given(SEEDS, st.integers(1, 50), st.integers(1, 8))
def test_diversity_is_bounded_by_the_batch_and_the_width(seed: int, m: int, c: int):
    """Contexts out of a LayerNorm have length sqrt(c), so their spread is -sqrt(c / m) at most; of one it is 0."""
    contexts = F.layer_norm(torch.randn(m, c, generator=torch.Generator().manual_seed(seed)), (c,))
    assert -math.sqrt(c / m) - 1e-6 <= float(diversity(contexts)) <= 0
    assert float(diversity(contexts[:1])) == 0


def test_diversity_asks_for_spread_and_not_for_directions():
    """Two opposite points, half of the contexts at each, have all the diversity there is, and one direction."""
    point = F.layer_norm(torch.randn(1, 8, generator=generator("point")), (8,), eps=0.0)
    contexts = torch.cat([point, -point]).repeat(50, 1)
    assert float(diversity(contexts)) == pytest.approx(-math.sqrt(8 / 100))
    assert effective_rank(contexts, centred=False) == pytest.approx(1, abs=1e-3)


def test_progress_is_told_by_batches_and_can_stop_the_training():
    steps: list[tuple[int, int, str]] = []
    (block, inputs), recipe = text(SMALL, 0, 20, torch.float32), FixedPointRecipe(4, batch=6, enough=2.0)
    fixed_point(SMALL, block, inputs, torch.zeros(20, 6), recipe, lambda *step: steps.append(step))
    assert [step[:2] for step in steps] == [(done, 12) for done in range(1, 13)]
    assert steps[-1][2].startswith("iteration 4 of 4, ")

    def stop(update: int, planned: int, told: str = "") -> None:
        raise Stopped("stopped", 2)

    with pytest.raises(Stopped):
        fixed_point(SMALL, block, inputs, torch.zeros(20, 6), recipe, stop)


def test_numbers_that_are_not_finite_are_told_with_their_update():
    with pytest.raises(Diverged) as raised:
        trained(20, iterations=6, lr=math.inf, enough=2.0)
    assert raised.value.update == 2
