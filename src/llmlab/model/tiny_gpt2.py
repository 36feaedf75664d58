"""Tiny GPT-2: a transformer of New-LLM's size, so that attention and a context vector can be compared.

The blocks are those of the ``transformers`` library, built from a configuration and never downloaded: learned
positions, one per token of a window; 4 heads; MLP four times as wide, with the tanh form of GELU; LayerNorm before
each half of a block; dropout on embeddings, attention and residual; the output layer is the embedding again.

Covers the sizes, their count, the match to another model's count, and the start.  Leaves out gradients (``peers``).
``transformers`` is imported when a model is built and not before.

Source: Radford et al., "Language models are unsupervised multitask learners" (2019); sizes of seed document 001.
"""

import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from llmlab.errors import SettingError, UnreachableError

HEADS = 4
DEVIATION = 0.02
DEEPEST = 64

NEAR = 0.1
"""A width is kept if some depth brings the count within this share of the wanted one."""


@dataclass(frozen=True)
class GPT2Size:
    """The sizes of a tiny GPT-2.

    Raises:
        SettingError: the width cannot be divided among the heads.
    """

    vocabulary: int = 1000
    positions: int = 64
    width: int = 256
    layers: int = 3

    def __post_init__(self) -> None:
        if self.width % HEADS:
            raise SettingError(f"--embedding: {self.width} is not a multiple of {HEADS}, the heads of tiny GPT-2")

    def parameters(self) -> int:
        """Return the exact number of parameters; 2,642,176 for the defaults."""
        block = 12 * self.width**2 + 13 * self.width
        return (self.vocabulary + self.positions + 2) * self.width + self.layers * block

    @classmethod
    def matched(cls, wanted: int, vocabulary: int, positions: int, width: int) -> "GPT2Size":
        """Return the size whose number of parameters is near a wanted one.

        The width stays if some depth comes within ``NEAR``: then the depth that comes nearest.  Otherwise each depth
        has its best width, and of those within ``NEAR`` the width nearest to the given one is taken; if there is none,
        the nearest count.

        Example:
            >>> GPT2Size.matched(2_739_432, vocabulary=1000, positions=64, width=256).layers
            3
        """

        def off(size: GPT2Size) -> float:
            return abs(size.parameters() / wanted - 1)

        depths = range(1, DEEPEST + 1)
        if width % HEADS == 0:
            kept = min((cls(vocabulary, positions, width, depth) for depth in depths), key=off)
            if off(kept) <= NEAR:
                return kept
        rows = vocabulary + positions + 2
        best = [
            min((cls(vocabulary, positions, each, depth) for each in _widths(wanted, rows, depth)), key=off)
            for depth in depths
        ]
        near = [size for size in best if off(size) <= NEAR]
        return min(near, key=lambda size: (abs(size.width - width), off(size))) if near else min(best, key=off)


def _widths(wanted: int, rows: int, layers: int) -> tuple[int, int]:
    """Return the two multiples of ``HEADS`` around the root of rows w + layers (12 w^2 + 13 w) = wanted."""
    a, b = 12 * layers, rows + 13 * layers
    root = (math.sqrt(b * b + 4 * a * wanted) - b) / (2 * a)
    below = max(HEADS, int(root) // HEADS * HEADS)
    return below, below + HEADS


def library() -> Any:
    """Return the ``transformers`` module.

    Raises:
        UnreachableError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UnreachableError(
            f"tiny GPT-2 needs the transformers library ({error}); pip install 'llmlab[peers]'"
        ) from error


def module(size: GPT2Size, seed: int, dropout: float = 0.0, *, attention: str = "eager") -> Module:
    """Return a fresh model of the library; ``logits`` asks it.

    All weights are N(0, 0.02^2), those that write into the residual stream divided by sqrt(2 layers), biases 0 and
    gains 1: GPT-2's own start, drawn here from a generator of the seed's.

    Args:
        size: the sizes.
        seed: the same seed gives the same numbers.
        dropout: probability with which a number is set to zero in training.
        attention: ``eager`` is a little faster to train on short windows; ``sdpa`` reads long texts without a square
            matrix in memory.

    Raises:
        UnreachableError: the library is not there.
    """
    transformers = library()
    config = transformers.GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=size.positions,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=HEADS,
        activation_function="gelu_new",
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=min(2, size.vocabulary - 1),
        eos_token_id=min(3, size.vocabulary - 1),
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    with torch.random.fork_rng(devices=[]):  # the library draws a start of its own, which is then written over
        built: Module = transformers.GPT2LMHeadModel(config)
    chance = torch.Generator().manual_seed(seed)
    for name, parameter in built.named_parameters():
        if parameter.dim() == 1:
            parameter.data.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
        else:
            shrunk = math.sqrt(2 * size.layers) if name.endswith("c_proj.weight") else 1.0
            parameter.data.copy_(torch.randn(parameter.shape, generator=chance) * (DEVIATION / shrunk))
    return built


def logits(built: Module, inputs: Tensor) -> Tensor:
    """Return the logits after every position of (B, T) windows: (B, T, V)."""
    found: Tensor = built(input_ids=inputs, use_cache=False).logits
    return found
