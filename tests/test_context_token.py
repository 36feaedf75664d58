"""ContextBlock and TokenBlock: the original counts, the equations written out, and what may not depend on what."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmlab.embedding_freeze import context_layers, fresh_parameters, initial, logits_by_token, normalised, token_layers
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.device import products_in
from llmlab.lab.language import EPS
from llmlab.settings.contexts import READINGS
from strategies import SEEDS, block_sizes

NOTES = BlockSize()
sizes = block_sizes((2, 6), (1, 4), 3)


@pytest.mark.parametrize(
    ("size", "context", "token"),
    [
        (NOTES, 7_091_712, 7_091_712),
        (replace(NOTES, layers=3), 3_545_856, 3_545_856),
        (replace(NOTES, reading="final"), 7_091_712, 7_091_712),
        (replace(NOTES, token_injection="first", widths="decreasing"), 15_394_304, 8_566_272),  # noqa: S106 - a place
        # of 6 layers, 5 lose 768 columns
        (replace(NOTES, token_injection="first"), 7_091_712 - 5 * 768 * 768, 7_091_712),  # noqa: S106 - a place
        # layers 2 to 6 of the decreasing block get 768 more columns each
        (replace(NOTES, widths="decreasing"), 15_394_304 + 768 * (1280 + 1152 + 1024 + 896 + 768), 8_566_272),
        # the second token: 768 more columns in every context layer, and in the first token layer
        (replace(NOTES, n_tokens=2), 7_091_712 + 6 * 768 * 768, 7_091_712 + 768 * 768),
    ],
)
def test_counts(size: BlockSize, context: int, token: int):
    assert (size.context_parameters(), size.token_parameters()) == (context, token)


@given(size=sizes, seed=SEEDS)
def test_widths_end_where_they_must(size: BlockSize, seed: int):
    """The last context is as wide as the context, the last y as the embedding, and nothing grows on the way down."""
    contexts, tokens = size.context_widths(), size.token_widths()
    assert (contexts[-1], tokens[-1]) == (size.context, size.embedding)
    assert contexts == sorted(contexts, reverse=True)
    assert tokens == sorted(tokens, reverse=True)
    assert len(contexts) == len(tokens) == len(size.given_widths()) == size.layers
    parameters = initial(size.context_shapes() | size.token_shapes(), seed)
    assert sum(map(Tensor.numel, parameters.values())) == size.context_parameters() + size.token_parameters()


# ---- the equations, number by number ---------------------------------------------------------------------------------


def linear(parameters: dict[str, Tensor], name: str, vector: list[float]) -> list[float]:
    """Return a matrix times one vector, and the bias."""
    rows = zip(parameters[f"{name}weight"].tolist(), parameters[f"{name}bias"].tolist(), strict=True)
    return [math.fsum(w * v for w, v in zip(row, vector, strict=True)) + bias for row, bias in rows]


def layer(parameters: dict[str, Tensor], name: str, read: list[float], residual: list[float]) -> list[float]:
    """Return one layer of either block."""
    if f"{name}.projection.weight" in parameters:
        residual = linear(parameters, f"{name}.projection.", residual)
    vector = [r + max(0.0, c) for r, c in zip(residual, linear(parameters, f"{name}.", read), strict=True)]
    gain, bias = (parameters[f"{name}.norm.{part}"].tolist() for part in ("gain", "bias"))
    mean = math.fsum(vector) / len(vector)
    variance = math.fsum((number - mean) ** 2 for number in vector) / len(vector)
    return [(n - mean) / math.sqrt(variance + EPS) * g + b for n, g, b in zip(vector, gain, bias, strict=True)]


@given(size=sizes, seed=SEEDS, some=st.integers(0, 4))
def test_the_blocks_are_their_equations(size: BlockSize, seed: int, some: int):
    """Every layer of both blocks, for one row, is what plain arithmetic on lists makes of the equations."""
    chance, shapes = torch.Generator().manual_seed(seed), size.context_shapes() | size.token_shapes()
    parameters = {
        name: torch.randn(shape, generator=chance).mul_(0.5).add_(float(name.endswith("gain")))
        for name, shape in shapes.items()
    }
    context, x = (torch.randn(3, width, generator=chance) for width in (size.context, size.read))
    outputs = context_layers(size, parameters, context, x)
    row, tokens = context[1].tolist(), x[1].tolist()
    for number, ours in enumerate(outputs):
        reads = row + (tokens if number == 0 or size.token_injection == "every" else [])  # noqa: S105 - a place
        row = layer(parameters, f"context{number}", reads, row)
        assert ours[1].tolist() == pytest.approx(row, abs=1e-3)
    first = context_layers(size, parameters, context, x, some)
    assert len(first) == min(some, len(outputs)) <= size.layers == len(outputs)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, outputs, strict=False))

    given_to = outputs if size.reading == "after" else outputs[-1:] * size.layers
    row = tokens
    for number, seen in enumerate(given_to):
        residual = row[-size.embedding :] if size.widths == "constant" else row
        row = layer(parameters, f"token{number}", seen[1].tolist() + row, residual)
    assert token_layers(size, parameters, given_to, x)[1].tolist() == pytest.approx(row, abs=1e-3)


def test_in_bf16_sums_stay_as_they_are():
    """Products are rounded and nothing else: layers give fp32, near to what they give without rounding."""
    size = BlockSize(8, 8, 2, widths="decreasing")
    parameters, context, x = initial(size.context_shapes(), 0), torch.randn(5, 8), torch.randn(5, 8)
    exact = context_layers(size, parameters, context, x)
    with products_in(torch.bfloat16, "cpu"):
        near = context_layers(size, parameters, context, x)
    assert {output.dtype for output in near} == {torch.float32}
    assert torch.allclose(near[-1], exact[-1], atol=0.1)
    assert not torch.equal(near[-1], exact[-1])


# ---- the start, and what a score knows -------------------------------------------------------------------------------


@given(seed=SEEDS)
def test_a_start_depends_on_names_not_on_neighbours(seed: int):
    two, three = BlockSize(4, 4, 2), BlockSize(4, 4, 3)
    small, large = initial(two.context_shapes(), seed), initial(three.context_shapes() | three.token_shapes(), seed)
    assert all(torch.equal(tensor, large[name]) for name, tensor in small.items())
    for other in ("context1.weight", "token0.weight"):
        assert not torch.equal(large["context0.weight"], large[other])


def test_the_start_is_that_of_the_notes():
    parameters = initial(BlockSize(64, 64, 2, token_injection="first", widths="decreasing").context_shapes(), 0)  # noqa: S106
    for name, tensor in parameters.items():
        if "norm" in name:
            assert torch.equal(tensor, torch.full_like(tensor, float(name.endswith("gain"))))
        else:
            assert float(tensor.std()) == pytest.approx(0.1 if tensor.dim() == 2 else 0.01, rel=0.2)


@given(size=sizes, data=st.data())
def test_no_score_knows_a_later_token(size: BlockSize, data: st.DataObject):
    """Of a text with another token only the scores from it on differ; without contexts only those that read it."""
    frozen = initial(size.context_shapes(), 1) | {"embedding": torch.randn(7, size.embedding)}
    parameters = fresh_parameters(size, frozen["embedding"], 1)
    ids = torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=2, max_size=8)))
    at = data.draw(st.integers(0, len(ids) - 1))
    other = ids.clone()
    other[at] = (other[at] + 1) % 7
    ours, theirs = (list(logits_by_token(size, frozen, parameters, read)) for read in (ids, other))
    alike = [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert all(alike[:at])
    assert size.reading != "none" or all(alike[at + size.n_tokens :])


@pytest.mark.parametrize("reading", READINGS)
def test_what_is_read_decides_the_score(reading: str):
    """Of the first token: what the context layers make of it, each or the last; zeros before it, and without them."""
    size = BlockSize(8, 8, 2, reading=reading)
    frozen = initial(size.context_shapes(), 0) | {"embedding": torch.randn(5, 8)}
    parameters, x = fresh_parameters(size, frozen["embedding"], 0), normalised(frozen["embedding"][[1]])
    outputs = context_layers(size, frozen, torch.zeros(1, 8), x)
    seen = {"after": outputs, "final": outputs[-1:] * 2}.get(reading, [torch.zeros(1, 8)] * 2)
    score = token_layers(size, parameters, seen, x) @ frozen["embedding"].T
    assert torch.allclose(next(logits_by_token(size, frozen, parameters, torch.tensor([1, 2]))), score[0], atol=1e-5)
