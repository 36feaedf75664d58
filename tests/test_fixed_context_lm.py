"""Training on fixed contexts against its oracle: autograd through the plain loop, token by token, in float64."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.embedding_freeze import EQUATIONS, initial, logits_by_token, plain_loss
from llmlab.fast.fixed_context_lm import NOT_SCORED, FixedContextLM
from llmlab.fast.fixed_contexts import embedded, sequential
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.context_stages import fresh_parameters
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import Judging, Place, evaluate
from strategies import block_sizes

HERE = Place(0, 0)
VOCABULARY = 9


@dataclass(frozen=True, eq=False)
class Case:
    """A model over two streams; ``cut`` is where the second begins."""

    model: FixedContextLM
    cut: int

    def rows(self) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, (B, 1) each, of both streams; every third target is not scored."""
        windows = torch.cat([self.model.windows(0), self.model.windows(1)])
        windows[1::3, 1] = NOT_SCORED
        return windows[:, :1], windows[:, 1:]

    def plain(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses of all rows and the gradients, by autograd through the plain loop over each stream."""
        model = self.model
        leaves = {name: tensor.double().requires_grad_() for name, tensor in model.parameters.items()}
        frozen = {name: tensor.double() for name, tensor in model.frozen.items()}
        scores = [
            list(logits_by_token(model.size, frozen, leaves, ids, when=model.when))[:-1]
            for ids in (model.ids[: self.cut], model.ids[self.cut :])
        ]
        targets = self.rows()[1][:, 0]
        losses = F.cross_entropy(torch.stack(scores[0] + scores[1]), targets, ignore_index=NOT_SCORED, reduction="none")
        found = torch.autograd.grad(losses.sum() / int((targets >= 0).sum()), list(leaves.values()))
        return losses.detach(), dict(zip(leaves, found, strict=True))


def fresh(
    size: BlockSize,
    frozen: dict[str, Tensor],
    ids: Tensor,
    contexts: Tensor,
    seed: int,
    *,
    tied: bool = True,
    trains_embedding: bool = False,
    **choices: Any,
) -> FixedContextLM:
    trained = {"tied": tied, "trains_embedding": trains_embedding}
    parameters = fresh_parameters(EQUATIONS, size, frozen["embedding"], seed, **trained)
    return FixedContextLM(EQUATIONS.blocks, size, frozen, ids, contexts, parameters, **choices)


def built(size: BlockSize, seed: int, **choices: Any) -> Case:
    """Return a case: contexts by the plain pass of each stream, and parameters away from where they start."""
    chance = torch.Generator().manual_seed(seed)
    ids, cut = torch.randint(VOCABULARY, (17,), generator=chance), 11
    frozen = initial(size.context_shapes(), seed)
    frozen["embedding"] = torch.randn(VOCABULARY, size.embedding, generator=chance)
    contexts = [
        sequential(size, frozen, embedded(frozen["embedding"], part, size.n_tokens), len(part))
        for part in (ids[:cut], ids[cut:])
    ]
    model = fresh(size, frozen, ids, torch.cat(contexts), seed, starts=(0, cut), **choices)
    for name, tensor in model.parameters.items():
        if name != "embedding":
            tensor.add_(torch.randn(tensor.shape, generator=chance), alpha=0.3)
    return Case(model, cut)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(block_sizes((3, 6), (1, 3), 3, st.booleans()))
    choices = {
        "tied": draw(st.booleans()),
        "trains_embedding": draw(st.booleans()),
        "when": draw(st.sampled_from(["after", "before"])),
    }
    return built(size, draw(st.integers(0, 2**32)), **choices)


def far(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """Return how far each gradient is from the oracle's, by the length of all."""
    whole = sum(float(gradient.norm()) ** 2 for gradient in theirs.values()) ** 0.5
    assert ours.keys() == theirs.keys()
    return {name: float((ours[name] - gradient).norm()) / whole for name, gradient in theirs.items()}


@given(case=cases())
def test_a_batch_is_the_plain_loop(case: Case):
    inputs, targets = case.rows()
    count = int((targets >= 0).sum())
    loss, gradients = case.model.gradients(inputs, targets, count=count, place=HERE)
    losses, expected = case.plain()
    assert float(loss) == pytest.approx(float(losses.sum()) / count, rel=1e-3)
    assert max(far(gradients, expected).values()) < 2e-3
    judged = case.model.judge(inputs, targets)
    assert torch.allclose(judged.losses[:, 0].double(), losses, rtol=1e-3, atol=1e-3)
    assert {name: gradient.shape for name, gradient in gradients.items()} == {
        name: tensor.shape for name, tensor in case.model.parameters.items()
    }


def test_the_plain_loss_is_that_of_a_whole_stream():
    """The chapter's own loss, token by token, is what the batch of all positions of a text gives."""
    model = built(BlockSize(5, 6, 2, 2), 3, tied=False, trains_embedding=True).model
    rows = model.windows(0)
    loss, _ = model.gradients(rows[:, :1], rows[:, 1:], count=len(rows), place=HERE)
    assert float(loss) == pytest.approx(float(plain_loss(model.size, model.frozen, model.parameters, model.ids[:11])))


@given(case=cases(), data=st.data())
def test_rows_do_not_meet_and_parts_add_up(case: Case, data: st.DataObject):
    inputs, targets = case.rows()
    count = int((targets >= 0).sum())
    _, whole = case.model.gradients(inputs, targets, count=count, place=HERE)
    order = data.draw(st.permutations(range(len(inputs))))
    cut = data.draw(st.integers(1, len(inputs) - 1))
    parts = [
        case.model.gradients(inputs[rows], targets[rows], count=count, place=HERE)[1]
        for rows in (order[:cut], order[cut:])
    ]
    assert max(far({name: parts[0][name] + parts[1][name] for name in whole}, whole).values()) < 1e-4
    ours, theirs = case.model.judge(inputs[order], targets[order]), case.model.judge(inputs, targets)
    assert torch.allclose(ours.losses, theirs.losses[order], rtol=1e-4, atol=1e-4)


@given(case=cases())
def test_a_gradient_is_never_a_parameter(case: Case):
    """What is handed out may be changed in place, as clipping does, without changing the model."""
    inputs, targets = case.rows()
    before = {name: tensor.clone() for name, tensor in (case.model.frozen | case.model.parameters).items()}
    _, gradients = case.model.gradients(inputs, targets, count=5, place=HERE)
    for gradient in gradients.values():
        gradient.fill_(7.0)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in (case.model.frozen | case.model.parameters).items()
    )


KINDS = [
    {"tied": tied, "trains_embedding": trains, "when": when, "precision": precision}
    for tied, trains, when, precision in itertools.product(
        (True, False), (True, False), ("after", "before"), ("fp32", "bf16")
    )
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_frozen_never_moves(kind: dict[str, Any]):
    case = built(BlockSize(6, 6, 2), 0, **kind)
    model = case.model
    kept = {name: tensor.clone() for name, tensor in model.frozen.items()}
    contexts, first = model.contexts.clone(), {name: tensor.clone() for name, tensor in model.parameters.items()}
    training(model).run()
    assert model.context_drift() == 0.0
    assert torch.equal(model.contexts, contexts)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.frozen.items())
    assert not any(torch.equal(tensor, first[name]) for name, tensor in model.parameters.items())


def training(model: FixedContextLM, epochs: int = 3) -> Training:
    """Return a run over the first stream, judged on the second."""
    recipe = Recipe(epochs, 4, 0.01, clip="1.0")
    return Training(model, model.windows(0), model.windows(1), recipe, judging=Judging(NOT_SCORED, NOT_SCORED, 3))


def test_a_drift_would_be_seen():
    for name in ("embedding", "context1.weight", "context0.norm.gain", "contexts"):
        model = built(BlockSize(6, 6, 2), 0).model
        tensor = model.contexts if name == "contexts" else model.frozen[name]
        tensor.add_(torch.linspace(0, 0.1, tensor.shape[-1]))
        assert model.context_drift() > 1e-3


@given(case=cases())
def test_bf16_is_near_and_fresh(case: Case):
    """With bf16 products the loss is near that of fp32, and follows a parameter that changes in place."""
    model = case.model
    rounded = FixedContextLM(
        EQUATIONS.blocks,
        model.size,
        model.frozen,
        model.ids,
        model.contexts,
        model.parameters,
        starts=model.starts,
        when=model.when,
        precision="bf16",
    )
    inputs, targets = case.rows()
    count = int((targets >= 0).sum())
    for _ in range(2):
        exact, _ = model.gradients(inputs, targets, count=count, place=HERE)
        near, gradients = rounded.gradients(inputs, targets, count=count, place=HERE)
        assert float(near) == pytest.approx(float(exact), rel=0.1, abs=0.1)
        assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
        for tensor in model.parameters.values():
            tensor.mul_(2.0)


def test_windows_are_each_token_and_the_next():
    """Positions count over both streams, none reaches into the other, and what is not scored says so."""
    model = built(BlockSize(4, 4, 1), 0).model
    first, second = model.windows(0), model.windows(1, torch.tensor([True, False, True, True, True]))
    assert first[:, 0].tolist() == list(range(10))
    assert first[:, 1].tolist() == model.ids[1:11].tolist()
    assert second[:, 0].tolist() == [11, 12, 13, 14, 15]
    assert second[:, 1].tolist() == [int(model.ids[12]), NOT_SCORED, *model.ids[14:].tolist()]


def test_targets_that_are_not_scored_do_not_count():
    """Neither in training's mean nor in the validation's."""
    model = built(BlockSize(4, 4, 1), 0).model
    whole, part = model.windows(1), model.windows(1, torch.tensor([True, False, True, True, False]))
    few = evaluate(model, part, 2, judging=Judging(NOT_SCORED, NOT_SCORED, 2))
    alone = evaluate(model, whole[[0, 2, 3]], 2, judging=Judging(NOT_SCORED, NOT_SCORED))
    assert (few.targets, few.unknown_share) == (3, 0.0)
    assert few.loss == pytest.approx(alone.loss, rel=1e-5)
    assert few.accuracy == few.accuracy_known
