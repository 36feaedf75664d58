"""New-LLM's peers, tiny GPT-2 and a GRU, as the training loop asks for them: loss and gradients by autograd.

Dropout is a function of the run's seed, the update and the first row of the part of the batch: torch's own generator
is set from them for one pass and put back afterwards, so that a run continues to the bit where it was stopped.

Covers both peers in one class; what they are stands in ``tiny_gpt2`` and ``gru``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.language import Judged, Place
from llmlab.lab.rng import generator
from llmlab.lab.sizes import GPT2Size, GRUSize
from llmlab.model import tiny_gpt2
from llmlab.model.gru import GRULanguageModel

PADDING = 0

FP32 = partial(torch.backends.cudnn.flags, enabled=True, allow_tf32=False)
"""Inside, a card's GRU computes in the numbers that it is said to; by itself cuDNN would round products to ten bits."""


class Peer:
    """A module as a ``LanguageModel``.

    Args:
        module: whose parameters are trained.
        logits: asks it: (B, T) token numbers to (B, T, V) logits.
        precision: of the products in training, ``fp32`` or ``bf16`` (by ``torch.autocast``); judging is always fp32.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(
        self, module: Module, logits: Callable[[Tensor], Tensor], precision: str = "fp32", device: str = "cpu"
    ) -> None:
        self.module, self.logits, self.device = module.to(device), logits, device
        self.rounds = precision == "bf16"
        # the same numbers without a history: what changes them in place changes the module
        self.parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}

    def gradients(
        self, inputs: Tensor, targets: Tensor, *, count: int, place: Place
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``LanguageModel``."""
        self.module.train()
        with torch.enable_grad(), dropout_of(place, self.device), FP32():
            with torch.autocast(self.device, torch.bfloat16, enabled=self.rounds):
                logits = self.logits(inputs.to(self.device))
            wanted = targets.to(self.device).flatten()
            summed = F.cross_entropy(logits.flatten(0, 1).float(), wanted, ignore_index=PADDING, reduction="sum")
            loss = summed / count
            found = torch.autograd.grad(loss, list(self.module.parameters()))
        return loss.detach(), dict(zip(self.parameters, found, strict=True))

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """See ``LanguageModel``."""
        self.module.eval()
        with torch.no_grad(), FP32():
            logits = self.logits(inputs.to(self.device)).flatten(0, 1)
            chosen = targets.to(self.device).flatten()
            losses = F.cross_entropy(logits, chosen, reduction="none")
            hits = logits.argmax(1) == chosen
        return Judged(losses.view(targets.shape).cpu(), hits.view(targets.shape).cpu())


def peer(
    size: GPT2Size | GRUSize, seed: int, *, dropout: float = 0.0, precision: str = "fp32", device: str = "cpu"
) -> Peer:
    """Return a fresh peer.

    Args:
        size: of a tiny GPT-2 or of a GRU.
        seed: the same seed gives the same numbers.
        dropout: probability with which a number is set to zero in training.
        precision: see ``Peer``.
        device: see ``Peer``.

    Raises:
        UnreachableError: tiny GPT-2 was asked for and the ``transformers`` library is not there.
    """
    if isinstance(size, GRUSize):
        network = GRULanguageModel(size, seed, dropout)
        return Peer(network, lambda inputs: network(inputs)[0], precision, device)
    built = tiny_gpt2.module(size, seed, dropout)
    return Peer(built, lambda inputs: tiny_gpt2.logits(built, inputs), precision, device)


@contextmanager
def dropout_of(place: Place, device: str) -> Iterator[None]:
    """Let torch draw, inside, from what belongs to a place in a run; outside nothing has been drawn."""
    number = generator("dropout of a peer", place.seed, place.update, place.first_row).initial_seed()
    cards = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(cards):
        torch.default_generator.manual_seed(number)
        if cards:
            torch.cuda.manual_seed(number)
        yield
