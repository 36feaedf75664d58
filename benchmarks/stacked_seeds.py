"""A thousand seeds in one stack against one seed, and against the obvious ways; and their quantiles.

Times training alone, in this process, in turns.  Then compares the distribution of the final loss with one
measured beforehand by another program, within sampling error.  Run: ``python benchmarks/stacked_seeds.py``.
"""

import math
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from llmlab.lab.optimizer import Adam
from llmlab.measure.ranks import quantiles
from llmlab.phase1 import TRAINED_WITH_FROZEN, TinyModel, train
from llmlab.text.pairs import Pairs

ROUNDS, SEEDS, UPDATES = 9, 1_000, 200
BAR = 8.0
PAIRS = Pairs.of("hello")
MEASURED_BEFORE = {
    (8, "embedding"): (0.3555, 0.3633, 0.3840),
    (8, "none"): (0.3487, 0.3497, 0.3509),
    (8, "linear"): (0.4962, 0.6103, 0.7992),
    (2, "embedding"): (0.4163, 0.5448, 0.8267),
    (2, "none"): (0.3576, 0.3646, 0.4046),
    (2, "linear"): (0.6721, 0.9918, 1.3348),
}
"""Loss at the 5th, 50th and 95th per cent of 1,000 seeds, by dimension and by what is frozen."""


def stacked(count: int) -> Callable[[], object]:
    """Return the training of ``count`` seeds in one stack."""
    start = TinyModel.initial(4, 2, range(count))
    return lambda: train(start, PAIRS, lambda: Adam(0.01), trained=TRAINED_WITH_FROZEN["none"], updates=UPDATES)


def torch_modules() -> None:
    """Train one seed the usual way: modules, autograd, ``torch.optim``."""
    embedding, linear = torch.nn.Embedding(4, 2), torch.nn.Linear(2, 4)
    optimizer = torch.optim.Adam([*embedding.parameters(), *linear.parameters()], lr=0.01)
    inputs, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 2, 2, 3])
    for _ in range(UPDATES):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(linear(embedding(inputs)), targets).backward()
        optimizer.step()


def times() -> bool:
    """Print the training times and their ratios to one stacked seed; return whether the bar is met."""
    ways = {
        "1 seed, stacked code": stacked(1),
        f"{SEEDS:,} seeds, one stack": stacked(SEEDS),
        "1 seed, torch modules and torch.optim": torch_modules,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                taken[name].append(time.perf_counter() - start)
    floor = median(taken["1 seed, stacked code"])
    print(f"{'training':<40} {'median ms':>10} {'ratio':>7}")
    for name, values in taken.items():
        print(f"{name:<40} {median(values) * 1e3:>10.1f} {median(values) / floor:>7.2f}")
    ratio = median(taken[f"{SEEDS:,} seeds, one stack"]) / floor
    print(f"{SEEDS:,} seeds cost {ratio:.1f} times one seed (bar {BAR:.0f}): {'ok' if ratio <= BAR else 'MISSED'}")
    return ratio <= BAR


def distributions() -> None:
    """Print our quantiles beside those measured before, and how many of our seeds lie below theirs.

    If both programs draw from one distribution, the share below a quantile measured from as many seeds is
    that quantile's level, give or take sqrt(2 p (1 - p) / n).
    """
    print(f"\n{'dim, frozen':<16} {'ours p05 / p50 / p95':<28} {'before':<28} share below, in standard errors")
    for (dim, frozen), before in MEASURED_BEFORE.items():
        start = TinyModel.initial(4, dim, range(SEEDS))
        run = train(start, PAIRS, lambda: Adam(0.01), trained=TRAINED_WITH_FROZEN[frozen], updates=UPDATES)
        loss = run.losses[-1]
        ours = quantiles(loss, 0.05, 0.5, 0.95)
        off = [
            (float((loss < value).double().mean()) - level) / math.sqrt(2 * level * (1 - level) / SEEDS)
            for value, level in zip(before, (0.05, 0.5, 0.95), strict=True)
        ]
        shown = [" / ".join(f"{value:.4f}" for value in row) for row in (ours, before)]
        print(f"{dim}, {frozen:<13} {shown[0]:<28} {shown[1]:<28} {' / '.join(f'{value:+.1f}' for value in off)}")


if __name__ == "__main__":
    met = times()
    distributions()
    sys.exit(0 if met else 1)
