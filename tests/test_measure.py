"""Geometry, entropy, ranks, intervals and effective rank against scipy, numpy and plain loops."""

import math
import statistics
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmlab.measure import geometry, spectrum
from llmlab.measure.ranks import quantiles, rank_correlation
from llmlab.measure.score import score
from llmlab.measure.spectrum import effective_rank
from llmlab.measure.stats import as_metrics, mean_interval, metrics_of, paired_interval, share_interval, t_quantile
from llmlab.shown.phase1_2 import main_plane, projections
from llmlab.text.pairs import Pairs
from strategies import SEEDS, any_texts, rotations

FLOATS = st.floats(-100, 100).map(lambda value: round(value, 3))


def tensor_of(seed: int, *shape: int) -> torch.Tensor:
    """A Gaussian tensor."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- entropy ------------------------------------------------------------------------------------------------------


@given(any_texts)
def test_entropies_equal_scipys(text: str):
    """The conditional entropy is the mean of the followers' entropies, weighted by how often the input occurs."""
    pairs = list(pairwise(text))
    by_input: dict[str, Counter[str]] = {}
    for source, target in pairs:
        by_input.setdefault(source, Counter())[target] += 1

    counted = Pairs.of(text)

    expected = sum(after.total() * scipy.stats.entropy([*after.values()]) for after in by_input.values()) / len(pairs)
    assert counted.conditional_entropy() == pytest.approx(expected, abs=1e-9)
    targets = scipy.stats.entropy(list(Counter(text[1:]).values()))
    assert counted.unigram_entropy() == pytest.approx(float(targets), abs=1e-9)
    assert counted.conditional_entropy() <= counted.unigram_entropy() + 1e-12


# ---- geometry -----------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 5), st.integers(1, 4))
def test_distances_equal_the_loops(seed: int, rows: int, dim: int):
    a, b = tensor_of(seed, rows, dim), tensor_of(seed + 1, rows, dim)
    apart = [[math.dist(one, other) for other in a.tolist()] for one in a.tolist()]

    assert geometry.distances(a).flatten().tolist() == pytest.approx([*chain(*apart)], abs=1e-12)
    assert geometry.moved(a, b).tolist() == pytest.approx([*map(math.dist, a.tolist(), b.tolist())])


@given(SEEDS, st.integers(1, 5), st.sampled_from([0, 1]))
def test_a_foot_is_where_the_perpendicular_lands(seed: int, dim: int, length: int):
    """What is left after projecting stands at a right angle to the track, and the foot lies on the track.

    A track without direction divides nothing by zero.
    """
    vector, track = tensor_of(seed, dim), length * tensor_of(seed + 1, 1, dim)

    foot = projections(vector, track)[0]

    assert float((vector - foot) @ track[0]) == pytest.approx(0, abs=1e-9)
    assert float(foot.norm() * track[0].norm()) == pytest.approx(abs(float(vector @ track[0])), abs=1e-9)
    assert length or not foot.any()


@given(st.integers(1, 6), st.data())
def test_random_rotations_are_orthogonal(dim: int, data: st.DataObject):
    rotation = data.draw(rotations(dim))

    assert torch.allclose(rotation @ rotation.T, torch.eye(dim, dtype=torch.float64), atol=1e-12)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_the_main_plane_keeps_what_it_says(seed: int, rows: int, dim: int):
    vectors = tensor_of(seed, rows, dim).float()

    plane, share = main_plane(vectors)

    kept = float((vectors @ plane).square().sum() / vectors.square().sum())
    assert plane.shape == (dim, 2)
    assert kept == pytest.approx(share, abs=1e-4)
    if min(rows, dim) <= 2:
        assert share == pytest.approx(1, abs=1e-5)


# ---- intervals ----------------------------------------------------------------------------------------------------


@given(st.floats(0.5, 0.9999), st.integers(1, 400))
def test_students_quantile_equals_scipys(probability: float, degrees: int):
    expected = float(scipy.stats.t.ppf(probability, degrees))

    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_the_interval_of_a_mean_equals_scipys(samples: list[float]):
    """One sample has none."""
    found, count = mean_interval(samples), len(samples)

    assert found[""] == pytest.approx(sum(samples) / count, abs=1e-9)
    if count == 1:
        assert found == {"": samples[0]}
        return
    deviation = statistics.stdev(samples)
    assert found["_sd"] == pytest.approx(deviation, abs=1e-9)
    if deviation > 1e-6:
        ends = scipy.stats.t.interval(0.95, count - 1, loc=found[""], scale=deviation / math.sqrt(count))
        assert (found["_low"], found["_high"]) == pytest.approx(ends, abs=1e-6)


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_the_interval_of_a_share_equals_scipys(hits: list[bool]):
    found = share_interval(hits)

    expected = scipy.stats.binomtest(sum(hits), len(hits)).proportion_ci(0.95, method="wilson")
    assert (found["_low"], found["_high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found["_low"] <= found[""] + 1e-12 <= found["_high"] + 2e-12 <= 1 + 3e-12
    assert found["_sd"] == pytest.approx(statistics.stdev(hits), abs=1e-9)
    assert metrics_of({"hit": hits}) == {"hit" + end: value for end, value in found.items()}
    assert share_interval([True]) == {"": 1.0}


BY_SEED = st.dictionaries(st.integers(0, 6), FLOATS, max_size=6)


@given(BY_SEED, BY_SEED)
def test_a_paired_difference_is_the_second_minus_the_first(first: dict[int, float], second: dict[int, float]):
    """Over the seeds that both have, in any order: how many, their mean, and scipy's paired interval."""
    both = [seed for seed in range(7) if seed in first and seed in second]
    differences = [second[seed] - first[seed] for seed in both]

    found = paired_interval(first, second)

    assert found.get("_n", 0) == len(both)
    assert found == {} or found[""] == pytest.approx(sum(differences) / len(both), abs=1e-9)
    if len(both) > 1 and statistics.stdev(differences) > 1e-3:
        expected = scipy.stats.ttest_rel([second[seed] for seed in both], [first[seed] for seed in both])
        ends = tuple(expected.confidence_interval(0.95))
        assert (found["_low"], found["_high"]) == pytest.approx(ends, abs=1e-6)
        # under the names that the ledger's rules read
        assert as_metrics("b_minus_a", found) == {f"b_minus_a{end}": value for end, value in found.items()}
        assert found.keys() == {"", "_n", "_sd", "_low", "_high"}


# ---- ranks --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=20))
def test_rank_correlation_equals_scipys(points: list[tuple[int, int]]):
    """Equal values share their mean rank."""
    a, b = (torch.tensor(side).double() for side in zip(*points, strict=True))

    found = float(rank_correlation(a, b))

    if len(set(a.tolist())) > 1 and len(set(b.tolist())) > 1:
        assert found == pytest.approx(float(scipy.stats.spearmanr(a, b).statistic), abs=1e-9)
    else:
        assert found == 0


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_quantiles_equal_scipys(values: list[float]):
    found = quantiles(torch.tensor(values, dtype=torch.float64), 0.05, 0.5, 0.95)

    expected = scipy.stats.mstats.mquantiles(values, [0.05, 0.5, 0.95], alphap=1, betap=1)
    assert found == pytest.approx(expected.tolist(), abs=1e-9)


# ---- scores -------------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 8), st.integers(1, 6), st.integers(1, 3))
def test_a_score_is_what_a_plain_loop_counts(seed: int, rows: int, length: int, batch: int):
    """Padding, 0, counts nowhere, whatever was said of it; the unknown word, 1, only where all targets do.

    Each window's losses, hits and targets are in its document's sums once; the sums change no other number.
    """
    chance = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (rows, length), generator=chance)
    targets[0, 0] = 2
    losses, hits = torch.rand(rows, length, generator=chance), torch.rand(rows, length, generator=chance) < 0.5
    told = [
        [(loss, hit, target) for loss, hit, target in zip(*row, strict=True) if target]
        for row in zip(losses.tolist(), hits.tolist(), targets.tolist(), strict=True)
    ]
    parts = [list(chain(*told[first : first + batch])) for first in range(0, rows, batch)]
    scored, known = list(chain(*told)), [hit for row in told for _, hit, target in row if target != 1]
    by_batch = [statistics.fmean(loss for loss, _, _ in part) for part in parts if part]

    documents = torch.randint(3, (rows,), generator=chance).sort().values
    found, plain = (score(losses, hits, targets, batch=batch, documents=own) for own in (documents, None))

    assert found.targets == len(scored)
    assert found.loss == pytest.approx(statistics.fmean(loss for loss, _, _ in scored), rel=1e-6)
    assert found.loss_batch_mean == pytest.approx(statistics.fmean(by_batch), rel=1e-6)
    assert found.accuracy == pytest.approx(statistics.fmean(hit for _, hit, _ in scored))
    assert found.accuracy_known == pytest.approx(sum(known) / max(len(known), 1))
    assert found.unknown_share == pytest.approx(1 - len(known) / len(scored))
    assert sum(found.targets_by_position) == len(scored)
    for position, loss in enumerate(found.loss_by_position):
        there = [float(losses[row, position]) for row in range(rows) if targets[row, position]]
        assert loss == pytest.approx(statistics.fmean(there) if there else 0.0, rel=1e-6)
    lists = [found.targets_by_document, found.correct_by_document, found.loss_by_document]
    for number, *sums in zip(sorted(set(documents.tolist())), *lists, strict=True):
        cells = [cell for row, own in zip(told, documents.tolist(), strict=True) if own == number for cell in row]
        assert sums[:2] == [len(cells), sum(hit for _, hit, _ in cells)]
        assert sums[2] == pytest.approx(sum(loss for loss, _, _ in cells), rel=1e-6)
    none: dict[str, list[float]] = {name: [] for name in vars(found) if name.endswith("_by_document")}
    assert vars(plain) == vars(found) | none


# ---- effective rank -------------------------------------------------------------------------------------------------


SHAPES = st.tuples(st.integers(2, 40), st.integers(1, 6))


def rank_as_in_the_notes(vectors: Tensor) -> float:
    """The formula of document 004 on numpy's singular values, its 1e-10 within the logarithm included."""
    sizes = np.linalg.svd(vectors.numpy(), compute_uv=False)
    shares = sizes / sizes.sum()
    return math.exp(-float((shares * np.log(shares + 1e-10)).sum()))


@given(SEEDS, SHAPES, st.floats(0, 5))
def test_the_uncentred_rank_is_the_notes_and_the_centred_one_that_of_the_differences(
    seed: int, shape: tuple[int, int], offset: float
):
    """About zero it is the notes' formula; about the mean it is the same of what the mean leaves."""
    vectors = tensor_of(seed, *shape) + offset
    assert effective_rank(vectors, centred=False) == pytest.approx(rank_as_in_the_notes(vectors), rel=1e-4)
    differences = vectors - vectors.mean(0)
    assert effective_rank(vectors) == pytest.approx(rank_as_in_the_notes(differences), rel=1e-4)


def test_a_shared_offset_is_a_direction_only_about_zero():
    """Vectors around a far point look like one direction about zero, and like all of them about their mean."""
    vectors, alike = tensor_of(0, 500, 8) + 1e4, torch.full((50, 3), 0.3)
    assert effective_rank(vectors, centred=False) < 1.01
    assert effective_rank(vectors) > 7.9
    assert effective_rank(alike, centred=False) == pytest.approx(1, abs=1e-3)
    assert effective_rank(alike) == effective_rank(0 * alike, centred=False) == 0


@given(SEEDS, SHAPES, st.data())
def test_turning_scaling_and_shuffling_change_no_rank(seed: int, shape: tuple[int, int], data: st.DataObject):
    vectors = tensor_of(seed, *shape)
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))
    changed = 3 * vectors[order] @ data.draw(rotations(shape[1]))
    for centred in (True, False):
        assert effective_rank(changed, centred=centred) == pytest.approx(effective_rank(vectors, centred=centred))
        assert 0 < effective_rank(vectors, centred=centred) <= shape[1] + 1e-9


def test_of_many_rows_some_are_drawn_and_always_the_same(monkeypatch: pytest.MonkeyPatch):
    """A sample has nearly the rank of the whole, and enough rows are all taken."""
    vectors = tensor_of(1, 4_000, 6) * torch.tensor([9, 5, 3, 2, 1, 0.5], dtype=torch.float64)
    whole = effective_rank(vectors, centred=False)
    monkeypatch.setattr(spectrum, "MOST_RANKED", 1_000)
    sample = effective_rank(vectors, centred=False)
    assert sample != whole
    assert sample == pytest.approx(whole, rel=0.02)
    assert sample == effective_rank(vectors, centred=False)


def test_few_rows_lower_the_rank():
    """3,000 Gaussian rows of 768 numbers reach 96.5 % of 768: a share is only worth something with its rows."""
    assert effective_rank(tensor_of(0, 3_000, 768), centred=False) / 768 == pytest.approx(0.965, abs=0.003)
