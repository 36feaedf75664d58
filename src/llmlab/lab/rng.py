"""Everything random in training, as a function of what it is for.

A number is drawn from (purpose, seed, update, …) and not from a stream that remembers, so there is no state of
chance to save: whoever resumes at update 1,000 draws what update 1,000 always drew.  For the same reason two
machines that share a batch agree on what dropout leaves of it without a word between them, if they draw on the same
kind of device: a card draws its own numbers, for it would wait for the processor's.
"""

import hashlib

import torch
from torch import Tensor

BLOCK = 32
"""Dropout is drawn for this many rows of a batch at once, so that a part of a batch can be drawn alone."""


def generator(purpose: str, *numbers: int, device: str = "cpu") -> torch.Generator:
    """Return a fresh generator that depends on its purpose, some numbers and its device, and on nothing else."""
    name = " ".join([purpose, *map(str, numbers)])
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "big") >> 1)


def shuffled(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order in which an epoch visits the windows: a permutation of ``count``."""
    return torch.randperm(count, generator=generator("order", seed, epoch))


def kept(
    probability: float,
    shape: tuple[int, int, int],
    rows: range,
    *,
    seed: int,
    update: int,
    dtype: torch.dtype,
    device: str = "cpu",
) -> Tensor | None:
    """Return what dropout leaves of some rows of a batch at one update of a run: 0 or 1; ``None`` if it drops nothing.

    The probability of a 0 is rounded to a multiple of 2^-16.  From the shape (L, T, H) come (L, T, rows, H).
    """
    threshold = _threshold(probability)
    if threshold == 0:
        return None
    layers, time, hidden = shape
    parts: list[Tensor] = []
    for block in range(rows.start // BLOCK, -(-rows.stop // BLOCK)):
        count = layers * time * BLOCK * hidden
        # sixteen random bits each, four from one draw: dropout would otherwise take a fifth of the time
        draws = torch.empty(-(-count // 4), dtype=torch.int64, device=device)
        draws.random_(-(2**63), None, generator=generator("dropout", seed, update, block, device=device))
        bits = draws.view(torch.int16)[:count].view(layers, time, BLOCK, hidden)
        first, last = max(rows.start - block * BLOCK, 0), min(rows.stop - block * BLOCK, BLOCK)
        parts.append((bits[:, :, first:last] >= threshold - 2**15).to(dtype))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def scale(probability: float) -> float:
    """Return the factor by which what dropout leaves must grow, for the probability that ``kept`` uses."""
    return 1 / (1 - _threshold(probability) / 2**16)


def _threshold(probability: float) -> int:
    """Return how many of 2^16 draws drop a number; at least one of them keeps it."""
    return min(round(probability * 2**16), 2**16 - 1)
