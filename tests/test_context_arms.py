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
from llmlab.embedding_freeze import EQUATIONS, freeze_arms
from llmlab.errors import SettingError, Stopped, TextError
from llmlab.lab import context_stages
from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.context_runs import ArmSpec, Contexts, ContextSpec, training_of
from llmlab.lab.context_stages import LINES, MADE_SEED, loaded, made
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of
from llmlab.lab.language import evaluate
from llmlab.settings import TwoStageSettings
from llmlab.settings.contexts import ABLATIONS, FREEZE_ARMS, READINGS
from llmlab.text.corpus import Corpus
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import subword_coder
from llmlab.two_stage import stage_arms
from stand_in_model import model_files, write_files
from strategies_contexts import FREEZE, SMALL, compared, stages, train_arm

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere")


# ---- arms as data -------------------------------------------------------------------------------------------------


def test_the_grid_is_what_its_names_say() -> None:
    arms = {arm.name: arm for arm in freeze_arms(FREEZE)}

    assert tuple(arms) == FREEZE_ARMS
    for name, arm in arms.items():
        assert arm.trains_embedding == ("trained" in name)
        assert arm.tied == ("untied" not in name)
        assert arm.contexts.vectors == ("random" if "random" in name else "pretrained")
    assert len({arm.label for arm in arms.values()}) == len(arms)


@given(st.sets(st.sampled_from([64, 300, 999, 64_000]), min_size=1), st.permutations(FREEZE_ARMS[:4]))
def test_growth_adds_the_first_two_arms_and_nothing_else(sizes: set[int], names: list[str]) -> None:
    """At every other number of tokens there is one frozen and one trained arm, in whatever order and with blanks."""
    asked = replace(FREEZE, arms=" , ".join(names), grow=",".join(map(str, sizes)))
    arms = freeze_arms(asked)
    others = [arm for arm in arms if arm.contexts.tokens != 300]

    assert [arm.name for arm in arms[:4]] == list(FREEZE_ARMS[:4])
    assert {arm.name for arm in others} == {f"{n}-{size}" for size in sizes - {300} for n in ("frozen", "trained")}
    for arm in others:
        own = next(one for one in arms if one.name == arm.name.rpartition("-")[0])
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


@given(stage_settings, st.sets(st.sampled_from(ABLATIONS)))
def test_an_ablation_changes_one_thing_and_shares_the_arm_as_set(asked: TwoStageSettings, names: set[str]) -> None:
    """Every arm differs from the one as set in what its table is about alone; the equal one is the same arm."""
    asked = replace(asked, ablate=",".join(names) or "none")
    found = stage_arms(asked)
    (own,) = found["main"]
    may_differ = {
        "block": {"trained"},
        "noise": {"noise", "trained", "stops"},
        "layers": {"layers"},
        "wiring": {"wiring", "widths"},
        "reading": set(),
    }

    assert list(found) == ["main", *(name for name in ABLATIONS if name in names)]
    for name in names:
        for arm in found[name]:
            changed = {key for key, value in vars(arm.contexts).items() if value != vars(own.contexts)[key]}
            assert changed <= may_differ[name]
            assert (arm.reading == own.reading) or name == "reading"
            assert (arm.name == "main") == (arm.contexts == own.contexts and arm.reading == own.reading)
        assert len({arm.label for arm in found[name]}) == len(found[name])
    assert not any(arm.contexts.stops for arm in found.get("noise", []))  # equal passes, whatever the noise


def test_one_layer_is_read_once() -> None:
    """Of a block of one layer "by layer" and "last layer" are one model, whichever of them the settings name."""
    for reading in READINGS:
        asked = TwoStageSettings(layers=1, reading=reading, ablate="reading")
        by_layer, last, before, none = stage_arms(asked)["reading"]
        assert replace(by_layer, label="") == replace(last, label="")
        assert len({by_layer.name, before.name, none.name}) == 3


@given(stage_settings)
def test_equal_names_mean_equal_arms_and_equal_files_equal_blocks(asked: TwoStageSettings) -> None:
    arms = [arm for each in stage_arms(replace(asked, ablate="all")).values() for arm in each]
    by_name: dict[str, ArmSpec] = {}
    by_file: dict[str, ContextSpec] = {}
    for arm in arms:
        assert by_name.setdefault(arm.name, arm) == replace(arm, label=by_name[arm.name].label)
        assert "/" not in arm.name + arm.contexts.name
        if arm.contexts.trained:
            assert by_file.setdefault(arm.contexts.name, arm.contexts) == arm.contexts


# ---- equal starts, fixed contexts, the control ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
def test_all_arms_of_a_seed_start_alike(source: EmbeddedCorpus, seed: int) -> None:
    """One token block, one order of batches; tied arms on one embedding start at one loss, untied ones at ln V."""
    task = dataset_of(source, 300, 120)
    starts, first, blocks = {}, {}, {}
    for arm in freeze_arms(FREEZE):
        contexts = stages(FREEZE, task).contexts(arm.contexts, seed)
        model = stages(FREEZE, task).model(arm, contexts, seed)
        training = training_of(FREEZE, task, model, seed)
        starts[arm.name] = evaluate(model, training.valid, 64, judging=training.judging).loss
        first[arm.name] = training._gradients(training._batch(0, 0), 0)[0]
        blocks[arm.name] = {name: each for name, each in model.parameters.items() if name.startswith("token")}

    for told in (starts, first):
        assert told["frozen"] == told["trained"]
        assert told["random-frozen"] == told["random-trained"] != told["frozen"]
    assert starts["frozen-untied"] == starts["trained-untied"] == pytest.approx(math.log(132))
    assert all(torch.equal(each[name], blocks["frozen"][name]) for each in blocks.values() for name in each)


@pytest.mark.parametrize("arm", freeze_arms(FREEZE), ids=lambda arm: arm.name)
def test_training_moves_no_context_and_what_is_frozen_stays(source: EmbeddedCorpus, arm: ArmSpec) -> None:
    task = dataset_of(source, 300, 120)
    contexts = stages(FREEZE, task).contexts(arm.contexts, 0)
    before, embedding = contexts.after.clone(), contexts.embedding.clone()
    run = train_arm(replace(FREEZE, out=Path("arm")), task, arm, contexts, 0)

    assert run.drift == 0.0
    assert torch.equal(contexts.after, before)
    assert torch.equal(contexts.embedding, embedding)
    again = stages(FREEZE, task).contexts(arm.contexts, 0)
    assert torch.equal(again.after, before)


def test_an_arm_counts_what_it_trains_and_all_there_is(source: EmbeddedCorpus) -> None:
    found = compared(replace(FREEZE, seeds=1, arms="frozen,trained"), source)
    frozen, trained = (found.arms[name].runs[0] for name in ("frozen", "trained"))
    size = BlockSize(embedding=8, context=8, layers=1)

    assert frozen.total == trained.total == 132 * 8 + 16 + size.token_parameters() + size.context_parameters()
    assert (frozen.trainable, trained.trainable) == (16 + size.token_parameters(), 132 * 8 + frozen.trainable)


def test_the_random_control_has_the_length_of_the_pretrained_and_nothing_else(source: EmbeddedCorpus) -> None:
    """Drawn by the seed: the same for the same one, another for another, of equal mean square, and no words in it."""
    task = dataset_of(source, 300, 120)
    one, same, other = (task.vectors("random", seed) for seed in (0, 0, 1))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert task.vectors("pretrained", 5) is task.embedding
    assert float(one.square().mean() / task.embedding.square().mean()) == pytest.approx(1, abs=0.2)
    assert abs(float(torch.nn.functional.cosine_similarity(one, task.embedding).mean())) < 0.15


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_gives_the_contexts_that_it_names(source: EmbeddedCorpus, reading: str) -> None:
    """After: layer by layer; final and before: one for all layers; none: zeros, whatever the contexts were."""
    asked = replace(FREEZE, layers=2, reading=reading)
    task, arm = dataset_of(source, 300, 120), freeze_arms(asked)[0]
    contexts = stages(asked, task).contexts(arm.contexts, 0)
    model = stages(asked, task).model(arm, contexts, 0)
    given_to = model._given(torch.arange(5))

    wanted = {"after": contexts.after[:5], "final": contexts.after[:5], "none": torch.zeros(5, 8)}
    wanted["before"] = torch.cat([torch.zeros(1, 8), contexts.after[:4]])
    assert len(given_to) == 2
    assert torch.equal(given_to[-1], wanted[reading])
    assert torch.equal(given_to[0], given_to[1]) == (reading != "after")


def test_contexts_measure_their_own_error(source: EmbeddedCorpus) -> None:
    task = dataset_of(source, 2_000, 500)
    design = freeze_arms(replace(FREEZE, tokens=2_000))[0].contexts
    found: Contexts = stages(replace(FREEZE, tokens=2_000), task).contexts(design, 0)
    plain = stages(replace(FREEZE, tolerance=1e-12), task).contexts(design, 0)

    assert plain.measured.plain
    assert found.after.shape == (3_000, 8)
    assert float((found.after - plain.after).abs().max()) <= 1e-3
    assert 0 < found.measured.ranks["train"] <= 1
    assert found.measured.checked >= 64


def test_errors_are_the_largest_ones_of_all_texts(source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left at a seam, and what the check found, of the training text and of the others."""
    real, told = context_stages.fixed_contexts, iter(((1e-6, 2e-7), (3e-6, 1e-7), (2e-6, 1e-8)))

    def made(*given: Any, **words: Any) -> Any:
        seam, largest = next(told)
        return replace(real(*given, **words), seam_error=seam, max_error=largest)

    monkeypatch.setattr(context_stages, "fixed_contexts", made)
    design = replace(freeze_arms(FREEZE)[0].contexts, trained=False)
    measured = stages(FREEZE, dataset_of(source, 300, 120)).contexts(design, 0).measured

    assert (measured.seam_error, measured.max_error) == (3e-6, 2e-7)


def test_the_untrained_rank_is_that_of_the_block_before_its_training(source: EmbeddedCorpus) -> None:
    task = dataset_of(source, 300, 120)
    design = freeze_arms(FREEZE)[0].contexts
    trained, untrained = (
        stages(FREEZE, task).contexts(replace(design, trained=each), 0).measured.ranks for each in (True, False)
    )

    assert trained["untrained"] == untrained["train"] == untrained["untrained"]
    assert trained["untrained"] != trained["train"]


# ---- what is read -------------------------------------------------------------------------------------------------


def test_the_made_embedding_is_the_same_in_every_run(source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit and under the same digest; and while it is made it can be stopped."""
    monkeypatch.setattr(context_stages, "LINES", 60)
    again = made(EQUATIONS, 8)

    assert torch.equal(again.embedding, source.embedding)
    assert (again.digest, again.name) == (source.digest, "made in the run")
    with pytest.raises(Stopped):
        made(EQUATIONS, 8, Stop(at=1))


def test_the_made_embedding_read_none_of_the_lines_that_are_read_later(source: EmbeddedCorpus) -> None:
    read = set(Grammar.standard().lines(LINES // 20, MADE_SEED))
    later = {*source.corpus.train, *source.corpus.valid}

    assert len(read & later) / len(read) < 0.01
    assert source.corpus.train[:50] == Grammar.standard().lines(50, 1)


def test_random_vectors_need_no_embedding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With ``--vectors random`` nothing is made and no matrix is read; the name says what it is."""
    monkeypatch.setattr("llmlab.lab.context_stages.made", lambda *_: pytest.fail("it was made"))
    found = loaded(EQUATIONS, TwoStageSettings(width=6, vectors="random"), vectors="random")
    assert found.embedding.shape == (132, 6)
    assert found.name.startswith("random")

    files = {name: content for name, content in model_files().items() if name != "model.safetensors"}
    asked = TwoStageSettings(width=6, data="synthetic", pretrained=write_files(tmp_path / "words only", files))
    found = loaded(EQUATIONS, asked, vectors="random")
    assert found.embedding.shape[1] == 6
    assert float(found.embedding.square().sum(1).mean()) == pytest.approx(1, abs=0.1)
    with pytest.raises(TextError, match="safetensors"):
        loaded(EQUATIONS, asked)


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
    count = Stop()
    for wrong, words in (({"batch": 300}, "--batch: 300 tokens"), ({"inputs": 40, "val_tokens": 30}, "--inputs: 40")):
        asked = replace(FREEZE, **wrong)
        with pytest.raises(SettingError, match=words):
            compared(asked, source, count)
    grown = replace(FREEZE, grow="64", batch=64)
    with pytest.raises(SettingError, match="only 63"):
        compared(grown, source, count)
    assert (count.told, Path("runs").exists()) == ([], False)
    assert compared(replace(FREEZE, batch=299, arms="frozen", seeds=1), source).finished


def stand_in(folder: Path, train: list[str], valid: list[str]) -> EmbeddedCorpus:
    """Return a text read by a stand-in model."""
    found = load_pretrained(write_files(folder / "model", model_files()))
    assert found.embedding is not None
    return EmbeddedCorpus(Corpus("mine", train, valid), subword_coder(found), found.embedding, found.name, found.digest)


def test_a_text_of_unknown_words_is_refused(tmp_path: Path) -> None:
    known, unknown = "bali dona kiri gule", " ".join(["漢字"] * 400)
    with pytest.raises(TextError, match=r"mine: .* to train on .* knows none"):
        dataset_of(stand_in(tmp_path, [unknown], [known]), 64, 16)
    with pytest.raises(TextError, match=r"mine: .* to validate with .* knows none"):
        dataset_of(stand_in(tmp_path, [known] * 20, [unknown]), 64, 16)


def test_batches_of_unknown_words_teach_nothing_and_stop_nothing(tmp_path: Path) -> None:
    """With one token per update most updates have no target: the loss told stays a number."""
    lines = [f"{' '.join(['漢字'] * 30)} {word}" for word in ("bali", "dona", "kiri", "gule")]
    source = stand_in(tmp_path, lines * 2, ["bali dona 漢字 kiri"])
    asked = replace(FREEZE, tokens=80, val_tokens=16, batch=1, epochs=1, seeds=1, arms="frozen")
    count = Stop()
    found = compared(asked, source, count)

    assert len(found.arms["frozen"].runs) == 1
    assert math.isfinite(found.arms["frozen"].stat("val_loss_token")[""])
