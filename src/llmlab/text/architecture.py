"""What a model's configuration says of its input embedding: which tensor it is, its shape, its kind of tokenizer.

Covers the architectures whose names are known, and one file of weights or several with an index.  Leaves out the
values: ``matrix``.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmlab.errors import TextError
from llmlab.text.files import decoded, read_bytes

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CODE = {".bin", ".pt", ".pth", ".ckpt", ".h5"}
"""How the names of weights end that are never opened here."""

PIECES, BYTES, WORDS, UNIGRAM = "pieces joined (BPE)", "bytes joined (byte-level BPE)", "WordPiece", "Unigram"
BERT_LIKE = ("embeddings.word_embeddings.weight",)
GPT_LIKE = ("wte.weight",)
LLAMA_LIKE = ("embed_tokens.weight",)
SHARED = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
Kinds = frozenset[str]
WORDPIECE, UNIGRAMS, BYTE_LEVEL, JOINED = (
    frozenset({WORDS, UNIGRAM, "WordLevel"}),  # multilingual BERTs have Unigram
    frozenset({UNIGRAM}),
    frozenset({BYTES}),
    frozenset({PIECES, BYTES, UNIGRAM}),
)

ARCHITECTURES: dict[str, tuple[tuple[str, ...], Kinds]] = {
    **dict.fromkeys(("bert", "distilbert", "electra", "mpnet", "mobilebert", "convbert"), (BERT_LIKE, WORDPIECE)),
    **dict.fromkeys(("roberta", "longformer"), (BERT_LIKE, BYTE_LEVEL)),
    **dict.fromkeys(("albert", "camembert", "xlm-roberta", "deberta-v2"), (BERT_LIKE, UNIGRAMS | JOINED)),
    "deberta": (BERT_LIKE, BYTE_LEVEL),
    "modernbert": (("embeddings.tok_embeddings.weight",), BYTE_LEVEL),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj"), (GPT_LIKE, BYTE_LEVEL)),
    **dict.fromkeys(("gpt_bigcode", "codegen", "mpt"), (GPT_LIKE, BYTE_LEVEL)),
    "gpt_neox": (("embed_in.weight",), BYTE_LEVEL),
    **dict.fromkeys(("bloom", "falcon"), (("word_embeddings.weight",), BYTE_LEVEL)),
    "opt": (("decoder.embed_tokens.weight",), BYTE_LEVEL),
    **dict.fromkeys(("llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text"), (LLAMA_LIKE, JOINED)),
    **dict.fromkeys(("phi", "phi3", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe"), (LLAMA_LIKE, JOINED)),
    **dict.fromkeys(("olmo", "olmo2", "smollm3", "stablelm", "starcoder2", "cohere"), (LLAMA_LIKE, JOINED)),
    **dict.fromkeys(("t5", "mt5"), (SHARED, UNIGRAMS)),
    "bart": (SHARED, BYTE_LEVEL),
}
"""By ``model_type``: how the name of the input embedding ends, likeliest first, and the kinds of tokenizer it has."""

WIDTHS = ("embedding_size", "word_embed_proj_dim", "hidden_size", "n_embd", "d_model", "dim")
"""What configurations call the embedding's width; the first that is there counts, for ALBERT has two."""


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file that holds an object.

    Raises:
        TextError: it cannot be read, or holds something else.
    """
    try:
        found = json.loads(decoded(read_bytes(path), path))
    except (ValueError, RecursionError) as error:
        raise TextError(f"{path}: it is not JSON") from error
    if not isinstance(found, dict):
        raise TextError(f"{path}: it holds no JSON object")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model's configuration; of one with pictures or sound, what it says of its text.

    Raises:
        TextError: it cannot be read.
    """
    config = read_json(folder / CONFIG)
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def architecture(config: dict[str, Any]) -> tuple[tuple[str, ...], Kinds | None]:
    """Return how the name of the input embedding may end, and the kinds of tokenizer; any, if it is not known."""
    known = ARCHITECTURES.get(str(config.get("model_type")))
    every = dict.fromkeys(ending for endings, _ in ARCHITECTURES.values() for ending in endings)
    return known or (tuple(every), None)


def embedding_name(config: dict[str, Any], names: Iterable[str], path: Path) -> str:
    """Return the name of the input embedding among the names of a model's tensors.

    Raises:
        TextError: none is it, or several could be.
    """
    names = sorted(names)
    endings, _ = architecture(config)
    kind = config.get("model_type", "no model_type")
    for ending in endings:
        found = [name for name in names if name == ending or name.endswith("." + ending)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TextError(f"{path}: several tensors could be the input embedding of {kind}: {listed(found)}")
    similar = [name for name in names if any(part in name for part in ("emb", "wte", "shared"))] or names
    raise TextError(
        f"{path}: no tensor is named as the input embedding of {kind} is ({' or '.join(endings)}); "
        f"there is {listed(similar) or 'none at all'}"
    )


def listed(names: list[str]) -> str:
    """Return the first few names of a list."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def embedding_shard(folder: Path) -> str:
    """Return which file holds the input embedding of a model whose weights lie in several.

    Raises:
        TextError: the index or the configuration cannot be used.
    """
    index = folder / INDEX
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict):
        raise TextError(f"{index}: it has no weight_map")
    shard = files[embedding_name(read_config(folder), map(str, files), index)]
    if not isinstance(shard, str) or Path(shard).name != shard:
        raise TextError(f"{index}: {shard!r} is no name of a file beside it")
    return shard


def embedding_file(folder: Path) -> Path:
    """Return the file of a model folder that holds the input embedding.

    Raises:
        TextError: there is none.
    """
    if (folder / WEIGHTS).exists():
        return folder / WEIGHTS
    if not (folder / INDEX).exists():
        others = sorted(
            path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".h5"}
        )
        told = f"; {others[0]} is a format that can hold code, convert it" if others else ""
        raise TextError(f"{folder}: a model folder has {WEIGHTS}; it is missing{told}")
    shard = folder / embedding_shard(folder)
    if not shard.exists():
        raise TextError(f"{shard}: it is missing, and {INDEX} says that the input embedding is in it")
    return shard
