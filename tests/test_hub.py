"""Corpora and models that have a name: looked for in order, fetched by the real library, never half, never swapped."""

import errno
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import HANG, needs
from llmlab.cli.data import holding
from llmlab.errors import TextError, UnreachableError, WriteError
from llmlab.text import hub
from llmlab.text.corpus import load_corpus
from llmlab.text.hub import CORPORA, MODELS, Source
from llmlab.text.pretrained import load_pretrained
from stand_in_hub import REVISION, SMALL, hub_at, repository, serving
from stand_in_model import bert_tokenizer, in_shards, matrix, model_files, without, write_files

TEXT = Source("text", "nobody/text", "76543210" * 5, 1, ("raw/train-*.parquet", "raw/valid-*.parquet"))
SPLITS = tuple(f"d/{split}-*.parquet" for split in ("train", "valid", "test"))
CHATS = replace(TEXT, name="chats", repository="nobody/chats", splits=SPLITS, most=(2, 1, None))
LINES = ["", " = A = \n", "b c\n"], ["d", "e"]
pytestmark = [pytest.mark.usefixtures("no_model_here"), needs("pyarrow", "data"), needs("safetensors", "pretrained")]


@pytest.fixture(autouse=True)
def _two_corpora_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for corpus in (TEXT, CHATS):
        monkeypatch.setitem(CORPORA, corpus.name, corpus)


def load(name: str, *, offline: bool = False) -> object:
    return load_corpus(name, offline=offline) if name in CORPORA else load_pretrained(name, offline=offline)


def put(source: Source) -> Path:
    """Put a corpus or a model where the library keeps it; return its folder."""
    (source.cached / "raw").mkdir(parents=True)
    (source.cached / "data").mkdir()
    write_files(source.cached, repository(source, "text", *LINES) if source.splits else model_files())
    return source.cached


# ---- what is not here -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wikitext-2", "gpt2", f"owner/name@{REVISION}"])
@pytest.mark.parametrize("told", ["option", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_with_nothing_here_says_the_ways_out(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By option or by either variable, and nobody goes to the network."""
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("it went to the network"))
    if told != "option":
        monkeypatch.setenv(told, "1")
    with pytest.raises(UnreachableError, match=r"offline; .* while online, or give --\w+ FOLDER with") as caught:
        load(name, offline=told == "option")
    assert f"llmlab data fetch {name}" in str(caught.value) or "@" in name


@pytest.mark.parametrize("name", ["owner/name", "owner/name@main", f"owner/name@{REVISION[:-1]}"])
def test_a_hub_id_without_its_commit_is_unreachable(name: str) -> None:
    """A branch could change under the study; the line says what is missing."""
    with pytest.raises(UnreachableError, match="40 digits of a commit"):
        load_pretrained(name)


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("huggingface_hub", "dailydialog", "data"),
        ("huggingface_hub", f"nobody/small@{REVISION}", "pretrained"),
        ("pyarrow.parquet", "text", "data"),
        ("tokenizers", "small", "pretrained"),
    ],
)
def test_a_missing_library_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, library: str, name: str, extra: str
) -> None:
    if library != "huggingface_hub":
        put(TEXT if name == "text" else SMALL)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UnreachableError, match=rf"pip install 'llmlab\[{extra}\]'"):
        load(name)


# ---- what the hub gives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [TEXT, SMALL], ids=["corpus", "model"])
@pytest.mark.parametrize(("failure", "told"), [(404, "404"), (429, "429"), (500, "500"), (-1, "imed out")])
def test_a_hub_that_fails_is_told_at_once(
    source: Source, failure: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusing, overloaded, broken or silent: one line with the reason, after one question."""
    monkeypatch.setattr(hub, "SECONDS", 0.5 if failure == -1 else HANG)
    with serving(source, {}, failure) as asked, pytest.raises(UnreachableError, match=told) as caught:
        load(source.name)
    assert "\n" not in str(caught.value)
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["text", "small", f"nobody/small@{REVISION}"])
def test_a_hub_that_is_not_there_is_told_at_once(name: str) -> None:
    with hub_at("http://127.0.0.1:9"), pytest.raises(UnreachableError, match="refused"):
        load(name)


def test_a_corpus_is_fetched_once_and_the_cache_serves_from_then_on() -> None:
    """Text and dialogues arrive, and no other file; after that nothing is asked of anybody."""
    with serving(TEXT, repository(TEXT, "text", *LINES)) as asked:
        corpus = load_corpus("text")
    assert (corpus.train, corpus.valid, corpus.source) == (["= A =", "b c"], ["d", "e"], "nobody/text at 765432107654")
    assert not any("resolve" in path and "other" in path for path in asked)
    assert load_corpus("text", offline=True) == corpus
    assert (holding(TEXT).where, holding(TEXT).way) == ("hub cache", "")
    chats = [[{"role": "user", "content": f"hello {number}"}] for number in range(4)]
    with serving(CHATS, repository(CHATS, "messages", chats, chats, chats[3:])):
        corpus = load_corpus("chats")
    assert (corpus.train, corpus.valid, corpus.test) == (["hello 0", "hello 1"], ["hello 0"], ["hello 3"])


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("name", ["small", f"nobody/small@{REVISION}"])
def test_a_model_is_fetched_once_and_the_cache_serves_from_then_on(shards: bool, name: str) -> None:
    """What is needed arrives, the tokenizer first and no other shard; after that nothing is asked of anybody."""
    files = in_shards(model_files()) if shards else model_files()
    with serving(SMALL, files) as asked:
        assert load_pretrained(name, weights=False).embedding is None
        assert not any("safetensors" in path or path.endswith("/config.json") for path in asked)
        found = load_pretrained(name)
    assert (found.name, found.notes[0]) == (name, "nobody/small at 0123456789ab")
    assert torch.equal(found.embedding, matrix(bert_tokenizer()))  # type: ignore[arg-type]
    assert not any("00001-of" in path for path in asked)
    assert load_pretrained(name, offline=True).digest == found.digest
    assert (holding(SMALL).where, holding(SMALL).way) == ("hub cache", "")
    assert holding(SMALL).size == sum(len(content) for path, content in files.items() if "00001-of" not in path)
    (SMALL.cached / "tokenizer.json").unlink()
    with pytest.raises(UnreachableError, match="offline"):
        load_pretrained(name, offline=True)


LACKING = {
    **dict.fromkeys(("config.json", "model.safetensors", "tokenizer.json"), SMALL),
    **dict.fromkeys(("raw/train-00000-of-00001.parquet", "raw/valid-00000-of-00001.parquet"), TEXT),
}


@pytest.mark.parametrize("lost", LACKING)
def test_what_lacks_a_file_is_unreachable(lost: str) -> None:
    """A hub that lacks a file ends in one line, not in the library's own error, and what came is not used."""
    source = LACKING[lost]
    files = without(lost) if source is SMALL else repository(TEXT, "text", *LINES)
    told = "--pretrained small: it is not here and could not" if source is SMALL else "did not give commit 765432107654"
    files = {name: content for name, content in files.items() if name != lost}
    with serving(source, files), pytest.raises(UnreachableError, match=told) as caught:
        load(source.name)
    assert "\n" not in str(caught.value)
    assert source is SMALL or holding(TEXT).where == ""


@pytest.mark.parametrize("name", ["text", "small"])
def test_a_full_disk_is_a_failure_to_write(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.get_session", full)
    with pytest.raises(WriteError, match="No space left"):
        load(name)


# ---- what is here ---------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_told_of_with_the_folder_to_delete() -> None:
    """A file that is cut, or another file: nothing is trained on it."""
    path = next(put(TEXT).glob("raw/train*"))
    content = path.read_bytes()
    for damaged in (b"", content[:10], content[: len(content) // 2], b"\xff" * len(content)):
        path.write_bytes(damaged)
        with pytest.raises(UnreachableError, match=r"is broken; delete .*datasets--nobody--text and run"):
            load_corpus("text", offline=True)
    path.rename(path.with_name("train-00000-of-00002.parquet"))  # the other half did not arrive
    with pytest.raises(UnreachableError, match="offline"):
        load_corpus("text", offline=True)


@pytest.mark.parametrize("source", [TEXT, SMALL], ids=["corpus", "model"])
def test_another_commit_never_takes_its_place(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library keeps of another commit is passed over, before and after it was asked."""
    folder = put(source)
    assert load(source.name, offline=True)
    folder.rename(folder.with_name("f" * 40))
    monkeypatch.setattr(hub, "fetch", lambda *_: None)
    with pytest.raises(UnreachableError, match=f"did not give commit {source.commit[:12]}"):
        load(source.name)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that ``LLMLAB_DATA`` names, with half of a corpus in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLMLAB_DATA", "~/data")
    write_files(tmp_path / "data/dailydialog", {"train.txt": b"hello there\nand you\n"})
    return tmp_path / "data"


def test_a_given_folder_comes_first(given: Path) -> None:
    """``LLMLAB_DATA`` serves a corpus, a part of one is refused, and a folder without it is passed over."""
    with pytest.raises(UnreachableError, match="offline"):
        load_corpus("ultrachat", offline=True)
    with pytest.raises(TextError, match=r"valid\.txt is missing"):
        load_corpus("dailydialog", offline=True)
    write_files(given / "dailydialog", {"valid.txt": b"fine thanks\nbye\n"})
    corpus = load_corpus("dailydialog", offline=True)
    assert (corpus.train, corpus.source, corpus.test) == (["hello there", "and you"], "LLMLAB_DATA/dailydialog", [])
    write_files(given / "dailydialog", {"test.txt": b"test one\n\n test two\n"})
    assert load_corpus("dailydialog", offline=True).test == ["test one", "test two"]


def test_what_is_given_is_never_something_else(given: Path) -> None:
    """``LLMLAB_DATA`` serves a model that has a name; what is there must have its known shape, or numbers of lines."""
    write_files(given / "small", model_files())
    assert load_pretrained("small", offline=True).name == "small"
    write_files(given / "gpt2", model_files("gpt2"))
    with pytest.raises(UnreachableError, match=r"instead of \(50257, 768\)"):
        load_pretrained("gpt2", offline=True)
    write_files(given / "wikitext-2", {"train.txt": b"a b c\n" * 23_766, "valid.txt": b"a b c\n" * 2_461})
    with pytest.raises(UnreachableError, match=r"23,766 and 2,461 .* instead of 23,767 and 2,461"):
        load_corpus("wikitext-2")
    write_files(given / "wikitext-2", {"train.txt": b"a b c\n" * 23_767})
    assert len(load_corpus("wikitext-2").train) == 23_767


@pytest.mark.parametrize("source", [*CORPORA.values(), *MODELS.values()], ids=lambda source: source.name)
def test_every_pin_is_a_commit(source: Source) -> None:
    """A revision is 40 hexadecimal digits: a branch could change under the study."""
    assert len(source.commit) == 40
    assert int(source.commit, 16) >= 0
