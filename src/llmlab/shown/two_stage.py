"""What is shown of chapter 6: a table for each ablation, and how exact and how fast the contexts were made."""

from collections.abc import Sequence

from llmlab.lab.context_study import LOSS, ArmRuns, Comparison, ContextSpec, Measured
from llmlab.measure.score import perplexity
from llmlab.report.messages import Text, say
from llmlab.report.result import Figure, Result, Scalar
from llmlab.settings import TwoStageSettings
from llmlab.shown import contexts
from llmlab.shown.words import beside_counting

WHY, HOW = say("two_stage.why"), say("two_stage.how")

ABLATIONS = {
    "block": "two_stage.block",
    "noise": "two_stage.noises",
    "layers": "two_stage.depths",
    "wiring": "two_stage.wiring",
    "reading": "two_stage.reading",
}
"""Their tables."""


def result(
    settings: TwoStageSettings, found: Comparison, metrics: dict[str, Scalar], by_name: dict[str, list[ArmRuns]]
) -> Result:
    """Return the result of the chapter; ``by_name`` are the arms of each ablation."""
    if not found.finished:
        return contexts.all_diverged(found, WHY, HOW)
    main = [found.arms["main"]] if found.arms["main"].runs else []

    def label_of(spec: ContextSpec) -> Text:
        """Return the label of the first arm that has these contexts."""
        return next(arm.arm.label for arm in found.arms.values() if arm.arm.contexts == spec)

    tables = [
        contexts.text_read(found.text),
        contexts.meaning(found, ["main"]),
        contexts.arms("The model", [found.arms["main"]], found),
        *[contexts.ablation(ABLATIONS[name], arms, found) for name, arms in by_name.items()],
        *contexts.rates(found),
        contexts.final(found),
        contexts.fit([*found.arms.values()]),
        *([contexts.epochs(main)] if main else []),
        contexts.contexts(found, label_of),
        contexts.passes(found.own_contexts[0]),
    ]
    return contexts.result(found, WHY, HOW, metrics, summary(found, by_name), tables, figures(settings, main, by_name))


def figures(settings: TwoStageSettings, main: Sequence[ArmRuns], by_name: dict[str, list[ArmRuns]]) -> list[Figure]:
    """Return train and validation loss of the main arm, and a curve for each ablation whose values are numbers."""
    shown = [contexts.train_and_validation(main)] if main else []
    depths = [float(depth) for depth in settings.swept_depths]
    for name, key, values in (
        ("noise", "two_stage.by_noise", settings.swept_noises),
        ("layers", "two_stage.by_layers", depths),
    ):
        arms = by_name.get(name, [])
        if len(arms) > 1 and all(arm.runs for arm in arms):
            shown.append(contexts.by_value(key, values, arms))
    return shown


def summary(found: Comparison, by_name: dict[str, list[ArmRuns]]) -> list[Text]:
    """Return what one would say of the run in a few sentences."""
    main, references, told = found.arms["main"], found.text.references, list[Text]()
    if main.runs:
        told.append(
            say(
                "two_stage.reached",
                ppl=contexts.ppl(main)[""],
                tokens=len(found.text.text.train.tokens),
                seeds=len(main.runs),
                bigram=references["bigram"].ppl,
                kneser_ney=references["kneser_ney_3"].ppl,
            )
        )
        told += beside_counting(references, [contexts.ppl(main)[""]])
    told.append(exactness(found.own_contexts[0], max(run.drift for run in found.finished)))
    if main.runs:
        others = [arm for arms in by_name.values() for arm in arms if arm.arm.name != "main" and arm.runs]
        told += spread(main, others)
    return [*told, *contexts.notes(found)]


def exactness(measured: Measured, drift: float) -> Text:
    """Return in a sentence how fast contexts were made, how exact they are, and that they stayed."""
    if measured.plain:
        return say("two_stage.made_plainly", rate=measured.tokens_per_second, drift=drift)
    checks = {"checked": measured.checked, "error": measured.max_error}
    return say("two_stage.made", rate=measured.tokens_per_second, drift=drift, **checks)


def spread(main: ArmRuns, others: Sequence[ArmRuns]) -> list[Text]:
    """Return in a sentence between which single changes the perplexity lies; nothing for fewer than two changes."""
    changes = {arm.arm.label: perplexity(told[""]) - 1 for arm in others if (told := arm.minus(main, LOSS))}
    if len(changes) < 2:
        return []
    (least, low), *_, (most, high) = sorted(changes.items(), key=lambda change: change[1])
    return [say("two_stage.spread", changes=len(changes), least=least, low=low, most=most, high=high)]
