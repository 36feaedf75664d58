"""Every command on a CUDA card, beside the processor: skipped where there is none."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llmlab import embedding_freeze, layers, peers, two_stage
from llmlab.after import evaluate, expand, finetune, generate, quantize
from llmlab.baseline import ContextVectorLM
from llmlab.cli import execute
from llmlab.fast.sweep import Sweep
from llmlab.fast.swept import ReplayedSweep
from llmlab.lab.rng import kept, scale
from llmlab.lab.sizes import Size
from llmlab.report.result import Result
from llmlab.settings import (
    BaselineSettings,
    EmbeddingFreezeSettings,
    EvaluateSettings,
    ExpandSettings,
    FinetuneSettings,
    GenerateSettings,
    LayersSettings,
    QuantizeSettings,
    TwoStageSettings,
)
from strategies_contexts import SMALL
from strategies_trained import saved, state_of

SWEEP: dict[str, Any] = {"embedding": 4, "hidden": 8, "context": 4, "epochs": 1, "batch": 256, "dropout": 0.1}
TINY = SWEEP | {"layers": 2}
pytestmark = pytest.mark.usefixtures("elsewhere")


BATCH, TIME, DROPOUT = 8, 12, 0.1
CLOSE = {torch.float32: {"rtol": 1e-3, "atol": 1e-5}, torch.bfloat16: {"rtol": 0.1, "atol": 2e-3}}
on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")


def of_baseline(**options: Any) -> Callable[[str], Result]:
    return lambda device: peers.run(BaselineSettings(**TINY | options, device=device))


TRAININGS: dict[str, Callable[[str], Result]] = {
    "baseline": of_baseline(),
    "baseline bf16": of_baseline(precision="bf16"),
    "baseline residual": of_baseline(stack="residual"),
    "baseline tiny-gpt2": of_baseline(model="tiny-gpt2"),
    "baseline gru": of_baseline(model="gru"),
    "baseline peers": of_baseline(peers=True),
    "layers": lambda device: layers.run(LayersSettings(**SWEEP, layers="1,2", seeds=1, device=device)),
    "embedding-freeze": lambda device: embedding_freeze.run(
        EmbeddingFreezeSettings(**SMALL | {"seeds": 1}, grow="150", device=device)
    ),
    "two-stage": lambda device: two_stage.run(
        TwoStageSettings(**SMALL | {"seeds": 1}, noises="0,0.1", depths="1,2", inputs=2, device=device)
    ),
}
VERBS: dict[str, Callable[[Path], Result]] = {
    "evaluate": lambda path: evaluate.run(EvaluateSettings(checkpoint=path)),
    "generate": lambda path: generate.run(GenerateSettings(checkpoint=path, tokens=4)),
    "quantize": lambda path: quantize.run(QuantizeSettings(checkpoint=path)),
    "finetune": lambda path: finetune.run(FinetuneSettings(checkpoint=path, epochs=1)),
    "expand": lambda path: expand.run(ExpandSettings(checkpoint=path, updates=3, rounds=2)),
}


@on_a_card
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_on_a_card_is_the_one_on_the_processor(name: str, sixty_lines: None) -> None:
    """``auto`` takes a card where there is one, and gets as far there."""
    here, there = TRAININGS[name]("cpu"), TRAININGS[name]("auto")

    assert there.status == "complete"
    assert close(here, there)


@on_a_card
@pytest.mark.parametrize("name", VERBS)
def test_what_is_done_with_a_model_is_the_same_on_a_card(name: str, tmp_path: Path) -> None:
    """A checkpoint of the processor is taken up by a card."""
    path = saved(tmp_path / "best", state_of())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        here = VERBS[name](path)

    assert close(here, VERBS[name](path))


def close(here: Result, there: Result) -> bool:
    assert here.metrics.keys() == there.metrics.keys()
    scores = {name: value for name, value in here.metrics.items() if "ppl" in name and isinstance(value, float)}
    return {name: there.metrics[name] for name in scores} == pytest.approx(scores, rel=0.01)


@on_a_card
@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("stack", ["plain", "residual"])
def test_a_card_has_the_gradients_of_the_processor(stack: str, dtype: torch.dtype) -> None:
    """Every batch after the recorded one has them too, with other parameters and another dropout, drawn by the card."""
    size = Size(vocabulary=50, embedding=16, hidden=32, context=16, layers=3, stack=stack)
    model = ContextVectorLM.initial(size, 0, init="scaled")
    ours, theirs = ReplayedSweep(size, BATCH, TIME, dtype, "cuda"), Sweep(size, BATCH, TIME, dtype)
    for seed in range(3):
        chance = torch.Generator().manual_seed(seed)
        inputs, targets = torch.randint(1, 50, (2, BATCH, TIME), generator=chance)
        here = {name: tensor * (1 + 0.1 * seed) for name, tensor in model.parameters.items()}
        there = {name: tensor.cuda() for name, tensor in here.items()}
        keep = kept(
            DROPOUT, (size.layers, TIME, size.hidden), range(BATCH), seed=seed, update=1, dtype=dtype, device="cuda"
        )
        assert keep is not None
        more = {"count": inputs.numel(), "scale": scale(DROPOUT)}
        loss, gradients = ours.gradients(there, inputs.cuda(), targets.cuda(), keep=keep, **more)
        wanted_loss, wanted = theirs.gradients(here, inputs, targets, keep=keep.cpu(), **more)

        torch.testing.assert_close(loss.cpu(), wanted_loss, rtol=1e-2, atol=1e-5)
        for name in wanted:
            torch.testing.assert_close(gradients[name].cpu(), wanted[name], **CLOSE[dtype])


def test_an_entry_names_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds without the name of what they were measured on say nothing."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 5 * 2**20)
    chosen: Any = SimpleNamespace(options=SimpleNamespace(expect="", note=""), given=())
    result = Result("baseline", {}, "", "")
    told = execute._record(result, 1.0, chosen, "llmlab baseline").environment

    assert told | {"card": "NVIDIA Test", "card_peak_memory_mb": 5} == told
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert "card" not in execute._record(result, 1.0, chosen, "llmlab baseline").environment
