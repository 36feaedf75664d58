"""Small model folders as the hub has them: a real tokenizer, and a matrix in which a word and its plural are alike."""

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llmlab.text.pretrained import Pretrained, load_pretrained

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["".join(part) for part in product("bdgk", "aiou", "lmnr", "ei")]
WIDTH = 16
BERT = {"model_type": "bert", "hidden_size": WIDTH, "pad_token_id": 0}
BERT_SETTINGS = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
GPT = {"model_type": "gpt2", "n_embd": WIDTH, "bos_token_id": 0, "eos_token_id": 0}
GPT_SETTINGS = {"unk_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}}
Files = dict[str, bytes]
"""The files of a model by their names."""


def library(name: str) -> Any:
    """Return a library of the extra ``pretrained``; without it the test that asks is skipped."""
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[pretrained]'")


@cache
def bert_tokenizer() -> str:
    """Return a WordPiece tokenizer that knows made-up words and their plurals, as JSON; it cuts and pads."""
    tokenizers = library("tokenizers")
    listed = [*MARKS, *".,=-@<>0123456789", *WORDS, *(f"{word}s" for word in WORDS)]
    numbers = {word: number for number, word in enumerate(listed)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(numbers, unk_token=MARKS[1]))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(MARKS)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    return str(tokenizer.to_str())


@cache
def gpt_tokenizer() -> str:
    """Return a byte-level BPE tokenizer of the same words, as JSON."""
    tokenizers = library("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(f"{word} {word}s" for word in WORDS)] * 3, trainer)
    return str(tokenizer.to_str())


def matrix(tokenizer: str, seed: int = 0) -> Tensor:
    """Return a matrix whose rows of a word and its plural are alike: (V, 16)."""
    chance = torch.Generator().manual_seed(seed)
    numbers = library("tokenizers").Tokenizer.from_str(tokenizer).get_vocab()
    found = torch.randn(max(numbers.values()) + 1, WIDTH, generator=chance)
    for word, number in numbers.items():
        if word.removesuffix("s") != word and word.removesuffix("s") in numbers:
            found[number] = found[numbers[word.removesuffix("s")]] + 0.3 * found[number]
    return found


def model_files(kind: str = "bert", rows: Tensor | None = None, **changes: Any) -> Files:
    """Return the files of a model; ``changes`` are those of its configuration, ``None`` removes."""
    config, settings, tokenizer, name = {
        "bert": (BERT, BERT_SETTINGS, bert_tokenizer(), "embeddings.word_embeddings.weight"),
        "gpt2": (GPT, GPT_SETTINGS, gpt_tokenizer(), "transformer.wte.weight"),
    }[kind]
    rows = matrix(tokenizer) if rows is None else rows
    told = {**config, "vocab_size": len(rows), **changes}
    save = library("safetensors.torch").save
    others = {"encoder.weight": torch.ones(7, 3), "embeddings.position_embeddings.weight": torch.ones(5, WIDTH)}
    return {
        "config.json": json.dumps({key: value for key, value in told.items() if value is not None}).encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
        "tokenizer.json": tokenizer.encode(),
        "model.safetensors": save({name: rows.contiguous(), **others}, metadata={"format": "pt"}),
    }


def in_shards(files: Files) -> Files:
    """Return a BERT in two files of weights with an index; the first has nothing to do with embeddings."""
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    index = {"weight_map": {"head.weight": first, "embeddings.word_embeddings.weight": second}}
    rest = {path: content for path, content in files.items() if path != "model.safetensors"}
    head = library("safetensors.torch").save({"head.weight": torch.ones(3)})
    weights = {first: head, second: files["model.safetensors"]}
    return {**rest, **weights, "model.safetensors.index.json": json.dumps(index).encode()}


def write_files(folder: Path, files: Files) -> str:
    """Write files into a folder and return its path as it would be typed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def without(name: str) -> Files:
    """Return a model that lacks a file."""
    return {path: content for path, content in model_files().items() if path != name}


def loaded(folder: Path, files: Files, **options: Any) -> Pretrained:
    """Return what a folder with these files gives."""
    return load_pretrained(write_files(folder, files), **options)
