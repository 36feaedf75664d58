"""Pretrained embeddings: the right tensor with the right tokenizer, read alone; everything else refused in a line."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tokenizers import Tokenizer

from conftest import environment
from llmlab.errors import LlmlabError, TextError, UnreachableError, WriteError
from llmlab.text import hub, named
from llmlab.text.architecture import ARCHITECTURES, embedding_name
from llmlab.text.holdings import model_holding
from llmlab.text.pretrained import Pretrained, load_pretrained
from stand_in_hub import serving
from stand_in_model import WIDTH, WORDS, bert_tokenizer, gpt_tokenizer, in_shards, matrix, model_files, write_files

GIVEN = os.environ.get("LLMLAB_DATA", "")
REVISION = "0123456789abcdef" * 2 + "01234567"
SMALL = hub.Model("small", "nobody/small", REVISION, 1)
VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "LLMLAB_DATA")
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in an empty folder with an empty cache, and one small model more has a name."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(hub.MODELS, "small", SMALL)


def loaded(folder: Path, files: Files, **options: Any) -> Pretrained:
    """Return what a folder with these files gives."""
    return load_pretrained(write_files(folder, files), **options)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_the_embedding_is_read_in_every_precision(tmp_path: Path, kind: str, stored: torch.dtype) -> None:
    """What is stored comes back as fp32, and the digest tells the precisions apart."""
    rows = matrix(bert_tokenizer() if kind == "bert" else gpt_tokenizer())
    found = loaded(tmp_path / "a", model_files(kind, rows.to(stored)))
    assert found.embedding is not None
    assert found.embedding.dtype == torch.float32
    assert torch.equal(found.embedding, rows.to(stored).float())
    assert (found.name, found.vocabulary, found.vocabulary) == ("a", len(rows), found.tokenizer.get_vocab_size())
    other = loaded(tmp_path / "b", model_files(kind, rows.to(stored) * 2))
    assert other.digest != found.digest


def test_the_digest_is_that_of_the_matrix_and_the_tokenizer(tmp_path: Path) -> None:
    """Neither the folder's name nor the rest of the model changes it; one number of the matrix does."""
    files, rows = model_files(), matrix(bert_tokenizer())
    digest = loaded(tmp_path / "a", files).digest
    rest = {"embeddings.word_embeddings.weight": rows, "pooler.weight": torch.zeros(9, 9)}
    assert loaded(tmp_path / "b", {**files, "model.safetensors": save(rest)}).digest == digest
    assert loaded(tmp_path / "c", in_shards(files)).digest == digest
    rows[3, 3] += 1
    assert loaded(tmp_path / "d", model_files(rows=rows)).digest != digest
    spaced = json.dumps(json.loads(files["tokenizer.json"]), indent=1).encode()
    assert loaded(tmp_path / "e", {**files, "tokenizer.json": spaced}).digest != digest


MEMORY = """
import resource, sys
from llmlab.text.pretrained import load_pretrained
import tokenizers, safetensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
load_pretrained(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_rest_of_the_model_is_never_read(tmp_path: Path) -> None:
    """A model with 8 GB of other tensors costs memory for its embedding only."""
    files = model_files()
    content = files["model.safetensors"]
    start = 8 + int.from_bytes(content[:8], "little")
    head, size = json.loads(content[8:start]), 8_000_000_000
    end = len(content) - start
    head["decoder.weight"] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
    told = json.dumps(head).encode()
    write_files(tmp_path / "large", files)
    with (tmp_path / "large/model.safetensors").open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told + content[start:])
        file.truncate(8 + len(told) + end + size)  # a hole, which takes no room on the disk
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "large")]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000, done.stdout


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("bert", "bert.embeddings.word_embeddings.weight"),
        ("roberta", "roberta.embeddings.word_embeddings.weight"),
        ("distilbert", "distilbert.embeddings.word_embeddings.weight"),
        ("albert", "albert.embeddings.word_embeddings.weight"),
        ("gpt2", "wte.weight"),
        ("gpt2", "transformer.wte.weight"),
        ("gpt_neox", "gpt_neox.embed_in.weight"),
        ("llama", "model.embed_tokens.weight"),
        ("qwen3", "model.embed_tokens.weight"),
        ("gemma3", "language_model.model.embed_tokens.weight"),
        ("opt", "model.decoder.embed_tokens.weight"),
        ("t5", "shared.weight"),
        ("t5", "encoder.embed_tokens.weight"),
        ("bart", "model.shared.weight"),
        ("bloom", "transformer.word_embeddings.weight"),
        ("modernbert", "model.embeddings.tok_embeddings.weight"),
        ("something-new", "model.embed_tokens.weight"),
        (None, "wte.weight"),
    ],
)
def test_the_input_embedding_is_found_by_its_name(kind: str | None, name: str) -> None:
    """Under every architecture's own name, with any prefix, among positions, types, norms and a head."""
    others = ["embeddings.position_embeddings.weight", "wpe.weight", "lm_head.weight", "embeddings.LayerNorm.weight"]
    others += ["xwte.weight", "embeddings.token_type_embeddings.weight"]
    assert embedding_name({"model_type": kind}, [*others, name], Path("x")) == name


@given(st.lists(st.text("abc.wte_gh", max_size=12)), st.sampled_from([*ARCHITECTURES, None]))
def test_any_names_of_tensors_give_one_or_a_refusal(names: list[str], kind: str | None) -> None:
    """Whatever tensors are called, one of them is chosen or the failure is one line."""
    with suppress(TextError):
        assert embedding_name({"model_type": kind}, names, Path("x")) in names


def test_several_candidates_are_listed(tmp_path: Path) -> None:
    """Two towers with a word embedding each, or none: the tensors that are there are named."""
    rows = matrix(bert_tokenizer())
    two = {f"{side}.embeddings.word_embeddings.weight": rows.clone() for side in ("query", "document")}
    with pytest.raises(TextError, match=r"several .* bert: document\.embeddings\S+ query\.embeddings"):
        loaded(tmp_path / "a", {**model_files(), "model.safetensors": save(two)})
    with pytest.raises(TextError, match=r"there is my_embedding$"):
        loaded(tmp_path / "b", {**model_files(), "model.safetensors": save({"my_embedding": rows, "x": torch.ones(1)})})
    with pytest.raises(TextError, match="none at all"):
        loaded(tmp_path / "c", {**model_files(), "model.safetensors": save({})})


def with_rows(change: Callable[[torch.Tensor], Any]) -> Files:
    """Return a model whose matrix was changed in place, or replaced."""
    rows = matrix(bert_tokenizer())
    found = change(rows)
    return model_files(rows=found if isinstance(found, torch.Tensor) else rows)


def swapped(**words: str) -> Files:
    """Return a model with two words of its tokenizer renamed into each other."""
    text = bert_tokenizer()
    for one, other in words.items():
        text = text.replace(f'"{one}"', '"\0"').replace(f'"{other}"', f'"{one}"').replace('"\0"', f'"{other}"')
    return {**model_files(), "tokenizer.json": text.encode()}


def renumbered(shift: int) -> Files:
    """Return a model whose tokenizer has the same words under other numbers, but for the marks: another model's."""
    document = json.loads(bert_tokenizer())
    numbers = document["model"]["vocab"]
    words = [word for word in numbers if not word.startswith("[")]
    kept = {word: number for word, number in numbers.items() if word.startswith("[")}
    moved = {word: numbers[words[(place * 7 + shift) % len(words)]] for place, word in enumerate(words)}
    document["model"]["vocab"] = {**kept, **moved}
    return {**model_files(), "tokenizer.json": json.dumps(document).encode()}


def without(name: str) -> Files:
    """Return a model that lacks a file."""
    return {path: content for path, content in model_files().items() if path != name}


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
    "another width": (lambda: model_files(hidden_size=17), "16 columns, and config.json says 17"),
    "another height": (lambda: model_files(vocab_size=ROWS + 1), f"{ROWS} rows, and config.json says {ROWS + 1}"),
    "a width that is a word": (lambda: model_files(hidden_size="16"), "config.json says '16'"),
    "no width": (lambda: model_files(hidden_size=None), "does not say how many columns"),
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
    "more tokens than rows": (lambda: with_rows(lambda rows: rows[:-3]), f"knows {ROWS} tokens, and the matrix has"),
    "far fewer tokens": (
        lambda: with_rows(lambda rows: torch.cat([rows, torch.randn(200, WIDTH)])),
        f"knows {ROWS} tokens, and the matrix has {ROWS + 200}",
    ),
    "another kind": (lambda: {**model_files(), "tokenizer.json": gpt_tokenizer().encode()}, "byte-level BPE.*bert has"),
    "padding elsewhere": (lambda: model_files(pad_token_id=30), r"token 30 is '\w+', and config.json .* the pad token"),
    "padding nowhere": (lambda: model_files(pad_token_id=9_999), "token 9999 is None"),
    "an end among words": (lambda: model_files(eos_token_id=[3, 40]), "token 40 .* the eos token"),
    "settings of another": (
        lambda: {**model_files(), "tokenizer_config.json": b'{"unk_token": "<unk>"}'},
        "lacks <unk>, the unk token",
    ),
    "another's words": (lambda: renumbered(0), r"cosine .* by chance; it belongs to another model"),
    "words moved by one": (lambda: renumbered(1), r"cosine .* by chance; it belongs to another model"),
    "untrained": (lambda: with_rows(lambda rows: torch.randn_like(rows)), "or the matrix is not trained"),
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


def test_a_tokenizer_of_the_same_size_is_noticed_whatever_its_order(tmp_path: Path) -> None:
    """Fifty other orders of the same words all give themselves away, and the right one never does."""
    write_files(tmp_path / "model", model_files())
    for shift in range(2, 52):
        with pytest.raises(TextError, match="belongs to another model"):
            loaded(tmp_path / "model", renumbered(shift))
    for seed in range(20):
        loaded(tmp_path / "model", model_files(rows=matrix(bert_tokenizer(), seed)))


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


@pytest.mark.parametrize("name", ["owner/name", "owner/name@main", f"owner/name@{REVISION[:-1]}"])
def test_a_hub_id_without_its_commit_is_unreachable(name: str) -> None:
    """A branch could change under the study; the line says what is missing."""
    with pytest.raises(UnreachableError, match="40 digits of a commit"):
        load_pretrained(name)


def test_the_tokenizer_alone_needs_no_weights(tmp_path: Path) -> None:
    """A folder with nothing but a tokenizer gives its numbers."""
    files = {"tokenizer.json": gpt_tokenizer().encode()}
    found = loaded(tmp_path / "only", files, weights=False)
    assert found.embedding is None
    assert (found.vocabulary, found.unknown, found.end) == (found.tokenizer.get_vocab_size(), 0, 0)
    with pytest.raises(TextError, match=r"config\.json"):
        load_pretrained(str(tmp_path / "only"))


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    """Documents must end with a token."""
    text = bert_tokenizer().replace("[SEP]", "[ODD]")
    with pytest.raises(TextError, match="names a token that ends a text"):
        loaded(tmp_path / "only", {"tokenizer.json": text.encode()}, weights=False)


def test_what_ends_a_document_and_what_is_unknown(tmp_path: Path) -> None:
    """BERT has a token for each; a tokenizer that knows every byte has one for both."""
    bert, gpt = loaded(tmp_path / "a", model_files()), loaded(tmp_path / "b", model_files("gpt2"))
    assert (bert.unknown, bert.end) == (1, 3)
    assert (gpt.unknown, gpt.end) == (0, 0)
    assert "[SEP] ends a document, [UNK] stands for an unknown word" in bert.notes


def test_the_tokenizer_neither_cuts_nor_pads_nor_obeys_the_text(tmp_path: Path) -> None:
    """The file's own truncation and padding are switched off, and a mark in a text is letters."""
    found = loaded(tmp_path / "model", model_files())
    encoded = found.tokenizer.encode(" ".join(WORDS), add_special_tokens=False).ids
    assert encoded == [found.tokenizer.token_to_id(word) for word in WORDS]
    assert found.end not in found.tokenizer.encode("bale [SEP] bali", add_special_tokens=False).ids
    gpt = loaded(tmp_path / "gpt", model_files("gpt2"))
    assert gpt.end not in gpt.tokenizer.encode("bale<|endoftext|>bali", add_special_tokens=False).ids


def test_offline_says_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By option or by variable: exit 5, and nobody goes to the network."""
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("it went to the network"))
    with pytest.raises(UnreachableError, match=r"offline; run 'llmlab data fetch gpt2' .* --pretrained FOLDER"):
        load_pretrained("gpt2", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnreachableError, match="offline"):
        load_pretrained(f"owner/name@{REVISION}")


@pytest.mark.parametrize("library", ["huggingface_hub", "tokenizers", "safetensors"])
def test_a_missing_library_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """Without the extra the way out is one pip command."""
    write_files(tmp_path / "model", model_files())
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UnreachableError, match=r"pip install 'llmlab\[pretrained\]'"):
        load_pretrained("small" if library == "huggingface_hub" else "model")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that points the library at another address, and make its patience short."""
    from huggingface_hub import constants

    def point(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    monkeypatch.setattr(named, "SECONDS", 0.5)
    return point


@pytest.mark.parametrize(("failure", "told"), [(404, "404"), (429, "429"), (500, "500"), (-1, "imed out")])
def test_a_hub_that_fails_is_told_at_once(at: Callable[[str], None], failure: int, told: str) -> None:
    """Refusing, overloaded, broken or silent: one line with the reason, after one question."""
    with serving(SMALL, {}, failure) as (address, asked):
        at(address)
        with pytest.raises(UnreachableError, match=told) as caught:
            load_pretrained("small")
    assert len(asked) == 1
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_not_there_is_told_at_once(at: Callable[[str], None]) -> None:
    """A refused connection is one line as well."""
    with serving(SMALL, {}) as (address, _):
        pass
    at(address)
    with pytest.raises(UnreachableError, match="refused"):
        load_pretrained(f"nobody/small@{REVISION}")


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("name", ["small", f"nobody/small@{REVISION}"])
def test_the_real_library_fetches_once_and_the_cache_serves_from_then_on(
    at: Callable[[str], None], tmp_path: Path, shards: bool, name: str
) -> None:
    """What is needed arrives, and no other shard; after that nothing is asked of anybody."""
    files = in_shards(model_files()) if shards else model_files()
    with serving(SMALL, files) as (address, asked):
        at(address)
        found = load_pretrained(name)
    assert (found.name, found.notes[0]) == (name, "nobody/small at 0123456789ab")
    assert torch.equal(found.embedding, matrix(bert_tokenizer()))  # type: ignore[arg-type]
    assert not any("00001-of" in path for path in asked)
    assert load_pretrained(name, offline=True).digest == found.digest
    assert (model_holding("small").where, model_holding("small").way) == ("hub cache", "")
    size = sum(len(content) for path, content in files.items() if "00001-of" not in path)
    assert model_holding("small").size == size
    (path,) = (tmp_path / "hub").rglob("snapshots/*/tokenizer.json")
    path.unlink()
    with pytest.raises(UnreachableError, match="offline"):
        load_pretrained(name, offline=True)


def test_only_the_tokenizer_is_fetched_where_only_it_is_wanted(at: Callable[[str], None]) -> None:
    """Without weights nothing large is asked for; with them the rest follows."""
    with serving(SMALL, model_files()) as (address, asked):
        at(address)
        assert load_pretrained("small", weights=False).embedding is None
        assert not any("safetensors" in path or path.endswith("/config.json") for path in asked)
        assert load_pretrained("small").embedding is not None


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_repository_without_its_files_is_unreachable(at: Callable[[str], None], lost: str) -> None:
    """A hub that lacks a file ends in one line, not in the library's own error."""
    with serving(SMALL, without(lost)) as (address, _):
        at(address)
        with pytest.raises(UnreachableError, match="--pretrained small: it is not here and could not") as caught:
            load_pretrained("small")
    assert "\n" not in str(caught.value)


def test_another_revision_never_takes_its_place(
    at: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library keeps of another revision is passed over, before and after it was asked."""
    place = tmp_path / "hub/hub/models--nobody--small/snapshots"
    write_files(place / REVISION, model_files())
    assert load_pretrained("small", offline=True).name == "small"
    (place / REVISION).rename(place / ("f" * 40))
    monkeypatch.setattr(hub, "download", lambda *_: None)
    with pytest.raises(UnreachableError, match="did not give revision 0123456789ab"):
        load_pretrained("small")


def test_a_full_disk_is_a_failure_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """No space for a download is told as such, with exit 7."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("llmlab.text.named.knock", full)
    with pytest.raises(WriteError, match="No space left"):
        load_pretrained("small")


def test_a_given_folder_comes_first_and_is_never_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``LLMLAB_DATA`` serves a named model; what is there must have its known shape."""
    monkeypatch.setenv("LLMLAB_DATA", str(tmp_path / "data"))
    write_files(tmp_path / "data/small", model_files())
    assert load_pretrained("small", offline=True).name == "small"
    write_files(tmp_path / "data/gpt2", model_files("gpt2"))
    with pytest.raises(UnreachableError, match=r"instead of \(50257, 768\)"):
        load_pretrained("gpt2", offline=True)


def test_every_pin_is_a_commit() -> None:
    """A revision is 40 hexadecimal digits: a branch could change under the study."""
    for model in hub.MODELS.values():
        assert len(model.revision) == 40
        assert int(model.revision, 16) >= 0


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


@pytest.mark.skipif(not (Path(GIVEN) / "minilm-embeddings").is_dir() or not GIVEN, reason="LLMLAB_DATA lacks MiniLM")
def test_minilm_is_read_and_its_tokenizer_belongs() -> None:
    """The real matrix has 30,522 rows of 384 numbers, and twins that are far more alike than chance."""
    found = load_pretrained(str(Path(GIVEN) / "minilm-embeddings"))
    assert found.embedding is not None
    assert found.embedding.shape == (30_522, 384)
    assert (found.unknown, found.end) == (100, 102)
    assert found.tokenizer.encode("A dog's life.", add_special_tokens=False).tokens == [
        "a",
        "dog",
        "'",
        "s",
        "life",
        ".",
    ]


@pytest.mark.skipif(
    not (Path(GIVEN) / "gpt2-tokenizer").is_dir() or not GIVEN, reason="LLMLAB_DATA lacks GPT-2's tokenizer"
)
def test_gpt2s_tokenizer_never_passes_for_minilms(tmp_path: Path) -> None:
    """Its kind, its size and its words give it away, even where the first two are made to fit."""
    given = Path(GIVEN)
    assert load_pretrained(str(given / "gpt2-tokenizer"), weights=False).vocabulary == 50_257
    for path in (given / "minilm-embeddings").iterdir():
        (tmp_path / path.name).symlink_to(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        (tmp_path / name).unlink()
    config = json.loads((given / "minilm-embeddings/config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    document = json.loads((given / "gpt2-tokenizer/tokenizer.json").read_text("utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(TextError, match="this is bytes joined"):
        load_pretrained(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**config, "tokenizer_class": "GPT2Tokenizer"}), "utf-8")
    with pytest.raises(TextError, match="knows 50,257 tokens, and the matrix has 30,522 rows"):
        load_pretrained(str(tmp_path))
    Tokenizer.from_str(json.dumps(document))
