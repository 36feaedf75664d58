"""The settings of chapter 6, and its command: what it refuses, and what kills and signals do not harm."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import HANG, Done, watch
from llmlab.errors import SettingError
from llmlab.lab.checkpoint import read
from llmlab.settings import TwoStageSettings, flag
from llmlab.settings.contexts import ABLATIONS
from processes import started, wait_for_updates
from strategies_contexts import SMALL, without_times, write_model_and_text
from strategies_contexts import STAGE_CONTRACT as CONTRACT

Run = Callable[..., Done]

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere")


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ablate", "nothing", "'nothing' is not one of"),
        ("ablate", "all,noise", "'all' is not one of"),
        ("ablate", "noise,noise", "noise is listed twice"),
        *(("noises", value, "is no number from 0") for value in ("", "x", "-1", "nan", "inf", "1001", "0.1,")),
        ("noises", "0.1,0.10", "0.1 is listed twice"),
        ("noises", "0.1,0.10000001", "0.1 is listed twice"),
        ("noises", "0,-0", "is listed twice"),
        *(("depths", value, "") for value in ("", "0", "65", "1,1", "x", "1.5")),
        ("vectors", "good", "is not one of"),
        ("layers", 0, "allowed value"),
        ("noise", -0.1, "allowed value"),
        ("block_lr", 0.0, "not above"),
        ("iterations", 0, "allowed value"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: object, words: str) -> None:
    """Unknown, double and missing words, numbers out of range: the option is named and what is wrong with it."""
    with pytest.raises(SettingError, match=f"{flag(name)}: .*{words}"):
        TwoStageSettings(**{name: value})


@given(st.lists(st.sampled_from(ABLATIONS), unique=True), st.lists(st.integers(0, 1_000), min_size=1, unique=True))
def test_lists_are_read_in_any_order(names: list[str], noises: list[int]) -> None:
    """Ablations come in the order of their tables, noises from small to large."""
    asked = TwoStageSettings(ablate=",".join(names) or "none", noises=" , ".join(f"{each / 1000}" for each in noises))

    assert asked.ablations == [name for name in ABLATIONS if name in names]
    assert asked.swept_noises == sorted(each / 1000 for each in noises)
    assert TwoStageSettings(ablate="all").ablations == list(ABLATIONS)


# ---- the command, and what happens to it ----------------------------------------------------------------------------


def options(**changes: Any) -> list[str]:
    """Return the options of a run that takes a second, as they are typed."""
    asked = SMALL | {"seeds": 1, "ablate": "none"} | changes
    return [word for name, value in asked.items() for word in (flag(name), str(value))]


def test_killed_on_the_way_a_comparison_ends_like_a_straight_one(tmp_path: Path) -> None:
    """Killed with SIGKILL in its first and in a later arm, and resumed: the same numbers, and nothing half-written."""
    given = {**write_model_and_text(tmp_path), "epochs": 30, "patience": 1000, "save_minutes": 1e-9, "ablate": "block"}
    words = ["two-stage", *options(**given), "--json", "--no-log"]
    out, err = started(tmp_path, *words, "--out", "straight").communicate(timeout=HANG)
    straight = json.loads(out or err)
    for saved in (20, 200):
        process = started(tmp_path, *words, "--out", "cut", "--resume", "auto")
        wait_for_updates(tmp_path / "cut", saved, process)
        process.kill()
        process.communicate(timeout=HANG)
        assert process.returncode == -signal.SIGKILL
    cut = json.loads(started(tmp_path, *words, "--out", "cut", "--resume", "auto").communicate(timeout=HANG)[0])

    assert without_times(cut["metrics"]) == without_times(straight["metrics"])
    for arm in ("main-seed0", "untrained-block-seed0"):
        ends = [read(max((tmp_path / name / arm).glob("update-*")))["model"] for name in ("straight", "cut")]
        assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Stopped by a signal in its second arm: one document that says interrupted, and the line that goes on."""
    given = {**write_model_and_text(tmp_path), "epochs": 60, "patience": 1000, "save_minutes": 1e-9, "ablate": "block"}
    process = started(tmp_path, "two-stage", *options(**given), "--json")
    wait_for_updates(tmp_path / "runs", 60 * 5 + 5, process)
    process.send_signal(signal.SIGTERM)
    out, err = (stream.decode() for stream in process.communicate(timeout=HANG))
    done = watch(Done(process.returncode, out, err, tmp_path), ["--json"])

    assert done.code == 128 + signal.SIGTERM
    assert json.loads(out)["status"] == "interrupted"
    assert "--resume auto" in done.err
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_command_trains_logs_and_repeats_itself(run_llmlab: Run, tmp_path: Path) -> None:
    """``llmlab two-stage`` with a model of one's own: one document, one entry, and quiet says only where it is."""
    given = write_model_and_text(tmp_path)
    done = run_llmlab("two-stage", *options(**given, ablate="block,reading"), "--json")

    assert done.code == 0, done.err
    assert set(done.document["metrics"]) >= CONTRACT
    assert {"block", "reading"} <= {table["name"] for table in done.document["tables"]}
    assert "--ablate block,reading" in done.document["command"]
    quiet = run_llmlab("two-stage", *options(**given, vectors="random"), "--quiet")
    assert (quiet.code, len(quiet.out.splitlines()), quiet.err) == (0, 1, "")
    assert len(quiet.entries) == 2


def test_random_vectors_need_a_tokenizer_only(run_llmlab: Run, tmp_path: Path) -> None:
    """A folder without weights serves ``--vectors random``, of the width asked for; alone it is refused."""
    given = write_model_and_text(tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    done = run_llmlab("two-stage", *options(**given, vectors="random", width=6), "--json", "--no-log")

    assert done.code == 0, done.err
    assert "of 6 numbers" in done.document["tables"][0]["caption"]
    refused = run_llmlab("two-stage", *options(**given), "--no-log")
    assert (refused.code, refused.out) == (3, "")


@pytest.mark.parametrize(
    "words", [("--ablate", "x"), ("--noises", "-1"), ("--depths", "0"), ("--vectors", "x"), ("--seeds", "0")]
)
def test_the_command_refuses_before_torch(run_llmlab: Run, words: tuple[str, str]) -> None:
    """Exit 2 with the option's name, and nothing is written."""
    done = run_llmlab("two-stage", *words)

    assert (done.code, done.out) == (2, "")
    assert words[0] in done.err
    assert list(done.folder.iterdir()) == []
