"""The head by hand against its oracle: cross_entropy and autograd over all scores at once, in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.fast import fixed_context_lm
from llmlab.fast.fixed_context_lm import HeadGradients, head_judge, head_loss

Batch = tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]
"""y, weight, bias, targets, and which of them are scored."""


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows, vocabulary, width = draw(st.integers(1, 40)), draw(st.integers(2, 30)), draw(st.integers(1, 9))
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    weight = torch.randn(vocabulary, width, generator=chance)
    bias = torch.randn(vocabulary, generator=chance) if draw(st.booleans()) else None
    targets = torch.randint(vocabulary, (rows,), generator=chance)
    scored = torch.rand(rows, generator=chance) > draw(st.sampled_from([0.0, 0.3, 1.0]))
    return torch.randn(rows, width, generator=chance), weight, bias, targets.where(scored, -1), scored


def oracle(batch: Batch, count: int) -> HeadGradients:
    y, weight, bias, targets, _ = batch
    leaves = [tensor.double().requires_grad_() for tensor in (y, weight, *([] if bias is None else [bias]))]
    loss = F.cross_entropy(F.linear(*leaves), targets, ignore_index=-1, reduction="sum") / count
    found = torch.autograd.grad(loss, leaves)
    return HeadGradients(loss.detach(), found[0], dict(zip(("head.weight", "head.bias"), found[1:], strict=False)))


@pytest.fixture(autouse=True)
def _few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even small batches be worked off in parts of 16."""
    monkeypatch.setattr(fixed_context_lm, "LOGITS_AT_ONCE", 1)


@given(batch=batches(), extra=st.integers(0, 5))
def test_the_head_is_cross_entropy(batch: Batch, extra: int):
    count = max(1, int(batch[4].sum())) + extra
    ours, theirs = head_loss(*batch, count, learns_weight=True), oracle(batch, count)
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=1e-5, abs=1e-6)
    assert torch.allclose(ours.y.double(), theirs.y, rtol=1e-4, atol=1e-5)
    assert ours.head.keys() == theirs.head.keys()
    for name, gradient in theirs.head.items():
        assert torch.allclose(ours.head[name].double(), gradient, rtol=1e-4, atol=1e-5)


@given(batch=batches())
def test_judging_is_cross_entropy(batch: Batch):
    y, weight, bias, targets, scored = batch
    judged = head_judge(y, weight, bias, targets)
    scores = F.linear(y, weight, bias)
    losses = F.cross_entropy(scores, targets, ignore_index=-1, reduction="none")
    assert torch.allclose(judged.losses, losses, rtol=1e-4, atol=1e-5)
    assert not judged.hits[~scored].any()
    best, second = scores.topk(2, dim=1).values.unbind(1)
    sure = scored & (best - second > 1e-4)
    assert torch.equal(judged.hits[sure], (scores.argmax(1) == targets)[sure])


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 500)])
def test_bf16_is_near(bias: Tensor | None):
    """With products of eight binary digits the loss is off by less than 0.5 %, a gradient by less than 2 %."""
    chance = torch.Generator().manual_seed(0)
    y, weight = torch.randn(300, 32, generator=chance), torch.randn(500, 32, generator=chance).mul_(0.3)
    batch = (y, weight, bias, torch.randint(500, (300,), generator=chance), torch.ones(300, dtype=torch.bool))
    ours, theirs = head_loss(*batch, 300, learns_weight=True, dtype=torch.bfloat16), oracle(batch, 300)
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=5e-3)
    assert float((ours.y - theirs.y).norm()) < 0.02 * float(theirs.y.norm())
    for name, gradient in theirs.head.items():
        assert float((ours.head[name] - gradient).norm()) < 0.02 * float(gradient.norm())
    assert {tensor.dtype for tensor in (ours.y, *ours.head.values())} == {torch.float32}


def test_sure_and_wrong_scores_stay_finite():
    y, weight = torch.full((1, 1), 1e3), torch.tensor([[1.0], [-1.0]])
    for dtype in (torch.float32, torch.bfloat16):
        found = head_loss(
            y, weight, None, torch.tensor([1]), torch.ones(1, dtype=torch.bool), 1, learns_weight=True, dtype=dtype
        )
        assert float(found.loss) == pytest.approx(2e3, rel=1e-2)
        assert torch.isfinite(found.y).all()
