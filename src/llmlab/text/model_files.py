"""The files of a model folder: which of them are read, and which tensor of the weights is the input embedding.

The tensor goes by one of the few names that models give it; its shape is its own, and ``config.json`` may not
contradict it.  What cannot be used is refused by a ``TextError`` that names the file.
"""

import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from llmlab.errors import TextError
from llmlab.text.files import read_text
from llmlab.text.hub import MODELS, Source, hub_cache, located

TOKENIZER, TOKENIZER_CONFIG, CONFIG = "tokenizer.json", "tokenizer_config.json", "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
"""``owner/name@commit``; a branch would change under the study."""

CODE = {".bin", ".pt", ".pth", ".ckpt", ".h5"}
"""How the names of weights end that are never opened here."""

NAMES = ("wte", "word_embeddings", "tok_embeddings", "embed_in", "shared", "embed_tokens")
"""How models call their input embedding, likeliest first where several are there."""

TIED = "lm_head"
"""Where only the output layer is stored, because it is the same matrix."""


def model_on_hub(name: str) -> Source | None:
    """Return the model that a name means: one of ours, or ``owner/name@commit``; a path means none."""
    told = HUB_ID.fullmatch(name)
    return MODELS.get(name) or (Source(name, told[1], told[2]) if told else None)


def model_folder(model: Source, *, offline: bool, weights: bool, progress: bool) -> Path:
    """Return the folder with a model's tokenizer and, with ``weights``, its embedding, fetched if need be."""

    def get(hub: Any) -> None:
        file = partial(hub.hf_hub_download, model.repository, revision=model.commit, cache_dir=hub_cache())

        def has(name: str) -> bool:
            try:
                return bool(file(name))
            except hub.errors.EntryNotFoundError:
                return False

        file(TOKENIZER)
        has(TOKENIZER_CONFIG)
        if weights:
            file(CONFIG)
            if not has(WEIGHTS):
                file(INDEX)
                file(embedding_shard(model.cached))

    whole = partial(is_whole, weights=weights)
    return model.given or located(model, whole, get, offline=offline, progress=progress)


def is_whole(folder: Path, *, weights: bool = True) -> bool:
    """Return whether all that is needed of a model is in a folder."""
    if not all((folder / name).is_file() for name in ((TOKENIZER, CONFIG) if weights else (TOKENIZER,))):
        return False
    if not weights or (folder / WEIGHTS).is_file():
        return True
    try:
        return (folder / INDEX).is_file() and (folder / embedding_shard(folder)).is_file()
    except TextError:
        return True  # whoever reads it says what is wrong with it


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file that holds an object."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise TextError(f"{path}: it is not JSON") from error
    if not isinstance(found, dict):
        raise TextError(f"{path}: it holds no JSON object")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model's configuration; of one with pictures or sound, what it says of its text."""
    config = read_json(folder / CONFIG)
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def embedding_name(config: dict[str, Any], names: Iterable[str], path: Path) -> str:
    """Return the name of the input embedding among the names of a model's tensors."""
    names = sorted(names)
    tied = config.get("tie_word_embeddings", True)
    for ending in (*NAMES, TIED) if tied else NAMES:
        found = [name for name in names if re.fullmatch(rf"(.*\.)?{ending}\.weight", name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TextError(f"{path}: several tensors could be the input embedding: {listed(found)}")
    similar = [name for name in names if any(part in name for part in ("emb", "wte", "shared"))] or names
    raise TextError(
        f"{path}: no tensor is named as an input embedding is ({', '.join(NAMES)}); "
        f"there is {listed(similar) or 'none at all'}"
    )


def listed(names: list[str]) -> str:
    """Return the first few names of a list."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def embedding_shard(folder: Path) -> str:
    """Return which file holds the input embedding of a model whose weights lie in several."""
    index = folder / INDEX
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict):
        raise TextError(f"{index}: it has no weight_map")
    shard = files[embedding_name(read_config(folder), map(str, files), index)]
    if not isinstance(shard, str) or Path(shard).name != shard:
        raise TextError(f"{index}: {shard!r} is no name of a file beside it")
    return shard


def embedding_file(folder: Path) -> Path:
    """Return the file of a model folder that holds the input embedding."""
    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS
    if (folder / INDEX).exists():
        shard = folder / embedding_shard(folder)
        if not shard.exists():
            raise TextError(f"{shard}: it is missing, and {INDEX} says that the input embedding is in it")
        return shard
    if any(folder.glob("*-of-*.safetensors")):
        raise TextError(f"{folder}: {INDEX} is missing, which says in which file of the weights the embedding is")
    others = sorted(path.name for path in folder.iterdir() if path.suffix in CODE)
    told = f"; {others[0]} is a format that can hold code, convert it" if others else ""
    raise TextError(f"{folder}: a model folder has {WEIGHTS}; it is missing{told}")
