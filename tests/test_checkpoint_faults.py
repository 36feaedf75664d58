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
from faults import CALLS, ERRORS, bytes_in, failing, mounted, needs_mount, without_privilege
from llmlab import disk
from llmlab.disk import HIDDEN
from llmlab.errors import WriteError
from llmlab.lab.checkpoint import CheckpointFolder
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


LIMITED = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); "


@pytest.mark.parametrize("limit", [pytest.param("disk", marks=needs_mount), "file"])
def test_a_full_disk_or_a_limit_on_file_size_leaves_the_old_checkpoints(tmp_path: Path, limit: str) -> None:
    """Where there is a megabyte a checkpoint of four fails with the space that is left; the two before it stand."""
    folder, execute = tmp_path / "run", [sys.executable, "-c", LIMITED + "os.execv(sys.argv[1], sys.argv[1:])"]
    found = saver(folder, prefix=mounted(folder, "size=1m") if limit == "disk" else execute)
    assert (found["code"], found["latest"], found["best"], found["heard"], found["names"]) == (7, 2, 1, [], TWO)
    why = "No space left" if limit == "disk" else "File too large"
    assert all(words in str(found["told"]) for words in ("update-00000003 ", why, "MB free"))


@pytest.mark.parametrize("before", [[], ["lock"]], ids=["closed from the start", "closed after the lock"])
def test_a_closed_folder_is_told(tmp_path: Path, before: list[str]) -> None:
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
    kills = os.environ.get("LLMLAB_KILLS", "50")
    command = [sys.executable, "-c", KILLER, HERE, str(tmp_path / "run"), kills]
    done = subprocess.run(command, env=environment(tmp_path), check=True, capture_output=True, timeout=HANG)
    found = json.loads(done.stdout)
    assert (found["said"], found["unreadable"], found["lost"], found["rest"]) == ([], 0, 0, 0)
    assert found["most left"] <= 1
    assert found["left in all"] > 0, "no kill fell into a save: the test shows nothing"
    assert found["saves"] > 10


Tree = dict[int, dict[str, int]]
"""By the number of a folder, the numbers of what is in it, by name."""


class Step(NamedTuple):
    """One thing that was done: names given (or taken, for 0) in a folder, bytes written, a file or folder synced."""

    kind: str
    node: int
    names: dict[str, int]
    data: bytes = b""


class Recorder:
    """Writes down what is done to a folder, in order; all that is met is held open: no inode is given twice."""

    def __init__(self, folder: Path) -> None:
        self.steps: list[Step] = []
        self.held: dict[int, int] = {}
        self.root, there = self.number(folder), [folder, *folder.rglob("*")]
        self.files = {self.number(path): path.read_bytes() for path in there if path.is_file()}
        self.tree: Tree = {
            self.number(path): {inner.name: self.number(inner) for inner in path.iterdir()}
            for path in there
            if path.is_dir()
        }

    def number(self, path: Any) -> int:
        number = Path(path).stat().st_ino
        if number not in self.held:
            self.held[number] = os.open(path, os.O_RDONLY)
        return number

    def named(self, **names: Any) -> None:
        folder = self.number(Path(next(iter(names))).parent)
        self.steps.append(Step("name", folder, {Path(path).name: number for path, number in names.items()}))

    def opened(self, call: Any) -> Any:
        """Return ``open`` that writes down new files and what is written to them."""

        def recording(file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:
            there = call(file, mode, *args, **keywords)
            if set(mode) & set("wxa"):
                number, write = self.number(file), there.write
                self.named(**{str(file): number})

                def recording_write(data: Any) -> Any:
                    self.steps.append(Step("write", number, {}, bytes(data)))
                    return write(data)

                there.write = recording_write
            return there

        return recording

    def wrapped(self, call: Any) -> Any:
        """Return a call of ``os`` on names that writes down what it did."""

        def recording(path: Any, *args: Any) -> None:
            number = 0 if call is MKDIR else self.number(path)
            call(path, *args)
            if call in (RENAME, LINK):
                self.named(**{str(args[0]): number} | ({} if call is LINK else {str(path): 0}))
            else:
                self.named(**{str(path): self.number(path) if call is MKDIR else 0})

        return recording

    def fsync(self, handle: int) -> None:
        """Write down that something is on the disk."""
        self.steps.append(Step("sync", os.fstat(handle).st_ino, {}))


RENAME, LINK, MKDIR = os.rename, os.link, os.mkdir


@contextmanager
def recorded(folder: Path) -> Iterator[Recorder]:
    """Write down what is done to a folder while the block runs."""
    recorder = Recorder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", recorder.opened(io.open))
        patch.setattr(os, "fsync", recorder.fsync)
        for call in (RENAME, LINK, MKDIR, os.unlink, os.rmdir):
            patch.setattr(os, call.__name__, recorder.wrapped(call))
        yield recorder
    for handle in recorder.held.values():
        os.close(handle)


def contents(steps: list[Step], number: int) -> set[bytes]:
    """Return what a new file may hold after a power cut: what was synced, and any fate of what was not."""
    whole, synced = b"", b""
    for step in steps:
        if step.node == number and step.kind == "write":
            whole += step.data
        if step.node == number and step.kind == "sync":
            synced = whole
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
            tree: Tree = {folder: dict(names) for folder, names in recorder.tree.items()}
            for step in (done[place] for place in changes if place not in lost):
                tree.setdefault(step.node, {}).update(step.names)
            there = {
                f"{folder}/{name}": file
                for folder, inner in tree[recorder.root].items()
                if inner and not folder.startswith(HIDDEN)  # nobody reads those
                for name, file in tree.get(inner, {}).items()
                if file
            }
            options = [
                {recorder.files[file]} if file in recorder.files else contents(done, file) for file in there.values()
            ]
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
    seen = {}
    for files, done in after_a_power_cut(recorder, steps):
        seen[tuple(sorted(files.items())), done] = None
    for number, (files, done) in enumerate(seen):
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
    found = [
        (left.latest(silent)[0].get("new", False), left.best().get("new", False), done)
        for left, done in every_cut(folder.folder, lambda: folder.save(new, update, best=True))
    ]
    assert {(latest, best) for latest, best, _ in found} == {(False, False), (True, False), (True, True)}
    assert {(latest, best) for latest, best, done in found if done} == {(True, True)}
    assert len(found) > 10


def test_every_power_cut_of_a_first_save_leaves_nothing_or_all(tmp_path: Path) -> None:
    folder = holding(tmp_path / "run")
    cuts = every_cut(folder.folder, lambda: folder.save(state(1), 1, best=True))
    found = {(left.latest(silent) is not None, done) for left, done in cuts}
    assert found == {(False, False), (True, False), (True, True)}


def test_a_power_cut_while_later_ones_are_set_aside_loses_none(tmp_path: Path) -> None:
    """A run that went back to update 1 and saves at 2: after any cut one of the three states is taken, none is lost."""
    folder = holding(tmp_path / "run", 1, 3)
    for left, done in every_cut(folder.folder, lambda: folder.save(state(2), 2)):
        assert left.latest(silent)[0]["update"] in ({2} if done else {1, 2, 3})


@pytest.mark.parametrize(("lost", "damage"), [("file", True), ("checkpoint", True), ("run", False)])
def test_the_enumeration_sees_a_missing_sync(tmp_path: Path, lost: str, damage: bool) -> None:
    """Were a file or its folder not synced, a cut would leave damage; were the run's folder not, undo a save."""
    folder = holding(tmp_path / "run", 1)
    told: list[str] = []
    cuts = every_cut(folder.folder, lambda: folder.save(state(2), 2), lost)
    latest_when_done = {left.latest(told.append)[0]["update"] for left, done in cuts if done}
    assert 1 in latest_when_done
    assert bool(told) == damage
