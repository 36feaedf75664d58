"""The runs of a depth sweep: one per depth, kind of stack and seed, each in its own folder of checkpoints.

Covers which runs there are, what they will take on this machine, their folders, and what happens when one is stopped
or diverges.  All runs of a sweep read the same windows in the same batches, seed by seed in the same order, so that
runs of one seed can be subtracted from each other.

Leaves out what is said about them: ``depth_tables``, ``depth_figures``.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from llmlab.errors import CheckpointError, SettingError, Stopped
from llmlab.lab.checkpoint import CheckpointFolder
from llmlab.lab.dataset import Dataset
from llmlab.lab.device import device_of
from llmlab.lab.epochs import Training
from llmlab.lab.judging import evaluate
from llmlab.lab.sizes import size_of
from llmlab.lab.steps import Diverged, OnStep
from llmlab.lm.outcome import per_seed
from llmlab.lm.training import Trained, build, precision_of, recipe_of, train_seed
from llmlab.measure.score import Score, document_difference, perplexity
from llmlab.measure.stats import paired_interval
from llmlab.report.result import time_span
from llmlab.settings import BaselineSettings, LayersSettings

PROBE_ROWS = 64
"""The cost of an update is measured on a part of this many windows: a whole batch may take a minute."""

PROBE_UPDATES = 4


@dataclass(frozen=True)
class DepthRun:
    """What is kept of one finished run; the model itself is let go, for a sweep would fill the memory with them.

    ``numbers`` are the headline metrics by the names of ``outcome``, ``losses`` the validation loss per token,
    ``ends`` the seconds of training at the end of each epoch, and ``score`` is of the best epoch on validation.
    """

    seed: int
    numbers: dict[str, float]
    losses: list[float]
    ends: list[float]
    updates: int
    precision: str
    anew: bool  # false if it was found finished
    score: Score | None = None  # where only numbers are at hand
    notes: list[str] = field(default_factory=list)

    def ppl_after(self, epochs: int) -> float:
        """Return the PPL of the best of the first epochs."""
        return perplexity(min(self.losses[:epochs]))


@dataclass
class DepthArm:
    """One depth and kind of stack: its settings and its runs."""

    settings: BaselineSettings
    parameters: int
    main: bool  # false for the remedy beside it
    runs: list[DepthRun] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return self.settings.layers

    @property
    def label(self) -> str:
        """What the arm is called in tables."""
        return f"L{self.depth}" + ("" if self.main else " residual")

    @property
    def state(self) -> str:
        """Whether it is done, in a word or a few."""
        return "; ".join(self.trouble) or ("done" if self.runs else "not begun")

    def values(self, name: str) -> list[float]:
        """Return a headline metric of every finished run, in the order of the seeds."""
        return [run.numbers[name] for run in self.runs]

    def by_seed(self, name: str) -> dict[int, float]:
        """Return a headline metric of every finished run, by seed."""
        return {run.seed: run.numbers[name] for run in self.runs}

    @property
    def seconds_per_epoch(self) -> float:
        """Median over all epochs of all runs, validation and saving included."""
        return median(
            end - start for run in self.runs for start, end in zip([0.0, *run.ends[:-1]], run.ends, strict=True)
        )


@dataclass(frozen=True)
class DepthSweep:
    """All arms, the main ones first, each kind from shallow to deep; ``seconds`` is what was expected at the start."""

    settings: LayersSettings
    task: Dataset
    arms: list[DepthArm]
    seconds: float
    stopped: bool

    @property
    def finished(self) -> list[DepthArm]:
        """The arms that have a finished run."""
        return [arm for arm in self.arms if arm.runs]

    @property
    def main(self) -> list[DepthArm]:
        """Of these the main ones."""
        return [arm for arm in self.finished if arm.main]

    @property
    def remedies(self) -> list[DepthArm]:
        """Of these the residual ones beside plain ones."""
        return [arm for arm in self.finished if not arm.main]


def arms_of(settings: LayersSettings, task: Dataset) -> list[DepthArm]:
    """Return what a sweep trains: every depth, and the remedy beside the deepest one.

    A residual stack of one layer is the plain one, so it is not trained twice.
    """
    words, arms = len(task.text.vocabulary), list[DepthArm]()
    for stack in settings.stacks:
        main = stack == settings.stacks[0]
        for depth in settings.depths:
            if main or depth == max(2, settings.depths[-1]):
                one = settings.of_one(depth, stack, out=None, resume="auto" if settings.resume else "")
                arms.append(DepthArm(one, size_of(one, words).parameters(), main))
    return arms


def sweep(settings: LayersSettings, task: Dataset, on_step: OnStep | None = None) -> DepthSweep:
    """Train every depth and seed, one after the other, shallow ones first.

    Args:
        settings: of the chapter.
        task: what all runs read.
        on_step: called after each update, counted over the whole sweep.

    Raises:
        Stopped: before the first run was finished; its checkpoint was written.
        SettingError: the folder asked for holds checkpoints and nobody said to resume.
        CheckpointError: the checkpoints cannot be used.
        WriteError: there is no room for them.
    """
    arms = arms_of(settings, task)
    runs = [(arm, seed) for arm in arms for seed in range(settings.seed, settings.seed + settings.seeds)]
    homes = [_home(settings, arm, seed) for arm, seed in runs]
    _check_homes(settings, homes)
    seconds = sum(expected_seconds(arm.settings, task) for arm in arms) * settings.seeds
    for number, ((arm, seed), home) in enumerate(zip(runs, homes, strict=True)):
        counter = _Counter(on_step, number, len(runs), f"{arm.label} seed {seed}", seconds)
        ours = arm.settings if home is None else replace(arm.settings, out=home)
        name = f"layers-{settings.preset}-L{arm.depth}-{arm.settings.stack}-seed{seed}"
        trained: Trained | None
        try:
            trained = train_seed(ours, task, seed, counter.step, name=name)
        except Diverged as diverged:
            arm.trouble.append(f"seed {seed} diverged at update {diverged.update}")
            continue
        except (Stopped, KeyboardInterrupt):
            trained = None
        if trained is not None and not trained.stopped:
            arm.runs.append(kept(trained, anew=counter.called))
            continue
        if not any(arm.runs for arm in arms):
            raise counter.stop or KeyboardInterrupt
        done = len(trained.history) if trained else 0
        arm.trouble.append(f"seed {seed} stopped after {done} of {settings.epochs} epochs")
        return DepthSweep(settings, task, arms, seconds, stopped=True)
    return DepthSweep(settings, task, arms, seconds, stopped=False)


def paired(name: str, first: DepthArm, second: DepthArm) -> dict[str, float]:
    """Return how much larger a metric is in the second arm, seed by seed; see ``paired_interval``.

    Of validation PPL also between which values it lies when validation documents are drawn anew.
    """
    told = paired_interval(first.by_seed(name), second.by_seed(name))
    if not told or name != "val_ppl":
        return told
    common = {run.seed for run in first.runs} & {run.seed for run in second.runs}
    before, after = ([run.score for run in arm.runs if run.seed in common and run.score] for arm in (first, second))
    return told | document_difference(before, after)


def kept(trained: Trained, *, anew: bool = True) -> DepthRun:
    """Return what is kept of a finished run."""
    numbers = {name: values[0] for name, values in per_seed([trained]).items()}
    numbers["gap"] = numbers["val_loss_token"] - numbers["train_loss_no_dropout"]
    return DepthRun(
        seed=trained.seed,
        numbers=numbers,
        losses=[row["val_loss_token"] for row in trained.history],
        ends=[row["seconds"] for row in trained.history],
        updates=trained.updates,
        precision=trained.precision,
        anew=anew,
        score=trained.score,
        notes=[note for note in trained.notes if not note.startswith("Resumed")],
    )


def expected_seconds(settings: BaselineSettings, task: Dataset) -> float:
    """Return what one run will take on this machine, from a few updates of a throw-away model on few windows."""
    device = device_of(settings.device)
    model = build(settings, len(task.text.vocabulary), settings.seed, precision_of(settings, device))
    rows = min(PROBE_ROWS, settings.batch)
    text, recipe = task.text, replace(recipe_of(settings, settings.seed), batch=rows, epochs=PROBE_UPDATES)
    probe, ends = Training(model, text.train[: rows * PROBE_UPDATES], text.valid[:rows], recipe), list[float]()

    def step(update: int, planned: int, told: str = "") -> None:
        ends.append(time.perf_counter())
        if len(ends) == PROBE_UPDATES:
            raise _MeasuredError

    with contextlib.suppress(_MeasuredError, Diverged):
        probe.run(step)
    evaluate(model, text.valid[:rows], rows)  # what is done once, such as a card's recording, is no part of the price
    begun = time.perf_counter()
    evaluate(model, text.valid[:rows], rows)
    judged = (time.perf_counter() - begun) / len(text.valid[:rows])
    learned = min((later - earlier for earlier, later in pairwise(ends)), default=0.0) / rows
    return settings.epochs * (len(text.train) * learned + len(text.valid) * judged)


class _MeasuredError(Exception):
    """Ends a probe.  Not ``Stopped``: a signal that arrives meanwhile must get through."""


class _Counter:
    """Counts the updates of one run of several as those of one long run, and notes whether there were any."""

    def __init__(self, on_step: OnStep | None, before: int, runs: int, label: str, seconds: float) -> None:
        self.on_step, self.before, self.runs, self.label = on_step, before, runs, label
        self.whole = f"the sweep takes about {time_span(seconds)} on this machine; " if before == 0 else ""
        self.called = False
        self.stop: BaseException | None = None  # what ended the run, so that it can be raised again

    def step(self, update: int, planned: int, told: str = "") -> None:
        """Take note of an update of this run."""
        self.called = True
        if self.on_step is None:
            return
        words = f"{self.whole}{self.label}, {told}".rstrip(", ")
        try:
            self.on_step(self.before * planned + update, self.runs * planned, words)
        except (Stopped, KeyboardInterrupt) as stop:
            self.stop = stop
            raise


def _home(settings: LayersSettings, arm: DepthArm, seed: int) -> Path | None:
    """Return the folder of a run inside that of the sweep; ``None`` leaves it to ``lab.folders``."""
    place = settings.out
    if settings.resume not in ("", "auto"):
        place = Path(settings.resume)
    return None if place is None else place / f"L{arm.depth}-{arm.settings.stack}-seed{seed}"


def _check_homes(settings: LayersSettings, homes: Sequence[Path | None]) -> None:
    """Refuse before the first update what would be refused at a later run."""
    held = [home for home in homes if home is not None and home.is_dir() and CheckpointFolder(home).has_checkpoints()]
    if settings.resume not in ("", "auto") and not held:
        raise CheckpointError(
            f"--resume: no run of this sweep in {settings.resume}; give auto, or the folder given to --out before"
        )
    if not settings.resume and held:
        raise SettingError(f"--out: {held[0]} holds checkpoints; add --resume auto, or choose another folder")
