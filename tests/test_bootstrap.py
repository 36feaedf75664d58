"""The paired bootstrap over documents against a plain loop, scipy, a known answer, and what must not change it."""

import random

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab.measure.score import MOST_BLOCKS, RESAMPLING_SEED, document_interval, in_blocks, perplexity

LOSSES = st.floats(0.5, 8).map(lambda value: round(value, 3))


@st.composite
def judged(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Two models' sums of losses, by seed and document, and the tokens of each document."""
    counts = draw(st.lists(st.integers(1, 300), min_size=2, max_size=8))
    models = [[[draw(LOSSES) * count for count in counts] for _ in range(draw(st.integers(1, 3)))] for _ in "ab"]
    return models[0], models[1], counts


def ends(told: dict[str, float]) -> list[float]:
    return [told["_doc_low"], told["_doc_high"]]


def plain_loop(first, second, counts, shown, resamples):
    """The same interval, one resample and one document at a time."""
    chance = torch.Generator().manual_seed(RESAMPLING_SEED)
    drawn = torch.randint(len(counts), (resamples, len(counts)), generator=chance).tolist()
    differences = []
    for documents in drawn:
        tokens = sum(counts[document] for document in documents)
        means = [
            sum(shown(sum(seed[document] for document in documents) / tokens) for seed in model) / len(model)
            for model in (first, second)
        ]
        differences.append(means[1] - means[0])
    return [float(np.quantile(differences, level)) for level in (0.025, 0.975)]


@given(judged(), st.sampled_from([(torch.clone, float), (torch.exp, perplexity)]))
def test_it_equals_the_plain_loop(models, shown):
    """Drawing how often each document comes is drawing documents."""
    found = document_interval(*models, shown=shown[0], resamples=40)

    assert ends(found) == pytest.approx(plain_loop(*models, shown[1], 40), rel=1e-9, abs=1e-9)


def test_it_agrees_with_scipys_bootstrap():
    """Two percentile intervals from different draws differ by no more than their own resampling."""
    chance = np.random.default_rng(5)
    counts = chance.integers(50, 400, 30)
    first, second = counts * chance.normal(4, 0.4, 30), counts * chance.normal(3.9, 0.4, 30)

    def difference(a, b, n, axis=-1):
        return (b.sum(axis) - a.sum(axis)) / n.sum(axis)

    oracle = scipy.stats.bootstrap(
        (first, second, counts), difference, paired=True, n_resamples=20_000, method="percentile", rng=chance
    )

    found = document_interval([first.tolist()], [second.tolist()], counts.tolist())
    expected, width = oracle.confidence_interval, oracle.standard_error
    assert ends(found) == pytest.approx([expected.low, expected.high], abs=width / 10)


def test_it_covers_the_truth_about_as_often_as_it_says():
    """Of 300 texts of 40 documents of unequal length, 95 % intervals hold the true difference in 90 to 98 of 100."""
    chance, held = random.Random(3), 0
    for _ in range(300):
        counts = [chance.randint(20, 200) for _ in range(40)]
        hard = [chance.gauss(4, 0.8) for _ in counts]  # of a document, for both models
        one = [count * loss for count, loss in zip(counts, hard, strict=True)]
        other = [count * (loss + chance.gauss(0.1, 0.3)) for count, loss in zip(counts, hard, strict=True)]
        low, high = ends(document_interval([one], [other], counts, resamples=400))
        held += low <= 0.1 <= high

    assert 270 <= held <= 294


@given(judged())
def test_neither_a_second_time_nor_a_document_without_a_token_changes_it(models):
    """The draws are fixed, and a document without a token would only thin out the others; a model equals itself."""
    first, second, counts = models
    found = document_interval(*models)
    thinned = ([[*seed, 0.0] for seed in model] for model in (first, second))

    assert found == document_interval(*models) == document_interval(*thinned, [*counts, 0])
    assert found["_doc_low"] <= found["_doc_high"]
    assert ends(document_interval(first, first, counts)) == [0.0, 0.0]


@pytest.mark.parametrize(
    "models", [([], [[1.0, 2.0]], [1, 1]), ([[1.0]], [[2.0]], [1]), ([[1.0, 0.0]], [[2.0, 0.0]], [5, 0]), ([], [], [])]
)
def test_one_document_or_no_seed_has_no_interval(models):
    """A document without a token is none."""
    assert document_interval(*models) == {}


@given(st.lists(st.integers(0, 200), min_size=1, max_size=150))
def test_blocks_are_whole_documents_in_their_order(numbers):
    """No document is in two blocks, few documents are their own blocks, and of many none is much larger."""
    found = in_blocks(torch.tensor(numbers)).tolist()

    owner = dict(zip(numbers, found, strict=True))
    assert found == [owner[number] for number in numbers]
    assert [owner[number] for number in sorted(owner)] == sorted(owner.values())
    assert set(found) == set(range(min(len(owner), MOST_BLOCKS)))
    sizes = [list(owner.values()).count(block) for block in set(found)]
    assert max(sizes) - min(sizes) <= 1
