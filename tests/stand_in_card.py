"""A CUDA card's graphs on the CPU: what torch is told to do is recorded, and done again with the same tensors.

A replay runs no Python of the work, and reads and writes where the recording did; so a copy that is missing, a number
that was looked at, and a tensor that moved show as they would on a card.  Not everything does: what is recorded is also
done, copies between devices are not refused, memory is not taken back, and streams are only there to be named.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]


class Graph(TorchDispatchMode):
    """A recording of calls; ``torch.cuda.CUDAGraph`` where there is no card."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what torch is told, and keep it."""
        if func is torch.ops.aten._local_scalar_dense.default or torch.Tag.dynamic_output_shape in func.tags:
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Do every call again, its results where they were."""
        self.replays += 1
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Stream:
    """A stream that nothing runs on."""

    def wait_stream(self, other: "Stream") -> None:
        """Wait for nothing."""


@contextlib.contextmanager
def graph(recording: Graph, stream: Stream) -> Iterator[None]:
    """Record what is done inside."""
    with recording:
        yield


def put_in(patch: pytest.MonkeyPatch) -> None:
    """Let torch record and replay on the CPU."""
    for name, thing in {"CUDAGraph": Graph, "graph": graph, "Stream": Stream, "current_stream": Stream}.items():
        patch.setattr(torch.cuda, name, thing)
    patch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
