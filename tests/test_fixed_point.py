"""Stage 1's training against a loop that keeps to the specification word by word, with torch's autograd and Adam."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.embedding_freeze import context_layers, diversity, fixed_point, initial
from llmlab.errors import Stopped
from llmlab.fast.fixed_contexts import Inputs, embedded, fixed_contexts
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.context_runs import FixedPointRecipe
from llmlab.lab.rng import generator
from llmlab.lab.steps import Diverged
from llmlab.measure.spectrum import effective_rank
from strategies import SEEDS, block_sizes

SMALL = BlockSize(embedding=5, context=6, layers=2)


def double(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters in float64, so that the order of sums does not matter."""
    return {name: parameter.double() for name, parameter in parameters.items()}


class Done(NamedTuple):
    """What the training left: parameters, a row per iteration, and the contexts of the last."""

    parameters: dict[str, Tensor]
    rows: list[dict[str, float]]
    contexts: Tensor


def done_from(
    size: BlockSize, block: dict[str, Tensor], inputs: Inputs, start: Tensor, *rest: Any, **more: Any
) -> Done:
    """Train a block; ``start`` is written over."""
    return Done(*fixed_point(size, block, inputs, start, *rest, **more), start)


def text(n: int, size: BlockSize = SMALL, seed: int = 0, words: int = 11) -> Inputs:
    """Return what is read of a random text, in float64."""
    chance = torch.Generator().manual_seed(seed)
    embedding = torch.randn(words, size.embedding, generator=chance, dtype=torch.float64)
    return embedded(embedding, torch.randint(words, (n,), generator=chance), size.n_tokens)


def passed(size: BlockSize, parameters: dict[str, Tensor], inputs: Inputs, n: int) -> Tensor:
    """Return the token-by-token pass from a zero context, in float64."""
    context, contexts = torch.zeros(1, size.context, dtype=torch.float64), []
    for x in inputs(torch.arange(n)).split(1):
        context = context_layers(size, parameters, context, x)[-1]
        contexts.append(context)
    return torch.cat(contexts)


def trained(n: int, size: BlockSize = SMALL, seed: int = 0, **recipe: Any) -> tuple[Done, Inputs]:
    parameters, inputs = double(initial(size.context_shapes(), seed)), text(n, size)
    start = passed(size, parameters, inputs, n)
    done = done_from(size, parameters, inputs, start, FixedPointRecipe(**recipe), dtype=torch.float64)
    return done, inputs


def by_the_specification(
    size: BlockSize, parameters: dict[str, Tensor], contexts: Tensor, x: Tensor, recipe: FixedPointRecipe
) -> tuple[dict[str, Tensor], Tensor, list[list[float]]]:
    """The training with whole (n, c) tensors, batches in order, ``backward``, and ``torch.optim.Adam``."""
    weights = {name: parameter.clone().requires_grad_() for name, parameter in parameters.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=recipe.lr, foreach=False)
    previous, rows = contexts.clone(), []
    for iteration in range(2, recipe.iterations + 1):
        inputs = torch.cat([previous[-1:], previous[:-1]])
        starts = range(0, len(x), recipe.batch)
        drawn = []
        for number, first in enumerate(starts):
            chance = generator("context noise", recipe.seed, iteration, number)
            drawn.append(torch.randn(inputs[first : first + recipe.batch].shape, generator=chance))
        inputs = inputs + recipe.noise * torch.cat(drawn).double()
        optimizer.zero_grad()
        new, fixed, spread = [], 0.0, 0.0
        for first in starts:
            rows_now = slice(first, first + recipe.batch)
            out = context_layers(size, weights, inputs[rows_now], x[rows_now])[-1]
            distance = ((out - previous[rows_now]) ** 2).mean()
            apart = -torch.norm(out - out.mean(dim=0, keepdim=True)) / out.shape[0]
            ((1 - recipe.weight) * distance + recipe.weight * apart).div(len(starts)).backward()
            new.append(out.detach())
            fixed, spread = fixed + float(distance.detach()), spread + float(apart.detach())
        torch.nn.utils.clip_grad_norm_(weights.values(), recipe.clip)
        optimizer.step()
        output = torch.cat(new)
        rate = float((((output - previous) ** 2).mean(1) < recipe.near).double().mean())
        rows.append([iteration, fixed / len(starts), spread / len(starts), rate])
        previous = output
        if iteration >= 3 and rate >= recipe.enough:
            break
    return {name: weight.detach() for name, weight in weights.items()}, previous, rows


@settings(max_examples=25)
@given(
    size=block_sizes((4, 6), (1, 3), 3, st.just(True)),
    seed=SEEDS,
    n=st.integers(2, 40),
    batch=st.integers(1, 50),
    noise=st.sampled_from([0.0, 0.1]),
    weight=st.sampled_from([0.0, 0.5, 1.0]),
    clip=st.sampled_from([0.01, 1.0, 100.0]),
    near=st.sampled_from([0.03, 0.5]),
)
def test_training_is_the_specifications_loop(
    size: BlockSize, seed: int, n: int, batch: int, noise: float, weight: float, clip: float, near: float
):
    """One buffer, batches from the back and our Adam end where the plain loop ends: weights, contexts and rows."""
    parameters, inputs = double(initial(size.context_shapes(), seed)), text(n, size, seed)
    start = passed(size, parameters, inputs, n)
    recipe = FixedPointRecipe(5, noise=noise, weight=weight, clip=clip, near=near, batch=batch, seed=seed % 97)
    x = inputs(torch.arange(n))
    weights, contexts, rows = by_the_specification(size, parameters, start, x, recipe)

    done = done_from(size, parameters, inputs, start.clone(), recipe, dtype=torch.float64)

    names = ("iteration", "fixed_point_loss", "diversity", "converged_fraction")
    for row, expected in zip(done.rows, rows, strict=True):
        assert [row[name] for name in names] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    torch.testing.assert_close(done.contexts, contexts, rtol=1e-5, atol=1e-6)
    for name, expected_weight in weights.items():
        torch.testing.assert_close(done.parameters[name], expected_weight, rtol=1e-5, atol=1e-6)


def test_the_block_that_was_given_stays_as_it_was():
    parameters = initial(SMALL.context_shapes(), 0)
    before = {name: parameter.clone() for name, parameter in parameters.items()}
    inputs = embedded(torch.randn(9, 5, generator=generator("words")), torch.arange(300) % 9)
    start = fixed_contexts(SMALL, parameters, inputs, 300).contexts
    done = done_from(SMALL, parameters, inputs, start, FixedPointRecipe(3))
    assert all(torch.equal(parameters[name], before[name]) for name in before)
    assert any(not torch.equal(done.parameters[name], before[name]) for name in before)
    assert done.contexts.shape == (300, 6)


def test_the_first_iteration_learns_nothing():
    parameters, inputs = double(initial(SMALL.context_shapes(), 1)), text(40)
    start = passed(SMALL, parameters, inputs, 40)
    done = done_from(SMALL, parameters, inputs, start.clone(), FixedPointRecipe(1), dtype=torch.float64)
    assert done.rows == []
    assert all(torch.equal(done.parameters[name], parameters[name]) for name in parameters)
    assert torch.equal(done.contexts, start)


def test_the_second_iteration_finds_nothing_moved_and_yet_does_not_stop():
    """From the block's own pass all positions have converged at once; the rule waits for the third iteration."""
    done, _ = trained(50, iterations=10, noise=0.0, near=1e9)
    assert [row["converged_fraction"] for row in done.rows] == [1.0, 1.0]
    done, _ = trained(50, iterations=6, noise=0.0, near=0.0)
    assert len(done.rows) == 5


@given(SEEDS, st.integers(1, 50), st.integers(1, 8))
def test_diversity_is_bounded_by_the_batch_and_the_width(seed: int, m: int, c: int):
    """Contexts out of a LayerNorm have length sqrt(c), so their spread is -sqrt(c / m) at most; of one it is 0."""
    contexts = F.layer_norm(torch.randn(m, c, generator=torch.Generator().manual_seed(seed)), (c,))
    found = float(diversity(contexts))
    assert -math.sqrt(c / m) - 1e-6 <= found <= 0
    assert float(diversity(contexts[:1])) == 0


def test_diversity_asks_for_spread_and_not_for_directions():
    """Two opposite points, half of the contexts at each, have all the diversity there is, and one direction."""
    point = F.layer_norm(torch.randn(1, 8, generator=generator("point")), (8,), eps=0.0)
    contexts = torch.cat([point, -point]).repeat(50, 1)
    assert float(diversity(contexts)) == pytest.approx(-math.sqrt(8 / 100))
    assert effective_rank(contexts, centred=False) == pytest.approx(1, abs=1e-3)


def test_progress_is_told_by_batches_and_can_stop_the_training():
    steps: list[tuple[int, int, str]] = []
    parameters, inputs = initial(SMALL.context_shapes(), 0), embedded(torch.eye(5), torch.arange(20) % 5)
    recipe = FixedPointRecipe(4, batch=6, enough=2.0)
    fixed_point(SMALL, parameters, inputs, torch.zeros(20, 6), recipe, lambda *step: steps.append(step))
    assert [step[:2] for step in steps] == [(done, 12) for done in range(1, 13)]
    assert steps[-1][2].startswith("iteration 4 of 4, ")

    def stop(update: int, planned: int, told: str = "") -> None:
        raise Stopped("stopped", 2)

    with pytest.raises(Stopped):
        fixed_point(SMALL, parameters, inputs, torch.zeros(20, 6), recipe, stop)


def test_numbers_that_are_not_finite_are_told_with_their_update():
    parameters, inputs = initial(SMALL.context_shapes(), 0), embedded(torch.eye(5), torch.arange(20) % 5)
    with pytest.raises(Diverged) as raised:
        fixed_point(SMALL, parameters, inputs, torch.zeros(20, 6), FixedPointRecipe(6, lr=math.inf, enough=2.0))
    assert raised.value.update == 2


def test_rounded_products_train_nearly_the_same_block():
    size, n = BlockSize(32, 32, 3), 500
    parameters = initial(size.context_shapes(), 0)
    inputs = embedded(torch.randn(50, 32, generator=generator("words")), torch.randint(50, (n,)))
    start = fixed_contexts(size, parameters, inputs, n).contexts
    recipe = FixedPointRecipe(4, batch=200)
    fine, coarse = (
        done_from(size, parameters, inputs, start.clone(), recipe, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert coarse.contexts.dtype == coarse.parameters["context0.weight"].dtype == torch.float32
    for one, other in zip(fine.rows, coarse.rows, strict=True):
        assert one["fixed_point_loss"] == pytest.approx(other["fixed_point_loss"], rel=0.05, abs=1e-3)
        assert one["diversity"] == pytest.approx(other["diversity"], rel=0.02)
