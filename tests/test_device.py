"""Where a model is trained and in which numbers: what was asked for, or what the machine is made for."""

from dataclasses import replace

import pytest
import torch

from llmlab.errors import SettingError, UnreachableError
from llmlab.lab import device
from llmlab.lab.device import chosen_precision, device_of, fast_bf16, precision_of
from llmlab.settings import BaselineSettings


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

    assert chosen_precision("auto", "cpu", 255) == "fp32"
    assert chosen_precision("auto", "cpu", 256) == ("bf16" if fast else "fp32")
    assert chosen_precision("fp32", "cpu", 256) == "fp32"
    assert chosen_precision("bf16", "cpu", 8) == "bf16"


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
