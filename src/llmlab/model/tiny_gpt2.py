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
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from llmlab.errors import UnreachableError
from llmlab.lab.sizes import HEADS, GPT2Size

DEVIATION = 0.02


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
