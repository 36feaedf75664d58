"""TinyModel against plain Python loops, against autograd, and against ``torch.nn``."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab.phase1 import BIAS, EMBEDDING, WEIGHT, TinyModel
from llmlab.phase1_2 import stacked
from llmlab.text.pairs import Pairs
from strategies import SEEDS, double, texts, texts_and_models


def logits_by_loops(embedding: list[list[float]], weight: list[list[float]], bias: list[float]) -> list[list[float]]:
    """The slow spec of the scores: one inner product at a time, plus the bias."""
    return [
        [sum(e * w for e, w in zip(row, column, strict=True)) + b for column, b in zip(weight, bias, strict=True)]
        for row in embedding
    ]


def loss_by_loops(logits: list[list[float]], text: str) -> float:
    """The slow spec of the loss: walk through the text, pair by pair."""
    numbers = Pairs.of(text).vocabulary.encode(text)
    total = 0.0
    for source, target in pairwise(numbers):
        top = max(logits[source])
        log_sum = top + math.log(sum(math.exp(score - top) for score in logits[source]))
        total += log_sum - logits[source][target]
    return total / (len(numbers) - 1)


def gradients_by_loops(
    embedding: list[list[float]], weight: list[list[float]], bias: list[float], text: str
) -> tuple[list[list[float]], list[list[float]], list[float]]:
    """The slow spec of the gradients: for each pair, P minus one-hot, spread over E, W and b."""
    numbers = Pairs.of(text).vocabulary.encode(text)
    logits, size, dim = logits_by_loops(embedding, weight, bias), len(bias), len(embedding[0])
    to_e = [[0.0] * dim for _ in range(size)]
    to_w = [[0.0] * dim for _ in range(size)]
    to_b = [0.0] * size
    for source, target in pairwise(numbers):
        top = max(logits[source])
        weights = [math.exp(score - top) for score in logits[source]]
        for k in range(size):
            excess = (weights[k] / sum(weights) - (k == target)) / (len(numbers) - 1)
            to_b[k] += excess
            for d in range(dim):
                to_e[source][d] += excess * weight[k][d]
                to_w[k][d] += excess * embedding[source][d]
    return to_e, to_w, to_b


@given(texts, SEEDS, st.integers(min_value=1, max_value=4))
def test_scores_loss_and_gradients_equal_the_loops(text: str, seed: int, dim: int):
    """The stacked tensors compute what three plain loops compute."""
    pairs = Pairs.of(text)
    model = double(TinyModel.initial(len(pairs.tokens), dim, [seed]))
    parts = model.embedding[0].tolist(), model.weight[0].tolist(), model.bias[0].tolist()

    loss, gradients = model.loss_and_gradients(pairs.joint().double())

    expected = gradients_by_loops(*parts, text)
    logits = logits_by_loops(*parts)
    assert model.logits()[0].tolist() == [pytest.approx(row, abs=1e-9) for row in logits]
    for got, row in zip(model.probabilities()[0].tolist(), logits, strict=True):
        assert got == pytest.approx([math.exp(score) / sum(map(math.exp, row)) for score in row], abs=1e-9)
    assert float(loss) == pytest.approx(loss_by_loops(logits, text), abs=1e-6)
    for name, slow in zip((EMBEDDING, WEIGHT, BIAS), expected, strict=True):
        assert torch.allclose(gradients[name][0], torch.tensor(slow).double(), atol=1e-6)


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


def test_scores_and_loss_equal_those_of_torch_modules():
    """An Embedding followed by a Linear, with the same numbers in them, gives the same scores and loss."""
    model = TinyModel.initial(4, 3, [7])
    embedding, linear = torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4)
    embedding.load_state_dict({"weight": model.embedding[0]})
    linear.load_state_dict({"weight": model.weight[0], "bias": model.bias[0]})
    inputs, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 2, 2, 3])

    logits = linear(embedding(inputs))

    assert torch.allclose(model.logits()[0, inputs], logits)
    expected = torch.nn.functional.cross_entropy(logits, targets)
    assert torch.allclose(model.loss(Pairs.of("hello").joint())[0], expected)


def test_a_model_does_not_depend_on_its_neighbours_in_the_stack():
    """Seed 5 starts from the same bits alone and among others."""
    alone, among = TinyModel.initial(4, 2, [5]), TinyModel.initial(4, 2, range(9))

    assert torch.equal(alone.embedding[0], among.embedding[5])
    assert torch.equal(alone.weight[0], among.weight[5])
    assert torch.equal(alone.bias[0], among.bias[5])


def test_initial_numbers_are_spread_as_torch_modules_spread_them():
    """Embeddings are standard normal; output rows and biases uniform in ±1/sqrt(dim)."""
    model = TinyModel.initial(4, 4, range(2_000))

    assert abs(float(model.embedding.mean())) < 0.02
    assert abs(float(model.embedding.std()) - 1) < 0.02
    for uniform in (model.weight, model.bias):
        assert 0.49 < float(uniform.abs().max()) <= 0.5
        assert abs(float(uniform.std()) - 0.5 / math.sqrt(3)) < 0.01


def test_stacking_joins_models_in_order():
    """A stack of stacks holds every model once, in the order given."""
    parts = [TinyModel.initial(4, 2, range(2)), TinyModel.initial(4, 2, range(5, 8))]

    joined = stacked(parts)

    assert len(joined) == 5
    assert torch.equal(joined.embedding[2:], parts[1].embedding)
