"""Checkpoints when disk, process or power fails: the newest or the one before it can be read, whatever happens.

Faults are raised at the first, second, third … call of the operating system until a save passes; small disks, limits
and kills are real.  For power cuts the calls of a save are written down as it makes them.  Then, for a cut after each
of them, what was not yet synced is lost in every way: a file's bytes missing, half there or zero, a name given or taken
back or not.  A rename is one change, there or not, as file systems with a journal promise.
"""

import errno
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import HANG, environment
from faults import CALLS, ERRORS, bytes_in, failing, limited, mounted, needs_mount, without_privilege
from llmlab.disk import HIDDEN
from llmlab.errors import WriteError
from llmlab.lab.checkpoint import CheckpointFolder
from strategies_checkpoint import holding, saved_thrice, state, written

HERE = str(Path(__file__).parent)


def found_in(folder: CheckpointFolder) -> tuple[int, bool, int, bool]:
    """Return the updates of the newest state and of the best, each with whether it is new; nothing may be said."""
    newest, best = folder.latest(pytest.fail), folder.best()
    assert newest is not None
    assert best is not None
    return newest[0]["update"], newest[0].get("new", False), best["update"], best.get("new", False)


@pytest.mark.parametrize("update", [4, 3], ids=["a new update", "the same update"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("number", [*ERRORS, errno.EINTR, errno.EDQUOT], ids=lambda number: errno.errorcode[number])
def test_a_save_succeeds_whole_or_leaves_the_old(tmp_path: Path, number: int, lasting: bool, update: int) -> None:
    """At whichever call the disk fails: a WriteError with path and free space, the old files as they were, no rest."""
    new, old = state(update) | {"new": True}, ((3, False), (update, True))
    for at in itertools.count(1):
        folder = holding(tmp_path / str(at), 1, 2, 3, best=2)
        before, told = bytes_in(folder.folder), ""
        with failing(at, number, lasting=lasting, calls=(*CALLS, "link", "open")) as faults:
            try:
                folder.save(new, update, best=True)
            except WriteError as error:
                told = str(error)
        after, found = bytes_in(folder.folder), found_in(folder)
        if told:
            assert all(words in told for words in (f"update-{update:08d} ", os.strerror(number), "MB free"))
            older = {name for name in before if not name.startswith(("best", f"update-{update:08d}"))}
            assert {name: after[name] for name in older} == {name: before[name] for name in older}
            assert found[:2] in old
            assert found[2:] in ((2, False), (update, True))
        else:
            assert found == (update, True, update, True)
        assert not list(folder.folder.glob(f"{HIDDEN}*"))
        folder.save(state(5), 5)
        assert found_in(folder)[0] == 5
        if faults.calls < at:
            break
    assert at > 7


SAVER = """
import json, sys
from pathlib import Path
sys.modules["numpy"] = None  # nor is it needed
sys.path.insert(0, sys.argv[1])
from strategies_checkpoint import saved_thrice
print(json.dumps([saved_thrice(Path(folder)) for folder in sys.argv[2:]]))
"""


def saved_by(prefix: list[str], *folders: Path) -> list[dict[str, Any]]:
    """Return what ``saved_thrice`` finds in folders, in a process of its own, which has no NumPy."""
    command = [*prefix, sys.executable, "-W", "ignore", "-c", SAVER, HERE, *map(str, folders)]
    done = subprocess.run(command, env=environment(folders[0].parent), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def assert_old_ones_stand(found: dict[str, Any], why: str) -> None:
    """Assert that the third save failed with its path, the reason and the space that is left, and that two stand."""
    kept = ["best", "lock", "update-00000001", "update-00000002"]
    assert (found["code"], found["latest"], found["best"], found["heard"], found["names"]) == (7, 2, 1, [], kept)
    assert all(words in found["told"] for words in ("update-00000003 ", why, "MB free"))


@needs_mount
def test_a_full_disk_leaves_the_old_checkpoints(tmp_path: Path) -> None:
    (found,) = saved_by(mounted(tmp_path / "run", "size=1m"), tmp_path / "run")
    assert_old_ones_stand(found, "No space left")


def test_a_limit_on_file_size_leaves_the_old_checkpoints(tmp_path: Path) -> None:
    with limited(10**6):
        found = saved_thrice(tmp_path / "run")
    assert_old_ones_stand(found, "File too large")


def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    """Closed from the start, or after the lock."""
    prefix, names = without_privilege(), {tmp_path / "start": [], tmp_path / "locked": ["lock"]}
    for folder, before in names.items():
        written(folder, dict.fromkeys(before, b"")).chmod(0o555)
    for (folder, before), found in zip(names.items(), saved_by(prefix, *names), strict=True):
        folder.chmod(0o755)
        assert (found["code"], found["latest"], found["names"]) == (7, None, before)
        assert all(words in found["told"] for words in ("Permission denied", str(folder)))


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
    kills = os.environ.get("LLMLAB_KILLS", "50")
    command = [sys.executable, "-c", KILLER, HERE, str(tmp_path / "run"), kills]
    done = subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True, timeout=HANG)
    found = json.loads(done.stdout)
    assert (found["said"], found["unreadable"], found["lost"], found["rest"]) == ([], 0, 0, 0)
    assert found["most left"] <= 1
    assert found["left in all"] > 0, "no kill fell into a save: the test shows nothing"
    assert found["saves"] > 10


class Step(NamedTuple):
    """One thing that was done: names given (or taken, for 0) in a folder, bytes written, a file or folder synced."""

    kind: str
    node: int
    names: dict[str, int]
    data: bytes = b""


class Recorder:
    """Writes down what is done to a folder, in order; all that is met is held open: no inode is given twice.

    ``tree`` has by the number of a folder the numbers of what is in it by name, ``files`` the bytes of a file.
    """

    def __init__(self, folder: Path) -> None:
        self.steps: list[Step] = []
        self.held: dict[int, int] = {}
        self.root, there = self.number(folder), [folder, *folder.rglob("*")]
        self.files = {self.number(path): path.read_bytes() for path in there if path.is_file()}
        self.tree = {
            self.number(path): {inner.name: self.number(inner) for inner in path.iterdir()}
            for path in there
            if path.is_dir()
        }

    def number(self, path: Any) -> int:
        number = Path(path).stat().st_ino
        if number not in self.held:
            self.held[number] = os.open(path, os.O_RDONLY)
        return number

    def named(self, *names: tuple[Any, int]) -> None:
        folder = self.number(Path(names[0][0]).parent)
        self.steps.append(Step("name", folder, {Path(path).name: number for path, number in names}))

    def opened(self, file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:
        """Open a file; if it is new, write that down, and what is written to it."""
        there = OPEN(file, mode, *args, **keywords)
        if set(mode) & set("wxa"):
            number, write = self.number(file), there.write
            self.named((file, number))

            def writing(data: Any) -> Any:
                self.steps.append(Step("write", number, {}, bytes(data)))
                return write(data)

            there.write = writing
        return there

    def renamed(self, path: Any, new: Any) -> None:
        number = self.number(path)
        RENAME(path, new)
        self.named((new, number), (path, 0))

    def linked(self, path: Any, new: Any) -> None:
        LINK(path, new)
        self.named((new, self.number(new)))

    def made(self, path: Any, *mode: int) -> None:
        MKDIR(path, *mode)
        self.named((path, self.number(path)))

    def gone(self, call: Any) -> Any:
        return lambda path: (self.number(path), call(path), self.named((path, 0)))

    def fsync(self, handle: int) -> None:
        """Write down that something is on the disk."""
        self.steps.append(Step("sync", os.fstat(handle).st_ino, {}))


OPEN, RENAME, LINK, MKDIR = io.open, os.rename, os.link, os.mkdir


@contextmanager
def recorded(folder: Path) -> Iterator[Recorder]:
    """Write down what is done to a folder while the block runs."""
    recorder = Recorder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", recorder.opened)
        for name, call in (("fsync", recorder.fsync), ("rename", recorder.renamed), ("link", recorder.linked)):
            patch.setattr(os, name, call)
        patch.setattr(os, "mkdir", recorder.made)
        for call in (os.unlink, os.rmdir):
            patch.setattr(os, call.__name__, recorder.gone(call))
        yield recorder
    for handle in recorder.held.values():
        os.close(handle)


def contents(steps: list[Step], number: int, before: bytes) -> set[bytes]:
    """Return what a file may hold after a power cut: what was synced, and any fate of what was not."""
    whole = synced = before
    for step in steps:
        if step.node == number:
            whole += step.data
            synced = whole if step.kind == "sync" else synced
    rest = whole[len(synced) :]
    return {synced, synced + rest[: len(rest) // 2], synced + bytes(len(rest)), whole}


def after_a_power_cut(recorder: Recorder, steps: list[Step]) -> Iterator[tuple[dict[str, bytes], bool]]:
    """Yield the files that a cut after any of the steps may leave, and whether the cut came after the last one.

    Names that were changed since their folder was last synced may each be changed or not, independently.
    """
    for cut in range(len(steps) + 1):
        done = steps[:cut]
        last = {step.node: place for place, step in enumerate(done) if step.kind == "sync"}
        changes = [place for place, step in enumerate(done) if step.kind == "name"]
        waiting = [place for place in changes if place > last.get(done[place].node, -1)]
        for lost in itertools.chain.from_iterable(itertools.combinations(waiting, n) for n in range(len(waiting) + 1)):
            tree = {folder: dict(names) for folder, names in recorder.tree.items()}
            for step in (done[place] for place in changes if place not in lost):
                tree.setdefault(step.node, {}).update(step.names)
            there = {
                f"{folder}/{name}": file
                for folder, inner in tree[recorder.root].items()
                if inner and not folder.startswith(HIDDEN)  # nobody reads those
                for name, file in tree.get(inner, {}).items()
                if file
            }
            options = [contents(done, file, recorder.files.get(file, b"")) for file in there.values()]
            for chosen in itertools.product(*options):
                yield dict(zip(there, chosen, strict=True)), cut == len(steps)


def every_cut(folder: Path, then: Callable[[], object], lost: str = "") -> Iterator[tuple[CheckpointFolder, bool]]:
    """Do something in a folder, and yield copies of the folder as power cuts may leave it, and whether it was done.

    ``lost`` pretends that the code syncs no file, or not the folder of a checkpoint, or not the folder of the run.
    """
    with recorded(folder) as recorder:
        then()
    kinds = {recorder.root: "run"} | {step.node: "file" for step in recorder.steps if step.kind == "write"}
    steps = [step for step in recorder.steps if step.kind != "sync" or kinds.get(step.node, "checkpoint") != lost]
    seen = {(tuple(sorted(files.items())), done) for files, done in after_a_power_cut(recorder, steps)}
    for number, (files, done) in enumerate(sorted(seen)):
        copy = folder.parent / f"{folder.name}-{number}"
        copy.mkdir()
        for name, content in files:
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_bytes(content)
        yield CheckpointFolder(copy), done
        shutil.rmtree(copy)


@pytest.mark.parametrize("update", [4, 3], ids=["a new update", "the same update"])
def test_every_power_cut_leaves_the_old_or_the_new(tmp_path: Path, update: int) -> None:
    folder = holding(tmp_path / "run", 1, 2, 3, best=2)
    new = state(update) | {"new": True}
    cuts = every_cut(folder.folder, lambda: folder.save(new, update, best=True))
    found = [(*found_in(left)[1::2], done) for left, done in cuts]
    assert {(newest, best) for newest, best, _ in found} == {(False, False), (True, False), (True, True)}
    assert {(newest, best) for newest, best, done in found if done} == {(True, True)}
    assert len(found) > 10


def test_every_power_cut_of_a_first_save_leaves_nothing_or_all(tmp_path: Path) -> None:
    folder = holding(tmp_path / "run")
    cuts = every_cut(folder.folder, lambda: folder.save(state(1), 1, best=True))
    found = {(left.latest(pytest.fail) is not None, done) for left, done in cuts}
    assert found == {(False, False), (True, False), (True, True)}


def test_a_power_cut_while_later_ones_are_set_aside_loses_none(tmp_path: Path) -> None:
    """A run that went back to update 1 and saves at 2: after any cut one of the three states is taken, none is lost."""
    folder = holding(tmp_path / "run", 1, 3)
    for left, done in every_cut(folder.folder, lambda: folder.save(state(2), 2)):
        assert left.latest(pytest.fail)[0]["update"] in ({2} if done else {1, 2, 3})


@pytest.mark.parametrize(("lost", "damage"), [("file", True), ("checkpoint", True), ("run", False)])
def test_the_enumeration_sees_a_missing_sync(tmp_path: Path, lost: str, damage: bool) -> None:
    """Were a file or its folder not synced, a cut would leave damage; were the run's folder not, undo a save."""
    folder = holding(tmp_path / "run", 1)
    told: list[str] = []
    cuts = every_cut(folder.folder, lambda: folder.save(state(2), 2), lost)
    latest_when_done = {left.latest(told.append)[0]["update"] for left, done in cuts if done}
    assert 1 in latest_when_done
    assert bool(told) == damage
