"""What a state may be made of, checked on its way out and again on its way in.

A state is a dict of dicts (keys ``str`` or ``int``), lists, tuples, tensors, ``str``, ``int``, ``float``, ``bool`` and
``None``.  PyTorch's loader runs no code, but takes more than that: a kilobyte can ask it for a ``bytearray`` of a
terabyte, or be a list of two lists of two lists.  So the names in a file are looked at before it is loaded, and what
comes out is walked through with a limit.

Leaves out files: ``checkpoint``.
"""

import pickletools
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

MOST_VALUES = 1_000_000
DEEPEST = 50
BIGGEST_BITS = 1_000
"""Beyond some 2,000 bits PyTorch writes an ``int`` that it does not read."""

DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}
NAMES = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_tensor_v[23]|torch\.storage UntypedStorage|"
    r"torch ([A-Z][A-Za-z0-9]+Storage|b?float[0-9]+|u?int[0-9]+|bool)"
)
"""What tensors are rebuilt from; no other name may stand in a file."""

BY_OTHER_WAYS = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"}


@dataclass
class Rebuild:
    """Rebuilds a value of plain types, each tensor passed through a function.  One use each: it counts the values."""

    tensor: Callable[[Tensor, str], Tensor]
    left: int = MOST_VALUES

    def __call__(self, value: Any, where: str = "state", depth: int = 0) -> Any:
        """Return the value rebuilt.

        Raises:
            TypeError: something in it is not plain; the message says where.
        """
        self.left -= 1
        if depth > DEEPEST or self.left < 0:
            raise TypeError(f"{where}: nested more than {DEEPEST} deep, or more than {MOST_VALUES:,} values")
        if isinstance(value, Tensor):
            return self.tensor(value, where)
        if type(value) in (list, tuple):
            return type(value)(self(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value))
        if isinstance(value, dict):
            return {_scalar(key, where, str, int): self(value[key], f"{where}[{key!r}]", depth + 1) for key in value}
        return _scalar(value, where, str, int, float, bool, type(None))


def _scalar(value: Any, where: str, *kinds: type) -> Any:
    """Return a value of exactly one of the types: a NumPy float is a ``float`` too, but not to the loader."""
    if type(value) not in kinds:
        raise TypeError(f"{where}: {type(value).__qualname__} {value!r:.60} is neither a tensor nor a plain value")
    if type(value) is int and value.bit_length() > BIGGEST_BITS:
        raise TypeError(f"{where}: an int of {value.bit_length():,} bits")
    # equal texts become one object, which torch.save writes once: the same state gives the same bytes
    return sys.intern(value) if type(value) is str else value


def detached(tensor: Tensor, where: str) -> Tensor:
    """Return a tensor ready to be saved: off its graph and device, and alone in its memory.

    Raises:
        TypeError: it is of a kind that is not kept.
    """
    tensor = tensor.detach()
    if type(tensor) is not Tensor or tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        raise TypeError(
            f"{where}: {type(tensor).__qualname__} of {tensor.dtype}, {tensor.layout} is not a plain tensor"
        )
    tensor = tensor.cpu().resolve_neg()
    return tensor if _fills_its_memory(tensor) else tensor.clone(memory_format=torch.contiguous_format)


def dense(tensor: Tensor, where: str) -> Tensor:
    """Return a tensor that was read.

    Raises:
        TypeError: it is what ``detached`` never returns, such as one number shown as a billion.
    """
    if type(tensor) is not Tensor or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise TypeError(f"{where} is no plain tensor")
    if tensor.dtype not in DTYPES or not _fills_its_memory(tensor):
        raise TypeError(f"{where} is no plain tensor")
    return tensor.detach()


def _fills_its_memory(tensor: Tensor) -> bool:
    return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def check_names(file: BinaryIO, start: int) -> None:
    """Refuse what ``torch.save`` does not write for a plain state; it stands in a file from a start to the end.

    Raises:
        ValueError: parts are compressed or doubled, or a name stands there that no tensor needs.
        Exception: whatever ``zipfile`` and ``pickletools`` raise at what is not of their form.
    """
    file.seek(start)
    if file.read(4) != b"PK\x03\x04":  # anything else torch.load would take for one of its older forms
        raise ValueError("not in the form of torch.save")
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts)
        if not stored or len({part.filename for part in parts}) < len(parts):
            raise ValueError("compressed or doubled parts")
        for part in parts:
            if part.filename.endswith(".pkl"):
                _check_opcodes(archive.read(part))


def _check_opcodes(pickled: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in BY_OTHER_WAYS or (opcode.name == "GLOBAL" and not NAMES.fullmatch(str(argument))):
            raise ValueError(f"the name {str(argument)!r:.60}")
