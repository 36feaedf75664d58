"""Several processes that train one model, started by torchrun: each reads some rows of every batch, all update alike.

What travels is one sum an update: gradients, loss, and the signal of whoever was asked to stop.  A sum is the same bits
everywhere, so parameters are never sent; the batch stays as it was, so a run may go on with more or fewer processes.
"""

import atexit
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from llmlab.environment import rank_and_size
from llmlab.errors import Stopped, UnreachableError
from llmlab.lab.checkpoint import RUN, TENSORS, State, packed, unpacked


@dataclass
class Team:
    """The processes of one run, seen from one of them."""

    rank: int = 0
    size: int = 1
    asked: Stopped | None = None  # this process should stop; the next sum tells the others
    agreed: bool = False  # all of them have heard, and stop

    @classmethod
    def join(cls, device: str) -> "Team":
        """Return the team once all of it is there, to add what is on a device."""
        team = cls(*rank_and_size())
        if team.size > 1 and not distributed.is_initialized():
            reach(distributed.init_process_group, "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
            atexit.register(distributed.destroy_process_group)  # its threads abort an interpreter that ends before them
        return team

    def rows(self, count: int) -> range:
        """Return which of ``count`` rows are this process's: a contiguous part, empty if there are too few."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the team; if one was asked to stop, all raise ``Stopped`` instead."""
        asked = torch.zeros(self.size, device=tensors[0].device)
        asked[self.rank] = self.asked.signal_number if self.asked else 0
        flat = torch.cat([asked, *(tensor.flatten().float() for tensor in tensors)])
        reach(distributed.all_reduce, flat)
        asked, *sums = torch.split(flat, [self.size, *(tensor.numel() for tensor in tensors)])
        if number := int(asked.max()):
            self.agreed = True
            if not self.asked:
                signal.raise_signal(number)  # handled here as it was there, so that all end alike
            raise self.asked or Stopped(f"stopped by {signal.Signals(number).name} in another process", number)
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view_as(tensor))

    def share(self, states: Sequence[State] = ()) -> list[State]:
        """Return the first process's states, as checkpoints would hold them, in all of them, once all are here."""
        if self.size == 1 or not distributed.is_initialized():
            return list(states)
        held = [packed(state) for state in states]
        shared = [
            {name: self._sent(held[at].get(name, b"") if held else b"") for name in (RUN, *TENSORS)}
            for at in range(self._sent(bytes([len(held)]))[0])
        ]
        return [unpacked(files.__getitem__) for files in shared]

    def _sent(self, data: bytes) -> bytes:
        """Return the first process's bytes in all of them."""
        whole = bytearray(data if self.rank == 0 else b"")
        reach(distributed.all_reduce, length := torch.tensor(len(whole)))
        whole = whole or bytearray(int(length))  # zeros, to which the first one's bytes are added
        if whole:
            reach(distributed.all_reduce, torch.frombuffer(whole, dtype=torch.uint8))
        return bytes(whole)


def reach(act: Callable[[Any], object], what: Any) -> None:
    """Do what takes all processes, or say in one line that they are not there."""
    try:
        act(what)
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:100]
        raise UnreachableError(f"cannot reach the others ({why}); start all again, with --resume auto") from error


ALONE = Team()
