"""Chapter 6: contexts computed once, then a token block that learns to read them: which choices matter?

Question: what do the contexts C* contribute, and which of the original notes' choices in making them matter: training
their block, the noise, the number of layers, where the token enters, or whether predictions read the context before
the token or after it?

    Stage 1    C*_t = block( C*_(t-1), x_t )      once, by a frozen block; segments side by side, to a tolerance
    Stage 2    y_t  = tokens( x_t, C* )           C* after token t, layer by layer, or C*_(t-1) for all layers

The blocks, the training of both stages and the plain pass are chapter 5's; ``fast.fixed_contexts`` makes that pass
sooner, in segments, and measures how far it is from the plain one.  New here are ablations: one choice is changed at a
time, all else stays, and each difference has an interval over seeds.  ``wiring`` is where the token enters the context
block, ``reading`` which of the contexts the token block is given.

But: does this hold on a large text as on a small one?  The entries of the log say how far that has been tried.
"""

from dataclasses import replace
from itertools import combinations

from llmlab.embedding_freeze import stage1, stage2
from llmlab.lab import context_metrics
from llmlab.lab.context_metrics import called
from llmlab.lab.context_runs import ArmSpec, ContextSpec
from llmlab.lab.context_study import compared
from llmlab.lab.made_embedding import loaded
from llmlab.lab.steps import OnStep
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar
from llmlab.settings import TwoStageSettings
from llmlab.shown import two_stage as shown

WIRINGS = (("every", "constant"), ("every", "decreasing"), ("first", "constant"), ("first", "decreasing"))
"""Which context layers read the token, and how wide the layers are."""


def stage_arms(settings: TwoStageSettings) -> dict[str, list[ArmSpec]]:
    """Return the arms by ablation; ``main`` holds the settings' own arm.

    An ablation has that arm too wherever one of its values is the settings', but for noise: its blocks make every pass.
    Ablations share arms: an arm is trained once.
    """
    own = ArmSpec("main", "two-stage", contexts=ContextSpec.of(settings), reading=settings.reading)
    arms = {"main": [own]}
    for ablation in settings.ablations:
        arms[ablation] = []
        for label, contexts, reading in values(ablation, own, settings):
            words = (shown.READINGS[reading] if ablation == "reading" else label).replace(",", "").replace(" ", "-")
            name = "main" if (contexts, reading) == (own.contexts, own.reading) else words
            arms[ablation].append(replace(own, name=name, label=label, contexts=contexts, reading=reading))
    return arms


def values(ablation: str, own: ArmSpec, settings: TwoStageSettings) -> list[tuple[Text, ContextSpec, str]]:
    """Return each value of what an ablation changes: its label, the contexts, and which of them are read."""
    base, changed = own.contexts, list[tuple[Text, ContextSpec]]()
    if ablation == "reading":
        # of a block whose only layer is its last, two readings are the same
        alike = {"after", "final"} if base.layers == 1 else set()
        one = own.reading if own.reading in alike else "after"
        return [(label, base, one if reading in alike else reading) for reading, label in shown.READINGS.items()]
    if ablation == "block":
        changed = [("trained block", replace(base, trained=True)), ("untrained block", replace(base, trained=False))]
    elif ablation == "noise":
        # without noise contexts soon stay where they are, and noise would also decide how long a block is trained
        every_pass = replace(base, trained=True, stops=False)
        for noise in settings.swept_noises:
            changed.append((say("two_stage.noise", noise=noise), replace(every_pass, noise=noise)))
    elif ablation == "layers":
        for layers in settings.swept_depths:
            changed.append((say("two_stage.layers", layers=layers), replace(base, layers=layers)))
    else:
        changed = [(f"{each}, {widths}", replace(base, wiring=each, widths=widths)) for each, widths in WIRINGS]
    return [(label, contexts, own.reading) for label, contexts in changed]


def run(settings: TwoStageSettings, on_step: OnStep | None = None) -> Result:
    """Run both stages for every arm and seed and report what each choice does; see ``phase1.run``."""
    arms = stage_arms(settings)
    every = [arm for each in arms.values() for arm in each]
    found = compared(stage1, stage2, settings, loaded(settings, stage1, stage2, on_step), every, on_step)
    # an arm that ablations share is trained once, and has in each of them the label of its value there
    by_name = {name: [replace(found.arms[arm.name], arm=arm) for arm in arms[name]] for name in settings.ablations}
    metrics: dict[str, Scalar] = context_metrics.metrics(found) if found.finished else {}
    for ablation in by_name.values() if found.finished else ():
        have = {called(arm.arm.label): arm for arm in ablation if arm.runs}
        metrics |= context_metrics.of_each(found, have) | context_metrics.differences(
            found, have, combinations(have, 2)
        )
    return shown.result(settings, found, metrics, by_name)
