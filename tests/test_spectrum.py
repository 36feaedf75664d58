"""Effective rank of vectors: against numpy's singular values, and its laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmlab.measure import spectrum
from llmlab.measure.spectrum import effective_rank
from strategies import SEEDS, rotations

SHAPES = st.tuples(st.integers(2, 40), st.integers(1, 6))


def gaussian(seed: int, *shape: int) -> Tensor:
    """A Gaussian tensor."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    vectors = gaussian(seed, *shape) + offset
    assert effective_rank(vectors, centred=False) == pytest.approx(rank_as_in_the_notes(vectors), rel=1e-4)
    differences = vectors - vectors.mean(0)
    assert effective_rank(vectors) == pytest.approx(rank_as_in_the_notes(differences), rel=1e-4)


def test_a_shared_offset_is_a_direction_only_about_zero():
    """Vectors around a far point look like one direction about zero, and like all of them about their mean."""
    vectors = gaussian(0, 500, 8) + 1e4
    assert effective_rank(vectors, centred=False) < 1.01
    assert effective_rank(vectors) > 7.9
    assert effective_rank(torch.full((50, 3), 0.3), centred=False) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.full((50, 3), 0.3)) == 0
    assert effective_rank(torch.zeros(50, 3), centred=False) == 0


@given(SEEDS, SHAPES, st.data())
def test_turning_scaling_and_shuffling_change_no_rank(seed: int, shape: tuple[int, int], data: st.DataObject):
    """The rank belongs to the cloud, not to its axes, its unit or its order."""
    vectors = gaussian(seed, *shape)
    order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))
    changed = 3 * vectors[order] @ data.draw(rotations(shape[1]))
    for centred in (True, False):
        assert effective_rank(changed, centred=centred) == pytest.approx(effective_rank(vectors, centred=centred))
        assert 0 < effective_rank(vectors, centred=centred) <= shape[1] + 1e-9


def test_of_many_rows_some_are_drawn_and_always_the_same(monkeypatch: pytest.MonkeyPatch):
    """A sample has nearly the rank of the whole, and enough rows are all taken."""
    vectors = gaussian(1, 4_000, 6) * torch.tensor([9, 5, 3, 2, 1, 0.5], dtype=torch.float64)
    whole = effective_rank(vectors, centred=False)
    monkeypatch.setattr(spectrum, "MOST_RANKED", 1_000)
    sample = effective_rank(vectors, centred=False)
    assert sample != whole
    assert sample == pytest.approx(whole, rel=0.02)
    assert sample == effective_rank(vectors, centred=False)


def test_few_rows_lower_the_rank():
    """3,000 Gaussian rows of 768 numbers reach 96.5 % of 768: a share is only worth something with its rows."""
    assert effective_rank(gaussian(0, 3_000, 768), centred=False) / 768 == pytest.approx(0.965, abs=0.003)
