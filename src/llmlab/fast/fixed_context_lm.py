"""Stage 2: a TokenBlock trained on fixed contexts, in large batches of single positions, under a head of many words.

As the contexts of a text no longer change, its positions no longer wait for one another: a batch is any positions, each
with the context at it, and the whole step is a handful of large products.  What each token layer is given of the
context layers is computed again in the batch, from the context one token before, without gradient; kept for every layer
and position it would take 9 GB of a text of 500,000 tokens.

The logits of a batch over 50,257 words are its largest tensor by far: 0.8 GB for 4,096 rows.  Nothing of them is needed
after their gradient, so some rows are scored, differentiated and forgotten before the next ones.  With p the softmax of
a row's logits W y + b, u the unit vector of its target, and K the count:

    loss = -ln p_target / K       into y: W^T (p - u) / K       into W: (p - u) y^T / K       into b: (p - u) / K

A frozen head needs no gradient of W, a third of the work.

The plain twin is autograd through ``embedding_freeze.logits_by_token``; the two blocks' equations stand beside it.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.fast.fixed_contexts import embedded, last_tokens
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.device import products_in
from llmlab.lab.language import EPS, PRECISIONS, Judged, Place

Parameters = dict[str, Tensor]

LOGITS_AT_ONCE = 2**25
"""About how many logits are held at a time: 128 MiB in fp32."""

NOT_SCORED = -1
"""The target of a row that is not scored."""

SAMPLE = 256
"""Positions at which the contexts are watched."""


def rows_at_once(vocabulary: int) -> int:
    """Return how many rows are scored at a time."""
    return max(16, LOGITS_AT_ONCE // vocabulary)


def head_loss(
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    count: int,
    *,
    learns_weight: bool,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Parameters]:
    """Return the loss of the scored rows over ``count``, its gradient into y, and those into the head if it learns.

    All are fp32; ``count`` is that of the whole batch, of which these rows may be a part.  ``dtype`` is that of the
    products, and a weight that has it is not copied.  Shapes: y (B, d), weight (V, d), bias (V,), targets (B,).
    """
    with torch.no_grad():
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        learnt = {"head.weight": weight} | ({} if bias is None else {"head.bias": bias}) if learns_weight else {}
        head = {name: torch.zeros_like(tensor, dtype=torch.float32) for name, tensor in learnt.items()}
        into_y, loss, share = torch.zeros_like(y), 0.0, 1 / max(count, 1)
        for part in torch.split((targets >= 0).nonzero()[:, 0], rows_at_once(len(weight))):
            read, chosen = y[part].to(dtype), targets[part]
            logits = F.linear(read, weight, bias)  # (rows, V)
            # ln p_target by way of the likeliest word, as p_target itself may be too small for a float
            behind = logits.gather(1, chosen[:, None])[:, 0].double() - logits.amax(1).double()
            p = torch.softmax(logits, 1, out=logits)  # in place: fresh memory would take longer than the softmax
            loss -= float((behind + p.amax(1).double().log()).sum())
            into_y[part] = (p @ weight).to(y.dtype).sub_(weight[chosen]).mul_(share)
            if learns_weight:
                head["head.weight"].add_(p.T @ read).index_add_(0, chosen, read.float(), alpha=-1)
            if "head.bias" in head:
                ones = torch.ones_like(chosen, dtype=torch.float32)
                head["head.bias"].add_(p.sum(0, dtype=torch.float32)).index_add_(0, chosen, ones, alpha=-1)
        for gradient in head.values():
            gradient.mul_(share)
        return torch.tensor(loss * share), into_y, head


def head_judge(y: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Judged:
    """Return loss and hit of every row, (B,) each, in fp32; a negative target loses 0 and is never hit."""
    losses, hits = y.new_zeros(len(y)), torch.zeros(len(y), dtype=torch.bool, device=y.device)
    with torch.no_grad():
        for part in torch.split(torch.arange(len(y), device=y.device), rows_at_once(len(weight))):
            logits = F.linear(y[part], weight, bias)
            losses[part] = F.cross_entropy(logits, targets[part].clamp(min=-1), ignore_index=-1, reduction="none")
            hits[part] = logits.argmax(1) == targets[part]
    return Judged(losses, hits)


class FixedContextLM:
    """A TokenBlock, its LayerNorm, and an embedding and head that are trained or not, over streams of fixed contexts.

    A window of this model is a row (position, target): inputs and targets are (B, 1), and a target that is not scored
    is ``NOT_SCORED``.  Logits are ``embedding`` times y, raw rows without bias, unless the head is untied.

    Args:
        blocks: the equations over one token per row, ``embedding_freeze.context_layers`` and ``token_layers``.
        size: the sizes, and which contexts are read.
        frozen: the ContextBlock, and the ``embedding``, (V, d), that it reads.
        streams: token numbers, of one stream after the other n in all.
        contexts: (n, c), *after* each token.
        parameters: what is trained, as named by ``BlockSize.trained_shapes``; what is there decides what is trained.
        precision: of the products in training, ``fp32`` or ``bf16``; judging is always fp32.
    """

    def __init__(
        self,
        blocks: tuple[Callable[..., list[Tensor]], Callable[..., Tensor]],
        size: BlockSize,
        frozen: Parameters,
        streams: Sequence[Tensor],
        contexts: Tensor,
        parameters: Parameters,
        precision: str = "fp32",
    ) -> None:
        self.context_layers, self.token_layers = blocks
        self.size, self.frozen, self.parameters, self.contexts = size, frozen, parameters, contexts
        self.dtype, self.device = PRECISIONS[precision], contexts.device
        self.ids = torch.cat(list(streams)).to(self.device)
        self.starts = tuple(accumulate(map(len, streams[:-1]), initial=0))
        self.tied, self.trains_embedding = "head.weight" not in parameters, "embedding" in parameters
        self.read = embedded(frozen["embedding"], self.ids, size.n_tokens, self.starts)
        self._begins = torch.tensor(self.starts, device=self.device)
        fixed_head = self.tied and not self.trains_embedding  # rounded once, not in every batch
        self._fixed_head = frozen["embedding"].to(self.dtype) if fixed_head else None
        self.watched = torch.linspace(0, len(self.ids) - 1, min(SAMPLE, len(self.ids)), device=self.device).long()
        self.as_they_were = self._watch()

    def windows(self, stream: int = 0, unknown: int = NOT_SCORED) -> Tensor:
        """Return a stream as rows (position, target), (m - 1, 2) of its m tokens: each token and the next one.

        The target ``unknown`` is not scored.
        """
        first, end = (*self.starts, len(self.ids))[stream : stream + 2]
        targets = self.ids[first + 1 : end].cpu()
        return torch.stack([torch.arange(first, end - 1), targets.where(targets != unknown, NOT_SCORED)], dim=1)

    def gradients(self, inputs: Tensor, targets: Tensor, *, count: int, place: Place) -> tuple[Tensor, Parameters]:
        """See ``LanguageModel``; nothing here is drawn, so the place changes nothing."""
        positions, targets = inputs.flatten().to(self.device), targets.flatten().to(self.device)
        last, rows = self._rows(positions)
        own = (name for name in self.parameters if name.startswith(("norm.", "token")))
        leaves = {name: self.parameters[name].detach().requires_grad_() for name in own}
        with torch.enable_grad(), products_in(self.dtype, self.device):
            rows.requires_grad_(self.trains_embedding)
            x = self._tokens(positions, rows, leaves)
            y = self.token_layers(self.size, leaves, self._given(positions), x)
        weight, bias = self._head()
        weight = weight if self._fixed_head is None else self._fixed_head
        learns = self.trains_embedding or not self.tied
        loss, into_y, head = head_loss(y.detach(), weight, bias, targets, count, learns_weight=learns, dtype=self.dtype)
        into = torch.autograd.grad(y, [*leaves.values(), *([rows] if self.trains_embedding else [])], into_y)
        gradients = dict(zip(leaves, into, strict=False))
        if not self.tied:
            gradients |= head
        if self.trains_embedding:
            whole = head["head.weight"] if self.tied else torch.zeros_like(self.parameters["embedding"])
            gradients["embedding"] = whole.index_add_(0, self.ids[last].flatten(), into[-1].flatten(0, -2))
        return loss, gradients

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """See ``LanguageModel``."""
        positions = inputs.flatten().to(self.device)
        with torch.no_grad():
            x = self._tokens(positions, self._rows(positions)[1], self.parameters)
            y = self.token_layers(self.size, self.parameters, self._given(positions), x)
            judged = head_judge(y, *self._head(), targets.flatten().to(self.device))
        return Judged(judged.losses.view(targets.shape).cpu(), judged.hits.view(targets.shape).cpu())

    def context_drift(self) -> float:
        """Return how far contexts have moved since this model was made, where they are watched; 0 if nothing did.

        Nothing that they depend on is trained: the token side has a LayerNorm of its own, and its own copy of the
        embedding if that is trained.  (In the notes' code one LayerNorm served both, and moved them.)
        """
        return max(float((now - then).abs().max()) for now, then in zip(self._watch(), self.as_they_were, strict=True))

    def _watch(self) -> list[Tensor]:
        """Return the contexts that are kept, and what the ContextBlock makes of them and the tokens now."""
        return [self.contexts[self.watched], *self._outputs(self.watched, self.size.layers)]

    def _rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of the last M tokens, (B, M), and their rows of the embedding, (B, M, d)."""
        last, _ = last_tokens(positions, self.size.n_tokens, self.starts)
        return last, self.parameters.get("embedding", self.frozen["embedding"])[self.ids[last]]

    def _tokens(self, positions: Tensor, rows: Tensor, parameters: Parameters) -> Tensor:
        """Return what the token layers read, (B, M d): normalised rows, zeros before a stream's start."""
        x = F.layer_norm(rows, rows.shape[-1:], parameters["norm.gain"], parameters["norm.bias"], EPS)
        if self.size.n_tokens > 1:
            x = x * last_tokens(positions, self.size.n_tokens, self.starts)[1][..., None]
        return x.flatten(1)

    def _given(self, positions: Tensor) -> list[Tensor]:
        """Return for each token layer the context that it is given at positions, (B, w_k) each."""
        if self.size.reading == "after":
            return [*self._outputs(positions, self.size.layers - 1), self.contexts[positions]]
        seen = self.contexts[positions] if self.size.reading == "final" else self._before(positions)
        return [seen if self.size.reading != "none" else torch.zeros_like(seen)] * self.size.layers

    def _outputs(self, positions: Tensor, layers: int) -> list[Tensor]:
        """Return what the first context layers make of the tokens at positions, (B, w_k) each."""
        with torch.no_grad():
            read = self.read(positions)
            return self.context_layers(self.size, self.frozen, self._before(positions), read, layers)

    def _before(self, positions: Tensor) -> Tensor:
        """Return the contexts before the tokens at positions, (B, c); zeros where a stream begins."""
        return self.contexts[(positions - 1).clamp(min=0)] * ~torch.isin(positions, self._begins)[:, None]

    def _head(self) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of the head."""
        if not self.tied:
            return self.parameters["head.weight"], self.parameters["head.bias"]
        return (self.parameters if self.trains_embedding else self.frozen)["embedding"], None
