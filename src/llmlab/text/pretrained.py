"""A pretrained embedding and its tokenizer: one matrix of somebody's model, and what its rows stand for.

``load_pretrained`` takes ``gpt2``, a model on the hub as ``owner/name@commit``, or a model folder with
``config.json``, ``tokenizer.json`` and ``model.safetensors``.  The rest of the model is never read.  Leaves out text
as token numbers: ``streams``.
"""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from llmlab.errors import TextError, UnreachableError
from llmlab.text.architecture import CONFIG, embedding_file, read_config, read_json
from llmlab.text.belonging import check_kind, check_marks, check_size, check_twins, mark, token_at
from llmlab.text.files import read_bytes
from llmlab.text.hub import MODELS, TOKENIZER, TOKENIZER_CONFIG, Model, locate, model_on_hub
from llmlab.text.matrix import library, read_matrix, row_faults

ENDS = ("</s>", "[SEP]", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|im_end|>")
"""Marks that end a text, where neither file of the tokenizer's settings names one."""

ZERO_SHARE = 0.01
"""The largest share of ordinary tokens whose row may be zero."""


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
    unknown: int | None
    end: int
    notes: list[str]


def load_pretrained(name: str, *, offline: bool = False, weights: bool = True, progress: bool = False) -> Pretrained:
    """Return a pretrained embedding and its tokenizer by a name, a hub id or a folder.

    ``offline`` forbids the network; the variable ``HF_HUB_OFFLINE`` does so too.

    Raises:
        TextError: a file cannot be used, or the tokenizer does not belong to the matrix.
        UnreachableError: the model is neither here nor to be fetched, or a library is missing.
        WriteError: what was fetched could not be written.
    """
    model = model_on_hub(name)
    try:
        folder = Path(name) if model is None else locate(model, offline=offline, weights=weights, progress=progress)
        if model is None and (not name or not is_folder(folder)):
            raise missing(name)
        found = read_folder(folder, weights)
    except TextError as error:
        raise TextError(f"--pretrained {error}") from error
    if model is None:
        return found
    check_whole(model, found, folder)
    return replace(found, name=model.name, notes=[f"{model.repository} at {model.revision[:12]}", *found.notes])


def missing(name: str) -> TextError | UnreachableError:
    """Return the failure of a name that is neither a folder nor a model whose revision is known."""
    ways = f"give a model folder, {', '.join(MODELS)}, or owner/name@ and the 40 digits of a commit"
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@.*)?", name) and not Path(name).exists():
        return UnreachableError(f"--pretrained {name}: no such folder, and no commit of a model on the hub; {ways}")
    return TextError(f"{name!r}: there is no such folder; {ways}")


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; a name that no disk could hold is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def check_whole(model: Model, found: Pretrained, folder: Path) -> None:
    """Check that a model of ours has the shape that it is known to have.

    Raises:
        UnreachableError: it has not.
    """
    matrix = found.embedding
    if model.shape is not None and matrix is not None and tuple(matrix.shape) != model.shape:
        raise UnreachableError(
            f"--pretrained {model.name}: the embedding in {folder} is {tuple(matrix.shape)} instead of {model.shape}; "
            f"replace that folder, or delete it and run 'llmlab data fetch {model.name}'"
        )


def read_folder(folder: Path, weights: bool) -> Pretrained:
    """Return what a model folder holds.

    Raises:
        TextError: it cannot be used.
    """
    tokenizer, content = read_tokenizer(folder)
    settings = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).exists() else {}
    running = hashlib.sha256(content)
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if not weights:
        end, unknown, notes = special_numbers(tokenizer, settings, {}, folder)
        return Pretrained(called(folder), tokenizer, None, size, running.hexdigest(), unknown, end, notes)
    if not os.path.lexists(folder / CONFIG):
        raise TextError(
            f"{folder}: a tokenizer, but no {CONFIG}, so no embedding to read; "
            "llmlab two-stage --vectors random needs none"
        )
    config, path, where = read_config(folder), embedding_file(folder), folder / TOKENIZER
    check_kind(tokenizer, config, where)
    matrix, stored = read_matrix(path, config)
    check_size(size, config, where)
    running.update(stored.encode())
    end, unknown, notes = special_numbers(tokenizer, settings, config, folder)
    notes = [
        f"matrix of {matrix.shape[0]:,} rows and {matrix.shape[1]:,} columns, tokenizer of {size:,} tokens",
        *notes,
        *check_marks(tokenizer, settings, config, where),
        *check_rows(matrix, tokenizer, path),
        check_twins(tokenizer, matrix, where),
    ]
    return Pretrained(called(folder), tokenizer, matrix, len(matrix), running.hexdigest(), unknown, end, notes)


def called(folder: Path) -> str:
    """Return the last name of a folder, however it was given."""
    return folder.resolve().name


def read_tokenizer(folder: Path) -> tuple[Any, bytes]:
    """Return the tokenizer of a folder and its file's content; it neither cuts nor pads what it encodes.

    Raises:
        TextError: it is missing or broken.
        UnreachableError: the tokenizers library is missing.
    """
    path = folder / TOKENIZER
    if not path.exists():
        raise TextError(f"{folder}: a model folder has {TOKENIZER}; it is missing")
    content = read_bytes(path)
    tokenizers = library("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # the library knows no failure of its own
        told = " ".join(str(error).split())[:160]
        raise TextError(f"{path}: no tokenizer that can be read ({told})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a mark that happens to stand in a text is text
    return tokenizer, content


def special_numbers(
    tokenizer: Any, settings: dict[str, Any], config: dict[str, Any], folder: Path
) -> tuple[int, int, list[str]]:
    """Return the numbers of the tokens that end a document and that stand for unknown words, and notes on them.

    A tokenizer that knows every byte needs no unknown token; the one that ends a document then stands for it, as
    GPT-2's own settings have it.

    Raises:
        TextError: no token ends a document.
    """
    ends = [mark(settings.get(key)) for key in ("eos_token", "sep_token")]
    known = [tokenizer.token_to_id(name) for name in ends if name]
    known += [config.get(key) for key in ("eos_token_id", "sep_token_id")]
    known += [tokenizer.token_to_id(name) for name in ENDS]
    end = next((number for number in known if token_at(tokenizer, number)), None)
    if end is None:
        raise TextError(f"{folder}: neither {TOKENIZER_CONFIG} nor {TOKENIZER} names a token that ends a text")
    names = (mark(settings.get("unk_token")), getattr(tokenizer.model, "unk_token", None))
    numbers = [tokenizer.token_to_id(name) for name in names if isinstance(name, str)]
    unknown = next((number for number in numbers if number is not None), end)
    note = f"{tokenizer.id_to_token(end)} ends a document, {tokenizer.id_to_token(unknown)} stands for an unknown word"
    return end, unknown, [note]


def check_rows(matrix: Tensor, tokenizer: Any, path: Path) -> list[str]:
    """Check the values of a matrix, and return notes on rows that are zero.

    Zero rows are right for padding and for numbers that no token has; among ordinary tokens a few may be.

    Raises:
        TextError: a row is not finite, or too many are zero.
    """
    broken, zero = row_faults(matrix)
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
