"""Each model while it generates: one token at a time, with all that it keeps between two tokens.

New-LLM keeps its context vector and a GRU its state, however long the text; a transformer keeps a key and a value per
layer and token (the KV cache).  Each reader can go one token back, so that one token can be timed many times.

Leaves out timing and counting: ``measure.generation``.
"""

import torch
from torch import Tensor

from llmlab.fast.reader import Reader
from llmlab.lab.sizes import GPT2Size, GRUSize, Size
from llmlab.model import tiny_gpt2
from llmlab.model.gru import GRULanguageModel
from llmlab.model.new_llm import ContextVectorLM


class NewLLMReader:
    """New-LLM in the middle of a text."""

    def __init__(self, size: Size) -> None:
        self.model = ContextVectorLM.initial(size, seed=0)
        self.reader = Reader(self.model)
        self.context = self.before = self.model.first_context(1)[0]

    def read(self, tokens: Tensor) -> Tensor:
        """Read (T,) tokens and return the logits after the last, (V,)."""
        for token in tokens.tolist():
            self.before = self.context
            logits, self.context = self.reader.step(token, self.before)
        return logits

    def back(self) -> None:
        """Forget the last token read."""
        self.context = self.before

    def state(self) -> list[Tensor]:
        """Return all that is kept: the context, (C,)."""
        return [self.context]


class GRUReader:
    """A GRU in the middle of a text."""

    def __init__(self, size: GRUSize) -> None:
        self.module = GRULanguageModel(size, seed=0).eval()
        self.hidden = self.before = torch.zeros(size.layers, 1, size.hidden)

    def read(self, tokens: Tensor) -> Tensor:
        """Read (T,) tokens and return the logits after the last, (V,)."""
        self.before = self.hidden
        with torch.no_grad():
            logits, self.hidden = self.module(tokens[None], self.before)
        last: Tensor = logits[0, -1]
        return last

    def back(self) -> None:
        """Forget the tokens of the last call of ``read``."""
        self.hidden = self.before

    def state(self) -> list[Tensor]:
        """Return all that is kept: (layers, 1, H)."""
        return [self.hidden]


class GPT2Reader:
    """A tiny GPT-2 in the middle of a text no longer than its positions.

    Raises:
        UnreachableError: the ``transformers`` library is not there.
    """

    def __init__(self, size: GPT2Size) -> None:
        self.module = tiny_gpt2.module(size, seed=0, attention="sdpa").eval()
        self.cache = tiny_gpt2.library().DynamicCache(config=self.module.config)

    def read(self, tokens: Tensor) -> Tensor:
        """Read (T,) tokens and return the logits after the last, (V,)."""
        with torch.no_grad():
            found = self.module(input_ids=tokens[None], past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        logits: Tensor = found.logits[0, -1]
        return logits

    def back(self) -> None:
        """Forget the last token read."""
        self.cache.crop(-1)

    def state(self) -> list[Tensor]:
        """Return all that is kept: a key and a value per layer, (1, heads, tokens, width / heads) each."""
        return [tensor for layer in self.cache.layers for tensor in (layer.keys, layer.values)]
