"""Model folders that cannot be used, or whose tokenizer is another's: each is refused in a line that says why."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmlab.errors import LlmlabError, TextError
from llmlab.text.pretrained import load_pretrained
from stand_in_model import (
    WIDTH,
    Files,
    bert_tokenizer,
    gpt_tokenizer,
    in_shards,
    loaded,
    matrix,
    model_files,
    without,
    write_files,
)

pytestmark = pytest.mark.usefixtures("no_model_here")


def with_rows(change: Callable[[torch.Tensor], Any]) -> Files:
    """Return a model whose matrix was changed in place, or replaced."""
    rows = matrix(bert_tokenizer())
    found = change(rows)
    return model_files(rows=found if isinstance(found, torch.Tensor) else rows)


def nan_at(row: int, value: float) -> Callable[[torch.Tensor], None]:
    """Return what puts a number into a row."""
    return lambda rows: rows[row].__setitem__(2, value)


ROWS = len(matrix(bert_tokenizer()))
BAD: dict[str, tuple[Callable[[], Files], str]] = {
    "NaN": (lambda: with_rows(nan_at(7, float("nan"))), r"model.safetensors: 1 rows .* NaN or infinity, first row 7"),
    "infinity": (lambda: with_rows(nan_at(9, float("-inf"))), r"1 rows .* first row 9"),
    "fp16 overflow": (lambda: with_rows(lambda rows: (rows * 1e5).half()), r"NaN or infinity"),
    "zero rows": (
        lambda: with_rows(lambda rows: rows[20:60].zero_().sum().item()),
        r"40 of \d+ rows .* zero, first row 20",
    ),
    "all zero": (lambda: with_rows(lambda rows: rows.zero_()), r"rows of the embedding are zero, first row 5"),
    "no rows": (lambda: model_files(rows=torch.zeros(0, WIDTH)), r"a matrix with rows; this has the shape \(0, 16\)"),
    "a vector": (lambda: model_files(rows=torch.ones(9)), r"a matrix with rows; this has the shape \(9,\)"),
    "another height": (lambda: model_files(vocab_size=ROWS + 1), f"{ROWS} rows, and config.json says {ROWS + 1}"),
    "a height that is a word": (lambda: model_files(vocab_size="16"), "config.json says '16'"),
    "whole numbers": (lambda: with_rows(lambda rows: rows.to(torch.int8)), "stored as I8; F16, BF16, F32 can be read"),
    "fp64": (lambda: with_rows(lambda rows: rows.double()), "stored as F64"),
    "no weights": (lambda: without("model.safetensors"), "a model folder has model.safetensors; it is missing$"),
    "pickled weights": (lambda: {**without("model.safetensors"), "pytorch_model.bin": b"x"}, "can hold code"),
    "no tokenizer": (lambda: without("tokenizer.json"), "a model folder has tokenizer.json; it is missing"),
    "no configuration": (
        lambda: without("config.json"),
        r"no config\.json, so no embedding to read; .*random needs none",
    ),
    "empty tokenizer": (lambda: {**model_files(), "tokenizer.json": b""}, "the file is empty"),
    "cut tokenizer": (lambda: {**model_files(), "tokenizer.json": bert_tokenizer().encode()[:-9]}, "no tokenizer that"),
    "another JSON": (lambda: {**model_files(), "tokenizer.json": b"{}"}, "no tokenizer that can be read"),
    "a list": (lambda: {**model_files(), "config.json": b"[1]"}, "holds no JSON object"),
    "deep": (lambda: {**model_files(), "config.json": b"[" * 100_000}, "not JSON"),
    "more tokens than rows": (
        lambda: with_rows(lambda rows: rows[:-3]),
        rf"knows {ROWS} tokens, and the matrix has {ROWS - 3} rows: token {ROWS - 3}, '\w+', has none",
    ),
    "far fewer tokens": (
        lambda: with_rows(lambda rows: torch.cat([rows, torch.randn(200, WIDTH)])),
        f"knows {ROWS} tokens, and the matrix has {ROWS + 200}",
    ),
    "another kind": (
        lambda: {**model_files(), "tokenizer.json": gpt_tokenizer().encode()},
        r"lacks \[UNK\]|knows \d+ tokens, and the matrix has",
    ),
    "padding elsewhere": (lambda: model_files(pad_token_id=30), r"token 30 is '\w+', and config.json .* the pad token"),
    "padding nowhere": (lambda: model_files(pad_token_id=9_999), "token 9999 is None"),
    "an end among words": (lambda: model_files(eos_token_id=[3, 40]), "token 40 .* the eos token"),
    "settings of another": (
        lambda: {**model_files(), "tokenizer_config.json": b'{"unk_token": "<unk>"}'},
        "lacks <unk>, the unk token",
    ),
    "an index that leaves": (
        lambda: {
            **without("model.safetensors"),
            "model.safetensors.index.json": b'{"weight_map": {"embeddings.word_embeddings.weight": "../x"}}',
        },
        "no name of a file beside it",
    ),
    "an index of nothing": (
        lambda: {**without("model.safetensors"), "model.safetensors.index.json": b"{}"},
        "weight_map",
    ),
    "an index that is missing": (
        lambda: {k: v for k, v in in_shards(model_files()).items() if not k.endswith("index.json")},
        "model.safetensors.index.json is missing",
    ),
    "a shard that is missing": (
        lambda: {k: v for k, v in in_shards(model_files()).items() if "00002-of" not in k},
        "00002-of-00002.safetensors: it is missing",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_refused_in_a_line(tmp_path: Path, what: str) -> None:
    """Each with the file, what is wrong, and exit 3."""
    files, told = BAD[what]
    with pytest.raises(TextError, match=told) as caught:
        loaded(tmp_path / "model", files())
    assert str(caught.value).startswith(f"--pretrained {tmp_path}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_few_zero_rows_are_told_of_and_marks_may_be_zero(tmp_path: Path) -> None:
    """Padding is zero in many models; two ordinary tokens may be; what no token stands for may be anything."""
    rows = torch.cat([matrix(bert_tokenizer()), torch.zeros(100, WIDTH)])
    rows[:5], rows[30] = 0, 0
    found = loaded(tmp_path / "model", model_files(rows=rows))
    assert "106 rows of the embedding are zero, first row 0" in found.notes
    assert found.vocabulary == ROWS + 100


@settings(max_examples=40)
@given(st.data())
def test_a_file_that_is_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut anywhere, weights are never half read."""
    files = model_files()
    content = files["model.safetensors"]
    files["model.safetensors"] = content[: data.draw(st.integers(0, len(content) - 1))]
    with pytest.raises(TextError, match="no whole safetensors file"):
        loaded(tmp_path_factory.mktemp("cut"), files)


@settings(max_examples=60)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: len(rest).to_bytes(8, "little") + rest))
def test_any_bytes_for_weights_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Other files in the place of weights end in a line, never in a crash."""
    with pytest.raises(TextError):
        loaded(tmp_path_factory.mktemp("bytes"), {**model_files(), "model.safetensors": content})


@pytest.mark.parametrize("what", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_something_else_in_the_place_of_a_file_is_refused(tmp_path: Path, what: str, kind: str) -> None:
    """A folder, a pipe that nobody writes to, or a loop of links neither hangs nor crashes."""
    folder = write_files(tmp_path / "model", model_files())
    path = tmp_path / "model" / what
    path.unlink()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path.name)}[kind]()
    if (what, kind) == ("tokenizer_config.json", "loop"):
        return  # it counts as missing, and a model may lack it
    with pytest.raises(TextError):
        load_pretrained(folder)


@pytest.mark.parametrize(
    "name", ["", "nowhere", "no/such/place", "\0", "x" * 5_000, "gpt3", ".", "file", "~"], ids=ascii
)
def test_a_name_that_means_nothing_is_refused(tmp_path: Path, name: str) -> None:
    """Neither a folder nor a model: one line with the ways out."""
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(TextError) as caught:
        load_pretrained(name)
    assert "model folder" in str(caught.value)


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from(["vocab_size", "hidden_size", "model_type", "pad_token_id", "eos_token_id", "text_config"]),
        st.none()
        | st.booleans()
        | st.integers(-5, 300)
        | st.text(max_size=5)
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    )
)
@example({"eos_token_id": 2**64})
def test_any_configuration_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    """Strange values in ``config.json`` end in a line, never in a crash."""
    folder = tmp_path_factory.mktemp("config")
    with suppress(LlmlabError):
        assert loaded(folder, model_files(**changes)).vocabulary == ROWS
