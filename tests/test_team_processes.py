"""A team of real processes: torchrun, a signal to one of them, and one that dies."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import HANG, Done, environment
from llmlab.environment import TOLD_BY_TORCHRUN
from llmlab.errors import UnreachableError
from llmlab.lab.checkpoint import CheckpointFolder
from processes import started


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


SHORT = [
    *("baseline", "--batch", "256", "--epochs", "2", "--schedule", "constant", "--hidden", "32", "--layers", "1"),
    *("--lr", "1e-4", "--dropout", "0.1", "--precision", "fp32", "--device", "cpu", "--json"),
]


def test_torchrun_trains_what_one_process_trains(tmp_path: Path):
    """Two processes give one document, one log entry and one folder, with the losses of one process to 1e-5."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    alone, together = (
        subprocess.run(
            [sys.executable, *start, "-m", "llmlab", *SHORT, "--log-dir", f"log-{number}", "--out", f"out-{number}"],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        for number, start in ((1, []), (2, launcher))
    )
    one, two = json.loads(alone.stdout), json.loads(together.stdout)
    for name in ("train_loss", "val_loss", "val_loss_token", "train_loss_no_dropout"):
        assert two["metrics"][name] == pytest.approx(one["metrics"][name], rel=1e-5), name
    # two words may score alike to the last bit but one, and then a rounding says which of them is the answer
    assert two["metrics"]["val_accuracy"] == pytest.approx(one["metrics"]["val_accuracy"], abs=5e-4)
    assert "Trained by 2 processes, each on its rows of every batch." in two["summary"]
    assert len(list((tmp_path / "log-2").rglob("record.json"))) == 1
    assert "Traceback" not in together.stderr


def begun(folder: Path, rank: int, port: int, *args: str) -> subprocess.Popen[bytes]:
    """Start one process of two, as a launcher would."""
    variables = dict(zip(TOLD_BY_TORCHRUN, (str(rank), "2", "127.0.0.1", str(port)), strict=True))
    return started(folder, *SHORT, "--no-log", "--out", "out", *args, **variables)


def run_until_saved(folder: Path, end: signal.Signals) -> list[tuple[int, str, str]]:
    """Start two processes, send the second a signal once both are under way; return code and words of each."""
    port = free_port()
    both = [begun(folder, rank, port, "--epochs", "1000", "--save-minutes", "1e-9") for rank in range(2)]
    try:
        # a sum takes both: the first saves its third update only after the second has made two
        while not any(int(path.name.removeprefix("update-")) > 2 for path in folder.glob("out/update-????????")):
            assert both[0].poll() is None, both[0].communicate()
            time.sleep(0.02)
        both[1].send_signal(end)
        words = [process.communicate(timeout=HANG) for process in both]
    finally:
        for process in both:
            process.kill()  # what has not ended by itself would train on
    return [(process.returncode, out.decode(), err.decode()) for process, (out, err) in zip(both, words, strict=True)]


def test_a_signal_to_one_process_stops_all_and_one_process_goes_on(tmp_path: Path, run_llmlab: Callable[..., Done]):
    """TERM to the second process: both end with 143, the first after saving; the second says nothing."""
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
