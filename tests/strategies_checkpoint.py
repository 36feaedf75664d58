"""States of runs and checkpoints of them, for the tests of checkpoints."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from llmlab.errors import WriteError
from llmlab.lab.checkpoint import CheckpointFolder, packed

GOLDEN = Path(__file__).parent / "golden" / "checkpoint-v2"
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal in every type and every bit, also where a number is not one."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        alike = (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def small_state() -> dict[str, Any]:
    """Return the state in the golden checkpoint: every type and every kind of tensor that may stand in a state."""
    numbers = [torch.tensor([0, 1, 1], dtype=dtype) for dtype in DTYPES]
    return {
        "model": {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "none": torch.empty(0, 3)},
        "optimizer": {str(number.dtype): number for number in numbers}
        | {"moment": torch.tensor([float("nan"), -0.0, float("inf")], dtype=torch.float64), "step": torch.tensor(7)},
        "numbers": [True, None, -(2**70), 1e-320, -0.0, 0.1],
        "text": {"vocabulary": "ab12", "odd": "é \u2028 \ud800 \x00", "empty": ""},
    }


def written(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def signed(text: str) -> bytes:
    """Return a ``run.json`` with whatever stands in it, as the description says and without the code under test."""
    return f'{{"sha256": "{hashlib.sha256(text.encode()).hexdigest()}",\n{text}'.encode()


def forged(name: str, data: bytes) -> dict[str, bytes]:
    """Return the files of a checkpoint in which one was exchanged and every digest is right."""
    files = packed(small_state()) | {name: data}
    rest = files["run.json"].decode().split("\n", 1)[1]
    seals = {other: hashlib.sha256(content).hexdigest() for other, content in files.items() if other != "run.json"}
    return files | {"run.json": signed(re.sub(r'"files": .*\n', f'"files": {json.dumps(seals)}}}\n', rest))}


def state(update: int, numbers: int = 50) -> dict[str, Any]:
    return {"update": update, "model": {"weight": torch.full((numbers,), float(update))}}


def holding(folder: Path, *updates: int, best: int = 0) -> CheckpointFolder:
    folder.mkdir(exist_ok=True)
    there = CheckpointFolder(folder)
    for update in updates:
        there.save(state(update), update, best=update == best)
    return there


def saved_thrice(folder: Path) -> dict[str, Any]:
    """Save two small checkpoints and one of four megabytes, and return what was said and what is found then."""
    there, told, code, heard = CheckpointFolder(folder), "", 0, list[str]()
    try:
        with there.locked():
            there.save(small_state() | {"update": 1}, 1, best=True)
            there.save(state(2), 2)
            there.save(state(3, 1_000_000), 3, best=True)
    except WriteError as error:
        told, code = str(error), error.exit_code
    latest, names = there.latest(heard.append), sorted(path.name for path in folder.iterdir())
    found = (code, latest and latest[0]["update"], (there.best() or {}).get("update"), heard, names)
    return dict(zip(("code", "latest", "best", "heard", "names"), found, strict=True)) | {"told": told}


tensors = st.builds(
    lambda dtype, shape, seed: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 1000),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
groups = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), tensors, max_size=4)
states = st.builds(
    lambda plain, tensors: plain | tensors,
    st.dictionaries(st.text(max_size=5), values, max_size=4),
    st.fixed_dictionaries({}, optional={"model": groups, "optimizer": groups}),
)
