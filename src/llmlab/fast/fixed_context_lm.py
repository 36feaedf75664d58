"""Stage 2: a TokenBlock trained on fixed contexts, in large batches of single positions.

As the contexts of a text no longer change, its positions no longer wait for one another: a batch is any positions, each
with the context at it, and the whole step is a handful of large products.  What each token layer is given of the
context layers is computed again in the batch, from the context one token before, without gradient; kept for every layer
and position it would take 9 GB of a text of 500,000 tokens.

The ContextBlock reads the embedding as it was, through a LayerNorm without parameters.  The token side has a trained
LayerNorm, and its own copy of the embedding if that is trained.  So contexts cannot drift: nothing they depend on is
trained.  (In the seed one LayerNorm served both, and moved them.)

Covers the model as the training loop asks for it (``language.LanguageModel``).  Leaves out where the contexts come from
(``fixed_contexts``) and training (``lab.epochs``).  The oracle is autograd through ``context_token.logits_by_token``.

Source: seed documents 002 (section 5) and 004, and sections 8.4 and 9 of their code.
"""

import torch
from torch import Tensor

from llmlab.fast.head import head_judge, head_loss
from llmlab.lab.language import PRECISIONS, Judged, Place
from llmlab.model.context_token import (
    BlockSize,
    context_outputs,
    given,
    initial,
    is_rounded,
    normalised,
    token_output,
)
from llmlab.model.inputs import embedded, last_tokens

NOT_SCORED = -1
"""The target of a row that is not scored."""

SAMPLE = 256
"""Positions at which the contexts are watched."""


def trained_shapes(
    size: BlockSize, vocabulary: int, *, tied: bool = True, trains_embedding: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return the shape of everything that is trained by name; 7,093,248 numbers for the seed's frozen, tied model."""
    shapes: dict[str, tuple[int, ...]] = {"embedding": (vocabulary, size.embedding)} if trains_embedding else {}
    shapes |= {"norm.gain": (size.embedding,), "norm.bias": (size.embedding,)} | size.token_shapes()
    if not tied:
        shapes |= {"head.weight": (vocabulary, size.embedding), "head.bias": (vocabulary,)}
    return shapes


class FixedContextLM:
    """A TokenBlock, its LayerNorm, and an embedding and head that are trained or not, over a text with fixed contexts.

    A window of this model is a row (position, target): inputs and targets are (B, 1), and a target that is not scored
    is ``NOT_SCORED``.  Logits are ``embedding`` times y, raw rows without bias, unless the head is untied.

    Args:
        size: the sizes.
        frozen: the ContextBlock, and the ``embedding``, (V, d), that it reads.
        ids: (n,) token numbers, of one stream after the other.
        contexts: (n, c), *after* each token.
        parameters: what is trained, as named by ``trained_shapes``; what is there decides what is trained.
        starts: where each stream begins.
        when: the token layers see the context ``after`` their token, or ``before`` it.
        precision: of the products in training, ``fp32`` or ``bf16``; judging is always fp32.
    """

    def __init__(
        self,
        size: BlockSize,
        frozen: dict[str, Tensor],
        ids: Tensor,
        contexts: Tensor,
        parameters: dict[str, Tensor],
        *,
        starts: tuple[int, ...] = (0,),
        when: str = "after",
        precision: str = "fp32",
    ) -> None:
        self.size, self.frozen, self.parameters = size, frozen, parameters
        self.ids, self.contexts, self.starts, self.when = ids, contexts, starts, when
        self.dtype, self.device = PRECISIONS[precision], contexts.device
        self._begins = torch.tensor(starts, device=self.device)
        self.read = embedded(frozen["embedding"], ids, size.inputs, starts)
        self._copies: dict[tuple[str, bool], tuple[int, Tensor]] = {}
        self.watched = torch.linspace(0, len(ids) - 1, min(SAMPLE, len(ids)), device=self.device).long()
        self.as_they_were = self._watch()

    @classmethod
    def initial(
        cls,
        size: BlockSize,
        frozen: dict[str, Tensor],
        ids: Tensor,
        contexts: Tensor,
        seed: int,
        *,
        tied: bool = True,
        trains_embedding: bool = False,
        starts: tuple[int, ...] = (0,),
        when: str = "after",
        precision: str = "fp32",
    ) -> "FixedContextLM":
        """Return a fresh model: its embedding, if trained, starts as a copy of the frozen one, an untied head at zero.

        Args:
            size: see the class, as for all that is not said here.
            frozen: see the class.
            ids: see the class.
            contexts: see the class.
            seed: of the TokenBlock.
            tied: whether the head is the embedding.
            trains_embedding: whether the token side's embedding is trained (and with it a tied head).
            starts: see the class.
            when: see the class.
            precision: see the class.
        """
        embedding = frozen["embedding"]
        shapes = trained_shapes(size, len(embedding), tied=tied, trains_embedding=trains_embedding)
        block = initial(size.token_shapes(), seed)
        parameters: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            if name == "embedding":
                parameters[name] = embedding.clone()
            elif name in block:
                parameters[name] = block[name].to(embedding.device)
            else:
                parameters[name] = embedding.new_full(shape, float(name == "norm.gain"))
        return cls(size, frozen, ids, contexts, parameters, starts=starts, when=when, precision=precision)

    def windows(self, stream: int = 0, scored: Tensor | None = None) -> Tensor:
        """Return a stream as rows (position, target), (m - 1, 2) of its m tokens: each token and the next one.

        Args:
            stream: its number.
            scored: (m - 1,) bool, which targets count; ``None`` for all.
        """
        first, end = (*self.starts, len(self.ids))[stream : stream + 2]
        targets = self.ids[first + 1 : end].cpu()
        if scored is not None:
            targets = targets.where(scored, NOT_SCORED)
        return torch.stack([torch.arange(first, end - 1), targets], dim=1)

    def gradients(
        self, inputs: Tensor, targets: Tensor, *, count: int, place: Place
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``LanguageModel``; nothing here is drawn, so the place changes nothing."""
        positions, targets = inputs.flatten().to(self.device), targets.flatten().to(self.device)
        last, rows = self._rows(positions)
        leaves = {
            name: self._rounded(self.parameters, name, self.dtype).detach().requires_grad_()
            for name in self.parameters
            if name.startswith(("norm.", "token"))
        }
        learns_rows, tied = "embedding" in self.parameters, "head.weight" not in self.parameters
        contexts = self._given(positions, self.dtype)
        with torch.enable_grad():
            rows.requires_grad_(learns_rows)
            y = token_output(self.size, leaves, contexts, self._tokens(positions, rows, leaves), self.dtype)
        learns_head = learns_rows or not tied
        head = self._head(self.dtype)
        found = head_loss(y.detach(), *head, targets, targets >= 0, count, learns_weight=learns_head, dtype=self.dtype)
        into = torch.autograd.grad(y, [*leaves.values(), *([rows] if learns_rows else [])], found.y)
        gradients = {name: gradient.float() for name, gradient in zip(leaves, into, strict=False)}
        if not tied:
            gradients |= found.head
        if learns_rows:
            whole = found.head["head.weight"] if tied else torch.zeros_like(self.parameters["embedding"])
            gradients["embedding"] = whole.index_add_(0, self.ids[last].flatten(), into[-1].flatten(0, -2))
        return found.loss, gradients

    def judge(self, inputs: Tensor, targets: Tensor) -> Judged:
        """See ``LanguageModel``."""
        positions = inputs.flatten().to(self.device)
        with torch.no_grad():
            _, rows = self._rows(positions)
            contexts = self._given(positions, torch.float32)
            y = token_output(self.size, self.parameters, contexts, self._tokens(positions, rows, self.parameters))
            judged = head_judge(y, *self._head(torch.float32), targets.flatten().to(self.device))
        return Judged(judged.losses.view(targets.shape).cpu(), judged.hits.view(targets.shape).cpu())

    def context_drift(self) -> float:
        """Return how far contexts have moved since this model was made, where they are watched; 0 if nothing did."""
        return max(float((now - then).abs().max()) for now, then in zip(self._watch(), self.as_they_were, strict=True))

    def _watch(self) -> list[Tensor]:
        """Return the contexts that are kept, and what the ContextBlock makes of them and the tokens now."""
        return [self.contexts[self.watched], *self._outputs(self.watched, torch.float32, self.size.layers)]

    def _rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions of the last M tokens, (B, M), and their rows of the embedding, (B, M, d)."""
        last, _ = last_tokens(positions, self.size.inputs, self.starts)
        return last, self.parameters.get("embedding", self.frozen["embedding"])[self.ids[last]]

    def _tokens(self, positions: Tensor, rows: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """Return what the token layers read, (B, M d): normalised rows, zeros before a stream's start."""
        x = normalised(rows, parameters)
        if self.size.inputs > 1:
            x = x * last_tokens(positions, self.size.inputs, self.starts)[1][..., None]
        return x.flatten(1)

    def _given(self, positions: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Return for each token layer the context that it is given at positions, (B, w_k) each."""
        with torch.no_grad():
            at = positions if self.when == "after" else (positions - 1).clamp(min=0)
            first = self._outputs(at, dtype, self.size.layers - 1) if self.size.layerwise else []
            outputs = [*first, self.contexts[at]]
            if self.when == "before":
                outputs = [output * self._continues(positions) for output in outputs]
            return given(self.size, outputs)

    def _outputs(self, positions: Tensor, dtype: torch.dtype, layers: int) -> list[Tensor]:
        """Return what the first context layers make of the tokens at positions, (B, w_k) each."""
        if layers == 0:
            return []
        before = self.contexts[(positions - 1).clamp(min=0)] * self._continues(positions)
        weights = {name: self._rounded(self.frozen, name, dtype) for name in self.size.context_shapes()}
        with torch.no_grad():
            return context_outputs(self.size, weights, before, self.read(positions), dtype, layers)

    def _continues(self, positions: Tensor) -> Tensor:
        """Return whether a stream has a token before each position, (B, 1)."""
        return ~torch.isin(positions, self._begins)[:, None]

    def _head(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of the head."""
        if "head.weight" in self.parameters:
            return self._rounded(self.parameters, "head.weight", dtype), self.parameters["head.bias"]
        owner = self.parameters if "embedding" in self.parameters else self.frozen
        return self._rounded(owner, "embedding", dtype), None

    def _rounded(self, owner: dict[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
        """Return a parameter in the dtype of the products if it enters any; it is cast once after every change."""
        tensor = owner[name]
        if tensor.dtype == dtype or not is_rounded(name):
            return tensor
        key, version = (name, owner is self.frozen), tensor._version
        if key not in self._copies or self._copies[key][0] != version:
            self._copies[key] = version, tensor.to(dtype)
        return self._copies[key][1]
