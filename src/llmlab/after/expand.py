"""``llmlab baseline expand CHECKPOINT``: give a trained New-LLM a longer context.

Question: seed document 003 planned to double a trained context, with the new weights at zero.  Does the model keep
what it knows, and do the new numbers come to hold anything?

Covers the two patterns of the plan, two repairs, and two controls, all with the same updates.  The arithmetic behind
the outcome stands in ``model.expanded``.  Leaves out keeping the larger model.
"""

from dataclasses import replace
from statistics import fmean

from llmlab.after import expand_shown as shown
from llmlab.after.expanded import count, expanded
from llmlab.after.expanding import SAMPLE, ExpandedArm, Growth, growth, trained_arm
from llmlab.after.left_out import left_out, nothing_whole
from llmlab.after.opening import Restored, new_llm_of, restored, the_model
from llmlab.errors import SettingError
from llmlab.lab.dataset import Dataset, check_batch
from llmlab.lab.judging import evaluate
from llmlab.lab.steps import OnStep
from llmlab.lab.study import Arm, Study, study
from llmlab.lm.tables import text_read
from llmlab.measure.score import Score, document_sums, perplexity
from llmlab.measure.stats import as_metrics, mean_interval
from llmlab.model.new_llm import ContextVectorLM
from llmlab.report.result import Result, Scalar, counted, rounded
from llmlab.settings import ExpandSettings
from llmlab.settings.language import MAX_PARAMETERS

WHY = (
    "The memory of a trained model can be made longer by adding numbers to its context vector. Does the model keep "
    "what it knows, and do the new numbers come to hold anything?"
)
HOW = (
    "The seed document planned new weights that start at zero. Arithmetic says what follows. The LayerNorm now divides "
    "by the deviation of old numbers and zeros together: at twice the length the old numbers grow by about √2, and "
    "every new one becomes the same constant. And numbers with equal weights get equal gradients, at every update: the "
    "new ones stay equal, and hold what one number could. B trains everything; A holds the old context's weights still "
    "(the rest trains). Two repairs: random starts the new rows at N(0, 0.02²), preserving does so too and normalises "
    "the new part for itself, so that nothing changes at first. Two controls: continue trains on without expanding, "
    "scratch starts anew at the larger size. All arms make the same updates on the same windows."
)


def run(settings: ExpandSettings, on_step: OnStep | None = None) -> Result:
    """Expand a trained model in several ways, train each, and report what it cost and brought.

    Args:
        settings: the options.
        on_step: called after each update with its number, the number planned, and a few words.

    Returns:
        The result; its ``status`` is ``diverged`` if a number stopped being finite in every seed, ``interrupted`` if
        ``on_step`` stopped it after the first.

    Raises:
        CheckpointError: there is no usable checkpoint.
        SettingError: it holds another model, the new context is not longer, or the batch is larger than the text.
        LlmlabError: the text cannot be used.
        Stopped: ``on_step`` stopped the run before every arm had finished a seed.
    """
    base = restored(settings.checkpoint)
    model = new_llm_of(base, settings.checkpoint, "expand")
    context = settings.context or 2 * model.size.context
    check_context(model, context)
    task = base.task(settings.data, offline=settings.offline)
    check_batch(settings.batch, task.text)
    score = evaluate(base.model, task.text.valid, settings.batch)

    def arm(name: str) -> Arm[ExpandedArm]:
        return Arm(
            name,
            settings.updates,
            lambda seed, step: trained_arm(settings, name, seed, task, base, model, context, step),
        )

    seeds = range(settings.seed, settings.seed + settings.seeds)
    found = study(map(arm, settings.arms.split(",")), seeds, on_step)
    if not found.whole():
        return nothing_whole(settings, WHY, HOW, found)
    grown = growth(model, expanded(model, context), task.text.valid[:SAMPLE])
    return reported(settings, base, model, task, score, grown, found)


def check_context(model: ContextVectorLM, context: int) -> None:
    """Refuse a context that is not longer, or a model that is too large.

    Raises:
        SettingError: which of the two, and what would do.
    """
    if context <= model.size.context:
        raise SettingError(f"--context: {context} is not longer than the model's {model.size.context}")
    parameters = replace(model.size, context=context).parameters()
    if parameters > MAX_PARAMETERS:
        raise SettingError(f"--context: {context} makes {parameters:,} parameters; at most {MAX_PARAMETERS:,}")


def reported(
    settings: ExpandSettings,
    base: Restored,
    model: ContextVectorLM,
    task: Dataset,
    score: Score,
    grown: Growth,
    found: Study[ExpandedArm],
) -> Result:
    """Return the result of arms that are trained; seeds that were lost are named."""
    names, arms = settings.arms.split(","), found.whole()
    by_name = {name: [arm for arm in arms if arm.name == name] for name in names}
    samples = {f"val_ppl_{name}": [arm.score.ppl for arm in found] for name, found in by_name.items()}
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="interrupted" if found.stop else "complete",
        metrics=metrics(model, score, grown, by_name),
        summary=[*summary(settings, base, model, task, score, grown, by_name), *left_out(found)],
        tables=[
            the_model(base),
            text_read(task),
            shown.compared(model, score, by_name),
            shown.growth_of_old(grown),
            *shown.new_numbers(model, by_name),
            *shown.over_seeds(by_name, task.text.valid_document_count),
        ],
        figures=[shown.curves(score, by_name)],
        samples={name: rounded(values) for name, values in samples.items()},
        documents=document_sums({f"_{name}": [arm.score for arm in found] for name, found in by_name.items()}),
    )


def metrics(
    model: ContextVectorLM, score: Score, grown: Growth, by_name: dict[str, list[ExpandedArm]]
) -> dict[str, Scalar]:
    """Return the headline numbers: of each arm the mean over seeds, of a perplexity with its interval."""
    found: dict[str, Scalar] = {
        "base_ppl": score.ppl,
        "base_ppl_batch_mean": score.ppl_batch_mean,
        "parameters_base": model.size.parameters(),
        "context_base": model.size.context,
        "growth_expected": grown.exact,
        "growth_first": grown.first,
        "growth_all": grown.all,
    }
    for name, arms in by_name.items():
        found |= {f"parameters_{name}": arms[0].parameters, f"trained_parameters_{name}": arms[0].trained}
        found[f"start_ppl_{name}"] = fmean(perplexity(arm.losses[0]) for arm in arms)
        for suffix, value in mean_interval([arm.score.ppl for arm in arms]).items():
            found[f"val_ppl_{name}{suffix}"] = value
        if arms[0].apart is not None:
            found["context"] = arms[0].context
            found["new_parameters"] = count(model.size, model.size.context, arms[0].context)
            found[f"new_apart_{name}"] = max(arm.apart or 0.0 for arm in arms)
            found[f"new_rank_{name}"] = fmean(arm.rank or 0.0 for arm in arms)
            found[f"old_moved_{name}"] = max(arm.old_moved or 0.0 for arm in arms)
    for name, told in shown.beside_continue(by_name).items():
        found |= as_metrics(f"val_ppl_{name}_minus_continue", told)
    return found


def summary(
    settings: ExpandSettings,
    base: Restored,
    model: ContextVectorLM,
    task: Dataset,
    score: Score,
    grown: Growth,
    by_name: dict[str, list[ExpandedArm]],
) -> list[str]:
    """Return what one would say of the run in a few sentences."""
    expansions = {name: arms for name, arms in by_name.items() if arms[0].apart is not None}
    told = [f"The model with a context of {model.size.context} has a validation perplexity of {score.ppl:.2f}."]
    zero = next((arms for name, arms in expansions.items() if name in ("A", "B")), None)
    if zero:
        told.append(
            f"With new weights at zero it has {perplexity(zero[0].losses[0]):.2f} before any update: the old context "
            f"numbers grow by {grown.first:.2f} at the first token, by {grown.all:.2f} over all tokens."
        )
    if "preserving" in expansions:
        start = perplexity(expansions["preserving"][0].losses[0])
        told.append(f"With a LayerNorm of its own for the new part it has {start:.2f}: what it was before.")
    ends = ", ".join(f"{name} {fmean(arm.score.ppl for arm in arms):.2f}" for name, arms in by_name.items())
    seeds = len(next(iter(by_name.values())))
    of_seeds = f" (mean of {counted(seeds, 'seed')})" if seeds > 1 else ""
    told.append(f"After {counted(settings.updates, 'update')} each{of_seeds}: {ends}.")
    ranks = ", ".join(f"{name} {fmean(arm.rank or 0.0 for arm in arms):.1f}" for name, arms in expansions.items())
    if ranks:
        new = next(iter(expansions.values()))[0].context - model.size.context
        told.append(f"The effective rank of the {counted(new, 'new number')} is then: {ranks}.")
    if not settings.data and task.text.digest != base.text:
        told.append("The text is not the one that the model was trained on: its content has changed.")
    return [*told, *task.notes]
