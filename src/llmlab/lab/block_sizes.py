"""The sizes of chapters 5 and 6: the shape of every parameter of their two blocks, exact counts, and what they hold.

Numbers only, without torch: for a model, for its fast twin, and for ``llmlab params``.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from llmlab.lab.memory import FLOAT, HELD


@dataclass(frozen=True)
class BlockSize:
    """The sizes of a ContextBlock and of the TokenBlock beside it.

    ``n_tokens`` is the number M of tokens that are read at once.  ``token_injection`` says which context layers read
    them: ``every``, or the ``first`` only.  ``widths`` of the context layers' outputs: ``constant``, or ``decreasing``
    in equal steps from context and tokens together down to the context.  ``reading`` is what token layer k is given:
    ``after``, the output of context layer k; ``final``, the last one's, the context; ``before``, the context before the
    token; or ``none``, zeros.

    The original notes have ``every`` with ``constant`` and ``first`` with ``decreasing``.  In the other two corners,
    ``every`` adds the tokens to what each layer reads, and ``widths`` sets what each layer writes, just the same.
    """

    embedding: int = 768
    context: int = 768
    layers: int = 6
    n_tokens: int = 1
    token_injection: str = "every"  # noqa: S105 - a place, no secret
    widths: str = "constant"
    reading: str = "after"

    @property
    def read(self) -> int:
        """Width of x, the last M tokens side by side."""
        return self.embedding * self.n_tokens

    def context_widths(self) -> list[int]:
        """Return the width of each context layer's output; the last is the context's.

        Example:
            >>> BlockSize(token_injection="first", widths="decreasing").context_widths()
            [1408, 1280, 1152, 1024, 896, 768]
        """
        if self.widths == "constant":
            return [self.context] * self.layers
        return [self.context + self.read - self.read * k // self.layers for k in range(1, self.layers + 1)]

    def token_widths(self) -> list[int]:
        """Return the width of each token layer's output; the last is the embedding's."""
        if self.widths == "constant":
            return [self.embedding] * self.layers
        extra = self.read - self.embedding
        return [self.read - extra * k // self.layers for k in range(1, self.layers + 1)]

    def given_widths(self) -> list[int]:
        """Return the width of the context that each token layer is given."""
        return self.context_widths() if self.reading == "after" else [self.context] * self.layers

    def reads_tokens(self, layer: int) -> bool:
        """Return whether a context layer, counted from 0, reads the tokens."""
        return layer == 0 or self.token_injection == "every"  # noqa: S105 - a place, no secret

    def context_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter of the ContextBlock by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (width, out) in enumerate(pairwise([self.context, *self.context_widths()])):
            reads = width + (self.read if self.reads_tokens(layer) else 0)
            shapes |= _layer_shapes(f"context{layer}", reads, out, residual=width)
        return shapes

    def token_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter of the TokenBlock by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        given = self.given_widths()
        for layer, (width, out) in enumerate(pairwise([self.read, *self.token_widths()])):
            # where widths are constant, only the newest of several tokens is added to the first layer's output
            residual = width if self.widths == "decreasing" else self.embedding
            shapes |= _layer_shapes(f"token{layer}", given[layer] + width, out, residual)
        return shapes

    def trained_shapes(
        self, vocabulary: int, *, tied: bool = True, trains_embedding: bool = False
    ) -> dict[str, tuple[int, ...]]:
        """Return the shape of everything that Stage 2 trains; 7,093,248 numbers for the notes' frozen, tied model."""
        shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary, self.embedding)} if trains_embedding else {}
        shapes |= {"norm.gain": (self.embedding,), "norm.bias": (self.embedding,)} | self.token_shapes()
        if not tied:
            shapes |= {"head.weight": (vocabulary, self.embedding), "head.bias": (vocabulary,)}
        return shapes

    def context_parameters(self) -> int:
        """Return the exact number of the ContextBlock's parameters; 7,091,712 for the notes' sizes."""
        return sum(math.prod(shape) for shape in self.context_shapes().values())

    def token_parameters(self) -> int:
        """Return the exact number of the TokenBlock's parameters; 7,091,712 for the notes' sizes."""
        return sum(math.prod(shape) for shape in self.token_shapes().values())


def _layer_shapes(name: str, reads: int, out: int, residual: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, reads), f"{name}.bias": (out,)}
    if residual != out:
        shapes |= {f"{name}.projection.weight": (out, residual), f"{name}.projection.bias": (out,)}
    return shapes | {f"{name}.norm.gain": (out,), f"{name}.norm.bias": (out,)}


def contexts_bytes(
    size: BlockSize, vocabulary: int, tokens: int, *, trains_embedding: bool = False
) -> dict[str, float]:
    """Return the bytes that both stages take at the very least, by the options that set them.

    The embedding has ``vocabulary`` rows, and the contexts of the ``tokens`` of all streams are held.
    """
    trained = size.token_parameters() + (vocabulary * size.embedding if trains_embedding else 0)
    numbers = size.context_parameters() + vocabulary * size.embedding + HELD["adam"] * trained
    return {"--context or --layers": FLOAT * numbers, "--tokens or --context": FLOAT * tokens * size.context}
