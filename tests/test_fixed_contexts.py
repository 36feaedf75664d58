"""Stage 1 against the plain pass: segments side by side give the same contexts, and say how far they are from them."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmlab.embedding_freeze import initial, plain_pass
from llmlab.fast import fixed_contexts as stage
from llmlab.fast.fixed_contexts import FixedContexts, Inputs, cut, embedded, fixed_contexts, last_tokens, sequential
from llmlab.lab.block_sizes import BlockSize
from strategies import SEEDS, block_sizes

pytestmark = pytest.mark.usefixtures("all_threads")

VOCABULARY = 50
sizes = block_sizes((8, 24), (2, 4), 2)
"""Blocks that forget: the narrower ones over a few hundred tokens."""


@dataclass(frozen=True, eq=False)
class Case:
    """A block and a text."""

    size: BlockSize
    parameters: dict[str, Tensor]
    embedding: Tensor
    ids: Tensor

    @property
    def inputs(self) -> Inputs:
        return embedded(self.embedding, self.ids, self.size.n_tokens)

    def side_by_side(self, **choices: Any) -> FixedContexts:
        return fixed_contexts(self.size, self.parameters, self.inputs, len(self.ids), **choices)

    def plain(self, n: int | None = None) -> Tensor:
        return sequential(self.size, self.parameters, self.inputs, len(self.ids) if n is None else n)


def case(size: BlockSize, seed: int, n: int, *, strength: float = 1.0) -> Case:
    """Return a case by a seed; a block whose weights are a few times stronger than at the start does not forget."""
    chance, parameters = torch.Generator().manual_seed(seed), initial(size.context_shapes(), seed)
    for name, tensor in parameters.items():
        if "norm" not in name:
            tensor.mul_(strength)
    embedding = torch.randn(VOCABULARY, size.embedding, generator=chance)
    return Case(size, parameters, embedding, torch.randint(VOCABULARY, (n,), generator=chance))


@given(size=sizes, seed=SEEDS, n=st.integers(0, 40))
def test_the_plain_pass_is_the_plain_loop(size: BlockSize, seed: int, n: int):
    """Rows of the embedding, their LayerNorm and the block, one token after the other."""
    drawn = case(size, seed, n + 1)
    frozen = drawn.parameters | {"embedding": drawn.embedding}
    plain = torch.cat([outputs[-1] for outputs in plain_pass(size, frozen, drawn.ids)])[:n]
    assert torch.allclose(drawn.plain(n), plain, atol=1e-2)
    assert torch.allclose(drawn.plain(n)[:5], plain[:5], atol=1e-4)


@settings(max_examples=20)
@given(size=sizes, seed=SEEDS, n=st.integers(1, 900), segments=st.integers(1, 10))
def test_segments_give_the_plain_pass(size: BlockSize, seed: int, n: int, segments: int):
    """Whatever the block, the text's length and the number of segments; and what is said of the error is true.

    Narrow blocks stretch roundings a thousandfold and more.  So the limit is the tolerance, or 30 times what the plain
    pass itself does when its inputs move in their last bit.
    """
    drawn = case(size, seed, n)

    def moved(chance: int) -> Tensor:
        noise = torch.Generator().manual_seed(chance)

        def inputs(positions: Tensor) -> Tensor:
            x = drawn.inputs(positions)
            return x * (1 + 2.0**-24 * torch.randn(x.shape, generator=noise))

        return sequential(size, drawn.parameters, inputs, n)

    found, expected = drawn.side_by_side(segments=segments), drawn.plain()
    distance = float((found.contexts - expected).abs().max())
    if distance > 1e-4:
        assert distance <= max(30 * float((moved(chance) - expected).abs().max()) for chance in range(4))
    checked = (found.contexts[: found.checked] - drawn.plain(found.checked)).abs()
    assert found.max_error == float(checked.max()) <= 1e-4
    if found.plain:
        assert (found.warm_up, found.segments, found.checked, found.max_error) == (0, 1, n, 0.0)
    else:
        assert found.seam_error <= 1e-4 * stage.MARGIN


def test_a_wide_block_is_exact_to_the_tolerance():
    wide = case(BlockSize(128, 128, 6), 6, 4000)
    found = wide.side_by_side()
    assert not found.plain
    assert (found.segments > 30, found.warm_up < 200) == (True, True)
    assert float((found.contexts - wide.plain()).abs().max()) <= 1e-4
    # what a warm-up leaves is reported as it is: a coarser tolerance leaves more, and none leaves nothing
    errors = [wide.side_by_side(tolerance=each).seam_error for each in (1e-2, 1e-3)] + [found.seam_error]
    assert errors == sorted(errors, reverse=True)
    assert all(0 < error <= each * stage.MARGIN for error, each in zip(errors, (1e-2, 1e-3, 1e-4), strict=True))


def test_a_seam_lies_among_what_is_checked(monkeypatch: pytest.MonkeyPatch):
    narrow = case(BlockSize(12, 12, 1), 0, 3000)
    monkeypatch.setattr(stage, "MARGIN", 1e9)  # whatever is left at a seam will do
    loose, blind = narrow.side_by_side(), narrow.side_by_side(check=0)
    assert (loose.plain, blind.plain) == (True, False)
    assert float((blind.contexts - loose.contexts).abs().max()) > 1e-2


@pytest.mark.parametrize("gain", [4.0, math.nan])
def test_a_block_that_does_not_forget_gets_the_plain_pass(gain: float):
    """So does one whose numbers are none."""
    wild = case(BlockSize(24, 24, 1), 1, 1500, strength=20.0)
    wild.parameters["context0.norm.gain"].mul_(gain)
    found = wild.side_by_side()
    assert found.plain
    assert torch.equal(found.contexts.nan_to_num(), wild.plain().nan_to_num())
    assert bool(found.contexts.isnan().all()) == math.isnan(gain)


def test_contexts_are_written_where_they_are_wanted_and_parameters_only_read():
    wide, room = case(BlockSize(64, 64, 4), 0, 2000), torch.full((2500, 64), 7.0)
    for tensor in wide.parameters.values():
        tensor.requires_grad_()
    found = wide.side_by_side(out=room[:2000])
    assert found.contexts.data_ptr() == room.data_ptr()
    assert torch.equal(found.contexts, wide.side_by_side().contexts)
    assert bool((room[2000:] == 7.0).all())
    assert not found.contexts.requires_grad


@given(n=st.integers(0, 5000), segments=st.integers(0, 80), checked=st.integers(0, 200))
def test_a_cut_covers_the_text_once(n: int, segments: int, checked: int):
    """Segments are no more than asked for, none is empty, and the first seam lies among what is checked."""
    wanted = min(segments, n // 128)
    seams = cut(n, wanted, checked)
    assert len(seams) + 1 <= max(wanted, 1)
    if seams:
        lengths = [last - first for first, last in pairwise([0, *seams, n])]
        assert 0 < min(lengths) <= max(lengths) == seams.step
        assert seams.start <= max(1, checked // 2)
    else:
        assert wanted < 2


@given(inputs=st.integers(1, 4), start=st.integers(1, 9))
def test_the_last_tokens_of_each_stream(inputs: int, start: int):
    """Nothing is read across the start of a stream."""
    last, there = (each.tolist() for each in last_tokens(torch.arange(10), inputs, (0, start)))
    for position in range(10):
        begin = start if position >= start else 0
        wanted = [p if p >= begin else None for p in range(position - inputs + 1, position + 1)]
        assert [p if real else None for p, real in zip(last[position], there[position], strict=True)] == wanted


@pytest.mark.parametrize("strength", [1.0, 20.0])
def test_a_watcher_hears_how_far_it_is_and_may_stop_it(strength: float):
    """Numbers of tokens within the text, up to its end; what it raises ends the work."""
    wide, heard = case(BlockSize(24, 24, 3), 0, 5000, strength=strength), list[int]()
    found = wide.side_by_side(between=heard.append)
    assert max(heard) == 5000 or not found.plain
    assert all(0 < done <= 5000 for done in heard)

    def enough(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wide.side_by_side(between=enough)
