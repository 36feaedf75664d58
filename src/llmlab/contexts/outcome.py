"""What is read off a comparison: the metrics, values by seed, and the sentences of a summary.

Leaves out tables, pictures and verdicts.
"""

from collections.abc import Sequence

from llmlab.contexts.running import LOSS, TEST_LOSS, ArmRuns, Comparison, paired
from llmlab.contexts.tuning import TRIES, Tuned
from llmlab.measure.score import perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Result, Scalar, counted, rounded
from llmlab.settings import ContextSettings

MEASURED = (
    "val_ppl",
    "val_loss_token",
    "val_accuracy",
    "train_loss_at_best",
    "gap",
    "best_epoch",
    "epochs",
    "updates",
    "context_recovered",
    "test_ppl",
    TEST_LOSS,
)
"""What of each arm is a metric: its name, then the arm's, as in ``val_ppl_frozen_untied``."""


def metrics(found: Comparison) -> dict[str, Scalar]:
    """Return the metrics: means over seeds with intervals, and the baselines beside them."""
    task = found.task
    measured: dict[str, Scalar] = {
        "train_tokens": len(task.text.train.tokens),
        "val_tokens": len(task.text.valid.tokens),
        "val_documents": len(task.valid_counts),
        "unigram_ppl": task.references["unigram"].ppl,
        "bigram_ppl": task.references["bigram"].ppl,
        "kneser_ney_ppl": task.references["kneser_ney_3"].ppl,
        "majority_accuracy": task.references["majority"].accuracy,
    }
    if task.bayes_loss is not None and task.bigram_loss is not None:
        measured |= {"bayes_ppl": perplexity(task.bayes_loss), "exact_bigram_ppl": perplexity(task.bigram_loss)}
    if task.text.test:
        measured |= {
            "test_tokens": len(task.text.test.tokens),
            "test_documents": len(task.test_counts),
            "test_text": task.text.test_is,
            "test_bigram_ppl": task.test_references["bigram"].ppl,
            "test_kneser_ney_ppl": task.test_references["kneser_ney_3"].ppl,
        }
    if found.settings.tune:
        measured["tuning_tries"] = TRIES
    measured |= of_contexts(found)
    for name, arm in found.arms.items():
        measured |= of_arm(name, arm)
    return {"total_parameters": found.finished[0].runs[0].total} | measured


def of_arm(name: str, arm: ArmRuns) -> dict[str, Scalar]:
    """Return the numbers of one arm, their names ending in its own."""
    end = _end(name)
    if not arm.runs:
        return {f"val_ppl{end}": None, f"val_ppl{end}_reason": arm.state}
    measured: dict[str, Scalar] = {
        f"trainable_parameters{end}": arm.runs[0].trainable,
        f"total_parameters{end}": arm.runs[0].total,
    }
    for own in MEASURED:
        if all(own in run.numbers for run in arm.runs):
            measured |= {f"{own}{end}{tail}": value for tail, value in arm.mean(own).items()}
    return measured | (_rates(arm.tuned, end) if arm.tuned else {})


def _rates(tuned: Tuned, end: str) -> dict[str, Scalar]:
    """Return the rates that an arm chose, the embedding's as a share, and whether one lies at the grid's end."""
    own = tuned.at(tuned.best)
    told: dict[str, Scalar] = {f"tuned_lr{end}": own.lr, f"tuned_at_edge{end}": int(bool(tuned.edge))}
    return told | ({f"tuned_embedding_lr{end}": own.embedding_lr} if tuned.arm.learns_embedding else {})


def of_contexts(found: Comparison) -> dict[str, Scalar]:
    """Return what Stage 1 measured of the settings' own design, and what Stage 2 cost."""
    measured = found.own_contexts
    runs = [run for arm in found.finished for run in arm.runs]
    told: dict[str, Scalar] = {
        "stage1_max_error": max(one.max_error for one in measured),
        "stage1_seam_error": max(one.seam_error for one in measured),
        "context_drift": max(run.drift for run in runs),
        "precision": runs[0].precision,
    }
    values: dict[str, list[float]] = {
        "stage1_tokens_per_second": [one.tokens_per_second for one in measured],
        "stage2_tokens_per_second": [run.tokens_per_second for run in runs],
        "effective_rank": [one.ranks["train"] for one in measured],
        "effective_rank_validation": [one.ranks["valid"] for one in measured],
        "effective_rank_untrained": [one.ranks["untrained"] for one in measured],
        "converged_fraction": [one.converged for one in measured if one.converged is not None],
    }
    before = [one.rows[0]["converged_fraction"] for one in measured if len(one.rows) > 1]
    told |= {"converged_fraction_before": min(before)} if before else {}
    for name, each in values.items():
        told |= {name + tail: value for tail, value in mean_interval(each).items()} if each else {}
    if not values["converged_fraction"]:
        told |= {"converged_fraction": None, "converged_fraction_reason": "the context block was not trained"}
    return told


def _end(arm: str) -> str:
    """Return how the metrics of an arm end; those of the settings' own arm have no end."""
    return "" if arm == "main" else "_" + arm.replace("-", "_").replace(".", "_")


def samples(found: Comparison) -> dict[str, list[float]]:
    """Return values by seed; only of arms that finished all seeds, for a list has no place for a gap."""
    names = ("val_ppl", "val_loss_token", "val_accuracy")
    whole = {name: arm for name, arm in found.arms.items() if len(arm.runs) == found.settings.seeds}
    return {name + _end(key): rounded(arm.values(name)) for key, arm in whole.items() for name in names}


def difference(first: ArmRuns, second: ArmRuns) -> str:
    """Return in a sentence what going from the first to the second arm does to the perplexity; empty without a pair."""
    told = paired(LOSS, first, second)
    if not told:
        return ""
    shares = [perplexity(told[end]) - 1 for end in ("", "_low", "_high") if end in told]
    interval = f" (95 % interval {shares[1]:+.1%} to {shares[2]:+.1%})" if len(shares) > 1 else ""
    return f"From {first.arm.label} to {second.arm.label} the PPL changes by {shares[0]:+.1%}{interval}."


def spread(main: ArmRuns, others: Sequence[ArmRuns]) -> str:
    """Return in a sentence between which single changes the perplexity lies."""
    changes = {arm.arm.label: told[""] for arm in others if (told := paired(LOSS, main, arm))}
    if len(changes) < 2:
        return ""
    (least, low), *_, (most, high) = sorted(changes.items(), key=lambda change: change[1])
    return (
        f"{len(changes)} single changes change the PPL by {perplexity(low) - 1:+.1%} ({least}) to "
        f"{perplexity(high) - 1:+.1%} ({most}); the tables have the intervals."
    )


def crossing(growth: list[tuple[int, ArmRuns, ArmRuns]]) -> list[str]:
    """Return in a sentence at which numbers of tokens freezing pays; nothing with fewer than two of them."""
    if len(growth) < 2:
        return []
    told = []
    for tokens, frozen, trained in growth:
        change = paired(LOSS, trained, frozen)
        told.append(f"{tokens:,} {perplexity(change['']) - 1:+.1%}" if change else f"{tokens:,} not measured")
    return [f"Freezing instead of training, by number of tokens: {', '.join(told)} in PPL."]


def notes(found: Comparison) -> list[str]:
    """Return what else a reader has to know: what stopped, what diverged, what the text was like."""
    told = [f"{arm.arm.label}: {arm.state}." for arm in found.arms.values() if arm.trouble]
    if found.stopped:
        left = [arm.arm.label for arm in found.arms.values() if not arm.runs and not arm.trouble]
        told.append("Unfinished" + (f"; not begun: {', '.join(left)}." if left else "."))
    own = [note for arm in found.arms.values() for run in arm.runs for note in run.notes]
    every = [one for each in found.contexts.values() for one in each]
    plain = sum(one.plain for one in every)
    if plain:
        told.append(
            f"Of {counted(len(every), 'context block')} {plain} ran token by token: the text is too short to be cut "
            "into segments, or the block forgets too slowly."
        )
    texts = [note for task in found.tasks.values() for note in task.notes]
    return [*told, *dict.fromkeys([*texts, *own])]


def all_diverged(settings: ContextSettings, found: Comparison, why: str, how: str) -> Result:
    """Return the result of a comparison in which no run stayed finite."""
    reasons = [f"{arm.arm.label}: {arm.state}" for arm in found.arms.values()]
    return Result(
        settings.experiment,
        settings.document(),
        why,
        how,
        status="diverged",
        metrics={name: value for key, arm in found.arms.items() for name, value in of_arm(key, arm).items()},
        summary=[
            f"Every run diverged ({'; '.join(reasons)}): a loss or a gradient was no longer a finite number.",
            "There is no number to report; a smaller learning rate is the usual way out.",
        ],
    )
