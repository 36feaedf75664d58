"""The input embedding of a model: one tensor out of a safetensors file, checked row by row.

Of the file only this tensor is read: the others are never in memory.  Leaves out which tensor it is,
``architecture``, and which words its rows stand for, ``pretrained``.
"""

import hashlib
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlab.errors import TextError, UnreachableError
from llmlab.text.architecture import WIDTHS, embedding_name

STORED = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
AT_ONCE = 1 << 20
"""Numbers that are looked at in one go, so that no second copy of the matrix is needed."""


def library(name: str) -> Any:
    """Import a library that only pretrained embeddings need.

    Raises:
        UnreachableError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnreachableError(f"--pretrained: {error}; pip install 'llmlab[pretrained]'") from error


def read_matrix(path: Path, config: dict[str, Any]) -> tuple[Tensor, str]:
    """Return the input embedding of a safetensors file, (V, D) fp32, and the SHA-256 of it as it is stored.

    Raises:
        TextError: the file is cut or is none, or the tensor has another shape or type than the model's.
        UnreachableError: the safetensors library is missing.
    """
    safetensors = library("safetensors")
    if not path.is_file():  # the library would wait for ever at a pipe
        raise TextError(f"{path}: not a regular file; copy the weights into one")
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            name = embedding_name(config, file.keys(), path)
            view = file.get_slice(name)
            check_shape(view.get_shape(), view.get_dtype(), config, f"{path}, {name}")
            stored = file.get_tensor(name)
            return stored.to(torch.float32, copy=True), checksum(stored)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())[:160]
        raise TextError(f"{path}: no whole safetensors file ({told}); fetch it again") from error


def check_shape(shape: list[int], kind: str, config: dict[str, Any], where: str) -> None:
    """Check a tensor against the configuration, before it is read.

    Raises:
        TextError: it is no matrix, has another shape than the configuration says, or holds other numbers.
    """
    if kind not in STORED:
        raise TextError(f"{where}: it is stored as {kind}; {', '.join(STORED)} can be read")
    if len(shape) != 2 or 0 in shape:
        raise TextError(f"{where}: an embedding is a matrix with rows; this has the shape {tuple(shape)}")
    width = next((config[key] for key in WIDTHS if config.get(key) is not None), None)
    for what, found, wanted in (("rows", shape[0], config.get("vocab_size")), ("columns", shape[1], width)):
        if wanted is None:
            raise TextError(f"{where}: config.json does not say how many {what} it should have")
        if found != wanted:
            raise TextError(f"{where}: it has {found:,} {what}, and config.json says {wanted!r}")


def checksum(matrix: Tensor) -> str:
    """Return the SHA-256 of a tensor's bytes, part by part."""
    running = hashlib.sha256()
    for part in torch.split(matrix.flatten(), AT_ONCE):
        room = bytearray(part.numel() * part.element_size())
        torch.frombuffer(room, dtype=part.dtype).copy_(part)  # Tensor.numpy() would need NumPy
        running.update(room)
    return running.hexdigest()


def row_faults(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of the rows that are not finite and of those that are zero throughout."""
    parts = torch.split(matrix, max(1, AT_ONCE // matrix.shape[1]))
    largest = torch.cat([part.abs().amax(1) for part in parts])  # NaN and infinity come through
    return (~largest.isfinite()).nonzero().flatten(), (largest == 0).nonzero().flatten()
