"""What the exercises ask for, computed by the chapters' own code in small: each function is named by rows of the data.

Every one takes seconds on a small machine, and none needs a file.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.after.quantize import quantize
from llmlab.baseline import ContextVectorLM
from llmlab.embedding_freeze import FixedPointRecipe, context_layers, fixed_point, initial
from llmlab.fast.fixed_contexts import Inputs, embedded, fixed_contexts
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.optimizer import Adam
from llmlab.lab.sizes import Size
from llmlab.phase1 import TRAINED_WITH_FROZEN, TinyModel, TinyRun, run, train
from llmlab.phase1_2 import movement
from llmlab.settings import Phase1Settings
from llmlab.text.pairs import Pairs

BLOCK = BlockSize(embedding=32, context=32, layers=2)

# ---- chapters 1 and 2 -----------------------------------------------------------------------------------------------


def floor(text: str) -> float:
    """Return the lowest loss that a reader of one letter can reach, in nats."""
    return Pairs.of(text).conditional_entropy()


def dimensions(text: str) -> int:
    """Return from how many dimensions on a frozen random embedding lets a linear layer reach every table of scores."""
    runs = (run(Phase1Settings(text=text, dim=dim, seeds=20, epochs=1)) for dim in range(1, len(text)))
    return next(dim for dim, each in enumerate(runs, 1) if each.metrics["reaches_every_table_fraction"] == 1)


def _free(seeds: int, weight_decay: float = 0.0) -> TinyRun:
    """Return tiny models trained on hello in two dimensions with nothing frozen, as chapter 2 does."""
    pairs, rule = Pairs.of("hello"), partial(Adam, 0.01, weight_decay=weight_decay)
    start = TinyModel.initial(len(pairs.tokens), 2, range(seeds))
    return train(start, pairs, rule, trained=TRAINED_WITH_FROZEN["none"], updates=200)


def left_of_unseen(weight_decay: float) -> float:
    """Return what is left of the length of a letter that is no input, after 200 updates with AdamW."""
    trained = _free(1, weight_decay)
    (unseen,) = trained.pairs.unseen()
    return float(trained.after.embedding[0, unseen].norm() / trained.before.embedding[0, unseen].norm())


def product_agrees(focus: str, seeds: int) -> float:
    """Return in what share of the starts the inner product without the bias names the winner after a letter."""
    trained = _free(seeds)
    found = movement(trained, trained.pairs.numbers[focus])
    return float(found["score_argmax_agrees_fraction"].double().mean())


# ---- chapters 3 and 4 -----------------------------------------------------------------------------------------------


def memories(numbers: int) -> int:
    """Return how many different contexts an untrained New-LLM is found in after any of a thousand tokens."""
    model = ContextVectorLM.initial(Size(1000, 16, 16, numbers, 1), 0, init="scaled")
    _, contexts = model.step(torch.arange(1000), model.first_context(1000))
    return len({tuple(context) for context in contexts.mul(100).round().tolist()})


def handed_on(width: int, layers: int) -> float:
    """Return by what factor plain layers drawn from N(0, 0.02²) shrink what they read."""
    size = Size(4, width // 2, width, width // 2, layers)
    reads = torch.randn(1000, width, generator=torch.Generator().manual_seed(0))
    each = [ContextVectorLM.initial(size, seed).stack(reads).norm() / reads.norm() for seed in range(10)]
    return float(torch.stack(each).log().mean().exp())


def growth(old: int, new: int) -> float:
    """Return by what factor a LayerNorm makes numbers larger when zeros stand beside them."""
    numbers = F.layer_norm(torch.randn(old, generator=torch.Generator().manual_seed(0)), (old,))
    return float(F.layer_norm(F.pad(numbers, (0, new - old)), (new,))[:old].std() / numbers.std())


def values_left(outlier: float) -> int:
    """Return how many different values weights from −1 to 1 have in eight bits beside one so much larger."""
    weights = torch.linspace(-1, 1, 10_000)
    return len({*quantize(torch.cat([weights, torch.tensor([outlier])])[None], "tensor").numbers[0, :-1].tolist()})


# ---- chapters 5 and 6 -----------------------------------------------------------------------------------------------


def _read() -> tuple[dict[str, Tensor], Inputs, Tensor]:
    """Return a block as chance makes it, what it reads of a random text, and its contexts, computed side by side."""
    chance = torch.Generator().manual_seed(0)
    embedding, ids = torch.randn(50, 32, generator=chance), torch.randint(50, (500,), generator=chance)
    block, reads = initial(BLOCK.context_shapes(), seed=0), embedded(embedding, ids)
    return block, reads, fixed_contexts(BLOCK, block, reads, len(ids)).contexts


def passes_without_noise(most: int) -> int:
    """Return the pass with which the training of a context block ends that knows no noise."""
    block, reads, contexts = _read()
    _, rows = fixed_point(BLOCK, block, reads, contexts, FixedPointRecipe(iterations=most, noise=0.0))
    return int(rows[-1]["iteration"])


def context_off() -> float:
    """Return how far a context is at most from what the one before it and the token's embedding make of it."""
    block, reads, contexts = _read()
    again = context_layers(BLOCK, block, contexts[:-1], reads(torch.arange(1, len(contexts))))[-1]
    return float((again - contexts[1:]).abs().max())
