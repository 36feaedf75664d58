"""Pretrained embeddings: the right tensor with the right tokenizer, in every precision, read alone."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import environment
from llmlab.errors import LlmlabError, TextError
from llmlab.text.model_files import embedding_name
from llmlab.text.pretrained import load_pretrained
from stand_in_model import (
    WIDTH,
    WORDS,
    Files,
    bert_tokenizer,
    gpt_tokenizer,
    in_shards,
    library,
    loaded,
    matrix,
    model_files,
    without,
    write_files,
)

save = library("safetensors.torch").save
FILES, MATRIX = model_files(), matrix(bert_tokenizer())
GIVEN = os.environ.get("LLMLAB_DATA", "")
pytestmark = pytest.mark.usefixtures("no_model_here")


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_the_embedding_is_read_in_every_precision(tmp_path: Path, kind: str, stored: torch.dtype) -> None:
    """What is stored comes back as fp32."""
    rows = matrix(bert_tokenizer() if kind == "bert" else gpt_tokenizer())
    found = loaded(tmp_path / "a", model_files(kind, rows.to(stored)))
    assert found.embedding is not None
    assert found.embedding.dtype == torch.float32
    assert torch.equal(found.embedding, rows.to(stored).float())
    assert (found.name, found.vocabulary) == ("a", len(rows)) == ("a", found.tokenizer.get_vocab_size())


def test_the_digest_is_that_of_the_matrix_and_the_tokenizer(tmp_path: Path) -> None:
    """Neither the folder's name nor the rest of the model changes it; one number of the matrix does."""
    rest = {"embeddings.word_embeddings.weight": MATRIX, "pooler.weight": torch.zeros(9, 9)}
    spaced = json.dumps(json.loads(FILES["tokenizer.json"]), indent=1).encode()
    alike = [FILES, FILES | {"model.safetensors": save(rest)}, in_shards(FILES)]
    others = [changed(3, 1.0), model_files(rows=MATRIX.half()), FILES | {"tokenizer.json": spaced}]
    digests = [loaded(tmp_path / str(number), files).digest for number, files in enumerate(alike + others)]
    assert len({*digests[:3]}) == 1
    assert len({*digests}) == 4


MEMORY = """
import resource, sys
from llmlab.text.pretrained import load_pretrained
import tokenizers, safetensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
load_pretrained(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_rest_of_the_model_is_never_read(tmp_path: Path) -> None:
    content = FILES["model.safetensors"]
    start = 8 + int.from_bytes(content[:8], "little")
    head, size = json.loads(content[8:start]), 8_000_000_000
    end = len(content) - start
    head["decoder.weight"] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
    told = json.dumps(head).encode()
    write_files(tmp_path / "large", FILES)
    with (tmp_path / "large/model.safetensors").open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told + content[start:])
        file.truncate(8 + len(told) + end + size)  # a hole, which takes no room on the disk
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "large")]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000, done.stdout


NAMED = [
    *("embeddings.word_embeddings.weight", "bert.embeddings.word_embeddings.weight", "wte.weight"),
    *("transformer.wte.weight", "gpt_neox.embed_in.weight", "model.embed_tokens.weight"),
    *("language_model.model.embed_tokens.weight", "model.decoder.embed_tokens.weight", "shared.weight"),
    *("encoder.embed_tokens.weight", "model.shared.weight", "transformer.word_embeddings.weight"),
    "model.embeddings.tok_embeddings.weight",
]


@pytest.mark.parametrize("name", [*NAMED, "lm_head.weight"])
def test_the_input_embedding_is_found_by_its_name(name: str) -> None:
    others = ["embeddings.position_embeddings.weight", "wpe.weight", "embeddings.LayerNorm.weight", "lm_head.bias"]
    others += ["xwte.weight", "embeddings.token_type_embeddings.weight", "lm_head.weight"]
    assert embedding_name({}, {*others, name}, Path("x")) == name
    if name == "lm_head.weight":
        with pytest.raises(TextError, match="no tensor is named"):
            embedding_name({"tie_word_embeddings": False}, others, Path("x"))


@given(st.lists(st.text("abc.wte_gh", max_size=12)))
def test_any_names_of_tensors_give_one_or_a_refusal(names: list[str]) -> None:
    with suppress(TextError):
        assert embedding_name({}, names, Path("x")) in names


@pytest.mark.parametrize("changes", [{}, {"n_embed": 16}])
def test_the_width_is_the_tensors_own(tmp_path: Path, changes: dict[str, int]) -> None:
    """A configuration may be silent about it, or spell it in its own way."""
    found = loaded(tmp_path / "a", model_files(vocab_size=None, hidden_size=None, **changes))
    assert found.embedding is not None
    assert found.embedding.shape[1] == 16


def test_the_tokenizer_alone_needs_no_weights_but_an_end(tmp_path: Path) -> None:
    """A folder with nothing but a tokenizer gives its numbers; documents must end with a token."""
    found = loaded(tmp_path / "only", {"tokenizer.json": gpt_tokenizer().encode()}, weights=False)
    assert found.embedding is None
    assert (found.vocabulary, found.unknown, found.end) == (found.tokenizer.get_vocab_size(), 0, 0)
    text = bert_tokenizer().replace("[SEP]", "[ODD]")
    with pytest.raises(TextError, match="names a token that ends a text"):
        loaded(tmp_path / "endless", {"tokenizer.json": text.encode()}, weights=False)


def test_documents_end_and_a_text_obeys_no_mark_in_it(tmp_path: Path) -> None:
    """BERT has a token for the end and one for the unknown; a tokenizer that knows every byte has one for both.

    The file's own truncation and padding are switched off, and a mark in a text is letters.
    """
    bert, gpt = loaded(tmp_path / "a", model_files()), loaded(tmp_path / "b", model_files("gpt2"))
    assert (bert.unknown, bert.end, gpt.unknown, gpt.end) == (1, 3, 0, 0)
    assert "[SEP] ends a document, [UNK] stands for an unknown word" in bert.notes
    encoded = bert.tokenizer.encode(" ".join(WORDS), add_special_tokens=False).ids
    assert encoded == [bert.tokenizer.token_to_id(word) for word in WORDS]
    for model, text in ((bert, "bale [SEP] bali"), (gpt, "bale<|endoftext|>bali")):
        assert model.end not in model.tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.skipif(
    not GIVEN or not all((Path(GIVEN) / name).is_dir() for name in ("minilm-embeddings", "gpt2-tokenizer")),
    reason="LLMLAB_DATA lacks MiniLM or GPT-2's tokenizer",
)
def test_minilm_is_read_and_its_tokenizer_belongs() -> None:
    """The real matrix has 30,522 rows of 384 numbers."""
    found = load_pretrained(str(Path(GIVEN) / "minilm-embeddings"))
    assert found.embedding is not None
    assert found.embedding.shape == (30_522, 384)
    assert (found.unknown, found.end) == (100, 102)
    tokens = found.tokenizer.encode("A dog's life.", add_special_tokens=False).tokens
    assert tokens == ["a", "dog", "'", "s", "life", "."]
    assert load_pretrained(str(Path(GIVEN) / "gpt2-tokenizer"), weights=False).vocabulary == 50_257


# ---- what cannot be used --------------------------------------------------------------------------------------------


ROWS, WEIGHTS, INDEX = len(MATRIX), "model.safetensors", "model.safetensors.index.json"


def changed(rows: int | slice, value: float) -> Files:
    """Return a model with another number in every place of some rows."""
    found = MATRIX.clone()
    found[rows] = value
    return model_files(rows=found)


TOWERS = {f"{side}.word_embeddings.weight": torch.ones(9, WIDTH) for side in ("query", "document")}
ELSEWHERE = b'{"weight_map": {"embeddings.word_embeddings.weight": "../x"}}'
SHARDS = in_shards(FILES)
BAD: dict[str, tuple[Files, str]] = {
    "NaN": (changed(7, float("nan")), r"model.safetensors: 1 rows .* NaN or infinity, first row 7"),
    "infinity": (changed(9, float("-inf")), r"1 rows .* first row 9"),
    "fp16 overflow": (model_files(rows=(MATRIX * 1e5).half()), r"NaN or infinity"),
    "zero rows": (changed(slice(20, 60), 0), r"40 of \d+ .* first row 20"),
    "all zero": (changed(slice(None), 0), r"rows of the embedding are zero, first row 5"),
    "no rows": (model_files(rows=torch.zeros(0, WIDTH)), r"a matrix with rows; this has the shape \(0, 16\)"),
    "a vector": (model_files(rows=torch.ones(9)), r"a matrix with rows; this has the shape \(9,\)"),
    "another height": (model_files(vocab_size=ROWS + 1), f"{ROWS} rows, and config.json says {ROWS + 1}"),
    "a height that is a word": (model_files(vocab_size="16"), "config.json says '16'"),
    "whole numbers": (model_files(rows=MATRIX.to(torch.int8)), "stored as I8; F16, BF16, F32 can be read"),
    "fp64": (model_files(rows=MATRIX.double()), "stored as F64"),
    "two towers": (FILES | {WEIGHTS: save(TOWERS)}, r"several .*: document\.word\S+ query\.word"),
    "no embedding": (FILES | {WEIGHTS: save({"my_emb": torch.ones(1), "x": torch.ones(1)})}, r"there is my_emb$"),
    "no tensor": (FILES | {WEIGHTS: save({})}, "none at all"),
    "no weights": (without(WEIGHTS), "a model folder has model.safetensors; it is missing$"),
    "pickled weights": (without(WEIGHTS) | {"pytorch_model.bin": b"x"}, "can hold code"),
    "no tokenizer": (without("tokenizer.json"), "a model folder has tokenizer.json; it is missing"),
    "no configuration": (without("config.json"), r"no config\.json, so no embedding .*random needs none"),
    "empty tokenizer": (FILES | {"tokenizer.json": b""}, "the file is empty"),
    "cut tokenizer": (FILES | {"tokenizer.json": bert_tokenizer().encode()[:-9]}, "no tokenizer that can be read"),
    "another JSON": (FILES | {"tokenizer.json": b"{}"}, "no tokenizer that can be read"),
    "a list": (FILES | {"config.json": b"[1]"}, "holds no JSON object"),
    "deep": (FILES | {"config.json": b"[" * 100_000}, "not JSON"),
    "more tokens than rows": (
        model_files(rows=MATRIX[:-3]),
        rf"knows {ROWS} tokens, and the matrix has {ROWS - 3} rows: token {ROWS - 3}, '\w+', has none",
    ),
    "far fewer tokens": (
        model_files(rows=torch.cat([MATRIX, torch.randn(200, WIDTH)])),
        f"knows {ROWS} tokens, and the matrix has {ROWS + 200}",
    ),
    "another kind": (FILES | {"tokenizer.json": gpt_tokenizer().encode()}, r"lacks \[UNK\]|knows \d+ tokens, and"),
    "padding elsewhere": (model_files(pad_token_id=30), r"token 30 is '\w+', and config.json .* the pad token"),
    "padding nowhere": (model_files(pad_token_id=9_999), "token 9999 is None"),
    "an end among words": (model_files(eos_token_id=[3, 40]), "token 40 .* the eos token"),
    "settings of another": (FILES | {"tokenizer_config.json": b'{"unk_token": "<unk>"}'}, "lacks <unk>, the unk"),
    "an index that leaves": (without(WEIGHTS) | {INDEX: ELSEWHERE}, "no name of a file beside it"),
    "an index of nothing": (without(WEIGHTS) | {INDEX: b"{}"}, "weight_map"),
    "an index that is missing": (
        {name: content for name, content in SHARDS.items() if name != INDEX},
        "model.safetensors.index.json is missing",
    ),
    "a shard that is missing": (
        {name: content for name, content in SHARDS.items() if "00002-of" not in name},
        "00002-of-00002.safetensors: it is missing",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_refused_in_a_line(tmp_path: Path, what: str) -> None:
    """Each with the file and what is wrong."""
    files, told = BAD[what]
    with pytest.raises(TextError, match=told) as caught:
        loaded(tmp_path / "model", files)
    assert str(caught.value).startswith(f"--pretrained {tmp_path}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_few_zero_rows_are_told_of_and_marks_may_be_zero(tmp_path: Path) -> None:
    """Padding is zero in many models; two ordinary tokens may be; what no token stands for may be anything."""
    rows = torch.cat([MATRIX, torch.zeros(100, WIDTH)])
    rows[:5], rows[30] = 0, 0
    found = loaded(tmp_path / "model", model_files(rows=rows))
    assert "106 rows of the embedding are zero, first row 0" in found.notes
    assert found.vocabulary == ROWS + 100


headed = st.binary(max_size=40).map(lambda rest: len(rest).to_bytes(8, "little") + rest)


@settings(max_examples=80)
@given(
    st.binary(max_size=40)
    | headed
    | st.integers(0, len(FILES[WEIGHTS]) - 1).map(lambda length: FILES[WEIGHTS][:length])
)
def test_a_file_that_is_cut_and_any_bytes_for_weights_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    with pytest.raises(TextError, match=r"no whole safetensors file|no tensor is named"):
        loaded(tmp_path_factory.mktemp("bytes"), FILES | {WEIGHTS: content})


@pytest.mark.parametrize("what", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_something_else_in_the_place_of_a_file_is_refused(tmp_path: Path, what: str, kind: str) -> None:
    """A folder, a pipe that nobody writes to, or a loop of links neither hangs nor crashes."""
    folder = write_files(tmp_path / "model", FILES)
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
    folder = tmp_path_factory.mktemp("config")
    with suppress(LlmlabError):
        assert loaded(folder, model_files(**changes)).vocabulary == ROWS
