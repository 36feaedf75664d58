"""Stage 2 against its oracle: autograd through the plain loop and its scores, token by token, in float64."""

import itertools
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.embedding_freeze import BLOCKS, fresh_parameters, initial, logits_by_token, plain_loss
from llmlab.fast import fixed_context_lm
from llmlab.fast.fixed_context_lm import NOT_SCORED, FixedContextLM, head_judge, head_loss
from llmlab.fast.fixed_contexts import embedded, sequential
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import Judging, Place, evaluate
from llmlab.settings.contexts import READINGS
from strategies import SEEDS, block_sizes

pytestmark = pytest.mark.usefixtures("all_threads")

HERE = Place(0, 0)
VOCABULARY, STREAMS = 9, (11, 6)


@pytest.fixture(autouse=True)
def _few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even small batches be worked off in parts of 16."""
    monkeypatch.setattr(fixed_context_lm, "LOGITS_AT_ONCE", 1)


# ---- the head ------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Rows y, weight, bias, and targets, of which negative ones are not scored."""

    y: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows, vocabulary, width = draw(st.integers(1, 40)), draw(st.integers(2, 30)), draw(st.integers(1, 9))
    chance = torch.Generator().manual_seed(draw(SEEDS))
    weight = torch.randn(vocabulary, width, generator=chance)
    bias = torch.randn(vocabulary, generator=chance) if draw(st.booleans()) else None
    targets = torch.randint(vocabulary, (rows,), generator=chance)
    scored = torch.rand(rows, generator=chance) > draw(st.sampled_from([0.0, 0.3, 1.0]))
    return Batch(torch.randn(rows, width, generator=chance), weight, bias, targets.where(scored, NOT_SCORED))


def oracle(batch: Batch, count: int) -> tuple[Tensor, list[Tensor]]:
    """Return the loss, and its gradients into y and the head, by cross_entropy over all scores at once."""
    leaves = [tensor.double().requires_grad_() for tensor in batch[:3] if tensor is not None]
    loss = F.cross_entropy(F.linear(*leaves), batch.targets, ignore_index=NOT_SCORED, reduction="sum") / count
    return loss.detach(), list(torch.autograd.grad(loss, leaves))


@given(batch=batches(), extra=st.integers(0, 5))
def test_the_head_is_cross_entropy(batch: Batch, extra: int):
    count = max(1, int((batch.targets >= 0).sum())) + extra
    loss, y, head = head_loss(*batch, count, learns_weight=True)
    expected, gradients = oracle(batch, count)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    assert list(head) == ["head.weight", "head.bias"][: len(gradients) - 1]
    for ours, theirs in zip((y, *head.values()), gradients, strict=True):
        assert torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-5)


@given(batch=batches())
def test_judging_is_cross_entropy(batch: Batch):
    y, weight, bias, targets = batch
    judged, scores = head_judge(*batch), F.linear(y, weight, bias)
    losses = F.cross_entropy(scores, targets, ignore_index=NOT_SCORED, reduction="none")
    assert torch.allclose(judged.losses, losses, rtol=1e-4, atol=1e-5)
    assert not judged.hits[targets < 0].any()
    best, second = scores.topk(2, dim=1).values.unbind(1)
    sure = (targets >= 0) & (best - second > 1e-4)
    assert torch.equal(judged.hits[sure], (scores.argmax(1) == targets)[sure])


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 500)])
def test_a_head_in_bf16_is_near(bias: Tensor | None):
    """With products of eight binary digits the loss is off by less than 0.5 %, a gradient by less than 2 %."""
    chance = torch.Generator().manual_seed(0)
    y, weight = torch.randn(300, 32, generator=chance), torch.randn(500, 32, generator=chance).mul_(0.3)
    batch = Batch(y, weight, bias, torch.randint(500, (300,), generator=chance))
    loss, into_y, head = head_loss(*batch, 300, learns_weight=True, dtype=torch.bfloat16)
    expected, gradients = oracle(batch, 300)
    assert float(loss) == pytest.approx(float(expected), rel=5e-3)
    for ours, theirs in zip((into_y, *head.values()), gradients, strict=True):
        assert float((ours - theirs).norm()) < 0.02 * float(theirs.norm())
        assert ours.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sure_and_wrong_scores_stay_finite(dtype: torch.dtype):
    batch = Batch(torch.full((1, 1), 1e3), torch.tensor([[1.0], [-1.0]]), None, torch.tensor([1]))
    loss, y, _ = head_loss(*batch, 1, learns_weight=True, dtype=dtype)
    assert float(loss) == pytest.approx(2e3, rel=1e-2)
    assert torch.isfinite(y).all()


# ---- the model -----------------------------------------------------------------------------------------------------


def built(size: BlockSize, seed: int, *, tied: bool = True, trains_embedding: bool = False) -> FixedContextLM:
    """Return a model over two streams, contexts by the plain pass of each, parameters away from where they start."""
    chance = torch.Generator().manual_seed(seed)
    streams = torch.randint(VOCABULARY, (sum(STREAMS),), generator=chance).split(STREAMS)
    frozen = initial(size.context_shapes(), seed)
    frozen["embedding"] = torch.randn(VOCABULARY, size.embedding, generator=chance)
    inputs = [embedded(frozen["embedding"], part, size.n_tokens) for part in streams]
    contexts = torch.cat([sequential(size, frozen, *each) for each in zip(inputs, STREAMS, strict=True)])
    parameters = fresh_parameters(size, frozen["embedding"], seed, tied=tied, trains_embedding=trains_embedding)
    for name, tensor in parameters.items():
        if name != "embedding":
            tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=0.3)
    return FixedContextLM(BLOCKS, size, frozen, streams, contexts, parameters)


def in_bf16(model: FixedContextLM) -> FixedContextLM:
    """Return a model of the same parameters whose products are rounded."""
    streams = model.ids.split(STREAMS)
    return FixedContextLM(BLOCKS, model.size, model.frozen, streams, model.contexts, model.parameters, "bf16")


models = st.builds(built, block_sizes((3, 6), (1, 3), 3), SEEDS, tied=st.booleans(), trains_embedding=st.booleans())


def rows_of(model: FixedContextLM) -> tuple[Tensor, Tensor, int]:
    """Return inputs and targets, (B, 1) each, of both streams, and how many count; every third does not."""
    windows = torch.cat([model.windows(0), model.windows(1)])
    windows[1::3, 1] = NOT_SCORED
    return windows[:, :1], windows[:, 1:], int((windows[:, 1] >= 0).sum())


def plain(model: FixedContextLM) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the losses of all rows and the gradients, by autograd through the plain loop over each stream."""
    leaves = {name: tensor.double().requires_grad_() for name, tensor in model.parameters.items()}
    frozen = {name: tensor.double() for name, tensor in model.frozen.items()}
    streams = [list(logits_by_token(model.size, frozen, leaves, ids))[:-1] for ids in model.ids.split(STREAMS)]
    scores = torch.stack([score for each in streams for score in each])
    _, targets, count = rows_of(model)
    losses = F.cross_entropy(scores, targets[:, 0], ignore_index=NOT_SCORED, reduction="none")
    found = torch.autograd.grad(losses.sum() / count, list(leaves.values()))
    return losses.detach(), dict(zip(leaves, found, strict=True))


def far(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return how far the farthest gradient is from the oracle's, by the length of all."""
    whole = sum(float(gradient.norm()) ** 2 for gradient in theirs.values()) ** 0.5
    assert {name: each.shape for name, each in ours.items()} == {name: each.shape for name, each in theirs.items()}
    return max(float((ours[name] - gradient).norm()) / whole for name, gradient in theirs.items())


@given(model=models)
def test_a_batch_is_the_plain_loop(model: FixedContextLM):
    inputs, targets, count = rows_of(model)
    loss, gradients = model.gradients(inputs, targets, count=count, place=HERE)
    losses, expected = plain(model)
    assert float(loss) == pytest.approx(float(losses.sum()) / count, rel=1e-3)
    assert far(gradients, expected) < 2e-3
    assert torch.allclose(model.judge(inputs, targets).losses[:, 0].double(), losses, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("reading", READINGS)
def test_the_plain_loss_is_that_of_a_whole_stream(reading: str):
    model = built(BlockSize(5, 6, 2, 2, reading=reading), 3, tied=False, trains_embedding=True)
    rows, ids = model.windows(0), model.ids[: STREAMS[0]]
    loss, _ = model.gradients(rows[:, :1], rows[:, 1:], count=len(rows), place=HERE)
    assert float(loss) == pytest.approx(float(plain_loss(model.size, model.frozen, model.parameters, ids)))


@given(model=models, data=st.data())
def test_rows_do_not_meet_and_parts_add_up(model: FixedContextLM, data: st.DataObject):
    """In any order and cut; and what is handed out may be changed in place, as clipping does."""
    inputs, targets, count = rows_of(model)
    before = {name: tensor.clone() for name, tensor in (model.frozen | model.parameters).items()}
    _, whole = model.gradients(inputs, targets, count=count, place=HERE)
    order, cut = data.draw(st.permutations(range(len(inputs)))), data.draw(st.integers(1, len(inputs) - 1))
    one, other = (
        model.gradients(inputs[rows], targets[rows], count=count, place=HERE)[1] for rows in (order[:cut], order[cut:])
    )
    assert far({name: one[name] + other[name] for name in whole}, whole) < 1e-4
    ours, theirs = model.judge(inputs[order], targets[order]), model.judge(inputs, targets)
    assert torch.allclose(ours.losses, theirs.losses[order], rtol=1e-4, atol=1e-4)
    for gradient in whole.values():
        gradient.fill_(7.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in (model.frozen | model.parameters).items())


@given(model=models)
def test_bf16_is_near_and_fresh(model: FixedContextLM):
    """With bf16 products the loss is near that of fp32, and follows a parameter that changes in place."""
    rounded, (inputs, targets, count) = in_bf16(model), rows_of(model)
    for _ in range(2):
        exact, _ = model.gradients(inputs, targets, count=count, place=HERE)
        near, gradients = rounded.gradients(inputs, targets, count=count, place=HERE)
        assert float(near) == pytest.approx(float(exact), rel=0.1, abs=0.1)
        assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
        for tensor in model.parameters.values():
            tensor.mul_(2.0)


@pytest.mark.parametrize(
    ("tied", "trains", "reading", "bf16"),
    list(itertools.product((True, False), (True, False), READINGS, (True, False))),
)
def test_what_is_frozen_never_moves(tied: bool, trains: bool, reading: str, bf16: bool):
    model = built(BlockSize(6, 6, 2, reading=reading), 0, tied=tied, trains_embedding=trains)
    model = in_bf16(model) if bf16 else model
    fixed = model.frozen | {"contexts": model.contexts}
    kept, first = ({name: tensor.clone() for name, tensor in each.items()} for each in (fixed, model.parameters))
    judging = Judging(NOT_SCORED, NOT_SCORED, 3)
    Training(model, model.windows(0), model.windows(1), Recipe(3, 4, 0.01, clip="1.0"), judging=judging).run()
    assert model.context_drift() == 0.0
    assert all(torch.equal(tensor, kept[name]) for name, tensor in fixed.items())
    assert not any(torch.equal(tensor, first[name]) for name, tensor in model.parameters.items())


@pytest.mark.parametrize("name", ["embedding", "context1.weight", "context0.norm.gain", "contexts"])
def test_a_drift_would_be_seen(name: str):
    model = built(BlockSize(6, 6, 2), 0)
    tensor = model.contexts if name == "contexts" else model.frozen[name]
    tensor.add_(torch.linspace(0, 0.1, tensor.shape[-1]))
    assert model.context_drift() > 1e-3


@given(unknown=st.integers(-1, VOCABULARY - 1), seed=SEEDS)
def test_windows_are_each_token_and_the_next(unknown: int, seed: int):
    """Positions count over both streams, none reaches into the other, and the unknown token is not scored."""
    model, start = built(BlockSize(4, 4, 1), seed), 0
    for number, n in enumerate(STREAMS):
        positions, targets = model.windows(number, unknown).T.tolist()
        assert positions == list(range(start, start + n - 1))
        following = model.ids[start + 1 : start + n].tolist()
        assert targets == [NOT_SCORED if token == unknown else token for token in following]
        start += n


def test_targets_that_are_not_scored_do_not_count():
    """Neither in training's mean nor in the validation's."""
    model = built(BlockSize(4, 4, 1), 0)
    whole = model.windows(1)
    part = whole.clone()
    part[[1, 4], 1] = NOT_SCORED
    few = evaluate(model, part, 2, judging=Judging(NOT_SCORED, NOT_SCORED, 2))
    alone = evaluate(model, whole[[0, 2, 3]], 2, judging=Judging(NOT_SCORED, NOT_SCORED))
    assert (few.targets, few.unknown_share) == (3, 0.0)
    assert few.loss == pytest.approx(alone.loss, rel=1e-5)
    assert few.accuracy == few.accuracy_known
