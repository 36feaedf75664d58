"""Three models side by side: sizes that match, at equal updates, at equal time, and while they generate."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import needs
from llmlab import baseline, peers
from llmlab.after.opening import restored
from llmlab.baseline import ContextVectorLM
from llmlab.errors import CheckpointError, SettingError, Stopped, UnreachableError
from llmlab.lab.runs import LanguageRun
from llmlab.lab.sizes import MODELS, GPT2Size, GRUSize, Size, size_of, sized
from llmlab.lab.steps import Diverged
from llmlab.measure.generation import Reader, costs
from llmlab.measure.score import Score
from llmlab.peers import GPT2Reader, GRULanguageModel, GRUReader, NewLLMReader, alone, first_done, metrics
from llmlab.settings import BaselineSettings
from llmlab.shown.peers import at_equal_time
from llmlab.text.grammar import Grammar

pytestmark = needs("transformers", "peers")

WORDS = 11
OPTIONS = BaselineSettings(
    embedding=8, hidden=12, context=6, layers=1, length=9, batch=4, epochs=2, device="cpu", precision="fp32"
)
EVERY = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize("preset", ["pocket", "original", "advanced", "modern"])
@pytest.mark.parametrize("model", ["tiny-gpt2", "gru"])
def test_a_peer_of_every_preset_is_within_a_tenth_of_new_llm(preset: str, model: str):
    """What is compared has about the same number of parameters, and at the original sizes three layers of 256."""
    options = BaselineSettings(preset=preset, model=model)
    vocabulary = len(Grammar.standard().vocabulary()) if options.data == "synthetic" else options.vocabulary
    own = sized(options, model, vocabulary)

    shape = GRUSize if model == "gru" else GPT2Size
    sizes = {"gru": (own.embedding, own.hidden, own.layers), "tiny-gpt2": (own.length, own.embedding, own.layers)}
    wanted = size_of(options, vocabulary).parameters()
    assert abs(shape(vocabulary, *sizes[model]).parameters() / wanted - 1) <= 0.1
    if (preset, model) == ("original", "tiny-gpt2"):
        assert (own.embedding, own.layers) == (256, 3)


def test_layers_typed_for_a_peer_are_its_own_and_otherwise_new_llms():
    """``--layers 6`` gives the six-layer tiny GPT-2; the preset's six, or ``--peers``, one of New-LLM's size."""
    typed = BaselineSettings(preset="original", model="tiny-gpt2", layers=6)
    compared = BaselineSettings(preset="original", peers=True, layers=6)
    depths = [
        sized(options, "tiny-gpt2", 1000).layers
        for options in (typed, BaselineSettings(preset="original", model="tiny-gpt2"), compared)
    ]

    assert depths == [6, 3, 3]
    assert sized(compared, "new-llm", 1000).layers == 6


def test_a_width_that_the_heads_cannot_share_is_refused():
    """Typed sizes of tiny GPT-2 are checked, with the option's name."""
    with pytest.raises(SettingError, match="--embedding: 30"):
        sized(BaselineSettings(model="tiny-gpt2", layers=1, embedding=30), "tiny-gpt2", 50)


def test_a_missing_library_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    """Without ``transformers``, tiny GPT-2 says what to install, before anything is trained."""
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(UnreachableError, match=r"pip install 'llmlab\[peers\]'"):
        alone(replace(OPTIONS, peers=True), "tiny-gpt2", WORDS)
    assert alone(replace(OPTIONS, peers=True), "gru", WORDS).model == "gru"


def readers() -> dict[str, tuple[Reader, Callable[[torch.Tensor], torch.Tensor]]]:
    """Return each reader with the logits of all positions at once, (T,) to (T, V)."""
    size, gru_size = Size(WORDS, 5, 7, 6, 2), GRUSize(WORDS, 6, 10, 2)
    model = ContextVectorLM.initial(size, 0)
    new, gru, gpt2 = NewLLMReader(model), GRUReader(gru_size), GPT2Reader(GPT2Size(WORDS, 32, 8, 2))
    return {
        "new-llm": (new, lambda tokens: model.logits(tokens[None])[0]),
        "gru": (gru, lambda tokens: GRULanguageModel(gru_size, 0).eval()(tokens[None])[0][0].detach()),
        "tiny-gpt2": (gpt2, lambda tokens: gpt2.module(input_ids=tokens[None], use_cache=False).logits[0].detach()),
    }


@EVERY
def test_reading_token_by_token_gives_the_scores_of_the_whole_window(name: str):
    """However a text is cut, the logits after it are the same, and going back forgets exactly one token."""
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

    kept = {name: [cost.kept for cost in rows] for name, rows in found.items()}
    assert kept == {
        "new-llm": [4 * 6] * 3,
        "gru": [4 * 2 * 10] * 3,
        "tiny-gpt2": [8 * 2 * 8 * tokens for tokens in (1, 4, 32)],
    }
    assert all(cost.seconds > 0 for rows in found.values() for cost in rows)


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineSettings:
    """Return settings of a comparison that takes a second, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llmlab.peers.LENGTHS", (1, 8))
    each = product(("cat", "dog", "owl"), ("sun", "sea"), ("runs", "sleeps", "sings"))
    lines = [f"the {who} sees the {what} and the {who} {how}" for who, what, how in each]
    (tmp_path / "tale.txt").write_text("\n".join(lines * 6), "utf-8")
    return replace(OPTIONS, data="tale.txt", length=12, vocabulary=30, peers=True, out=tmp_path / "kept")


def test_the_comparison_has_every_model_in_every_table(compared: BaselineSettings, tmp_path: Path):
    """Three models, one per row, with metrics of their own and checkpoints in three folders."""
    result = peers.run(compared)

    tables = {table.name: table for table in result.tables}
    for name in ("peers_updates", "peers_time"):
        assert [row[0] for row in tables[name].rows] == list(MODELS.values())
    assert {row[0] for row in tables["generation"].rows} == set(MODELS.values())
    assert {f"val_ppl_{name}" for name in ("new_llm", "tiny_gpt2", "gru")} <= result.metrics.keys()
    assert result.metrics["val_ppl_new_llm"] == result.metrics["val_ppl"]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(MODELS)
    assert {"peers-curves", "generation-memory", "generation-time"} <= {figure.name for figure in result.figures}


@EVERY
def test_a_peer_comes_back_from_its_checkpoint(compared: BaselineSettings, name: str):
    """Taken up from its folder, a model has its own sizes and judges its validation windows as it did."""
    run = alone(replace(compared, peers=False, out=None, layers=2), name, WORDS)
    result = peers.run(replace(run, out=compared.out))

    back = restored(compared.out or Path())

    assert (back.settings.model, sum(t.numel() for t in back.model.parameters.values())) == (
        name,
        result.metrics["parameters"],
    )
    task = back.dataset("tale.txt")
    judged = back.model.judge(task.text.valid[:, :-1], task.text.valid[:, 1:])
    scored = task.text.valid[:, 1:] != 0
    assert float(judged.losses[scored].mean()) == pytest.approx(result.metrics["val_loss_token"], rel=1e-6)


def test_a_stop_among_the_peers_keeps_what_was_reached_and_resumes(compared: BaselineSettings):
    """Stopped while the second model trains, the run reports the first; resumed, it ends as if never stopped."""
    heard: list[int] = []

    def halt(update: int, planned: int, told: str = "") -> None:
        heard.append(update)
        if update > planned // 3 + 2:
            raise Stopped("enough", 2)

    stopped = peers.run(compared, halt)
    resumed = peers.run(replace(compared, resume="auto"))
    whole = peers.run(replace(compared, out=compared.out / "again" if compared.out else None))

    assert (stopped.status, resumed.status) == ("interrupted", "complete")
    assert heard == sorted(heard)
    same = [name for name in whole.metrics if name.startswith("val_") and "time" not in name]
    assert [resumed.metrics[name] for name in same] == [whole.metrics[name] for name in same]


def test_several_seeds_give_means_with_intervals(compared: BaselineSettings):
    """With two seeds the table says how many, and the ends of the interval lie around the mean."""
    result = peers.run(replace(compared, seeds=2, out=None))

    table = next(table for table in result.tables if table.name == "peers_updates")
    for row in table.rows:
        cells = dict(zip([column.name for column in table.columns], row, strict=True))
        assert cells["n"] == 2
        assert cells["PPL low"] <= cells["PPL"] <= cells["PPL high"]
    told = result.metrics
    assert told["val_ppl_gru_low"] < told["val_ppl_gru"] < told["val_ppl_gru_high"]
    pairs = next(table for table in result.tables if table.name == "peers_pairs")
    for row, name in zip(pairs.rows, ("tiny_gpt2", "gru"), strict=True):
        difference = f"val_ppl_new_llm_minus_{name}"
        assert told[difference] == pytest.approx(told["val_ppl_new_llm"] - told[f"val_ppl_{name}"])
        assert told[f"{difference}_doc_low"] < told[difference] < told[f"{difference}_doc_high"]
        assert row[1:] == [2, *(told[difference + end] for end in ("", "_low", "_high", "_doc_low", "_doc_high"))]


def test_what_to_resume_must_hold_the_models(compared: BaselineSettings, tmp_path: Path):
    """One checkpoint for three models is refused, and so is a folder without theirs."""
    with pytest.raises(SettingError, match=r"--resume: .* of one model"):
        alone(replace(compared, out=None, resume=str(tmp_path / "tale.txt")), "gru", WORDS)
    with pytest.raises(CheckpointError, match=r"--resume: .* no folder named"):
        alone(replace(compared, out=None, resume=str(tmp_path)), "gru", WORDS)
    (tmp_path / "gru").mkdir()
    own = alone(replace(compared, out=None, resume=str(tmp_path)), "gru", WORDS)
    assert (own.out, own.resume) == (tmp_path / "gru", "auto")


def run_of(seed: int, seconds: list[float], losses: list[float]) -> LanguageRun:
    """Return a finished run with these ends of epochs and validation losses."""
    rows = [
        {"seconds": time, "val_loss": loss, "val_loss_token": loss, "val_accuracy": 0.5, "updates": 10.0 * epoch}
        for epoch, (time, loss) in enumerate(zip(seconds, losses, strict=True), 1)
    ]
    score = Score(losses[-1], losses[-1], 0.5, 0.5, 0.5, 0.0, 10, [], [])
    return LanguageRun(seed, 100, "fp32", rows, len(rows), score, {"tokens_per_second": 1.0})


def test_equal_time_is_read_off_a_straight_line_between_epochs():
    """Halfway between two epochs lies the mean of their losses; before the first nothing is known."""
    run = run_of(0, [10.0, 20.0], [3.0, 2.0])

    assert [run.at_time(time, "val_loss_token") for time in (15.0, 10.0, 99.0, 9.0)] == [2.5, 3.0, 2.0, None]


def test_a_model_slower_than_everything_has_no_perplexity_yet():
    """The fastest sets the time for its seed; who has not finished an epoch by then has an empty cell."""
    models = {
        "new-llm": [run_of(0, [4.0, 8.0], [3.0, 2.0])],
        "tiny-gpt2": [run_of(0, [9.0, 18.0], [2.5, 1.5])],
        "gru": [run_of(0, [6.0, 10.0], [3.0, 2.0])],
    }

    rows = at_equal_time(models, dict.fromkeys(models, OPTIONS), metrics(models, {}), "").rows

    assert first_done(models, 0) == 8.0
    assert rows == [
        ["New-LLM", 8.0, 20, pytest.approx(math.exp(2.0))],
        ["tiny GPT-2", 8.0, None, None],
        ["GRU", 8.0, 15, pytest.approx(math.exp(2.5))],
    ]


def test_peers_go_on_where_new_llm_diverges(compared: BaselineSettings, monkeypatch: pytest.MonkeyPatch):
    """With New-LLM lost in every seed its peers are trained, measured and shown all the same."""
    real = baseline.train_seed

    def fragile(settings: BaselineSettings, *rest: Any, **words: Any) -> LanguageRun:
        if settings.model == "new-llm":
            raise Diverged(3)
        return real(settings, *rest, **words)

    monkeypatch.setattr(baseline, "train_seed", fragile)
    result = peers.run(compared)

    assert result.status == "diverged"
    assert result.metrics["val_ppl_gru"] is not None
    assert "val_ppl_new_llm_minus_gru" not in result.metrics
    assert [row[0] for row in result.tables[0].rows] == ["tiny GPT-2", "GRU"]
