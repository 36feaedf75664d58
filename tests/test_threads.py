"""The number of threads: one for small products, for large ones what a trial of real work finds faster."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab.lab import device

SMALL = {"weight": torch.zeros(8, 8)}
LARGE = {"weight": torch.zeros(4_096, 4_096)}
ROWS = torch.zeros(32, 33)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "_most", 1)
    yield
    torch.set_num_threads(before)


def settled(parameters: dict[str, torch.Tensor], share: float, asked: int = 0, times: int = 1) -> tuple[int, int]:
    """Return how many threads there are in the end of three possible ones, and how often the work was tried.

    On three threads the work takes this share of the time that it takes on one.
    """
    clock, tried = 0.0, 0

    def trial(rows: torch.Tensor) -> None:
        nonlocal clock, tried
        tried += 1
        clock += share if torch.get_num_threads() > 1 else 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device.time, "perf_counter", lambda: clock)
        torch.set_num_threads(3)
        device.begin(asked)
        for _ in range(times):
            device.measure(parameters, ROWS, trial)
    return torch.get_num_threads(), tried


@given(st.floats(0.01, 10).filter(lambda share: abs(share - device.FASTER) > 1e-9))
def test_several_threads_are_taken_only_where_they_were_faster(share: float) -> None:
    """A large model is tried once a process, a small one never, and a number that was asked for stands."""
    assert settled(LARGE, share, times=2) == (3 if share < device.FASTER else 1, 6)
    assert settled(SMALL, share) == (1, 0)
    assert settled(LARGE, share, asked=2) == (2, 0)


def test_a_run_goes_on_with_as_many_threads_as_it_had() -> None:
    """To the bit, so without another trial; not with more than there are, nor against what was asked for."""
    for asked, before, after in ((0, 2, 2), (0, 9, 3), (2, 3, 2)):
        torch.set_num_threads(3)
        device.begin(asked)
        device.take(before)
        device.measure(LARGE, ROWS, lambda rows: pytest.fail("tried"))
        assert torch.get_num_threads() == after
