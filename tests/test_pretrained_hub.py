"""Models that have a name: fetched once by the real library, served from the cache, and never swapped for another."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import needs
from llmlab.errors import UnreachableError, WriteError
from llmlab.text import hub, named
from llmlab.text.holdings import model_holding
from llmlab.text.pretrained import load_pretrained
from stand_in_hub import REVISION, SMALL, serving
from stand_in_model import bert_tokenizer, in_shards, matrix, model_files, without, write_files

pytestmark = pytest.mark.usefixtures("no_model_here")


@pytest.mark.parametrize("name", ["owner/name", "owner/name@main", f"owner/name@{REVISION[:-1]}"])
def test_a_hub_id_without_its_commit_is_unreachable(name: str) -> None:
    """A branch could change under the study; the line says what is missing."""
    with pytest.raises(UnreachableError, match="40 digits of a commit"):
        load_pretrained(name)


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


@needs("huggingface_hub", "pretrained")
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
