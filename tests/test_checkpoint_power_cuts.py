"""Checkpoints after a power cut: every state of the folder that a cut may leave is laid out and read.

The calls of a save are written down as it makes them.  Then, for a cut after each of them, what was not yet synced is
lost in every way: a file's bytes missing, half there or zero, a name given or taken back or not.
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

from faults import bytes_in
from llmlab.lab.checkpoint import CheckpointFolder
from strategies_checkpoint import holding, silent, state


class Step(NamedTuple):
    """One thing that was done: a name given or gone, bytes written, a file or a folder synced."""

    kind: str
    name: str
    inode: int
    data: bytes


class Recorder:
    """Writes down what is done to a folder, in order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, kind: str, name: Any = "", inode: int = 0, data: bytes = b"") -> None:
        """Write down one step."""
        self.steps.append(Step(kind, Path(name).name, inode, data))

    def opened(self, call: Any) -> Any:
        """Return ``open`` that writes down new files and what is written to them."""

        def recording(file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:
            there = call(file, mode, *args, **keywords)
            if set(mode) & set("wxa"):
                inode, write = os.fstat(there.fileno()).st_ino, there.write
                self.add("name", file, inode)

                def recording_write(data: Any) -> Any:
                    self.add("write", file, inode, bytes(data))
                    return write(data)

                there.write = recording_write
            return there

        return recording

    def patched(self, patch: pytest.MonkeyPatch) -> None:
        """Put itself before the calls of the operating system."""
        fsync, replace, link, unlink = os.fsync, os.replace, os.link, os.unlink

        def recording_fsync(handle: int) -> None:
            fsync(handle)
            self.add("sync", inode=os.fstat(handle).st_ino)

        def recording_replace(old: Any, new: Any) -> None:
            replace(old, new)
            self.add("name", new, Path(new).stat().st_ino)
            self.add("gone", old)

        def recording_link(old: Any, new: Any, **keywords: Any) -> None:
            link(old, new, **keywords)
            self.add("name", new, Path(new).stat().st_ino)

        def recording_unlink(name: Any, **keywords: Any) -> None:
            unlink(name, **keywords)
            self.add("gone", name)

        patch.setattr(io, "open", self.opened(io.open))
        for name, call in (
            ("fsync", recording_fsync),
            ("replace", recording_replace),
            ("link", recording_link),
            ("unlink", recording_unlink),
        ):
            patch.setattr(os, name, call)


@contextmanager
def recorded() -> Iterator[list[Step]]:
    """Write down what is done to files while the block runs."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        recorder.patched(patch)
        yield recorder.steps


def contents(steps: list[Step], inode: int) -> set[bytes]:
    """Return what an inode may hold after a power cut: what was synced, and any fate of what was not."""
    whole, synced = b"", b""
    for step in steps:
        if step.kind == "write" and step.inode == inode:
            whole += step.data
        if step.kind == "sync" and step.inode == inode:
            synced = whole
    rest = whole[len(synced) :]
    return {synced, synced + rest[: len(rest) // 2], synced + bytes(len(rest)), whole}


def after_a_power_cut(
    before: dict[str, bytes], steps: list[Step], folder: int
) -> Iterator[tuple[dict[str, bytes], bool]]:
    """Yield what a cut after any of the steps may leave, and whether the cut came after the last one.

    Names that were changed since the folder was last synced may each be changed or not, independently.
    """
    for cut in range(len(steps) + 1):
        done = steps[:cut]
        changes = [place for place, step in enumerate(done) if step.kind in ("name", "gone")]
        synced = [place for place, step in enumerate(done) if step.kind == "sync" and step.inode == folder]
        waiting = [place for place in changes if place > max(synced, default=-1)]
        for lost in itertools.chain.from_iterable(itertools.combinations(waiting, n) for n in range(len(waiting) + 1)):
            there: dict[str, bytes | int] = dict(before)
            for step in (done[place] for place in changes if place not in lost):
                if step.kind == "name":
                    there[step.name] = step.inode
                else:
                    there.pop(step.name, None)
            options = [contents(done, held) if isinstance(held, int) else {held} for held in there.values()]
            for chosen in itertools.product(*options):
                yield dict(zip(there, chosen, strict=True)), cut == len(steps)


def every_cut(folder: Path, then: Callable[[], object], lost: str = "") -> Iterator[tuple[CheckpointFolder, bool]]:
    """Do something in a folder, and yield copies of the folder as power cuts may leave it, and whether it was done.

    ``lost`` pretends that the code syncs no file, or no folder.
    """
    before = bytes_in(folder)
    with recorded() as steps:
        then()
    inode = folder.stat().st_ino
    if lost:
        steps = [step for step in steps if step.kind != "sync" or (step.inode == inode) != (lost == "folder")]
    seen = {}
    for files, done in after_a_power_cut(before, steps, inode):
        seen[tuple(sorted(files.items())), done] = None
    for number, (files, done) in enumerate(seen):
        copy = folder.parent / f"{folder.name}-{number}"
        copy.mkdir()
        for name, content in files:
            (copy / name).write_bytes(content)
        yield CheckpointFolder(copy), done
        shutil.rmtree(copy)


def test_every_power_cut_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Cut anywhere in a save, the latest and the best are the old or the new, and whole; once it is done, the new."""
    folder = holding(tmp_path / "run", 1, 2, 3, best=2)
    found = [
        (left.latest(silent)[0]["update"], left.best()["update"], done)
        for left, done in every_cut(folder.folder, lambda: folder.save(state(4), 4, best=True))
    ]
    assert {(latest, best) for latest, best, _ in found} == {(3, 2), (4, 2), (4, 4)}
    assert {(latest, best) for latest, best, done in found if done} == {(4, 4)}
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


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_the_enumeration_sees_a_missing_sync(tmp_path: Path, lost: str) -> None:
    """Were the file not synced, a cut would leave a damaged newest; were the folder not, a save could be undone."""
    folder = holding(tmp_path / "run", 1)
    told: list[str] = []
    cuts = every_cut(folder.folder, lambda: folder.save(state(2), 2), lost)
    latest_when_done = {left.latest(told.append)[0]["update"] for left, done in cuts if done}
    assert 1 in latest_when_done
    assert bool(told) == (lost == "file")
