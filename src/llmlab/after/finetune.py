"""``llmlab baseline finetune CHECKPOINT``: train a trained model further on another text, dialogues for example.

Question: is a model that has read one text a better start for another one than a fresh model?  And what does it
forget?

Covers the trained model against a fresh one under the same recipe, the untouched model on the new text, what is left
of the old one, and completions.  Leaves out everything that would make the dialogue more than a text: who speaks.
"""

from collections.abc import Mapping
from statistics import fmean

from torch import Tensor

from llmlab.after import finetune_shown as shown
from llmlab.after.finetuning import Dialogue, Tuned, completions, dialogue, new_folder, original_text, tuned
from llmlab.after.left_out import left_out, nothing_whole
from llmlab.after.opening import Restored, restored, the_model
from llmlab.lab.dataset import check_batch
from llmlab.lab.judging import evaluate
from llmlab.lab.language import parameter_count
from llmlab.lab.sizes import Size
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, Study, study
from llmlab.measure.ngram import beside_counting
from llmlab.measure.score import Score, document_sums, perplexity
from llmlab.measure.stats import as_metrics, mean_interval
from llmlab.report.result import Result, Scalar, counted, rounded
from llmlab.settings import FinetuneSettings

WHY = (
    "A model that has read one text is trained further on another. Is that a better start than a fresh model, and what "
    "of the first text does it forget?"
)
HOW = (
    "One vocabulary, the checkpoint's, serves both texts, so a token means the same word before and after; what it "
    "does not know is <unk>. Every line of the new text counts, however short. Two arms train with the same recipe on "
    "the same windows in the same order: pretrained begins as the checkpoint, scratch as a fresh model of the same "
    "sizes. The untouched model is judged on the new text, and the fine-tuned one on the old. The built-in dialect has "
    "the words, the openings and the line lengths of the synthetic language, but half of its words are followed by "
    "others, and every topic likes others: a part carries over, a part must be unlearned."
)
ARMS = ("pretrained", "scratch")
PLANNED = Size(embedding=256, hidden=1024, context=512, layers=11)
"""The sizes that the code of document 001 builds for dialogues: its own defaults, not those of the trained model."""


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
    text = dialogue(settings, base)
    check_batch(settings.batch, text.text)
    notes: list[str] = []
    original = original_text(settings, base, notes)

    def arm(name: str) -> Arm[Tuned]:
        updates = settings.epochs * -(-len(text.text.train) // settings.batch)
        return Arm(name, updates, lambda seed, step: tuned(settings, name, seed, base, text, original, step))

    found = study(map(arm, ARMS), range(settings.seed, settings.seed + settings.seeds), on_step)
    if not found.whole():
        return nothing_whole(settings, WHY, HOW, found)
    before = None if original is None else evaluate(base.model, original.text.valid, settings.batch)
    return reported(settings, base, text, before, found, notes)


def reported(
    settings: FinetuneSettings,
    base: Restored,
    text: Dialogue,
    before: Score | None,
    found: Study[Tuned],
    notes: list[str],
) -> Result:
    """Return the result of arms that are trained; ``before`` is the base on the original text."""
    arms = found.whole()
    by_name = {name: [arm for arm in arms if arm.name == name] for name in ARMS}
    written = completions(base, text, arms)
    samples = {f"val_ppl_{name}": [arm.score.ppl for arm in found] for name, found in by_name.items()}
    if before:
        samples["original_ppl_after"] = [perplexity(arm.original or 0.0) for arm in by_name["pretrained"]]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="interrupted" if found.stop else "complete",
        metrics=metrics(base, text, before, by_name, samples),
        summary=[*summary(settings, base, text, before, by_name), *notes, *left_out(found), *text.notes],
        tables=[
            the_model(base),
            shown.compared(text, by_name),
            shown.by_epoch(by_name),
            *shown.forgotten(base, before, by_name),
            shown.words(base, text),
            *shown.written(written),
            *shown.over_seeds(samples, text, by_name),
        ],
        figures=[shown.curves(text, by_name)],
        samples={name: rounded(values) for name, values in samples.items()},
        documents=document_sums({f"_{name}": [arm.score for arm in found] for name, found in by_name.items()}),
    )


def metrics(
    base: Restored,
    text: Dialogue,
    before: Score | None,
    by_name: dict[str, list[Tuned]],
    samples: dict[str, list[float]],
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
        found[f"first_epoch_ppl_{name}"] = fmean(perplexity(arm.history[0]["val_loss_token"]) for arm in arms)
        found[f"best_epoch_{name}"] = fmean(arm.best_epoch for arm in arms)
        found[f"val_ppl_batch_mean_{name}"] = fmean(arm.score.ppl_batch_mean for arm in arms)
        found[f"val_accuracy_{name}"] = fmean(arm.score.accuracy for arm in arms)
        found[f"val_accuracy_known_{name}"] = fmean(arm.score.accuracy_known for arm in arms)
    for name, values in samples.items():
        found |= {name + suffix: value for suffix, value in mean_interval(values).items()}
    return found | as_metrics("val_ppl_pretrained_minus_scratch", shown.head_start_of_ppl(by_name))


def planned_sizes(parameters: Mapping[str, Tensor]) -> dict[str, Scalar]:
    """Return how many tensors a model has, and how many have the shape that document 001's script builds."""
    planned = PLANNED.shapes()
    fit = sum(planned.get(name) == tuple(one.shape) for name, one in parameters.items())
    return {"tensors": len(parameters), "tensors_that_fit_the_plan": fit}


def summary(
    settings: FinetuneSettings,
    base: Restored,
    text: Dialogue,
    before: Score | None,
    by_name: dict[str, list[Tuned]],
) -> list[str]:
    """Return what one would say of the run in a few sentences."""
    pretrained, scratch = (by_name[name] for name in ARMS)
    zero_shot = pretrained[0].start
    of_seeds = f" (means of {counted(len(pretrained), 'seed')})" if len(pretrained) > 1 else ""
    told = [
        f"On {text.text.name} the untouched model has a validation perplexity of {zero_shot.ppl:.2f} per token, "
        f"fine-tuned {fmean(arm.score.ppl for arm in pretrained):.2f}; a fresh model under the same recipe reaches "
        f"{fmean(arm.score.ppl for arm in scratch):.2f}{of_seeds}, the best way of counting "
        f"{min(text.references[name].ppl for name in ('bigram', 'kneser_ney_3')):.2f}.",
        *beside_counting(text.references, [fmean(arm.score.ppl for arm in arms) for arms in (pretrained, scratch)]),
        shown.head_start(pretrained[0], scratch[0]),
        f"{zero_shot.unknown_share:.1%} of the validation targets are <unk>, words that the model never learned.",
    ]
    if before:
        after = fmean(perplexity(arm.original or 0.0) for arm in pretrained)
        told.append(
            f"On {base.settings.data}, the text it was trained on, the perplexity went from {before.ppl:.2f} to "
            f"{after:.2f}: {'that much is forgotten' if after > before.ppl else 'nothing is forgotten'}."
        )
    if settings.out is not None:
        told.append("The fine-tuned model of the first seed is kept; evaluate and generate take it.")
    return told
