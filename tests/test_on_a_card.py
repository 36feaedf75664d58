"""Every command on a card, as far as the CPU can play one: nothing meets what is elsewhere, and the results are its."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import stand_in_card
from llmlab import baseline, embedding_freeze, layers, two_stage
from llmlab.after import evaluate, expand, finetune, generate, quantize
from llmlab.cli import execute
from llmlab.contexts.arms import design_of
from llmlab.contexts.stage1 import contexts_of, learn
from llmlab.errors import SettingError
from llmlab.lab import rng as chance
from llmlab.lab.dataset import dataset_of
from llmlab.lab.team import Team
from llmlab.lm.training import Trained, precision_of, train_seed
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
from strategies_contexts import SMALL, small_task
from strategies_trained import saved, state_of

TINY: dict[str, Any] = {
    "embedding": 4,
    "hidden": 8,
    "context": 4,
    "layers": 2,
    "epochs": 1,
    "batch": 256,
    "dropout": 0.1,
}
SWEEP = {name: value for name, value in TINY.items() if name != "layers"}
TIMES = ("second", "latency", "equal_time")
MANY = 100
"""Calls that a card does at least when it trains or judges: far more than putting parameters there takes."""
ON_THE_PROCESSOR = ("generate", "quantize")
"""What is done token by token, for which a card is too slow to be asked."""

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere")


@contextmanager
def a_card() -> Iterator[stand_in_card.Card]:
    """One card, for as long as something is done on it."""
    with pytest.MonkeyPatch.context() as patch, stand_in_card.put_in(patch) as card:
        yield card


def of_baseline(**options: Any) -> Callable[[str], Result]:
    """Return a training of New-LLM or a peer."""
    return lambda device: baseline.run(BaselineSettings(**TINY | options, device=device))


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


def without_times(result: Result) -> dict[str, Any]:
    """Return what a run measured of its model."""
    return {name: value for name, value in result.metrics.items() if not any(time in name for time in TIMES)}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_on_a_card_is_the_one_on_the_processor(name: str, sixty_lines: None) -> None:
    """Where PyTorch sees a card, ``auto`` takes it, and no tensor of the one place meets one of the other."""
    here = TRAININGS[name]("cpu")
    with a_card() as card:
        there = TRAININGS[name]("auto")

    assert card.done > MANY
    assert there.status == "complete"
    assert without_times(there) == without_times(here)


@pytest.mark.parametrize("name", VERBS)
def test_what_is_done_with_a_model_is_the_same_on_a_card(name: str, tmp_path: Path) -> None:
    """A checkpoint of the processor is taken up by a card."""
    path = saved(tmp_path / "best.ckpt", state_of())
    here = VERBS[name](path)
    with a_card() as card:
        there = VERBS[name](path)

    assert card.done == 0 if name in ON_THE_PROCESSOR else card.done > MANY
    assert there.status == "complete"
    assert without_times(there) == without_times(here)


def test_the_processor_is_left_alone_by_a_card(sixty_lines: None) -> None:
    """``--device cpu`` puts nothing on a card that is there, the embedding that is made first included."""
    with a_card():
        before = dict(stand_in_card.MARKED)
        embedding_freeze.run(EmbeddingFreezeSettings(**SMALL | {"seeds": 1}, grow="none", device="cpu"))

        assert stand_in_card.MARKED.keys() <= before.keys()


def test_the_stand_in_refuses_what_a_card_refuses() -> None:
    """Otherwise the tests above would show nothing."""
    with a_card():
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        refused = [
            lambda: here + there,
            lambda: here * there.sum(),
            lambda: torch.stack([here.sum(), there.sum()]),
            lambda: here[there.long()],
            lambda: there.numpy(),
            lambda: torch.mm(there[None], here[:, None]),
        ]
        for act in refused:
            with pytest.raises((RuntimeError, TypeError), match="cuda:0"):
                act()

        allowed = [there + here.sum(), there[here.long() - 1], there.clone().copy_(here), here.to(there), there * 2]
        assert {result.device for result in allowed} == {stand_in_card.THERE}
        assert (there.cpu() + here).tolist() == [2, 2, 2]


def test_both_stages_compute_on_the_card(sixty_lines: None) -> None:
    """The block is trained, and the contexts are made, where the token block will read them."""
    settings = EmbeddingFreezeSettings(**SMALL)
    with a_card():
        task = small_task()
        design = design_of(settings)
        learned = learn(settings, task, design, 0)
        contexts = contexts_of(settings, task, design, 0, learned=learned)

        assert {tensor.device for tensor in [*learned.block.values(), contexts.after]} == {stand_in_card.THERE}


def test_a_generator_draws_where_its_numbers_are_wanted() -> None:
    """Torch refuses one of another place."""
    with a_card(), pytest.raises(RuntimeError, match="device type for generator"):
        torch.empty(3, device="cuda").random_(generator=chance.generator("x"))


def test_a_finished_seed_releases_its_buffers() -> None:
    """Three seeds of a wide model need the memory of one."""
    settings = BaselineSettings(**TINY)
    found: Trained = train_seed(settings, dataset_of(settings), 0)

    assert found.model.sweeps == {}  # type: ignore[attr-defined]


def test_a_gru_is_fp32_on_a_card_and_says_so() -> None:
    """CuDNN would have its recurrence in fp16: neither what was asked for nor what New-LLM is compared in."""
    settings = BaselineSettings(**TINY, model="gru", precision="bf16")

    assert precision_of(settings, "cpu") == "bf16"
    assert precision_of(replace(settings, hidden=512, precision="auto"), "cuda") == "fp32"
    with a_card():
        found = train_seed(settings, dataset_of(settings), 0)
    assert found.precision == "fp32"
    assert found.notes == ["Products are fp32: a card's GRU has no bf16."]


def test_more_processes_than_cards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two on one card would wait for each other forever."""
    told = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999", "LOCAL_RANK": "1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with a_card(), pytest.raises(SettingError, match="start 1 with --nproc-per-node 1"):
        Team.join("cuda")


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


def test_finetuning_keeps_a_grus_precision_and_releases_buffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training does on a card, training on does too."""
    baseline.run(BaselineSettings(**TINY, model="gru", out=tmp_path / "gru", device="cpu"))
    base, gru = saved(tmp_path / "best.ckpt", state_of()), tmp_path / "gru"
    models: list[Any] = []
    plain = finetune.tuned

    def tuned(*args: Any) -> Any:
        found = plain(*args)
        models.append(found.model)
        return found

    monkeypatch.setattr(finetune, "tuned", tuned)
    with a_card():
        finetune.run(FinetuneSettings(checkpoint=gru, epochs=1, precision="bf16"))
        finetune.run(FinetuneSettings(checkpoint=base, epochs=1))

    assert [(model.device, model.rounds) for model in models[:2]] == [("cuda", False)] * 2
    assert [model.sweeps for model in models[2:]] == [{}, {}]
