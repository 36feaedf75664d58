"""Checkpoint files: what is saved comes back to the bit.

Leaves out what is refused, ``test_checkpoint_refusals``; folders, ``test_checkpoint_folder``; disks that fail and
processes that die, ``test_checkpoint_faults`` and ``test_checkpoint_power_cuts``.
"""

import hashlib
import io
import json
import random
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import environment
from llmlab.lab.checkpoint import CheckpointFolder, packed, read
from strategies_checkpoint import GOLDEN, HEADER_BYTES, same, signed, small_state, values


@given(st.dictionaries(st.text(max_size=5) | st.integers(), values, max_size=4))
def test_every_plain_state_comes_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, state: Any) -> None:
    """Whatever is plain is read as it was saved, and saved again it gives the same bytes."""
    path = tmp_path_factory.getbasetemp() / "one.ckpt"
    path.write_bytes(packed(state))
    again = read(path)
    assert same(again, state)
    assert bytes(packed(again)) == path.read_bytes()


def test_a_file_is_what_its_description_says() -> None:
    """Magic, version, length and SHA-256 stand where the description puts them, before what ``torch.save`` writes."""
    written = bytes(packed(small_state()))
    assert written == signed(written[HEADER_BYTES:])
    assert same(torch.load(io.BytesIO(written[HEADER_BYTES:]), weights_only=True), small_state())


def test_equal_texts_give_equal_bytes_whichever_objects_they_are() -> None:
    """A state that was read holds its texts as objects of its own; that does not show in the next file."""
    word, letters = "word 1", ["word", "1"]
    assert packed({"a": word, "b": word, word: 1}) == packed({"a": word, "b": " ".join(letters), " ".join(letters): 1})


def test_the_golden_file_of_format_1_is_read() -> None:
    """The file that the first version of this code wrote is read by this one (never write it anew)."""
    assert GOLDEN.stat().st_size < 5_000
    assert same(read(GOLDEN), small_state())


def test_what_is_saved_is_taken_off_its_graph_and_out_of_its_neighbours(tmp_path: Path) -> None:
    """Parameters become tensors, a row does not bring its matrix along, tied weights stay tied, the model stays."""
    layer = nn.Linear(300, 300)
    state = {"layer": layer.state_dict(keep_vars=True), "row": layer.weight[3], "t": layer.weight.t()}
    state["wide"] = torch.ones(1).expand(7)
    path = tmp_path / "one.ckpt"
    path.write_bytes(packed(state))
    again = read(path)
    assert path.stat().st_size < 300 * 301 * 4 + 300 * 4 + 5_000
    assert type(again["layer"]) is dict
    assert torch.equal(again["row"], layer.weight[3])
    assert torch.equal(again["wide"], torch.ones(7))
    assert again["t"].data_ptr() == again["layer"]["weight"].data_ptr()
    assert not any(tensor.requires_grad for tensor in (again["row"], *again["layer"].values()))
    assert layer.weight.requires_grad


Pair = namedtuple("Pair", "one two")
circle: list[Any] = []
circle.append(circle)
NOT_PLAIN = {
    "a path": Path("a"),
    "a set": {1},
    "bytes": b"a",
    "an object": object(),
    "a NumPy float": np.float64(1),
    "an array": np.ones(2),
    "a generator of chance": torch.Generator(),
    "a named tuple": Pair(1, 2),
    "a size": torch.Size([1]),
    "a dtype": torch.float32,
    "a complex number": 1j,
    "a key that is a float": {0.5: 1},
    "a key that is a tuple": {(1,): 1},
    "a key that is a truth": {True: 1},
    "a number of 2,001 bits": 2**2000,
    "a circle": circle,
    "a sparse tensor": torch.eye(2).to_sparse(),
    "a tensor without numbers": torch.ones(1, device="meta"),
    "a complex tensor": torch.ones(1, dtype=torch.complex64),
    "a million values": [0] * 1_000_000,
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    """A value that the loader would refuse, or bring back as another, is refused before anything is written."""
    with pytest.raises(TypeError, match=r"state\['here'\]"):
        CheckpointFolder(tmp_path).save({"good": 1, "here": NOT_PLAIN[name]}, 1)
    assert list(tmp_path.iterdir()) == []


def test_dictionaries_of_other_kinds_become_plain_ones(tmp_path: Path) -> None:
    """An OrderedDict, as ``state_dict`` returns one, and a defaultdict are read as dicts."""
    path = tmp_path / "one.ckpt"
    path.write_bytes(packed({"a": OrderedDict(x=1), "b": defaultdict(int, y=2)}))
    assert same(read(path), {"a": {"x": 1}, "b": {"y": 2}})


def test_the_generators_of_chance_come_back(tmp_path: Path) -> None:
    """The states of Python's and of PyTorch's generator are plain, and give the same numbers after reading."""
    dice, generator = random.Random(3), torch.Generator().manual_seed(3)
    path = tmp_path / "one.ckpt"
    path.write_bytes(packed({"python": dice.getstate(), "torch": generator.get_state()}))
    expected = dice.random(), torch.rand(3, generator=generator)
    state = read(path)
    dice.setstate(state["python"])
    generator.set_state(state["torch"])
    assert dice.random() == expected[0]
    assert torch.equal(torch.rand(3, generator=generator), expected[1])


def descend(state: dict[str, Any]) -> None:
    """Do one update with momentum and noise, in place, on a state."""
    generator = torch.Generator()
    generator.set_state(state["rng"])
    state["momentum"].mul_(0.9).add_(torch.randn(4, 3, generator=generator)).add_(state["weight"], alpha=0.1)
    state["weight"].sub_(state["momentum"], alpha=0.1)
    state["rng"] = generator.get_state()
    state["update"] += 1


NEXT = """
import sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoint import descend, packed
from llmlab.lab.checkpoint import CheckpointFolder
import hashlib
state, path = CheckpointFolder(Path(sys.argv[2])).latest(print)
while state["update"] < 40:
    descend(state)
print(json.dumps([path.name, hashlib.sha256(packed(state)).hexdigest()]))
"""


def test_a_file_of_update_3_makes_any_trainer_one_at_update_3(tmp_path: Path) -> None:
    """Read over a state at update 40, or in a new process, the file gives what stood there at update 3, and no more."""
    state = {"weight": torch.ones(4, 3), "momentum": torch.zeros(4, 3), "update": 0}
    state["rng"] = torch.Generator().manual_seed(1).get_state()
    folder = CheckpointFolder(tmp_path)
    while state["update"] < 40:
        descend(state)
        if state["update"] == 3:
            path = folder.save(state, 3)
            at_3 = {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
    one, other = read(path), read(path)
    assert same(one, at_3)
    for key, value in one.items():
        if isinstance(value, Tensor):
            state[key].copy_(value)
    descend(one)
    assert same(other, at_3), "two readings share memory"
    while one["update"] < 40:
        descend(one)
    command = [sys.executable, "-c", NEXT, str(Path(__file__).parent), str(tmp_path)]
    found = subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True)
    assert json.loads(found.stdout) == [path.name, hashlib.sha256(packed(one)).hexdigest()]
