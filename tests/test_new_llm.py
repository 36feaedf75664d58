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
from strategies import SEEDS

SMALL = Size(vocabulary=7, embedding=3, hidden=5, context=4, layers=2)


def small(size: Size = SMALL, seed: int = 0) -> ContextVectorLM:
    """Return a model in float64 whose biases and gains are nowhere near their start."""
    model, chance = ContextVectorLM.initial(size, seed, init="scaled"), torch.Generator().manual_seed(seed + 1)
    for name, tensor in model.parameters.items():
        moved = tensor + 0.3 * torch.randn(tensor.shape, generator=chance) if tensor.dim() == 1 else tensor
        model.parameters[name] = moved.double()
    return model


def test_the_original_start_is_small_and_everywhere_the_same():
    """Matrices have a deviation of 0.02, biases are 0, gains 1: the start of the original notes."""
    for name, tensor in ContextVectorLM.initial(Size(layers=2), 0).parameters.items():
        if tensor.dim() == 2:
            assert float(tensor.std()) == pytest.approx(0.02, rel=0.01)
            assert abs(float(tensor.mean())) < 5 * 0.02 / math.sqrt(tensor.numel())
        else:
            assert set(tensor.tolist()) == {1.0 if name == "norm.gain" else 0.0}


def test_the_scaled_start_goes_by_width_and_opens_the_forget_gates():
    """Layers 2 / inputs, other matrices 1 / inputs, embedding 1; the forget gates' bias is 1 and no other's is."""
    parameters = ContextVectorLM.initial(Size(layers=2), 0, init="scaled").parameters
    variances = {"embedding": 1, "layer0.weight": 2 / 512, "layer1.weight": 2 / 512}
    for name, variance in (variances | {"output.weight": 1 / 512, "gates.weight": 1 / 512}).items():
        assert float(parameters[name].std()) == pytest.approx(variance**0.5, rel=0.01)
    assert parameters["gates.bias"].view(3, 256).mean(1).tolist() == [0, 1, 0]


def test_a_seed_is_a_model():
    one, same, other = (ContextVectorLM.initial(SMALL, seed).parameters["embedding"] for seed in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


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
@given(SEEDS, st.integers(1, 4), st.sampled_from(["plain", "residual"]), st.booleans(), st.sampled_from([1.0, 20.0]))
def test_a_step_is_its_equations(seed: int, layers: int, stack: str, dropped: bool, gain: float):
    """Scores and next context are, row by row and number by number, what lists and loops give; many gains reach 10."""
    model, chance = small(replace(SMALL, layers=layers, stack=stack), seed), torch.Generator().manual_seed(seed)
    model.parameters["norm.gain"] *= gain
    tokens = torch.randint(SMALL.vocabulary, (3,), generator=chance)
    context = 3 * torch.randn(3, SMALL.context, generator=chance, dtype=torch.float64)
    keep = torch.rand(layers, 3, SMALL.hidden, generator=chance).gt(0.3).double() / 0.7 if dropped else None
    found = model.step(tokens, context, keep)
    for row in range(3):
        kept = None if keep is None else keep[:, row].tolist()
        for ours, slow in zip(found, one_step(model, int(tokens[row]), context[row].tolist(), kept), strict=True):
            assert ours[row].tolist() == pytest.approx(slow, rel=1e-9, abs=1e-9)


def test_scores_are_steps_one_after_the_other():
    """From a context of zeros, unless they are told of another."""
    model, inputs, scores = small(), torch.tensor([[1, 2, 3, 4, 5], [6, 0, 2, 2, 1]]), []
    contexts = [model.first_context(2)]
    for tokens in inputs.T:
        score, context = model.step(tokens, contexts[-1])
        scores.append(score)
        contexts.append(context)
    assert torch.equal(contexts[0], torch.zeros(2, SMALL.context).to(contexts[0]))
    assert torch.equal(model.logits(inputs), torch.stack(scores, 1))
    assert torch.equal(model.logits(inputs)[:, 3:], model.logits(inputs[:, 3:], context=contexts[3]))
