"""Arms as data, what they read, and what they are given: equal starts, contexts that stay, words that are held out."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Stop
from llmlab import embedding_freeze
from llmlab.embedding_freeze import freeze_arms, stage1, stage2
from llmlab.errors import SettingError, Stopped, TextError
from llmlab.lab import made_embedding
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.context_runs import ArmSpec, ContextSpec, train_arm, training_of
from llmlab.lab.context_text import ContextDataset, EmbeddedCorpus, dataset_of
from llmlab.lab.language import evaluate
from llmlab.lab.made_embedding import LINES, MADE_SEED, loaded, made
from llmlab.settings import TwoStageSettings
from llmlab.settings.contexts import ABLATIONS, FREEZE_ARMS, READINGS
from llmlab.text.corpus import Corpus
from llmlab.text.grammar import Grammar
from llmlab.text.streams import subword_coder
from llmlab.two_stage import stage_arms
from stand_in_model import loaded as loaded_model
from stand_in_model import model_files, without, write_files
from strategies_contexts import FREEZE, SMALL, compared

pytestmark = pytest.mark.usefixtures("elsewhere")
ARMS = freeze_arms(FREEZE)


@pytest.fixture(scope="module")
def data(source: EmbeddedCorpus) -> ContextDataset:
    """The text of 300 tokens that the arms read."""
    return dataset_of(source, 300, 120)


# ---- arms as data -------------------------------------------------------------------------------------------------


def test_the_grid_is_what_its_names_say() -> None:
    for name, arm in zip(FREEZE_ARMS, ARMS, strict=True):
        assert (arm.name, arm.trains_embedding, arm.tied) == (name, "trained" in name, "untied" not in name)
        assert arm.contexts.vectors == ("random" if "random" in name else "pretrained")
    assert len({arm.label for arm in ARMS}) == len(ARMS)


@given(st.sets(st.sampled_from([64, 300, 999, 64_000]), min_size=1), st.permutations(FREEZE_ARMS[:4]))
def test_growth_adds_the_first_two_arms_and_nothing_else(sizes: set[int], names: list[str]) -> None:
    """At every other number of tokens there is one frozen and one trained arm, in whatever order and with blanks."""
    arms = freeze_arms(replace(FREEZE, arms=" , ".join(names), grow=",".join(map(str, sizes))))
    others = {arm.name: arm for arm in arms if arm.contexts.tokens != 300}

    assert [arm.name for arm in arms[:4]] == list(FREEZE_ARMS[:4])
    assert set(others) == {f"{name}-{size}" for size in sizes - {300} for name in FREEZE_ARMS[:2]}
    assert len(arms) == 4 + len(others)
    for own in arms[:2]:
        for arm in (others[f"{own.name}-{size}"] for size in sizes - {300}):
            assert replace(arm, name=own.name, label=own.label, contexts=own.contexts) == own


stage_settings = st.builds(
    lambda **chosen: TwoStageSettings(**SMALL | chosen),
    layers=st.sampled_from([1, 2, 3]),
    noise=st.sampled_from([0.0, 0.1, 0.3]),
    block=st.sampled_from(["trained", "untrained"]),
    wiring=st.sampled_from(["every", "first"]),
    widths=st.sampled_from(["constant", "decreasing"]),
    reading=st.sampled_from(READINGS),
    vectors=st.sampled_from(["pretrained", "random"]),
)
MAY_DIFFER: dict[str, set[str]] = {
    "block": {"trained"},
    "noise": {"noise", "trained", "stops"},
    "layers": {"layers"},
    "wiring": {"wiring", "widths"},
    "reading": set(),
}


@given(stage_settings, st.sets(st.sampled_from(ABLATIONS)))
def test_an_ablation_changes_one_thing_and_shares_the_arm_as_set(asked: TwoStageSettings, names: set[str]) -> None:
    """Every arm differs from the one as set in what its table is about alone; equal names and files are equal arms."""
    found = stage_arms(replace(asked, ablate=",".join(names) or "none"))
    ((own,), by_name, by_file) = found["main"], dict[str, ArmSpec](), dict[str, ContextSpec]()

    assert list(found) == ["main", *(name for name in ABLATIONS if name in names)]
    for name in names:
        for arm in found[name]:
            changed = {key for key, value in vars(arm.contexts).items() if value != vars(own.contexts)[key]}
            assert changed <= MAY_DIFFER[name]
            assert (arm.reading == own.reading) or name == "reading"
            assert (arm.name == "main") == (arm.contexts == own.contexts and arm.reading == own.reading)
            assert by_name.setdefault(arm.name, arm) == replace(arm, label=by_name[arm.name].label)
            assert not arm.contexts.trained or by_file.setdefault(arm.contexts.name, arm.contexts) == arm.contexts
            assert "/" not in arm.name + arm.contexts.name
        assert len({arm.label for arm in found[name]}) == len(found[name])
    assert not any(arm.contexts.stops for arm in found.get("noise", []))  # equal passes, whatever the noise


@pytest.mark.parametrize("reading", READINGS)
def test_one_layer_is_read_once(reading: str) -> None:
    """Of a block of one layer "by layer" and "last layer" are one model, whichever of them the settings name."""
    arms = stage_arms(TwoStageSettings(layers=1, reading=reading, ablate="reading"))["reading"]
    assert replace(arms[0], label="") == replace(arms[1], label="")
    assert len({arm.name for arm in arms}) == 3


# ---- equal starts, fixed contexts, the control ----------------------------------------------------------------------


def test_all_arms_of_a_seed_start_alike(data: ContextDataset) -> None:
    """One token block, one order of batches; tied arms on one embedding start at one loss, untied ones at ln V."""
    starts, first, blocks = dict[str, float](), dict[str, float](), []
    for arm in ARMS:
        model = stage2(FREEZE, data, arm, stage1(FREEZE, data, arm.contexts, 3), 3)
        training = training_of(FREEZE, data, model, 3)
        starts[arm.name] = evaluate(model, training.valid, 64, judging=training.judging).loss
        first[arm.name] = training._gradients(training._batch(0, 0), 0)[0]
        blocks.append({name: each for name, each in model.parameters.items() if name.startswith("token")})

    for told in (starts, first):
        assert told["frozen"] == told["trained"]
        assert told["random-frozen"] == told["random-trained"] != told["frozen"]
    assert starts["frozen-untied"] == starts["trained-untied"] == pytest.approx(math.log(132))
    torch.testing.assert_close(blocks, blocks[:1] * len(ARMS), rtol=0, atol=0)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_training_moves_no_context_and_what_is_frozen_stays(data: ContextDataset, arm: ArmSpec) -> None:
    """And an arm counts what it trains and all there is."""
    contexts = stage1(FREEZE, data, arm.contexts, 0)
    before = {name: each.clone() for name, each in contexts.frozen.items()}, contexts.after.clone()
    own = replace(FREEZE, out=Path("arm"))
    run = train_arm(own, data, arm, stage2(own, data, arm, contexts, 0), 0)

    assert run.drift == 0.0
    torch.testing.assert_close((contexts.frozen, contexts.after), before, rtol=0, atol=0)
    torch.testing.assert_close(stage1(FREEZE, data, arm.contexts, 0).after, before[1], rtol=0, atol=0)
    size, words = BlockSize(embedding=8, context=8, layers=1), 132 * 8
    head = 0 if arm.tied else words + 132
    assert run.total == words + head + 16 + size.token_parameters() + size.context_parameters()
    assert run.trainable == 16 + size.token_parameters() + head + words * arm.trains_embedding


def test_the_random_control_has_the_length_of_the_pretrained_and_nothing_else(source: EmbeddedCorpus) -> None:
    """Drawn by the seed: the same for the same one, another for another, of equal mean square, and no words in it."""
    one, same, other = (source.vectors("random", seed) for seed in (0, 0, 1))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert source.vectors("pretrained", 5) is source.embedding
    assert float(one.square().mean() / source.embedding.square().mean()) == pytest.approx(1, abs=0.2)
    assert abs(float(torch.nn.functional.cosine_similarity(one, source.embedding).mean())) < 0.15


def test_contexts_measure_their_own_error(source: EmbeddedCorpus) -> None:
    data, spec = dataset_of(source, 2_000, 500), ARMS[0].contexts
    found, plain = (stage1(replace(FREEZE, tolerance=each), data, spec, 0) for each in (1e-4, 1e-12))

    assert plain.measured.plain
    assert found.after.shape == (3_000, 8)
    assert float((found.after - plain.after).abs().max()) <= 1e-3
    assert 0 < found.measured.ranks["train"] <= 1
    assert found.measured.checked == 3_000  # of a narrow block all


def test_errors_are_the_largest_ones_of_all_texts(data: ContextDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left at a seam, and what the check found, of the training text and of the others."""
    real, told = embedding_freeze.fixed_contexts, iter(((1e-6, 2e-7), (3e-6, 1e-7), (2e-6, 1e-8)))

    def made(*given: Any, **words: Any) -> Any:
        seam, largest = next(told)
        return replace(real(*given, **words), seam_error=seam, max_error=largest)

    monkeypatch.setattr(embedding_freeze, "fixed_contexts", made)
    measured = stage1(FREEZE, data, replace(ARMS[0].contexts, trained=False), 0).measured

    assert (measured.seam_error, measured.max_error) == (3e-6, 2e-7)


def test_the_untrained_rank_is_that_of_the_block_before_its_training(data: ContextDataset) -> None:
    trained, untrained = (
        stage1(FREEZE, data, replace(ARMS[0].contexts, trained=each), 0).measured.ranks for each in (True, False)
    )
    assert trained["untrained"] == untrained["train"] == untrained["untrained"] != trained["train"]


def test_a_block_that_does_not_stop_makes_every_pass(data: ContextDataset) -> None:
    spec, asked = replace(ARMS[0].contexts, noise=0.0), replace(FREEZE, iterations=6)
    stops, every = (stage1(asked, data, replace(spec, stops=each), 0).measured.rows for each in (True, False))

    assert len(stops) < len(every) == 5
    assert [row["converged_fraction"] for row in every[: len(stops)]] == [row["converged_fraction"] for row in stops]


# ---- what is read -------------------------------------------------------------------------------------------------


def test_the_made_embedding_is_the_same_in_every_run(source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit and under the same digest; it read none of the lines that are read later, and can be stopped."""
    monkeypatch.setattr(made_embedding, "LINES", 60)
    again = made(8, stage1, stage2)

    assert torch.equal(again.embedding, source.embedding)
    assert (again.digest, again.name) == (source.digest, "made in the run")
    read = set(Grammar.standard().lines(LINES // 20, MADE_SEED))
    assert len(read & {*again.corpus.train, *again.corpus.valid}) / len(read) < 0.01
    with pytest.raises(Stopped):
        made(8, stage1, stage2, Stop(at=1))


def test_random_vectors_need_no_embedding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With ``--vectors random`` nothing is made and no matrix is read; the name says what it is."""
    monkeypatch.setattr(made_embedding, "made", lambda *_: pytest.fail("it was made"))
    found = loaded(TwoStageSettings(width=6, vectors="random"), stage1, stage2)
    assert found.embedding.shape == (132, 6)
    assert found.name.startswith("random")

    given = write_files(tmp_path / "words only", without("model.safetensors"))
    asked = TwoStageSettings(width=6, data="synthetic", pretrained=given)
    found = loaded(replace(asked, vectors="random"), stage1, stage2)
    assert found.embedding.shape[1] == 6
    assert float(found.embedding.square().sum(1).mean()) == pytest.approx(1, abs=0.1)
    with pytest.raises(TextError, match="safetensors"):
        loaded(asked, stage1, stage2)


def test_every_size_keeps_the_same_held_out_documents(source: EmbeddedCorpus) -> None:
    small, large = dataset_of(source, 100, 120), dataset_of(source, 400, 120)

    assert torch.equal(small.text.valid.tokens, large.text.valid.tokens)
    assert torch.equal(small.text.train.tokens, large.text.train.tokens[:100])
    assert small.bayes_loss == large.bayes_loss
    assert small.digest != large.digest
    assert small.references["unigram"].loss != large.references["unigram"].loss


# ---- texts that do not fit ------------------------------------------------------------------------------------------


def test_a_batch_or_a_window_larger_than_the_text_is_refused(source: EmbeddedCorpus) -> None:
    """More tokens at once than there are: refused by the option's name, before anything is trained."""
    count, inputs = Stop(), {"inputs": 40, "val_tokens": 30}
    refused = {"--batch: 300 tokens": {"batch": 300}, "--inputs: 40": inputs, "only 63": {"grow": "64", "batch": 64}}
    for words, wrong in refused.items():
        with pytest.raises(SettingError, match=words):
            compared(replace(FREEZE, **wrong), source, count)
    assert (count.told, Path("runs").exists()) == ([], False)
    assert compared(replace(FREEZE, batch=299, arms="frozen", seeds=1), source).finished


def stand_in(folder: Path, train: list[str], valid: list[str]) -> EmbeddedCorpus:
    """Return a text read by a stand-in model."""
    found = loaded_model(folder / "model", model_files())
    assert found.embedding is not None
    return EmbeddedCorpus(Corpus("mine", train, valid), subword_coder(found), found.embedding, found.name, found.digest)


def test_a_text_of_unknown_words_is_refused(tmp_path: Path) -> None:
    known, unknown = ["bali dona kiri gule"] * 20, [" ".join(["漢字"] * 400)]
    for use, train, valid in (("train on", unknown, known[:1]), ("validate with", known, unknown)):
        with pytest.raises(TextError, match=rf"mine: .* to {use} .* knows none"):
            dataset_of(stand_in(tmp_path, train, valid), 64, 16)


def test_batches_of_unknown_words_teach_nothing_and_stop_nothing(tmp_path: Path) -> None:
    """With one token per update most updates have no target: the loss told stays a number."""
    lines = [f"{' '.join(['漢字'] * 30)} {word}" for word in ("bali", "dona", "kiri", "gule")]
    source = stand_in(tmp_path, lines * 2, ["bali dona 漢字 kiri"])
    found = compared(replace(FREEZE, tokens=80, val_tokens=16, batch=1, epochs=1, seeds=1, arms="frozen"), source)

    assert len(found.finished) == 1
    assert math.isfinite(found.arms["frozen"].stat("val_loss_token")[""])
