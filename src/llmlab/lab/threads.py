"""How many threads torch takes: one, unless products are large and a trial shows that all of them are faster.

Small products are not worth sharing: threads that wait for each other keep every core busy and gain nothing, and
beside other work they lose.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

LARGE, MOST = 2**28, 2**32
"""Multiply-adds of one update or reading from which on a trial is made, some milliseconds on one thread; and in it."""

FASTER = 0.9
"""All threads must do with this share of one thread's time."""


@dataclass
class _Spare:
    most: int = 1  # how many threads there may be, until that is settled


_spare = _Spare()


def begin(asked: int) -> None:
    """Take as many threads as were asked for; with 0 one, until ``measure`` finds that all are faster."""
    _spare.most = 1 if asked else torch.get_num_threads()
    torch.set_num_threads(asked or 1)


def measure(parameters: Mapping[str, Tensor], rows: Tensor, trial: Callable[[Tensor], object]) -> None:
    """Settle the number of threads once, by a trial of real work, each number in turn and the better of two times.

    Args:
        parameters: of the model; one on a card needs no threads.
        rows: what is read at once, (B, T): every token of it meets every parameter about once.
        trial: does with some of the rows what is going to be done all the time.
    """
    size = sum(tensor.numel() for tensor in parameters.values())
    on_card = any(tensor.device.type != "cpu" for tensor in parameters.values())
    if _spare.most == 1 or on_card or size * rows.numel() < LARGE:
        return
    some = rows[: max(1, MOST // (size * rows.shape[1]))]
    numbers = 1, _spare.most
    times: dict[int, list[float]] = {number: [] for number in numbers}
    for turn in range(3):
        for number in numbers:
            torch.set_num_threads(number)
            start = time.perf_counter()
            trial(some)
            if turn:  # the first one warms up
                times[number].append(time.perf_counter() - start)
    one, several = (min(times[number]) for number in numbers)
    take(_spare.most if several < FASTER * one else 1)


def take(number: int) -> None:
    """Settle for a number of threads where none was asked for: a run goes on to the bit with as many as it had."""
    if _spare.most > 1:
        torch.set_num_threads(min(number, _spare.most))
        _spare.most = 1
