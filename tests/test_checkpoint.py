"""Checkpoints: what is saved comes back to the bit; what is cut, damaged, foreign, evil or greedy is not read.

Folders are in ``test_checkpoint_folder``; disks that fail and processes that die in ``test_checkpoint_faults``.
"""

import contextlib
import hashlib
import json
import os
import random
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from torch import nn

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
    assert files.keys() == {"model.safetensors", "optimizer.safetensors", "run.json"}
    assert files["run.json"] == signed(files["run.json"].decode().split("\n", 1)[1])
    document = json.loads(files["run.json"])
    assert (document.pop("format"), len(document.pop("sha256"))) == (2, 64)
    for name, digest in document.pop("files").items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    opened = {key: safetensors.torch.load_file(folder / f"{key}.safetensors") for key in ("model", "optimizer")}
    assert same(opened | document, small_state())
    one, other = read(folder), read(folder)
    one["model"]["weight"].add_(1)
    assert same(other, small_state()), "two readings share memory"


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
NO_JSON = [
    *(Path("a"), {1}, b"a", object(), torch.ones(1), torch.float32, 1j, (1, 2), {1: 1}, {(1,): 1}),
    *(float("nan"), [float("inf")], 10**10_000, circle, deep),
]
NO_TENSORS = [
    *([torch.ones(1)], {"a": 1.0}, {"a": {"b": torch.ones(1)}}, {1: torch.ones(1)}),
    *({"a": torch.eye(2).to_sparse()}, {"a": torch.ones(1, device="meta")}),
]


@pytest.mark.parametrize(
    ("where", "value"),
    [*(("here", value) for value in NO_JSON), *(("model", value) for value in NO_TENSORS)],
    ids=lambda value: type(value).__name__,  # not every value can be printed
)
def test_what_would_not_come_back_is_refused_with_its_place(tmp_path: Path, where: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"state\['{where}'\]"):
        CheckpointFolder(tmp_path).save({"good": 1, where: value}, 1)
    assert list(tmp_path.iterdir()) == []


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
    assert ("\n" in told, caught.value.exit_code) == (False, 4)
    return told


def test_damage_under_a_right_checksum_raises_nothing_else(tmp_path: Path) -> None:
    dice, read_all_the_same, files = random.Random(1), 0, packed(small_state())
    for _ in range(500):
        name = dice.choice(["model.safetensors", "optimizer.safetensors"])
        changed = bytearray(files[name])
        for _ in range(dice.randint(1, 2)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        path = written(tmp_path / "one", forged(name, bytes(changed)))
        with contextlib.suppress(CheckpointError):
            read_all_the_same += isinstance(read(path), dict)
    assert 0 < read_all_the_same < 500
    assert same(read(written(path, forged("model.safetensors", files["model.safetensors"]))), small_state())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no checkpoint's"),
        (b'{"format": 2}', "no checkpoint's"),
        (signed('"files": {}}'), "'format'"),
        (signed('"format": "2", "files": {}}'), "not supported"),
        (signed('"format": 3, "all": "else"}'), "format 3, this llmlab reads format 2: update llmlab"),
        (signed('"format": 65535, "all": "else"}'), "format 65535, this llmlab reads format 2: update"),
        (signed('"format": 2'), "Expecting"),
        (signed('"format": 2}'), "'files'"),
        (signed('"format": 2, "files": {"../model.safetensors": "0"}}'), "model.safetensors"),
        (signed('"format": 2, "files": [1]}'), "list"),
        (signed('"format": 2, "a": NaN, "files": {}}'), "NaN"),
        (signed('"format": 2, "a": [-Infinity], "files": {}}'), "Infinity"),
        (signed(f'"a": {"[" * 100_000}'), "recursion"),
        (signed(f'"a": {"1" * 10_000}}}'), "digits"),
    ],
    ids=lambda value: ascii(value[-24:]),
)
def test_what_is_no_checkpoint_or_a_newer_one_is_told_apart(tmp_path: Path, content: bytes, words: str) -> None:
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
    (tmp_path / "file").touch()
    inside = written(tmp_path / "one", packed(small_state())) / "model.safetensors"
    places = {tmp_path / name: "No such" for name in ("none", "link", "")}
    places |= dict.fromkeys((tmp_path / "file", inside), "is a folder with a run.json")
    places |= {tmp_path / "a\0b": "null", tmp_path / ("x" * 300): "too long"}
    for name in packed(small_state()):
        missing, pipe, hole = (written(tmp_path / f"{kind}-{name}", packed(small_state())) for kind in "mph")
        (missing / name).unlink()
        (pipe / name).unlink()
        os.mkfifo(pipe / name)
        os.truncate(hole / name, 1 + (checkpoint.LARGEST_RUN if name == "run.json" else checkpoint.LARGEST))
        places |= {missing: f"{name}: No such", pipe: f"{name} is not a file", hole: "bytes long"}
    tracemalloc.start()
    try:
        for path, words in places.items():
            with pytest.raises(CheckpointError, match=words):
                read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000


def test_a_file_of_an_earlier_version_is_named_as_one(tmp_path: Path) -> None:
    """A ``.ckpt`` is refused, and so is a folder that holds nothing else; neither is called empty, or overwritten."""
    old = [written(tmp_path, {name: b"LLMLAB\0\1"}) / name for name in ("update-00000003.ckpt", "best.ckpt")]
    folder = CheckpointFolder(tmp_path)
    questions = [lambda: read(old[0]), lambda: read(old[1]), folder.has_checkpoints, folder.best]
    for question in (*questions, lambda: folder.latest(pytest.fail)):
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
