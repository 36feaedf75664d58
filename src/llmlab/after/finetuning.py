"""Training a trained model further on another text, and a fresh one beside it, over one vocabulary: the checkpoint's.

Covers the text, the two arms, what is left of the original text, and completions.  Leaves out what is said about
them: ``finetune``.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from llmlab.after.opening import Restored
from llmlab.errors import LlmlabError, SettingError, TextError
from llmlab.fast.reader import Reader
from llmlab.fast.swept import SweptNewLLM, release_buffers
from llmlab.lab.checkpoint import BYTES_KEPT, CheckpointFolder
from llmlab.lab.dataset import Dataset
from llmlab.lab.device import device_of
from llmlab.lab.epochs import Training
from llmlab.lab.folders import identity
from llmlab.lab.judging import evaluate
from llmlab.lab.language import LanguageModel, parameter_count
from llmlab.lab.recipe import Recipe
from llmlab.lab.steps import OnStep
from llmlab.lm.training import build, precision_of
from llmlab.measure.ngram import Baseline, window_baselines
from llmlab.measure.score import Score
from llmlab.settings import FinetuneSettings
from llmlab.text.cache import cache_folder
from llmlab.text.corpus import Corpus, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import EOS, PAD, UNK, WordVocabulary, encoded

PROMPTS = ("hello how are you", "what is your name", "tell me about yourself")
"""Those of the seed document's evaluation."""

MOST_TOKENS = 30
MADE = ("synthetic", "dialect")


@dataclass(frozen=True)
class Dialogue:
    """The text of the fine-tuning, over the model's own words.

    ``unknown_own`` is the share of unknown words that a vocabulary of its own, of the same size, would leave in the
    validation lines, ``unknown`` what this one leaves there; ``shared`` is how many words the two have in common, and
    ``same_number`` how many of them under the same number.  ``floor`` is the exact loss of who knows the language,
    where it is known.
    """

    text: WindowedText
    references: dict[str, Baseline]
    unknown: float
    unknown_own: float
    shared: int
    same_number: int
    floor: float | None = None
    notes: list[str] = field(default_factory=list)


def dialogue(settings: FinetuneSettings, base: Restored) -> Dialogue:
    """Read the text of the fine-tuning: no line is too short, as the seed document planned.

    Raises:
        TextError: it cannot be used, or the model knows none of its words.
        UnreachableError: it is not here.
    """
    corpus, notes = load_corpus(settings.data, offline=settings.offline), list[str]()
    vocabulary = base.vocabulary
    text = prepare(
        corpus,
        length=base.settings.length,
        vocabulary=vocabulary,
        fewest_words=0,
        cache=None if settings.data in MADE else cache_folder(),
        say=notes.append,
    )
    if not bool((text.train > EOS).any()) or not bool((text.valid > EOS).any()):
        raise TextError(
            f"--data {corpus.name}: the model, trained on {base.settings.data}, knows none of its words; "
            "give a text of the same language"
        )
    own = WordVocabulary.of_lines(corpus.train, len(vocabulary))
    return Dialogue(
        text,
        window_baselines(text.train, text.train_lines, text.valid, len(vocabulary), notes.append),
        unknown_share(corpus, vocabulary),
        unknown_share(corpus, own),
        len(own.numbers.keys() & vocabulary.numbers.keys()),
        len(own.numbers.items() & vocabulary.numbers.items()),
        floor(text) if settings.data == "dialect" else None,
        notes,
    )


def unknown_share(corpus: Corpus, vocabulary: WordVocabulary) -> float:
    """Return the share of unknown words among the validation lines' words and ends."""
    lines = list(encoded(corpus.valid, vocabulary, 0))
    return sum(line.count(UNK) for line in lines) / sum(len(line) - 1 for line in lines)


def floor(text: WindowedText) -> float | None:
    """Return the exact loss of who knows the dialect, or nothing where words are unknown or lines are cut."""
    with contextlib.suppress(ValueError):
        found = Grammar.dialect().log_probabilities(text.valid, text.vocabulary)
        return -float(found[text.valid[:, 1:] != PAD].mean())
    return None


def original_text(settings: FinetuneSettings, base: Restored, notes: list[str]) -> Dataset | None:
    """Return the text that the model was trained on; where it is not here, nothing, and a note that says why."""
    try:
        if not settings.original and base.settings.data.startswith("path: "):
            raise SettingError(f"it was trained on {base.settings.data!r}; --original says where that is")
        return base.task(settings.original, offline=settings.offline)
    except LlmlabError as error:
        notes.append(f"What the model forgot was not measured: {error}.")
        return None


@dataclass(frozen=True)
class Tuned:
    """One arm of one seed: ``pretrained`` began as the checkpoint, ``scratch`` afresh.

    ``start`` is before the first update, ``score`` of the best epoch, whose numbers the model has; ``original`` is
    its loss on the original text.
    """

    name: str
    seed: int
    model: LanguageModel
    start: Score
    score: Score
    history: list[dict[str, float]]
    best_epoch: int
    original: float | None


def tuned(
    settings: FinetuneSettings,
    name: str,
    seed: int,
    base: Restored,
    text: Dialogue,
    original: Dataset | None,
    on_step: OnStep | None = None,
) -> Tuned:
    """Train one arm of one seed; ``base`` is not changed.

    Raises:
        Diverged: a number was not finite.
        SettingError: the folder of ``out`` holds checkpoints, or another run writes there.
        WriteError: a checkpoint could not be written.
    """
    windows = text.text
    precision = precision_of(replace(base.settings, precision=settings.precision), device_of(base.settings.device))
    model = build(base.settings, len(base.vocabulary), seed, precision)
    if name == "pretrained":
        for key, tensor in model.parameters.items():
            tensor.copy_(base.model.parameters[key])
    start = evaluate(model, windows.valid, settings.batch, documents=windows.valid_documents)
    keeps = settings.out is not None and name == "pretrained" and seed == settings.seed
    folder = new_folder(settings.out) if settings.out is not None and keeps else None
    training = Training(
        model,
        windows.train,
        windows.valid,
        recipe(settings, seed),
        folder,
        whose(settings, seed, base, windows),
        documents=windows.valid_documents,
    )
    with folder.locked() if folder else contextlib.nullcontext():
        if folder:
            folder.check_space(BYTES_KEPT * parameter_count(model))
        training.run(on_step)
    for key, tensor in training.best.items():
        model.parameters[key].copy_(tensor)
    progress = training.progress
    left = None if original is None else evaluate(model, original.text.valid, settings.batch).loss
    release_buffers(model)
    return Tuned(name, seed, model, start, Score(**progress.best_score), progress.history, progress.best_epoch, left)


def recipe(settings: FinetuneSettings, seed: int) -> Recipe:
    """Return how both arms are trained: the seed document's Adam, constant rate, clip and early stopping."""
    return Recipe(settings.epochs, settings.batch, settings.lr, seed, patience=settings.patience)


def new_folder(path: Path) -> CheckpointFolder:
    """Return a folder for checkpoints.

    Raises:
        SettingError: there are checkpoints already.
    """
    folder = CheckpointFolder(path)
    if path.exists() and folder.has_checkpoints():
        raise SettingError(f"--out: {path} holds checkpoints; choose another folder")
    return folder


def whose(settings: FinetuneSettings, seed: int, base: Restored, text: WindowedText) -> dict[str, object]:
    """Return what the checkpoints of the fine-tuned model say of themselves, as those of ``llmlab baseline`` do."""
    as_trained = asdict(recipe(settings, seed))
    names = ("epochs", "batch", "lr", "schedule", "optimizer", "weight_decay", "clip", "patience")
    under = replace(base.settings, data=settings.data, seed=seed, seeds=1, **{name: as_trained[name] for name in names})
    before = {"text": base.text, "text_name": base.settings.data}
    ours = identity(under.document(), seed, text, settings.precision, text.vocabulary.words)
    return ours | {"fine_tuned_from": before}


def prompts(base: Restored, text: Dialogue) -> list[str]:
    """Return what is to be completed: the seed document's prompts, or where none of their words is known, openings."""
    if any(word in base.vocabulary.numbers for prompt in PROMPTS for word in prompt.split()):
        return list(PROMPTS)
    return [base.vocabulary.decode(row[1:4]) for row in text.text.valid[: len(PROMPTS)].tolist()]


def completed(model: LanguageModel, vocabulary: WordVocabulary, prompt: str) -> str | None:
    """Return the likeliest words after a prompt, up to the end of the line; ``None`` for a model without a context."""
    if not isinstance(model, SweptNewLLM):
        return None
    reader, tokens = Reader(model.model), vocabulary.encode(prompt)[:-1]
    context, found = reader.own.new_zeros(reader.size.context), list[int]()
    with torch.no_grad():
        for token in tokens[:-1]:
            _, context = reader.step(token, context)
        token = tokens[-1]
        while len(found) < MOST_TOKENS:
            scores, context = reader.step(token, context)
            token = int(scores.argmax())
            if token == EOS:
                break
            found.append(token)
    return vocabulary.decode(found)


def completions(base: Restored, text: Dialogue, arms: Sequence[Tuned]) -> list[tuple[str, str, str]]:
    """Return prompt, model, and what it wrote, for the base and the first seed of each arm; New-LLM only."""
    first = {arm.name: arm.model for arm in reversed(arms)}
    found = []
    for prompt in prompts(base, text):
        for name, model in ({"base": base.model} | {key: first[key] for key in sorted(first)}).items():
            written = completed(model, base.vocabulary, prompt)
            if written is not None:
                found.append((prompt, name, written))
    return found
