"""Where the runs of a comparison are kept: one folder, in it one for each arm and seed, and the trained context blocks.

Covers which folder, what may go on in it, and blocks that need not be trained again.  Leaves out files:
``lab.checkpoint``, and whether a checkpoint is this run's: ``lab.folders``.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmlab.contexts.arms import Arm, Design
from llmlab.contexts.stage1 import Contexts, Learned, contexts_of, learn
from llmlab.contexts.task import ContextTask
from llmlab.disk import replace_file
from llmlab.errors import CheckpointError, SettingError, WriteError
from llmlab.lab.checkpoint import packed, read
from llmlab.lab.folders import check_same_run, identity, run_folder
from llmlab.lab.steps import OnStep
from llmlab.settings import ContextSettings


@dataclass(frozen=True)
class Home:
    """The folder of a comparison; ``ours`` is what its checkpoints say of it, beside what is each one's own."""

    folder: Path
    resumes: bool
    ours: dict[str, Any]

    @classmethod
    def of(cls, settings: ContextSettings, task: ContextTask) -> "Home":
        """Return the folder asked for, the last one of the same comparison, or a new one under ``runs``.

        Raises:
            SettingError: the folder asked for holds checkpoints and nobody said to resume.
            CheckpointError: there is nothing to resume at the path given.
            WriteError: what was asked for is not a folder.
        """
        ours = identity(settings.document() | {"schedule": "constant"}, settings.seed, task, "")
        place = Path(settings.resume)
        if settings.resume not in ("", "auto") and not _holds(place):
            raise CheckpointError(
                f"--resume: {place} holds no runs of a comparison; give auto, or the folder that does"
            )
        folder = run_folder(replace(settings, seeds=1), ours, f"{settings.experiment}-{settings.preset}").folder
        if settings.out is not None and not settings.resume and _holds(folder):
            raise SettingError(f"--out: {folder} holds checkpoints; add --resume auto, or choose another folder")
        _check_can_be_made(folder)
        return cls(folder, bool(settings.resume), ours)

    def settings_of(self, settings: ContextSettings, arm: Arm, seed: int) -> ContextSettings:
        """Return the settings of one run: its folder in this one, to go on in if the comparison goes on."""
        own = self.folder / f"{arm.name}-seed{seed}"
        return replace(settings, seed=seed, seeds=1, out=own, resume="auto" if self.resumes else "")

    def rates_of(self, arm: Arm, seed: int) -> Path:
        """Return the file of the rates that an arm tried."""
        return self.folder / f"rates-{arm.name}-seed{seed}.ckpt"

    def contexts(
        self, settings: ContextSettings, task: ContextTask, design: Design, seed: int, on_pass: OnStep
    ) -> Contexts:
        """Return the contexts of a design, its block trained here or found here.

        Raises:
            WriteError: the trained block could not be written.
        """
        learned = self._learned(settings, task, design, seed, on_pass) if design.trained else None
        return contexts_of(settings, task, design, seed, on_pass, learned)

    def _learned(
        self, settings: ContextSettings, task: ContextTask, design: Design, seed: int, on_pass: OnStep
    ) -> Learned:
        """Return a trained block, and keep it as soon as it is there."""
        path = self.folder / f"block-{design.name}-seed{seed}.ckpt"
        ours = self.ours | {"settings": self.ours["settings"] | vars(design), "seed": seed, "text": task.digest}
        found = _kept(path, ours) if self.resumes else None
        if found:
            return found
        learned = learn(settings, task, design, seed, on_pass)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, packed(ours | vars(learned)))
        except OSError as error:
            raise WriteError(f"{path}: {error.strerror}; choose another folder with --out") from error
        return learned


def _check_can_be_made(folder: Path) -> None:
    """Make sure of a folder before a block is trained for it, and leave nothing behind.

    Raises:
        WriteError: it is not there and cannot be made.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in made:
            each.rmdir()
    except OSError as error:
        raise WriteError(f"{folder}: {error.strerror}; choose another folder with --out") from error


def _kept(path: Path, ours: dict[str, Any]) -> Learned | None:
    """Return a block that an earlier run trained; one that cannot be read is trained again.

    Raises:
        CheckpointError: it is another run's.
    """
    try:
        state = read(path)
        learned = Learned(state["block"], state["rows"], state["rank"])
    except (CheckpointError, KeyError):
        return None
    check_same_run(ours, state, path)
    return learned


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob("*-seed*"))
