"""Several processes that train one model: each takes some rows of every batch, and all make the same update.

Started by torchrun, which tells every process its rank, how many there are, and where the first one listens::

    torchrun --nproc-per-node 2 -m llmlab baseline --preset seed --threads 1

That is two processes on one machine; on two machines, with the address of the first one, the same line on both::

    torchrun --nnodes 2 --nproc-per-node 1 --node-rank 0 --master-addr 10.0.0.1 --master-port 29500 -m llmlab baseline
    torchrun --nnodes 2 --nproc-per-node 1 --node-rank 1 --master-addr 10.0.0.1 --master-port 29500 -m llmlab baseline

Every machine needs the same llmlab, the same text and the same options; folders need not be shared: checkpoints, log
and words to people are the first process's, who also sends the others the checkpoint that a run goes on from.  If a
machine has several networks, ``GLOO_SOCKET_IFNAME=eth0`` (``NCCL_SOCKET_IFNAME`` with cards) names the one to use.
torchrun gives each process one thread; ``--threads`` gives it more.  With cards, start one process for each.

What travels is one sum per update: gradients, loss, and whether somebody was asked to stop.  Sums are the same bits in
every process, so parameters never have to be sent.  The batch stays the recipe's, so the number of processes may
change from one checkpoint to the next.  Only the last bits of a sum depend on it; but training is a long calculation,
and like one process that adds up a batch in other parts, a team is some 1e-4 of the loss elsewhere after 40 updates
at the pocket preset's rate (fp32, below 1e-5 at the seed's).

Covers the sum, the split of rows, and how a team comes together.  Leaves out what is summed: ``epochs``.  A process
alone is ``ALONE`` and never asks torch for any of this; torch itself is imported only when there is something to add.
"""

import atexit
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlab.errors import SettingError, Stopped, UnreachableError

if TYPE_CHECKING:
    from torch import Tensor


TOLD_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Team:
    """The processes of one run, seen from one of them.

    Args:
        rank: of this process, from 0.
        size: how many there are.
        device: where sums are made, ``cpu`` or ``cuda``.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, device
        self.asked: Stopped | None = None  # this process should stop; the next sum tells the others
        self.agreed = False  # all of them have heard, and stop

    @classmethod
    def announced(cls) -> "Team":
        """Return the team that torchrun's environment variables describe, not yet connected; ``ALONE`` without them.

        Raises:
            SettingError: the environment makes no sense.
        """
        told = {name: os.environ.get(name, "") for name in TOLD_BY_TORCHRUN}
        if not all(told.values()) or told["WORLD_SIZE"] == "1":
            return ALONE
        try:
            rank, size = int(told["RANK"]), int(told["WORLD_SIZE"])
        except ValueError:
            rank, size = 0, -1
        if not 0 <= rank < size:
            raise SettingError(
                f"RANK {told['RANK']!r} of WORLD_SIZE {told['WORLD_SIZE']!r} in the environment is no process of a "
                "team; start with torchrun, or remove both"
            )
        return cls(rank, size)

    @classmethod
    def join(cls, device: str = "cpu") -> "Team":
        """Join the team of the environment, and return it once all of it is there; ``ALONE`` if there is none.

        Args:
            device: ``cpu`` (sums by Gloo) or ``cuda`` (by NCCL, on the card of the process's ``LOCAL_RANK``).

        Raises:
            SettingError: the environment makes no sense, or there are more processes than cards.
            UnreachableError: the others cannot be reached.
        """
        team = cls.announced()
        if team.size == 1:
            return team
        from torch import cuda, distributed

        team.device = device
        try:
            if not distributed.is_available():
                raise RuntimeError("this torch was built without torch.distributed")
            if device == "cuda":
                cuda.set_device(_card_of_its_own(cuda.device_count()))
            if not distributed.is_initialized():
                distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
                atexit.register(distributed.destroy_process_group)
        except (RuntimeError, ValueError) as error:
            raise _lost(team, error) from error
        return team

    @property
    def leads(self) -> bool:
        """Whether this process is the one that speaks and writes."""
        return self.rank == 0

    def rows(self, count: int) -> range:
        """Return which of ``count`` rows are this process's: a contiguous part, empty if there are too few."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def ask(self, whether_to_stop: Callable[[], None]) -> None:
        """Call what may raise ``Stopped`` or Ctrl-C: alone that stops at once, in a team at the next sum."""
        try:
            whether_to_stop()
        except (Stopped, KeyboardInterrupt) as asked:
            if self.size == 1:
                raise
            self.asked = asked if isinstance(asked, Stopped) else Stopped("stopped by Ctrl-C", signal.SIGINT)

    def add(self, tensors: "Sequence[Tensor]") -> None:
        """Replace tensors by their sums over the team, all in one exchange of fp32 numbers.

        Raises:
            Stopped: a process was asked to stop; raised in all of them alike, and the tensors are as they were.
            UnreachableError: a process has gone.
        """
        if self.size == 1:
            return
        import torch

        numbers = torch.zeros(self.size, device=self.device)  # of the signal that each process was asked to stop by
        if self.asked:
            numbers[self.rank] = self.asked.signal_number
        flat = torch.cat([numbers, *(tensor.detach().reshape(-1).float() for tensor in tensors)])
        self._sum(flat)
        numbers, *sums = torch.split(flat, [self.size, *(tensor.numel() for tensor in tensors)])
        self._stop_if_asked([int(number) for number in numbers.tolist()])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view_as(tensor))

    def summed(
        self, loss: float, gradients: "dict[str, Tensor]", parameters: "dict[str, Tensor]"
    ) -> "tuple[float, dict[str, Tensor]]":
        """Return a loss and gradients summed over the team; a process without rows has no gradients to add."""
        if self.size == 1:
            return loss, gradients
        import torch

        whole = {name: gradients[name] if gradients else torch.zeros_like(parameters[name]) for name in parameters}
        losses = torch.tensor([loss], device=self.device)
        self.add([losses, *whole.values()])
        return float(losses), whole

    def barrier(self) -> None:
        """Wait until every process is here; a team that never met does not wait.

        Raises:
            UnreachableError: a process has gone.
        """
        if self.size > 1 and self._met():
            import torch

            self._sum(torch.zeros(1, device=self.device))

    def share(self, state: Any) -> Any:
        """Return the first process's value in every process: plain values and tensors, as a checkpoint holds them.

        Raises:
            UnreachableError: a process has gone.
        """
        if self.size == 1:
            return state
        import torch

        from llmlab.lab.checkpoint import packed, read

        buffer = bytearray(packed({"shared": state})) if self.leads else bytearray()
        length = torch.tensor([len(buffer)], device=self.device)
        self._sum(length)
        buffer = buffer or bytearray(int(length))
        sent = torch.frombuffer(buffer, dtype=torch.uint8)  # the buffer's own memory
        moved = sent.to(self.device)
        self._sum(moved)
        if self.leads:
            return state
        sent.copy_(moved)
        with tempfile.TemporaryDirectory() as folder:  # a file, to be read with a checkpoint's care
            file = Path(folder) / "shared"
            file.write_bytes(buffer)
            return read(file)["shared"]

    def _met(self) -> bool:
        from torch import distributed

        return distributed.is_available() and distributed.is_initialized()

    def _sum(self, tensor: "Tensor") -> None:
        """Replace a tensor by its sum over the team: all that processes ever say to each other."""
        from torch import distributed

        try:
            distributed.all_reduce(tensor)
        except (RuntimeError, ValueError) as error:
            raise _lost(self, error) from error

    def _stop_if_asked(self, numbers: list[int]) -> None:
        """Stop together, for the process's own reason or for that of another."""
        number = max(numbers)
        self.agreed = number > 0
        if self.asked:
            raise self.asked
        if number:
            self._take_as_own(number)
            raise Stopped(f"stopped by {signal.Signals(number).name} in another process", number)

    def _take_as_own(self, number: int) -> None:
        """Handle a signal that another process got as this one would have, so that all end alike."""
        if callable(signal.getsignal(number)):  # otherwise it would end the process here and now
            signal.raise_signal(number)


ALONE = Team()


def _card_of_its_own(count: int) -> int:
    """Return which of a machine's cards is this process's; two on one card would wait for each other forever."""
    number = int(os.environ.get("LOCAL_RANK", "0"))
    if number >= count:
        raise SettingError(
            f"process {number + 1} of this machine has no card of its own: PyTorch sees {count}; "
            f"start {count} with --nproc-per-node {count}, or add --device cpu"
        )
    return number


def _lost(team: Team, error: Exception) -> UnreachableError:
    why = " ".join(str(error).split())[:100]
    return UnreachableError(
        f"process {team.rank} of {team.size} cannot reach the others ({why}); see what they say, then start all of "
        "them again, with --resume auto"
    )
