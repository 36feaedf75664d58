"""What a run computes on: the processor or a CUDA card, fp32 or bf16, one thread or several.

Small products are not worth sharing among threads: threads that wait for each other keep every core busy and gain
nothing, and beside other work they lose.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from llmlab.environment import rank_and_size
from llmlab.errors import SettingError, UnreachableError
from llmlab.settings import BaselineSettings

WIDE = 256
"""From this width on, bf16 is enough faster than fp32 to be worth its rounding error."""


def device_of(wanted: str) -> str:
    """Return ``cpu`` or ``cuda``; of several processes that torchrun started here each has a card of its own.

    Fewer cards than processes are refused: two on one card would wait for each other forever.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UnreachableError("--device cuda: this torch sees no CUDA card; leave it at auto, or see llmlab doctor")
    if not there or wanted == "cpu":
        return "cpu"
    if rank_and_size()[1] > 1:
        own, cards = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if own >= cards:
            raise SettingError(
                f"process {own + 1} of this machine has no card of its own: PyTorch sees {cards}; "
                f"start {cards} with --nproc-per-node {cards}, or add --device cpu"
            )
        torch.cuda.set_device(own)
    return "cuda"


def chosen_precision(wanted: str, device: str, width: int) -> str:
    """Return ``bf16`` where it was asked for, or where it is faster: a wide model on a machine made for it.

    A small model is fp32 everywhere, so that it ends in the same numbers on every machine, up to rounding.
    """
    if wanted != "auto":
        return wanted
    return "bf16" if width >= WIDE and fast_bf16(device) else "fp32"


def precision_of(settings: BaselineSettings, device: str) -> str:
    """Return the precision of the products of a model on windows; a GRU's are fp32 on a card.

    There cuDNN computes its recurrence, and autocast would run that in fp16.
    """
    if settings.model == "gru" and device == "cuda":
        return "fp32"
    return chosen_precision(settings.precision, device, settings.hidden)


def fast_bf16(device: str = "cpu") -> bool:
    """Return whether a device has instructions for products of bf16.

    Processors: AVX-512 BF16, AMX; ARM from v8.6.  Cards: from Ampere on; older ones work it out in fp32.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return False
    flags = {word for line in told.splitlines() if line.startswith(("flags", "Features")) for word in line.split()}
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def products_in(dtype: torch.dtype, device: torch.device | str) -> torch.autocast:
    """Return a context in which products are made in bf16, if that is the dtype; sums and LayerNorms are not."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


LARGE, MOST = 2**28, 2**32
"""Multiply-adds of one update or reading from which on a trial is made, some milliseconds on one thread; and in it."""

FASTER = 0.9
"""All threads must do with this share of one thread's time."""


_most = 1
"""How many threads there may be, until that is settled: then 1."""


def begin(asked: int) -> None:
    """Take as many threads as were asked for; with 0 one, until ``measure`` finds that all are faster."""
    global _most
    _most = 1 if asked else torch.get_num_threads()
    torch.set_num_threads(asked or 1)


def measure(parameters: Mapping[str, Tensor], rows: Tensor, trial: Callable[[Tensor], object]) -> None:
    """Settle the number of threads once, by a trial of real work, each number in turn and the better of two times.

    Of the ``rows`` that are read at once, (B, T), every token meets every parameter about once; ``trial`` does with
    some of them what is going to be done all the time.  A model on a card needs no threads.
    """
    size = sum(tensor.numel() for tensor in parameters.values())
    on_card = any(tensor.device.type != "cpu" for tensor in parameters.values())
    if _most == 1 or on_card or size * rows.numel() < LARGE:
        return
    some = rows[: max(1, MOST // (size * rows.shape[1]))]
    times: dict[int, list[float]] = {1: [], _most: []}
    for _ in range(3):
        for number, taken in times.items():
            torch.set_num_threads(number)
            start = time.perf_counter()
            trial(some)
            taken.append(time.perf_counter() - start)
    one, several = (min(taken[1:]) for taken in times.values())  # the first one warms up
    take(_most if several < FASTER * one else 1)


def take(number: int) -> None:
    """Settle for a number of threads where none was asked for: a run goes on to the bit with as many as it had."""
    global _most
    if _most > 1:
        torch.set_num_threads(min(number, _most))
        _most = 1
