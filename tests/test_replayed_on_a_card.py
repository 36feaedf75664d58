"""Where there is a CUDA card: the replayed sweep on it, beside the processor's."""

import pytest
import torch

from llmlab.model.new_llm import ContextVectorLM, Size
from llmlab.model.replayed import ReplayedSweep
from llmlab.model.sweep import Sweep


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_a_card_has_the_gradients_of_the_processor(stack: str) -> None:
    """Every batch after the recorded one has them too, in fp32, with both stacks."""
    size = Size(vocabulary=50, embedding=16, hidden=32, context=16, layers=3, stack=stack)
    model = ContextVectorLM.initial(size, 0, start="scaled")
    there = {name: tensor.cuda() for name, tensor in model.parameters.items()}
    ours, theirs = ReplayedSweep(size, 8, 12, device="cuda"), Sweep(size, 8, 12)
    for seed in range(3):
        inputs, targets = torch.randint(1, 50, (2, 8, 12), generator=torch.Generator().manual_seed(seed))
        loss, gradients = ours.gradients(there, inputs.cuda(), targets.cuda(), count=96)
        wanted_loss, wanted = theirs.gradients(model.parameters, inputs, targets, count=96)

        torch.testing.assert_close(loss.cpu(), wanted_loss, rtol=1e-4, atol=1e-5)
        for name in wanted:
            torch.testing.assert_close(gradients[name].cpu(), wanted[name], rtol=1e-3, atol=1e-5)
