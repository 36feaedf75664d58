"""New-LLM and its peers side by side: sizes that match, runs on the same batches, and what they had at equal time.

A batch depends on the run's seed and the number of the update (``lab.rng``) and on nothing else, so models that
train one after another see the same batches.

How a peer is sized: like New-LLM of the same settings, unless ``--model`` names the peer and ``--layers`` is given;
then depth and widths are those of the settings.  With ``--peers``, ``--layers`` is New-LLM's, and the peers follow.
Sizes are settled before training, and the settings of a run then say them: a checkpoint's ``layers``, ``embedding`` and
``hidden`` are those of its model.

Leaves out tables and pictures: ``peer_tables``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch

from llmlab.errors import CheckpointError, SettingError, Stopped
from llmlab.lab.dataset import Dataset
from llmlab.lab.rng import generator
from llmlab.lab.sizes import GRUSize, peer_size_of, size_of, sized
from llmlab.lab.steps import Diverged, OnStep
from llmlab.lm.training import Trained, train_seed
from llmlab.measure.generation import Cost, Reader, costs
from llmlab.model.generating import GPT2Reader, GRUReader, NewLLMReader
from llmlab.model.tiny_gpt2 import library
from llmlab.settings import BaselineSettings

MODELS = {"new-llm": "New-LLM", "tiny-gpt2": "tiny GPT-2", "gru": "GRU"}
"""Every model of the comparison, and what it is called."""

LENGTHS = (1, 64, 256, 1024, 4096)
"""Tokens after which the cost of the next one is measured."""


@dataclass
class Peers:
    """The runs of all models: by model, one per seed; ``generation`` is of the sizes, not of what was learned."""

    runs: dict[str, list[Trained]]
    generation: dict[str, list[Cost]] = field(default_factory=dict)
    stopped: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[Trained]:
        """Every run of every model."""
        return [run for runs in self.runs.values() for run in runs]


def alone(settings: BaselineSettings, model: str, vocabulary: int) -> BaselineSettings:
    """Return the settings of one model's run: sized, and of several models each with its own folder.

    Raises:
        SettingError: one checkpoint is to be resumed by several models.
        CheckpointError: the folder to resume holds none of their folders.
        UnreachableError: a library is missing; noticed here, before anything is trained.
    """
    if model == "tiny-gpt2":
        library()
    own = sized(settings, model, vocabulary)
    if not settings.peers:
        return own
    if settings.resume in ("", "auto"):
        return own if settings.out is None else replace(own, out=settings.out / model)
    place = Path(settings.resume)
    if place.is_file():
        raise SettingError(f"--resume: {place} is of one model, --peers trains several; give auto or their folder")
    if not any((place / name).is_dir() for name in MODELS):
        raise CheckpointError(f"--resume: {place} has no folder named {', '.join(MODELS)}; give auto or their folder")
    return replace(own, out=place / model, resume="auto")


def train_peers(
    settings: BaselineSettings,
    task: Dataset,
    own: Sequence[Trained],
    step_of: Callable[[int, str], OnStep | None],
) -> Peers:
    """Train the other models on the batches of the runs there are, and measure what generating costs.

    Args:
        settings: of the command.
        task: what they read.
        own: the finished runs of ``settings.model``.
        step_of: gives the ``on_step`` of a run by its number and its model's name.

    Returns:
        All runs.  A model that diverges is left out for that seed; a stop leaves out what was not begun.
    """
    there = {settings.model: list(own)}
    found = Peers({name: there.get(name, []) for name in MODELS})
    vocabulary = len(task.text.vocabulary)
    number = len(own)
    for model in (name for name in MODELS if name != settings.model):
        for seed in [run.seed for run in own]:
            try:
                step = step_of(number, MODELS[model])
                found.runs[model].append(train_seed(alone(settings, model, vocabulary), task, seed, step))
            except Diverged as diverged:
                found.notes.append(f"{MODELS[model]} diverged at update {diverged.update} with seed {seed}.")
            except (Stopped, KeyboardInterrupt):  # what was reached before is worth a report
                found.stopped = True
                return found
            number += 1
            if found.runs[model] and found.runs[model][-1].stopped:
                found.stopped = True
                return found
    found.generation = generation_costs(settings, vocabulary, LENGTHS)
    return found


def generation_costs(settings: BaselineSettings, vocabulary: int, lengths: Sequence[int]) -> dict[str, list[Cost]]:
    """Return what one more token costs each model after texts of rising length, on the CPU and in fp32.

    The cost depends on sizes and not on what was learned, so fresh models are measured, tiny GPT-2 with as many
    positions as the greatest length: the one that was trained could not read beyond its window.
    """
    peers = {name: peer_size_of(sized(settings, name, vocabulary), vocabulary) for name in MODELS if name != "new-llm"}
    readers: dict[str, Reader] = {"new-llm": NewLLMReader(size_of(settings, vocabulary))}
    for name, size in peers.items():
        long = max(lengths)
        readers[name] = GRUReader(size) if isinstance(size, GRUSize) else GPT2Reader(replace(size, positions=long))
    tokens = torch.randint(vocabulary, (max(lengths),), generator=generator("tokens to read"))
    return costs(readers, tokens, lengths)


def epochs_of_all(peers: Peers) -> int:
    """Return how many epochs every run finished."""
    return min(len(run.history) for run in peers.all)


def best_within(run: Trained, epochs: int) -> dict[str, float]:
    """Return the row of the best epoch among the first few, by the loss that chooses the best epoch."""
    return min(run.history[:epochs], key=lambda row: row["val_loss"])


def first_done(peers: Peers, seed: int) -> float:
    """Return the seconds after which the fastest model of a seed had finished its run."""
    return min(run.history[-1]["seconds"] for run in peers.all if run.seed == seed)


def at_time(run: Trained, seconds: float, what: str) -> float | None:
    """Return a column of the history at a time: on the straight line between the ends of two epochs.

    Returns:
        ``None`` before the end of the first epoch, where nothing has been measured; after the last, its value.
    """
    rows = run.history
    if seconds < rows[0]["seconds"]:
        return None
    for before, after in pairwise(rows):
        if seconds < after["seconds"]:
            share = (seconds - before["seconds"]) / (after["seconds"] - before["seconds"])
            return before[what] + share * (after[what] - before[what])
    return rows[-1][what]
