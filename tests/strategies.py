"""What the laws are tried on: small texts, models and rotations, drawn by hypothesis.

Everything is float64, so that a law that holds can be told from one that nearly does.
"""

import torch
from hypothesis import strategies as st

from llmlab.lab.block_sizes import BlockSize
from llmlab.measure.geometry import random_rotation
from llmlab.phase1 import TinyModel
from llmlab.settings.contexts import READINGS
from llmlab.text.pairs import Pairs

SEEDS = st.integers(min_value=0, max_value=2**32)
DIMS = st.integers(min_value=1, max_value=4)

texts = st.text(alphabet="abcde", min_size=2, max_size=12).filter(lambda text: len(set(text)) > 1)
"""Texts that have something to predict."""

texts_with_unseen = texts.map(lambda text: text + "z")
"""Texts whose last token is never an input."""

any_texts = st.text(min_size=2, max_size=30).filter(lambda text: len(set(text)) > 1)
"""Texts of any characters that have something to predict."""


def double(model: TinyModel) -> TinyModel:
    return TinyModel(model.embedding.double(), model.weight.double(), model.bias.double())


@st.composite
def models(draw: st.DrawFn, vocabulary_size: int, dims: st.SearchStrategy[int] = DIMS, most: int = 3) -> TinyModel:
    first, count = draw(SEEDS), draw(st.integers(min_value=1, max_value=most))
    return double(TinyModel.initial(vocabulary_size, draw(dims), range(first, first + count)))


@st.composite
def texts_and_models(
    draw: st.DrawFn, texts: st.SearchStrategy[str] = texts, dims: st.SearchStrategy[int] = DIMS
) -> tuple[Pairs, TinyModel]:
    pairs = Pairs.of(draw(texts))
    return pairs, draw(models(len(pairs.tokens), dims))


@st.composite
def rotations(draw: st.DrawFn, dim: int) -> torch.Tensor:
    return random_rotation(dim, draw(SEEDS))


def block_sizes(
    widths: tuple[int, int], layers: tuple[int, int], most_tokens: int, readings: tuple[str, ...] = READINGS
) -> st.SearchStrategy[BlockSize]:
    """Any kind of block of chapters 5 and 6, within these widths and numbers of layers and of input tokens."""
    return st.builds(
        BlockSize,
        embedding=st.integers(*widths),
        context=st.integers(*widths),
        layers=st.integers(*layers),
        n_tokens=st.integers(1, most_tokens),
        token_injection=st.sampled_from(["every", "first"]),
        widths=st.sampled_from(["constant", "decreasing"]),
        reading=st.sampled_from(readings),
    )
