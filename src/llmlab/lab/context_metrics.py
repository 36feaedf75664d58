"""The metrics of chapters 5 and 6: of each arm, of the contexts, and of differences between arms seed by seed.

A difference is named by what is subtracted from what: ``val_loss_token_frozen_minus_trained`` with ``_sd``, ``_low``,
``_high`` and ``_n``, and of losses with ``_doc_low`` and ``_doc_high``, the interval over documents.
``val_ppl_change_frozen_minus_trained`` is the same as a share of the perplexity.
"""

import re
from collections.abc import Iterable, Mapping

from llmlab.lab.context_runs import LOSS, TEST_LOSS, ArmRuns
from llmlab.lab.context_study import TRIES, Comparison
from llmlab.lab.context_text import ContextDataset
from llmlab.measure.score import document_interval, perplexity
from llmlab.measure.stats import as_metrics, mean_interval, metrics_of, paired_interval
from llmlab.report.result import Scalar, rounded

MEASURED = (
    *("val_ppl", LOSS, "val_accuracy", "train_loss_at_best", "gap", "best_epoch", "epochs", "updates"),
    *("context_recovered", "test_ppl", TEST_LOSS),
)
"""What of each arm is a metric: its name, then the arm's, as in ``val_ppl_frozen_untied``."""


def metrics(found: Comparison) -> dict[str, Scalar]:
    """Return the metrics: means over seeds with intervals, and the baselines beside them."""
    text = found.text
    measured: dict[str, Scalar] = {
        "total_parameters": found.finished[0].total,
        "train_tokens": len(text.text.train.tokens),
        "val_tokens": len(text.text.valid.tokens),
        "val_documents": len(text.valid_counts),
        "unigram_ppl": text.references["unigram"].ppl,
        "bigram_ppl": text.references["bigram"].ppl,
        "kneser_ney_ppl": text.references["kneser_ney_3"].ppl,
        "majority_accuracy": text.references["majority"].accuracy,
    }
    if text.bayes_loss is not None and text.bigram_loss is not None:
        measured |= {"bayes_ppl": perplexity(text.bayes_loss), "exact_bigram_ppl": perplexity(text.bigram_loss)}
    if text.text.test:
        measured |= {
            "test_tokens": len(text.text.test.tokens),
            "test_documents": len(text.test_counts),
            "test_text": text.text.test_is,
            "test_bigram_ppl": text.test_references["bigram"].ppl,
            "test_kneser_ney_ppl": text.test_references["kneser_ney_3"].ppl,
        }
    if found.settings.tune:
        measured["tuning_tries"] = TRIES
    return measured | of_contexts(found) | of_arms(found)


def of_contexts(found: Comparison) -> dict[str, Scalar]:
    """Return what Stage 1 measured of the settings' own contexts, and what Stage 2 cost."""
    measured, runs = found.own_contexts, found.finished
    passes = [one.rows for one in measured if one.rows]
    told: dict[str, Scalar] = {
        "stage1_max_error": max(one.max_error for one in measured),
        "stage1_seam_error": max(one.seam_error for one in measured),
        "context_drift": max(run.drift for run in runs),
        "precision": runs[0].precision,
    }
    if any(len(rows) > 1 for rows in passes):
        told["converged_fraction_before"] = min(rows[0]["converged_fraction"] for rows in passes if len(rows) > 1)
    values = {
        "stage1_tokens_per_second": [one.tokens_per_second for one in measured],
        "stage2_tokens_per_second": [run.tokens_per_second for run in runs],
        "effective_rank": [one.ranks["train"] for one in measured],
        "effective_rank_validation": [one.ranks["valid"] for one in measured],
        "effective_rank_untrained": [one.ranks["untrained"] for one in measured],
        "converged_fraction": [rows[-1]["converged_fraction"] for rows in passes],
    }
    told |= metrics_of({name: each for name, each in values.items() if each})
    if not passes:
        told |= {"converged_fraction": None, "converged_fraction_reason": "the context block was not trained"}
    return told


def of_arms(found: Comparison) -> dict[str, Scalar]:
    """Return the numbers of every arm, their names ending in its own; of one without a run why there are none."""
    measured: dict[str, Scalar] = {}
    for name, arm in found.arms.items():
        end = _end(name)
        if not arm.runs:
            measured |= {f"val_ppl{end}": None, f"val_ppl{end}_reason": found.state(arm)}
            continue
        measured |= {f"{kind}_parameters{end}": getattr(arm.runs[0], kind) for kind in ("trainable", "total")}
        every = [own for own in MEASURED if all(own in run.numbers for run in arm.runs)]
        measured |= metrics_of({own + end: list(arm.by_seed(own).values()) for own in every})
        if tuned := found.tuned.get(name):
            chosen = tuned.at(tuned.best)
            measured |= {f"tuned_lr{end}": chosen.lr, f"tuned_at_edge{end}": int(bool(tuned.edge))}
            measured |= {f"tuned_embedding_lr{end}": chosen.embedding_lr} if arm.arm.trains_embedding else {}
    return measured


def samples(found: Comparison) -> dict[str, list[float]]:
    """Return values by seed; only of arms that finished all seeds, for a list has no place for a gap."""
    names = ("val_ppl", LOSS, "val_accuracy")
    whole = {name: arm for name, arm in found.arms.items() if len(arm.runs) == found.settings.seeds}
    return {name + _end(key): rounded(arm.by_seed(name).values()) for key, arm in whole.items() for name in names}


def called(name: str) -> str:
    """Return how metrics call an arm or a label: words and numbers, joined by ``_``."""
    return re.sub(r"\W+", "_", name)


def _end(arm: str) -> str:
    """Return how the metrics of an arm end; those of the settings' own arm have no end."""
    return "" if arm == "main" else f"_{called(arm)}"


# ---- differences ------------------------------------------------------------------------------------------------


def differences(found: Comparison, arms: Mapping[str, ArmRuns], pairs: Iterable[tuple[str, str]]) -> dict[str, Scalar]:
    """Return what the second arm of each pair has more of than the first: loss, accuracy, gap, and so on.

    The pairs are of the arms' names in metrics; of ranks only arms on other contexts differ.
    """
    told: dict[str, Scalar] = {}
    for one, other in pairs:
        first, second, pair = arms[one], arms[other], f"{other}_minus_{one}"
        loss, text = second.minus(first, LOSS), found.texts[first.arm.contexts.tokens]
        for name in (LOSS, TEST_LOSS):
            told |= as_metrics(f"{name}_{pair}", change(name, text, first, second))
        ends = [end for end in ("", "_low", "_high") if end in loss]
        told |= {f"val_ppl_change_{pair}{end}": perplexity(loss[end]) - 1 for end in ends}
        for name in ("val_accuracy", "best_epoch"):
            told |= as_metrics(f"{name}_{pair}", second.minus(first, name))
        told |= as_metrics(f"gap_equal_{pair}", paired_gap(first, second))
        if first.arm.contexts != second.arm.contexts:
            measured = (found.contexts.get(arm.arm.contexts, []) for arm in (first, second))
            ranks = ({each.seed: each.ranks["valid"] for each in own} for own in measured)
            told |= as_metrics(f"effective_rank_validation_{pair}", paired_interval(*ranks))
    return told


def change(name: str, text: ContextDataset, first: ArmRuns, second: ArmRuns) -> dict[str, float]:
    """Return by how much the second arm's loss is larger, seed by seed, and when other documents are drawn.

    See ``paired_interval`` and ``document_interval``: the latter is not there for runs whose best model was lost.
    """
    what, counts = ("valid_sums", text.valid_counts) if name == LOSS else ("test_sums", text.test_counts)
    one, other = ({run.seed: sums for run in arm.runs if (sums := getattr(run, what))} for arm in (first, second))
    both = [seed for seed in one if seed in other]
    documents = document_interval([one[seed] for seed in both], [other[seed] for seed in both], counts)
    return second.minus(first, name) | documents


def paired_gap(first: ArmRuns, second: ArmRuns) -> dict[str, float]:
    """Return how much larger the gap between validation and train loss is in the second arm, after equal updates.

    That is after the last epoch that both runs of a seed made: patience may end one of them earlier.
    """
    one, other = ({run.seed: run.history for run in arm.runs} for arm in (first, second))
    last = [(seed, min(len(one[seed]), len(other[seed])) - 1) for seed in one if seed in other]
    gaps = (
        {seed: rows[seed][n][LOSS] - rows[seed][n]["train_loss_token"] for seed, n in last} for rows in (one, other)
    )
    return paired_interval(*gaps)


def of_each(found: Comparison, arms: Mapping[str, ArmRuns]) -> dict[str, Scalar]:
    """Return of each arm the ranks of its contexts, and by how much its validation loss has risen again at the end."""
    told: dict[str, Scalar] = {}
    for name, arm in arms.items():
        measured = found.contexts.get(arm.arm.contexts, [])
        for what, kind in (("validation", "valid"), ("untrained", "untrained")) if measured else ():
            told |= metrics_of({f"effective_rank_{what}_{name}": [one.ranks[kind] for one in measured]})
        rises = [run.numbers["val_loss_last"] - run.numbers[LOSS] for run in arm.runs]
        told |= {f"val_loss_rise_{name}": mean_interval(rises)[""]} if rises else {}
    return told


def interaction(*pairs: tuple[ArmRuns, ArmRuns]) -> dict[str, Scalar]:
    """Return how much more going from one arm to the other changes the loss in the second pair than in the first."""
    told = []
    for before, after in pairs:
        one, other = before.by_seed(LOSS), after.by_seed(LOSS)
        told.append({seed: other[seed] - one[seed] for seed in other if seed in one})
    return {**as_metrics(f"{LOSS}_tying_with_freezing", paired_interval(*told))}
