"""The number of parameters of every model in the original notes, as the ledger's sums ask for it.

Without torch, so that ``llmlab claims`` answers at once: the models' sizes count themselves (``lab.sizes``).
"""

from llmlab.lab.sizes import BlockSize, GPT2Size, Size

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
    """Return the parameters of New-LLM; the defaults are those of the notes, 2,739,432."""
    return Size(vocabulary, embedding, hidden, context, layers).parameters()


def tiny_gpt2(layers: int = 6, width: int = 256, vocabulary: int = 1000, positions: int = 64) -> int:
    """Return the parameters of a small GPT-2 with a tied head."""
    return GPT2Size(vocabulary, positions, width, layers).parameters()


def context_block(
    layers: int = 6,
    context: int = 768,
    width: int = 768,
    inputs: int = 1,
    token_in: str = "every",  # noqa: S107 - a place, no secret
    widths: str = "constant",
) -> int:
    """Return the parameters of a ContextBlock; the words are those of ``BlockSize``."""
    return BlockSize(width, context, layers, inputs, token_in, widths).context_parameters()


def token_block(
    layers: int = 6, context: int = 768, width: int = 768, inputs: int = 1, widths: str = "constant"
) -> int:
    """Return the parameters of a TokenBlock whose layer k is given the output of context layer k."""
    return BlockSize(width, context, layers, inputs, widths=widths).token_parameters()


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
    """Return all parameters of two blocks with their embedding; the defaults are those of the notes, 52,782,336."""
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
