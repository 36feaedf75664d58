"""Checkpoints after a power cut: every state of the folder that a cut may leave is laid out and read.

The calls of a save are written down as it makes them.  Then, for a cut after each of them, what was not yet synced is
lost in every way: a file's bytes missing, half there or zero, a name given or taken back or not.  A rename is one
change, there or not, as file systems with a journal promise.
"""

import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmlab.disk import HIDDEN
from llmlab.lab.checkpoint import CheckpointFolder
from strategies_checkpoint import holding, silent, state

Tree = dict[int, dict[str, int]]
"""By the number of a folder, the numbers of what is in it, by name."""


class Step(NamedTuple):
    """One thing that was done: names given (or taken, for 0) in a folder, bytes written, a file or folder synced."""

    kind: str
    node: int
    names: dict[str, int]
    data: bytes = b""


class Recorder:
    """Writes down what is done to a folder, in order; whatever is made gets a number that nothing had before it."""

    def __init__(self, folder: Path) -> None:
        self.steps: list[Step] = []
        self.numbers: dict[int, int] = {}
        self.tree: Tree = {}
        self.files: dict[int, bytes] = {}
        self.root = self.taken(folder)

    def taken(self, path: Path) -> int:
        """Write down what is there before, and return its number."""
        number = self.made(path)
        if path.is_dir():
            self.tree[number] = {inner.name: self.taken(inner) for inner in path.iterdir()}
        else:
            self.files[number] = path.read_bytes()
        return number

    def made(self, path: Any) -> int:
        """Give something that is new a number."""
        number = self.numbers[Path(path).stat().st_ino] = len(self.numbers) + len(self.steps) + 1
        return number

    def number(self, path: Any) -> int:
        """Return the number of something that is there."""
        return self.numbers[Path(path).stat().st_ino]

    def named(self, **names: Any) -> None:
        """Write down names in one folder, by path."""
        folder = self.number(Path(next(iter(names))).parent)
        self.steps.append(Step("name", folder, {Path(path).name: number for path, number in names.items()}))

    def opened(self, call: Any) -> Any:
        """Return ``open`` that writes down new files and what is written to them."""

        def recording(file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:
            there = call(file, mode, *args, **keywords)
            if set(mode) & set("wxa"):
                number, write = self.made(file), there.write
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
            before = 0 if call is MKDIR else self.number(path)
            call(path, *args)
            if call in (RENAME, LINK):
                self.named(**{str(args[0]): before} | ({} if call is LINK else {str(path): 0}))
            else:
                self.named(**{str(path): self.made(path) if call is MKDIR else 0})

        return recording

    def fsync(self, handle: int) -> None:
        """Write down that something is on the disk."""
        self.steps.append(Step("sync", self.numbers[os.fstat(handle).st_ino], {}))


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
    written = {step.node for step in recorder.steps if step.kind == "write"}
    kinds = {number: "file" if number in written else "checkpoint" for number in recorder.numbers.values()}
    kinds[recorder.root] = "run"
    steps = [step for step in recorder.steps if step.kind != "sync" or kinds[step.node] != lost]
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
    """Cut anywhere in a save, the latest and the best are the old or the new, and whole; once it is done, the new."""
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
    """In an empty folder the first checkpoint is there whole or not at all; once it is called saved, it is there."""
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
