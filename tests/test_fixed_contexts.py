"""Stage 1 against the plain pass: segments side by side give the same contexts, and say how far they are from them."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmlab.embedding_freeze import initial, plain_pass
from llmlab.fast import fixed_contexts as stage
from llmlab.fast.fixed_contexts import Segmentation, embedded, fixed_contexts, last_tokens, sequential
from llmlab.lab.block_sizes import BlockSize
from strategies import block_sizes

VOCABULARY = 50
sizes = block_sizes((8, 24), (2, 4), 2, st.just(True))
"""Blocks that forget: the narrower ones over a few hundred tokens."""


@dataclass(frozen=True, eq=False)
class Case:
    """A block and a text."""

    size: BlockSize
    parameters: dict[str, Tensor]
    embedding: Tensor
    ids: Tensor

    @property
    def inputs(self) -> stage.Inputs:
        return embedded(self.embedding, self.ids, self.size.n_tokens)

    def plain(self, ids: Tensor | None = None) -> Tensor:
        """Return the contexts by the chapter's own loop, token by token."""
        frozen = self.parameters | {"embedding": self.embedding}
        return torch.cat([outputs[-1] for outputs in plain_pass(self.size, frozen, self.ids if ids is None else ids)])


def case(size: BlockSize, seed: int, n: int, *, strength: float = 1.0) -> Case:
    """Return a case by a seed; a block whose weights are a few times stronger than at the start does not forget."""
    chance = torch.Generator().manual_seed(seed)
    parameters = initial(size.context_shapes(), seed)
    for name, tensor in parameters.items():
        if "norm" not in name:
            tensor.mul_(strength)
    return Case(
        size,
        parameters,
        torch.randn(VOCABULARY, size.embedding, generator=chance),
        torch.randint(VOCABULARY, (n,), generator=chance),
    )


@given(size=sizes, seed=st.integers(0, 2**32), n=st.integers(0, 40))
def test_the_plain_pass_is_the_plain_loop(size: BlockSize, seed: int, n: int):
    """Rows of the embedding, their LayerNorm and the block, one token after the other."""
    drawn = case(size, seed, n + 1)
    ours = sequential(drawn.size, drawn.parameters, drawn.inputs, n)
    assert torch.allclose(ours, drawn.plain()[:n], atol=1e-2)
    assert torch.allclose(ours[:5], drawn.plain()[:n][:5], atol=1e-4)


@settings(max_examples=20)
@given(
    size=sizes,
    seed=st.integers(0, 2**32),
    n=st.integers(1, 900),
    segments=st.integers(1, 10),
)
def test_segments_give_the_plain_pass(size: BlockSize, seed: int, n: int, segments: int):
    """Whatever the block, the text's length and the number of segments; and what is said of the error is true.

    Narrow blocks stretch roundings a thousandfold and more.  So the limit is the tolerance, or 30 times what the plain
    pass itself does when its inputs move in their last bit.
    """
    drawn = case(size, seed, n)

    def plain(chance: int | None = None, n: int = n) -> Tensor:
        noise = torch.Generator().manual_seed(chance or 0)

        def moved(positions: Tensor) -> Tensor:
            x = drawn.inputs(positions)
            return x if chance is None else x * (1 + 2.0**-24 * torch.randn(x.shape, generator=noise))

        return sequential(size, drawn.parameters, moved, n)

    found = fixed_contexts(size, drawn.parameters, drawn.inputs, n, segments=segments)
    expected = plain()
    distance = (found.contexts - expected).abs().amax(1)
    assert float(distance.max()) <= 1e-4 or float(distance.max()) <= max(
        30 * float((plain(chance) - expected).abs().max()) for chance in range(4)
    )
    checked = (found.contexts[: found.checked] - plain(n=found.checked)).abs()
    assert found.max_error == float(checked.max()) <= 1e-4
    if found.plain:
        assert (found.warm_up, found.segments, found.checked, found.max_error) == (0, 1, n, 0.0)
    else:
        assert found.seam_error <= 1e-4 * stage.MARGIN


@pytest.mark.parametrize("layers", [4, 6])
def test_a_wide_block_is_exact_to_the_tolerance(layers: int):
    wide = case(BlockSize(128, 128, layers), layers, 4000)
    found = fixed_contexts(wide.size, wide.parameters, wide.inputs, 4000)
    assert not found.plain
    assert found.segments > 30
    assert found.warm_up < 200
    plain = sequential(wide.size, wide.parameters, wide.inputs, 4000)
    assert float((found.contexts - plain).abs().max()) <= 1e-4
    # what a warm-up leaves is reported as it is: a coarser tolerance leaves more, and none leaves nothing
    coarse = [fixed_contexts(wide.size, wide.parameters, wide.inputs, 4000, tolerance=each) for each in (1e-2, 1e-3)]
    errors = [one.seam_error for one in (*coarse, found)]
    assert errors == sorted(errors, reverse=True)
    assert all(0 < error <= each * stage.MARGIN for error, each in zip(errors, (1e-2, 1e-3, 1e-4), strict=True))


def test_a_seam_lies_among_what_is_checked():
    narrow = case(BlockSize(12, 12, 1), 0, 3000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "MARGIN", 1e9)  # whatever is left at a seam will do
        loose = fixed_contexts(narrow.size, narrow.parameters, narrow.inputs, 3000)
        blind = fixed_contexts(narrow.size, narrow.parameters, narrow.inputs, 3000, check=0)
    assert loose.plain
    assert not blind.plain
    assert float((blind.contexts - loose.contexts).abs().max()) > 1e-2


def test_a_block_that_does_not_forget_gets_the_plain_pass():
    wild = case(BlockSize(24, 24, 1), 1, 1500, strength=20.0)
    for name in wild.parameters:
        if name.endswith("norm.gain"):
            wild.parameters[name].mul_(4)
    found = fixed_contexts(wild.size, wild.parameters, wild.inputs, 1500)
    assert found.plain
    assert torch.equal(found.contexts, sequential(wild.size, wild.parameters, wild.inputs, 1500))


def test_numbers_that_are_none_reach_the_plain_pass():
    broken = case(BlockSize(8, 8, 2), 0, 1000)
    broken.parameters["context1.weight"][0, 0] = torch.nan
    found = fixed_contexts(broken.size, broken.parameters, broken.inputs, 1000)
    assert found.plain
    assert found.contexts.isnan().all()


def test_contexts_are_written_where_they_are_wanted():
    wide = case(BlockSize(64, 64, 4), 0, 2000)
    room = torch.full((2500, 64), 7.0)
    found = fixed_contexts(wide.size, wide.parameters, wide.inputs, 2000, out=room[:2000])
    assert found.contexts.data_ptr() == room.data_ptr()
    assert torch.equal(found.contexts, fixed_contexts(wide.size, wide.parameters, wide.inputs, 2000).contexts)
    assert bool((room[2000:] == 7.0).all())


def test_parameters_that_learn_are_only_read():
    wide = case(BlockSize(64, 64, 2), 0, 600)
    for tensor in wide.parameters.values():
        tensor.requires_grad_()
    assert not fixed_contexts(wide.size, wide.parameters, wide.inputs, 600).contexts.requires_grad


@given(n=st.integers(0, 5000), segments=st.integers(0, 80), checked=st.integers(0, 200))
def test_a_cut_covers_the_text_once(n: int, segments: int, checked: int):
    """Segments are as many as is said, none is empty, and there is nothing between them."""
    cut = Segmentation.of(n, min(segments, n // 128), checked)
    seams = [0, *cut.seams(torch.device("cpu")).tolist(), n]
    assert len(seams) == cut.segments + 1
    assert all(first < last for first, last in itertools.pairwise(seams)) or n == 0
    assert all(last - first <= cut.length for first, last in itertools.pairwise(seams))
    if cut.segments > 1:
        assert cut.first <= max(1, checked // 2)
        assert cut.length > cut.first or cut.length == n // segments


@given(inputs=st.integers(1, 4), cut=st.integers(1, 9))
def test_the_last_tokens_of_each_stream(inputs: int, cut: int):
    """Nothing is read across the start of a stream."""
    positions = torch.arange(10)
    last, there = last_tokens(positions, inputs, (0, cut))
    for position in range(10):
        start = cut if position >= cut else 0
        wanted = [p if p >= start else None for p in range(position - inputs + 1, position + 1)]
        found = [p if real else None for p, real in zip(last[position].tolist(), there[position].tolist(), strict=True)]
        assert found == wanted


@pytest.mark.parametrize("strength", [1.0, 20.0])
def test_a_watcher_hears_how_far_it_is_and_may_stop_it(strength: float):
    """Numbers of tokens within the text, up to its end; what it raises ends the work."""
    wide, heard = case(BlockSize(24, 24, 3), 0, 5000, strength=strength), list[int]()
    found = fixed_contexts(wide.size, wide.parameters, wide.inputs, 5000, between=heard.append)
    assert max(heard) == 5000 or not found.plain
    assert all(0 < done <= 5000 for done in heard)

    def enough(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fixed_contexts(wide.size, wide.parameters, wide.inputs, 5000, between=enough)
