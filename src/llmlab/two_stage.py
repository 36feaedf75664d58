"""Two stages: contexts that are computed once and stay, then a token block that learns to read them.

Question: what do the contexts C* contribute, and which of the seed's choices in making them matters: the training of
their block, the noise, the number of layers, where the token enters, and whether the context is read before the token
or after it?

    Stage 1    C*_i = block(C*_(i-1), x_i)        no gradient, once; many segments side by side, exact to a tolerance
    Stage 2    y_i  = tokens(x_i, C*)             C* after token i, layer by layer, or C*_(i-1) for all layers

Covers Stage 1 with its error against the token-by-token pass, Stage 2 on contexts that provably do not move, and one
ablation for each choice, with seeds and intervals.
But: does what was said here of a small text hold for a large one?  The log's entries say how far it was taken.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from llmlab.contexts import differences, figures, outcome, rates_tables, stage1_tables, tables
from llmlab.contexts.arms import Arm, stage_arms
from llmlab.contexts.loading import loaded
from llmlab.contexts.running import ArmRuns, Comparison, compared
from llmlab.contexts.stage1 import Measured
from llmlab.lab.steps import OnStep
from llmlab.measure.ngram import beside_counting
from llmlab.report.result import Figure, Result, Scalar, Table
from llmlab.settings import TwoStageSettings

WHY = (
    "Seed document 002 trains in two stages: the memory first, once and for good, then the part that predicts. It "
    "praises noise, single layers and the token in every layer from single runs that differ in more than one thing. "
    "Changing one thing at a time: what does each of them do, and does the memory have to be trained at all?"
)
HOW = (
    "A context block is trained to a fixed point, or left as chance made it; its contexts are computed once, segments "
    "of the text side by side, and the error against the token-by-token pass is measured. Then a token block is "
    "trained on them with a frozen embedding and a tied head. Each ablation changes one choice; all its runs see the "
    "same tokens, at most as many updates, and equal seeds."
)

TITLES = {
    "block": ("Is the context block worth training?", "context block", "The same block, its training skipped."),
    "noise": (
        "Noise while the context block is trained",
        "noise",
        "Standard deviation of the noise, at equal passes: every block makes all of them.",
    ),
    "layers": ("Layers of both blocks", "layers", "As many token layers as context layers."),
    "wiring": (
        "Where the token enters, and how wide the layers are",
        "token in, widths",
        "Token in every layer of the context block or the first only; widths constant or decreasing. The seed's two "
        "designs are every, constant and first, decreasing.",
    ),
    "reading": (
        "Which context predicts",
        "context",
        "After: the context holds the last token, each token layer reads its own context layer, or all read the last. "
        "Before: all read the context without the last token. No context: zeros in its place, so that the token block "
        "can learn no more than what follows the tokens it reads.",
    ),
}
"""By ablation: title of its table, heading of its first column, and what differs."""

CURVES = {"noise": ("Loss by noise", "noise"), "layers": ("Loss by layers", "layers")}


def run(settings: TwoStageSettings, on_step: OnStep | None = None) -> Result:
    """Run both stages for every arm and seed and report what each choice does.

    Args:
        settings: the options of the chapter.
        on_step: called after each update, counted over all runs.

    Returns:
        The result; its ``status`` is ``interrupted`` if ``on_step`` stopped it after its first run, and ``diverged`` if
        no run stayed finite.

    Raises:
        LlmlabError: text, embedding or checkpoints cannot be used, or nothing can be written.
        Stopped: ``on_step`` stopped it before its first run was finished.
    """
    ablations = stage_arms(settings)
    found = compared(
        settings,
        loaded(settings, on_step, vectors=settings.vectors),
        [arm for each in ablations.values() for arm in each],
        on_step,
    )
    if not found.finished:
        return outcome.all_diverged(settings, found, WHY, HOW)
    by_name = {name: [_with_label(found, arm) for arm in ablations[name]] for name in settings.ablations}
    main = [found.arms["main"]] if found.arms["main"].runs else []
    shown: list[Table] = [
        tables.text_read(found.task),
        tables.meaning(found, ["main"]),
        tables.arms("The model", [found.arms["main"]], found.task),
        *[_ablation(name, arms, found) for name, arms in by_name.items()],
        *rates_tables.rates(found.finished),
        tables.final(found, found.finished),
        tables.fit(found.finished),
        *([tables.epochs(main)] if main else []),
        stage1_tables.contexts(found, found.label_of),
        stage1_tables.passes(found.first_contexts),
    ]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="interrupted" if found.stopped else "complete",
        metrics=outcome.metrics(found) | compared_arms(found, by_name),
        summary=_summary(settings, found, by_name),
        tables=[table for table in shown if table.rows],
        figures=_figures(settings, found, by_name),
        samples=outcome.samples(found),
    )


def compared_arms(found: Comparison, by_name: dict[str, list[ArmRuns]]) -> dict[str, Scalar]:
    """Return the differences within each ablation as metrics, its arms called by their labels."""
    told: dict[str, Scalar] = {}
    for arms in by_name.values():
        named = [(differences.called(arm.arm.label), arm) for arm in arms if arm.runs]
        told |= differences.of_each(found, named) | differences.differences(found, combinations(named, 2))
    return told


def _with_label(found: Comparison, arm: Arm) -> ArmRuns:
    """Return an arm's runs under the label that it has in an ablation: arms are shared between ablations."""
    runs = found.arms[arm.name]
    return runs if runs.arm.label == arm.label else replace(runs, arm=arm)


def _ablation(name: str, arms: Sequence[ArmRuns], found: Comparison) -> Table:
    title, column, caption = TITLES[name]
    return tables.ablation(name, title, column, arms, found, caption)


def _figures(settings: TwoStageSettings, found: Comparison, by_name: dict[str, list[ArmRuns]]) -> list[Figure]:
    """Return train and validation loss of the main arm, and a curve for each ablation whose values are numbers."""
    main = [found.arms["main"]] if found.arms["main"].runs else []
    shown = [figures.train_and_validation(main)] if main else []
    values = {"noise": settings.swept_noises, "layers": [float(depth) for depth in settings.swept_depths]}
    for name, (title, label) in CURVES.items():
        arms = by_name.get(name, [])
        if len(arms) > 1 and all(arm.runs for arm in arms):
            shown.append(figures.by_value(name, title, label, values[name], arms))
    return shown


def _summary(settings: TwoStageSettings, found: Comparison, by_name: dict[str, list[ArmRuns]]) -> list[str]:
    main, told = found.arms["main"], list[str]()
    measured = found.first_contexts
    references = found.task.references
    if main.runs:
        told.append(
            f"Validation PPL {main.ppl['']:.2f} on {len(found.task.text.train.tokens):,} tokens, mean of "
            f"n = {len(main.runs)}; a bigram has {references['bigram'].ppl:.2f}, Kneser–Ney "
            f"{references['kneser_ney_3'].ppl:.2f}."
        )
        told += beside_counting(references, [main.ppl[""]])
    told.append(
        f"Stage 1 made {measured.tokens_per_second:,.0f} contexts a second, {_exactness(measured)}; Stage 2 moved them "
        f"by {max(run.drift for arm in found.finished for run in arm.runs):g}."
    )
    if main.runs:
        others = [arm for arms in by_name.values() for arm in arms if arm.arm.name != "main" and arm.runs]
        told += [said] if (said := outcome.spread(main, others)) else []
    return [*told, *outcome.notes(found)]


def _exactness(measured: Measured) -> str:
    if measured.plain:
        return "token by token"
    return (
        f"none of {measured.checked:,} checked ones further than {measured.max_error:.1e} from the token-by-token pass"
    )
