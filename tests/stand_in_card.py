"""A CUDA card on the CPU: tensors on it are marked, and its graphs are recordings of calls.

``Card`` refuses what a card refuses: an operation on tensors of both places, and numpy's view of a card's memory.
``Graph`` records what torch is told to do, and does it again with the same tensors: a replay runs no Python of the
work, and reads and writes where the recording did, so a copy that is missing, a number that was looked at, and a tensor
that moved show as they would on a card.

Not everything shows: what is recorded is also done, memory is not taken back, streams are only there to be named,
``autocast`` rounds nothing, a number without dimensions may come from the CPU even where it is an index, a module's C++
(cuDNN's GRU) is the CPU's, and so is every number, dropout's too, to the bit.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmlab.lab import rng as chance

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]

HERE, THERE = torch.device("cpu"), torch.device("cuda", 0)
MARKED: dict[int, weakref.ref[Tensor]] = {}  # by id; an attribute would be saved with the tensor


class Card(TorchFunctionMode):
    """While it is in, tensors may be on ``cuda``: they are the CPU's, marked.  ``done`` counts what it computed."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do what torch is told on the CPU, unless a card would refuse, and mark what would be the card's."""
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return THERE if on_card(args[0]) else HERE
        if func == Tensor.__iter__:
            return iter(args[0].unbind(0))
        if func in (Tensor.to, Tensor.cpu):
            return moved(*args, **kwargs) if func == Tensor.to else moved(args[0], HERE)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        refuse(func, args, tensors)
        there = on_card(args[0]) if func in KEEPS_ITS_PLACE else any(map(on_card, tensors))
        wanted = kwargs.get("device")
        if wanted is not None:
            there, kwargs = torch.device(wanted).type == "cuda", kwargs | {"device": HERE}
        refuse_generator(kwargs.get("generator"), there)
        result = func(*args, **kwargs)
        if func == Tensor.data.__set__:
            mark(args[0], on_card(args[1]))
        self.done += there
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                mark(leaf, there)
        return result


CROSSES = {Tensor.copy_, Tensor.__setitem__, Tensor.data.__set__, torch._has_compatible_shallow_copy_type}
"""What may be asked of tensors of both places."""

KEEPS_ITS_PLACE = {Tensor.copy_, Tensor.__getitem__, Tensor.__setitem__}
"""What may bring tensors of both places together: the first one's is the result's."""


def on_card(tensor: Tensor) -> bool:
    """Return whether a tensor is marked."""
    found = MARKED.get(id(tensor))
    return found is not None and found() is tensor


def mark(tensor: Tensor, there: bool) -> None:
    """Put a tensor on the card, or on the CPU."""
    MARKED.pop(id(tensor), None)
    if there:
        MARKED[id(tensor)] = weakref.ref(tensor)


def moved(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return ``tensor.to(...)``: a copy, if it changes its place."""
    place = kwargs.pop("device", None)
    rest = []
    for each in args:
        if isinstance(each, str | torch.device):
            place = each
        elif isinstance(each, Tensor):
            place, kwargs["dtype"] = (THERE if on_card(each) else HERE), each.dtype
        elif isinstance(each, torch.dtype):  # the others are about how it travels
            rest.append(each)
    there = on_card(tensor) if place is None else torch.device(place).type == "cuda"
    result = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
    if there != on_card(tensor) and result is tensor:
        result = tensor.clone()
    mark(result, there)
    return result


def refuse(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Raise what a card raises of operands that it cannot have."""
    if func in (Tensor.numpy, Tensor.__array__) and any(map(on_card, tensors)):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    if (func == Tensor.__getitem__ and on_card(args[0])) or func in CROSSES:
        return
    numbers_travel = func not in (torch.cat, torch.stack)  # those without dimensions, and only towards a card
    here = [each for each in tensors if not on_card(each) and (each.dim() or not numbers_travel)]
    if here and any(map(on_card, tensors)):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found cpu and cuda:0")


class Generator(torch.Generator):
    """The CPU's numbers, drawn in a place."""

    there = False


def refuse_generator(chance: torch.Generator | None, there: bool) -> None:
    """Raise what torch raises of a generator that does not draw where its numbers are wanted."""
    if chance is not None and getattr(chance, "there", False) != there:
        raise RuntimeError(f"Expected a '{THERE if there else HERE}' device type for generator")


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
        with torch._C.DisableTorchFunction():  # where things are was looked at while they were recorded
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


def put_in_graphs(patch: pytest.MonkeyPatch) -> None:
    """Let torch record and replay on the CPU."""
    for name, thing in {"CUDAGraph": Graph, "graph": graph, "Stream": Stream, "current_stream": Stream}.items():
        patch.setattr(torch.cuda, name, thing)
    patch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())


@contextlib.contextmanager
def put_in(patch: pytest.MonkeyPatch) -> Iterator[Card]:
    """Let torch see one card, whose tensors meet no others."""
    put_in_graphs(patch)
    plain = chance.generator

    def generator(*what: Any, device: str = "cpu") -> torch.Generator:
        drawn = Generator()
        drawn.set_state(plain(*what).get_state())
        drawn.there = device == "cuda"
        return drawn

    patch.setattr(chance, "generator", generator)
    for name, thing in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "a stand-in card",
        "is_bf16_supported": lambda including_emulation=True: True,
        "synchronize": lambda device=None: None,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: None,
        "manual_seed": lambda seed: None,
    }.items():
        patch.setattr(torch.cuda, name, thing)
    with Card() as card:
        yield card
