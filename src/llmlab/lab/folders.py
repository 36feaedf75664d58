"""Which folder holds a run's checkpoints, whether they are this run's, and how it goes on from them.

What a comparison keeps beside its runs is here, too; files and their bytes are ``lab.checkpoint``.
"""

import hashlib
import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import llmlab
from llmlab.disk import replace_folder
from llmlab.errors import CheckpointError, SettingError, WriteError
from llmlab.lab.checkpoint import BYTES_KEPT, RUN, CheckpointFolder, State, is_checkpoint, packed, read
from llmlab.lab.device import take
from llmlab.lab.epochs import Training
from llmlab.lab.language import parameter_count
from llmlab.report.messages import Text
from llmlab.settings import ContextSettings, LanguageSettings

RUNS = Path("runs")
NOT_COMPARED = {
    *("preset", "data", "pretrained", "seeds", "patience", "precision", "device"),
    *("peers", "arms", "grow", "ablate", "noises", "depths"),
}
"""Settings that may differ between a run and its continuation: of a comparison which runs there are; and text and
embedding are compared by their content."""


def identity(
    settings: dict[str, Any], seed: int, digest: str, text: str, precision: str, words: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what a checkpoint says of itself, as plain values.

    The ``settings`` are of one model, ``digest`` is a hash of its whole text and ``text`` what that is called; the
    ``words`` are of its vocabulary, where the checkpoint is to be read without the text.
    """
    return {
        "settings": settings,
        "seed": seed,
        "text": digest,
        "text_name": text,
        "vocabulary": list(words),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "llmlab": llmlab.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def fingerprint(identity: dict[str, Any]) -> str:
    """Return eight hex digits that two runs share if one may continue the other."""
    words = [f"{name}={value}" for name, value in sorted(_compared(identity).items())]
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def check_same_run(ours: dict[str, Any], theirs: dict[str, Any], path: Path) -> None:
    """Refuse the checkpoint of another run by the first thing that differs, with both values."""
    mine, other = _compared(ours), _compared(theirs)
    for name, value in mine.items():
        if other.get(name) != value:
            raise CheckpointError(
                f"{path}: of another run: {name} is {str(other.get(name))[:40]} there and {str(value)[:40]} here; "
                "resume with the same options, or start anew in another folder"
            )


def _compared(identity: dict[str, Any]) -> dict[str, Any]:
    settings = identity["settings"]
    loose = NOT_COMPARED | ({"epochs"} if settings.get("schedule") == "constant" else set())
    kept = {name: value for name, value in settings.items() if name not in loose}
    vocabulary = hashlib.sha256("\n".join(identity["vocabulary"]).encode("utf-8", "surrogatepass")).hexdigest()
    return kept | {"seed": identity["seed"], "text": identity["text"], "vocabulary words": vocabulary}


@contextmanager
def checkpointed(
    training: Training, settings: LanguageSettings | ContextSettings, ours: dict[str, Any], name: str
) -> Iterator[tuple[list[Text], State]]:
    """Give a run its folder of checkpoints, locked, and take it up where it was if that is wanted.

    Yields what to note of it, and the state that it goes on from; without one, or beside the first process, nothing.
    The checkpoints say ``ours`` of themselves; a new folder under ``runs`` begins with ``name``.

    Raises:
        SettingError: the folder asked for holds another run.
        CheckpointError: the checkpoints cannot be used.
        WriteError: there is no room for them.
    """
    notes: list[Text] = []
    team, training.identity = training.team, ours
    if team.rank:
        if found := team.share():
            training.restore(*found)
        yield notes, {}
        return
    training.folder = folder = run_folder(settings, ours, name)
    with folder.locked():
        found = team.share(to_resume(folder, settings, ours, notes))
        if found:
            training.restore(*found)
            take(found[0]["threads"])
            ours["threads"] = torch.get_num_threads()
        folder.check_space(BYTES_KEPT * parameter_count(training.model))
        yield notes, found[0] if found else {}


def run_folder(settings: LanguageSettings | ContextSettings, ours: dict[str, Any], name: str) -> CheckpointFolder:
    """Return the folder of a run: the one asked for, the last one of the same run, or a new one under ``runs``."""
    if settings.resume not in ("", "auto"):
        place = Path(settings.resume)
        if settings.seeds > 1 and is_checkpoint(place):
            raise SettingError(f"--resume: {place} is of one seed, --seeds trains several; give auto or their folder")
        if not place.exists():
            raise CheckpointError(f"--resume: {place} does not exist; give auto, a checkpoint, or a folder of them")
        held = place.parent if is_checkpoint(place) else place
        if settings.seeds > 1 and not any(_of_seed(held, settings, seed).is_dir() for seed in settings.every_seed):
            raise CheckpointError(f"--resume: {place} has no folder of any of the seeds; give auto or their folder")
        return CheckpointFolder(_of_seed(held, settings, ours["seed"]))
    if settings.out is not None:
        if settings.out.exists() and not settings.out.is_dir():
            raise WriteError(f"--out: {settings.out} is not a folder; choose another")
        folder = CheckpointFolder(_of_seed(settings.out, settings, ours["seed"]))
        if not settings.resume and folder.has_checkpoints():
            raise SettingError(f"--out: {settings.out} holds checkpoints; add --resume auto, or choose another folder")
        return folder
    stem = f"{name}-{fingerprint(ours)}"
    numbers = [int(found[1]) for path in RUNS.glob(f"{stem}-*") if (found := re.search(r"-(\d+)$", path.name))]
    if settings.resume and numbers:
        return CheckpointFolder(RUNS / f"{stem}-{max(numbers)}")
    return CheckpointFolder(_claimed(stem, max(numbers, default=0) + 1))


def study_folder(settings: LanguageSettings | ContextSettings, names: Iterable[str], kind: str) -> Path | None:
    """Return the folder asked for, in which each run of a study has its own by its name; none where none was.

    The ``names`` may be patterns; ``kind`` is what such runs are called.  A folder to resume in that holds none of them
    is refused, and so is one that holds some where resuming was not asked for.
    """
    given = settings.resume not in ("", "auto")
    place = Path(settings.resume) if given else settings.out
    held = place is not None and any(any(place.glob(f"{name}/**/{RUN}")) for name in names)
    if given and not held:
        raise CheckpointError(f"--resume: {place} holds no runs of {kind}; give auto, or the folder that does")
    if held and not settings.resume:
        raise SettingError(f"--out: {place} holds checkpoints; add --resume auto, or choose another folder")
    return place


def _claimed(stem: str, number: int) -> Path:
    """Return a folder under ``runs`` that is this run's alone: two that start at once both ask for the same number."""
    folder = RUNS / f"{stem}-{number}"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return _claimed(stem, number + 1)
    except OSError:
        pass  # whoever writes there says why it cannot be made
    return folder


def _of_seed(folder: Path, settings: LanguageSettings | ContextSettings, seed: int) -> Path:
    """Return a seed's folder: that of the run itself, or of several seeds one in it for each.

    Where the first seed is there alone and others are to join it, or one of several is to go on alone, it stays where
    it is.
    """
    inner = folder / f"seed{seed}"
    if inner.is_dir():
        return inner
    first = seed == settings.seed and folder.is_dir() and folder.name != inner.name
    return folder if settings.seeds == 1 or (first and CheckpointFolder(folder).has_checkpoints()) else inner


def to_resume(
    folder: CheckpointFolder, settings: LanguageSettings | ContextSettings, ours: dict[str, Any], notes: list[Text]
) -> list[State]:
    """Return the last state of a folder and, where there is one, its best one; nothing where nothing is resumed."""
    if not settings.resume:
        return []
    path = Path(settings.resume)
    if settings.resume != "auto" and is_checkpoint(path):
        state = read(path)
    else:
        found = folder.latest(notes.append) if folder.folder.is_dir() else None
        if found is None:
            if settings.resume == "auto" or settings.seeds > 1:  # a seed that was not begun, beside others that were
                return []
            raise CheckpointError(f"--resume: no checkpoint in {path}; give a folder that a run wrote, or leave it out")
        state, path = found
    check_same_run(ours, state, path)
    try:
        best = folder.best()
    except CheckpointError as error:
        notes.append(f"The best model so far is lost: {error}.")
        best = None
    return [state, best] if best else [state]


def keep(path: Path, identity: State, values: State) -> None:
    """Write a result that a comparison keeps beside its runs as a checkpoint, with what says whose it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(path, packed(identity | values))
    except OSError as error:
        raise WriteError(f"{path}: {error.strerror}; choose another folder with --out") from error


def kept(path: Path, identity: State, *names: str) -> State | None:
    """Return the named values of a result; ``None`` for one that is not there or cannot be read, but not another's."""
    try:
        state = read(path)
        found = {name: state[name] for name in names}
    except (CheckpointError, KeyError):
        return None
    check_same_run(identity, state, path)
    return found
