"""Chapter 4: how many layers does New-LLM need?

Question: the same model, text, batches and number of updates; only the depth differs.  Is deeper better?  And where
it is worse, does the deep stack learn too much of its training text (overfitting), or too little of anything?

    plain       h_l = relu(W_l h_(l-1) + b_l)                         each layer replaces what it reads
    residual    h_l = h_(l-1) + relu(W_l LayerNorm(h_(l-1)) + b_l)    from the second on, each layer adds to it

Here h_0 is chapter 3's u_t, token and context; the code is chapter 3's ``ContextVectorLM.stack``, and so is the
training.  All stacks of a seed read the same windows in the same batches, so the runs of a seed can be subtracted from
each other.  Depths are compared at their best epochs, by train loss without dropout and by validation loss, and also
in PPL after equal updates and equal time; the deepest is compared with a residual stack of the same size.

But: the token embedding is learned here from little text.  What if it comes pretrained and stays frozen?  Chapter 5.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

from llmlab.baseline import train_seed
from llmlab.lab.dataset import Dataset, check_fits, dataset_of
from llmlab.lab.folders import study_folder
from llmlab.lab.runs import LanguageRun, common_epochs, epochs_in_equal_time, median_seconds
from llmlab.lab.sizes import size_of
from llmlab.lab.steps import OnStep
from llmlab.lab.study import study
from llmlab.measure.score import ppl_difference
from llmlab.measure.stats import as_metrics, mean_interval, metrics_of
from llmlab.report.messages import say
from llmlab.report.result import Result, Scalar
from llmlab.settings import LayersSettings
from llmlab.shown import layers as shown
from llmlab.shown.layers import Stack, StackRuns, Sweep

MEASURED = (
    *("val_ppl", "val_ppl_batch_mean", "val_loss", "val_loss_token", "val_accuracy", "val_accuracy_known"),
    *("train_loss", "train_loss_trained", "gap", "test_ppl", "test_loss", "test_accuracy", "best_epoch"),
    *("tokens_per_second", "context_recovered"),
)
"""Metrics of a depth; ``gap`` is by how much the loss on validation windows is higher than on training windows, both
without dropout."""

OF_A_RUN = {"train_loss": "train_loss_no_dropout", "train_loss_trained": "train_loss"}
"""Metrics that a run has under another name: a depth's ``train_loss`` is without dropout, a run's own is with it."""


# ---- the sweep ----------------------------------------------------------------------------------------------------


def stacks_of(settings: LayersSettings) -> list[Stack]:
    """Return each stack to train: every depth, and a residual stack beside the deepest.

    A residual stack of one layer is the plain one, so it is not trained twice.
    """
    swept, *besides = settings.stacks
    own = partial(settings.of_one, out=None, resume="auto" if settings.resume else "")
    found = [Stack(f"L{depth}", f"L{depth}", settings=own(depth, swept)) for depth in settings.depths]
    deepest = settings.depths[-1]
    for kind in besides if deepest > 1 else ():
        label = say("layers.residual_stack", depth=deepest)
        found.append(Stack(f"L{deepest} residual", label, settings=own(deepest, kind), beside=True))
    return found


def sweep(settings: LayersSettings, stacks: list[Stack], data: Dataset, on_step: OnStep | None = None) -> Sweep:
    """Train every stack with every seed."""
    names = [stack.folder(seed) for stack in stacks for seed in settings.every_seed]
    place = study_folder(settings, names, "this sweep")
    for stack in stacks:
        check_fits(stack.settings, data.text)

    def train(stack: Stack, seed: int, step: OnStep) -> LanguageRun:
        name = stack.folder(seed)
        alone = replace(stack.settings, out=place / name if place else None)
        run = train_seed(alone, data, seed, step, name=f"layers-{settings.preset}-{name}")
        gap = run.numbers["val_loss_token"] - run.numbers["train_loss_no_dropout"]
        return replace(run, numbers=run.numbers | {"gap": gap})

    planned = [replace(stack, updates=data.updates(stack.settings)) for stack in stacks]
    found = study(settings, planned, train, on_step)
    if found.stop and not found.finished:
        raise found.stop
    return found


# ---- what is measured ---------------------------------------------------------------------------------------------


def metrics(data: Dataset, found: Sweep) -> dict[str, Scalar]:
    """Return the numbers of every stack, ``val_ppl_L4``, ``val_ppl_L4_low`` and so on, and their differences."""
    words, stacks = len(data.text.vocabulary), [*found.arms.values()]
    if not found.finished:
        return {name: value for stack in stacks for name, value in of_stack(stack, words, 0, 0).items()}
    epochs = common_epochs(found.finished)
    fits = epochs_in_equal_time({name: stack.runs for name, stack in found.arms.items() if stack.runs})
    told: dict[str, Scalar] = {"precision": found.finished[0].precision, "common_epochs": epochs, **data.metrics()}
    for name, stack in found.arms.items():
        told |= of_stack(stack, words, epochs, fits.get(name, 0))
    return told | differences(stacks)


def of_stack(stack: StackRuns, words: int, epochs: int, in_equal_time: int) -> dict[str, Scalar]:
    """Return the numbers of one stack on a text of so many words.

    All runs have made ``epochs``, so after as many, updates are equal.  ``in_equal_time`` is how many this stack makes
    while the fastest makes all of those; 0 if not one fits.
    """
    end, runs = stack.arm.suffix, stack.runs
    found: dict[str, Scalar] = {f"parameters{end}": size_of(stack.arm.settings, words).parameters()}
    if not runs:
        return found | {f"val_ppl{end}": None, f"val_ppl{end}_reason": str(shown.state(stack))}
    known = {name + end: own for name in MEASURED if (own := OF_A_RUN.get(name, name)) in runs[0].numbers}
    found |= metrics_of({name: [run.numbers[own] for run in runs] for name, own in known.items()})
    equal_time = mean_interval([run.ppl_after(in_equal_time) for run in runs])[""] if in_equal_time else None
    return found | {
        f"epochs{end}": common_epochs(runs),
        f"updates{end}": min(run.updates for run in runs),
        f"seconds_per_epoch{end}": median_seconds(runs),
        f"val_ppl_equal_updates{end}": mean_interval([run.ppl_after(epochs) for run in runs])[""],
        f"val_ppl_equal_time{end}": equal_time,
    }


def differences(stacks: Sequence[StackRuns]) -> dict[str, Scalar]:
    """Return how much more each depth has than each shallower one, and the residual stack than the plain one.

    Seed by seed, with its interval: ``val_ppl_L6_minus_L5``, ``val_ppl_L6_minus_L5_low`` and so on; of PPL with
    ``_doc_low`` and ``_doc_high`` too, the interval over validation documents.
    """
    told: dict[str, Scalar] = {}
    for first, second in [*combinations(shown.plain(stacks), 2), *shown.with_residual(stacks)]:
        end = f"{second.arm.suffix}_minus{first.arm.suffix}"
        scores = ({run.seed: run.score for run in stack.runs} for stack in (first, second))
        told |= as_metrics(f"val_ppl{end}", ppl_difference(*scores))
        told |= as_metrics(f"train_loss{end}", second.minus(first, "train_loss_no_dropout"))
    return told


# ---- the chapter --------------------------------------------------------------------------------------------------


def run(settings: LayersSettings, on_step: OnStep | None = None) -> Result:
    """Train a model per depth and seed and report what depth does; see ``phase1.run``.

    A depth of which a run diverged says so in its row.
    """
    stacks = stacks_of(settings)  # which refuses what is too large before a text is read
    data = dataset_of(settings)
    found = sweep(settings, stacks, data, on_step)
    return shown.result(settings, data, found, metrics(data, found))
