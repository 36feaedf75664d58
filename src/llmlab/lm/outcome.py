"""What is read off trained language models, one number per seed, under names that every chapter shares.

Leaves out tables and pictures, and what the numbers mean.
"""

from collections.abc import Sequence
from itertools import pairwise

from llmlab.lab.dataset import Dataset
from llmlab.lm.training import Trained
from llmlab.measure.score import Score, perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Scalar
from llmlab.settings import BaselineSettings

SEED_CONDITIONS = (
    *("data", "vocabulary", "length", "embedding", "hidden", "context", "stack", "start", "dropout"),
    *("batch", "lr", "schedule", "optimizer", "clip", "model", "layers"),
)
"""The settings in which a run has to be like document 001's to be held against its numbers."""

SEED_VALIDATION = (
    *(3.8836, 3.8053, 3.7398, 3.6814, 3.6028, 3.5286, 3.4811, 3.4435, 3.4111, 3.3845, 3.3532, 3.3201, 3.2928, 3.2739),
    *(3.2595, 3.2443, 3.2334, 3.2236, 3.2175, 3.2015, 3.1937, 3.1893, 3.1780, 3.1723, 3.1649, 3.1563, 3.1501),
)
"""The validation losses of epochs 1 to 27 in the record of seed document 001."""


def per_seed(runs: Sequence[Trained]) -> dict[str, list[float]]:
    """Return each headline metric as a list over seeds."""
    rows = [_one(run) for run in runs]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _one(run: Trained) -> dict[str, float]:
    best = run.history[run.best_epoch - 1]
    found = {
        "epochs": float(len(run.history)),
        "best_epoch": float(run.best_epoch),
        "train_loss": best["train_loss"],
        **of_score(run.task, run.score),
        "tokens_per_second": run.tokens_per_second,
        **of_test(run.test_score),
    }
    return found | {"train_loss_no_dropout": run.train_score.loss} if run.train_score else found


def of_test(score: Score | None) -> dict[str, float]:
    """Return the metrics on the windows that chose nothing, all per token; none where there are no such windows."""
    if score is None:
        return {}
    return {"test_loss": score.loss, "test_ppl": score.ppl, "test_accuracy": score.accuracy}


def of_score(task: Dataset, score: Score) -> dict[str, float]:
    """Return the headline metrics of a model on the validation windows."""
    found = {
        "val_loss": score.loss_batch_mean,
        "val_loss_token": score.loss,
        "val_ppl": score.ppl,
        "val_ppl_batch_mean": score.ppl_batch_mean,
        "val_accuracy": score.accuracy,
        "val_accuracy_known": score.accuracy_known,
    }
    recovered = task.context_recovered(score.loss)
    return found if recovered is None else found | {"context_recovered": recovered}


def metrics(runs: Sequence[Trained]) -> dict[str, Scalar]:
    """Return the metrics: means over seeds with intervals, and the baselines beside them."""
    run, task = runs[0], runs[0].task
    found: dict[str, Scalar] = {"parameters": run.parameters, "precision": run.precision}
    for name, values in per_seed(runs).items():
        told = mean_interval(values)
        if name in ("epochs", "best_epoch") and told[""].is_integer():
            told[""] = int(told[""])
        found |= {name + suffix: value for suffix, value in told.items()}
    return found | of_text(task)


def repeats_the_seed(settings: BaselineSettings) -> bool:
    """Return whether a run has the conditions of document 001, for however many epochs."""
    theirs = BaselineSettings(preset="seed")
    return all(getattr(settings, name) == getattr(theirs, name) for name in SEED_CONDITIONS)


def beside_the_record(run: Trained) -> dict[str, Scalar]:
    """Return how a run's curve lies to the one that document 001's author recorded, as metrics.

    How many of its epochs there are, the perplexity's largest difference as a share, and how many did not improve.
    """
    ours = [row["val_loss"] for row in run.history[: len(SEED_VALIDATION)]]
    ratios = [perplexity(mine) / perplexity(theirs) - 1 for mine, theirs in zip(ours, SEED_VALIDATION, strict=False)]
    rises = sum(later >= earlier for earlier, later in pairwise(ours))
    return {"curve_epochs": len(ours), "curve_farthest": max(ratios, key=abs), "curve_rises": rises}


def of_text(task: Dataset) -> dict[str, Scalar]:
    """Return what a text is and what counting reaches on it."""
    found: dict[str, Scalar] = {
        "vocabulary_size": len(task.text.vocabulary),
        "unk_share": task.unknown_share,
        "train_windows": len(task.text.train),
        "val_windows": len(task.text.valid),
        "train_targets": task.train_targets,
        "val_targets": task.valid_targets,
        "majority_accuracy": task.references["majority"].accuracy,
        "unigram_ppl": task.references["unigram"].ppl,
        "bigram_ppl": task.references["bigram"].ppl,
        "kneser_ney_ppl": task.references["kneser_ney_3"].ppl,
    }
    if task.bayes_loss is not None and task.bigram_loss is not None:
        found |= {"bayes_ppl": perplexity(task.bayes_loss), "exact_bigram_ppl": perplexity(task.bigram_loss)}
    if task.test_bayes_loss is not None:
        found["test_bayes_ppl"] = perplexity(task.test_bayes_loss)
    return found
