"""The corpora that have a name: looked for in order, fetched by the real library, never half and never swapped."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pytest

from conftest import HANG, needs
from llmlab.errors import TextError, UnreachableError, WriteError
from llmlab.text import named
from llmlab.text.corpus import load_corpus
from llmlab.text.holdings import holding
from stand_in_hub import repository, serving

HUB = ("HF_HOME", "HF_DATASETS_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "LLMLAB_DATA")
GIVEN = os.environ.get("LLMLAB_DATA", "")
SMALL = named.Named("small", "nobody/small", "0123456789abcdef" * 2 + "01234567", 1)
CHATS = named.Named(
    "chats",
    "nobody/chats",
    "76543210" * 5,
    1,
    splits=("train_sft", "test_sft"),
    most=(2, 1),
    files={"train_sft": "data/train_sft-*", "test_sft": "data/test_sft-*"},
)


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in an empty folder, with empty caches and two small corpora more."""
    for name in HUB:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(named.NAMED, "small", SMALL)
    monkeypatch.setitem(named.NAMED, "chats", CHATS)


def written(path: Path, content: str | bytes) -> str:
    """Write a file and return its path as it would be typed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_offline_with_nothing_here_says_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """By option or by either variable: one line, exit 5, and no library is even imported."""
    monkeypatch.setattr(named, "download", lambda *_: pytest.fail("it went to the network"))
    for variables, offline in (({}, True), ({"HF_HUB_OFFLINE": "1"}, False), ({"HF_DATASETS_OFFLINE": "true"}, False)):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(UnreachableError, match="offline") as caught:
                load_corpus("wikitext-2", offline=offline)
        assert "llmlab data fetch wikitext-2" in str(caught.value)
        assert "--data FOLDER" in str(caught.value)


def test_a_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the data extra the way out is one pip command."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnreachableError, match=r"pip install 'llmlab\[data\]'"):
        load_corpus("dailydialog")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that points the libraries at another address."""
    import datasets  # noqa: F401 so that its import takes none of the patience
    import huggingface_hub.constants

    def point(address: str) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)

    return point


@pytest.mark.parametrize(("failure", "told"), [(404, "404"), (429, "429"), (500, "500"), (-1, "imed out")])
def test_a_hub_that_fails_is_told_at_once(
    hub: Callable[[str], None], failure: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusing, overloaded, broken or silent: one line with the reason, after one question."""
    monkeypatch.setattr(named, "SECONDS", 0.5 if failure == -1 else HANG)
    with serving(SMALL, {}, failure) as (address, asked):
        hub(address)
        with pytest.raises(UnreachableError, match=told) as caught:
            load_corpus("small")
    assert "\n" not in str(caught.value)
    assert len(asked) == 1
    assert "llmlab data fetch small" in str(caught.value)


def test_a_hub_that_is_not_there_is_told_at_once(hub: Callable[[str], None]) -> None:
    """A refused connection is one line as well."""
    with serving(SMALL, {}) as (address, _):
        pass
    hub(address)
    with pytest.raises(UnreachableError, match="refused"):
        load_corpus("small")


FETCH = """
import sys
from test_named import CHATS, SMALL
from llmlab.text import named
from llmlab.text.corpus import load_corpus
named.NAMED.update(small=SMALL, chats=CHATS)
try:
    for name in sys.argv[1:]:
        corpus = load_corpus(name)
        print(corpus.train, corpus.valid, corpus.source)
except Exception as error:
    print(type(error).__name__, error)
"""


def fetch(address: str, folder: Path, *names: str) -> str:
    """Load corpora in a process of its own, whose libraries read the variables when they are imported."""
    kept = {name: os.environ[name] for name in ("PATH", "HF_HOME") if name in os.environ}
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", FETCH, *names],
        env={**kept, "HOME": str(folder), "HF_ENDPOINT": address, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@needs("datasets", "data")
def test_the_real_library_fetches_once_and_the_cache_serves_from_then_on(tmp_path: Path) -> None:
    """From a stand-in hub both layouts arrive through ``datasets``; after that nothing is asked of anybody."""
    chats = [[{"role": "user", "content": f"hello {number}"}] for number in range(4)]
    lines = repository(SMALL, "text", ["", " = A = \n", "b c\n"], ["d", "e"])
    with serving(SMALL, lines) as (address, asked):
        told = fetch(address, tmp_path, "small")
    assert told.startswith("['= A =', 'b c'] ['d', 'e'] nobody/small at 0123456789ab"), told
    assert asked
    with serving(CHATS, repository(CHATS, "messages", chats, chats)) as (address, _):
        told = fetch(address, tmp_path, "chats")
    assert told.startswith("['hello 0', 'hello 1'] ['hello 0']"), told
    corpus = load_corpus("small", offline=True)
    assert (corpus.train, corpus.valid) == (["= A =", "b c"], ["d", "e"])
    assert load_corpus("chats", offline=True).train == ["hello 0", "hello 1"]
    assert (holding("small").where, holding("small").rows) == ("datasets cache", (3, 2))
    damage_is_noticed(tmp_path)


def damage_is_noticed(folder: Path) -> None:
    """Assert that a cache file that is cut is told of by its folder, and that nothing is trained on it."""
    (path,) = folder.rglob("small-train.arrow")
    content = path.read_bytes()
    for damaged in (b"", content[:10], content[: len(content) // 2], b"\xff" * len(content)):
        path.write_bytes(damaged)
        with pytest.raises(UnreachableError, match="delete that folder"):
            load_corpus("small", offline=True)
    path.unlink()
    with pytest.raises(UnreachableError, match="offline"):
        load_corpus("small", offline=True)


@needs("datasets", "data")
def test_a_repository_without_its_files_is_unreachable(tmp_path: Path) -> None:
    """A hub that has the card but not the data ends in one line, not in the library's own error."""
    files = {"README.md": repository(SMALL, "text", ["a"], ["b"])["README.md"]}
    with serving(SMALL, files) as (address, _):
        assert fetch(address, tmp_path, "small").startswith(
            "UnreachableError --data small: it is not here and could not"
        )


def test_another_revision_never_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library keeps of another revision is passed over, before and after it was asked."""
    folder = tmp_path / "hub/datasets/nobody___small/default/0.0.0" / SMALL.revision
    written(folder / "small-train.arrow", "")
    written(folder / "small-validation.arrow", "")
    assert named.cached(SMALL) == folder
    folder.rename(folder.with_name("f" * 40))
    monkeypatch.setattr(named, "download", lambda *_: None)
    with pytest.raises(UnreachableError, match="did not give revision 0123456789ab"):
        load_corpus("small")


@needs("datasets", "data")
def test_a_full_disk_is_a_failure_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """No space for a download is told as such, with exit 7."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(named, "knock", full)
    with pytest.raises(WriteError, match="No space left"):
        load_corpus("small")


def test_a_given_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``LLMLAB_DATA`` serves a named corpus, a part of one is refused, and a folder without it is passed over."""
    monkeypatch.setenv("LLMLAB_DATA", str(tmp_path / "data"))
    with pytest.raises(UnreachableError, match="offline"):
        load_corpus("dailydialog", offline=True)
    written(tmp_path / "data/dailydialog/train.txt", "hello there\nand you\n")
    with pytest.raises(TextError, match=r"valid\.txt is missing"):
        load_corpus("dailydialog", offline=True)
    written(tmp_path / "data/dailydialog/valid.txt", "fine thanks\nbye\n")
    corpus = load_corpus("dailydialog", offline=True)
    assert (corpus.train, corpus.source) == (["hello there", "and you"], "LLMLAB_DATA/dailydialog")


def test_a_test_split_is_read_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a given folder ``test.txt``; from the library's cache the split that was not chosen by, if it is there."""
    monkeypatch.setenv("LLMLAB_DATA", str(tmp_path / "data"))
    for name in ("train", "valid"):
        written(tmp_path / f"data/dailydialog/{name}.txt", f"{name} one\n{name} two\n")
    assert load_corpus("dailydialog", offline=True).test == []
    written(tmp_path / "data/dailydialog/test.txt", "test one\n\n test two\n")
    assert load_corpus("dailydialog", offline=True).test == ["test one", "test two"]

    monkeypatch.setitem(named.NAMED, "small", replace(SMALL, test="test"))
    place = tmp_path / "hub/datasets/nobody___small/default/0.0.0" / SMALL.revision
    for split in ("train", "validation"):
        arrow(place / f"small-{split}.arrow", [f"{split} one", "", f"{split} two"])
    assert load_corpus("small", offline=True).test == []
    arrow(place / "small-test.arrow", ["", "test one"])
    corpus = load_corpus("small", offline=True)
    assert (corpus.test, corpus.valid) == (["test one"], ["validation one", "validation two"])


def arrow(path: Path, texts: list[str]) -> None:
    """Write a split as the library keeps it."""
    table = pyarrow.table({"text": texts})
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def test_a_part_of_wikitext_is_never_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WikiText-2 with a line too few is refused with both counts and the way out."""
    monkeypatch.setenv("LLMLAB_DATA", str(tmp_path))
    written(tmp_path / "wikitext-2/train.txt", "a b c\n" * 23_766)
    written(tmp_path / "wikitext-2/valid.txt", "a b c\n" * 2_461)
    with pytest.raises(UnreachableError, match=r"23,766 and 2,461 .* instead of 23,767 and 2,461"):
        load_corpus("wikitext-2")
    written(tmp_path / "wikitext-2/train.txt", "a b c\n" * 23_767)
    assert len(load_corpus("wikitext-2").train) == 23_767


@pytest.mark.skipif(not GIVEN, reason="LLMLAB_DATA does not say where WikiText-2 is")
def test_wikitext_has_the_lines_that_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real files have 23,767 and 2,461 lines that are not blank."""
    monkeypatch.setenv("LLMLAB_DATA", GIVEN)
    corpus = load_corpus("wikitext-2", offline=True)
    assert (len(corpus.train), len(corpus.valid)) == (23_767, 2_461)


def test_every_pin_is_a_commit() -> None:
    """A revision is 40 hexadecimal digits: a branch could change under the study."""
    for corpus in named.NAMED.values():
        assert len(corpus.revision) == 40
        assert int(corpus.revision, 16) >= 0
