"""Depth sweep: how many layers must New-LLM's stack have?

Question: the same model, text, batches and number of updates; only the depth differs.  Is deeper better?  And where
it is worse, does the deep stack learn too much of its training text (overfitting), or too little of anything?

    h = relu(W_L ... relu(W_1 u))    plain: each layer replaces      h = h + relu(W LayerNorm(h))    residual: it adds

Covers equal updates and equal time, exact parameter counts, differences seed by seed with their intervals, train loss
without dropout beside validation loss, and the remedy: a residual stack of the same size.
But: the token embedding is learned here from little text.  What if it comes trained, and stays frozen?  Chapter 5.
"""

from itertools import combinations

from llmlab.lab.dataset import dataset_of
from llmlab.lab.steps import OnStep
from llmlab.lm import depth_figures, depth_tables, tables
from llmlab.lm.depth import DepthArm, DepthSweep, paired, sweep
from llmlab.lm.outcome import of_text
from llmlab.measure.ngram import beside_counting
from llmlab.measure.score import document_sums
from llmlab.measure.stats import as_metrics, mean_interval
from llmlab.report.result import Figure, Result, Scalar, Status, Table, counted, rounded, time_span
from llmlab.settings import LayersSettings

WHY = (
    "A deeper stack can compute more between two words. Seed document 003 compared depths by one run each, of unequal "
    "length, and took the loss of the deepest for overfitting. With equal updates and several seeds: is deeper better, "
    "and if not, why?"
)
HOW = (
    "New-LLM is trained once per depth and seed, with the same windows in the same order and as many updates each. "
    "Runs of one seed are subtracted from each other, so that what the seed does to both cancels. Train loss is "
    "measured without dropout, as validation loss is. The residual stack has the same parameters, but each layer adds "
    "to what it reads."
)

MEASURED = {
    "val_ppl": "val_ppl",
    "val_ppl_batch_mean": "val_ppl_batch_mean",
    "val_loss": "val_loss",
    "val_loss_token": "val_loss_token",
    "val_accuracy": "val_accuracy",
    "val_accuracy_known": "val_accuracy_known",
    "train_loss": "train_loss_no_dropout",
    "train_loss_trained": "train_loss",
    "gap": "gap",
    "test_ppl": "test_ppl",
    "test_loss": "test_loss",
    "test_accuracy": "test_accuracy",
    "best_epoch": "best_epoch",
    "tokens_per_second": "tokens_per_second",
    "context_recovered": "context_recovered",
}
"""Metrics of a depth, by what a run calls them: ``train_loss_L4`` is that without dropout."""


def run(settings: LayersSettings, on_step: OnStep | None = None) -> Result:
    """Train a model of each depth and seed and report what depth does.

    Args:
        settings: the options of the chapter.
        on_step: called after each update, counted over the whole sweep, with the time it will take in words.

    Returns:
        The result; its ``status`` is ``interrupted`` if ``on_step`` stopped the sweep after its first run, and
        ``diverged`` if no run stayed finite.  A depth of which a run diverged says so in its row.

    Raises:
        LlmlabError: text or checkpoints cannot be used, or nothing can be written.
        Stopped: ``on_step`` stopped the sweep before its first run was finished; the checkpoint stands.
    """
    found = sweep(settings, dataset_of(settings), on_step)
    if not found.finished:
        return _all_diverged(settings, found)
    return reported(settings, found)


def reported(settings: LayersSettings, found: DepthSweep) -> Result:
    """Return the result of a sweep that has at least one finished run."""
    status: Status = "interrupted" if found.stopped else "complete"
    shown: list[Table] = [
        tables.text_read(found.task),
        depth_tables.depths(found),
        depth_tables.fit(found),
        depth_tables.pairs(found),
        depth_tables.times(found),
        depth_tables.other_measures(found),
    ]
    pictures: list[Figure] = [depth_figures.curves(found)] if found.main else []
    if len(found.main) > 1:  # one depth is no curve
        pictures = [depth_figures.by_depth(found), depth_figures.fit_by_depth(found), *pictures]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status=status,
        metrics=_metrics(found),
        summary=_summary(settings, found),
        tables=[table for table in shown if table.rows],
        figures=pictures,
        samples=_samples(found),
        documents=document_sums(
            {_suffix(arm): [run.score for run in arm.runs if run.score is not None] for arm in found.finished}
        ),
    )


def _all_diverged(settings: LayersSettings, found: DepthSweep) -> Result:
    reasons = [f"{arm.label}: {arm.state}" for arm in found.arms]
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        status="diverged",
        metrics={name: value for arm in found.arms for name, value in _metrics_of(arm, found).items()},
        summary=[
            f"Every run diverged ({'; '.join(reasons)}): a loss or a parameter was no longer a finite number.",
            "There is no number to report; a smaller learning rate is the usual way out.",
        ],
        tables=[tables.text_read(found.task), depth_tables.depths(found)],
    )


def _metrics(found: DepthSweep) -> dict[str, Scalar]:
    measured: dict[str, Scalar] = {
        "precision": found.finished[0].runs[0].precision,
        "common_epochs": depth_tables.common_epochs(found),
        **of_text(found.task),
    }
    for arm in found.arms:
        measured |= _metrics_of(arm, found)
    return measured | differences(found)


def _metrics_of(arm: DepthArm, found: DepthSweep) -> dict[str, Scalar]:
    """Return the numbers of one arm: ``val_ppl_L4``, ``val_ppl_L4_low`` and so on."""
    depth, measured = _suffix(arm), dict[str, Scalar]()
    measured[f"parameters{depth}"] = arm.parameters
    if not arm.runs:
        return measured | {f"val_ppl{depth}": None, f"val_ppl{depth}_reason": arm.state}
    for name, own in MEASURED.items():
        if own in arm.runs[0].numbers:
            measured |= {f"{name}{depth}{end}": value for end, value in mean_interval(arm.values(own)).items()}
    return measured | {
        f"epochs{depth}": min(len(run.losses) for run in arm.runs),
        f"updates{depth}": min(run.updates for run in arm.runs),
        f"seconds_per_epoch{depth}": arm.seconds_per_epoch,
        f"val_ppl_equal_updates{depth}": depth_tables.equal_updates_ppl(found, arm),
        f"val_ppl_equal_time{depth}": depth_tables.equal_time_ppl(found, arm),
    }


def differences(found: DepthSweep) -> dict[str, Scalar]:
    """Return how much more each depth has than each shallower one, and the residual stack than the plain one.

    Seed by seed, with its interval: ``val_ppl_L6_minus_L5``, ``val_ppl_L6_minus_L5_low`` and so on; of PPL with
    ``_doc_low`` and ``_doc_high`` too, when validation documents are drawn anew.
    """
    plain = {arm.depth: arm for arm in found.main}
    pairs = [*combinations(found.main, 2), *((plain[arm.depth], arm) for arm in found.remedies if arm.depth in plain)]
    told: dict[str, Scalar] = {}
    for first, second in pairs:
        for name in ("val_ppl", "train_loss"):
            told |= as_metrics(f"{name}{_suffix(second)}_minus{_suffix(first)}", paired(MEASURED[name], first, second))
    return told


def _suffix(arm: DepthArm) -> str:
    """Return how metrics of an arm end; those of the remedy are marked before the depth."""
    return f"_L{arm.depth}" if arm.main else f"_residual_L{arm.depth}"


def _samples(found: DepthSweep) -> dict[str, list[float]]:
    """Return values by seed; only of arms that finished all seeds, for a list has no place for a gap."""
    names = ("val_ppl", "val_loss_token", "val_accuracy", "train_loss", "gap")
    whole = [arm for arm in found.finished if len(arm.runs) == found.settings.seeds]
    return {f"{name}{_suffix(arm)}": rounded(arm.values(MEASURED[name])) for arm in whole for name in names}


def _summary(settings: LayersSettings, found: DepthSweep) -> list[str]:
    told = [_reached(settings, found), *_beside_counting(found)] if found.main else []
    told += [text for text in (depth_tables.reading(found), *_remedy(found)) if text]
    told += [f"{arm.label}: {arm.state}." for arm in found.arms if arm.trouble]
    if found.stopped:
        left = [arm.label for arm in found.arms if not arm.runs and not arm.trouble]
        told.append(
            f"Unfinished: as measured at the start, the whole sweep takes about {time_span(found.seconds)} on this "
            "machine" + (f"; not begun: {', '.join(left)}." if left else ".")
        )
    before = sum(not run.anew for arm in found.arms for run in arm.runs)
    if before:
        told.append(f"{counted(before, 'run')} had been finished before and were not trained again.")
    notes = [*found.task.notes, *(note for arm in found.arms for run in arm.runs for note in run.notes)]
    return [*told, *dict.fromkeys(notes)]


def _reached(settings: LayersSettings, found: DepthSweep) -> str:
    reached = ", ".join(f"{arm.label} {mean_interval(arm.values('val_ppl'))['']:.2f}" for arm in found.main)
    ppls = depth_tables.reference_ppls(found)
    beside = ", ".join(f"{name} {ppl:.2f}" for name, ppl in ppls.items())
    updates = min(run.updates for arm in found.main for run in arm.runs)
    mean = "" if settings.seeds == 1 else f", mean of {counted(settings.seeds, 'seed')}"
    return f"Validation PPL after {updates:,} updates{mean}: {reached}; beside it {beside}."


def _beside_counting(found: DepthSweep) -> list[str]:
    return beside_counting(found.task.references, [mean_interval(arm.values("val_ppl"))[""] for arm in found.main])


def _remedy(found: DepthSweep) -> list[str]:
    """Return what adding instead of replacing does at the deepest depth that has both."""
    plain = {arm.depth: arm for arm in found.main}
    both = [(plain[arm.depth], arm) for arm in found.remedies if arm.depth in plain]
    told = paired("val_ppl", *both[-1]) if both else {}
    if not told:
        return []
    interval = f" (95 % interval {told['_low']:+.2f} to {told['_high']:+.2f})" if "_low" in told else ""
    return [f"A residual stack changes the PPL of {both[-1][0].label} by {told['']:+.2f}{interval}."]
