"""One run of one seed: build the model, find its checkpoints, train, and hand over what was reached.

Leaves out what is said about it (``outcome``, ``tables``, ``findings``), and which runs a chapter makes.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmlab.errors import Stopped
from llmlab.fast.swept import SweptNewLLM, release_buffers
from llmlab.lab.checkpoint import BYTES_KEPT
from llmlab.lab.dataset import Dataset, check_batch
from llmlab.lab.device import chosen_precision, device_of
from llmlab.lab.epochs import Training
from llmlab.lab.folders import identity, run_folder, to_resume
from llmlab.lab.judging import evaluate
from llmlab.lab.language import LanguageModel, parameter_count
from llmlab.lab.recipe import Recipe
from llmlab.lab.sizes import peer_size_of, size_of
from llmlab.lab.steps import OnStep
from llmlab.lab.team import ALONE, Team
from llmlab.measure.score import Score
from llmlab.model.new_llm import ContextVectorLM
from llmlab.model.peers import peer
from llmlab.settings import BaselineSettings
from llmlab.text.windows import WindowedText
from llmlab.text.words import PAD

TRAIN_SAMPLE = 2_048
"""How many training windows are judged without dropout at the end, to compare like with like."""


@dataclass(frozen=True)
class Trained:
    """A run of one seed, finished or stopped.

    ``score`` is of the best epoch on the validation windows, which chose it; ``train_score`` of the same parameters,
    without dropout, on the first training windows (``None`` if the run was stopped); ``test_score`` on the test
    windows, which chose nothing (``None`` if the run was stopped, or the text has none).
    """

    settings: BaselineSettings
    seed: int
    task: Dataset
    model: LanguageModel  # at the best epoch
    history: list[dict[str, float]]
    best_epoch: int
    score: Score
    train_score: Score | None
    updates: int
    seconds: float
    precision: str
    stopped: bool
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)
    test_score: Score | None = None

    @property
    def parameters(self) -> int:
        """Exact number of parameters."""
        return parameter_count(self.model)

    @property
    def tokens_per_second(self) -> float:
        """Scored training targets per second, validation and saving included."""
        return sum(row["train_targets"] for row in self.history) / max(self.history[-1]["seconds"], 1e-9)


def build(settings: BaselineSettings, vocabulary: int, seed: int, precision: str) -> LanguageModel:
    """Return a fresh model of one seed.

    Raises:
        UnreachableError: the library that tiny GPT-2 is made of is not there.
    """
    device = device_of(settings.device)
    if settings.model != "new-llm":
        size_of_peer = peer_size_of(settings, vocabulary)
        return peer(size_of_peer, seed, dropout=settings.dropout, precision=precision, device=device)
    size = size_of(settings, vocabulary)
    fresh = ContextVectorLM.initial(size, seed, dropout=settings.dropout, start=settings.start)
    fresh.parameters = {name: tensor.to(device) for name, tensor in fresh.parameters.items()}
    return SweptNewLLM(fresh, precision, device)


def recipe_of(settings: BaselineSettings, seed: int) -> Recipe:
    """Return how a run of one seed is trained."""
    return Recipe(
        epochs=settings.epochs,
        batch=settings.batch,
        lr=settings.lr,
        seed=seed,
        schedule=settings.schedule,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        patience=settings.patience,
    )


def precision_of(settings: BaselineSettings, device: str) -> str:
    """Return the precision of a model's products, see ``lab.device``; a GRU's are fp32 on a card.

    There its recurrence is cuDNN's, which autocast would have in fp16.
    """
    if settings.model == "gru" and device == "cuda":
        return "fp32"
    return chosen_precision(settings.precision, device, settings.hidden)


def train_seed(
    settings: BaselineSettings, task: Dataset, seed: int, on_step: OnStep | None = None, *, name: str = ""
) -> Trained:
    """Train one seed, or go on with it.

    Args:
        settings: of one model.
        task: what it reads.
        seed: its number; the settings' own ``seed`` is the first of several.
        on_step: called after each update.
        name: of the folder of its checkpoints under ``runs``; the experiment and the preset if empty.

    Raises:
        Diverged: a number was not finite; the last good checkpoint stands.
        SettingError: the batch is larger than the text, or the folder asked for holds another run.
        Stopped: before the first epoch was finished; a checkpoint was written.
        CheckpointError: the checkpoints cannot be used.
        WriteError: there is no room for them.
    """
    check_batch(settings.batch, task.text)
    device = device_of(settings.device)
    precision = precision_of(settings, device)
    team = Team.join(device)
    model = build(settings, len(task.text.vocabulary), seed, precision)
    ours = identity(settings.document(), seed, task.text, precision, task.text.vocabulary.words)
    ours["processes"] = team.size
    folder = run_folder(settings, ours, name or f"{settings.experiment}-{settings.preset}") if team.rank == 0 else None
    training = Training(
        model,
        task.text.train,
        task.text.valid,
        recipe_of(settings, seed),
        folder,
        ours,
        save_seconds=60 * settings.save_minutes,
        team=team,
        documents=task.text.valid_documents,
    )
    notes = [f"Trained by {team.size} processes, each on its rows of every batch."] if team.size > 1 else []
    if settings.precision not in ("auto", precision):
        notes.append(f"Products are {precision}: a card's GRU has no {settings.precision}.")
    with folder.locked() if folder else nullcontext():
        found = team.share(to_resume(folder, settings, ours, notes) if folder else None)
        if found:
            training.restore(*found)
            notes += _what_changed(ours, found[0])
        if folder:
            folder.check_space(BYTES_KEPT * parameter_count(model))
        stopped = _run(training, on_step)
    return _reached(settings, seed, task, training, precision, stopped, folder.folder if folder else None, notes)


def _run(training: Training, on_step: OnStep | None) -> bool:
    """Train, and return whether it was stopped; a stop before the first epoch's end is raised."""
    try:
        training.run(on_step)
    except (Stopped, KeyboardInterrupt):
        if not training.progress.history:
            raise
        return True
    return False


def _reached(
    settings: BaselineSettings,
    seed: int,
    task: Dataset,
    training: Training,
    precision: str,
    stopped: bool,
    folder: Path | None,
    notes: list[str],
) -> Trained:
    progress, model, team = training.progress, training.model, training.team
    for name, tensor in training.best.items():
        model.parameters[name].copy_(tensor)
    score = (
        Score(**progress.best_score)
        if progress.best_score
        else evaluate(model, task.text.valid, settings.batch, team=team, documents=task.text.valid_documents)
    )
    sample = task.text.train[:TRAIN_SAMPLE]
    train_score = None if stopped else evaluate(model, sample, settings.batch, team=team)
    test_score = None if stopped else score_on_test(model, task.text, settings.batch, team)
    release_buffers(model)
    return Trained(
        settings=settings,
        seed=seed,
        task=task,
        model=model,
        history=progress.history,
        best_epoch=progress.best_epoch or len(progress.history),
        score=score,
        train_score=train_score,
        updates=progress.updates,
        seconds=progress.seconds,
        precision=precision,
        stopped=stopped,
        folder=folder,
        notes=notes,
        test_score=test_score,
    )


def score_on_test(model: LanguageModel, text: WindowedText, batch: int, team: Team = ALONE) -> Score | None:
    """Return how a model does on the windows that chose nothing; ``None`` where the text has none."""
    if not (text.test[:, 1:] != PAD).any():
        return None
    return evaluate(model, text.test, batch, team=team, documents=text.test_documents)


def _what_changed(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return what makes a continuation differ from an uninterrupted run in the last bits."""
    told = [f"Resumed at update {theirs['progress']['updates']:,}."]
    for what in ("precision", "threads", "processes"):
        before = theirs.get(what, 1 if what == "processes" else None)
        if before != ours[what]:
            told.append(f"With {what} {ours[what]} instead of {before} it does not go on to the bit.")
    return told
