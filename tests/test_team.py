"""Several processes that train one model: they give what one gives, stop together, and need no shared folder.

Here threads play the processes: all that they say to each other is one sum.  Real ones: ``test_team_processes``.
"""

import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed

from llmlab.baseline import ContextVectorLM
from llmlab.environment import TOLD_BY_TORCHRUN, rank_and_size
from llmlab.errors import SettingError, Stopped
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import CheckpointFolder
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import ROWS_AT_ONCE, Judging, evaluate
from llmlab.lab.sizes import Size
from llmlab.lab.steps import Diverged
from llmlab.lab.team import ALONE, Team

ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
SIZE = Size(vocabulary=11, embedding=4, hidden=8, context=4, layers=2)


class Meeting:
    """Threads that play processes: a sum is made of what each of them says, in shared memory."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier, self.said = size, threading.Barrier(size), dict[int, torch.Tensor]()

    def all_reduce(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by the sum over all threads, as ``torch.distributed`` does over processes."""
        try:
            self.said[int(threading.current_thread().name)] = tensor.clone()
            self.barrier.wait(60)
            total = torch.stack([self.said[rank] for rank in range(self.size)]).sum(0)
            self.barrier.wait(60)
        except threading.BrokenBarrierError as error:
            raise RuntimeError("gone") from error
        tensor.copy_(total)


def by_all(size: int, work: Callable[[Team], Any]) -> list[Any]:
    """Let every member of a team do its work, and return what each returned or raised."""
    if size == 1:
        return [work(ALONE)]
    meeting, found = Meeting(size), dict[int, Any]()

    def one(rank: int) -> None:
        try:
            found[rank] = work(Team(rank, size))
        except BaseException as error:
            meeting.barrier.abort()
            found[rank] = error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "all_reduce", meeting.all_reduce)
        patch.setattr(distributed, "is_initialized", lambda: True)
        patch.setattr(signal, "raise_signal", lambda number: None)  # threads get no signals
        threads = [threading.Thread(target=one, args=(rank,), name=str(rank)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [found[rank] for rank in range(size)]


def windows(count: int, length: int = 6, seed: int = 0) -> torch.Tensor:
    """Return windows of random tokens with padding at the end of some."""
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.randint(1, SIZE.vocabulary, (count, length), generator=chance)
    lengths = torch.randint(2, length + 1, (count, 1), generator=chance)
    return torch.where(torch.arange(length) < lengths, drawn, 0)


def training(
    team: Team = ALONE, rows: int = 13, folder: Path | None = None, parts: int = ROWS_AT_ONCE, **recipe: Any
) -> Training:
    """Return a small run, a member's part of it, with dropout; ``parts`` is how many rows are worked off at once."""
    model = SweptNewLLM(ContextVectorLM.initial(SIZE, 0, dropout=0.3, init="scaled"))
    return Training(
        model,
        windows(rows),
        windows(7, seed=1),
        Recipe(**{"epochs": 2, "batch": 5, "lr": 0.01, **recipe}),
        CheckpointFolder(folder) if folder and team.rank == 0 else None,
        team=team,
        judging=Judging(rows_at_once=parts),
    )


def trained(team: Team, **wanted: Any) -> Training:
    """Return a small run at its end."""
    run = training(team, **wanted)
    run.run()
    return run


def without_seconds(run: Training) -> list[list[float]]:
    """Return what a run wrote down of its epochs, but for times."""
    return [[value for name, value in row.items() if name != "seconds"] for row in run.progress.history]


def assert_same_course(ours: Training, alone: Training) -> None:
    """Two runs had the same losses, lengths and accuracies in every epoch, to 1e-5."""
    assert len(ours.progress.history) == len(alone.progress.history)
    for mine, theirs in zip(without_seconds(ours), without_seconds(alone), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


@given(count=st.integers(0, 300), size=st.integers(1, 9))
def test_rows_are_shared_without_gap_or_overlap(count: int, size: int):
    """The shares of all ranks, one after the other, are all rows in order, and none is larger by more than one."""
    shares = [Team(rank, size).rows(count) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=25)
@given(
    size=st.integers(2, 4),
    rows=st.integers(1, 90),
    batch=st.integers(1, 80),
    parts=st.sampled_from([3, 16, 256]),
    rule=st.sampled_from(["sgd", "adamw"]),
)
def test_a_team_trains_what_one_process_trains(size: int, rows: int, batch: int, parts: int, rule: str):
    """Losses of training and validation agree to 1e-5, whatever the batch, also where some have no row of it."""
    recipe = {"rows": rows, "batch": batch, "optimizer": rule, "weight_decay": 0.01}
    team = by_all(size, lambda member: trained(member, parts=parts, **recipe))
    alone = trained(ALONE, **recipe)
    for member in team:
        assert_same_course(member, alone)


def test_every_process_holds_the_same_bits():
    """No number has to be sent again: parameters, best parameters and optimiser are equal to the bit."""
    first, *others = by_all(3, trained)
    for other in others:
        for name, tensor in first.model.parameters.items():
            assert torch.equal(tensor, other.model.parameters[name])
            assert torch.equal(first.best[name], other.best[name])
            assert torch.equal(first.optimizer.mean[name], other.optimizer.mean[name])
        assert without_seconds(first) == without_seconds(other)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("count", [3, 11])
def test_a_team_judges_as_one_process_does(size: int, count: int):
    """The score of windows, their order and their batches kept, is that of one process; also of fewer than members."""
    held, model = windows(count), ContextVectorLM.initial(SIZE, 0, init="scaled")
    alone = evaluate(SweptNewLLM(model), held, batch=4)
    few = Judging(rows_at_once=4)
    for found in by_all(size, lambda member: evaluate(SweptNewLLM(model), held, 4, team=member, judging=few)):
        for name, value in vars(alone).items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-6), name


@settings(max_examples=15)
@given(asked=st.integers(0, 2), at=st.integers(1, 6), before=st.integers(1, 3), after=st.integers(1, 3))
def test_all_stop_at_the_same_update_and_any_number_goes_on(asked: int, at: int, before: int, after: int):
    """Whoever is asked to stop, all stop there; the first one's checkpoint is taken up by more or fewer processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def stopped(team: Team) -> Training:
            def on_step(update: int, planned: int, told: str = "") -> None:
                if team.rank == asked % before and update == at:
                    raise Stopped("stopped by SIGTERM", signal.SIGTERM)

            run = training(team, folder=folder)
            with pytest.raises(Stopped) as stop:
                run.run(on_step)
            assert stop.value.exit_code == 143
            return run

        def resumed(team: Team) -> Training:
            store, run = CheckpointFolder(folder), training(team, folder=folder)
            found = store.latest(pytest.fail) if team.rank == 0 else None
            run.restore(*team.share([state for state in (found[0], store.best()) if state] if found else []))
            assert run.progress.updates == at
            run.run()
            return run

        assert [run.progress.updates for run in by_all(before, stopped)] == [at] * before
        whole = trained(ALONE)
        for run in by_all(after, resumed):
            assert_same_course(run, whole)


def test_a_stop_during_validation_is_heard_at_its_next_part():
    """A stop there does not wait for the end of a long validation: no epoch is written down, the update stands."""

    def stopped(team: Team) -> Training:
        def on_step(update: int, planned: int, told: str = "") -> None:
            if team.rank == 1 and told == "validating":
                raise Stopped("stopped by Ctrl-C", signal.SIGINT)

        run = training(team, parts=3)
        with pytest.raises(Stopped) as stop:
            run.run(on_step)
        assert stop.value.exit_code == 130
        return run

    runs = by_all(3, stopped)
    assert [(run.progress.updates, len(run.progress.history)) for run in runs] == [(3, 0)] * 3


def test_all_diverge_at_the_same_update():
    """A loss that is not finite ends the run in every process at once."""

    def diverged(team: Team) -> int:
        with pytest.raises(Diverged) as end:
            training(team, lr=1e30, optimizer="sgd").run()
        return end.value.update

    assert len(set(by_all(3, diverged))) == 1


def test_what_is_shared_arrives_as_it_was():
    """Tensors, words, and nothing at all come out of every process as the first one put them in."""
    state = {"model": {"tensor": torch.arange(3.0)}, "loss": 0.1, "names": ["a"], "none": None}
    for found, other in by_all(3, lambda team: team.share([state, {"other": 1}] if team.rank == 0 else [])):
        assert found.keys() == state.keys()
        assert torch.equal(found["model"]["tensor"], torch.arange(3.0))
        assert (found["loss"], found["names"], found["none"], other) == (0.1, ["a"], None, {"other": 1})
    assert by_all(2, lambda team: team.share()) == [[], []]


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, (0, 1)),
        ({"RANK": "1"}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"} | ADDRESS, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "3"} | ADDRESS, (2, 3)),
        *(({"RANK": rank, "WORLD_SIZE": size} | ADDRESS, None) for rank, size in ("22", "x2", ("-1", "2"), "0x")),
    ],
)
def test_the_environment_says_who_is_in_a_team(
    told: dict[str, str], found: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
):
    """Without torchrun's variables, or with half of them, a process is alone; a rank that cannot be is refused."""
    for name in TOLD_BY_TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    if found is None:
        with pytest.raises(SettingError, match="start with torchrun"):
            rank_and_size()
    else:
        assert rank_and_size() == found
