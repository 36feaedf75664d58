"""The paired bootstrap over documents against a plain loop, scipy, a known answer, and what must not change it."""

import math
import random

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.measure.score import MOST_BLOCKS, RESAMPLING_SEED, document_interval, in_blocks, perplexity

LOSSES = st.floats(0.5, 8).map(lambda value: round(value, 3))
COUNTS = st.integers(1, 300)


@st.composite
def judged(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """Two models' sums of losses, by seed and document, and the tokens of each document."""
    counts = draw(st.lists(COUNTS, min_size=2, max_size=8))
    models = [[[draw(LOSSES) * count for count in counts] for _ in range(draw(st.integers(1, 3)))] for _ in "ab"]
    return models[0], models[1], counts


def ends(told: dict[str, float]) -> list[float]:
    """The two ends of an interval."""
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
@settings(max_examples=50)
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


def test_equal_documents_leave_nothing_to_chance():
    """Where every document says the same, so does every resample, and the interval is that number."""
    found = document_interval([[20.0, 40.0, 80.0]], [[25.0, 50.0, 100.0]], [10, 20, 40])

    assert ends(found) == pytest.approx([0.5, 0.5])
    found = document_interval([[20.0, 40.0, 80.0]], [[25.0, 50.0, 100.0]], [10, 20, 40], shown=torch.exp)
    assert ends(found) == pytest.approx([math.exp(2.5) - math.exp(2)] * 2)


def test_what_both_models_find_hard_cancels():
    """It is paired: documents far apart in difficulty do not widen the interval of a constant difference."""
    hard = [1.0, 9.0, 2.0, 8.0, 5.0]
    found = document_interval([hard], [[loss + 0.25 for loss in hard]], [1] * 5)

    assert ends(found) == pytest.approx([0.25, 0.25])


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
def test_swapping_the_models_flips_the_signs(models):
    """Less becomes more."""
    first, second, counts = models

    low, high = ends(document_interval(first, second, counts, resamples=100))

    assert ends(document_interval(second, first, counts, resamples=100)) == pytest.approx([-high, -low], abs=1e-9)


@given(judged(), st.integers(2, 50))
def test_twice_the_tokens_at_the_same_loss_change_nothing(models, factor):
    """Only shares of tokens count, so sums and counts may be scaled together."""
    first, second, counts = models
    scaled = [[[value * factor for value in seed] for seed in model] for model in (first, second)]

    found = document_interval(*scaled, [count * factor for count in counts], resamples=100)

    assert ends(found) == pytest.approx(ends(document_interval(*models, resamples=100)), rel=1e-9, abs=1e-9)


@given(judged(), st.floats(-3, 3))
def test_a_constant_on_every_token_of_both_changes_nothing(models, constant):
    """Such as another base of the vocabulary: it is in both models and cancels."""
    first, second, counts = models
    moved = [
        [[value + constant * count for value, count in zip(seed, counts, strict=True)] for seed in model]
        for model in (first, second)
    ]

    found = document_interval(*moved, counts, resamples=100)

    assert ends(found) == pytest.approx(ends(document_interval(*models, resamples=100)), abs=1e-9)


@given(judged())
def test_seeds_are_averaged_within_a_document(models):
    """Of losses, a model of several seeds is one model with the mean loss of each document, in any order of seeds."""
    first, second, counts = models
    mean = [[sum(column) / len(column) for column in zip(*model, strict=True)] for model in (first, second)]

    expected = pytest.approx(ends(document_interval([mean[0]], [mean[1]], counts, resamples=100)), abs=1e-9)

    assert ends(document_interval(first, second[::-1], counts, resamples=100)) == expected


@given(judged())
def test_the_difference_lies_within_and_the_same_comes_back(models):
    """The draws are fixed, and the interval surrounds the middle of what it resamples."""
    found = document_interval(*models)

    assert found == document_interval(*models)
    assert found["_doc_low"] <= found["_doc_high"]
    assert ends(document_interval(models[0], models[0], models[2])) == [0.0, 0.0]


@pytest.mark.parametrize(
    "models", [([], [[1.0, 2.0]], [1, 1]), ([[1.0]], [[2.0]], [1]), ([[1.0, 0.0]], [[2.0, 0.0]], [5, 0]), ([], [], [])]
)
def test_one_document_or_no_seed_has_no_interval(models):
    """A document without a token is none."""
    assert document_interval(*models) == {}


def test_a_document_without_a_token_changes_nothing():
    """It could be drawn, and would only thin out the others."""
    whole = document_interval([[3.0, 8.0, 0.0]], [[4.0, 6.0, 0.0]], [1, 2, 0])

    assert whole == document_interval([[3.0, 8.0]], [[4.0, 6.0]], [1, 2])


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
