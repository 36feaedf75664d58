"""A pretrained embedding and its tokenizer: one matrix of somebody's model, and what its rows stand for.

``load_pretrained`` takes ``gpt2``, a model on the hub as ``owner/name@commit``, or a model folder with
``config.json``, ``tokenizer.json`` and ``model.safetensors``.  The rest of the model is never read.  That the
tokenizer is this model's is seen by how many tokens it knows and by where its special tokens stand.
"""

import contextlib
import hashlib
import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llmlab.errors import TextError, UnreachableError
from llmlab.report.messages import Text, say
from llmlab.text import model_files
from llmlab.text.files import read_bytes
from llmlab.text.hub import MODELS
from llmlab.text.model_files import CONFIG, TOKENIZER, TOKENIZER_CONFIG

MARKS = ("pad", "unk", "cls", "sep", "eos")
ENDS = ("</s>", "[SEP]", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>")
"""Marks that end a text, where neither file of the tokenizer's settings names one."""

STORED = {"F16", "BF16", "F32"}
AT_ONCE = 1 << 20
"""Numbers that are looked at in one go, so that no second copy of the matrix is needed."""

ZERO_SHARE = 0.01
"""The largest share of ordinary tokens whose row may be zero."""

SPARE_ROWS, SPARE_SHARE = 128, 0.02
"""How many rows a matrix may have more than its tokenizer knows tokens, the larger of the two: machines like round
numbers, and hardly a model has more to spare."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A tokenizer and the matrix whose rows its numbers are.

    ``embedding`` is (V, D) fp32, or nothing where only the tokenizer was asked for.  ``digest`` is a SHA-256 over the
    matrix as it is stored and the tokenizer's file.  ``unknown`` and ``end`` are the token numbers that stand for
    unknown words and that end a document; ``notes`` say in words what is worth knowing.
    """

    name: str
    tokenizer: Any
    embedding: Tensor | None
    vocabulary: int
    digest: str
    unknown: int
    end: int
    notes: list[Text]


def load_pretrained(name: str, *, offline: bool = False, weights: bool = True, progress: bool = False) -> Pretrained:
    """Return a pretrained embedding and its tokenizer by a name, a hub id or a folder.

    ``offline`` forbids the network; the variable ``HF_HUB_OFFLINE`` does so too.

    Raises:
        TextError: a file cannot be used, or the tokenizer does not belong to the matrix.
        UnreachableError: the model is neither here nor to be fetched, or a library is missing.
        WriteError: what was fetched could not be written.
    """
    model = model_files.model_on_hub(name)
    try:
        if model is None:
            return read_folder(own_folder(name), weights)
        folder = model_files.model_folder(model, offline=offline, weights=weights, progress=progress)
        found = read_folder(folder, weights)
    except TextError as error:
        raise TextError(f"--pretrained {error}") from error
    shape = model.shape if found.embedding is None else tuple(found.embedding.shape)
    if shape != (model.shape or shape):
        raise UnreachableError(
            f"--pretrained {model.name}: the embedding in {folder} is {shape} instead of {model.shape}; "
            f"replace that folder, or delete it and run 'llmlab data fetch {model.name}'"
        )
    return replace(found, name=model.name, notes=[f"{model.repository} at {model.commit[:12]}", *found.notes])


def own_folder(name: str) -> Path:
    """Return the user's own folder of this name."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a name that no disk could hold
        if name and Path(name).expanduser().is_dir():
            return Path(name).expanduser()
    ways = f"give a model folder, {', '.join(MODELS)}, or owner/name@ and the 40 digits of a commit"
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@.*)?", name) and not Path(name).exists():
        raise UnreachableError(f"--pretrained {name}: no such folder, and no commit of a model on the hub; {ways}")
    raise TextError(f"{name!r}: there is no such folder; {ways}")


def read_folder(folder: Path, weights: bool) -> Pretrained:
    """Return what a model folder holds."""
    where = folder / TOKENIZER
    tokenizer, content = read_tokenizer(where)
    settings = model_files.read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).exists() else {}
    named = {each: content_of(settings.get(f"{each}_token")) for each in MARKS}
    size = rows = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    digest, config, matrix = hashlib.sha256(content), dict[str, Any](), None
    shape: list[Text] = []
    notes: list[Text] = []
    if weights:
        if not os.path.lexists(folder / CONFIG):
            raise TextError(
                f"{folder}: a tokenizer, but no {CONFIG}, so no embedding to read; "
                "llmlab two-stage --vectors random needs none"
            )
        config, path = model_files.read_config(folder), model_files.embedding_file(folder)
        matrix, stored = read_matrix(path, config)
        digest.update(stored.encode())
        rows = len(matrix)
        check_size(tokenizer, size, rows, where)
        shape = [say("pretrained.matrix", rows=rows, columns=matrix.shape[1], tokens=size)]
        notes = [*check_marks(tokenizer, named, config, where), *check_rows(matrix, tokenizer, path)]
    unknown, end = special_numbers(tokenizer, named, config, folder)
    marks = say("pretrained.marks", end=tokenizer.id_to_token(end), unknown=tokenizer.id_to_token(unknown))
    return Pretrained(
        folder.resolve().name, tokenizer, matrix, rows, digest.hexdigest(), unknown, end, [*shape, marks, *notes]
    )


def read_tokenizer(path: Path) -> tuple[Any, bytes]:
    """Return a tokenizer and its file's content; it neither cuts nor pads what it encodes."""
    if not path.exists():
        raise TextError(f"{path.parent}: a model folder has {TOKENIZER}; it is missing")
    content = read_bytes(path)
    try:
        tokenizers = importlib.import_module("tokenizers")
    except ImportError as error:
        raise UnreachableError(f"--pretrained: {error}; pip install 'llmlab[pretrained]'") from error
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # the library knows no failure of its own
        told = " ".join(str(error).split())[:160]
        raise TextError(f"{path}: no tokenizer that can be read ({told})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a mark that happens to stand in a text is text
    return tokenizer, content


def read_matrix(path: Path, config: dict[str, Any]) -> tuple[Tensor, str]:
    """Return the input embedding of a safetensors file, (V, D) fp32, and the SHA-256 of it as it is stored."""
    if not path.is_file():  # the library would wait for ever at a pipe
        raise TextError(f"{path}: not a regular file; copy the weights into one")
    try:
        with safe_open(str(path), "pt") as file:
            name = model_files.embedding_name(config, file.keys(), path)
            view = file.get_slice(name)
            shape, kind, wanted = view.get_shape(), view.get_dtype(), config.get("vocab_size")
            if kind not in STORED:
                raise TextError(f"{path}, {name}: it is stored as {kind}; F16, BF16, F32 can be read")
            if len(shape) != 2 or 0 in shape:
                raise TextError(
                    f"{path}, {name}: an embedding is a matrix with rows; this has the shape {tuple(shape)}"
                )
            if wanted not in (None, shape[0]):
                raise TextError(f"{path}, {name}: it has {shape[0]:,} rows, and {CONFIG} says {wanted!r}")
            stored = file.get_tensor(name)
            return stored.to(torch.float32, copy=True), checksum(stored)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())[:160]
        raise TextError(f"{path}: no whole safetensors file ({told}); fetch it again") from error


def checksum(matrix: Tensor) -> str:
    """Return the SHA-256 of a tensor's bytes, part by part."""
    running = hashlib.sha256()
    for part in torch.split(matrix.flatten(), AT_ONCE):
        room = bytearray(part.numel() * part.element_size())
        torch.frombuffer(room, dtype=part.dtype).copy_(part)  # Tensor.numpy() would need NumPy
        running.update(room)
    return running.hexdigest()


def check_size(tokenizer: Any, size: int, rows: int, where: Path) -> None:
    """Check that a matrix has a row for every token and few more."""
    told = f"{where}: it knows {size:,} tokens, and the matrix has {rows:,} rows"
    if size > rows:
        first = next(number for number in range(rows, size) if tokenizer.id_to_token(number) is not None)
        token = tokenizer.id_to_token(first)
        raise TextError(f"{told}: token {first}, {token!r}, has none; give this model's own tokenizer")
    if rows - size > max(SPARE_ROWS, SPARE_SHARE * rows):
        raise TextError(f"{told}; it belongs to another model")


def content_of(mark: Any) -> str | None:
    """Return the text of a special token, which settings give as text or as an object."""
    mark = mark.get("content") if isinstance(mark, dict) else mark
    return mark if isinstance(mark, str) else None


def token_at(tokenizer: Any, number: object) -> str | None:
    """Return the token with a number, ``None`` if there is none or what a configuration says is no token's number."""
    return tokenizer.id_to_token(number) if isinstance(number, int) and 0 <= number < 2**32 else None


def check_marks(tokenizer: Any, named: dict[str, str | None], config: dict[str, Any], where: Path) -> Iterator[str]:
    """Check that the special tokens stand where the configuration says; yield notes on those that stand elsewhere."""
    places = {each: tokenizer.token_to_id(name) for each, name in named.items() if name is not None}
    for each, place in places.items():
        if place is None and each != "pad":  # padding may be added later
            raise TextError(
                f"{where}: it lacks {named[each]}, the {each} token of its settings; one is of another model"
            )
    special = {*tokenizer.get_added_tokens_decoder(), *places.values()}
    for each in MARKS:
        value = config.get(f"{each}_token_id")
        numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]
        for number in numbers:
            if number >= 0 and number not in special:
                raise TextError(
                    f"{where}: token {number} is {token_at(tokenizer, number)!r}, and {CONFIG} says that it is "
                    f"the {each} token; it belongs to another model"
                )
        if numbers and each in places and places[each] not in numbers:
            yield f"{CONFIG} and the tokenizer's settings name different {each} tokens"


def special_numbers(
    tokenizer: Any, named: dict[str, str | None], config: dict[str, Any], folder: Path
) -> tuple[int, int]:
    """Return the numbers of the tokens that stand for unknown words and that end a document.

    A tokenizer that knows every byte needs no unknown token; the one that ends a document then stands for it, as
    GPT-2's own settings have it.
    """
    numbers = [tokenizer.token_to_id(named[each]) for each in ("eos", "sep") if named[each]]
    numbers += [config.get(key) for key in ("eos_token_id", "sep_token_id")]
    numbers += [tokenizer.token_to_id(name) for name in ENDS]
    end = next((number for number in numbers if token_at(tokenizer, number)), None)
    if end is None:
        raise TextError(f"{folder}: neither {TOKENIZER_CONFIG} nor {TOKENIZER} names a token that ends a text")
    names = (named["unk"], getattr(tokenizer.model, "unk_token", None))
    known = [tokenizer.token_to_id(name) for name in names if isinstance(name, str)]
    return next((number for number in known if number is not None), end), end


def check_rows(matrix: Tensor, tokenizer: Any, path: Path) -> list[str]:
    """Check the values of a matrix, and return notes on rows that are zero.

    Zero rows are right for padding and for numbers that no token has; among ordinary tokens a few may be.
    """
    parts = torch.split(matrix, max(1, AT_ONCE // matrix.shape[1]))
    largest = torch.cat([part.abs().amax(1) for part in parts])  # NaN and infinity come through
    broken, zero = (~largest.isfinite()).nonzero().flatten(), (largest == 0).nonzero().flatten()
    if len(broken):
        raise TextError(
            f"{path}: {len(broken):,} rows of the embedding hold NaN or infinity, first row {int(broken[0])}"
        )
    marks = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    ordinary = [row for row in zero.tolist() if row not in marks and tokenizer.id_to_token(row) is not None]
    if len(ordinary) > ZERO_SHARE * len(matrix):
        raise TextError(
            f"{path}: {len(ordinary):,} of {len(matrix):,} rows of the embedding are zero, first row {ordinary[0]}"
        )
    return [f"{len(zero):,} rows of the embedding are zero, first row {int(zero[0])}"] if len(zero) else []
