"""New-LLM's peers: their sizes and start, their gradients, where their chance comes from, and how all are compared."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from conftest import Stop, needs, rows
from llmlab import peers
from llmlab.after.opening import restored
from llmlab.baseline import ContextVectorLM, build
from llmlab.errors import CheckpointError, SettingError, UnreachableError
from llmlab.lab.language import LanguageModel, Place
from llmlab.lab.runs import LanguageRun
from llmlab.lab.sizes import MODELS, NEAR, GPT2Size, GRUSize, Size, off, peer_size_of, size_of, sized
from llmlab.measure.generation import Reader, costs
from llmlab.measure.score import Score
from llmlab.peers import (
    GPT2Reader,
    GRULanguageModel,
    Peer,
    alone,
    first_done,
    gru_reader,
    metrics,
    new_llm_reader,
    peer,
)
from llmlab.settings import BaselineSettings
from llmlab.shown.peers import at_equal_time
from llmlab.text.grammar import Grammar
from strategies_trained import diverging, windows

pytestmark = needs("transformers", "peers")

WORDS, LENGTH = 11, 9
SMALL: dict[str, GPT2Size | GRUSize] = {"tiny-gpt2": GPT2Size(WORDS, LENGTH, 8, 2), "gru": GRUSize(WORDS, 6, 10, 2)}
OPTIONS = BaselineSettings(
    embedding=8, hidden=12, context=6, layers=1, length=LENGTH, batch=4, epochs=2, device="cpu", precision="fp32"
)
HERE = Place(seed=3, update=17)
BOTH = pytest.mark.parametrize("name", SMALL)
EVERY = pytest.mark.parametrize("name", MODELS)


def small(name: str, *, dropout: float = 0.0, precision: str = "fp32") -> Peer:
    built = peer(SMALL[name], 1, dropout=dropout, precision=precision)
    for tensor in built.parameters.values():
        if tensor.dim() > 1:
            tensor.mul_(5)
    return built


def any_model(name: str) -> LanguageModel:
    return small(name) if name != "new-llm" else build(replace(OPTIONS, init="scaled"), WORDS, 1, "fp32")


def batch(rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and targets."""
    found = windows(WORDS, rows, LENGTH, seed)
    return found[:, :-1], found[:, 1:]


@pytest.mark.parametrize("size", [GPT2Size(), *SMALL.values(), GRUSize(), GRUSize(7, 3, 4, 3)])
def test_the_formula_counts_what_the_library_builds(size: GPT2Size | GRUSize):
    assert sum(tensor.numel() for tensor in peer(size, 0).parameters.values()) == size.parameters()


@given(st.integers(20_000, 10_000_000), st.integers(5, 2_000), st.integers(3, 128), st.integers(1, 300))
@settings(max_examples=60)
@example(2_739_432, 1000, 64, 255)
def test_some_size_comes_near_to_any_count(wanted: int, vocabulary: int, positions: int, width: int):
    """There is a tiny GPT-2 within a tenth of any count, and no other width of a GRU comes nearer than its own."""
    assert off(wanted, GPT2Size.matched(wanted, vocabulary, positions, width)) <= NEAR
    gru = GRUSize.matched(wanted, vocabulary, width)
    beside = [replace(gru, hidden=gru.hidden + step) for step in (-1, 1) if gru.hidden + step > 0]
    assert all(off(wanted, gru) <= off(wanted, other) for other in beside)


# ---- loss, gradients and chance ------------------------------------------------------------------------------------


@EVERY
@given(at=st.integers(1, LENGTH - 2), token=st.integers(1, WORDS - 1), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_a_later_token_changes_no_earlier_score(name: str, at: int, token: int, seed: int):
    model, (inputs, targets) = any_model(name), batch(2, seed)
    changed = inputs.clone()
    changed[:, at] = torch.where(changed[:, at] == token, token % (WORDS - 1) + 1, token)
    before, after = (model.judge(each, targets).losses for each in (inputs, changed))
    torch.testing.assert_close(after[:, :at], before[:, :at], rtol=0, atol=1e-6)
    assert not torch.allclose(after[:, at], before[:, at], rtol=0, atol=1e-6)


@EVERY
def test_padding_never_matters(name: str):
    model, long = any_model(name), batch(4, seed=5)
    long[1][:, 5:] = 0
    short = [tensor[:, :5] for tensor in long]
    torch.testing.assert_close(model.judge(*long).losses[:, :5], model.judge(*short).losses)
    torch.testing.assert_close(*(model.gradients(*each, count=20, place=HERE) for each in (long, short)))


def plain_scores(model: Peer, name: str, inputs: torch.Tensor) -> torch.Tensor:
    scores = model.module(inputs)
    found: torch.Tensor = scores[0] if name == "gru" else scores.logits
    return found


@BOTH
def test_parts_of_a_batch_add_up_to_plain_autograd_and_judging_is_without_dropout(name: str):
    """Even after an update with dropout, judging gives the loss and the likeliest token of the scores without it."""
    (inputs, targets), model, dropping = batch(6), small(name), small(name, dropout=0.5)
    count = int((targets != 0).sum())
    (loss, gradients), (more, others) = (
        model.gradients(inputs[r], targets[r], count=count, place=HERE) for r in (slice(2), slice(2, 6))
    )
    dropping.gradients(inputs, targets, count=count, place=HERE)
    judged = dropping.judge(inputs, targets)

    called = model.module(inputs)
    scores = called[0] if name == "gru" else called.logits
    expected = F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=0)
    expected.backward()
    torch.testing.assert_close(loss + more, expected.detach())
    wanted = {key: parameter.grad for key, parameter in model.module.named_parameters()}
    torch.testing.assert_close({key: gradients[key] + others[key] for key in gradients}, wanted)
    assert len({gradient.data_ptr() for gradient in gradients.values()}) == len(gradients)  # clipped in place
    losses = F.cross_entropy(scores.detach().transpose(1, 2), targets, reduction="none")
    torch.testing.assert_close(judged.losses, losses)
    assert torch.equal(judged.hits, scores.argmax(2) == targets)


@BOTH
def test_chance_depends_on_the_place_and_on_nothing_else(name: str):
    """The start on the seed, dropout on seed, update and rows; torch's own generator is neither read nor moved."""
    state = torch.get_rng_state()
    model, drawn = small(name, dropout=0.3), batch(6)

    def loss(place: Place) -> float:
        return float(model.gradients(*drawn, count=40, place=place)[0])

    first = loss(HERE)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert loss(HERE) == first
    others = [replace(HERE, seed=4), replace(HERE, update=18), replace(HERE, first_row=256)]
    assert len({first, *map(loss, others)}) == 4
    starts = [torch.cat([t.flatten() for t in peer(SMALL[name], seed).parameters.values()]) for seed in (5, 5, 6)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_tiny_gpt2_starts_as_gpt2_does():
    """Weights deviate by 0.02, those into the residual stream by 0.02 / sqrt(2 layers); biases 0, gains 1."""
    for name, tensor in peer(GPT2Size(), 0).parameters.items():
        if tensor.dim() == 1:
            assert set(tensor.tolist()) == {1.0 if "ln_" in name and name.endswith("weight") else 0.0}
        else:
            wanted = 0.02 / (math.sqrt(6) if name.endswith("c_proj.weight") else 1)
            assert float(tensor.std()) == pytest.approx(wanted, rel=0.02)


@BOTH
def test_bf16_changes_gradients_a_little_and_keeps_fp32_sums(name: str):
    exact, rounded = (
        torch.cat([tensor.flatten() for tensor in model.gradients(*batch(6), count=40, place=HERE)[1].values()])
        for model in (small(name), small(name, precision="bf16"))
    )
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.05


# ---- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["pocket", "original", "advanced", "modern"])
@pytest.mark.parametrize("model", ["tiny-gpt2", "gru"])
def test_a_peer_of_every_preset_is_within_a_tenth_of_new_llm(preset: str, model: str):
    options = BaselineSettings(preset=preset, model=model)
    vocabulary = len(Grammar.standard().vocabulary()) if options.data == "synthetic" else options.vocabulary
    own = sized(options, model, vocabulary)
    assert off(size_of(options, vocabulary).parameters(), peer_size_of(own, vocabulary)) <= 0.1
    if (preset, model) == ("original", "tiny-gpt2"):
        assert (own.embedding, own.layers) == (256, 3)


def test_sizes_typed_for_a_peer_are_its_own_and_otherwise_new_llms():
    """Its own are checked: a width that the heads cannot share is refused with the option's name."""
    original = partial(BaselineSettings, preset="original")
    compared = original(peers=True, layers=6)
    each = (original(model="tiny-gpt2", layers=6), original(model="tiny-gpt2"), compared)
    assert [sized(options, "tiny-gpt2", 1000).layers for options in each] == [6, 3, 3]
    assert sized(compared, "new-llm", 1000).layers == 6
    with pytest.raises(SettingError, match="--embedding: 30"):
        sized(BaselineSettings(model="tiny-gpt2", layers=1, embedding=30), "tiny-gpt2", 50)


def test_a_missing_library_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    """Without ``transformers``, tiny GPT-2 says what to install, before anything is trained."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnreachableError, match=r"pip install 'llmlab\[peers\]'"):
        alone(replace(OPTIONS, peers=True), "tiny-gpt2", WORDS)
    assert alone(replace(OPTIONS, peers=True), "gru", WORDS).model == "gru"


# ---- what the next token costs -------------------------------------------------------------------------------------


def readers() -> dict[str, tuple[Reader, Callable[[torch.Tensor], torch.Tensor]]]:
    """Return each reader with the logits of all positions at once, (T,) to (T, V)."""
    size, gru_size = Size(WORDS, 5, 7, 6, 2), GRUSize(WORDS, 6, 10, 2)
    model = ContextVectorLM.initial(size, 0)
    new, gru, gpt2 = new_llm_reader(model), gru_reader(gru_size), GPT2Reader(GPT2Size(WORDS, 32, 8, 2))
    return {
        "new-llm": (new, lambda tokens: model.logits(tokens[None])[0]),
        "gru": (gru, lambda tokens: GRULanguageModel(gru_size, 0).eval()(tokens[None])[0][0].detach()),
        "tiny-gpt2": (gpt2, lambda tokens: gpt2.module(input_ids=tokens[None], use_cache=False).logits[0].detach()),
    }


@EVERY
def test_reading_token_by_token_gives_the_scores_of_the_whole_window(name: str):
    reader, whole = readers()[name]
    tokens = torch.randint(WORDS, (12,), generator=torch.Generator().manual_seed(0))
    reader.read(tokens[:5])
    found = []
    for at in range(5, 12):
        first = reader.read(tokens[at : at + 1])
        reader.back()
        found.append(reader.read(tokens[at : at + 1]))
        assert torch.equal(first, found[-1])
    torch.testing.assert_close(torch.stack(found), whole(tokens)[5:], rtol=1e-4, atol=1e-6)


def test_only_the_transformers_memory_grows_with_the_text():
    """Bytes kept: 4 C for New-LLM, 4 layers H for the GRU, and 8 layers width tokens for the KV cache."""
    own = {name: reader for name, (reader, _) in readers().items()}
    found = costs(own, torch.zeros(32, dtype=torch.int64), [1, 4, 32], rounds=2)
    kept = {name: [cost.kept for cost in each] for name, each in found.items()}
    growing = [8 * 2 * 8 * tokens for tokens in (1, 4, 32)]
    assert kept == {"new-llm": [4 * 6] * 3, "gru": [4 * 2 * 10] * 3, "tiny-gpt2": growing}
    assert all(cost.seconds > 0 for each in found.values() for cost in each)


# ---- compared with each other --------------------------------------------------------------------------------------


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineSettings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llmlab.peers.LENGTHS", (1, 8))
    (tmp_path / "tale.txt").write_text("\n".join(Grammar.standard().lines(108, 1)), "utf-8")
    text = {"data": "tale.txt", "length": 12, "vocabulary": 30}
    return replace(OPTIONS, **text, dropout=0.2, peers=True, out=tmp_path / "kept")


def test_the_comparison_has_every_model_in_every_table(compared: BaselineSettings, tmp_path: Path):
    """One per row, metrics and a folder of its own; with two seeds the ends of the interval lie around the mean."""
    result = peers.run(replace(compared, seeds=2))
    tables, told = {table.name: table for table in result.tables}, result.metrics
    for name in ("peers_updates", "peers_time"):
        assert [row[0] for row in tables[name].rows] == list(MODELS.values())
    assert {row[0] for row in tables["generation"].rows} == set(MODELS.values())
    assert told["val_ppl_new_llm"] == told["val_ppl"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(MODELS)
    assert {"peers-curves", "generation-memory", "generation-time"} <= {figure.name for figure in result.figures}
    for cells in rows(result, "peers_updates").values():
        assert (cells["n"], cells["PPL low"] <= cells["PPL"] <= cells["PPL high"]) == (2, True)
    assert told["val_ppl_gru_low"] < told["val_ppl_gru"] < told["val_ppl_gru_high"]
    for row, name in zip(tables["peers_pairs"].rows, ("tiny_gpt2", "gru"), strict=True):
        difference = f"val_ppl_new_llm_minus_{name}"
        assert told[difference] == pytest.approx(told["val_ppl_new_llm"] - told[f"val_ppl_{name}"])
        assert told[f"{difference}_doc_low"] < told[difference] < told[f"{difference}_doc_high"]
        assert row[1:] == [2, *(told[difference + end] for end in ("", "_low", "_high", "_doc_low", "_doc_high"))]


@BOTH
def test_a_peer_comes_back_from_its_checkpoint(compared: BaselineSettings, name: str):
    """Taken up from its folder, it has its own sizes and judges its validation windows as it did."""
    run = alone(replace(compared, peers=False, out=None, layers=2, epochs=1), name, WORDS)
    result, back = peers.run(replace(run, out=Path("kept"))), restored(Path("kept"))
    assert back.settings.model == name
    assert sum(tensor.numel() for tensor in back.model.parameters.values()) == result.metrics["parameters"]
    valid = back.dataset("tale.txt").text.valid
    losses = back.model.judge(valid[:, :-1], valid[:, 1:]).losses[valid[:, 1:] != 0]
    assert float(losses.mean()) == pytest.approx(result.metrics["val_loss_token"], rel=1e-6)


def test_a_stop_among_the_peers_keeps_what_was_reached_and_resumes(compared: BaselineSettings):
    whole = peers.run(replace(compared, out=Path("again")), heard := Stop())
    stopped = peers.run(compared, Stop(max(heard.planned) // 3 + 3))
    resumed = peers.run(replace(compared, resume="auto"))
    assert (stopped.status, resumed.status) == ("interrupted", "complete")
    assert heard.updates == sorted(heard.updates)
    same = [name for name in whole.metrics if name.startswith("val_") and "time" not in name]
    assert [resumed.metrics[name] for name in same] == [whole.metrics[name] for name in same]


def test_what_to_resume_must_hold_the_models(compared: BaselineSettings, tmp_path: Path):
    """One checkpoint for three models is refused, and so is a folder without theirs."""
    with pytest.raises(SettingError, match=r"--resume: .* of one model"):
        alone(replace(compared, out=None, resume=str(tmp_path / "tale.txt")), "gru", WORDS)
    with pytest.raises(CheckpointError, match=r"--resume: .* holds no runs of new-llm, tiny-gpt2, gru"):
        alone(replace(compared, out=None, resume=str(tmp_path)), "gru", WORDS)
    (tmp_path / "gru" / "best").mkdir(parents=True)
    (tmp_path / "gru" / "best" / "run.json").write_text("{}")
    own = alone(replace(compared, out=None, resume=str(tmp_path)), "gru", WORDS)
    assert (own.out, own.resume) == (tmp_path / "gru", "auto")


def test_peers_go_on_where_new_llm_diverges(compared: BaselineSettings, monkeypatch: pytest.MonkeyPatch):
    diverging(monkeypatch, lambda settings, _: settings.model == "new-llm")
    result = peers.run(replace(compared, epochs=1))
    assert result.status == "diverged"
    assert result.metrics["val_ppl_gru"] is not None
    assert "val_ppl_new_llm_minus_gru" not in result.metrics
    assert [row[0] for row in result.tables[0].rows] == ["tiny GPT-2", "GRU"]
    diverging(monkeypatch, lambda *_: True)
    nothing = peers.run(replace(compared, out=Path("nothing")))
    assert (nothing.status, nothing.metrics["loss"]) == ("diverged", None)


def run_of(seconds: list[float], losses: list[float]) -> LanguageRun:
    rows = [
        {"seconds": time, "val_loss": loss, "val_loss_token": loss, "val_accuracy": 0.5, "updates": 10.0 * epoch}
        for epoch, (time, loss) in enumerate(zip(seconds, losses, strict=True), 1)
    ]
    score, numbers = Score(losses[-1], losses[-1], 0.5, 0.5, 0.5, 0.0, 10, [], []), {"tokens_per_second": 1.0}
    return LanguageRun(seed=0, numbers=numbers, history=rows, parameters=100, best_epoch=len(rows), score=score)


def test_what_is_not_reached_in_equal_time_has_no_perplexity_yet():
    """The fastest sets the time of its seed.

    Between the ends of two epochs losses lie on a straight line; who has not finished one by then has an empty cell.
    """
    models = {
        "new-llm": [run_of([4.0, 8.0], [3.0, 2.0])],
        "tiny-gpt2": [run_of([9.0, 18.0], [2.5, 1.5])],
        "gru": [run_of([6.0, 10.0], [3.0, 2.0])],
    }
    assert [models["gru"][0].at_time(seconds, "val_loss_token") for seconds in (6.0, 99.0, 5.0)] == [3.0, 2.0, None]
    assert first_done(models, 0) == 8.0
    assert at_equal_time(models, dict.fromkeys(models, OPTIONS), metrics(models, {}), "").rows == [
        ["New-LLM", 8.0, 20, pytest.approx(math.exp(2.0))],
        ["tiny GPT-2", 8.0, None, None],
        ["GRU", 8.0, 15, pytest.approx(math.exp(2.5))],
    ]
