"""Chance as a function: what is drawn depends on what it is for, and on nothing else."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab.lab.rng import BLOCK, generator, kept, scale, shuffled

SHAPE = (2, 3, 5)


def drawn(rows: range, *, probability: float = 0.5, seed: int = 0, update: int = 0) -> torch.Tensor:
    """Return what dropout leaves of some rows, (L, T, rows, H)."""
    found = kept(probability, SHAPE, rows, seed=seed, update=update, dtype=torch.float32)
    assert found is not None
    return found


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.9])
def test_dropout_drops_as_often_as_it_says_and_what_is_left_grows_by_that(probability: float):
    """The factor is 1 / (1 - p), for p to 16 binary digits: on average a number keeps its size, in every precision."""
    found, rounded = (
        kept(probability, (4, 10, 500), range(BLOCK), seed=0, update=0, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert found is not None
    assert rounded is not None
    assert found.shape == (4, 10, BLOCK, 500)
    assert (found.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(rounded.float(), found)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    error = math.sqrt(probability * (1 - probability) / found.numel())
    assert abs(float(found.double().mean()) - (1 - probability)) < 5 * error + 2**-17
    assert scale(probability) == pytest.approx(1 / (1 - probability), rel=2**-17 / (1 - probability))


def test_without_dropout_nothing_is_drawn():
    """Probability 0, and one too small to be told from 0, keep all: no mask, and a factor of 1."""
    for probability in (0.0, 2**-18):
        assert kept(probability, SHAPE, range(4), seed=0, update=0, dtype=torch.float32) is None
        assert scale(probability) == 1


@given(rows=st.integers(1, 3 * BLOCK), bounds=st.data(), update=st.integers(0, 10**9))
def test_a_part_of_a_batch_is_drawn_as_in_the_whole(rows: int, bounds: st.DataObject, update: int):
    first = bounds.draw(st.integers(0, rows - 1))
    last = bounds.draw(st.integers(first + 1, rows))
    assert torch.equal(drawn(range(rows), update=update)[:, :, first:last], drawn(range(first, last), update=update))


@given(seed=st.integers(0, 2**48), update=st.integers(0, 10**9))
def test_every_seed_update_and_block_has_its_own_dropout(seed: int, update: int):
    found = drawn(range(2 * BLOCK), seed=seed, update=update)
    assert torch.equal(found, drawn(range(2 * BLOCK), seed=seed, update=update))
    assert not torch.equal(found, drawn(range(2 * BLOCK), seed=seed + 1, update=update))
    assert not torch.equal(found, drawn(range(2 * BLOCK), seed=seed, update=update + 1))
    assert not torch.equal(found[:, :, :BLOCK], found[:, :, BLOCK:])


def test_neighbours_are_dropped_independently():
    """Sixteen-bit numbers are cut four from one draw; what falls beside each other is not related."""
    found = kept(0.5, (1, 50, 400), range(BLOCK), seed=0, update=0, dtype=torch.float32)
    assert found is not None
    signs = 2 * found.flatten() - 1
    for distance in (1, 2, 3, 4, 400):
        together = (signs[:-distance] * signs[distance:]).double()
        assert abs(float(together.mean())) < 5 / math.sqrt(len(together))


@given(seed=st.integers(0, 2**48), epoch=st.integers(0, 10**6), count=st.integers(1, 500))
def test_an_epoch_visits_every_window_once(seed: int, epoch: int, count: int):
    order = shuffled(seed, epoch, count)
    assert sorted(order.tolist()) == list(range(count))
    assert torch.equal(order, shuffled(seed, epoch, count))


def test_every_epoch_and_every_seed_has_its_own_order():
    orders = {tuple(shuffled(seed, epoch, 100).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100
    assert tuple(range(100)) not in orders


def test_every_place_is_as_likely_as_any_other():
    """Over 4,000 epochs each of 8 windows comes first about 500 times: chi-squared with 7 degrees below 24.3."""
    firsts = [int(shuffled(0, epoch, 8)[0]) for epoch in range(4_000)]
    assert sum((firsts.count(window) - 500) ** 2 / 500 for window in range(8)) < 24.3


def test_purposes_do_not_share_their_numbers():
    """Numbers for one purpose are not those for another, and (1, 23) is not (12, 3)."""
    purposes = (("a", 1, 23), ("a", 12, 3), ("b", 1, 23))
    assert len({tuple(torch.rand(4, generator=generator(*purpose)).tolist()) for purpose in purposes}) == 3


def test_the_chance_of_others_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = drawn(range(40)), shuffled(0, 0, 50)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert torch.equal(found[0], drawn(range(40)))
    assert torch.equal(found[1], shuffled(0, 0, 50))
