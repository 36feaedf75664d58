"""Checkpoints: what a run needs to go on, kept so that no kill, full disk or flipped bit goes unnoticed.

A checkpoint is a folder; of a run the last three stand beside each other, and the best one::

    update-00001234/
        model.safetensors      the parameters, by the names that they have in the code
        optimizer.safetensors  what the update rule remembers of each parameter, and its count of updates
        run.json               all else: format, settings, seed, vocabulary, progress, history, versions
    best/                      the same of the best epoch

Anyone's ``safetensors.torch.load_file`` opens the model; ``vocabulary`` in ``run.json`` lists its words by number.
The first line of ``run.json`` is a SHA-256 of all the others, and its last one has those of the other two files.  By
itself safetensors reads a file with a flipped bit as other numbers, and says nothing.  Here not one byte is believed
before its SHA-256 is right, and no byte can be code.
"""

import contextlib
import errno
import hashlib
import json
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
from filelock import FileLock, Timeout
from safetensors import TensorSpec
from torch import Tensor

from llmlab.disk import OLD, remove_folder, replace_folder, standing, sweep
from llmlab.errors import CheckpointError, SettingError, WriteError

State = dict[str, Any]
"""``model`` and ``optimizer``, where they are there, are dicts of tensors by name; all else is JSON without NaN."""

FORMAT = 2
RUN, TENSORS = "run.json", {"model.safetensors": "model", "optimizer.safetensors": "optimizer"}

LARGEST, LARGEST_RUN = 4 * 2**30, 2**25
"""A longer file is refused before it is read: a hole in a file costs nothing to make long.  JSON grows when read."""

BYTES_KEPT = 12
"""Bytes of a checkpoint for each parameter: its value and Adam's two means, in fp32."""

KEPT = 3
"""How many of a run's checkpoints stay, and of those that were set aside."""

NAME = re.compile(rf"update-([0-9]{{8}}|[1-9][0-9]{{8,}})({OLD})?")
WAY_OUT = "give another checkpoint, or train anew"
EARLIER = "of an earlier llmlab, whose .ckpt files this one does not read"


class NewerFormatError(CheckpointError):
    """The checkpoint may well be good, but only a newer llmlab can tell."""


# ---- one checkpoint ---------------------------------------------------------------------------------------------


def packed(state: State) -> dict[str, bytes]:
    """Return a state as the files of a checkpoint, by name; the same state always gives the same bytes.

    What would not come back as it is is a ``TypeError`` that says where it stands.
    """
    files = {name: tensor_file(key, state[key]) for name, key in TENSORS.items() if key in state}
    plain = {"format": FORMAT, **{key: value for key, value in state.items() if key not in TENSORS.values()}}
    plain["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    lines = (",\n".join(_line(key, value) for key, value in plain.items()) + "}\n").encode()
    return files | {RUN: _first_line(lines) + lines}


def tensor_file(key: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return tensors as a safetensors file; safetensors' own function for that would need NumPy."""
    try:
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        specs = {
            name: TensorSpec(
                dtype=str(one.dtype).removeprefix("torch."),
                shape=one.shape,
                data_ptr=one.data_ptr(),
                data_len=one.nbytes,
            )
            for name, one in held.items()
        }
        return bytes(safetensors.serialize(specs, metadata))
    except Exception as error:  # whatever torch and safetensors raise at what is no plain tensor
        raise TypeError(f"state[{key!r}]: no dict of plain tensors: {error}") from error


def _line(key: str, value: Any) -> str:
    try:
        text = json.dumps(value, allow_nan=False)
        if json.loads(text) != value:
            raise TypeError("it would come back as something else")
        return f"{json.dumps(key)}: {text}"
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"state[{key!r}]: no JSON: {error}") from error


def _first_line(others: bytes) -> bytes:
    return b'{"sha256": "%s",\n' % hashlib.sha256(others).hexdigest().encode()


def read(path: Path) -> State:
    """Return the state in a checkpoint, its tensors on the CPU.

    Raises:
        CheckpointError: there is no such folder, or it is not whole, not ours, or of another version.
    """
    try:
        if path.suffix == ".ckpt" or path.is_file():
            raise ValueError(EARLIER if path.suffix == ".ckpt" else f"a file; a checkpoint is a folder with a {RUN}")
        return unpacked(partial(_content, standing(path)))
    except Exception as error:  # what stands under a right checksum may still be anything
        kind = type(error) if isinstance(error, CheckpointError) else CheckpointError
        raise kind(f"{path}: {' '.join(str(error).split())[:200]}; {WAY_OUT}") from error


def unpacked(content: Callable[[str], bytes]) -> State:
    """Return the state in the files of a checkpoint, whose bytes ``content`` returns by name.

    Any exception says that they are damaged, no checkpoint, or of a newer llmlab.
    """
    data = content(RUN)
    first, _, others = data.partition(b"\n")
    if first + b"\n" != _first_line(others):
        raise ValueError(f"{RUN} is cut off, damaged, or no checkpoint's: its SHA-256 is not right")
    state: State = json.loads(data.decode(), parse_constant=_no_json)
    if state["format"] > FORMAT:
        raise NewerFormatError(f"format {state['format']}, this llmlab reads format {FORMAT}: update llmlab")
    del state["format"], state["sha256"]
    for name, digest in state.pop("files").items():
        key, data = TENSORS[name], content(name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"{name} is cut off or damaged: its SHA-256 is not right")
        state[key] = safetensors.torch.load(data)
    return state


def _no_json(constant: str) -> None:
    raise ValueError(f"{RUN} holds {constant}, which is no JSON")


def _content(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of a checkpoint, if it is one and not too long."""
    path = folder / name
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise ValueError(f"{name} is not a file")
        if found.st_size > (LARGEST_RUN if name == RUN else LARGEST):
            raise ValueError(f"{name} is {found.st_size:,} bytes long, more than are ever read")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from error


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is one checkpoint, or a file that somebody takes for one; not the folder of a run."""
    return path.is_file() or any((standing(path) / name).exists() for name in (RUN, *TENSORS))


# ---- the checkpoints of a run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run: ``update-<8 digits>``, the last three of them, and ``best``."""

    folder: Path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other runs out of it; a lock ends with its process, however that ends."""
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise SettingError(f"--out: another run is writing to {self.folder}; choose another folder") from error
        except OSError as error:
            raise self._unwritten(error, self.folder) from error
        try:
            sweep(self.folder)
            yield
        finally:
            lock.release()

    def check_space(self, nbytes: int) -> None:
        """Refuse early, before a run, that four checkpoints of so many bytes (three and the best) have no room."""
        try:
            free = self._free()
        except OSError as error:
            raise self._unwritten(error, self.folder) from error
        if free < 4 * nbytes:
            need = f"{4 * nbytes / 1e6:.1f} MB of checkpoints, {free / 1e6:.1f} MB free"
            raise WriteError(f"--out: {self.folder}: {need}; make room, or choose another folder")

    def save(self, state: State, update: int, *, best: bool = False) -> Path:
        """Write a checkpoint and return its path once it is on the disk whole; keep the last three, and the best.

        Checkpoints of later updates, which a run has that went on from an earlier one, are set aside under other
        names: they are no longer this run's past.  The last three of those stay.

        Raises:
            WriteError: it was not saved; every older one stands.
            TypeError: the state holds something that would not come back (see ``packed``).
        """
        path, files = self._path(update), packed(state)
        try:
            if max(map(len, files.values())) > LARGEST or len(files[RUN]) > LARGEST_RUN:
                raise OSError(errno.EFBIG, "it is longer than what would be read back")
            sweep(self.folder)
            for later in self._updates(after=update):
                aside = self.folder / f"aside-{later:08d}"
                remove_folder(aside)
                standing(self._path(later)).rename(aside)
            replace_folder(path, files)
            if best:
                replace_folder(self._best, files, path)
            for place in (path, self._best)[: 1 + best]:
                if any((place / name).stat().st_size != len(data) for name, data in files.items()):
                    raise OSError(errno.EIO, "what was written is not there")
        except OSError as error:
            raise self._unwritten(error, path) from error
        with contextlib.suppress(OSError):  # the new one stands; the next save tries again
            asides = sorted(self.folder.glob("aside-[0-9]*"))
            for old in [*(standing(self._path(old)) for old in self._updates()[:-KEPT]), *asides[:-KEPT]]:
                remove_folder(old)
        return path

    def latest(self, say: Callable[[str], None]) -> tuple[State, Path] | None:
        """Return the newest good state with its path; None if there has never been one.

        A damaged one is passed over for an older one, and ``say`` is told which, why, and how many updates are lost;
        where none can be used, that is a ``CheckpointError``, and nothing is deleted.
        """
        damaged: dict[int, str] = {}
        for update in reversed(self._found()):
            path = self._path(update)
            try:
                state = read(path)
            except NewerFormatError:
                raise
            except CheckpointError as error:
                damaged[update] = str(error).removesuffix(f"; {WAY_OUT}")
                continue
            for lost, why in damaged.items():
                say(f"{why}; going on from {path.name}: {lost - update} updates are lost")
            return state, path
        if damaged:
            reasons = "; ".join(damaged.values())
            raise CheckpointError(f"no checkpoint can be used: {reasons}; restore one, or start anew in another folder")
        return None

    def best(self) -> State | None:
        """Return the state that was saved as the best; None if there is none, an error if it cannot be used."""
        self._found()  # a folder that cannot be read is not one without a best
        return read(self._best) if standing(self._best).exists() else None

    def has_checkpoints(self) -> bool:
        """Return whether a run has saved anything here, usable or not."""
        return bool(self._found()) or standing(self._best).exists()

    def _path(self, update: int) -> Path:
        if update < 0:
            raise ValueError(f"update {update} is negative")
        return self.folder / f"update-{update:08d}"

    @property
    def _best(self) -> Path:
        return self.folder / "best"

    def _updates(self, after: int = -1) -> list[int]:
        """Return the numbers of the checkpoints here, in order."""
        found = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted({number for match in found if match and (number := int(match[1])) > after})

    def _found(self) -> list[int]:
        try:
            found = self._updates()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder}: {error.strerror}; choose another folder") from error
        if not found and any(self.folder.glob("*.ckpt")):
            raise CheckpointError(f"{self.folder}: {EARLIER}; {WAY_OUT}")
        return found

    def _unwritten(self, error: OSError, path: Path) -> WriteError:
        try:
            free = f", {self._free() / 1e6:.1f} MB free"
        except OSError:
            free = ""
        return WriteError(
            f"--out: {path} was not written: {error.strerror or error}{free}; make room, or choose another folder"
        )

    def _free(self) -> int:
        """Return the free bytes of the disk that the folder is on, or would be on."""
        there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.is_dir())
        return shutil.disk_usage(there).free
