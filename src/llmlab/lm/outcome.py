"""What is read off trained language models, one number per seed, under names that every chapter shares.

Leaves out tables and pictures, and what the numbers mean.
"""

from collections.abc import Sequence

from llmlab.lm.task import Task
from llmlab.lm.training import Trained
from llmlab.measure.score import Score, perplexity
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Scalar


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
    }
    return found | {"train_loss_no_dropout": run.train_score.loss} if run.train_score else found


def of_score(task: Task, score: Score) -> dict[str, float]:
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


def of_text(task: Task) -> dict[str, Scalar]:
    """Return what a text is and what counting reaches on it."""
    found: dict[str, Scalar] = {
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
    return found
