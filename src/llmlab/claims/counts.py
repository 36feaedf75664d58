"""The number of parameters of every model in the original notes, as the ledger's sums ask for it.

Without torch, so that ``llmlab claims`` answers at once: the models' sizes count themselves (``lab.sizes``), and their
defaults are the notes'.
"""

from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.sizes import GPT2Size, Size

GPT2_VOCABULARY = 50_257


def head(vocabulary: int = GPT2_VOCABULARY, width: int = 768) -> int:
    """Return the parameters of an output layer: a row and a bias for every token."""
    return vocabulary * (width + 1)


def new_llm(layers: int = 6, context: int = 256, hidden: int = 512) -> int:
    """Return the parameters of New-LLM; 2,739,432 for the defaults."""
    return Size(hidden=hidden, context=context, layers=layers).parameters()


def tiny_gpt2(layers: int, width: int) -> int:
    """Return the parameters of a small GPT-2 with a tied head."""
    return GPT2Size(layers=layers, width=width).parameters()


def context_block() -> int:
    """Return the parameters of the notes' ContextBlock."""
    return BlockSize().context_parameters()


def token_block(
    layers: int = 6, context: int = 768, width: int = 768, inputs: int = 1, widths: str = "constant"
) -> int:
    """Return the parameters of a TokenBlock whose layer k is given the output of context layer k."""
    return BlockSize(width, context, layers, inputs, widths=widths).token_parameters()


def two_stage_trained(
    layers: int = 6, context: int = 768, width: int = 768, tied: bool = True, frozen: bool = True
) -> int:
    """Return what Stage 2 trains: not the ContextBlock, and not the embedding where it is ``frozen``."""
    own = 2 * width + token_block(layers, context, width)
    return own + (0 if frozen else GPT2_VOCABULARY * width) + (0 if tied else head(width=width))


def two_stage(tied: bool = True) -> int:
    """Return all parameters of the notes' two blocks with their embedding; 52,782,336 where the head is tied to it."""
    return context_block() + two_stage_trained(tied=tied, frozen=False)


FORMULAS = (head, new_llm, tiny_gpt2, context_block, token_block, two_stage, two_stage_trained)
