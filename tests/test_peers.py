"""New-LLM's peers as models: their sizes and start, their gradients, and where their chance comes from."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from conftest import needs
from llmlab.baseline import build
from llmlab.errors import Stopped
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import LanguageModel, Place
from llmlab.lab.sizes import MODELS, NEAR, GPT2Size, GRUSize, off
from llmlab.peers import Peer, peer
from llmlab.settings import BaselineSettings

pytestmark = needs("transformers", "peers")

WORDS, LENGTH = 11, 9
SMALL: dict[str, GPT2Size | GRUSize] = {
    "tiny-gpt2": GPT2Size(WORDS, LENGTH, 8, 2),
    "gru": GRUSize(WORDS, 6, 10, 2),
}
OPTIONS = BaselineSettings(
    embedding=8, hidden=12, context=6, layers=1, length=LENGTH, batch=4, epochs=2, device="cpu", precision="fp32"
)
HERE = Place(seed=3, update=17)
BOTH = pytest.mark.parametrize("name", SMALL)
EVERY = pytest.mark.parametrize("name", MODELS)


def small(name: str, *, dropout: float = 0.0, seed: int = 1, precision: str = "fp32") -> Peer:
    """Return a small peer with weights that are large enough to tell positions apart."""
    built = peer(SMALL[name], seed, dropout=dropout, precision=precision)
    for tensor in built.parameters.values():
        if tensor.dim() > 1:
            tensor.mul_(5)
    return built


def any_model(name: str) -> LanguageModel:
    """Return a small model of any kind."""
    if name != "new-llm":
        return small(name)
    return build(replace(OPTIONS, init="scaled"), WORDS, 1, "fp32")


def windows(rows: int, seed: int = 0) -> torch.Tensor:
    """Return windows of words, (rows, LENGTH), every third with padding at its end."""
    found = torch.randint(1, WORDS, (rows, LENGTH), generator=torch.Generator().manual_seed(seed))
    found[::3, 6:] = 0
    return found


@pytest.mark.parametrize(("layers", "count"), [(3, 2_642_176), (4, 3_431_936), (6, 5_011_456)])
def test_tiny_gpt2_has_the_parameters_of_the_original_notes(layers: int, count: int):
    """At the original width the formula gives the recorded counts."""
    assert GPT2Size(layers=layers).parameters() == count


@pytest.mark.parametrize("size", [GPT2Size(), *SMALL.values(), GRUSize(), GRUSize(7, 3, 4, 3)])
def test_the_formula_counts_what_the_library_builds(size: GPT2Size | GRUSize):
    """The number of parameters is that of the module, its tied output layer counted once."""
    assert sum(tensor.numel() for tensor in peer(size, 0).parameters.values()) == size.parameters()


@given(st.integers(20_000, 10_000_000), st.integers(5, 2_000), st.integers(3, 128), st.integers(1, 300))
@settings(max_examples=60)
@example(2_739_432, 1000, 64, 255)
def test_some_width_and_depth_come_near_to_any_count(wanted: int, vocabulary: int, positions: int, width: int):
    """From twenty thousand parameters on there is a tiny GPT-2 within a tenth of any count."""
    size = GPT2Size.matched(wanted, vocabulary, positions, width)

    assert abs(size.parameters() / wanted - 1) <= NEAR


@given(st.integers(1_000, 10_000_000), st.integers(5, 300), st.integers(1, 100))
def test_no_other_width_of_a_gru_comes_nearer(wanted: int, vocabulary: int, embedding: int):
    """The matched GRU is nearer to the wanted count than one a step narrower or wider."""
    size = GRUSize.matched(wanted, vocabulary, embedding)

    beside = [replace(size, hidden=size.hidden + step) for step in (-1, 1) if size.hidden + step > 0]
    assert all(off(wanted, size) <= off(wanted, other) for other in beside)


@EVERY
@given(at=st.integers(1, LENGTH - 2), token=st.integers(1, WORDS - 1), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_a_later_token_changes_no_earlier_score(name: str, at: int, token: int, seed: int):
    """What is read at a position reaches no loss before it, and does reach the one there."""
    model = any_model(name)
    window = torch.randint(1, WORDS, (2, LENGTH), generator=torch.Generator().manual_seed(seed))
    inputs, targets = window[:, :-1], window[:, 1:]
    changed = inputs.clone()
    changed[:, at] = torch.where(changed[:, at] == token, token % (WORDS - 1) + 1, token)

    before, after = model.judge(inputs, targets).losses, model.judge(changed, targets).losses

    torch.testing.assert_close(after[:, :at], before[:, :at], rtol=0, atol=1e-6)
    assert not torch.allclose(after[:, at], before[:, at], rtol=0, atol=1e-6)


@EVERY
def test_padding_never_matters(name: str):
    """Windows that end in padding have the losses and gradients of the windows cut before it."""
    model, window = any_model(name), windows(4, seed=5)[:, :6]
    longer = torch.cat([window, torch.zeros(4, LENGTH - 6, dtype=torch.int64)], dim=1)

    short, long = ([one[:, :-1], one[:, 1:]] for one in (window, longer))
    torch.testing.assert_close(model.judge(*long).losses[:, :5], model.judge(*short).losses)
    loss, gradients = model.gradients(*short, count=20, place=HERE)
    loss_long, gradients_long = model.gradients(*long, count=20, place=HERE)
    torch.testing.assert_close(loss_long, loss)
    torch.testing.assert_close(gradients_long, gradients)


@BOTH
def test_gradients_are_those_of_plain_autograd(name: str):
    """Loss and gradients are what ``backward`` leaves for the mean loss of the targets that are not padding."""
    model, window = small(name), windows(6)
    inputs, targets = window[:, :-1], window[:, 1:]

    loss, gradients = model.gradients(inputs, targets, count=int((targets != 0).sum()), place=HERE)

    scores = model.module(inputs)
    scores = scores[0] if name == "gru" else scores.logits
    expected = F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=0)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradients, {key: p.grad for key, p in model.module.named_parameters()})
    assert len({gradient.data_ptr() for gradient in gradients.values()}) == len(gradients)  # clipped in place


@BOTH
def test_parts_of_a_batch_add_up(name: str):
    """Divided by the targets of the whole batch, losses and gradients of its parts have its sum."""
    model, window = small(name), windows(6)
    inputs, targets = window[:, :-1], window[:, 1:]

    whole, gradients = model.gradients(inputs, targets, count=40, place=HERE)
    parts = [model.gradients(inputs[r], targets[r], count=40, place=HERE) for r in (slice(2), slice(2, 6))]

    torch.testing.assert_close(parts[0][0] + parts[1][0], whole)
    torch.testing.assert_close({key: parts[0][1][key] + parts[1][1][key] for key in gradients}, gradients)


@BOTH
def test_judging_is_the_scores_without_dropout(name: str):
    """After an update with dropout, judging still gives the eval-mode scores: loss and likeliest token."""
    model, window = small(name, dropout=0.5), windows(5)
    inputs, targets = window[:, :-1], window[:, 1:]
    model.gradients(inputs, targets, count=30, place=HERE)

    judged = model.judge(inputs, targets)

    scores = model.module.eval()(inputs)
    scores = (scores[0] if name == "gru" else scores.logits).detach()
    expected = -scores.log_softmax(2).gather(2, targets[..., None])[..., 0]
    torch.testing.assert_close(judged.losses, expected)
    assert torch.equal(judged.hits, scores.argmax(2) == targets)


@BOTH
def test_dropout_depends_on_the_place_and_on_nothing_else(name: str):
    """The same seed, update and rows drop the same numbers whatever was drawn before; other ones do not."""
    model, window = small(name, dropout=0.3), windows(6)

    def loss(place: Place) -> float:
        return float(model.gradients(window[:, :-1], window[:, 1:], count=40, place=place)[0])

    first, state = loss(HERE), torch.get_rng_state()
    torch.rand(5)
    assert loss(HERE) == first
    others = [replace(HERE, seed=4), replace(HERE, update=18), replace(HERE, first_row=256)]
    assert len({first, *map(loss, others)}) == 4
    torch.set_rng_state(state)
    loss(HERE)
    assert torch.equal(torch.get_rng_state(), state)


@BOTH
def test_building_a_peer_draws_only_from_its_seed(name: str):
    """The same seed gives the same numbers, another seed others, and torch's own generator is not touched."""
    state = torch.get_rng_state()
    first, again, other = (peer(SMALL[name], seed).parameters for seed in (5, 5, 6))

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), state)


def test_tiny_gpt2_starts_as_gpt2_does():
    """Weights deviate by 0.02, those into the residual stream by 0.02 / sqrt(2 layers); biases 0, gains 1."""
    parameters = peer(GPT2Size(), 0).parameters

    for name, tensor in parameters.items():
        if tensor.dim() == 1:
            assert set(tensor.tolist()) == {1.0 if "ln_" in name and name.endswith("weight") else 0.0}
        else:
            wanted = 0.02 / (math.sqrt(6) if name.endswith("c_proj.weight") else 1)
            assert float(tensor.std()) == pytest.approx(wanted, rel=0.02)


@BOTH
def test_bf16_changes_gradients_a_little_and_keeps_fp32_sums(name: str):
    """With rounded products the gradients stay fp32 and near the exact ones."""
    exact, rounded, window = small(name), small(name, precision="bf16"), windows(6)

    found = [model.gradients(window[:, :-1], window[:, 1:], count=40, place=HERE)[1] for model in (exact, rounded)]

    flat = [torch.cat([tensor.flatten() for tensor in gradients.values()]) for gradients in found]
    assert flat[1].dtype == torch.float32
    assert float((flat[1] - flat[0]).norm() / flat[0].norm()) < 0.05


@BOTH
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7])
def test_a_run_goes_on_to_the_bit(name: str, stop: int):
    """Stopped after any update and taken up by a new object, a run with dropout ends in the very same numbers."""
    recipe = Recipe(epochs=3, batch=4, lr=0.01, seed=2, schedule="one-cycle", clip="1.0")
    train, valid = windows(11, seed=1), windows(5, seed=2)

    def training() -> Training:
        return Training(small(name, dropout=0.2), train, valid, recipe)

    def halt(update: int, planned: int, told: str = "") -> None:
        if update >= stop:
            raise Stopped("enough", 2)

    whole, first, second = training(), training(), training()
    whole.run()
    with pytest.raises(Stopped):
        first.run(halt)
    state = {**first.state(), "model": {key: tensor.clone() for key, tensor in first.model.parameters.items()}}
    second.restore(state, {"model": first.best, "progress": vars(first.progress)})
    second.run()

    ours, theirs = second.model.parameters, whole.model.parameters
    assert max(float((ours[key] - theirs[key]).abs().max()) for key in theirs) == 0.0
    assert [row["val_loss"] for row in second.progress.history] == [row["val_loss"] for row in whole.progress.history]
