"""One training step of New-LLM: the sweep against the plain loop, and against its own products alone.

A step is the loss of 32 windows of 63 targets and its gradient for all 2,739,432 parameters of the original notes,
with dropout 0.1, under torch's own number of threads.  Two questions:

- How much faster is ``Sweep`` than autograd through ``ContextVectorLM.logits``?
- What share of the step is spent in matrix products?  The very products of one step are timed with nothing between
  them, in the same order and dtype; no rearrangement of the rest could make the step faster than that.

All ways are timed in turns within this process.  Run it alone on the machine: ``python benchmarks/sweep.py``, or
with a number of turns behind it.  It exits with 1 if a bar is missed.  Products in bf16 are timed on processors that
multiply it (AVX-512 BF16, AMX, ARM from v8.6).
"""

import math
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own customary name

from llmlab.baseline import ContextVectorLM
from llmlab.fast.sweep import Sweep
from llmlab.lab.device import fast_bf16
from llmlab.lab.rng import kept, scale
from llmlab.lab.sizes import Size

ROUNDS = 15
SIZE, BATCH, TIME, DROPOUT = Size(), 32, 63, 0.1
FASTER = {torch.float32: 1.3, torch.bfloat16: 2.3}
"""The plain loop takes at least so many times as long as the sweep."""

SHARE = {torch.float32: 0.65, torch.bfloat16: 0.45}
"""At least this share of the sweep's time is its products'."""

MODEL = ContextVectorLM.initial(SIZE, 0, dropout=DROPOUT, init="scaled")
NAMES = {torch.float32: "fp32"} | ({torch.bfloat16: "bf16"} if fast_bf16() else {})
"""What is timed: a processor that does not multiply bf16 takes twenty times as long for it."""


def batch() -> tuple[Tensor, Tensor]:
    """Return inputs and targets, (B, T): random words, and a fifth of the windows half full, as in WikiText-2."""
    chance = torch.Generator().manual_seed(0)
    windows = torch.randint(1, SIZE.vocabulary, (BATCH, TIME + 1), generator=chance)
    windows[::5, TIME // 2 :] = 0
    return windows[:, :-1], windows[:, 1:]


INPUTS, TARGETS = batch()
COUNT = int((TARGETS != 0).sum())


def keep(dtype: torch.dtype) -> Tensor:
    """Draw what dropout leaves, 0 or 1 in (L, T, B, H)."""
    drawn = kept(DROPOUT, (SIZE.layers, TIME, SIZE.hidden), range(BATCH), seed=0, update=0, dtype=dtype)
    assert drawn is not None
    return drawn


def plain_loop(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the gradients by autograd through the plain loop."""
    leaves = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in MODEL.parameters.items()}
    logits = ContextVectorLM(SIZE, leaves, DROPOUT).logits(INPUTS, keep(dtype) * scale(DROPOUT))
    loss = F.cross_entropy(logits.flatten(0, 1), TARGETS.flatten(), ignore_index=0)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def swept(dtype: torch.dtype) -> Callable[[], dict[str, Tensor]]:
    """Return the step by a sweep whose rooms are kept."""
    sweep, wide = Sweep(SIZE, BATCH, TIME, dtype), dtype == torch.float64
    parameters = {name: tensor.double() if wide else tensor for name, tensor in MODEL.parameters.items()}

    def step() -> dict[str, Tensor]:
        _, gradients = sweep.gradients(parameters, INPUTS, TARGETS, count=COUNT, keep=keep(dtype), scale=scale(DROPOUT))
        return gradients

    return step


def products(dtype: torch.dtype) -> Callable[[], None]:
    """Return every matrix product of one step of the sweep, with nothing between them; rooms as in the sweep."""
    embedding, hidden, context, positions = SIZE.embedding, SIZE.hidden, SIZE.context, TIME * BATCH

    def full(*shape: int) -> Tensor:
        return torch.randn(*shape).mul_(0.04).to(dtype)  # small: no layer here keeps numbers from growing

    first_own, first_context = full(hidden, embedding), full(hidden, context)
    layers = [full(hidden, hidden) for _ in range(1, SIZE.layers)]
    gates, output = full(3 * context, hidden), full(SIZE.vocabulary, hidden)
    tokens, contexts, both = (
        full(positions, embedding),
        full(TIME, BATCH, context),
        full(positions, embedding + context),
    )
    over_gates, error = full(TIME, BATCH, 3 * context), full(COUNT, SIZE.vocabulary)
    outs, gradients = ([full(TIME, BATCH, hidden) for _ in range(SIZE.layers)] for _ in range(2))
    tops = outs[-1].flatten(0, 1)

    def over_time() -> None:
        for t in range(TIME):
            torch.mm(contexts[t], first_context.T, out=outs[0][t])
            for layer, matrix in enumerate(layers, 1):
                torch.mm(outs[layer - 1][t], matrix.T, out=outs[layer][t])
            torch.mm(outs[-1][t], gates.T)
        for t in reversed(range(TIME)):
            torch.mm(over_gates[t], gates, out=gradients[-1][t])
            for layer, matrix in reversed(list(enumerate(layers, 1))):
                torch.mm(gradients[layer][t], matrix, out=gradients[layer - 1][t])
            torch.mm(gradients[0][t], first_context)

    def over_positions() -> None:
        flat = [gradient.flatten(0, 1) for gradient in gradients]
        tokens @ first_own.T
        tops[:COUNT] @ output.T
        error @ output
        error.T @ tops[:COUNT]
        over_gates.flatten(0, 1).T @ tops
        for layer in range(1, SIZE.layers):
            flat[layer].T @ outs[layer - 1].flatten(0, 1)
        flat[0].T @ both
        flat[0] @ first_own

    def step() -> None:
        with torch.no_grad():
            over_time()
            over_positions()

    return step


def times(rounds: int) -> dict[str, float]:
    """Return the median seconds of each way, all timed in turns."""
    ways: dict[str, Callable[[], object]] = {"plain loop": plain_loop}
    for dtype, name in NAMES.items():
        ways |= {f"sweep {name}": swept(dtype), f"products {name}": products(dtype)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first turn makes the rooms and chooses the kernels
                taken[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in taken.items()}


def off() -> dict[str, float]:
    """Return how far gradients are from the plain loop's in float64, as a share of their length.

    In fp32 rounding can carry a number across a ReLU's kink, in the sweep as in the loop, and then they are a
    thousandth apart.  So the sweep is judged with products in float64; what is left are its sums in fp32.
    """
    exact = plain_loop(torch.float64)
    length = math.hypot(*(float(tensor.norm()) for tensor in exact.values()))
    ways = {
        "plain loop fp32": plain_loop(),
        "sweep fp32": swept(torch.float32)(),
        "sweep, products in float64": swept(torch.float64)(),
    }
    return {
        way: math.hypot(*(float((found[name] - exact[name]).norm()) for name in exact)) / length
        for way, found in ways.items()
    }


def main(rounds: int) -> int:
    """Print medians, ratios and bars; return 1 if a bar is missed."""
    found, far = times(rounds), off()
    rows = [("plain loop, autograd", f"{found['plain loop'] * 1e3:.1f} ms", "", True)]
    for dtype, short in NAMES.items():
        sweep, alone = found[f"sweep {short}"], found[f"products {short}"]
        ratio, share = found["plain loop"] / sweep, alone / sweep
        rows += [
            (f"sweep {short}", f"{sweep * 1e3:.1f} ms", "", True),
            (f"  its products alone {short}", f"{alone * 1e3:.1f} ms", "", True),
            (f"  plain loop / sweep {short}", f"{ratio:.2f}", f">= {FASTER[dtype]}", ratio >= FASTER[dtype]),
            (f"  products / sweep {short}", f"{share:.0%}", f">= {SHARE[dtype]:.0%}", share >= SHARE[dtype]),
        ]
    bar, judged = far["plain loop fp32"], "sweep, products in float64"
    for way, distance in far.items():
        held = way == judged
        rows.append(
            (f"from float64, {way}", f"{distance:.1e}", f"<= {bar:.1e}" if held else "", not held or distance <= bar)
        )
    print(f"{BATCH} x {TIME}, {SIZE.parameters():,} parameters, {torch.get_num_threads()} threads, {rounds} turns")
    for what, value, bar, met in rows:
        print(f"{what:<44} {value:>10} {bar:>9} {'' if not bar else 'ok' if met else 'MISSED'}".rstrip())
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
