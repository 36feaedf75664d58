"""New-LLM against its equations: counts, start, one step number by number, and what the gates do."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.baseline import ContextVectorLM
from llmlab.lab.sizes import CLAMP, EPS, Size

SMALL = {"vocabulary": 7, "embedding": 3, "hidden": 5, "context": 4}


def small(stack: str = "plain", layers: int = 2, seed: int = 0) -> ContextVectorLM:
    """Return a small model in float64 whose biases and gains are not at their start either."""
    model = ContextVectorLM.initial(Size(**SMALL, layers=layers, stack=stack), seed, init="scaled")
    chance = torch.Generator().manual_seed(seed + 1)
    for name, tensor in model.parameters.items():
        moved = tensor + 0.3 * torch.randn(tensor.shape, generator=chance) if tensor.dim() == 1 else tensor
        model.parameters[name] = moved.double()
    return model


@pytest.mark.parametrize(
    ("layers", "context", "count"),
    [
        *((1, 256, 1_426_152), (4, 256, 2_214_120), (5, 256, 2_476_776), (6, 256, 2_739_432), (7, 256, 3_002_088)),
        *((1, 512, 1_951_720), (4, 512, 2_739_688), (6, 512, 3_265_000), (12, 512, 4_840_936)),
    ],
)
def test_the_counts_are_those_of_the_original_notes(layers: int, context: int, count: int):
    """Every model of the study has the exact number of parameters it is said to have, in either stack."""
    for stack in ("plain", "residual"):
        assert Size(context=context, layers=layers, stack=stack).parameters() == count


def test_a_model_has_the_shapes_it_says():
    """The tensors are those of ``Size.shapes``, by name and in order, and their numbers are its count."""
    size = Size(**SMALL, layers=3)
    parameters = ContextVectorLM.initial(size, 0).parameters
    assert {name: tuple(tensor.shape) for name, tensor in parameters.items()} == size.shapes()
    assert list(parameters) == list(size.shapes())
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
    """The same seed gives the same numbers, another one others."""
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
    """Return W x + b, number by number."""
    return [sum(w * x for w, x in zip(row, vector, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def normed(vector: list[float]) -> list[float]:
    """Return a vector without its mean, divided by its deviation."""
    mean = sum(vector) / len(vector)
    variance = sum((x - mean) ** 2 for x in vector) / len(vector)
    return [(x - mean) / math.sqrt(variance + EPS) for x in vector]


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
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
)
def test_a_step_is_its_equations(seed: int, layers: int, stack: str, dropped: bool):
    """Scores and next context are, row by row and number by number, what lists and loops give."""
    model, chance = small(stack, layers, seed), torch.Generator().manual_seed(seed)
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
    """The plain loop hands each step's context to the next, and may be interrupted anywhere."""
    model, inputs = small(), torch.tensor([[1, 2, 3, 4, 5], [6, 0, 2, 2, 1]])
    context, steps = model.first_context(2), []
    for t in range(5):
        score, context = model.step(inputs[:, t], context)
        steps.append(score)
        if t == 2:
            middle = context
    assert torch.equal(model.logits(inputs), torch.stack(steps, 1))
    assert torch.equal(model.logits(inputs)[:, 3:], model.logits(inputs[:, 3:], context=middle))


def test_scores_see_the_old_context_only():
    """What the gates do at a position is not yet in its logits; it is in those of the next."""
    model, inputs = small(), torch.tensor([[1, 2]])
    before = model.logits(inputs)
    model.parameters["gates.bias"] = model.parameters["gates.bias"] + 1
    after = model.logits(inputs)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])


def with_gates(change: float, forget: float, write: float) -> ContextVectorLM:
    """Return a model whose gates do the same whatever it reads, and whose LayerNorm is at its start."""
    model, width = small(), SMALL["context"]
    p = model.parameters
    p["gates.weight"] = torch.zeros_like(p["gates.weight"])
    p["gates.bias"] = torch.tensor([change, forget, write], dtype=torch.float64).repeat_interleave(width)
    p["norm.gain"], p["norm.bias"] = torch.ones_like(p["norm.gain"]), torch.zeros_like(p["norm.bias"])
    return model


def test_open_forget_gates_and_shut_write_gates_keep_the_context():
    """The direction of a context survives a hundred tokens, but for LayerNorm's epsilon."""
    model = with_gates(5.0, 50.0, -50.0)
    context = first = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    for token in range(100):
        _, context = model.step(torch.tensor([token % 7]), context)
    centred = first - first.mean()
    assert float(torch.cosine_similarity(context, centred)) == pytest.approx(1, abs=1e-12)
    assert float(context.square().mean()) == pytest.approx(1, abs=1e-4)


def test_shut_forget_gates_forget():
    """With forget gates shut the next context does not depend on the one before."""
    model = small()
    model.parameters["gates.weight"] = torch.zeros_like(model.parameters["gates.weight"])
    model.parameters["gates.bias"][SMALL["context"] : 2 * SMALL["context"]] = -800.0
    contexts = torch.tensor([[1.0, 2, 3, 4], [-4, 0, 1, 9]], dtype=torch.float64)
    _, after = model.step(torch.tensor([1, 1]), contexts)
    assert torch.equal(after[0], after[1])


def test_a_context_stays_within_its_clamp():
    """However large the gain, no number of a context exceeds 10; and 10 is reached."""
    model = small()
    model.parameters["norm.gain"] = model.parameters["norm.gain"] * 1e3
    _, context = model.step(torch.tensor([1, 2]), model.first_context(2))
    assert float(context.abs().max()) == CLAMP


def test_what_dropout_drops_is_gone():
    """If nothing is kept, a plain stack gives the biases of the output layer."""
    model = small()
    logits, _ = model.step(torch.tensor([1]), model.first_context(1), torch.zeros(2, 1, SMALL["hidden"]))
    assert torch.equal(logits[0], model.parameters["output.bias"])


def test_one_layer_is_the_same_in_both_stacks():
    """Nothing is added before there is a second layer."""
    inputs = torch.tensor([[1, 2, 3]])
    assert torch.equal(small("plain", 1).logits(inputs), small("residual", 1).logits(inputs))


def test_a_residual_layer_of_zeros_changes_nothing():
    """A second layer whose weights and biases are zero adds nothing to the first."""
    one, two, inputs = small("residual", 1), small("residual", 2), torch.tensor([[1, 2, 3]])
    for name in two.parameters:
        fresh = torch.zeros_like(two.parameters[name]) if name.startswith("layer1") else one.parameters[name]
        two.parameters[name] = fresh
    assert torch.equal(one.logits(inputs), two.logits(inputs))
