"""Chapter 6: contexts computed once, then a token block that learns to read them: which choices matter?

Question: what do the contexts C* contribute, and which of the original notes' choices in making them matter: training
their block, the noise, the number of layers, where the token enters, or whether predictions read the context before
the token or after it?

    Stage 1    C*_t = block( C*_(t-1), x_t )      no gradient, once; many segments side by side, exact to a tolerance
    Stage 2    y_t  = tokens( x_t, C* )           C* after token t, layer by layer, or C*_(t-1) for all layers

The blocks, the training of both stages and the plain pass are chapter 5's; ``fast.fixed_contexts`` makes that pass
sooner, in segments, and measures how far it is from the plain one.  New here are ablations: one choice is changed at a
time, all else stays, and each difference has an interval over seeds.  ``wiring`` is where the token enters the context
block, ``reading`` which of the contexts the token block is given.

But: does this hold on a large text as on a small one?  The entries of the log say how far that has been tried.
"""

from dataclasses import replace
from itertools import combinations

from llmlab.embedding_freeze import EQUATIONS
from llmlab.lab import context_metrics
from llmlab.lab.context_runs import ArmRuns, ArmSpec, ContextSpec
from llmlab.lab.context_stages import loaded
from llmlab.lab.context_study import Comparison, compared
from llmlab.lab.steps import OnStep
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar
from llmlab.settings import TwoStageSettings
from llmlab.shown import two_stage as shown

WIRINGS = (("every", "constant"), ("every", "decreasing"), ("first", "constant"), ("first", "decreasing"))
"""Which context layers read the token, and how wide the layers are."""

READINGS = {"after": "after, by layer", "final": "after, last layer", "before": "before", "none": "no context"}
"""Which context predicts: what a table calls it."""


# ---- one change at a time ---------------------------------------------------------------------------------------


def stage_arms(settings: TwoStageSettings) -> dict[str, list[ArmSpec]]:
    """Return the arms by ablation; ``main`` holds the settings' own arm.

    An ablation has that arm too wherever one of its values is the settings', but for noise: its blocks make every pass.
    Ablations share arms: an arm is trained once.
    """
    contexts = ContextSpec.of(settings, vectors=settings.vectors)
    own = ArmSpec("main", "two-stage", contexts=contexts, reading=settings.reading)
    return {"main": [own]} | {name: changed(name, own, settings) for name in settings.ablations}


def changed(ablation: str, own: ArmSpec, settings: TwoStageSettings) -> list[ArmSpec]:
    """Return the main arm with each value of what an ablation changes; where that is its own value, the main arm."""
    base = own.contexts
    if ablation == "reading":
        # for a block whose only layer is its last, two readings are the same
        alike = own.reading if own.reading in ("after", "final") else "after"
        one_layer = {"after": alike, "final": alike} if base.layers == 1 else {}
        read = {reading: one_layer.get(reading, reading) for reading in READINGS}
        return [named(own, READINGS[read[each]], label, base, read[each]) for each, label in READINGS.items()]
    values: list[tuple[Text, ContextSpec]]
    if ablation == "block":
        values = [("trained block", replace(base, trained=True)), ("untrained block", replace(base, trained=False))]
    elif ablation == "noise":
        # without noise contexts soon stay where they are, and noise would also decide how long a block is trained
        every_pass = replace(base, trained=True, stops=False)
        values = [
            (say("two_stage.noise", noise=noise), replace(every_pass, noise=noise)) for noise in settings.swept_noises
        ]
    elif ablation == "layers":
        values = [
            (say("two_stage.layers", layers=layers), replace(base, layers=layers)) for layers in settings.swept_depths
        ]
    else:
        values = [(f"{each}, {widths}", replace(base, wiring=each, widths=widths)) for each, widths in WIRINGS]
    return [named(own, label, label, contexts, own.reading) for label, contexts in values]


def named(own: ArmSpec, name: str, label: Text, contexts: ContextSpec, reading: str) -> ArmSpec:
    """Return a changed arm under its name; one that equals the main arm is called that."""
    same = (contexts, reading) == (own.contexts, own.reading)
    words = name.replace(",", "").replace(" ", "-")
    return replace(own, name="main" if same else words, label=label, contexts=contexts, reading=reading)


# ---- the chapter ------------------------------------------------------------------------------------------------


def run(settings: TwoStageSettings, on_step: OnStep | None = None) -> Result:
    """Run both stages for every arm and seed and report what each choice does; see ``phase1.run``."""
    ablations = stage_arms(settings)
    source = loaded(EQUATIONS, settings, on_step, vectors=settings.vectors)
    found = compared(EQUATIONS, settings, source, [arm for each in ablations.values() for arm in each], on_step)
    # an arm that ablations share is trained once, and has in each of them the label of its value there
    by_name = {name: [replace(found.arms[arm.name], arm=arm) for arm in ablations[name]] for name in settings.ablations}
    metrics = context_metrics.metrics(found) | differences(found, by_name) if found.finished else {}
    return shown.result(settings, found, metrics, by_name)


def differences(found: Comparison, by_name: dict[str, list[ArmRuns]]) -> dict[str, Scalar]:
    """Return the differences within each ablation as metrics, its arms called by their labels."""
    told: dict[str, Scalar] = {}
    for arms in by_name.values():
        named = [(context_metrics.called(arm.arm.label), arm) for arm in arms if arm.runs]
        told |= context_metrics.of_each(found, named) | context_metrics.differences(found, combinations(named, 2))
    return told
