"""The replayed sweep says what the sweep says, of every batch after the one that it recorded."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import stand_in_card
from llmlab.fast.replayed import Recording, ReplayedSweep
from llmlab.fast.sweep import Sweep
from llmlab.model import replayed, swept
from test_epochs import final, same, training
from test_sweep import Case, cases

pytestmark = pytest.mark.usefixtures("one_thread", "stand_in")


@pytest.fixture(scope="module")
def stand_in() -> Iterator[None]:
    """The CPU as a card; for a whole module, as hypothesis draws many cases in one test."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in_card.put_in_graphs(patch)
        yield


def others(case: Case, seed: int) -> Case:
    """Return a case of the same shapes with other numbers throughout."""
    chance = torch.Generator().manual_seed(seed)
    inputs, targets = (torch.randint(case.size.vocabulary, case.inputs.shape, generator=chance) for _ in range(2))
    targets[0, 0] = 1
    return replace(
        case,
        parameters={
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=chance) for name, tensor in case.parameters.items()
        },
        inputs=inputs,
        targets=targets,
        keep=None if case.keep is None else torch.rand(case.keep.shape, generator=chance).gt(0.3).float(),
        context=None if case.context is None else torch.randn(case.context.shape, generator=chance),
    )


@settings(max_examples=40)
@given(cases(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_every_batch_has_the_gradients_of_the_sweep_to_the_bit(case: Case, dtype: torch.dtype) -> None:
    """Parameters, windows, dropout and context change from call to call, and no number of an earlier one stays."""
    ours = ReplayedSweep(case.size, *case.inputs.shape, dtype, "cpu")
    for each in (case, others(case, 1), others(case, 2), case):
        loss, gradients = each.swept(ours)
        wanted_loss, wanted = each.swept(each.sweep(dtype))

        assert torch.equal(loss, wanted_loss)
        assert {name for name in wanted if not torch.equal(gradients[name], wanted[name])} == set()
    assert [recording.graph.replays for recording in ours.recordings.values()] == [4, 4]  # one for each batch


def test_a_whole_run_ends_in_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs with dropout, a smaller last batch, validation and early stopping: only the way of computing differs."""
    straight = training()
    straight.run()
    monkeypatch.setitem(swept.SWEEPS, "cpu", ReplayedSweep)
    ours = training()
    ours.run()

    assert {type(sweep) for sweep in ours.model.sweeps.values()} == {ReplayedSweep}
    assert same(final(ours), final(straight))


@settings(max_examples=20)
@given(cases())
def test_it_judges_like_the_sweep(case: Case) -> None:
    """Loss and hit of every target are the same, with a context to start from and without."""
    shape = case.inputs.shape
    ours, theirs = ReplayedSweep(case.size, *shape, learns=False), Sweep(case.size, *shape, learns=False)
    for each in (case, others(case, 1), replace(case, context=None)):
        found, wanted = (
            sweep.judge(each.parameters, each.inputs, each.targets, each.context) for sweep in (ours, theirs)
        )
        assert torch.equal(found.losses, wanted.losses)
        assert torch.equal(found.hits, wanted.hits)


def test_a_recording_looks_at_no_number() -> None:
    """What depends on a number would be recorded for the first batch only: a card refuses it, as the stand-in does."""
    with pytest.raises(RuntimeError, match="capturing"):
        Recording(lambda given: given["x"] * float(given["x"].sum()), {"x": torch.ones(2)})


def test_work_is_done_in_python_only_while_it_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand later calls run none of it: that is what a graph is for."""
    monkeypatch.setattr(replayed, "WARM_UP", 2)
    calls: list[int] = []

    def work(given: dict[str, torch.Tensor]) -> torch.Tensor:
        calls.append(1)
        return given["x"] * 2

    recording = Recording(work, {"x": torch.ones(3)})
    results = [recording.result.tolist()]
    for number in range(2, 5):
        recording.replay({"x": torch.full((3,), float(number))})
        results.append(recording.result.tolist())

    assert len(calls) == 3
    assert results == [[2.0 * number] * 3 for number in range(1, 5)]
