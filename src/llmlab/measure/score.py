"""From the loss and hit of every target to the numbers that are reported, and what other documents would have said.

There are two ways to average, side by side.  *Per token*: every scored target counts the same.  *Batch mean*, the
original notes' way: the mean over batches of each batch's mean, so a target in a batch with little padding
counts less; it depends, slightly, on the batch size.  PPL is exp of the mean loss in both.

An interval over seeds says what other runs would have reached on this very text.  It is silent about the text: with
eight validation documents the difference of two models may hang on one of them.  So documents are drawn anew, by the
paired bootstrap.  Of thousands of short ones, neighbours are put together in blocks: records stay small, and the
interval the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from llmlab.measure.stats import LEVEL, paired_interval

RESAMPLES = 10_000
RESAMPLING_SEED = 1979
"""Of the draws; fixed, so that a record counted again says the same."""

MOST_BLOCKS = 64
"""The most documents that are drawn; of more of them, as many blocks."""


def in_blocks(documents: Tensor) -> Tensor:
    """Return the block of each row, from 0 without a gap: its document, or of too many one of 64 runs of neighbours."""
    found, numbers = torch.unique(documents, return_inverse=True)
    blocks: Tensor = numbers if len(found) <= MOST_BLOCKS else numbers * MOST_BLOCKS // len(found)
    return blocks


def document_interval(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    counts: Sequence[float],
    *,
    shown: Callable[[Tensor], Tensor] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """Return between which values the difference of two models lies when other documents are drawn.

    A paired bootstrap (Efron 1979): D documents are drawn with replacement from the D there are, the same for both
    models and all their seeds.  A model's loss on them is the sum of its losses over the sum of tokens, the mean over
    seeds, and the interval holds the middle 95 % of the differences ``second`` less ``first``.  Interval over seeds
    and interval over documents answer different questions: other runs on this text, and other texts for these runs.

    ``first`` and ``second`` have a row per seed, with the sum of losses in each document; the seeds may be others.
    ``counts`` are the scored tokens of each document, and ``shown`` is what a seed's loss per token is shown as,
    ``torch.exp`` for perplexities.  The keys are suffixes to a difference's name; there are none for fewer than two
    documents with a token, or without a seed.
    """
    told = [place for place, count in enumerate(counts) if count]  # one without a token says nothing
    if len(told) < 2 or not first or not second:
        return {}
    times = drawn_times(len(told), resamples)
    tokens = times @ torch.tensor(counts, dtype=torch.float64)[told]

    def means(sums: Sequence[Sequence[float]]) -> Tensor:
        """Return what a model has on each resample, the mean over its seeds: (S, D) -> (R,)."""
        losses = times @ torch.tensor(sums, dtype=torch.float64)[:, told].T / tokens[:, None]
        return (losses if shown is None else shown(losses)).mean(1)

    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = (means(second) - means(first)).quantile(ends).tolist()
    return {"_doc_low": low, "_doc_high": high}


@lru_cache(maxsize=2)
def drawn_times(documents: int, resamples: int) -> Tensor:
    """Return how often each document is in each resample: (R, D) float64, the same at every call."""
    chance = torch.Generator().manual_seed(RESAMPLING_SEED)
    drawn = torch.randint(documents, (resamples, documents), generator=chance)
    times = torch.zeros(drawn.shape, dtype=torch.float64)
    return times.scatter_add_(1, drawn, torch.ones_like(times))


LARGEST_LOSS = 350.0
"""In nats; a model that knows nothing has the logarithm of its vocabulary's size."""


@dataclass(frozen=True)
class Score:
    """How a model did on N windows of T targets; losses in nats.

    The three lists by document (or block of documents) are sums: of losses, of correct answers, and of targets.
    """

    loss: float
    loss_batch_mean: float
    accuracy: float
    accuracy_batch_mean: float
    accuracy_known: float
    unknown_share: float
    targets: int
    loss_by_position: list[float]
    targets_by_position: list[int]
    loss_by_document: list[float] = field(default_factory=list)
    correct_by_document: list[float] = field(default_factory=list)
    targets_by_document: list[int] = field(default_factory=list)

    @property
    def finite(self) -> bool:
        """Whether the losses are finite, and so small that there is a perplexity."""
        return math.isfinite(self.ppl) and math.isfinite(self.ppl_batch_mean)

    @property
    def ppl(self) -> float:
        """Perplexity per token."""
        return perplexity(self.loss)

    @property
    def ppl_batch_mean(self) -> float:
        """The original notes' perplexity."""
        return perplexity(self.loss_batch_mean)


def perplexity(loss: float) -> float:
    """Return exp(loss), or infinity where its square is no float: no spread over seeds could be told."""
    return math.inf if loss >= LARGEST_LOSS else math.exp(loss)


def score(
    losses: Tensor,
    hits: Tensor,
    targets: Tensor,
    *,
    batch: int,
    padding: int = 0,
    unknown: int = 1,
    documents: Tensor | None = None,
) -> Score:
    """Average over the targets that are not padding.

    ``losses`` in nats, ``hits``, whether the target was the likeliest token, and ``targets`` are (N, T); ``batch`` is
    how many windows one batch of the batch mean has, and ``documents``, (N,), the document of each window: without it
    the lists by document are empty.  ``accuracy_known`` leaves out the ``unknown`` target.
    """
    counts = targets != padding
    if not counts.any():
        raise ValueError("no target to score")
    known = counts & (targets != unknown)
    # of each target its loss, whether it was hit, and that it counts: (3, N, T); all else are sums along some axis
    each = torch.stack([torch.where(counts, losses, 0.0).double(), (hits & counts).double(), counts.double()])
    loss, right, total = each.sum((1, 2)).tolist()
    batches = [part.sum((1, 2)).tolist() for part in torch.split(each, batch, dim=1) if part[2].any()]
    batch_loss, batch_right = (math.fsum(part[row] / part[2] for part in batches) / len(batches) for row in (0, 1))
    at_position, by_document = each.sum(1), each.new_zeros(3, 0)
    if documents is not None:
        blocks = in_blocks(documents)
        by_document = each.new_zeros(3, int(blocks.max()) + 1).index_add(1, blocks, each.sum(2))
    return Score(
        loss=loss / total,
        loss_batch_mean=batch_loss,
        accuracy=right / total,
        accuracy_batch_mean=batch_right,
        accuracy_known=float((hits & known).sum()) / max(int(known.sum()), 1),
        unknown_share=1 - int(known.sum()) / total,
        targets=int(total),
        loss_by_position=(at_position[0] / at_position[2].clamp(min=1)).tolist(),
        targets_by_position=at_position[2].long().tolist(),
        loss_by_document=by_document[0].tolist(),
        correct_by_document=by_document[1].tolist(),
        targets_by_document=by_document[2].long().tolist(),
    )


def document_difference(first: Sequence[Score], second: Sequence[Score]) -> dict[str, float]:
    """Return how much larger the PPL may be in the second of two models, had there been other documents.

    Of each a score per seed, on the same windows.  What ``document_interval`` returns; empty too if a score was made
    without documents, or on others.
    """
    counts = first[0].targets_by_document if first else []
    if any(one.targets_by_document != counts for one in (*first, *second)):
        return {}
    before, after = ([one.loss_by_document for one in model] for model in (first, second))
    return document_interval(before, after, counts, shown=torch.exp)


def ppl_difference(first: Mapping[int, Score], second: Mapping[int, Score]) -> dict[str, float]:
    """Return how much larger the PPL is in the second of two models, whose scores are by seed.

    Seed by seed, as ``paired_interval`` has it, and had there been other documents.
    """
    both = [seed for seed in first if seed in second]
    ppls = ({seed: scores[seed].ppl for seed in both} for scores in (first, second))
    return paired_interval(*ppls) | document_difference(
        *([scores[seed] for seed in both] for scores in (first, second))
    )


def document_sums(models: Mapping[str, Sequence[Score]]) -> dict[str, list[float]]:
    """Return what a record keeps of documents: their targets, and by model the sums of losses, the mean over seeds.

    ``models`` are scores by the end of the metrics' names, one per seed, all on the same windows.  ``val_targets`` and
    ``val_loss<end>``; empty where a score was made without documents.
    """
    scores = [score for model in models.values() for score in model]
    counts = scores[0].targets_by_document if scores else []
    if not counts or any(score.targets_by_document != counts for score in scores):
        return {}
    found: dict[str, list[float]] = {"val_targets": list(counts)}
    for end, model in models.items():
        columns = zip(*(score.loss_by_document for score in model), strict=True)
        found[f"val_loss{end}"] = [float(f"{math.fsum(column) / len(column):.7g}") for column in columns]
    return found
