"""The training loop and the stack of seeds: what is recorded, and when a run ends early."""

import pytest
import torch

from llmlab import phase1
from llmlab.lab.optimizer import SGD, Adam
from llmlab.lab.steps import Diverged
from llmlab.phase1 import BIAS, TRAINED_WITH_FROZEN, TinyModel, train
from llmlab.text.pairs import Pairs

PAIRS = Pairs.of("hello")
ALL = TRAINED_WITH_FROZEN["none"]


def test_losses_are_those_before_each_update():
    """The first loss is that of the start; the last is that before the last update, as the notes printed it."""
    start = TinyModel.initial(4, 2, range(3))

    run = train(start, PAIRS, lambda: Adam(0.01), trained=ALL, updates=7)
    shorter = train(start, PAIRS, lambda: Adam(0.01), trained=ALL, updates=6)

    assert run.losses.shape == (7, 3)
    assert torch.equal(run.losses[0], start.loss(PAIRS.joint()))
    assert torch.equal(run.losses[-1], shorter.after.loss(PAIRS.joint()))


def test_the_path_begins_at_the_start_and_ends_at_the_end():
    """The first seed's way is remembered from its first to its last place, and the start is left alone."""
    start = TinyModel.initial(4, 2, range(2))
    copy = start.embedding.clone(), start.weight.clone()

    run = train(start, PAIRS, lambda: Adam(0.1), trained=ALL, updates=50)

    assert torch.equal(run.path[0], start.embedding[0])
    assert torch.equal(run.path[-1], run.after.embedding[0])
    assert 2 < len(run.path) <= phase1.PATH_POINTS
    assert all(map(torch.equal, copy, (start.embedding, start.weight)))


def test_splitting_the_seeds_into_stacks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    """Many small stacks give what one large stack gives, to the last bit."""
    start = TinyModel.initial(4, 2, range(10))

    whole = train(start, PAIRS, lambda: Adam(0.01), trained=ALL, updates=20)
    monkeypatch.setattr(phase1, "STACK_SCORES", 3 * 16)
    split = train(start, PAIRS, lambda: Adam(0.01), trained=ALL, updates=20)

    assert torch.equal(whole.after.embedding, split.after.embedding)
    assert torch.equal(whole.losses, split.losses)
    assert torch.equal(whole.path, split.path)


def test_every_update_is_announced(monkeypatch: pytest.MonkeyPatch):
    """``on_step`` hears the number of each update and how many are planned, over all stacks of seeds."""
    heard: list[tuple[int, int]] = []
    monkeypatch.setattr(phase1, "STACK_SCORES", 2 * 16)

    train(
        TinyModel.initial(4, 2, range(3)),
        PAIRS,
        lambda: SGD(0.1),
        trained=ALL,
        updates=3,
        on_step=lambda at, planned: heard.append((at, planned)),
    )

    assert heard == [(update, 6) for update in range(1, 7)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_the_run_at_once(bad: float):
    """Update 3 makes a bias non-finite, so the loss before update 4 is, and that update is not made."""

    class Spoiling(SGD):
        made = 0

        def update(self, parameters: dict[str, torch.Tensor], gradients: dict[str, torch.Tensor]) -> None:
            super().update(parameters, gradients)
            self.made += 1
            if self.made == 3:
                parameters[BIAS][0, 0] = bad

    rule = Spoiling(0.1)
    with pytest.raises(Diverged, match="update 4"):
        train(TinyModel.initial(4, 2, [0]), PAIRS, lambda: rule, trained=ALL, updates=9)

    assert rule.made == 3


def test_a_parameter_that_is_no_number_after_the_last_update_counts_as_divergence():
    """The last update is not followed by a loss that would tell."""
    with pytest.raises(Diverged, match="update 1"):
        train(TinyModel.initial(4, 2, [0]), PAIRS, lambda: SGD(1e38), trained=ALL, updates=1)
