"""Checkpoints: what is saved comes back to the bit.

Leaves out what is refused, ``test_checkpoint_refusals``; folders, ``test_checkpoint_folder``; disks that fail and
processes that die, ``test_checkpoint_faults`` and ``test_checkpoint_power_cuts``.
"""

import hashlib
import json
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from torch import Tensor, nn

from conftest import environment
from llmlab.lab.checkpoint import CheckpointFolder, packed, read, unpacked
from strategies_checkpoint import GOLDEN, same, signed, small_state, states, written


@given(states)
def test_every_plain_state_comes_back_to_the_bit(state: dict[str, Any]) -> None:
    """Whatever is plain is read as it was saved, and saved again it gives the same bytes."""
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


Pair = namedtuple("Pair", "one two")
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
    "a named tuple": Pair(1, 2),
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
    """A value that could not be read, or would be read as another, is refused before anything is written."""
    with pytest.raises(TypeError, match=rf"state\['{where}'\]"):
        CheckpointFolder(tmp_path).save({"good": 1, where: value}, 1)
    assert list(tmp_path.iterdir()) == []


def descend(state: dict[str, Any]) -> None:
    """Do one update with momentum and noise, in place, on a state."""
    generator = torch.Generator()
    generator.set_state(state["optimizer"]["rng"])
    weight, momentum = state["model"]["weight"], state["optimizer"]["momentum"]
    momentum.mul_(0.9).add_(torch.randn(4, 3, generator=generator)).add_(weight, alpha=0.1)
    weight.sub_(momentum, alpha=0.1)
    state["optimizer"]["rng"] = generator.get_state()
    state["update"] += 1


NEXT = """
import sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoint import descend, digest
from llmlab.lab.checkpoint import CheckpointFolder
state, path = CheckpointFolder(Path(sys.argv[2])).latest(print)
while state["update"] < 40:
    descend(state)
print(json.dumps([path.name, digest(state)]))
"""


def digest(state: dict[str, Any]) -> str:
    """Return a digest of all that a state holds."""
    return hashlib.sha256(b"".join(packed(state).values())).hexdigest()


def test_a_checkpoint_of_update_3_makes_any_trainer_one_at_update_3(tmp_path: Path) -> None:
    """Read over a state at update 40, or in a new process, it gives what stood there at update 3, and no more."""
    rng = torch.Generator().manual_seed(1).get_state()
    state: dict[str, Any] = {
        "model": {"weight": torch.ones(4, 3)},
        "optimizer": {"momentum": torch.zeros(4, 3), "rng": rng},
        "update": 0,
    }
    folder = CheckpointFolder(tmp_path)
    while state["update"] < 40:
        descend(state)
        if state["update"] == 3:
            path = folder.save(state, 3)
            at_3 = copied(state)
    one, other = read(path), read(path)
    assert same(one, at_3)
    descend(one)
    assert same(other, at_3), "two readings share memory"
    while one["update"] < 40:
        descend(one)
    command = [sys.executable, "-c", NEXT, str(Path(__file__).parent), str(tmp_path)]
    found = subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True)
    assert json.loads(found.stdout) == [path.name, digest(one)]


def copied(value: Any) -> Any:
    """Return a state in memory of its own."""
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None
import torch
from llmlab.lab.checkpoint import packed, unpacked
model = {"a": torch.ones(3, dtype=torch.bfloat16)}
assert torch.equal(unpacked(packed({"model": model}).__getitem__)["model"]["a"], model["a"])
"""


def test_numpy_is_not_needed(tmp_path: Path) -> None:
    """Where NumPy is not installed, checkpoints are written and read all the same."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT_NUMPY], env=environment(tmp_path), check=True)
