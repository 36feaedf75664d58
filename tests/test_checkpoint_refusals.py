"""Checkpoint files that are not read: cut, damaged, of another kind, of another version, evil or greedy."""

import contextlib
import io
import itertools
import os
import random
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from llmlab.errors import CheckpointError, WriteError
from llmlab.lab import checkpoint, plain
from llmlab.lab.checkpoint import CheckpointFolder, read
from strategies_checkpoint import GOLDEN, HEADER_BYTES, saved_by_torch, signed, small_state


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """Write bytes as a file, assert that it is refused with its name and a way out, and return what was said."""
    path = tmp_path / "some.ckpt"

    def check(content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            read(path)
        told = str(caught.value)
        assert told.startswith(f"{path}: ")
        assert "; " in told
        assert "\n" not in told
        return told

    return check


def test_every_truncation_is_refused(refused: Callable[[bytes], str], tmp_path: Path) -> None:
    """Cut after any number of bytes, or with one byte too many, a file is refused."""
    whole, path = GOLDEN.read_bytes(), tmp_path / "cut.ckpt"
    path.write_bytes(whole)
    for length in reversed(range(len(whole))):
        os.truncate(path, length)
        with pytest.raises(CheckpointError, match=r"bytes long|cut off|not a checkpoint|empty"):
            read(path)
    refused(whole + b"\0")


def test_every_flipped_bit_is_refused(refused: Callable[[bytes], str]) -> None:
    """Each single bit of the header and 2,000 of the payload: none is read as another state."""
    whole = bytearray(GOLDEN.read_bytes())
    header = list(range(8 * HEADER_BYTES))
    for bit in header + random.Random(0).sample(range(8 * HEADER_BYTES, 8 * len(whole)), 2_000):
        whole[bit // 8] ^= 1 << bit % 8
        refused(bytes(whole))
        whole[bit // 8] ^= 1 << bit % 8
    assert whole == GOLDEN.read_bytes()


def test_damage_under_a_right_checksum_raises_nothing_else(tmp_path: Path) -> None:
    """Bytes changed before they were signed give a state or a CheckpointError, and no other exception."""
    payload, dice, path = GOLDEN.read_bytes()[HEADER_BYTES:], random.Random(1), tmp_path / "one.ckpt"
    read_all_the_same = 0
    for _ in range(1_000):
        changed = bytearray(payload)
        for _ in range(dice.randint(1, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        path.write_bytes(signed(bytes(changed)))
        with contextlib.suppress(CheckpointError):
            read_all_the_same += isinstance(read(path), dict)
    assert 0 < read_all_the_same < 1_000


@pytest.mark.parametrize("version", [2, 3, 999, 65_535])
def test_a_newer_format_is_named_with_ours(refused: Callable[[bytes], str], version: int) -> None:
    """A file of a newer llmlab is refused with both versions and the advice to update."""
    told = refused(signed(b"something else", version=version))
    assert f"format {version}," in told
    assert "format 1;" in told
    assert "update llmlab" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (signed(b"", version=0), "format 0"),
        (signed(b"", magic=b"LLMLOB"), "not a checkpoint"),
        (saved_by_torch({"a": torch.ones(2)}), "not a checkpoint"),
        (b"", "empty"),
        (b"LLMLAB", "cut off"),
        (b"LLMLAB\0\1", "cut off"),
        (signed(b""), "no state"),
        (signed(b"LLMLAB" * 20), "no state"),
        (signed(saved_by_torch([1])), "instead of a dict"),
    ],
)
def test_what_is_no_checkpoint_is_told_apart(refused: Callable[[bytes], str], content: bytes, words: str) -> None:
    """An empty file, another format, a cut one and one without a state are each called what they are."""
    assert words in refused(content)


def test_what_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe (which would wait for ever), a link to nowhere and an impossible name."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    not_a_file = {"": "not a file", "pipe": "not a file"}
    for name, words in {**not_a_file, "none": "No such", "link": "No such", "a\0b": "null"}.items():
        with pytest.raises(CheckpointError, match=words):
            read(tmp_path / name)


class Evil:
    """Asks whoever unpickles it to call a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def bomb() -> bytes:
    """Return a small file that unpacks to a big one."""
    source, out = zipfile.ZipFile(io.BytesIO(saved_by_torch({"a": torch.zeros(3_000_000)}))), io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, source.read(part))
    return out.getvalue()


def doubled() -> bytes:
    """Return a file with two parts of one name: which one is read depends on the reader."""
    out = io.BytesIO(saved_by_torch({"a": 1}))
    with zipfile.ZipFile(out, "a") as target, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        target.writestr("archive/data.pkl", target.read("archive/data.pkl"))
    return out.getvalue()


def laughs() -> Any:
    """Return a list of two lists of two lists …, short to write down and endless to walk through."""
    found: Any = []
    for _ in range(45):
        found = [found, found]
    return found


@pytest.mark.parametrize(
    "value",
    [
        Evil(os.system, "touch marker"),
        Evil(eval, "open('marker', 'w')"),
        Evil(bytearray, 10**12),
        Evil(torch.Tensor, 10**6, 10**6),
        Evil(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (10**9,), (1,), False),
        torch.eye(2).to_sparse(),
        nn.Parameter(torch.ones(1)),
        torch.Size([1]),
        {1, 2},
        1j,
    ],
    ids=lambda value: getattr(getattr(value, "function", None), "__name__", type(value).__name__),
)
def test_a_name_that_no_tensor_needs_is_refused_before_loading(
    refused: Callable[[bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    """A file with a right checksum that names code, or a function that takes a terabyte, never reaches the loader."""
    monkeypatch.chdir(tmp_path)
    content = saved_by_torch({"a": value})
    refused(content)
    monkeypatch.setattr(torch, "load", None)
    assert "the name" in refused(signed(content))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("value", [torch.zeros(1).expand(10**12), laughs()], ids=["a wide view", "endless lists"])
def test_what_is_small_on_disk_and_endless_in_memory_is_refused(
    refused: Callable[[bytes], str], value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number shown as a trillion, and lists of lists without end, are refused before many values are looked at."""
    looked_at, content = itertools.count(1), signed(saved_by_torch({"a": value}))
    walk = plain.Rebuild.__call__

    def counting(self: plain.Rebuild, *args: Any) -> Any:
        assert next(looked_at) <= plain.MOST_VALUES + 1
        return walk(self, *args)

    monkeypatch.setattr(plain.Rebuild, "__call__", counting)
    assert "holds no state" in refused(content)
    assert next(looked_at) > 1


def test_older_and_packed_forms_are_refused(refused: Callable[[bytes], str]) -> None:
    """What torch.load would take as one of its older forms, or as a bomb that unpacks, never reaches it."""
    old = io.BytesIO()
    torch.save({"a": torch.ones(1)}, old, _use_new_zipfile_serialization=False)
    for payload in (old.getvalue(), old.getvalue() + saved_by_torch({}), bomb(), doubled()):
        assert "holds no state" in refused(signed(payload))
    newer = io.BytesIO()
    torch.save({"a": torch.ones(1)}, newer, pickle_protocol=4)
    assert "the name" in refused(signed(newer.getvalue()))


def test_a_header_that_claims_a_terabyte_costs_nothing(tmp_path: Path) -> None:
    """A kilobyte that says it is a terabyte, and a hole of five gigabytes, are refused without being read."""
    liar, hole = tmp_path / "liar.ckpt", tmp_path / "hole.ckpt"
    liar.write_bytes(signed(bytes(1_000), length=10**12))
    hole.write_bytes(signed(b"", length=5 * 2**30 - HEADER_BYTES))
    os.truncate(hole, 5 * 2**30)
    tracemalloc.start()
    try:
        for path in (liar, hole):
            with pytest.raises(CheckpointError, match="bytes long"):
                read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000


def test_a_state_that_could_not_be_read_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than the longest file that is read is refused when it is saved."""
    monkeypatch.setattr(checkpoint, "LARGEST", 1_000)
    with pytest.raises(WriteError, match="read back"):
        CheckpointFolder(tmp_path).save(small_state(), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_writes_what_is_not_read_is_found_out_when_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should torch.save one day write other names, the first save fails, and not the resumption a day later."""
    other = saved_by_torch({"a": torch.device("cpu")})
    monkeypatch.setattr(torch, "save", lambda _, file: file.write(other))
    with pytest.raises(ValueError, match="torch device"):
        CheckpointFolder(tmp_path).save({"a": 1}, 1)
    assert list(tmp_path.iterdir()) == []
