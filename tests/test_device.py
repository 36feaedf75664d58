"""Where a model is trained, in which numbers, and on how many threads: what was asked for, or what is faster."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import SettingError, UnreachableError
from llmlab.lab import device
from llmlab.lab.device import chosen_precision, device_of, fast_bf16, precision_of
from llmlab.settings import BaselineSettings

SMALL, LARGE = ({"weight": torch.zeros(width, width)} for width in (8, 4_096))
ROWS = torch.zeros(32, 33)


@pytest.mark.parametrize("card", [False, True])
def test_a_card_is_taken_where_there_is_one(card: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    assert device_of("auto") == ("cuda" if card else "cpu")
    assert device_of("cpu") == "cpu"
    if card:
        assert device_of("cuda") == "cuda"
    else:
        with pytest.raises(UnreachableError, match="sees no CUDA card"):
            device_of("cuda")


def test_more_processes_than_cards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two on one card would wait for each other forever."""
    told = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999", "LOCAL_RANK": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingError, match="start 1 with --nproc-per-node 1"):
        device_of("cuda")


@pytest.mark.parametrize("fast", [False, True])
def test_products_are_fp32_unless_asked_for_or_wide(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "fast_bf16", lambda where: fast)
    asked = (("auto", 255), ("auto", 256), ("fp32", 256), ("bf16", 8))
    wanted = ["fp32", "bf16" if fast else "fp32", "fp32", "bf16"]
    assert [chosen_precision(precision, "cpu", width) for precision, width in asked] == wanted


def test_bf16_is_a_cards_only_where_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card from before Ampere works bf16 out in fp32: there, wide models are trained in fp32."""
    asked: list[bool] = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not fast_bf16("cuda")
    assert asked == [False]
    assert [chosen_precision(wanted, "cuda", 512) for wanted in ("auto", "bf16", "fp32")] == ["fp32", "bf16", "fp32"]


def test_a_gru_is_fp32_on_a_card() -> None:
    """CuDNN would have its recurrence in fp16: neither what was asked for nor what New-LLM is compared in."""
    settings = BaselineSettings(model="gru", precision="bf16")
    assert precision_of(settings, "cpu") == "bf16"
    assert precision_of(replace(settings, hidden=512, precision="auto"), "cuda") == "fp32"


# ---- threads -------------------------------------------------------------------------------------------------------


def settled(
    parameters: dict[str, torch.Tensor], share: float, asked: int = 0, before: int = 0, times: int = 1
) -> tuple[int, int]:
    """Return how many threads there are in the end of three possible ones, and how often the work was tried.

    On three threads the work takes this share of the time that it takes on one; ``before`` are those that the run had
    which is gone on with.
    """
    clock, tried, here = 0.0, 0, torch.get_num_threads()

    def trial(rows: torch.Tensor) -> None:
        nonlocal clock, tried
        tried += 1
        clock += share if torch.get_num_threads() > 1 else 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_most", 1)
        patch.setattr(device.time, "perf_counter", lambda: clock)
        torch.set_num_threads(3)
        device.begin(asked)
        if before:
            device.take(before)
        for _ in range(times):
            device.measure(parameters, ROWS, trial)
        found = torch.get_num_threads()
        torch.set_num_threads(here)
    return found, tried


@given(st.floats(0.01, 10).filter(lambda share: abs(share - device.FASTER) > 1e-9))
def test_several_threads_are_taken_only_where_they_were_faster(share: float) -> None:
    """A large model is tried once a process, a small one never, and a number that was asked for stands.

    A run goes on with as many as it had, to the bit, so without another trial; not with more than there are.
    """
    assert settled(LARGE, share, times=2) == (3 if share < device.FASTER else 1, 6)
    assert settled(SMALL, share) == (1, 0)
    assert settled(LARGE, share, asked=2) == (2, 0)
    for asked, before, after in ((0, 2, 2), (0, 9, 3), (2, 3, 2)):
        assert settled(LARGE, share, asked=asked, before=before) == (after, 0)
