"""``llmlab params``: the counts of the original notes' claims and of models that are built, and how they are shown."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import pytest
from torch.profiler import ProfilerActivity, profile

from conftest import Done
from llmlab import params
from llmlab.baseline import ContextVectorLM
from llmlab.embedding_freeze import initial
from llmlab.errors import SettingError
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.dataset import check_fits, dataset_of
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import evaluate, parameter_count
from llmlab.lab.sizes import language_bytes, size_of, sized
from llmlab.peers import build
from llmlab.phase1 import TRAINED_WITH_FROZEN, TinyModel
from llmlab.settings import BaselineSettings, EmbeddingFreezeSettings
from llmlab.text.grammar import Grammar
from llmlab.text.words import PAD

Run = Callable[..., Done]

COUNTED = {each["name"]: each for each in params.models()}
CLAIMED = {
    # name: total, trained; claims P1-5, BL-2, BL-22, BL-28, LY-15, EX-2, EF-13, EF-14, WT-1
    "tiny, d = 8, frozen: embedding": (68, 36),
    "New-LLM, original": (2_739_432, 2_739_432),
    "New-LLM, advanced": (4_840_936, 4_840_936),
    "New-LLM, original, depth 1": (1_426_152, 1_426_152),
    "New-LLM, original, depth 4": (2_214_120, 2_214_120),
    "New-LLM, original, depth 5": (2_476_776, 2_476_776),
    "New-LLM, original, depth 7": (3_002_088, 3_002_088),
    "New-LLM, original, depth 1, context 512": (1_951_720, 1_951_720),
    "New-LLM, original, depth 4, context 512": (2_739_688, 2_739_688),
    "New-LLM, original, depth 6, context 512": (3_265_000, 3_265_000),
    "tiny GPT-2, original": (2_642_176, 2_642_176),
    "tiny GPT-2, as its author coded it": (5_011_456, 5_011_456),
    "GPT-2 size 6 + 6, tied, frozen": (52_782_336, 7_093_248),
    "GPT-2 size 6 + 6, tied, trained": (52_782_336, 45_690_624),
    # the original log has 1,536 fewer, the LayerNorm on the embedding
    "GPT-2 size 6 + 6, untied, frozen": (91_429_969, 45_739_345 + 1_536),
    "GPT-2 size 3 + 3, untied, frozen": (84_338_257, 42_193_489 + 1_536),
}


def test_the_counts_are_those_of_the_specification() -> None:
    assert {name: (COUNTED[name]["total"], COUNTED[name]["trainable"]) for name in CLAIMED} == CLAIMED


def test_the_parts_are_those_of_the_specification() -> None:
    assert COUNTED["New-LLM, original"]["parts"] == {
        "embedding": 256_000,
        "stack": 6 * 262_656,
        "output": 513_000,
        "gates": 3 * 131_328,
        "norm": 512,
    }
    assert COUNTED["GPT-2 size 6 + 6, untied, frozen"]["parts"] == {
        "embedding": 38_597_376,
        "context_block": 7_091_712,
        "norm": 1_536,
        "token_block": 7_091_712,
        "head": 38_647_633,
    }
    decreasing = COUNTED["GPT-2 size 6 + 6, tied, frozen, first, decreasing"]["parts"]
    assert (decreasing["context_block"], decreasing["token_block"]) == (15_394_304, 8_566_272)


def test_the_counts_are_those_of_models_that_are_built() -> None:
    settings, freeze = BaselineSettings(), EmbeddingFreezeSettings()
    tiny = TinyModel.initial(4, 8, [0]).parameters()
    assert COUNTED["tiny, d = 8, frozen: embedding"]["parts"] == {name: one.numel() for name, one in tiny.items()}
    for freeze_name, trained in TRAINED_WITH_FROZEN.items():
        assert {*COUNTED[f"tiny, d = 2, frozen: {freeze_name}"]["frozen_parts"]} == tiny.keys() - trained
    pocket = COUNTED["pocket 1 + 1, tied, frozen"]["parts"]
    vocabulary = pocket["embedding"] // freeze.width
    assert vocabulary == len(Grammar.standard().vocabulary())
    model = ContextVectorLM.initial(size_of(settings, vocabulary), 0)
    assert parameter_count(model) == COUNTED["New-LLM, pocket"]["total"]
    gru = sized(settings, "gru", vocabulary)
    assert parameter_count(build(gru, vocabulary, 0, "fp32")) == COUNTED["GRU, pocket"]["total"]
    size = BlockSize(freeze.width, freeze.context, freeze.layers)
    blocks = initial(size.context_shapes() | size.token_shapes(), 0)
    assert sum(tensor.numel() for tensor in blocks.values()) == pocket["context_block"] + pocket["token_block"]


def test_the_document_has_every_model_under_its_own_name_with_parts_that_add_up(run_llmlab: Run) -> None:
    done = run_llmlab("params", "--json")
    models = done.document["models"]
    assert (done.code, done.err, list(done.folder.iterdir())) == (0, "", [])
    assert (set(done.document), done.document["schema"]) == ({"schema", "models"}, "llmlab.params/1")
    assert {model["name"]: model for model in models} == COUNTED
    assert len(COUNTED) == len(models)
    for model in models:
        assert model["total"] == sum(model["parts"].values()) == model["trainable"] + model["frozen"]
        assert model["frozen"] == sum(model["parts"][part] for part in model["frozen_parts"])
        assert model["trainable"] > 0
        assert min(model["parts"].values()) > 0


@pytest.mark.parametrize("model", ["new-llm", "gru", "tiny-gpt2"])
def test_what_is_said_to_be_needed_really_is(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that fits is refused: an update and a validation hold more than that, and less than ten times as much."""
    settings = sized(BaselineSettings(model=model, batch=64, dropout=0.0), model, 132)
    text = dataset_of(settings).text
    check_fits(settings, text)
    train = text.train[:64]
    needed = language_bytes(settings, 132, float((train[:, 1:] != PAD).sum()) / 64, 64, 64, 4)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        training = Training(build(settings, 132, 0, "fp32"), train, text.valid[:64], Recipe.of(settings, 0))
        training._update()
        training._update()
        evaluate(training.model, text.valid[:64], 64)
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    assert 0.1 < sum(needed.values()) / max(held) <= 1

    monkeypatch.setattr("llmlab.lab.memory.memory_bytes", lambda: int(sum(needed.values())) - 1)
    with pytest.raises(SettingError, match=r"^--.* or --.*: this takes at least .* GB of memory, and there are .* GB"):
        check_fits(settings, replace(text, train=train, valid=text.valid[:64]))
