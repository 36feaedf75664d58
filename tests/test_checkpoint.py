"""Checkpoints: what is saved comes back to the bit; what is cut, damaged, foreign, evil or greedy is not read.

Leaves out folders, ``test_checkpoint_folder``, and disks that fail and processes that die, ``test_checkpoint_faults``.
"""

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from torch import nn

from conftest import environment
from llmlab.errors import CheckpointError, WriteError
from llmlab.lab import checkpoint
from llmlab.lab.checkpoint import CheckpointFolder, packed, read, unpacked
from strategies_checkpoint import GOLDEN, forged, same, signed, small_state, states, written


@given(states)
def test_every_plain_state_comes_back_to_the_bit(state: dict[str, Any]) -> None:
    files = packed(state)
    again = unpacked(files.__getitem__)
    assert same(again, state)
    assert packed({key: again[key] for key in state}) == files


def test_a_checkpoint_is_what_its_description_says(tmp_path: Path) -> None:
    """Anyone's JSON and safetensors read it; digests stand where the description puts them."""
    files = packed(small_state())
    folder = written(tmp_path / "one", files)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "optimizer.safetensors", "run.json"}
    document = json.loads(files["run.json"])
    assert document.pop("format") == 2
    assert files["run.json"] == signed(files["run.json"].decode().split("\n", 1)[1])
    assert len(document.pop("sha256")) == 64
    for name, digest in document.pop("files").items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    one, other = read(folder), read(folder)
    one["model"]["weight"].add_(1)
    assert same(other, small_state()), "two readings share memory"
    opened = {key: safetensors.torch.load_file(folder / f"{key}.safetensors") for key in ("model", "optimizer")}
    assert same(opened | document, small_state())


def test_the_golden_checkpoint_of_format_2_is_read() -> None:
    """What the first version of this code wrote is read by this one (never write it anew)."""
    assert same(read(GOLDEN), small_state())


def test_what_is_saved_is_taken_off_its_graph_and_out_of_its_neighbours() -> None:
    """Parameters become tensors, a row does not bring its matrix along, a transposed one is as it looks."""
    layer = nn.Linear(300, 300)
    model = layer.state_dict(keep_vars=True) | {"row": layer.weight[3], "t": layer.weight.t()}
    model["wide"] = torch.ones(1).expand(7)
    files = packed({"model": OrderedDict(model)})
    again = unpacked(files.__getitem__)["model"]
    assert len(files["model.safetensors"]) < 4 * (2 * 300 * 300 + 600) + 2_000
    assert all(torch.equal(again[name], tensor) for name, tensor in model.items())
    assert not any(tensor.requires_grad for tensor in again.values())
    assert layer.weight.requires_grad


circle: list[Any] = []
circle.append(circle)
deep: list[Any] = []
for _ in range(10_000):
    deep = [deep]
NO_JSON = {
    "a path": Path("a"),
    "a set": {1},
    "bytes": b"a",
    "no number": float("nan"),
    "infinity": [float("inf")],
    "an object": object(),
    "a tensor": torch.ones(1),
    "a tuple": (1, 2),
    "a named tuple": namedtuple("Pair", "one two")(1, 2),
    "a dtype": torch.float32,
    "a complex number": 1j,
    "a key that is a number": {1: 1},
    "a key that is a tuple": {(1,): 1},
    "a circle": circle,
    "endless lists": deep,
    "a number of 10,000 digits": 10**10_000,
}
NO_TENSORS = {
    "a list": [torch.ones(1)],
    "a number": {"a": 1.0},
    "a dict": {"a": {"b": torch.ones(1)}},
    "a key that is a number": {1: torch.ones(1)},
    "a sparse tensor": {"a": torch.eye(2).to_sparse()},
    "a tensor without numbers": {"a": torch.ones(1, device="meta")},
}


@pytest.mark.parametrize(
    ("where", "value"),
    [*(("here", value) for value in NO_JSON.values()), *(("model", value) for value in NO_TENSORS.values())],
    ids=[*NO_JSON, *NO_TENSORS],
)
def test_what_would_not_come_back_is_refused_with_its_place(tmp_path: Path, where: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"state\['{where}'\]"):
        CheckpointFolder(tmp_path).save({"good": 1, where: value}, 1)
    assert list(tmp_path.iterdir()) == []


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
import torch
from llmlab.lab.checkpoint import packed, unpacked
model = {"a": torch.ones(3, dtype=torch.bfloat16)}
assert torch.equal(unpacked(packed({"model": model}).__getitem__)["model"]["a"], model["a"])
"""


def test_numpy_is_not_needed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT_NUMPY], env=environment(tmp_path), check=True)


def test_every_flipped_bit_and_every_truncation_is_noticed() -> None:
    """Of each file, wherever it is; so are a byte more at either end, and another checkpoint's file in its place."""
    files, dice = packed(small_state()), random.Random(0)
    other = packed({key: {"weight": torch.ones(2, 3)} for key in ("model", "optimizer")})
    for name, data in files.items():
        flipped = [data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :] for at in range(len(data))]
        cut = [data[:length] for length in range(len(data))]
        for changed in (*flipped, *cut, data + b"\0", b"\0" + data, *([other[name]] if name != "run.json" else [])):
            with pytest.raises(ValueError, match="damaged"):
                unpacked((files | {name: changed}).__getitem__)


def refused(path: Path, files: dict[str, bytes]) -> str:
    """Write files as a checkpoint, assert that it is refused with its name and a way out; return what was said."""
    with pytest.raises(CheckpointError) as caught:
        read(written(path, files))
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert told.endswith("; give another checkpoint, or train anew")
    assert "\n" not in told
    assert caught.value.exit_code == 4
    return told


def test_damage_under_a_right_checksum_raises_nothing_else(tmp_path: Path) -> None:
    dice, read_all_the_same = random.Random(1), 0
    for _ in range(500):
        name = dice.choice(["model.safetensors", "optimizer.safetensors"])
        changed = bytearray(packed(small_state())[name])
        for _ in range(dice.randint(1, 2)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        path = written(tmp_path / "one", forged(name, bytes(changed)))
        with contextlib.suppress(CheckpointError):
            read_all_the_same += isinstance(read(path), dict)
    assert 0 < read_all_the_same < 500
    whole = packed(small_state())["model.safetensors"]
    assert same(read(written(tmp_path / "one", forged("model.safetensors", whole))), small_state())


LONG_LIST = "[" * 100_000
NO_STATES = {
    "empty": (b"", "no checkpoint's"),
    "another program's": (b'{"format": 2}', "no checkpoint's"),
    "of no format": (signed('"files": {}}'), "'format'"),
    "of another kind of format": (signed('"format": "2", "files": {}}'), "not supported"),
    "of the next format": (
        signed('"format": 3, "all": "else"}'),
        "format 3, this llmlab reads format 2: update llmlab",
    ),
    "of a far format": (signed('"format": 65535, "all": "else"}'), "format 65535, this llmlab reads format 2: update"),
    "cut JSON": (signed('"format": 2'), "Expecting"),
    "no files": (signed('"format": 2}'), "'files'"),
    "a file elsewhere": (signed('"format": 2, "files": {"../model.safetensors": "0"}}'), "model.safetensors"),
    "a list of files": (signed('"format": 2, "files": [1]}'), "list"),
    "not a number": (signed('"format": 2, "a": NaN, "files": {}}'), "NaN"),
    "infinity": (signed('"format": 2, "a": [-Infinity], "files": {}}'), "Infinity"),
    "endless lists": (signed(f'"a": {LONG_LIST}'), "recursion"),
    "an endless number": (signed(f'"a": {"1" * 10_000}}}'), "digits"),
}


@pytest.mark.parametrize("name", NO_STATES)
def test_what_is_no_checkpoint_or_a_newer_one_is_told_apart(tmp_path: Path, name: str) -> None:
    content, words = NO_STATES[name]
    assert words in refused(tmp_path / "update-00000001", {"run.json": content})


def test_tensors_that_claim_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    """A safetensors file of a few bytes cannot ask for a terabyte, or show one number as a trillion."""
    for shape, ends in (([10**12], [0, 4 * 10**12]), ([10**12], [0, 4]), ([1], [0, 10**15])):
        header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": ends}}).encode()
        data = len(header).to_bytes(8, "little") + header + bytes(4)
        refused(tmp_path / "one", forged("model.safetensors", data))
    refused(tmp_path / "one", forged("model.safetensors", (10**12).to_bytes(8, "little") + b"{}"))


def test_what_is_not_there_or_not_a_folder_is_refused(tmp_path: Path) -> None:
    """Neither is a pipe, for which nobody waits, nor a file that is missing or of five gigabytes."""
    (tmp_path / "link").symlink_to("nowhere")
    inside = written(tmp_path / "one", packed(small_state())) / "model.safetensors"
    (tmp_path / "file").touch()
    places = [
        *((tmp_path / name, "No such") for name in ("none", "link", "")),
        *((path, "is a folder with a run.json") for path in (tmp_path / "file", inside)),
        (tmp_path / "a\0b", "null"),
        (tmp_path / ("x" * 300), "too long"),
    ]
    for name in packed(small_state()):
        missing, pipe, hole = (written(tmp_path / f"{kind}-{name}", packed(small_state())) for kind in "mph")
        (missing / name).unlink()
        (pipe / name).unlink()
        os.mkfifo(pipe / name)
        os.truncate(hole / name, 5 * 2**30)
        places += [(missing, f"{name}: No such"), (pipe, f"{name} is not a file"), (hole, "bytes long")]
    tracemalloc.start()
    try:
        for path, words in places:
            with pytest.raises(CheckpointError, match=words):
                read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000


def test_a_file_of_an_earlier_version_is_named_as_one(tmp_path: Path) -> None:
    """A ``.ckpt`` is refused, and so is a folder that holds nothing else; neither is called empty, or overwritten."""
    for name in ("update-00000003.ckpt", "best.ckpt"):
        (tmp_path / name).write_bytes(b"LLMLAB\0\1")
        with pytest.raises(CheckpointError, match=r"an earlier llmlab.*; give another checkpoint, or train anew"):
            read(tmp_path / name)
    folder = CheckpointFolder(tmp_path)
    for question in (folder.has_checkpoints, folder.best, lambda: folder.latest(pytest.fail)):
        with pytest.raises(CheckpointError, match=r"an earlier llmlab.*; give another checkpoint, or train anew"):
            question()


@pytest.mark.parametrize("limit", ["LARGEST", "LARGEST_RUN"])
def test_a_state_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """One byte more than is read is refused; what is as long as that is written and read."""
    files, folder = packed(small_state()), CheckpointFolder(tmp_path)
    longest = len(files["run.json"]) if limit == "LARGEST_RUN" else max(map(len, files.values()))
    monkeypatch.setattr(checkpoint, limit, longest - 1)
    with pytest.raises(WriteError, match="read back"):
        folder.save(small_state(), 1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(checkpoint, limit, longest)
    assert same(read(folder.save(small_state(), 1)), small_state())
