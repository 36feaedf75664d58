"""``llmlab baseline finetune CHECKPOINT``: train a trained model further on another text, dialogues for example.

Question: is a model that has read one text a better start for another one than a fresh model?  And what does it
forget?

    pretrained   begins with the checkpoint's parameters
    scratch      begins afresh, at the same sizes

Both train with the same settings on the same windows in the same order, over one vocabulary, the checkpoint's: a token
means the same word before and after.  The untouched model is judged on the new text, the fine-tuned one on the old.

But: nothing here makes a dialogue more than a text, such as who speaks.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean

from torch import Tensor

from llmlab.after.generate import write
from llmlab.after.opening import Restored, nothing_whole, restored
from llmlab.baseline import build, precision_of
from llmlab.errors import LlmlabError, SettingError, TextError
from llmlab.fast.reader import Reader
from llmlab.fast.swept import SweptNewLLM, release_buffers
from llmlab.lab.checkpoint import BYTES_KEPT, CheckpointFolder
from llmlab.lab.dataset import Dataset, check_batch
from llmlab.lab.device import device_of
from llmlab.lab.epochs import Training
from llmlab.lab.folders import identity
from llmlab.lab.judging import evaluate
from llmlab.lab.language import LanguageModel, parameter_count
from llmlab.lab.recipe import Recipe
from llmlab.lab.sizes import Size
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, study
from llmlab.measure.ngram import Baseline, window_baselines
from llmlab.measure.score import Score, document_difference, document_sums, perplexity
from llmlab.measure.stats import as_metrics, metrics_of, paired_interval
from llmlab.report.messages import say
from llmlab.report.result import Result, Scalar, rounded
from llmlab.settings import FinetuneSettings, GenerateSettings
from llmlab.shown import after
from llmlab.shown import finetune as shown
from llmlab.text.cache import cache_folder
from llmlab.text.corpus import Corpus, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import EOS, PAD, UNK, WordVocabulary, encoded

ARMS = ("pretrained", "scratch")
PROMPTS = ("hello how are you", "what is your name", "tell me about yourself")
"""Those of the seed document's evaluation."""

MOST_TOKENS = 30
MADE = ("synthetic", "dialect")
PLANNED = Size(embedding=256, hidden=1024, context=512, layers=11)
"""The sizes that the code of document 001 builds for dialogues: its own defaults, not those of the trained model."""


# ---- the text ---------------------------------------------------------------------------------------------------


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
        notes.append(say("finetune.not_measured", error=str(error)))
        return None


# ---- one arm ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """One arm of one seed.

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

    @property
    def losses(self) -> list[float]:
        """Validation loss per token before the first epoch and after each."""
        return [self.start.loss, *(row["val_loss_token"] for row in self.history)]


def tuned(
    settings: FinetuneSettings,
    name: str,
    seed: int,
    base: Restored,
    text: WindowedText,
    original: Dataset | None,
    on_step: OnStep | None = None,
) -> Tuned:
    """Train one arm of one seed; ``base`` is not changed.

    Raises:
        Diverged: a number was not finite.
        SettingError: the folder of ``out`` holds checkpoints, or another run writes there.
        WriteError: a checkpoint could not be written.
    """
    precision = precision_of(replace(base.settings, precision=settings.precision), device_of(base.settings.device))
    model = build(base.settings, len(base.vocabulary), seed, precision)
    if name == "pretrained":
        for key, tensor in model.parameters.items():
            tensor.copy_(base.model.parameters[key])
    start = evaluate(model, text.valid, settings.batch, documents=text.valid_documents)
    keeps = settings.out is not None and name == "pretrained" and seed == settings.seed
    folder = new_folder(settings.out) if settings.out is not None and keeps else None
    training = Training(
        model,
        text.train,
        text.valid,
        recipe(settings, seed),
        folder,
        whose(settings, seed, base, text),
        documents=text.valid_documents,
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
    ours = identity(under.document(), seed, text, settings.precision, text.vocabulary.words)
    return ours | {"fine_tuned_from": {"text": base.text, "text_name": base.settings.data}}


# ---- what it writes ---------------------------------------------------------------------------------------------


def prompts(base: Restored, text: Dialogue) -> list[str]:
    """Return what is to be completed: the seed document's prompts, or where none of their words is known, openings."""
    if any(word in base.vocabulary.numbers for prompt in PROMPTS for word in prompt.split()):
        return list(PROMPTS)
    return [base.vocabulary.decode(row[1:4]) for row in text.text.valid[: len(PROMPTS)].tolist()]


def completed(model: LanguageModel, vocabulary: WordVocabulary, prompt: str) -> str | None:
    """Return the likeliest words after a prompt, up to the end of the line; ``None`` for a model without a context."""
    if not isinstance(model, SweptNewLLM):
        return None
    greedy = GenerateSettings(checkpoint=Path(), tokens=MOST_TOKENS, temperature=0.0)
    written = write(Reader(model.model), vocabulary.encode(prompt)[:-1], greedy, seed=0)
    return vocabulary.decode([token for token in written.tokens if token != EOS])


def completions(base: Restored, text: Dialogue, arms: Sequence[Tuned]) -> list[tuple[str, str, str]]:
    """Return prompt, model, and what it wrote, for the base and the first seed of each arm; New-LLM only."""
    models = {"base": base.model} | {arm.name: arm.model for arm in arms}
    found = [
        (prompt, name, completed(model, base.vocabulary, prompt))
        for prompt in prompts(base, text)
        for name, model in models.items()
    ]
    return [(prompt, name, words) for prompt, name, words in found if words is not None]


# ---- what pretraining is worth ----------------------------------------------------------------------------------


def run(settings: FinetuneSettings, on_step: OnStep | None = None) -> Result:
    """Train a checkpoint's model and a fresh one on another text, and report what the first text was worth.

    Args:
        settings: the options.
        on_step: called after each update with its number, the number planned, and a few words.

    Returns:
        The result; its ``status`` is ``diverged`` if a number stopped being finite in every seed, ``interrupted`` if
        ``on_step`` stopped it after the first.

    Raises:
        CheckpointError: there is no usable checkpoint.
        LlmlabError: the text cannot be used or is not here, or checkpoints cannot be written.
        Stopped: ``on_step`` stopped the run before both arms had finished a seed.
    """
    base = restored(settings.checkpoint)
    if settings.out is not None:
        new_folder(settings.out)  # refused before the text is read
    text, notes = dialogue(settings, base), list[str]()
    check_batch(settings.batch, text.text)
    original = original_text(settings, base, notes)
    updates = settings.epochs * -(-len(text.text.train) // settings.batch)

    def arm(name: str) -> Arm[Tuned]:
        return Arm(name, updates, lambda seed, step: tuned(settings, name, seed, base, text.text, original, step))

    found = study(map(arm, ARMS), range(settings.seed, settings.seed + settings.seeds), on_step)
    runs = found.whole()
    why, how = say("finetune.why"), say("finetune.how")
    if not runs:
        return nothing_whole(settings, why, how, found)
    by_name = {name: [run for run in runs if run.name == name] for name in ARMS}
    scores = {name: [run.score for run in arm] for name, arm in by_name.items()}
    before = None if original is None else evaluate(base.model, original.text.valid, settings.batch)
    samples = {f"val_ppl_{name}": [score.ppl for score in arm] for name, arm in scores.items()}
    if before:
        samples["original_ppl_after"] = [perplexity(run.original or 0.0) for run in by_name["pretrained"]]
    told = metrics(base, text, before, by_name, samples)
    first, seeds = {name: arm[0] for name, arm in by_name.items()}, len(scores["scratch"])
    losses, zero_shot = {name: run.losses for name, run in first.items()}, first["pretrained"].start
    best, per_epoch = {name: run.best_epoch for name, run in first.items()}, updates // settings.epochs
    made = {name: epoch * per_epoch for name, epoch in best.items()}
    blocks = len(zero_shot.targets_by_document)
    rows = {name: name for name in samples} | {"pretrained minus scratch": "val_ppl_pretrained_minus_scratch"}
    left = {name: fmean(perplexity(run.original or 0.0) for run in arm) for name, arm in by_name.items()}
    return Result(
        settings.experiment,
        settings.document(),
        why,
        how,
        status="interrupted" if found.stop else "complete",
        metrics=told,
        summary=[
            *shown.summary(text.text.name, base.settings.data, text.references, told, losses, seeds),
            *([say("finetune.kept")] if settings.out is not None else []),
            *notes,
            *after.left_out(found.diverged, seeds if found.stop else None),
            *text.notes,
        ],
        tables=[
            base.table(),
            shown.compared(text.text.name, text.references, zero_shot, made, told),
            shown.by_epoch(losses, best, per_epoch),
            *([shown.forgotten(base.settings.data, before, left)] if before else []),
            shown.words(len(base.vocabulary.numbers), told),
            *shown.written(completions(base, text, list(first.values()))),
            *after.over_seeds("metric:token", rows, told, seeds, text.text.valid_document_count, blocks),
        ],
        figures=[shown.curves(losses, text.references["kneser_ney_3"].loss, text.floor)],
        samples={name: rounded(values) for name, values in samples.items()},
        documents=document_sums({f"_{name}": arm for name, arm in scores.items()}),
    )


def metrics(
    base: Restored,
    text: Dialogue,
    before: Score | None,
    by_name: Mapping[str, Sequence[Tuned]],
    samples: Mapping[str, Sequence[float]],
) -> dict[str, Scalar]:
    """Return the headline numbers: of what is trained the mean over seeds with its interval."""
    zero_shot = by_name["pretrained"][0].start
    found: dict[str, Scalar] = {
        "base_data": base.settings.data,
        "parameters": parameter_count(base.model),
        "zero_shot_ppl": zero_shot.ppl,
        "unk_share": zero_shot.unknown_share,
        "unk_share_lines": text.unknown,
        "unk_share_lines_own_vocabulary": text.unknown_own,
        "shared_words": text.shared,
        "words_with_same_number": text.same_number,
        **planned_sizes(base.model.parameters),
        "train_windows": len(text.text.train),
        "val_windows": len(text.text.valid),
        "bigram_ppl": text.references["bigram"].ppl,
        "kneser_ney_ppl": text.references["kneser_ney_3"].ppl,
    }
    if text.floor is not None:
        found["bayes_ppl"] = perplexity(text.floor)
    if before:
        found["original_ppl_before"] = before.ppl
    for name, arms in by_name.items():
        found[f"first_epoch_ppl_{name}"] = fmean(perplexity(arm.losses[1]) for arm in arms)
        found[f"best_epoch_{name}"] = fmean(arm.best_epoch for arm in arms)
        found[f"val_ppl_batch_mean_{name}"] = fmean(arm.score.ppl_batch_mean for arm in arms)
        found[f"val_accuracy_{name}"] = fmean(arm.score.accuracy for arm in arms)
        found[f"val_accuracy_known_{name}"] = fmean(arm.score.accuracy_known for arm in arms)
    fresh, ours = ({arm.seed: arm.score.ppl for arm in by_name[name]} for name in ("scratch", "pretrained"))
    scores = ([arm.score for arm in by_name[name]] for name in ("scratch", "pretrained"))
    head_start = paired_interval(fresh, ours) | document_difference(*scores)
    return found | metrics_of(samples) | as_metrics("val_ppl_pretrained_minus_scratch", head_start)


def planned_sizes(parameters: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """Return how many tensors a model has, and how many have the shape that document 001's script builds."""
    planned = PLANNED.shapes()
    fit = sum(planned.get(name) == tuple(one.shape) for name, one in parameters.items())
    return {"tensors": len(parameters), "tensors_that_fit_the_plan": fit}
