"""What other validation documents would have said: the paired bootstrap over documents.

An interval over seeds says what other runs would have reached on this very text.  It is silent about the text: with
eight validation documents the difference of two models may hang on one of them.  So documents are drawn anew.
Of thousands of short ones, neighbours are put together in blocks: records stay small, and the interval the same.
Leaves out intervals over seeds, ``stats``, which need no torch.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from llmlab.measure.stats import LEVEL

RESAMPLES = 10_000
RESAMPLING_SEED = 1979
"""Of the draws; fixed, so that a record counted again says the same."""

MOST_BLOCKS = 64
"""The most documents that are drawn; of more of them, as many blocks."""


def in_blocks(documents: Tensor) -> Tensor:
    """Return the block of each row, from 0 without a gap: its document, or of too many one of 64 runs of neighbours.

    Args:
        documents: (N,) int64, the number of the document that a row is of.
    """
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

    Args:
        first: a row per seed, with the sum of losses (or of correct answers) in each document.
        second: likewise, of the same documents; the seeds may be others.
        counts: the scored tokens of each document.
        shown: what a seed's loss per token is shown as; ``torch.exp`` for perplexities.
        resamples: how often documents are drawn.

    Returns:
        ``"_doc_low"`` and ``"_doc_high"``: suffixes to a difference's name; empty for fewer than two documents with
        a token, or without a seed.
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
