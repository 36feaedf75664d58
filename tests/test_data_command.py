"""``llmlab data``: what is here, what is missing, and how to get it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Done
from llmlab.report.folding import is_wide
from llmlab.text.hub import CORPORA, MODELS
from processes import answers
from stand_in_model import model_files, write_files

Run = Callable[..., Done]
NAMES = ["synthetic", "dialect", "story", *CORPORA]


def write_corpus(folder: Path, train: int, valid: int) -> None:
    """Write a folder of text with so many lines, and a blank one after each."""
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("some words\n\n" * train, "utf-8")
    (folder / "valid.txt").write_text("some words\n\n" * valid, "utf-8")


REPLACED = "replace LLMLAB_DATA/{} by all of it, or remove it"
"""The way where a folder is there but not whole: what is fetched would never be looked at."""


def test_status_lists_every_corpus_with_its_way(run_llmlab: Run) -> None:
    done = run_llmlab("data", "status", "--json")
    corpora, way = done.document["corpora"], "llmlab data fetch gpt2 (about 550 MB)"
    assert (done.code, done.err, list(done.folder.iterdir())) == (0, "", [])
    assert (set(done.document), done.document["schema"]) == ({"schema", "corpora", "models"}, "llmlab.data/1")
    assert [(corpus["name"], corpus["here"]) for corpus in corpora] == [(name, name in NAMES[:3]) for name in NAMES]
    assert all(f"llmlab data fetch {corpus['name']}" in corpus["get"] for corpus in corpora[3:])
    assert done.document["models"] == [{"name": "gpt2", "here": False, "where": None, "bytes": None, "get": way}]


@pytest.mark.parametrize("lost", [None, "config.json", "model.safetensors"])
def test_status_shows_a_model_that_is_here(run_llmlab: Run, tmp_path: Path, lost: str | None) -> None:
    files = {name: content for name, content in model_files("gpt2").items() if name != lost}
    write_files(tmp_path / "data/gpt2", files)
    done = run_llmlab("data", "status", "--json", LLMLAB_DATA="data")
    (model,) = done.document["models"]
    assert (model["here"], model["where"], model["get"]) == (True, "LLMLAB_DATA", lost and REPLACED.format("gpt2"))
    assert model["bytes"] == sum(map(len, files.values()))


def test_status_shows_what_a_given_folder_has(run_llmlab: Run, tmp_path: Path) -> None:
    for name in ("dailydialog", "wikitext-2"):
        write_corpus(tmp_path / "data" / name, 12, 3)
    done = run_llmlab("data", "status", "--json", LLMLAB_DATA="data")
    (found,) = [corpus for corpus in done.document["corpora"] if corpus["name"] == "dailydialog"]
    counted = {"bytes": 15 * 12, "train_lines": 12, "valid_lines": 3}
    assert found == {"name": "dailydialog", "here": True, "where": "LLMLAB_DATA", "get": None, **counted}
    assert done.document["corpora"][3]["get"] == REPLACED.format("wikitext-2")


@pytest.mark.parametrize("what", ["folder", "pipe", "loop", "nothing"])
def test_status_survives_a_strange_folder(run_llmlab: Run, tmp_path: Path, what: str) -> None:
    """Something else in the place of ``train.txt`` is no line count, and no failure."""
    folder = tmp_path / "data/dailydialog"
    folder.mkdir(parents=True)
    script = {"folder": "mkdir", "pipe": "mkfifo", "loop": "ln -s train.txt", "nothing": "true"}[what]
    subprocess.run(["bash", "-c", f"{script} train.txt"], cwd=folder, check=True)
    done = run_llmlab("data", "status", "--json", LLMLAB_DATA="data")
    assert done.code == 0
    assert done.document["corpora"][3]["train_lines"] is None


FORBIDDEN, NOWHERE = {"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "hub"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (FORBIDDEN, dict.fromkeys(CORPORA, "offline") | {"gpt2": "--pretrained FOLDER"}),
        (NOWHERE, {"wikitext-2": "llmlab data fetch wikitext-2", "gpt2": "--pretrained FOLDER"}),
    ],
)
def test_fetching_without_a_hub_is_refused(tmp_path: Path, changes: dict[str, str], told: dict[str, str]) -> None:
    commands = [(["data", "fetch", name], changes) for name in told]
    for (done, _), (name, words) in zip(answers(tmp_path, *commands), told.items(), strict=True):
        assert (done.code, done.out, words in done.err) == (5, "", True), name
        assert words != "offline" or "--data FOLDER" in done.err
    assert changes == NOWHERE or list(tmp_path.iterdir()) == []


def test_fetching_another_model_in_its_place_is_refused(run_llmlab: Run, tmp_path: Path) -> None:
    write_files(tmp_path / "data/gpt2", model_files("gpt2"))
    done = run_llmlab("data", "fetch", "gpt2", LLMLAB_DATA="data")
    assert (done.code, done.out) == (5, "")
    assert "instead of (50257, 768)" in done.err


def test_fetching_what_is_here_says_what_it_has(run_llmlab: Run, tmp_path: Path) -> None:
    write_corpus(tmp_path / "data/dailydialog", 4, 2)
    done = run_llmlab("data", "fetch", "dailydialog", "--json", LLMLAB_DATA="data", HF_ENDPOINT="http://127.0.0.1:9")
    (corpus,) = done.document["corpora"]
    assert (corpus["train_lines"], corpus["valid_lines"], corpus["where"]) == (4, 2, "LLMLAB_DATA")
    for name in NAMES[:3]:
        built_in = run_llmlab("data", "fetch", name)
        assert (built_in.code, "built in" in built_in.out) == (0, True)


@pytest.mark.parametrize("name", ["nope", "", "Wikitext-2", "../wikitext-2", "\u202e"], ids=ascii)
def test_another_name_is_refused(run_llmlab: Run, name: str) -> None:
    done = run_llmlab("data", "fetch", name)
    assert (done.code, done.out) == (2, "")
    assert all(known in done.err for known in [*CORPORA, *MODELS])


@pytest.mark.parametrize("command", [("data", "status"), ("doctor",)])
def test_what_is_here_is_said_in_japanese_too(run_llmlab: Callable[..., Done], command: tuple[str, ...]) -> None:
    """Heads, captions and states, by the option as by the variable."""
    said = run_llmlab(*command, "--lang", "ja").out
    assert is_wide(said.split()[0])
    assert not {"corpus", "how", "state", "advice", "missing"} & {*said.split()}
    assert run_llmlab(*command, LLMLAB_LANG="ja").out.split()[:6] == said.split()[:6]
