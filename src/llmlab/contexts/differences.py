"""Differences between arms, seed by seed, as the metrics that the ledger's rules read.

A difference is named by what is subtracted from what: ``val_loss_token_frozen_minus_trained`` with ``_sd``, ``_low``,
``_high`` and ``_n``, and of losses with ``_doc_low`` and ``_doc_high``, the interval over documents.
``val_ppl_change_frozen_minus_trained`` is the same as a share of the perplexity.  Leaves out the tables of
differences: ``tables``.
"""

import re
from collections.abc import Iterable, Mapping

from llmlab.contexts.running import LOSS, TEST_LOSS, ArmRuns, Comparison, over_documents, paired, paired_gap
from llmlab.measure.score import perplexity
from llmlab.measure.stats import as_metrics, mean_interval, paired_interval
from llmlab.report.result import Scalar

Named = tuple[str, ArmRuns]
"""An arm and how metrics call it."""


def differences(found: Comparison, pairs: Iterable[tuple[Named, Named]]) -> dict[str, Scalar]:
    """Return what each second arm has more of than the first: loss, accuracy, gap after equal updates, and so on."""
    told: dict[str, Scalar] = {}
    for (one, first), (other, second) in pairs:
        pair, loss, task = f"{other}_minus_{one}", paired(LOSS, first, second), found.tasks[first.arm.design.tokens]
        for name in (LOSS, TEST_LOSS):
            if seeds := paired(name, first, second):
                told |= as_metrics(f"{name}_{pair}", seeds | over_documents(name, task, first, second))
        told |= {
            f"val_ppl_change_{pair}{end}": perplexity(loss[end]) - 1 for end in ("", "_low", "_high") if end in loss
        }
        for name in ("val_accuracy", "best_epoch"):
            told |= as_metrics(f"{name}_{pair}", paired(name, first, second))
        told |= as_metrics(f"gap_equal_{pair}", paired_gap(first, second))
        if first.arm.design != second.arm.design:
            ranks = (_ranks(found, arm) for arm in (first, second))
            told |= as_metrics(f"effective_rank_validation_{pair}", paired_interval(*ranks))
    return told


def of_each(found: Comparison, arms: Iterable[Named]) -> dict[str, Scalar]:
    """Return of each arm the ranks of its contexts, and by how much its validation loss has risen again at the end."""
    told: dict[str, Scalar] = {}
    for name, arm in arms:
        measured = found.contexts.get(arm.arm.design, [])
        for what, kind in (("validation", "valid"), ("untrained", "untrained")):
            ranks = [one.ranks[kind] for one in measured]
            told |= {f"effective_rank_{what}_{name}{end}": value for end, value in _mean(ranks).items()}
        rises = [run.numbers["val_loss_last"] - run.numbers[LOSS] for run in arm.runs]
        told |= {f"val_loss_rise_{name}": mean_interval(rises)[""]} if rises else {}
    return told


def interaction(
    trained: ArmRuns, frozen: ArmRuns, trained_untied: ArmRuns, frozen_untied: ArmRuns
) -> dict[str, Scalar]:
    """Return by how much freezing changes the loss more with a tied head than with an untied one, seed by seed.

    Below 0 tying and freezing help each other.
    """
    gains = []
    for before, after in ((trained_untied, frozen_untied), (trained, frozen)):
        one, other = ({run.seed: run.numbers[LOSS] for run in arm.runs} for arm in (before, after))
        gains.append({seed: other[seed] - one[seed] for seed in other if seed in one})
    return {**as_metrics(f"{LOSS}_tying_with_freezing", paired_interval(*gains))}


def called(name: str) -> str:
    """Return how metrics call an arm or a label: words and numbers, joined by ``_``."""
    return re.sub(r"\W+", "_", name)


def _ranks(found: Comparison, arm: ArmRuns) -> Mapping[int, float]:
    return {one.seed: one.ranks["valid"] for one in found.contexts.get(arm.arm.design, [])}


def _mean(values: list[float]) -> dict[str, float]:
    return mean_interval(values) if values else {}
