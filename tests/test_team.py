"""Several processes that train one model: they give what one gives, stop together, and need no shared folder.

First threads play the processes: all that they say to each other is one sum.  At the end they are real ones.
"""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed

from conftest import HANG, Done, environment
from llmlab.baseline import ContextVectorLM
from llmlab.environment import TOLD_BY_TORCHRUN, rank_and_size
from llmlab.errors import SettingError, Stopped, UnreachableError
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import CheckpointFolder
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import ROWS_AT_ONCE, Judging, evaluate
from llmlab.lab.sizes import Size
from llmlab.lab.steps import Diverged
from llmlab.lab.team import ALONE, Team
from processes import started
from strategies_trained import windows

Run = Callable[..., Done]
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


def training(
    team: Team = ALONE, rows: int = 13, folder: Path | None = None, parts: int = ROWS_AT_ONCE, **recipe: Any
) -> Training:
    return Training(
        SweptNewLLM(ContextVectorLM.initial(SIZE, 0, dropout=0.3, init="scaled")),
        windows(SIZE.vocabulary, rows, 6),
        windows(SIZE.vocabulary, 7, 6, seed=1),
        Recipe(**{"epochs": 2, "batch": 5, "lr": 0.01, **recipe}),
        CheckpointFolder(folder) if folder and team.rank == 0 else None,
        team=team,
        judging=Judging(rows_at_once=parts),
    )


def trained(team: Team, **wanted: Any) -> Training:
    run = training(team, **wanted)
    run.run()
    return run


def course(run: Training) -> list[float]:
    """Return the losses, lengths and accuracies of every epoch."""
    return [value for row in run.progress.history for name, value in row.items() if name != "seconds"]


@given(count=st.integers(0, 300), size=st.integers(1, 9))
def test_rows_are_shared_without_gap_or_overlap(count: int, size: int):
    shares = [Team(rank, size).rows(count) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=25)
@given(
    size=st.integers(1, 4),
    rows=st.integers(1, 90),
    batch=st.integers(1, 80),
    parts=st.sampled_from([3, 16, 256]),
    rule=st.sampled_from(["sgd", "adamw"]),
)
def test_a_team_trains_what_one_process_trains(size: int, rows: int, batch: int, parts: int, rule: str):
    """To rounding, and in parts of a batch as in one; among themselves all its processes hold the same bits."""
    recipe = {"rows": rows, "batch": batch, "optimizer": rule, "weight_decay": 0.01}
    first, *others = by_all(size, lambda member: trained(member, parts=parts, **recipe))
    assert course(first) == pytest.approx(course(trained(ALONE, **recipe)), rel=1e-5)
    for other in others:
        ours, theirs = ({**run.best, **run.model.parameters, **run.optimizer.state()} for run in (first, other))
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
        assert course(first) == course(other)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("count", [3, 11])
def test_a_team_judges_as_one_process_does(size: int, count: int):
    held, model = windows(SIZE.vocabulary, count, 6), ContextVectorLM.initial(SIZE, 0, init="scaled")
    alone, few = evaluate(SweptNewLLM(model), held, batch=4), Judging(rows_at_once=4)
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
        whole = course(trained(ALONE))
        assert all(course(run) == pytest.approx(whole, rel=1e-5) for run in by_all(after, resumed))


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
    def diverged(team: Team) -> int:
        with pytest.raises(Diverged) as end:
            trained(team, lr=1e30, optimizer="sgd")
        return end.value.update

    assert by_all(3, diverged) == [diverged(ALONE)] * 3


def test_what_is_shared_arrives_as_it_was():
    """Tensors, words, and nothing at all come out of every process as the first one put them in."""
    state = {"model": {"tensor": torch.arange(3.0)}, "loss": 0.1, "names": ["a"], "none": None}
    for found, other in by_all(3, lambda team: team.share([state, {"other": 1}] if team.rank == 0 else [])):
        assert found.keys() == state.keys()
        assert torch.equal(found["model"]["tensor"], torch.arange(3.0))
        assert (found["loss"], found["names"], found["none"], other) == (0.1, ["a"], None, {"other": 1})
    assert by_all(2, lambda team: team.share()) == [[], []]


@pytest.mark.parametrize(
    ("rank", "size", "found"),
    [
        *(("", "", (0, 1)), ("1", "", (0, 1)), ("0", "1", (0, 1)), ("2", "3", (2, 3))),
        *(("2", "2", None), ("x", "2", None), ("-1", "2", None), ("0", "x", None)),
    ],
)
def test_the_environment_says_who_is_in_a_team(
    rank: str, size: str, found: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
):
    """Without torchrun's variables, or with half of them, a process is alone; a rank that cannot be is refused."""
    for name in TOLD_BY_TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"RANK": rank, "WORLD_SIZE": size} | (ADDRESS if size else {})).items():
        monkeypatch.setenv(name, value)
    if found is None:
        with pytest.raises(SettingError, match="start with torchrun"):
            rank_and_size()
    else:
        assert rank_and_size() == found


# ---- a team of real processes ---------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


SHORT = [
    *("baseline", "--batch", "256", "--epochs", "2", "--schedule", "constant", "--hidden", "32", "--layers", "1"),
    *("--lr", "1e-4", "--dropout", "0.1", "--precision", "fp32", "--device", "cpu", "--json"),
]


def test_torchrun_trains_what_one_process_trains(tmp_path: Path, run_llmlab: Run):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [sys.executable, *launcher, "-m", "llmlab", *SHORT, "--out", "two"]
    together = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert len(list(tmp_path.rglob("record.json"))) == 1
    assert "Traceback" not in together.stderr
    one, two = run_llmlab(*SHORT, "--no-log", "--out", "one").document, json.loads(together.stdout)
    for name in ("train_loss", "val_loss", "val_loss_token", "train_loss_no_dropout"):
        assert two["metrics"][name] == pytest.approx(one["metrics"][name], rel=1e-5), name
    # two words may score alike to the last bit but one, and then a rounding says which of them is the answer
    assert two["metrics"]["val_accuracy"] == pytest.approx(one["metrics"]["val_accuracy"], abs=5e-4)
    assert "Trained by 2 processes, each on its rows of every batch." in two["summary"]


@pytest.mark.parametrize("words", ["phase1", "phase1-2", "embedding-freeze", "two-stage", "baseline evaluate ."])
def test_what_processes_do_not_share_is_refused(run_llmlab: Run, words: str):
    """Each would train everything by itself, and all would write to one log."""
    for rank in "01":
        done = run_llmlab(*words.split(), RANK=rank, WORLD_SIZE="2", **ADDRESS)
        assert (done.code, done.out, done.entries) == (2, "", [])
        assert "without it" in done.err


def run_until_saved(folder: Path, end: signal.Signals) -> list[tuple[int, str, str]]:
    """Start two processes as a launcher would, end the second, and return each one's code, output and errors."""
    words, port = (*SHORT, "--no-log", "--out", "out", "--epochs", "1000", "--save-minutes", "1e-9"), str(free_port())
    told = ({"RANK": rank, "WORLD_SIZE": "2"} | ADDRESS | {"MASTER_PORT": port} for rank in "01")
    both = [started(folder, *words, **variables) for variables in told]
    try:
        # a sum takes both: the first saves its third update only after the second has made two
        while not any(int(path.name.removeprefix("update-")) > 2 for path in folder.glob("out/update-????????")):
            assert both[0].poll() is None, both[0].communicate()
            time.sleep(0.02)
        both[1].send_signal(end)
        said = [process.communicate(timeout=HANG) for process in both]
    finally:
        for process in both:
            process.kill()  # what has not ended by itself would train on
    return [(process.returncode, out.decode(), err.decode()) for process, (out, err) in zip(both, said, strict=True)]


def test_a_signal_to_one_process_stops_all_and_one_process_goes_on(tmp_path: Path, run_llmlab: Run):
    (first, _, words), (second, *silence) = run_until_saved(tmp_path, signal.SIGTERM)
    assert (first, second) == (143, 143)
    assert silence == ["", ""]
    assert "stopped" in words
    assert "Traceback" not in words
    saved, _ = CheckpointFolder(tmp_path / "out").latest(pytest.fail) or pytest.fail("nothing was saved")
    finished = len(saved["progress"]["history"])
    done = run_llmlab(*SHORT, "--no-log", "--out", "out", "--resume", "auto", "--epochs", str(finished + 1))
    assert done.document["metrics"]["epochs"] == finished + 1
    assert "With processes 1 instead of 2 it does not go on to the bit." in done.document["summary"]


def test_a_process_that_dies_ends_the_others_with_one_line(tmp_path: Path):
    """Kill -9 of the second process: the first says that it is gone, exits 5, and its checkpoints stand."""
    (first, _, words), (second, *_) = run_until_saved(tmp_path, signal.SIGKILL)
    assert (first, second) == (UnreachableError.exit_code, -signal.SIGKILL)
    assert "cannot reach the others" in words.strip().splitlines()[-1]
    assert "Traceback" not in words
    assert CheckpointFolder(tmp_path / "out").latest(pytest.fail)
