"""Closed formulas for the number of parameters of every model in the seed documents.

The ledger's sums call them, and they need no tensor, so that ``llmlab claims`` answers at once.  A test holds them
equal to the counts that the models themselves declare.

Source: the models' equations, in ``phase1``, ``baseline``, ``peers`` and ``embedding_freeze``.
"""

GPT2_VOCABULARY = 50_257


def head(vocabulary: int = GPT2_VOCABULARY, width: int = 768) -> int:
    """Return the parameters of an output layer: a row and a bias for every token."""
    return vocabulary * (width + 1)


def tiny(dim: int = 8, vocabulary: int = 4) -> int:
    """Return the parameters of the tiny model: an embedding and an output layer."""
    return vocabulary * dim + head(vocabulary, dim)


def new_llm(
    layers: int = 6, context: int = 256, hidden: int = 512, embedding: int = 256, vocabulary: int = 1000
) -> int:
    """Return the parameters of New-LLM; the defaults are the seed's, 2,739,432."""
    stack = (embedding + context + 1) * hidden + (layers - 1) * (hidden + 1) * hidden
    gates = 3 * context * (hidden + 1)
    return vocabulary * embedding + stack + head(vocabulary, hidden) + gates + 2 * context


def tiny_gpt2(layers: int = 6, width: int = 256, vocabulary: int = 1000, positions: int = 64) -> int:
    """Return the parameters of a small GPT-2 with a tied head."""
    return (vocabulary + positions + 2) * width + layers * (12 * width**2 + 13 * width)


def context_block(
    layers: int = 6,
    context: int = 768,
    width: int = 768,
    inputs: int = 1,
    token_in: str = "every",  # noqa: S107 - a place, no secret
    widths: str = "constant",
) -> int:
    """Return the parameters of a ContextBlock; the words are those of ``BlockSize``."""
    read = width * inputs
    outputs = _widths(layers, context, context + read, widths)
    befores = [context, *outputs[:-1]]
    reads = [read if layer == 0 or token_in == "every" else 0 for layer in range(layers)]  # noqa: S105 - likewise
    return sum(
        _layer(before + tokens, out, before) for before, tokens, out in zip(befores, reads, outputs, strict=True)
    )


def token_block(
    layers: int = 6, context: int = 768, width: int = 768, inputs: int = 1, widths: str = "constant"
) -> int:
    """Return the parameters of a TokenBlock whose layer k is given the output of context layer k."""
    read = width * inputs
    givens = _widths(layers, context, context + read, widths)
    outputs = _widths(layers, width, read, widths)
    befores = [read, *outputs[:-1]]
    return sum(
        _layer(given + before, out, before if widths == "decreasing" else width)
        for given, before, out in zip(givens, befores, outputs, strict=True)
    )


def two_stage(
    layers: int = 6,
    context: int = 768,
    width: int = 768,
    vocabulary: int = GPT2_VOCABULARY,
    inputs: int = 1,
    tied: bool = True,
    token_in: str = "every",  # noqa: S107 - a place, no secret
    widths: str = "constant",
) -> int:
    """Return all parameters of a pair of blocks with their embedding; the defaults are the seed's, 52,782,336."""
    token_side = two_stage_trained(layers, context, width, vocabulary, inputs, tied, frozen=False, widths=widths)
    return context_block(layers, context, width, inputs, token_in, widths) + token_side


def two_stage_trained(
    layers: int = 6,
    context: int = 768,
    width: int = 768,
    vocabulary: int = GPT2_VOCABULARY,
    inputs: int = 1,
    tied: bool = True,
    frozen: bool = True,
    widths: str = "constant",
) -> int:
    """Return what Stage 2 trains: not the ContextBlock, and not the embedding where it is ``frozen``."""
    own = 2 * width + token_block(layers, context, width, inputs, widths)
    return own + (0 if frozen else vocabulary * width) + (0 if tied else head(vocabulary, width))


FORMULAS = (head, tiny, new_llm, tiny_gpt2, context_block, token_block, two_stage, two_stage_trained)


def _widths(layers: int, last: int, first: int, widths: str) -> list[int]:
    """Return the width of each layer's output: all the last one, or in equal steps down to it."""
    if widths == "constant":
        return [last] * layers
    return [first - (first - last) * layer // layers for layer in range(1, layers + 1)]


def _layer(reads: int, out: int, residual: int) -> int:
    """Return the parameters of one layer: map, bias, LayerNorm, and a projection where the width changes."""
    return out * (reads + 3) + (0 if residual == out else out * (residual + 1))
