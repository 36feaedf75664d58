"""The folder of a run's checkpoints: what is kept, what is taken when the newest is damaged, and who may write."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from conftest import HANG, environment
from faults import bytes_in
from llmlab.disk import HIDDEN
from llmlab.errors import CheckpointError, SettingError, WriteError
from llmlab.lab import folders
from llmlab.lab.checkpoint import CheckpointFolder, read
from llmlab.settings import BaselineSettings
from strategies_checkpoint import holding, signed, state, written


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def latest(folder: CheckpointFolder) -> int:
    """Return the update of the newest state, of which nothing may be said."""
    found = folder.latest(pytest.fail)
    assert found is not None
    return int(found[0]["update"])


def test_the_last_three_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = holding(tmp_path / "run", 10, 20, 30, 40, 50, best=20)
    kept = [f"update-000000{update}" for update in (30, 40, 50)]
    assert names(folder.folder) == ["best", *kept]
    assert [read(folder.folder / name)["update"] for name in kept] == [30, 40, 50]
    assert folder.best()["update"] == 20
    found, path = folder.latest(pytest.fail)
    assert (found["update"], path.name) == (50, kept[-1])


def test_what_a_dead_save_left_is_swept(tmp_path: Path) -> None:
    """The rest of a save that was killed goes with the next lock, and with the next save; nobody else's folder does."""
    folder, rest = holding(tmp_path, 1), tmp_path / f"{HIDDEN}0000beef"
    for other in ("mine", "mine-old", f"{HIDDEN}mine"):
        written(tmp_path / other, {"words": b"mine"})
    before = bytes_in(tmp_path)
    written(rest, {"model.safetensors": b"half"})
    with folder.locked():
        assert bytes_in(tmp_path) == {**before, "lock": b""}
        written(rest, {})
        folder.save(state(2), 2)
        assert not rest.exists()
        assert bytes_in(tmp_path).items() > before.items()


def test_what_waits_for_its_successor_is_read_until_that_is_there(tmp_path: Path) -> None:
    """Killed between two renames, a save leaves the one before under its second name; later saves clear that away."""
    folder = holding(tmp_path, 1, best=1)
    for name in ("update-00000001", "best"):
        (tmp_path / name).rename(tmp_path / f"{name}-old")
    assert (latest(folder), folder.best()["update"]) == (1, 1)
    folder.save(state(1), 1, best=True)
    assert names(tmp_path) == ["best", "update-00000001"]
    shutil.copytree(tmp_path / "update-00000001", tmp_path / "update-00000001-old")
    holding(tmp_path, 2, 3, 4, 5)
    assert names(tmp_path) == ["best", *(f"update-0000000{update}" for update in (3, 4, 5))]


def test_an_empty_place_has_no_checkpoints(tmp_path: Path) -> None:
    for folder in (CheckpointFolder(tmp_path / "none"), CheckpointFolder(tmp_path)):
        assert (folder.latest(pytest.fail), folder.best(), folder.has_checkpoints()) == (None, None, False)
        for other in ("lock", "update-1", "update-00000001.bak", "aside-00000001", ".tmp-00000000"):
            (tmp_path / other).touch()
    assert not (tmp_path / "none").exists()
    folder = holding(tmp_path, 99_999_999, 100_000_000)
    assert folder.has_checkpoints()
    assert latest(folder) == 100_000_000, "numbers beyond eight digits are in order"
    with pytest.raises(ValueError, match="negative"):
        folder.save(state(1), -1)


def test_a_damaged_newest_is_told_and_passed_over(tmp_path: Path) -> None:
    """Where all are damaged that is told of each, and nothing is touched."""
    folder, told = holding(tmp_path, 100, 200, 300, best=100), list[str]()
    newest, second, last = (tmp_path / f"update-00000{update}" for update in (300, 200, 100))
    os.truncate(newest / "model.safetensors", (newest / "model.safetensors").stat().st_size - 1)
    assert folder.latest(told.append)[0]["update"] == 200
    (line,) = told
    assert all(words in line for words in (str(newest), "update-00000200", "100 updates are lost"))
    (second / "run.json").unlink()
    assert folder.latest(told.append)[0]["update"] == 100
    assert [line.rsplit(": ", 1)[1] for line in told[1:]] == ["200 updates are lost", "100 updates are lost"]
    for path in (last, tmp_path / "best"):
        written(path, {"run.json": (path / "run.json").read_bytes()[:-1] + b"!"})
    before = bytes_in(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        folder.latest(pytest.fail)
    assert all(f"{path}: " in str(caught.value) for path in (newest, second, last))
    with pytest.raises(CheckpointError, match="best: "):
        folder.best()
    assert folder.has_checkpoints()
    assert bytes_in(tmp_path) == before


def test_a_newer_format_is_not_passed_over(tmp_path: Path) -> None:
    """A newest file that only a newer llmlab can read stops the run: it may be good, and is what is meant."""
    folder = holding(tmp_path, 1, 2)
    written(tmp_path / "update-00000002", {"run.json": signed('"format": 3}')})
    with pytest.raises(CheckpointError, match="update llmlab"):
        folder.latest(pytest.fail)


def test_what_lies_ahead_of_a_run_that_went_back_is_set_aside(tmp_path: Path) -> None:
    """Later checkpoints, damaged or not, are kept under names that nobody resumes: the last three of them."""
    folder = holding(tmp_path, 100, 200, 300)
    later = bytes_in(tmp_path / "update-00000300")
    folder.save(state(150), 150)
    assert latest(folder) == 150
    assert bytes_in(tmp_path / "aside-00000300") == later
    assert read(tmp_path / "aside-00000200")["update"] == 200
    for update in (140, 130):
        folder.save(state(update), update)
    folder.save(state(300) | {"new": True}, 300)
    folder.save(state(120), 120)
    assert read(tmp_path / "aside-00000300")["new"], "of two of one update the newer stays"
    assert sorted(path.name for path in tmp_path.glob("aside-*")) == [f"aside-00000{n}" for n in (150, 200, 300)]


def test_runs_that_start_at_once_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: folders._claimed("run", 1), range(40)))
    assert sorted(found) == sorted(folders.RUNS / f"run-{number}" for number in range(1, 41))
    settings = BaselineSettings()
    ours = folders.identity(settings.document(), 0, "", "", "fp32")
    names = [folders.run_folder(settings, ours, "run").folder.name for _ in range(2)]
    assert [name.rsplit("-", 1)[1] for name in names] == ["1", "2"]
    resumed = folders.run_folder(replace(settings, resume="auto"), ours, "run")
    assert resumed.folder.name == names[-1], "the last one goes on"


def test_what_is_kept_beside_the_runs_is_of_one_comparison(tmp_path: Path) -> None:
    """What is not there, or lacks what is asked for, is made again; what another comparison kept is refused."""
    ours = folders.identity(BaselineSettings().document(), 0, "", "", "fp32")
    folders.keep(tmp_path / "kept", ours, {"rows": [1]})
    assert folders.kept(tmp_path / "kept", ours, "rows") == {"rows": [1]}
    assert folders.kept(tmp_path / "kept", ours, "rank") is folders.kept(tmp_path / "gone", ours, "rows") is None
    with pytest.raises(CheckpointError, match="of another run: text is  there and other here"):
        folders.kept(tmp_path / "kept", ours | {"text": "other"}, "rows")


@pytest.mark.parametrize(
    ("swallowed", "of", "told"),
    [
        *(("os.rename", name, "No such file") for name in ("update-00000002", "best")),
        ("llmlab.disk.write_synced", "", "not there"),
    ],
)
def test_a_save_that_is_not_there_afterwards_is_not_called_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swallowed: str, of: str, told: str
) -> None:
    """Where a disk swallows the rename of the new one or of the best, or the bytes, without a word, the save fails."""
    folder, rename = holding(tmp_path, 1), os.rename

    def swallow(path: Path, given: Any) -> None:
        if not of:
            path.touch()
        elif Path(given).name != of:
            rename(path, given)

    monkeypatch.setattr(swallowed, swallow)
    with pytest.raises(WriteError, match=told):
        folder.save(state(2), 2, best=True)


def test_a_disk_without_second_names_gets_the_best_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hard links are refused, as on a USB stick, the best one has files of its own."""
    monkeypatch.setattr(os, "link", mock.Mock(side_effect=PermissionError(errno.EPERM, "Operation not permitted")))
    folder = holding(tmp_path, 1, best=1)
    assert folder.best()["update"] == 1
    assert (tmp_path / "best" / "model.safetensors").stat().st_nlink == 1
    assert names(tmp_path) == ["best", "update-00000001"]


def test_too_little_space_is_told_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the bytes of a checkpoint must be free, also for a folder that is still to be made."""
    folder = CheckpointFolder(tmp_path / "not" / "yet")
    free = 40 * 10**12
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2 * free, free, free))
    folder.check_space(free // 4)
    with pytest.raises(WriteError, match=r"--out: .*40000000\.0 MB of checkpoints, 40000000\.0 MB free"):
        folder.check_space(free // 4 + 1)
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import sys, time
from pathlib import Path
from llmlab.lab.checkpoint import CheckpointFolder
with CheckpointFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    time.sleep(int(sys.argv[2]))
"""


def test_two_runs_never_write_to_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the folder a run is refused at once; a kill frees it, and no file locks it."""
    folder = CheckpointFolder(tmp_path / "deep" / "run")
    command = [sys.executable, "-c", HOLDER, str(folder.folder), str(HANG)]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(SettingError, match="another run is writing"), folder.locked():
            raise AssertionError("two runs at once, or one waited for the other")
        other.send_signal(signal.SIGKILL)
        other.wait()
    (folder.folder / "lock").write_text("4194304")  # whatever stands in it, and whoever wrote it
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    with folder.locked():
        folder.save(state(1), 1)
        with pytest.raises(SettingError), folder.locked():
            raise AssertionError("two runs at once")
    with folder.locked():
        assert latest(folder) == 1


def test_the_lock_takes_no_failure_for_its_own(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for failure in (BlockingIOError(), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        with pytest.raises(type(failure)) as caught, folder.locked():
            raise failure
        assert caught.value is failure
    with folder.locked():
        pass


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    """A file in the folder's place, or a link in the lock's, ends in words and touches nothing."""
    (tmp_path / "file").write_text("mine")
    folder = CheckpointFolder(tmp_path / "file")
    with pytest.raises(WriteError, match="--out"), folder.locked():
        raise AssertionError("a file is no folder")
    with pytest.raises(WriteError, match="MB free"):
        folder.save(state(1), 1)
    for question in (folder.has_checkpoints, folder.best, lambda: folder.latest(pytest.fail)):
        with pytest.raises(CheckpointError, match="choose another folder"):
            question()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "file")
    with pytest.raises(WriteError), CheckpointFolder(tmp_path / "run").locked():
        raise AssertionError("a link was followed")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_vanishes_in_mid_run_is_told(tmp_path: Path) -> None:
    """A folder removed in mid-run fails the next save: a disk pulled out must not become a folder elsewhere."""
    folder = CheckpointFolder(tmp_path / "run")
    with folder.locked():
        folder.save(state(1), 1)
        shutil.rmtree(folder.folder)
        with pytest.raises(WriteError, match="update-00000002 "):
            folder.save(state(2), 2)
    assert not folder.folder.exists()


def test_files_have_the_permissions_that_the_user_gives(tmp_path: Path) -> None:
    for mask, mode in ((0o000, 0o666), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            path = holding(tmp_path, mode).folder / f"update-{mode:08d}"
        finally:
            os.umask(before)
        assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {mode}
        assert path.stat().st_mode & 0o777 == 0o777 & ~mask
