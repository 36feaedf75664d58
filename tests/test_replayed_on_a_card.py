"""Where there is a CUDA card: the replayed sweep on it, beside the processor's."""

import pytest
import torch

from llmlab.fast.replayed import ReplayedSweep
from llmlab.fast.sweep import Sweep
from llmlab.lab.rng import kept, scale
from llmlab.lab.sizes import Size
from llmlab.model.new_llm import ContextVectorLM

BATCH, TIME, DROPOUT = 8, 12, 0.1
CLOSE = {torch.float32: {"rtol": 1e-3, "atol": 1e-5}, torch.bfloat16: {"rtol": 0.1, "atol": 2e-3}}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_a_card_has_the_gradients_of_the_processor(stack: str, dtype: torch.dtype) -> None:
    """Every batch after the recorded one has them too, with other parameters and another dropout, drawn by the card."""
    size = Size(vocabulary=50, embedding=16, hidden=32, context=16, layers=3, stack=stack)
    model = ContextVectorLM.initial(size, 0, start="scaled")
    ours, theirs = ReplayedSweep(size, BATCH, TIME, dtype, "cuda"), Sweep(size, BATCH, TIME, dtype)
    for seed in range(3):
        chance = torch.Generator().manual_seed(seed)
        inputs, targets = torch.randint(1, 50, (2, BATCH, TIME), generator=chance)
        here = {name: tensor * (1 + 0.1 * seed) for name, tensor in model.parameters.items()}
        there = {name: tensor.cuda() for name, tensor in here.items()}
        keep = kept(
            DROPOUT,
            (size.layers, TIME, size.hidden),
            range(BATCH),
            seed=seed,
            update=1,
            dtype=dtype,
            device="cuda",
        )
        assert keep is not None
        more = {"count": inputs.numel(), "scale": scale(DROPOUT)}
        loss, gradients = ours.gradients(there, inputs.cuda(), targets.cuda(), keep=keep, **more)
        wanted_loss, wanted = theirs.gradients(here, inputs, targets, keep=keep.cpu(), **more)

        torch.testing.assert_close(loss.cpu(), wanted_loss, rtol=1e-2, atol=1e-5)
        for name in wanted:
            torch.testing.assert_close(gradients[name].cpu(), wanted[name], **CLOSE[dtype])
