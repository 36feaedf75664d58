"""Checkpoints when the disk or the process fails: the newest or the one before it can be read, whatever happens.

Faults are raised at the first, second, third … call of the operating system until a save passes; small disks, limits
and kills are real.
"""

import errno
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HANG, environment
from faults import CALLS, ERRORS, bytes_in, failing, mounted, needs_mount, without_privilege
from llmlab import disk
from llmlab.errors import WriteError
from strategies_checkpoint import holding, silent, state

HERE = str(Path(__file__).parent)


@pytest.mark.parametrize("update", [4, 3], ids=["a new update", "the same update"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("number", [*ERRORS, errno.EINTR, errno.EDQUOT], ids=lambda number: errno.errorcode[number])
def test_a_save_succeeds_whole_or_leaves_the_old(tmp_path: Path, number: int, lasting: bool, update: int) -> None:
    """At whichever call the disk fails: a WriteError with path and free space, the old files as they were, no rest."""
    new = state(update) | {"new": True}
    for at in itertools.count(1):
        folder = holding(tmp_path / str(at), 1, 2, 3, best=2)
        before, told = bytes_in(folder.folder), ""
        with failing(at, number, lasting=lasting, calls=(*CALLS, "link", "open")) as faults:
            try:
                folder.save(new, update, best=True)
            except WriteError as error:
                told = str(error)
        after = bytes_in(folder.folder)
        if told:
            assert all(words in told for words in (f"update-{update:08d} ", os.strerror(number), "MB free"))
            older = [name for name in before if not name.startswith(("best", f"update-{update:08d}"))]
            assert {name: after[name] for name in older} == {name: before[name] for name in older}
        news = {True, None} if told else {True}
        assert folder.latest(silent)[0].get("new") in news
        assert folder.latest(silent)[0]["update"] in ({3, update} if told else {update})
        assert folder.best().get("new") in news
        assert folder.best()["update"] in ({2, update} if told else {update})
        assert not list(folder.folder.glob(f"{disk.HIDDEN}*"))
        folder.save(state(5), 5)
        assert folder.latest(silent)[0]["update"] == 5
        if faults.calls < at:
            break
    assert at > 7


SAVER = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from llmlab.errors import WriteError
from llmlab.lab.checkpoint import CheckpointFolder
from strategies_checkpoint import state
folder, told, code = CheckpointFolder(Path(sys.argv[2])), "", 0
try:
    with folder.locked():
        folder.save(state(1), 1, best=True)
        folder.save(state(2), 2)
        folder.save(state(3, int(sys.argv[3])), 3, best=True)
except WriteError as error:
    told, code = str(error), error.exit_code
heard = []
found = folder.latest(heard.append)
print(json.dumps({"told": told, "code": code, "heard": heard, "latest": found and found[0]["update"],
                  "best": (folder.best() or {}).get("update"), "names": sorted(os.listdir(folder.folder))}))
"""
TWO = ["best", "lock", "update-00000001", "update-00000002"]


def saver(folder: Path, *, prefix: list[str], numbers: int = 1_000_000) -> dict[str, object]:
    """Save two small checkpoints and one of four megabytes in a process of its own, and return what it found."""
    command = [*prefix, sys.executable, "-c", SAVER, HERE, str(folder), str(numbers)]
    done = subprocess.run(command, env=environment(folder.parent), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, object] = json.loads(done.stdout)
    return found


@needs_mount
def test_a_full_disk_leaves_the_old_checkpoints(tmp_path: Path) -> None:
    """On a disk of one megabyte a checkpoint of four fails with the space that is left; the two before it stand."""
    found = saver(tmp_path / "disk", prefix=mounted(tmp_path / "disk", "size=1m"))
    assert (found["code"], found["latest"], found["best"], found["heard"], found["names"]) == (7, 2, 1, [], TWO)
    assert all(words in str(found["told"]) for words in ("update-00000003 ", "No space left", "MB free"))


def test_a_limit_on_file_size_leaves_the_old_checkpoints(tmp_path: Path) -> None:
    """Where files may not grow beyond a megabyte the same holds."""
    limit = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); "
    prefix = [sys.executable, "-c", limit + "os.execv(sys.argv[1], sys.argv[1:])"]
    found = saver(tmp_path / "run", prefix=prefix)
    assert (found["code"], found["latest"], found["best"], found["heard"], found["names"]) == (7, 2, 1, [], TWO)
    assert "File too large" in str(found["told"])


@pytest.mark.parametrize("before", [[], ["lock"]], ids=["closed from the start", "closed after the lock"])
def test_a_closed_folder_is_told(tmp_path: Path, before: list[str]) -> None:
    """A folder that we may not write to fails the lock or the first save, with its name."""
    prefix, folder = without_privilege(), tmp_path / "run"
    folder.mkdir()
    for name in before:
        (folder / name).touch()
    folder.chmod(0o555)
    found = saver(folder, prefix=prefix)
    folder.chmod(0o755)
    assert (found["code"], found["latest"], found["names"]) == (7, None, before)
    assert "Permission denied" in str(found["told"])
    assert str(folder) in str(found["told"])


KILLER = """
import json, mmap, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from llmlab.disk import HIDDEN
from llmlab.lab.checkpoint import CheckpointFolder, read
from strategies_checkpoint import state
folder, dice, kills = CheckpointFolder(Path(sys.argv[2])), random.Random(7), int(sys.argv[3])
shared = mmap.mmap(-1, 8)  # the last update that the child called saved
said, unreadable, lost, most_left, left_in_all, inside = [], 0, 0, 0, 0, 0
begun = time.monotonic()
with folder.locked():
    folder.save(state(0, 250_000), 0, best=True)
one_save, kill = time.monotonic() - begun, 0
# on a busy machine a child may have no time for anything
while kill < kills or left_in_all == 0 or int.from_bytes(shared[:], "big") <= 10:
    kill += 1
    child = os.fork()
    if child == 0:
        with folder.locked():
            update = folder.latest(said.append)[0]["update"]
            while True:
                update += 1
                folder.save(state(update, 250_000), update, best=update % 2 == 0)
                shared[:] = update.to_bytes(8, "big")
    time.sleep(dice.uniform(0, 6 * one_save))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    left = len(list(folder.folder.glob(HIDDEN + "*")))
    most_left, left_in_all = max(most_left, left), left_in_all + left
    for path in [*folder.folder.glob("update-*"), folder.folder / "best"]:
        try:
            read(path)
        except Exception:
            unreadable += 1
    lost += folder.latest(said.append)[0]["update"] < int.from_bytes(shared[:], "big")
with folder.locked():
    rest = len(list(folder.folder.glob(HIDDEN + "*")))
print(json.dumps({"said": said, "unreadable": unreadable, "lost": lost, "most left": most_left,
                  "left in all": left_in_all, "rest": rest, "saves": int.from_bytes(shared[:], "big")}))
"""


def test_fifty_kills_lose_nothing_that_was_called_saved(tmp_path: Path) -> None:
    """After each SIGKILL every checkpoint is whole, nothing that was called saved is lost, and no rest piles up."""
    kills = os.environ.get("LLMLAB_KILLS", "50")
    command = [sys.executable, "-c", KILLER, HERE, str(tmp_path / "run"), kills]
    done = subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True, timeout=HANG)
    found = json.loads(done.stdout)
    assert (found["said"], found["unreadable"], found["lost"], found["rest"]) == ([], 0, 0, 0)
    assert found["most left"] <= 1
    assert found["left in all"] > 0, "no kill fell into a save: the test shows nothing"
    assert found["saves"] > 10
