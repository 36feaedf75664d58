"""New-LLM against its equations: shapes, start, and one step number by number."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.baseline import ContextVectorLM
from llmlab.lab.language import EPS
from llmlab.lab.sizes import CLAMP, Size

SMALL = {"vocabulary": 7, "embedding": 3, "hidden": 5, "context": 4}


def small(stack: str = "plain", layers: int = 2, seed: int = 0) -> ContextVectorLM:
    model = ContextVectorLM.initial(Size(**SMALL, layers=layers, stack=stack), seed, init="scaled")
    chance = torch.Generator().manual_seed(seed + 1)
    for name, tensor in model.parameters.items():
        moved = tensor + 0.3 * torch.randn(tensor.shape, generator=chance) if tensor.dim() == 1 else tensor
        model.parameters[name] = moved.double()
    return model


def test_a_model_has_the_shapes_it_says():
    """The tensors are those of ``Size.shapes``, by name and in order, and their numbers are its count in each stack."""
    size = Size(**SMALL, layers=3)
    for stack in ("plain", "residual"):
        parameters = ContextVectorLM.initial(replace(size, stack=stack), 0).parameters
        assert [(name, tuple(tensor.shape)) for name, tensor in parameters.items()] == list(size.shapes().items())
        assert sum(tensor.numel() for tensor in parameters.values()) == size.parameters()


def test_the_original_start_is_small_and_everywhere_the_same():
    """Matrices have a deviation of 0.02, biases are 0, gains 1: the start of the original notes."""
    parameters = ContextVectorLM.initial(Size(layers=2), 0).parameters
    for name, tensor in parameters.items():
        if tensor.dim() == 2:
            assert float(tensor.std()) == pytest.approx(0.02, rel=0.01)
            assert abs(float(tensor.mean())) < 5 * 0.02 / math.sqrt(tensor.numel())
        else:
            assert set(tensor.tolist()) == {1.0 if name == "norm.gain" else 0.0}


def test_the_scaled_start_goes_by_width_and_opens_the_forget_gates():
    """Layers 2 / inputs, other matrices 1 / inputs, embedding 1; the forget gates' bias is 1 and no other's is."""
    parameters = ContextVectorLM.initial(Size(layers=2), 0, init="scaled").parameters
    wanted = {"embedding": 1.0, "layer0.weight": (2 / 512) ** 0.5, "layer1.weight": (2 / 512) ** 0.5}
    wanted |= {"output.weight": (1 / 512) ** 0.5, "gates.weight": (1 / 512) ** 0.5}
    for name, deviation in wanted.items():
        assert float(parameters[name].std()) == pytest.approx(deviation, rel=0.01)
    assert parameters["gates.bias"].view(3, 256).mean(1).tolist() == [0, 1, 0]


def test_a_seed_is_a_model():
    one, same, other = (ContextVectorLM.initial(Size(**SMALL), seed).parameters["embedding"] for seed in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_first_context_is_zero():
    """Before the first token nothing is remembered; logits start from there unless told otherwise."""
    model, inputs = small(), torch.tensor([[1, 2, 3]])
    first = model.first_context(1)
    assert first.shape == (1, SMALL["context"])
    assert not first.any()
    assert torch.equal(model.logits(inputs), model.logits(inputs, context=first))


def linear(rows: list[list[float]], bias: list[float], vector: list[float]) -> list[float]:
    return [sum(w * x for w, x in zip(row, vector, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def normed(vector: list[float]) -> list[float]:
    mean = sum(vector) / len(vector)
    variance = sum((x - mean) ** 2 for x in vector) / len(vector)
    return [(x - mean) / math.sqrt(variance + EPS) for x in vector]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one_step(
    model: ContextVectorLM, token: int, context: list[float], keep: list[list[float]] | None
) -> tuple[list[float], list[float]]:
    """Return logits and next context by the equations, one number after the other."""
    p = {name: tensor.tolist() for name, tensor in model.parameters.items()}
    hidden = p["embedding"][token] + context
    for layer in range(model.size.layers):
        adds = model.size.stack == "residual" and layer > 0
        read = normed(hidden) if adds else hidden
        out = [max(0.0, x) for x in linear(p[f"layer{layer}.weight"], p[f"layer{layer}.bias"], read)]
        out = out if keep is None else [x * k for x, k in zip(out, keep[layer], strict=True)]
        hidden = [x + y for x, y in zip(hidden, out, strict=True)] if adds else out
    logits = linear(p["output.weight"], p["output.bias"], hidden)
    gates, width = linear(p["gates.weight"], p["gates.bias"], hidden), model.size.context
    change, forget, write = gates[:width], gates[width : 2 * width], gates[2 * width :]
    mixed = [sigmoid(f) * c + sigmoid(i) * d for c, d, f, i in zip(context, change, forget, write, strict=True)]
    gained = [g * x + b for x, g, b in zip(normed(mixed), p["norm.gain"], p["norm.bias"], strict=True)]
    return logits, [min(max(x, -CLAMP), CLAMP) for x in gained]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    layers=st.integers(1, 4),
    stack=st.sampled_from(["plain", "residual"]),
    dropped=st.booleans(),
    gain=st.sampled_from([1.0, 20.0]),
)
def test_a_step_is_its_equations(seed: int, layers: int, stack: str, dropped: bool, gain: float):
    """Scores and next context are, row by row and number by number, what lists and loops give; many gains reach 10."""
    model, chance = small(stack, layers, seed), torch.Generator().manual_seed(seed)
    model.parameters["norm.gain"] *= gain
    tokens = torch.randint(SMALL["vocabulary"], (3,), generator=chance)
    context = 3 * torch.randn(3, SMALL["context"], generator=chance, dtype=torch.float64)
    keep = torch.rand(layers, 3, SMALL["hidden"], generator=chance).gt(0.3).double() / 0.7 if dropped else None
    logits, after = model.step(tokens, context, keep)
    for row in range(3):
        kept = None if keep is None else keep[:, row].tolist()
        slow = one_step(model, int(tokens[row]), context[row].tolist(), kept)
        assert logits[row].tolist() == pytest.approx(slow[0], rel=1e-9, abs=1e-9)
        assert after[row].tolist() == pytest.approx(slow[1], rel=1e-9, abs=1e-9)


def test_scores_are_steps_one_after_the_other():
    model, inputs = small(), torch.tensor([[1, 2, 3, 4, 5], [6, 0, 2, 2, 1]])
    context, steps = model.first_context(2), []
    for t in range(5):
        score, context = model.step(inputs[:, t], context)
        steps.append(score)
        if t == 2:
            middle = context
    assert torch.equal(model.logits(inputs), torch.stack(steps, 1))
    assert torch.equal(model.logits(inputs)[:, 3:], model.logits(inputs[:, 3:], context=middle))
