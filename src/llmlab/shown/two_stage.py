"""What is shown of chapter 6: a table for each ablation, and how exact and how fast the contexts were made."""

from collections.abc import Mapping, Sequence

from llmlab.lab.context_runs import LOSS, ArmRuns
from llmlab.lab.context_study import Comparison
from llmlab.report.messages import Text, say
from llmlab.report.result import Figure, Result, Scalar
from llmlab.settings import TwoStageSettings
from llmlab.shown import contexts
from llmlab.shown.table import tell
from llmlab.shown.words import beside_counting

ASKED = say("two_stage.why"), say("two_stage.how")

ABLATIONS = {
    "block": "two_stage.block",
    "noise": "two_stage.noises",
    "layers": "two_stage.depths",
    "wiring": "two_stage.wiring",
    "reading": "two_stage.reading",
}
"""Their tables."""

READINGS = {"after": "after, by layer", "final": "after, last layer", "before": "before", "none": "no context"}
"""Which context predicts: what a table calls it."""


def result(
    settings: TwoStageSettings, found: Comparison, metrics: dict[str, Scalar], by_name: Mapping[str, list[ArmRuns]]
) -> Result:
    """Return the result of the chapter; ``by_name`` are the arms of each ablation."""
    if not found.finished:
        return contexts.all_diverged(found, ASKED)
    main = found.arms["main"]
    labels = {arm.arm.contexts: arm.arm.label for arm in reversed(found.arms.values())}  # of the first with these
    tables = contexts.tables(
        found,
        "The model",
        [main],
        fitted=found.arms.values(),
        compared=[contexts.ablation(ABLATIONS[name], arms, found) for name, arms in by_name.items()],
        sizes=[],
        label=labels.__getitem__,
    )
    figures = figures_of(settings, main, by_name)
    return contexts.result(found, ASKED, metrics, summary(found, by_name), tables, figures)


def figures_of(settings: TwoStageSettings, main: ArmRuns, by_name: Mapping[str, list[ArmRuns]]) -> list[Figure]:
    """Return train and validation loss of the main arm, and a curve for each ablation whose values are numbers."""
    shown = [contexts.train_and_validation([main])] if main.runs else []
    noises, depths = settings.swept_noises, [float(depth) for depth in settings.swept_depths]
    for name, key, values in (("noise", "two_stage.by_noise", noises), ("layers", "two_stage.by_layers", depths)):
        arms = by_name.get(name, [])
        if len(arms) > 1 and all(arm.runs for arm in arms):
            shown.append(contexts.by_value(key, values, arms))
    return shown


def summary(found: Comparison, by_name: Mapping[str, list[ArmRuns]]) -> list[Text]:
    """Return what one would say of the run in a few sentences: the model, its contexts, and what changes do."""
    main, references, measured = found.arms["main"], found.text.references, found.own_contexts[0]
    made = {"rate": measured.tokens_per_second, "drift": max(run.drift for run in found.finished)}
    made |= {"checked": measured.checked, "error": measured.max_error}
    exact = tell(made, "two_stage.made_plainly" if measured.plain else "two_stage.made")
    if not main.runs:
        return [*exact, *contexts.notes(found)]
    ppl = contexts.reached(main)["val_ppl"]
    reached = say(
        "two_stage.reached",
        ppl=ppl,
        tokens=len(found.text.text.train.tokens),
        seeds=len(main.runs),
        bigram=references["bigram"].ppl,
        kneser_ney=references["kneser_ney_3"].ppl,
    )
    others = [arm for arms in by_name.values() for arm in arms if arm.arm.name != "main" and arm.runs]
    return [reached, *beside_counting(references, [ppl]), *exact, *spread(main, others), *contexts.notes(found)]


def spread(main: ArmRuns, others: Sequence[ArmRuns]) -> list[Text]:
    """Return in a sentence between which single changes the perplexity lies; nothing for fewer than two changes."""
    each = {arm.arm.label: contexts.ppl_changes(arm.minus(main, LOSS)) for arm in others}
    changes = {label: told[""] for label, told in each.items() if told}
    if len(changes) < 2:
        return []
    (least, low), *_, (most, high) = sorted(changes.items(), key=lambda change: change[1])
    return [say("two_stage.spread", changes=len(changes), least=least, low=low, most=most, high=high)]
