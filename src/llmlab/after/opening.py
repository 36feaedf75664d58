"""How every ``llmlab baseline <verb> CHECKPOINT`` begins: the model of a checkpoint, and what it is."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlab.baseline import ContextVectorLM
from llmlab.errors import CheckpointError, SettingError
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import CheckpointFolder, State, is_checkpoint, read
from llmlab.lab.dataset import Dataset, dataset_of
from llmlab.lab.folders import RUNS
from llmlab.lab.language import LanguageModel, parameter_count
from llmlab.lab.sizes import MODELS
from llmlab.lab.steps import OnStep
from llmlab.measure.score import Score
from llmlab.peers import build
from llmlab.report.messages import Text, say
from llmlab.report.result import Table
from llmlab.settings import BaselineSettings
from llmlab.settings.language import CORPORA
from llmlab.shown import after as shown
from llmlab.text.words import WordVocabulary

SCALE = ".int8_scale"
"""How the name of a scale ends; it begins as that of the parameter which it turns from int8 into fp32."""


@dataclass(frozen=True)
class Restored:
    """A model with the words it knows and the settings it was trained under.

    ``history`` has one row per finished epoch (see ``lab.epochs``); ``text`` is the digest of what it read; ``notes``
    are what to say of the choice of the checkpoint.
    """

    settings: BaselineSettings
    seed: int
    vocabulary: WordVocabulary
    model: LanguageModel
    history: list[dict[str, float]]
    text: str
    notes: list[Text] = field(default_factory=list)

    def dataset(self, data: str = "", *, offline: bool = False) -> Dataset:
        """Return a text as windows over this model's own words: the one it was trained on, or another.

        Of a text of the reader's own a checkpoint does not say where it is: then ``data`` has to.
        """
        data = data or self.settings.data
        if data.startswith("path: "):
            raise SettingError(f"--data: the model was trained on {data!r}; say where that is, or name another text")
        return dataset_of(replace(self.settings, data=data, offline=offline), self.vocabulary)

    def table(self) -> Table:
        """Return what the checkpoint holds."""
        sizes = parameter_count(self.model), len(self.vocabulary)
        return shown.the_model(self.settings, *sizes, len(self.history), self.seed)


def restored(path: Path, *, device: str = "auto") -> Restored:
    """Return the model of a checkpoint, or of the best checkpoint of a run, whose folder ``path`` is.

    It is to compute on ``device``, wherever it was trained.  Anything else is a ``CheckpointError``.
    """
    state, notes = last_run(path)
    try:
        settings = replace(_settings(state["settings"]), device=device)
        vocabulary = WordVocabulary(tuple(state["vocabulary"]))
        model = build(settings, len(vocabulary), state["seed"], "fp32")
        _take_over(model, dequantized(state["model"]))
        history, text = state["progress"]["history"], state["text"]
        return Restored(settings, state["seed"], vocabulary, model, history, text, notes)
    except (AttributeError, KeyError, TypeError, ValueError, SettingError) as error:
        raise CheckpointError(f"{path}: no checkpoint of llmlab baseline ({error}); give one that it wrote") from error


def last_run(path: Path) -> tuple[State, list[Text]]:
    """Return the state of a path, or of the run of the baseline that was written to last, if it is a folder of runs.

    One that has nothing to use, because it diverged or is damaged, is passed over for the one before, and that is said.
    """
    runs = [run for run in path.glob("baseline-*") if run.is_dir()]
    if not runs:
        if path == RUNS:
            raise CheckpointError(
                "CHECKPOINT: there is no run in ./runs yet; train one with llmlab baseline, or name one"
            )
        return _state(path), []
    runs.sort(key=lambda run: run.stat().st_mtime_ns, reverse=True)
    unusable: list[CheckpointError] = []
    for run in runs:
        try:
            return _state(run), [say("study.older_run", run=run.name, newest=runs[0].name)] if unusable else []
        except CheckpointError as error:
            unusable.append(error)
    raise unusable[0]


def _state(path: Path) -> State:
    if is_checkpoint(path) or not path.is_dir():
        return read(path)
    folder = CheckpointFolder(path)
    found = folder.best() or next(iter(folder.latest(lambda _: None) or ()), None)
    if not isinstance(found, dict):
        inner = sorted(path.glob("*/best"))  # of several seeds, models or depths
        way = f"give one of its folders, such as {inner[0].parent}" if inner else "give one that llmlab baseline wrote"
        raise CheckpointError(f"{path}: no checkpoint in this folder; {way}")
    return found


def _settings(document: dict[str, Any]) -> BaselineSettings:
    known = {one.name for one in fields(BaselineSettings) if one.metadata["recorded"]}
    here = {name: value for name, value in document.items() if name in known | {"data"}}
    settings = BaselineSettings(**here)
    if settings.data not in CORPORA and not settings.data.startswith("path: "):
        raise ValueError(f"unknown text {settings.data!r}")
    return settings


def dequantized(model: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return all parameters of a checkpoint in fp32; beside one in eight bits stands what ``quantize`` scaled it by."""
    found = {name: tensor for name, tensor in model.items() if not name.endswith(SCALE)}
    for name, numbers in found.items():
        scale = model.get(name + SCALE)
        if scale is not None:
            if numbers.dtype != torch.int8 or numbers.dim() != 2 or scale.shape not in {(1, 1), (len(numbers), 1)}:
                raise ValueError(f"{name} is no matrix in eight bits")
            found[name] = numbers.float() * scale
    return found


def _take_over(model: LanguageModel, parameters: dict[str, Any]) -> None:
    """Copy a checkpoint's parameters into a model of the same shapes."""
    if parameters.keys() != model.parameters.keys():
        raise ValueError(f"other parameters: {sorted(parameters.keys() ^ model.parameters.keys())[:3]}")
    for name, tensor in model.parameters.items():
        if parameters[name].shape != tensor.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} there and {tuple(tensor.shape)} here")
        if not bool(parameters[name].isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")
        tensor.copy_(parameters[name])


def opened_new_llm(path: Path, verb: str, *, device: str = "cpu") -> tuple[Restored, ContextVectorLM]:
    """Return a checkpoint of New-LLM, and its model; see ``restored``."""
    found = restored(path, device=device)
    model = found.model.model if isinstance(found.model, SweptNewLLM) else None
    if not isinstance(model, ContextVectorLM):
        raise SettingError(f"{path}: a {MODELS[found.settings.model]}; {verb} is for New-LLM")
    return found, model


def check_finite(score: Score, path: Path) -> None:
    """Refuse a model whose losses are no numbers."""
    if not score.finite:
        raise CheckpointError(f"{path}: the model's losses are not finite; give another checkpoint")


def counting(on_step: OnStep | None, planned: int) -> Callable[[str], None]:
    """Return a function that tells ``on_step`` of one more of the planned parts of a work, in a few words."""
    done = count(1)

    def one_more(told: str) -> None:
        if on_step:
            on_step(next(done), planned, told)

    return one_more
