"""Stage 1: the context after every token of a long text, as the token-by-token pass gives it, at the rate of products.

Token by token, each step multiplies one row by every matrix, and waits for memory.  But a ContextBlock forgets: what it
held before matters less with every token it reads.  So the text is cut into segments that run side by side:

1. every segment runs from an empty context, as if nothing came before it (the first one truly has nothing before it);
2. each then starts again where its predecessor ended, and writes over its first contexts, until what it writes was
   there already, to within a fifth of the tolerance.  The number of tokens that this takes is the warm-up.

If a tenth of the text is not enough for that, the block does not forget, and the plain pass is made.  The distance to
the plain pass is measured on the first tokens in every case, and the first seam lies among them.

Roundings set a limit that no way of computing passes.  A narrow block of one layer forgets over hundreds of tokens and
on the way stretches differences up to a thousandfold: two plain passes, one of whose inputs is changed in the last bit,
are up to 5e-4 apart.  Six layers, 768 wide, forget within thirty tokens and stretch nothing.

The plain twin is ``embedding_freeze.plain_pass``, with the window of the last M tokens that it moves over the text;
``sequential`` is the same pass, one token after the other, with the products of the tokens formed ahead.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.language import EPS

Inputs = Callable[[Tensor], Tensor]
"""From positions in a text, (B,), to what is read there, (B, M d): normalised embeddings of the last M tokens."""

SHORTEST = 128
"""Tokens of the shortest segments; a text of less than two of them gets the plain pass."""

ROWS_AT_ONCE = 2048
"""The tokens' halves of the products are formed for about this many positions at a time."""

STITCHED_AT_ONCE = 2
"""Each segment runs this many tokens again, or an eighth of those it ran again before, until the change is measured."""

LONGEST = 0.1
"""Share of the text after which a warm-up is given up."""

MARGIN = 0.2
"""Contexts agree when they do to this share of the tolerance: later tokens may stretch what is left."""

QUIET = 0.1
"""They must have agreed for this share of the warm-up, as a block that forgets slowly stretches before it shrinks."""


def embedded(embedding: Tensor, ids: Tensor, n_tokens: int = 1, starts: tuple[int, ...] = (0,)) -> Inputs:
    """Return what a ContextBlock reads: plain LayerNorms of the last M tokens' rows, zeros before a stream's start.

    The embedding is (V, d), the token numbers (n,), of one stream after the other, each from its start on.
    """

    def read(positions: Tensor) -> Tensor:
        last, there = last_tokens(positions, n_tokens, starts)
        x = F.layer_norm(embedding[ids[last]], embedding.shape[-1:], eps=EPS)
        return (x if n_tokens == 1 else x * there[..., None]).flatten(1)

    return read


def last_tokens(positions: Tensor, n_tokens: int, starts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the positions of the last M tokens, oldest first, and whether each is there, (B, M) both."""
    if n_tokens == 1:
        return positions[:, None], torch.ones_like(positions, dtype=torch.bool)[:, None]
    last = positions[:, None] - torch.arange(n_tokens - 1, -1, -1, device=positions.device)
    begins = torch.tensor(starts, device=positions.device)
    first = begins[torch.searchsorted(begins, positions.contiguous(), right=True) - 1]
    there = last >= first[:, None]
    return last.where(there, 0), there


@dataclass(frozen=True, eq=False)
class FixedContexts:
    """The contexts of a text, (n, c), after each token, and how they were found.

    ``seam_error`` is the largest difference that was left when a warm-up was over, ``max_error`` the largest one to the
    plain pass over the first ``checked`` tokens.
    """

    contexts: Tensor
    warm_up: int
    seam_error: float
    max_error: float
    checked: int
    segments: int
    plain: bool
    seconds: float


def fixed_contexts(
    size: BlockSize,
    parameters: dict[str, Tensor],
    inputs: Inputs,
    n: int,
    *,
    segments: int = 64,
    tolerance: float = 1e-4,
    check: int | None = None,
    out: Tensor | None = None,
    between: Callable[[int], None] | None = None,
) -> FixedContexts:
    """Return the context after each of n tokens, to a tolerance.

    Args:
        size: the sizes.
        parameters: of the ContextBlock.
        inputs: what is read.
        n: number of tokens.
        segments: the most that run side by side.
        tolerance: largest difference to the plain pass, of any number of any context.
        check: how many of the first tokens are compared with the plain pass; ``None`` for one in 500, 32 at least,
            and twice the warm-up behind the first seam.
        out: (n, c), to write to.
        between: called now and then with the number of tokens that are done; it begins again with the plain pass.
    """
    began, least = time.perf_counter(), tolerance * MARGIN
    steps = _Steps(size, parameters, inputs, n, between)
    contexts = steps.room() if out is None else out
    checked = min(n, max(32, n // 500) if check is None else check)
    if seams := cut(n, min(segments, n // SHORTEST), checked):
        with torch.no_grad():
            steps.run(seams, contexts)
            warm_up, seam_error = steps.stitch(seams, contexts, least)
            if check is None:
                checked = min(n, max(checked, seams.start + 2 * warm_up))
            max_error = math.inf
            if seam_error <= least:
                expected = sequential(size, parameters, inputs, checked)
                max_error = float((contexts[:checked] - expected).abs().max()) if checked else 0.0
        if max_error <= tolerance:
            seconds = time.perf_counter() - began
            return FixedContexts(contexts, warm_up, seam_error, max_error, checked, len(seams) + 1, False, seconds)
    sequential(size, parameters, inputs, n, out=contexts, between=between)
    return FixedContexts(contexts, 0, 0.0, 0.0, n, 1, True, time.perf_counter() - began)


def sequential(
    size: BlockSize,
    parameters: dict[str, Tensor],
    inputs: Inputs,
    n: int,
    *,
    out: Tensor | None = None,
    between: Callable[[int], None] | None = None,
) -> Tensor:
    """Return the context after each of n tokens, (n, c), by the plain pass; see ``fixed_contexts``."""
    steps = _Steps(size, parameters, inputs, n, between)
    contexts = steps.room() if out is None else out
    with torch.no_grad():
        steps.advance(steps.places(range(1)), range(n), contexts.new_zeros(1, size.context), contexts)
    return contexts


def cut(n: int, segments: int, checked: int) -> range:
    """Return where each segment of n tokens but the first starts: that one is short, all others are of one length.

    The first seam lies in the middle of the tokens that will be checked.  Fewer than two segments have no seam.
    """
    if segments < 2:
        return range(0)
    first = min(max(1, checked // 2), n // segments)
    return range(first, n, -(-(n - first) // (segments - 1)))


class _Steps:
    """A ContextBlock that reads one token of every segment at each step.

    Each matrix is in two parts: what it makes of the contexts, step by step, and of the tokens, for many positions at
    once.
    """

    def __init__(
        self,
        size: BlockSize,
        parameters: dict[str, Tensor],
        inputs: Inputs,
        n: int,
        between: Callable[[int], None] | None,
    ) -> None:
        self.inputs, self.n, self.between = inputs, n, between
        self.device, self.width = next(iter(parameters.values())).device, size.context
        self.of_tokens: list[tuple[Tensor | None, Tensor]] = []  # of each layer matrix, none if it reads none, and bias
        self.of_contexts = []  # matrix, projection if there is one, and LayerNorm
        for k, width in enumerate([size.context, *size.context_widths()[:-1]]):
            of = {name.removeprefix(f"context{k}."): each for name, each in parameters.items()}
            weight = of["weight"].T
            projection = (of["projection.weight"], of["projection.bias"]) if "projection.weight" in of else None
            self.of_tokens.append((weight[width:] if size.reads_tokens(k) else None, of["bias"]))
            self.of_contexts.append((weight[:width].contiguous(), projection, (of["norm.gain"], of["norm.bias"])))

    def room(self) -> Tensor:
        """Return room for a context after each token, (n, c)."""
        return torch.empty(self.n, self.width, device=self.device)

    def places(self, positions: range) -> Tensor:
        """Return positions as a tensor."""
        return torch.arange(positions.start, positions.stop, positions.step, device=self.device)

    def run(self, seams: range, contexts: Tensor) -> None:
        """Run every segment and write all contexts; the first one is shorter, and ends with the others."""
        starts, idle, empty = self.places(seams), seams.step - seams.start, contexts.new_zeros(1, self.width)
        context = self.advance(starts, range(idle), empty.repeat(len(starts), 1), contexts)
        starts = torch.cat([starts[:1] - seams.step, starts])
        self.advance(starts, range(idle, seams.step), torch.cat([empty, context]), contexts)

    def stitch(self, seams: range, contexts: Tensor, least: float) -> tuple[int, float]:
        """Run each segment again from where its predecessor ended, until that changes next to nothing.

        Where that takes more than the segment, its successor is written over too.  Return the number of tokens that it
        took the slowest, and the largest change of any at its end.
        """
        starts, step, left = self.places(seams), 0, 0.0
        context, last_change = contexts[starts - 1], torch.zeros_like(starts)  # when each last changed anything
        while len(starts) and step < LONGEST * self.n:
            steps = range(step, step + max(STITCHED_AT_ONCE, step // 8))
            positions = (starts[:, None] + self.places(steps)).clamp(max=self.n - 1)
            before = contexts[positions]
            context = self.advance(starts, steps, context, contexts)
            change, step = (contexts[positions] - before).abs().amax((1, 2)), steps.stop
            last_change = last_change.where(change <= least, step)
            agreed = step - last_change >= QUIET * step
            left = max(left, float(change.where(agreed, 0.0).max()))
            on = ~agreed & (starts + step < self.n)
            starts, context, last_change = starts[on], context[on], last_change[on]
        return step, math.inf if len(starts) else left

    def advance(self, starts: Tensor, steps: range, context: Tensor, contexts: Tensor) -> Tensor:
        """Read the tokens at some steps from each start, write the contexts after them, and return the last, (rows, c).

        Nothing is written beyond the text.
        """
        at_once = max(1, ROWS_AT_ONCE // len(starts))
        for first in range(steps.start, steps.stop, at_once):
            some = self.places(range(first, min(first + at_once, steps.stop)))
            positions = starts + some[:, None]  # (steps, rows)
            x, found = self.inputs(positions.flatten().clamp(max=self.n - 1)), []
            made = [
                [bias] * len(some)
                if weight is None
                else torch.addmm(bias, x, weight).view(*positions.shape, len(bias)).unbind()
                for weight, bias in self.of_tokens
            ]
            for own in zip(*made, strict=True):
                for of_tokens, (weight, projection, norm) in zip(own, self.of_contexts, strict=True):
                    change = torch.addmm(of_tokens, context, weight).relu_()
                    kept = context if projection is None else F.linear(context, *projection)
                    context = F.layer_norm(change.add_(kept), kept.shape[1:], *norm, EPS)
                found.append(context)
            inside = positions < self.n
            contexts[positions[inside]] = torch.stack(found)[inside]
            if self.between:
                self.between(min(self.n, len(starts) * (first + len(some))))
        return context
