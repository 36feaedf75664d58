"""The sweep against its oracle: autograd through the plain loop, in float64.  And the laws of a batch."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.baseline import ContextVectorLM
from llmlab.fast.sweep import Sweep
from llmlab.lab.sizes import CLAMP, Size

pytestmark = pytest.mark.usefixtures("all_threads")

Learned = tuple[Tensor, dict[str, Tensor]]
"""A loss and the gradient of each parameter."""


@dataclass(frozen=True)
class Case:
    """A model, some windows, and what dropout leaves of it; ``context`` is what to start from."""

    size: Size
    parameters: dict[str, Tensor]
    inputs: Tensor
    targets: Tensor
    keep: Tensor | None
    scale: float
    context: Tensor | None

    @property
    def count(self) -> int:
        """How many targets are scored."""
        return int((self.targets != 0).sum())

    def rows(self, rows: slice | list[int]) -> "Case":
        """Return the case with some of its rows, in this order."""
        return replace(
            self,
            inputs=self.inputs[rows],
            targets=self.targets[rows],
            keep=None if self.keep is None else self.keep[:, :, rows],
            context=None if self.context is None else self.context[rows],
        )

    def sweep(self, dtype: torch.dtype = torch.float32, *, learns: bool = True) -> Sweep:
        return Sweep(self.size, *self.inputs.shape, dtype, learns=learns)

    def swept(self, sweep: Sweep | None = None, count: int = 0) -> Learned:
        """Return loss and gradients by a sweep, fresh or not."""
        sweep = sweep or self.sweep()
        return sweep.gradients(
            self.parameters,
            self.inputs,
            self.targets,
            count=count or self.count,
            keep=None if self.keep is None else self.keep.to(sweep.dtype),
            scale=self.scale,
            context=self.context,
        )

    def plain(self, dtype: torch.dtype = torch.float64) -> Learned:
        """Return loss and gradients by autograd through the plain loop, in float64 unless told otherwise."""
        leaves = {name: tensor.to(dtype).clone().requires_grad_() for name, tensor in self.parameters.items()}
        keep = None if self.keep is None else self.keep.to(dtype) * self.scale
        context = None if self.context is None else self.context.to(dtype)
        loss = ContextVectorLM(self.size, leaves).loss(self.inputs, self.targets, keep, context)
        loss.backward()  # type: ignore[no-untyped-call]
        nothing = torch.zeros(())
        return loss.detach(), {
            name: nothing.expand_as(tensor) if tensor.grad is None else tensor.grad for name, tensor in leaves.items()
        }


@st.composite
def cases(draw: st.DrawFn, rows: int = 5) -> Case:
    """Draw sizes, then numbers by a seed; any target but one may be padding.

    What is normalised has four numbers or more: of two, fp32 knows little but their signs.
    """
    first = draw(st.sampled_from([0, 4, 5]))  # of so many numbers of the context by themselves, as after ``expand``
    size = Size(
        vocabulary=draw(st.integers(3, 12)),
        embedding=draw(st.integers(1, 6)),
        hidden=draw(st.integers(4, 12)),
        context=first + draw(st.integers(4, 9)),
        layers=draw(st.integers(1, 4)),
        stack=draw(st.sampled_from(["plain", "residual"])),
        first_norm=first,
    )
    batch, time = draw(st.integers(1, rows)), draw(st.integers(1, 7))
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    parameters = ContextVectorLM.initial(size, draw(st.integers(0, 2**32)), init="scaled").parameters
    for tensor in parameters.values():
        if tensor.dim() == 1:
            tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=0.3)
    parameters["norm.gain"].mul_(draw(st.sampled_from([1.0, 8.0])))  # the larger one reaches the clamp
    targets = torch.randint(size.vocabulary, (batch, time), generator=chance)
    targets[0, 0] = 1
    keep = torch.rand(size.layers, time, batch, size.hidden, generator=chance).gt(0.2).float()
    context = torch.randn(batch, size.context, generator=chance)
    dropped = draw(st.booleans())
    return Case(
        size,
        parameters,
        torch.randint(size.vocabulary, (batch, time), generator=chance),
        targets,
        keep if dropped else None,
        1.25 if dropped else 1.0,
        context if draw(st.booleans()) else None,
    )


def distances(ours: Learned, theirs: Learned) -> dict[str, float]:
    """Return how far loss and each gradient are from the oracle's, relative to their length.

    A gradient that is less than a hundredth of all is measured by that: it is a difference of larger numbers.
    """
    assert ours[1].keys() == theirs[1].keys()
    least = 1e-2 * sum(float(gradient.norm()) ** 2 for gradient in theirs[1].values()) ** 0.5
    return {"loss": abs(float(ours[0]) / float(theirs[0]) - 1)} | {
        name: float((ours[1][name] - gradient).norm()) / max(float(gradient.norm()), least, 1e-30)
        for name, gradient in theirs[1].items()
    }


def misses(case: Case, found: Learned) -> dict[str, float]:
    """Return what is more than 1e-5 away from the oracle's loss and gradients.

    In about one case of a hundred no fp32 can be that near, as a variance is nearly zero or a ReLU or the clamp stands
    at its edge.  So if there are any, the limit is 10 times what the oracle itself does when parameters move in their
    last bits, or 4 times what the plain loop makes of it in fp32.
    """
    exact = case.plain()
    far = distances(found, exact)
    if max(far.values()) <= 1e-5:
        return {}
    moved = (replace(case, parameters=in_the_last_bits(case.parameters, seed)).plain() for seed in range(8))
    limit = max(
        1e-5,
        4 * max(distances(case.plain(torch.float32), exact).values()),
        *(10 * max(distances(other, exact).values()) for other in moved),
    )
    return {name: distance for name, distance in far.items() if distance > limit}


def in_the_last_bits(parameters: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return parameters in float64, each changed by about four roundings of fp32: a sum makes several."""
    chance = torch.Generator().manual_seed(seed)
    return {
        name: tensor.double() * (1 + 2.0**-22 * torch.randn(tensor.shape, generator=chance))
        for name, tensor in parameters.items()
    }


@settings(max_examples=150)
@given(case=cases())
def test_a_sweep_is_the_plain_loop(case: Case):
    found = case.swept()
    assert misses(case, found) == {}
    assert all(found[1][name].shape == tensor.shape for name, tensor in case.parameters.items())


def large(stack: str, seed: int = 0) -> Case:
    """Return a case of middling size, for what is true on average only."""
    size, chance = Size(50, 16, 64, 24, 3, stack), torch.Generator().manual_seed(seed)
    tokens = torch.randint(50, (16, 21), generator=chance)
    keep = torch.rand(3, 20, 16, 64, generator=chance).gt(0.1).float()
    parameters = ContextVectorLM.initial(size, seed, init="scaled").parameters
    return Case(size, parameters, tokens[:, :-1], tokens[:, 1:], keep, 1 / 0.9, None)


@pytest.mark.parametrize("stack", ["plain", "residual"])
@pytest.mark.parametrize("seed", range(3))
def test_bf16_is_near_the_plain_loop(stack: str, seed: int):
    """With products of eight binary digits the loss is off by less than 0.1 %, the whole gradient by less than 20 %."""
    case = large(stack, seed)
    loss, gradients = case.swept(case.sweep(torch.bfloat16))
    exact, wanted = case.plain()
    off = sum(float((gradients[name] - wanted[name]).norm()) ** 2 for name in wanted)
    whole = sum(float(wanted[name].norm()) ** 2 for name in wanted)
    assert float(loss) == pytest.approx(float(exact), rel=1e-3)
    assert off**0.5 < 0.2 * whole**0.5
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}


@given(case=cases(), learns=st.booleans())
def test_to_judge_is_to_read_the_plain_scores_and_to_end_in_the_plain_context(case: Case, learns: bool):
    sweep = case.sweep(learns=learns)
    judged = sweep.judge(case.parameters, case.inputs, case.targets, case.context)
    logits = ContextVectorLM(case.size, case.parameters).logits(case.inputs, context=case.context)
    losses = F.cross_entropy(logits.flatten(0, 1), case.targets.flatten(), reduction="none").view(case.targets.shape)
    assert torch.allclose(judged.losses, losses, rtol=1e-4, atol=1e-4)
    best, second = logits.topk(2, dim=2).values.unbind(2)
    sure = best - second > 1e-4
    assert torch.equal(judged.hits[sure], (logits.argmax(2) == case.targets)[sure])

    exact, found = last_context(case), sweep.contexts[-1]
    far = (found - exact).abs() / (1 + exact.abs())
    if float(far.max()) > 1e-4:  # as of gradients, there are cases where no fp32 can be that near
        moved = (last_context(replace(case, parameters=in_the_last_bits(case.parameters, seed))) for seed in range(8))
        assert float(far.max()) <= 10 * max(float((other - exact).abs().max()) for other in moved)
    assert float(found.abs().max()) <= CLAMP


def last_context(case: Case) -> Tensor:
    model = ContextVectorLM(case.size, {name: tensor.double() for name, tensor in case.parameters.items()})
    context = model.first_context(len(case.inputs)) if case.context is None else case.context.double()
    for tokens in case.inputs.T:
        _, context = model.step(tokens, context)
    return context


@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_rooms_for_learning_judge_alike_to_the_bit(stack: str):
    """At sizes that fill whole registers, as the presets' do, nothing differs at all."""
    case = large(stack)
    ours, theirs = (
        case.sweep(learns=learns).judge(case.parameters, case.inputs, case.targets) for learns in (True, False)
    )
    assert torch.equal(ours.losses, theirs.losses)
    assert torch.equal(ours.hits, theirs.hits)


@given(case=cases(rows=8), data=st.data())
def test_parts_of_a_batch_add_up(case: Case, data: st.DataObject):
    cut = data.draw(st.integers(0, len(case.inputs)))
    halves = (slice(cut), slice(cut, None))
    parts = [case.rows(rows).swept(count=case.count) for rows in halves if len(case.inputs[rows])]
    gradients = {name: torch.stack([part[1][name] for part in parts]).sum(0) for name in case.parameters}
    assert misses(case, (torch.stack([part[0] for part in parts]).sum(), gradients)) == {}


@given(case=cases(), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_rooms_can_be_used_again(case: Case, dtype: torch.dtype):
    """After other windows, another dropout and another start, rooms give what fresh ones give, to the bit."""
    used = case.sweep(dtype)
    chance = torch.Generator().manual_seed(1)
    before = replace(
        case,
        inputs=case.inputs.flip(1),
        targets=case.targets.flip(0),
        keep=torch.rand(case.size.layers, *case.inputs.T.shape, case.size.hidden, generator=chance).gt(0.5).float(),
        scale=2.0,
        context=torch.ones(len(case.inputs), case.size.context),
    )
    before.swept(used)
    first = case.swept(used)
    kept = {name: gradient.clone() for name, gradient in first[1].items()}
    loss, gradients = case.swept(case.sweep(dtype))
    assert torch.equal(first[0], loss)
    before.swept(used)  # and what was handed out is not written over
    for name, gradient in gradients.items():
        assert torch.equal(gradient, kept[name])
        assert torch.equal(gradient, first[1][name])
