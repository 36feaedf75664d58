"""States of runs and checkpoints of them, for the tests of checkpoints."""

import hashlib
import io
import struct
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from llmlab.lab import plain
from llmlab.lab.checkpoint import CheckpointFolder

GOLDEN = Path(__file__).parent / "golden" / "checkpoint-v1.ckpt"
HEADER_BYTES = 48


def same(one: Any, other: Any) -> bool:
    """Return whether two states are equal in every type and every bit, also where a number is not one."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        alike = (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        return alike and torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return struct.pack("d", one) == struct.pack("d", other) if isinstance(one, float) else bool(one == other)


def small_state() -> dict[str, Any]:
    """Return the state in the golden file: every type and every kind of tensor that may stand in a state."""
    return {
        "model": {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "none": torch.empty(0, 3)},
        "optimizer": {0: {"moment": torch.tensor([float("nan"), -0.0, float("inf")], dtype=torch.float64), "step": 7}},
        "rng": (3, (1, 2**32 - 1, 624), None),
        "numbers": [True, -(2**70), 1e-320, float("inf"), 0.1],
        "text": {"vocabulary": "ab12", "odd": "é \u2028 \ud800 \x00", "empty": ""},
        "dtypes": [torch.tensor([0, 1, 1], dtype=dtype) for dtype in sorted(plain.DTYPES, key=str)],
    }


def signed(payload: bytes, *, magic: bytes = b"LLMLAB", version: int = 1, length: int | None = None) -> bytes:
    """Return a checkpoint as the description says, made without the code under test."""
    start = magic + version.to_bytes(2, "big") + (len(payload) if length is None else length).to_bytes(8, "big")
    return start + hashlib.sha256(start + payload).digest() + payload


def saved_by_torch(value: Any) -> bytes:
    """Return what ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def state(update: int, numbers: int = 50) -> dict[str, Any]:
    """Return a state that knows its update."""
    return {"update": update, "weight": torch.full((numbers,), float(update))}


def silent(told: str) -> None:
    """Hear nothing, because nothing may be said."""
    raise AssertionError(told)


def holding(folder: Path, *updates: int, best: int = 0) -> CheckpointFolder:
    """Return a folder with checkpoints of some updates."""
    folder.mkdir(exist_ok=True)
    there = CheckpointFolder(folder)
    for update in updates:
        there.save(state(update), update, best=update == best)
    return there


tensors = st.builds(
    lambda dtype, shape, seed: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype),
    st.sampled_from(sorted(plain.DTYPES, key=str)),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.integers(0, 1000),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | tensors,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
