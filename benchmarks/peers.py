"""One training step of New-LLM beside tiny GPT-2 and a GRU of its size, at the original sizes: targets per second.

A step is loss, gradients and Adam for 32 windows of 63 targets, dropout 0.1.  All take turns in this process, so that
a busy machine is busy for each of them; only the ratios of the medians mean something.  The plain loop is New-LLM by
autograd through the equations; the sweep is what trains it.  Run: ``python benchmarks/peers.py``.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn import functional as F  # noqa: N812

from llmlab.baseline import ContextVectorLM
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.language import LanguageModel, Place
from llmlab.lab.optimizer import Adam
from llmlab.lab.rng import kept, scale
from llmlab.lab.sizes import GPT2Size, GRUSize, Size
from llmlab.peers import peer

ROUNDS, BATCH, TIME, DROPOUT, RATE = 7, 32, 63, 0.1, 1e-4
SIZE = Size()
BAR = 1.0
"""New-LLM trains at least this many times as fast as tiny GPT-2, in the same precision."""


def step_of(model: LanguageModel) -> Callable[[int], None]:
    """Return one training step of a model, as the loop over epochs makes it."""
    optimizer, windows = Adam(RATE), torch.randint(4, SIZE.vocabulary, (BATCH, TIME + 1))

    def step(update: int) -> None:
        place = Place(seed=0, update=update)
        _, gradients = model.gradients(windows[:, :-1], windows[:, 1:], count=BATCH * TIME, place=place)
        optimizer.update(model.parameters, gradients)

    return step


def plain_loop() -> Callable[[int], None]:
    """Return one training step of New-LLM by autograd, position after position."""
    model = ContextVectorLM.initial(SIZE, seed=0, dropout=DROPOUT)
    optimizer, windows = Adam(RATE), torch.randint(4, SIZE.vocabulary, (BATCH, TIME + 1))

    def step(update: int) -> None:
        shape = (SIZE.layers, TIME, SIZE.hidden)
        keep = kept(DROPOUT, shape, range(BATCH), seed=0, update=update, dtype=torch.float32)
        learned = list(model.parameters.values())
        for tensor in learned:
            tensor.requires_grad_(True)
        logits = model.logits(windows[:, :-1], None if keep is None else keep * scale(DROPOUT))
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        gradients = dict(zip(model.parameters, torch.autograd.grad(loss, learned), strict=True))
        for tensor in learned:
            tensor.requires_grad_(False)
        optimizer.update(model.parameters, gradients)

    return step


def swept(precision: str) -> Callable[[int], None]:
    """Return one training step of New-LLM by the sweep."""
    return step_of(SweptNewLLM(ContextVectorLM.initial(SIZE, seed=0, dropout=DROPOUT), precision))


def compared(size: GPT2Size | GRUSize, precision: str) -> Callable[[int], None]:
    """Return one training step of a peer."""
    return step_of(peer(size, 0, dropout=DROPOUT, precision=precision))


def main() -> int:
    """Print targets per second of every way to train, and the bar; return 1 if it is missed."""
    wanted = SIZE.parameters()
    gpt2 = GPT2Size.matched(wanted, SIZE.vocabulary, TIME + 1, SIZE.embedding)
    gru = GRUSize.matched(wanted, SIZE.vocabulary, SIZE.embedding)
    ways = {
        "New-LLM, plain loop, fp32": plain_loop(),
        "New-LLM, sweep, fp32": swept("fp32"),
        "New-LLM, sweep, bf16": swept("bf16"),
        "tiny GPT-2, fp32": compared(gpt2, "fp32"),
        "tiny GPT-2, bf16": compared(gpt2, "bf16"),
        "GRU, fp32": compared(gru, "fp32"),
        "GRU, bf16": compared(gru, "bf16"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for update in range(ROUNDS + 1):
        for name, step in ways.items():
            start = time.perf_counter()
            step(update)
            if update:  # the first is for warming up
                taken[name].append(time.perf_counter() - start)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {ROUNDS} turns")
    print(f"parameters: New-LLM {wanted:,}, tiny GPT-2 {gpt2.parameters():,}, GRU {gru.parameters():,}")
    rates = {name: BATCH * TIME / median(values) for name, values in taken.items()}
    print(f"\n{'way':<28} {'targets/s':>10} {'tiny GPT-2 fp32 = 1':>20}")
    for name, rate in rates.items():
        print(f"{name:<28} {rate:>10,.0f} {rate / rates['tiny GPT-2, fp32']:>20.2f}")
    print()
    ratios = {
        precision: rates[f"New-LLM, sweep, {precision}"] / rates[f"tiny GPT-2, {precision}"]
        for precision in ("fp32", "bf16")
    }
    for precision, ratio in ratios.items():
        print(f"{precision}: New-LLM / tiny GPT-2 = {ratio:.2f}; bar {BAR:.1f}: {'ok' if ratio >= BAR else 'MISSED'}")
    return 0 if min(ratios.values()) >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
