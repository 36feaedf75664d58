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
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from llmlab.after.arms import ArmRun, minus, nothing_whole, result
from llmlab.after.generate import write
from llmlab.after.opening import Restored, restored
from llmlab.errors import LlmlabError, SettingError, TextError
from llmlab.fast.reader import Reader
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import CheckpointFolder
from llmlab.lab.dataset import Dataset, check_fits
from llmlab.lab.device import device_of, precision_of
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.folders import checkpointed, identity
from llmlab.lab.language import LanguageModel, evaluate, parameter_count
from llmlab.lab.sizes import Size
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, study
from llmlab.measure.ngram import window_baselines
from llmlab.measure.score import Score, perplexity
from llmlab.measure.stats import as_metrics, metrics_of
from llmlab.peers import build
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar, Table
from llmlab.settings import BaselineSettings, FinetuneSettings, GenerateSettings
from llmlab.shown import after
from llmlab.shown import finetune as shown
from llmlab.text.cache import cache_folder
from llmlab.text.corpus import Corpus, load_corpus
from llmlab.text.grammar import Grammar
from llmlab.text.windows import WindowedText, prepare
from llmlab.text.words import EOS, PAD, UNK, WordVocabulary, encoded

ARMS = ("pretrained", "scratch")
PROMPTS = ("hello how are you", "what is your name", "tell me about yourself")
"""Those of the original notes' evaluation."""

MOST_TOKENS = 30
MADE = ("synthetic", "dialect")
PLANNED = Size(embedding=256, hidden=1024, context=512, layers=11)
"""The sizes that the code of document 001 builds for dialogues: its own defaults, not those of the trained model."""


# ---- the text ---------------------------------------------------------------------------------------------------


def dialogue(settings: FinetuneSettings, base: Restored, corpus: Corpus) -> Dataset:
    """Return the text of the fine-tuning over the model's own words: no line is too short, as the notes planned.

    ``bayes_loss`` is the exact loss of who knows the language, where it is known.
    """
    notes, words = list[Text](), base.vocabulary
    text = prepare(
        corpus,
        length=base.settings.length,
        vocabulary=words,
        fewest_words=0,
        cache=None if settings.data in MADE else cache_folder(),
        say=notes.append,
    )
    if not bool((text.train > EOS).any()) or not bool((text.valid > EOS).any()):
        raise TextError(
            f"--data {corpus.name}: the model, trained on {base.settings.data}, knows none of its words; "
            "give a text of the same language"
        )
    counted = window_baselines(text.train, text.train_lines, text.valid, len(words), notes.append)
    return Dataset(text, counted, floor(text) if settings.data == "dialect" else None, notes=notes)


def one_vocabulary(corpus: Corpus, vocabulary: WordVocabulary) -> dict[str, Scalar]:
    """Return what the model's words cost on the text, beside a vocabulary of its own of the same size.

    That is the share of unknown words among the validation lines' words and ends, how many words the two vocabularies
    have in common, and how many of these under the same number.
    """
    own, shares = WordVocabulary.of_lines(corpus.train, len(vocabulary)), dict[str, Scalar]()
    for end, words in (("", vocabulary), ("_own_vocabulary", own)):
        lines = list(encoded(corpus.valid, words, 0))
        unknown, every = sum(line.count(UNK) for line in lines), sum(len(line) - 1 for line in lines)
        shares[f"unk_share_lines{end}"] = unknown / every
    return shares | {
        "shared_words": len(own.numbers.keys() & vocabulary.numbers.keys()),
        "words_with_same_number": len(own.numbers.items() & vocabulary.numbers.items()),
    }


def floor(text: WindowedText) -> float | None:
    """Return the exact loss of who knows the dialect, or nothing where words are unknown or lines are cut."""
    with contextlib.suppress(ValueError):
        found = Grammar.dialect().log_probabilities(text.valid, text.vocabulary)
        return -float(found[text.valid[:, 1:] != PAD].mean())
    return None


def original_text(settings: FinetuneSettings, base: Restored, notes: list[Text]) -> Dataset | None:
    """Return the text that the model was trained on; where it is not here, nothing, and a note that says why."""
    try:
        if not settings.original and base.settings.data.startswith("path: "):
            raise SettingError(f"it was trained on {base.settings.data!r}; --original says where that is")
        return base.dataset(settings.original, offline=settings.offline)
    except LlmlabError as error:
        notes.append(say("finetune.not_measured", error=str(error)))
        return None


# ---- one arm ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tuned(ArmRun):
    """One arm of one seed, whose model has the numbers of the best epoch.

    ``original`` is the model's loss on the original text, ``written`` what it writes after each prompt.
    """

    original: float | None
    written: dict[str, str]


def tuned(
    settings: FinetuneSettings,
    name: str,
    seed: int,
    base: Restored,
    text: WindowedText,
    original: Dataset | None,
    on_step: OnStep | None = None,
) -> Tuned:
    """Train one arm of one seed; ``base`` is not changed."""
    precision = precision_of(replace(base.settings, precision=settings.precision), device_of(base.settings.device))
    model = build(base.settings, len(base.vocabulary), seed, precision)
    if name == "pretrained":
        for key, tensor in model.parameters.items():
            tensor.copy_(base.model.parameters[key])
    under = as_baseline(settings, base, seed)
    ours = identity(under.document(), seed, text.digest, text.name, settings.precision, text.vocabulary.words)
    ours["fine_tuned_from"] = {"text": base.text, "text_name": base.settings.data}
    start = evaluate(model, text.valid, settings.batch, documents=text.valid_documents)
    training = Training(model, text.train, text.valid, Recipe.of(under, seed), documents=text.valid_documents)
    keeps = settings.out is not None and name == "pretrained" and seed == settings.seed
    with checkpointed(training, replace(under, out=settings.out), ours, "") if keeps else contextlib.nullcontext():
        training.run(on_step)
    for key, tensor in training.best.items():
        model.parameters[key].copy_(tensor)
    progress, score = training.progress, Score(**training.progress.best_score)
    return Tuned(
        seed=seed,
        numbers={
            "first_epoch_ppl": perplexity(progress.history[0]["val_loss_token"]),
            "best_epoch": progress.best_epoch,
            "val_ppl_batch_mean": score.ppl_batch_mean,
            "val_accuracy": score.accuracy,
            "val_accuracy_known": score.accuracy_known,
        },
        history=progress.history,
        start=start,
        score=score,
        original=None if original is None else evaluate(model, original.text.valid, settings.batch).loss,
        written=completions(model, base.vocabulary, text),
    )


def as_baseline(settings: FinetuneSettings, base: Restored, seed: int) -> BaselineSettings:
    """Return the settings of ``llmlab baseline`` that train an arm: rule, constant rate and clip are the notes'."""
    own = {name: getattr(settings, name) for name in ("data", "epochs", "batch", "lr", "patience")}
    notes: dict[str, Any] = {"schedule": "constant", "optimizer": "adam", "weight_decay": 0.0, "clip": "adaptive"}
    return replace(base.settings, **own, **notes, seed=seed, seeds=1)


# ---- what it writes ---------------------------------------------------------------------------------------------


def prompts(vocabulary: WordVocabulary, text: WindowedText) -> list[str]:
    """Return what is to be completed: the notes' prompts, or where none of their words is known, openings."""
    if any(word in vocabulary.numbers for prompt in PROMPTS for word in prompt.split()):
        return list(PROMPTS)
    return [vocabulary.decode(row[1:4]) for row in text.valid[: len(PROMPTS)].tolist()]


def completions(model: LanguageModel, vocabulary: WordVocabulary, text: WindowedText) -> dict[str, str]:
    """Return what a model writes after each prompt; nothing for one without a context vector."""
    if not isinstance(model, SweptNewLLM):
        return {}
    return {prompt: completed(model, vocabulary, prompt) for prompt in prompts(vocabulary, text)}


def completed(model: SweptNewLLM, vocabulary: WordVocabulary, prompt: str) -> str:
    """Return the likeliest words after a prompt, up to the end of the line."""
    greedy = GenerateSettings(checkpoint=Path(), tokens=MOST_TOKENS, temperature=0.0)
    written = write(Reader(model.model), vocabulary.encode(prompt)[:-1], greedy, seed=0)
    return vocabulary.decode(one.number for one in written if one.number != EOS)


# ---- what pretraining is worth ----------------------------------------------------------------------------------


def run(settings: FinetuneSettings, on_step: OnStep | None = None) -> Result:
    """Train a checkpoint's model and a fresh one on another text, and report what the first text was worth.

    The result's ``status`` is ``diverged`` if a number stopped being finite in every seed, ``interrupted`` if
    ``on_step`` stopped it after the first; before that it raises ``Stopped``.
    """
    base = restored(settings.checkpoint)
    if settings.out is not None and settings.out.exists() and CheckpointFolder(settings.out).has_checkpoints():
        raise SettingError(f"--out: {settings.out} holds checkpoints; choose another folder")
    corpus, notes = load_corpus(settings.data, offline=settings.offline), list[Text]()
    text = dialogue(settings, base, corpus)
    check_fits(as_baseline(settings, base, settings.seed), text.text)
    original = original_text(settings, base, notes)

    def train(arm: Arm, seed: int, step: OnStep) -> Tuned:
        return tuned(settings, arm.name, seed, base, text.text, original, step)

    updates = text.updates(as_baseline(settings, base, settings.seed))
    found = study(settings, [Arm(name, updates=updates) for name in ARMS], train, on_step)
    asked = say("finetune.why"), say("finetune.how")
    if not (arms := found.whole()):
        return nothing_whole(settings, asked, found)
    forgotten, samples = list[Table](), dict[str, list[float]]()
    told = metrics(base, text, arms) | one_vocabulary(corpus, base.vocabulary)
    if original is not None:
        before = evaluate(base.model, original.text.valid, settings.batch)
        left = {name: [perplexity(run.original or 0.0) for run in runs] for name, runs in arms.items()}
        samples["original_ppl_after"] = left["pretrained"]
        told |= {"original_ppl_before": before.ppl, **metrics_of(samples)}
        after_each = {name: fmean(ppls) for name, ppls in left.items()}
        forgotten.append(shown.forgotten(base.settings.data, before, after_each))
    losses, kept = {name: runs[0].losses for name, runs in arms.items()}, settings.out is not None
    summary = shown.summary(text, base.settings.data, told, losses, len(arms["scratch"]), kept=kept)
    tables, figure = tables_of(settings, base, text, arms, told, forgotten), shown.curves(losses, text)
    return result(
        settings, asked, found, arms, told, [*summary, *notes, *text.notes, *base.notes], tables, figure, samples
    )


def tables_of(
    settings: FinetuneSettings,
    base: Restored,
    text: Dataset,
    arms: Mapping[str, Sequence[Tuned]],
    told: Mapping[str, Scalar],
    forgotten: list[Table],
) -> list[Table]:
    """Return the tables; what is of one run is of the first seed."""
    first, seeds = {name: runs[0] for name, runs in arms.items()}, len(arms["scratch"])
    start, losses = first["pretrained"].start, {name: run.losses for name, run in first.items()}
    best = {name: int(run.numbers["best_epoch"]) for name, run in first.items()}
    updates = -(-len(text.text.train) // settings.batch)
    before = completions(base.model, base.vocabulary, text.text)
    writers = {"base": before} | {name: run.written for name, run in first.items()}
    written = [(prompt, name, words[prompt]) for prompt in before for name, words in writers.items()]
    names = [f"val_ppl_{name}" for name in arms] + ["original_ppl_after"] * len(forgotten)
    rows: dict[Text, str] = {name: name for name in names} | {
        "pretrained minus scratch": "val_ppl_pretrained_minus_scratch"
    }
    documents = text.text.valid_document_count, len(start.targets_by_document)
    return [
        base.table(),
        shown.compared(text, start, {name: epoch * updates for name, epoch in best.items()}, told),
        shown.by_epoch(losses, best, updates),
        *forgotten,
        shown.words(len(base.vocabulary.numbers), told),
        *shown.written(written),
        *after.over_seeds("metric:token", rows, told, seeds, *documents),
    ]


def metrics(base: Restored, text: Dataset, arms: Mapping[str, Sequence[Tuned]]) -> dict[str, Scalar]:
    """Return the headline numbers: of what is trained the mean over seeds with its interval."""
    start, shapes = arms["pretrained"][0].start, PLANNED.shapes()
    found: dict[str, Scalar] = {
        "base_data": base.settings.data,
        "parameters": parameter_count(base.model),
        "zero_shot_ppl": start.ppl,
        "unk_share": start.unknown_share,
        "tensors": len(base.model.parameters),
        "tensors_that_fit_the_plan": sum(shapes.get(name) == one.shape for name, one in base.model.parameters.items()),
        "train_windows": len(text.text.train),
        "val_windows": len(text.text.valid),
        "bigram_ppl": text.references["bigram"].ppl,
        "kneser_ney_ppl": text.references["kneser_ney_3"].ppl,
    }
    if text.bayes_loss is not None:
        found["bayes_ppl"] = perplexity(text.bayes_loss)
    for name, runs in arms.items():
        found |= {f"{what}_{name}": fmean(run.numbers[what] for run in runs) for what in runs[0].numbers}
        found |= metrics_of({f"val_ppl_{name}": [run.score.ppl for run in runs]})
    return found | as_metrics("val_ppl_pretrained_minus_scratch", minus(arms["pretrained"], arms["scratch"]))
