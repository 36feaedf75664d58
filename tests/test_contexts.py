"""What chapters 5 and 6 share: arms as data, equal starts, contexts that stay, counting on streams, runs that go on."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmlab.contexts import figures, keeping, made, outcome, stage1, tables, token_block
from llmlab.contexts.arms import Arm, Design, freeze_arms, stage_arms
from llmlab.contexts.findings import better, by_ratio, change, worse
from llmlab.contexts.loading import loaded, of_chance
from llmlab.contexts.running import ArmRuns, Comparison, compared, paired
from llmlab.contexts.stage1 import Contexts, contexts_of
from llmlab.contexts.task import Material, bayes_loss, task_of
from llmlab.contexts.token_block import built, precision_of, train_arm, training_of
from llmlab.errors import CheckpointError, SettingError, Stopped, TextError, WriteError
from llmlab.measure.ngram import Reference, stream_references
from llmlab.measure.stats import mean_interval
from llmlab.model.context_token import BlockSize
from llmlab.settings import EmbeddingFreezeSettings, TwoStageSettings
from llmlab.settings.contexts import ABLATIONS, FREEZE_ARMS, READINGS
from llmlab.text.corpus import Corpus
from llmlab.text.grammar import Grammar
from llmlab.text.pretrained import load_pretrained
from llmlab.text.streams import Stream, stream, subword_coder, word_coder
from llmlab.text.words import BOS, EOS, PAD
from llmlab.train.fit import Diverged
from llmlab.train.judging import evaluate
from stand_in_model import model_files, write_files
from strategies_contexts import (
    SMALL,
    Stop,
    arm_named,
    arm_runs,
    compared_by_hand,
    differences,
    losses,
    measured,
    small_task,
    without_times,
)

FREEZE = EmbeddingFreezeSettings(**SMALL, grow="none")
UPDATES = 10


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of a test leaves its checkpoints in the test's own folder."""
    monkeypatch.chdir(tmp_path)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def material() -> Iterator[Material]:
    """The synthetic language with an embedding that was made of sixty lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "LINES", 60)
        yield made.made(8)


def numbers(found: Comparison) -> dict[str, Any]:
    """Return what a comparison measured, without times."""
    return without_times(outcome.metrics(found))


# ---- arms as data -------------------------------------------------------------------------------------------------


def test_the_grid_is_what_its_names_say() -> None:
    """Each of the six arms is frozen or trained, tied or untied, pretrained or from chance, as it is called."""
    arms = {arm.name: arm for arm in freeze_arms(FREEZE)}

    assert tuple(arms) == FREEZE_ARMS
    for name, arm in arms.items():
        assert arm.learns_embedding == ("trained" in name)
        assert arm.tied == ("untied" not in name)
        assert arm.design.vectors == ("random" if "random" in name else "pretrained")
    assert len({arm.label for arm in arms.values()}) == len(arms)


@given(st.sets(st.sampled_from([64, 300, 999, 64_000]), min_size=1), st.permutations(FREEZE_ARMS[:4]))
def test_growth_adds_the_first_two_arms_and_nothing_else(sizes: set[int], names: list[str]) -> None:
    """At every other number of tokens there is one frozen and one trained arm, in whatever order things were asked."""
    asked = replace(FREEZE, arms=",".join(names), grow=",".join(map(str, sizes)))
    arms = freeze_arms(asked)
    others = [arm for arm in arms if arm.design.tokens != 300]

    assert [arm.name for arm in arms[:4]] == list(FREEZE_ARMS[:4])
    assert {arm.name for arm in others} == {f"{n}-{size}" for size in sizes - {300} for n in ("frozen", "trained")}
    for arm in others:
        own = next(one for one in arms if one.name == arm.name.rpartition("-")[0])
        assert replace(arm, name=own.name, label=own.label, design=own.design) == own


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
        "noise": {"noise", "trained"},
        "layers": {"layers"},
        "wiring": {"wiring", "widths"},
        "reading": set(),
    }

    assert list(found) == ["main", *(name for name in ABLATIONS if name in names)]
    for name in names:
        for arm in found[name]:
            changed = {key for key, value in vars(arm.design).items() if value != vars(own.design)[key]}
            assert changed <= may_differ[name]
            assert (arm.reading == own.reading) or name == "reading"
            assert (arm.name == "main") == (arm.design == own.design and arm.reading == own.reading)
        assert len({arm.label for arm in found[name]}) == len(found[name])


@given(stage_settings)
def test_equal_names_mean_equal_arms_and_equal_files_equal_blocks(asked: TwoStageSettings) -> None:
    """Over all ablations an arm's name stands for one thing to train, and a block's file for one trained block."""
    arms = [arm for each in stage_arms(replace(asked, ablate="all")).values() for arm in each]
    by_name: dict[str, Arm] = {}
    by_file: dict[str, Design] = {}
    for arm in arms:
        assert by_name.setdefault(arm.name, arm) == replace(arm, label=by_name[arm.name].label)
        assert "/" not in arm.name + arm.design.name
        if arm.design.trained:
            assert by_file.setdefault(arm.design.name, arm.design) == arm.design


# ---- equal starts, fixed contexts, the control ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3])
def test_all_arms_of_a_seed_start_alike(material: Material, seed: int) -> None:
    """One token block, one order of batches; tied arms on one embedding start at one loss, untied ones at ln V."""
    task = task_of(material, 300, 120)
    starts, first, blocks = {}, {}, {}
    for arm in freeze_arms(FREEZE):
        contexts = contexts_of(FREEZE, task, arm.design, seed)
        model = built(FREEZE, task, arm, contexts, seed)
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
def test_training_moves_no_context_and_what_is_frozen_stays(material: Material, arm: Arm) -> None:
    """After training every context is what it was, to the bit; so is the embedding unless it is trained."""
    task = task_of(material, 300, 120)
    contexts = contexts_of(FREEZE, task, arm.design, 0)
    before, embedding = contexts.after.clone(), contexts.embedding.clone()
    run = train_arm(replace(FREEZE, out=Path("arm")), task, arm, contexts, 0)

    assert run.drift == 0.0
    assert torch.equal(contexts.after, before)
    assert torch.equal(contexts.embedding, embedding)
    again = contexts_of(FREEZE, task, arm.design, 0)
    assert torch.equal(again.after, before)


def test_the_counts_are_those_of_the_seed_document() -> None:
    """Trained and all parameters, context block included: exactly 7,093,248 and 45,690,624 of 52,782,336."""
    size, embedding = BlockSize(), 50_257 * 768
    token_side = size.token_parameters() + 2 * 768

    assert token_side == 7_093_248
    assert token_side + embedding == 45_690_624
    assert token_side + embedding + size.context_parameters() == 52_782_336


def test_an_arm_counts_what_it_trains_and_all_there_is(material: Material) -> None:
    """Frozen and trained have as many parameters in all, the context block's among them; they differ in what learns."""
    found = compared(replace(FREEZE, seeds=1), material, freeze_arms(replace(FREEZE, arms="frozen,trained")))
    frozen, trained = (found.arms[name].runs[0] for name in ("frozen", "trained"))
    size = BlockSize(embedding=8, context=8, layers=1)

    assert frozen.total == trained.total == 132 * 8 + 16 + size.token_parameters() + size.context_parameters()
    assert (frozen.trainable, trained.trainable) == (16 + size.token_parameters(), 132 * 8 + frozen.trainable)


def test_the_random_control_has_the_length_of_the_pretrained_and_nothing_else(material: Material) -> None:
    """Drawn by the seed: the same for the same one, another for another, of equal mean square, and no words in it."""
    task = task_of(material, 300, 120)
    one, same, other = (task.vectors("random", seed) for seed in (0, 0, 1))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert task.vectors("pretrained", 5) is task.embedding
    assert float(one.square().mean() / task.embedding.square().mean()) == pytest.approx(1, abs=0.2)
    assert abs(float(torch.nn.functional.cosine_similarity(one, task.embedding).mean())) < 0.15


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_gives_the_contexts_that_it_names(material: Material, reading: str) -> None:
    """After: layer by layer; final and before: one for all layers; none: zeros, whatever the contexts were."""
    asked = replace(FREEZE, layers=2, reading=reading)
    task, arm = task_of(material, 300, 120), freeze_arms(asked)[0]
    contexts = contexts_of(asked, task, arm.design, 0)
    model = built(asked, task, arm, contexts, 0)
    given_to = model._given(torch.arange(5), torch.float32)

    wanted = {"after": contexts.after[:5], "final": contexts.after[:5], "none": torch.zeros(5, 8)}
    wanted["before"] = torch.cat([torch.zeros(1, 8), contexts.after[:4]])
    assert len(given_to) == 2
    assert torch.equal(given_to[-1], wanted[reading])
    assert torch.equal(given_to[0], given_to[1]) == (reading != "after")


# ---- what is read -------------------------------------------------------------------------------------------------


def test_the_made_embedding_is_the_same_in_every_run(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit and under the same digest; and while it is made it can be stopped."""
    monkeypatch.setattr(made, "LINES", 60)
    again = made.made(8)

    assert torch.equal(again.embedding, material.embedding)
    assert (again.digest, again.name) == (material.digest, "made in the run")
    with pytest.raises(Stopped):
        made.made(8, Stop(at=1))


def test_the_made_embedding_read_none_of_the_lines_that_are_read_later(material: Material) -> None:
    """Its lines are drawn by another seed, and nearly none of them stands in the text."""
    read = set(Grammar.standard().lines(made.LINES // 20, made.SEED))
    later = {*material.corpus.train, *material.corpus.valid}

    assert len(read & later) / len(read) < 0.01
    assert material.corpus.train[:50] == Grammar.standard().lines(50, 1)


def test_random_vectors_need_no_embedding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With ``--vectors random`` nothing is made and no matrix is read; the name says what it is."""
    monkeypatch.setattr("llmlab.contexts.loading.made", lambda width: pytest.fail("it was made"))
    found = loaded(TwoStageSettings(width=6, vectors="random"), vectors="random")
    assert found.embedding.shape == (132, 6)
    assert found.name.startswith("random")

    files = {name: content for name, content in model_files().items() if name != "model.safetensors"}
    asked = TwoStageSettings(width=6, data="synthetic", pretrained=write_files(tmp_path / "words only", files))
    found = loaded(asked, vectors="random")
    assert found.embedding.shape[1] == 6
    assert float(found.embedding.square().sum(1).mean()) == pytest.approx(1, abs=0.1)
    with pytest.raises(TextError, match="safetensors"):
        loaded(asked)


def test_every_size_keeps_the_same_held_out_documents(material: Material) -> None:
    """However much is trained on: the held-out stream is the same, and a smaller text begins a larger one."""
    small, large = task_of(material, 100, 120), task_of(material, 400, 120)

    assert torch.equal(small.text.valid.tokens, large.text.valid.tokens)
    assert torch.equal(small.text.train.tokens, large.text.train.tokens[:100])
    assert small.bayes_loss == large.bayes_loss
    assert small.digest != large.digest
    assert small.references["unigram"].loss != large.references["unigram"].loss


def line_losses(line: str) -> list[float]:
    """Return the exact loss of every token of one line and its end, from the grammar itself."""
    grammar = Grammar.standard()
    words = grammar.vocabulary()
    numbers = words.encode(line)
    window = torch.tensor([numbers + [PAD] * (grammar.most + 2 - len(numbers))])
    return (-grammar.log_probabilities(window, words)[0, : len(numbers) - 1]).tolist()


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 50), st.integers(0, 40))
def test_the_bayes_loss_of_a_stream_is_that_of_its_lines(count: int, seed: int, cut: int) -> None:
    """Line by line from the grammar, of the last one only what is there, each token counted once."""
    words = Grammar.standard().vocabulary()
    lines = Grammar.standard().lines(count, seed)
    whole = stream(lines, word_coder(words), 10**6)
    tokens = whole.tokens[: max(2, len(whole.tokens) - cut)]
    cut_off = Stream(tokens, whole.starts[whole.starts < len(tokens)])
    wanted = [loss for line in lines for loss in line_losses(line)][: len(tokens) - 1]

    assert bayes_loss(cut_off, words) == pytest.approx(sum(wanted) / len(wanted))


def test_the_floor_is_below_what_counting_reaches(material: Material) -> None:
    """On the same targets no baseline is better than the best reader, and the scale between them ends there."""
    task = task_of(material, 4_000, 1_000)
    assert task.bayes_loss is not None

    assert task.bayes_loss < min(task.references[name].loss for name in ("unigram", "bigram", "kneser_ney_3"))
    assert task.context_recovered(task.bayes_loss) == pytest.approx(1)
    assert task.context_recovered(task.references["bigram"].loss) == pytest.approx(0)
    assert task.valid_targets == 999


# ---- what counting reaches on a stream ------------------------------------------------------------------------------

SIZE = 5
documents = st.lists(st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=6), min_size=1, max_size=6)


def joined(found: list[list[int]], cut: int = 0) -> tuple[Tensor, Tensor]:
    """Return documents as a stream in which 0 ends each, some of its last tokens cut off."""
    tokens, starts = [0], []
    for document in found:
        starts.append(len(tokens))
        tokens += [*document, 0]
    tokens = tokens[: max(3, len(tokens) - cut)]
    return torch.tensor(tokens), torch.tensor([start for start in starts if start < len(tokens)])


def slow_levels(text: list[list[int]], never: int | None) -> list[Counter[tuple[int, ...]]]:
    """Return the counts of Kneser-Ney by order: of trigrams how often, of shorter ones after how many words."""
    ends = [(row, end) for row in text for end in range(1, len(row)) if row[end] != never]
    threes = Counter(tuple(row[end - 2 : end + 1]) for row, end in ends if end > 1)
    pairs = {tuple(row[end - 1 : end + 1]) for row, end in ends}
    return [Counter(gram[1:] for gram in pairs), Counter(gram[1:] for gram in threes), threes]


def slow_probability(counts: list[Counter[tuple[int, ...]]], context: tuple[int, ...], token: int) -> float:
    """Return P(token | context), level by level, from dictionaries."""
    of_order = counts[len(context)]
    lower = slow_probability(counts, context[1:], token) if context else 1 / SIZE
    after = {gram[-1]: count for gram, count in of_order.items() if gram[:-1] == context}
    if not after:
        return lower
    ones, twos = (sum(count == r for count in of_order.values()) for r in (1, 2))
    discount = ones / (ones + 2 * twos) if ones and twos else 0.5
    kept = max(after.get(token, 0) - discount, 0)
    return (kept + discount * len(after) * lower) / sum(after.values())


def slow_references(
    train: list[int], starts: list[int], valid: list[int], unknown: int | None
) -> dict[str, tuple[float, list[list[float]]]]:
    """Return loss and, for every scored target, all probabilities, by loops over dictionaries."""
    targets = [token for token in train[1:] if token != unknown]
    pairs = Counter((a, b) for a, b in pairwise(train) if b != unknown)
    levels = slow_levels([train[first - 1 : last] for first, last in pairwise([*starts, len(train)])], unknown)

    def one(token: int) -> float:
        return (targets.count(token) + 1) / (len(targets) + SIZE)

    def two(before: int, token: int) -> float:
        total = sum(count for (a, _), count in pairs.items() if a == before)
        return 0.9 * pairs[before, token] / total + 0.1 * one(token) if total else one(token)

    found: dict[str, list[list[float]]] = {"unigram": [], "bigram": [], "kneser_ney_3": []}
    right = []
    for place in range(1, len(valid)):
        if valid[place] == unknown:
            continue
        right.append(valid[place])
        past = (valid[max(place - 2, 0)], valid[place - 1])
        found["unigram"].append([one(token) for token in range(SIZE)])
        found["bigram"].append([two(past[1], token) for token in range(SIZE)])
        found["kneser_ney_3"].append([slow_probability(levels, past, token) for token in range(SIZE)])
    return {
        name: (-math.fsum(math.log(row[y]) for row, y in zip(each, right, strict=True)) / len(right), each)
        for name, each in found.items()
    }


@settings(max_examples=60)
@given(documents, documents, st.integers(0, 4), st.sampled_from([None, 1, SIZE - 1]))
def test_references_on_a_stream_equal_the_dictionaries(
    train: list[list[int]], valid: list[list[int]], cut: int, unknown: int | None
) -> None:
    """Unigram, bigram and Kneser-Ney on a stream are those of loops; every distribution sums to one."""
    (tokens, starts), (held_out, _) = joined(train, cut), joined(valid)
    right = [token for token in held_out[1:].tolist() if token != unknown]
    assume(any(token != unknown for token in tokens[1:].tolist()) and right)
    found = stream_references(tokens, starts, held_out, SIZE, unknown)
    slow = slow_references(tokens.tolist(), starts.tolist(), held_out.tolist(), unknown)

    for name, (loss, probabilities) in slow.items():
        assert found[name].loss == pytest.approx(loss)
        assert found[name].ppl == pytest.approx(math.exp(loss))
        assert all(sum(row) == pytest.approx(1) for row in probabilities)
        best = [[row[y] - max(row[:y] + row[y + 1 :]) for row, y in zip(probabilities, right, strict=True)]]
        surely, maybe = (sum(gap > edge for gap in best[0]) / len(right) for edge in (1e-9, -1e-9))
        assert surely - 1e-9 <= (found[name].accuracy or 0) <= maybe + 1e-9
    shares = [right.count(token) / len(right) for token in range(SIZE) if token != unknown]
    assert any(found["majority"].accuracy == pytest.approx(share) for share in shares)


def test_references_of_an_example_by_hand() -> None:
    """Three targets after two equal documents: every probability worked out on paper."""
    found = stream_references(torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.tensor([1, 4]), torch.tensor([0, 1, 3, 0]), 4)

    def loss(*probabilities: float) -> float:
        return -sum(map(math.log, probabilities)) / 3

    assert found["unigram"].loss == pytest.approx(loss(0.3, 0.1, 0.3))
    assert found["bigram"].loss == pytest.approx(loss(0.9 + 0.03, 0.01, 0.3))
    word, never = 0.5 / 3 + 0.5 / 4, 0.5 / 4  # of the lowest level: three words stand after one other each
    assert found["kneser_ney_3"].loss == pytest.approx(loss(word, 0.25 * 0.5 * never, word))
    assert isinstance(found["majority"], Reference)


def test_a_context_does_not_reach_over_the_end_of_a_document() -> None:
    """Trigrams are counted inside documents: which one came before changes no count of Kneser-Ney."""
    one, starts = joined([[1, 2, 3], [2, 1], [3, 3, 1]])
    other, other_starts = joined([[3, 3, 1], [1, 2, 3], [2, 1]])
    held_out, _ = joined([[1, 2], [3, 1, 2]])
    told = [
        stream_references(tokens, where, held_out, SIZE)["kneser_ney_3"].loss
        for tokens, where in ((one, starts), (other, other_starts))
    ]
    assert told[0] == pytest.approx(told[1])


# ---- pairs and verdicts ---------------------------------------------------------------------------------------------


def told_of(values: list[float]) -> dict[str, float]:
    """Return differences as ``paired`` tells them."""
    return {"n": float(len(values)), **mean_interval(values)}


@given(differences)
def test_a_direction_turns_round_with_its_sign(values: list[float]) -> None:
    """Better one way is worse the other way, and worse is the opposite of better; nothing is both."""
    one, back = told_of(values), told_of([-value for value in values])
    opposite = {"supported": "refuted", "refuted": "supported", "inconclusive": "inconclusive"}

    assert better(one) == worse(back)
    assert worse(one) == opposite[better(one)]
    if better(one) == "supported":
        assert one[""] < 0
    if len(values) < 3:
        assert better(one) == "inconclusive"
    assert better({}) == worse({}) == "inconclusive"


@given(st.lists(st.floats(0.01, 3), min_size=3, max_size=6), st.floats(0.1, 10))
def test_a_direction_does_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    """Nats or bits: scaled differences have the same verdict; equal differences of one sign always decide."""
    assert worse(told_of(values)) == worse(told_of([unit * value for value in values]))
    assert worse(told_of([values[0]] * 3)) == "supported"
    assert better(told_of([values[0]] * 3)) == "refuted"


@given(differences, st.floats(-0.9, 2).filter(lambda claimed: abs(claimed) > 1e-3))
def test_a_claimed_change_is_judged_by_where_its_interval_lies(values: list[float], claimed: float) -> None:
    """Inside: supported; beside it by a factor of two at most: refined; elsewhere: refuted; around 0: open."""
    told = told_of(values)
    verdict = by_ratio(told, claimed)
    if len(values) < 3:
        assert verdict == "inconclusive"
        return
    low, high = math.expm1(min(told["_low"], 600)), math.expm1(min(told["_high"], 600))
    assume(min(abs(low - claimed), abs(high - claimed), abs(low), abs(high)) > 1e-9)
    assert (verdict == "supported") == (low <= claimed <= high)
    share = told[""] / math.log1p(claimed)
    if verdict == "refined":
        assert 0.5 <= share <= 2
    if verdict == "refuted":
        assert not 0.5 <= share <= 2
    if verdict == "inconclusive":
        assert low < 0 < high


@given(losses, losses, st.sets(st.integers(0, 5)), st.sets(st.integers(0, 5)))
def test_only_seeds_that_both_finished_are_subtracted(
    one: list[float], other: list[float], lost: set[int], gone: set[int]
) -> None:
    """Whatever runs are missing: the mean is that of the common seeds, and words are found where there is none."""
    arms = [
        arm_runs(
            arm_named(FREEZE, name),
            {seed: {"val_loss_token": loss} for seed, loss in enumerate(values) if seed not in without},
        )
        for name, values, without in (("a", one, lost), ("b", other, gone))
    ]
    wanted = [b - a for seed, (a, b) in enumerate(zip(one, other, strict=False)) if seed not in lost | gone]
    told = paired("val_loss_token", *arms)

    assert told.get("n", 0) == len(wanted)
    if wanted:
        assert told[""] == pytest.approx(sum(wanted) / len(wanted))
        assert f"n = {len(wanted)}" in change(*arms)
        assert f"{math.expm1(told['']):+.1%}" in outcome.difference(*arms)
    else:
        assert "no seed finished in both" in change(*arms)
        assert outcome.difference(*arms) == ""


# ---- how a comparison is told ---------------------------------------------------------------------------------------


def by_loss(name: str, *values: float, label: str = "") -> ArmRuns:
    """Return an arm with these losses, seed by seed, and all other numbers made of them."""
    same = dict.fromkeys(("val_accuracy", "gap", "gap_last", "best_epoch", "epochs", "updates"), 1.0)
    of_loss = ("val_loss_token", "train_loss_at_best", "train_loss_last", "val_loss_last")
    told = {seed: same | dict.fromkeys(of_loss, loss) | {"val_ppl": math.exp(loss)} for seed, loss in enumerate(values)}
    return arm_runs(arm_named(FREEZE, name, label), told)


def test_tables_have_n_means_and_intervals() -> None:
    """Every arm's row has its n, exp of its mean loss and of the interval; one that has no run says why."""
    lost = ArmRuns(arm_named(FREEZE, "c"), trouble=["seed 0 diverged at update 3"])
    told = tables.arms("x", [by_loss("a", 3.0, 3.1, 3.2), by_loss("b", 3.0), lost])
    cells = [dict(zip([column.name for column in told.columns], row, strict=True)) for row in told.rows]
    wanted = mean_interval([3.0, 3.1, 3.2])

    assert [row["n"] for row in cells] == [3, 1, 0]
    assert [cells[0][name] for name in ("val PPL", "95 % low", "95 % high")] == [
        pytest.approx(math.exp(wanted[end])) for end in ("", "_low", "_high")
    ]
    assert cells[1]["95 % low"] is None
    assert (cells[2]["val PPL"], cells[2]["state"]) == (None, "seed 0 diverged at update 3")


def test_samples_have_no_gaps_and_metrics_end_in_their_arm() -> None:
    """Values by seed only of arms that finished every seed; an arm without a run is null with its reason."""
    lost = ArmRuns(arm_named(FREEZE, "noise-0.05"), trouble=["seed 0 diverged at update 3"])
    found = compared_by_hand(FREEZE, [by_loss("main", 1.0, 2.0), by_loss("b-c", 2.0), lost])
    metrics = outcome.metrics(found)

    assert set(outcome.samples(found)) == {"val_ppl", "val_loss_token", "val_accuracy"}
    assert metrics["val_loss_token"] == 1.5
    assert metrics["val_loss_token_b_c"] == 2.0
    assert metrics["val_ppl_noise_0_05"] is None
    assert metrics["val_ppl_noise_0_05_reason"] == "seed 0 diverged at update 3"
    assert metrics["total_parameters"] == 20


def test_an_untrained_block_has_no_share_that_converged() -> None:
    """The contract's name is there all the same, as null with its reason."""
    found = compared_by_hand(FREEZE, [by_loss("main", 1.0)])
    for each in found.contexts.values():
        each[:] = [replace(one, converged=None) for one in each]
    metrics = outcome.metrics(found)

    assert metrics["converged_fraction"] is None
    assert "not trained" in str(metrics["converged_fraction_reason"])


def test_curves_end_with_their_shortest_seed() -> None:
    """A mean over seeds is told as long as all of them were training."""
    arm = by_loss("a", 3.0, 2.0)
    arm.runs = [replace(run, losses=[3.0, 2.0, 1.0][: 2 + run.seed]) for run in arm.runs]

    assert figures.common(arm, "losses") == [3.0, 2.0]
    shown = tables.epochs([arm]).rows
    assert [row[1] for row in shown] == [pytest.approx(math.exp(3)), pytest.approx(math.exp(2)), None]


def test_the_spread_needs_two_changes_and_names_the_ends() -> None:
    """The sentence says the least and the most of the single changes; one alone is no spread."""
    main, least, most = by_loss("main", 2.0), by_loss("a", 1.9), by_loss("b", 2.2)

    assert outcome.spread(main, [least]) == ""
    assert "2 single changes change the PPL by -9.5% (a) to +22.1% (b)" in outcome.spread(main, [most, least])


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_steps_count_all_runs_as_one(material: Material) -> None:
    """The updates of all arms and seeds rise together to the planned number; training a block counts as none."""
    count = Stop()
    asked = replace(FREEZE, arms="frozen,random-frozen", patience=100)
    found = compared(asked, material, freeze_arms(asked), count)
    made_updates = sum(int(value) for arm in found.finished for value in arm.values("updates"))

    assert count.planned == {4 * UPDATES} == {made_updates}
    assert count.updates == sorted(count.updates)
    assert count.updates[-1] == 4 * UPDATES
    assert any("context block, iteration 2 of 3" in told for told in count.told)
    assert any(told.startswith("random, frozen, seed 1: epoch 2 of 2") for told in count.told)


@pytest.mark.parametrize("at", [0, 3, 5, 12, 20, 33])
def test_a_stopped_comparison_goes_on_to_the_same_numbers(material: Material, at: int) -> None:
    """Stopped in Stage 1, within or between runs: what is finished is told, and the rest follows to the bit."""
    asked = replace(FREEZE, arms="frozen,trained")
    arms = freeze_arms(asked)
    straight = compared(replace(asked, out=Path("straight")), material, arms)
    if at < UPDATES:  # before the first run is finished there is nothing to tell
        with pytest.raises(Stopped):
            compared(asked, material, arms, Stop(at))
    else:
        stopped = compared(asked, material, arms, Stop(at))
        assert stopped.stopped
        assert any("Unfinished" in note for note in outcome.notes(stopped))
    rest = Stop()
    resumed = compared(replace(asked, resume="auto"), material, arms, rest)

    assert numbers(resumed) == numbers(straight)
    assert not resumed.stopped
    assert len(rest.updates) == 4 * UPDATES - at
    assert len(list(Path("runs").iterdir())) == 1


def test_a_trained_block_is_not_trained_again(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on, every block is found where it was written, and gives the same contexts; a damaged one is made anew."""
    asked = replace(FREEZE, arms="frozen", out=Path("a"))
    arms = freeze_arms(asked)
    first = compared(asked, material, arms)
    trained: list[int] = []
    real = keeping.learn
    monkeypatch.setattr(keeping, "learn", lambda *told: trained.append(told[-2]) or real(*told))
    again = compared(replace(asked, resume="auto"), material, arms)
    assert (numbers(again), trained) == (numbers(first), [])

    block = next(Path("a").glob("block-*-seed1.ckpt"))
    block.write_bytes(block.read_bytes()[:-1])
    assert numbers(compared(replace(asked, resume="a"), material, arms)) == numbers(first)
    assert trained == [1]


def test_a_stop_while_contexts_are_computed_keeps_the_trained_block(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stage 1 can be stopped between tokens, and the block that was trained before it is not trained again."""
    asked = replace(FREEZE, arms="frozen", seeds=1, out=Path("a"))
    arms = freeze_arms(asked)

    def stop(update: int, planned: int, told: str = "") -> None:
        if told.endswith("tokens read") and list(Path("a").glob("block-*.ckpt")):
            raise Stopped("stopped by SIGTERM", 15)

    with pytest.raises(Stopped):
        compared(asked, material, arms, stop)
    monkeypatch.setattr(keeping, "learn", pytest.fail)
    again = compared(replace(asked, resume="auto"), material, arms)
    assert [len(arm.runs) for arm in again.arms.values()] == [1]


@pytest.mark.parametrize("lost", ["best.ckpt", "update-*.ckpt"])
def test_lost_checkpoints_change_no_number(material: Material, lost: str) -> None:
    """Without its best checkpoint a finished run still knows its best epoch; without the last ones it trains again."""
    asked = replace(FREEZE, arms="frozen", out=Path("a"), lr=0.5, epochs=4)
    arms = freeze_arms(asked)
    first = compared(asked, material, arms)
    for path in Path("a").rglob(lost):
        path.unlink()
    again = compared(replace(asked, resume="auto"), material, arms)

    assert numbers(again) == numbers(first)


def test_other_options_begin_anew_and_do_not_meet_the_old_run(material: Material) -> None:
    """``--resume auto`` goes on in a comparison with the same options only; with others it begins one of its own."""
    asked = replace(FREEZE, arms="frozen", seeds=1)
    compared(asked, material, freeze_arms(asked))
    for change_of in ({"noise": 0.2}, {"layers": 2}, {"reading": "before"}, {"block": "untrained"}, {"lr": 0.1}):
        other = replace(asked, resume="auto", **change_of)
        assert compared(other, material, freeze_arms(other)).finished
    assert len(list(Path("runs").iterdir())) == 6
    more = replace(asked, resume="auto", seeds=2, arms="frozen,trained")
    count = Stop()
    compared(more, material, freeze_arms(more), count)
    assert len(list(Path("runs").iterdir())) == 6
    assert len(count.updates) == 3 * UPDATES


def test_more_epochs_go_on_from_fewer(material: Material) -> None:
    """The rate is constant, so a finished comparison can be taken further, and equals the long one."""
    asked = replace(FREEZE, arms="frozen", seeds=1, out=Path("a"))
    arms = freeze_arms(asked)
    compared(asked, material, arms)
    longer = compared(replace(asked, epochs=3, resume="auto"), material, arms)
    straight = compared(replace(asked, epochs=3, out=Path("b")), material, arms)

    assert numbers(longer) == numbers(straight)


def test_folders_that_cannot_be_used_are_refused(material: Material) -> None:
    """A folder with runs, a file, two places for one run, a folder without runs, and one of another run."""
    asked = replace(FREEZE, arms="frozen", seeds=1)
    arms = freeze_arms(asked)
    compared(replace(asked, out=Path("a")), material, arms)
    Path("empty").mkdir()
    Path("file").write_text("x")

    with pytest.raises(SettingError, match="--out: a holds checkpoints; add --resume auto"):
        compared(replace(asked, out=Path("a")), material, arms)
    with pytest.raises(WriteError, match="--out: file is not a folder"):
        compared(replace(asked, out=Path("file")), material, arms)
    for place in ("empty", "file", "nowhere"):
        with pytest.raises(CheckpointError, match=f"--resume: {place} holds no runs"):
            compared(replace(asked, resume=place), material, arms)
    with pytest.raises(CheckpointError, match="of another run: lr"):
        compared(replace(asked, resume="a", lr=0.1), material, arms)
    with pytest.raises(SettingError, match="--out"):
        replace(asked, resume="a", out=Path("b"))
    assert replace(asked, resume="a", out=Path("a")).out == Path("a")


def test_each_run_has_a_folder_of_its_own(material: Material) -> None:
    """Under ``runs``: one folder for the comparison, in it one for each arm and seed, and the trained blocks."""
    asked = replace(FREEZE, arms="frozen,random-frozen")
    compared(asked, material, freeze_arms(asked))
    compared(asked, material, freeze_arms(asked))
    first, second = sorted(Path("runs").iterdir())
    names = sorted(path.name for path in first.iterdir())

    assert first.name.startswith("embedding-freeze-pocket-")
    assert (first.name[-2:], second.name[-2:]) == ("-1", "-2")
    assert [name for name in names if not name.startswith("block")] == [
        *("frozen-seed0", "frozen-seed1", "random-frozen-seed0", "random-frozen-seed1")
    ]
    assert len([name for name in names if name.startswith("block")]) == 4


def test_an_arm_that_diverges_leaves_the_others_alone(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says so, its metric is null, and the other arms are what they are without it."""
    asked = replace(FREEZE, arms="frozen,trained")
    arms = freeze_arms(asked)
    alone = compared(replace(asked, arms="frozen"), material, arms[:1])
    real = train_arm

    def fragile(own: Any, task: Any, arm: Arm, *rest: Any) -> Any:
        if arm.name == "trained":
            raise Diverged(3, torch.zeros(0))
        return real(own, task, arm, *rest)

    monkeypatch.setattr("llmlab.contexts.running.train_arm", fragile)
    count = Stop()
    found = compared(asked, material, arms, count)

    assert found.arms["trained"].state == "seed 0 diverged at update 3; seed 1 diverged at update 3"
    assert found.arms["frozen"].values("val_ppl") == alone.arms["frozen"].values("val_ppl")
    assert outcome.metrics(found)["val_ppl_trained"] is None
    assert any(note.startswith("trained, tied: seed 0 diverged") for note in outcome.notes(found))
    assert not found.stopped
    assert max(count.updates) == 3 * UPDATES


def test_a_block_that_diverges_takes_only_its_own_arms_with_it(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arms on it say in which pass; those on other contexts are trained."""
    asked = replace(FREEZE, arms="frozen,trained,random-frozen", seeds=1)
    real = keeping.learn

    def fragile(own: Any, task: Any, design: Design, *rest: Any) -> Any:
        if design.vectors == "random":
            raise Diverged(1, torch.zeros(0))
        return real(own, task, design, *rest)

    monkeypatch.setattr(keeping, "learn", fragile)
    found = compared(asked, material, freeze_arms(asked))

    assert found.arms["random-frozen"].trouble == ["seed 0: the context block diverged in pass 2"]
    assert [arm.arm.name for arm in found.finished] == ["frozen", "trained"]
    assert len(found.contexts) == 1


def test_a_wild_rate_diverges_or_stays_finite_but_never_fails(material: Material) -> None:
    """However large the learning rate: a run ends with numbers, or says at which update they ended."""
    asked = replace(FREEZE, arms="trained,trained-untied", lr=1e3, block_lr=1e3, seeds=1)
    found = compared(asked, material, freeze_arms(asked))

    for arm in found.arms.values():
        assert arm.runs or "diverged" in arm.state
        assert all(math.isfinite(run.numbers["val_loss_token"]) for run in arm.runs)


# ---- texts that do not fit ------------------------------------------------------------------------------------------


def test_a_batch_or_a_window_larger_than_the_text_is_refused(material: Material) -> None:
    """More tokens at once than there are: refused by the option's name, before anything is trained."""
    count = Stop()
    for wrong, words in (({"batch": 300}, "--batch: 300 tokens"), ({"inputs": 40, "val_tokens": 30}, "--inputs: 40")):
        asked = replace(FREEZE, **wrong)
        with pytest.raises(SettingError, match=words):
            compared(asked, material, freeze_arms(asked), count)
    grown = replace(FREEZE, grow="64", batch=64)
    with pytest.raises(SettingError, match="only 63"):
        compared(grown, material, freeze_arms(grown), count)
    assert (count.told, Path("runs").exists()) == ([], False)
    assert compared(replace(FREEZE, batch=299, arms="frozen", seeds=1), material, freeze_arms(FREEZE)[:1]).finished


def stand_in(folder: Path, train: list[str], valid: list[str]) -> Material:
    """Return a text read by a stand-in model."""
    found = load_pretrained(write_files(folder / "model", model_files()))
    assert found.embedding is not None
    return Material(Corpus("mine", train, valid), subword_coder(found), found.embedding, found.name, found.digest)


def test_a_text_of_unknown_words_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tokenizer knows none of the words there is nothing to score, and the message says so."""
    monkeypatch.setenv("LLMLAB_CACHE", str(tmp_path / "cache"))
    known, unknown = "bali dona kiri gule", " ".join(["漢字"] * 400)
    with pytest.raises(TextError, match=r"mine: .* to train on .* knows none"):
        task_of(stand_in(tmp_path, [unknown], [known]), 64, 16)
    with pytest.raises(TextError, match=r"mine: .* to validate with .* knows none"):
        task_of(stand_in(tmp_path, [known] * 20, [unknown]), 64, 16)


def test_batches_of_unknown_words_teach_nothing_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one token per update most updates have no target: the loss told stays a number."""
    monkeypatch.setenv("LLMLAB_CACHE", str(tmp_path / "cache"))
    lines = [f"{' '.join(['漢字'] * 30)} {word}" for word in ("bali", "dona", "kiri", "gule")]
    material = stand_in(tmp_path, lines * 2, ["bali dona 漢字 kiri"])
    asked = replace(FREEZE, tokens=80, val_tokens=16, batch=1, epochs=1, seeds=1, arms="frozen")
    count = Stop()
    found = compared(asked, material, freeze_arms(asked), count)

    assert len(found.arms["frozen"].runs) == 1
    assert math.isfinite(found.arms["frozen"].mean("val_loss_token")[""])


def test_products_are_fp32_unless_asked_for_or_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The precision asked for is the one used; left to the machine, narrow blocks stay in fp32."""
    monkeypatch.setattr(stage1, "fast_bf16", lambda: True)

    assert precision_of(FREEZE, "cpu") == "fp32"
    assert precision_of(replace(FREEZE, context=256), "cpu") == "bf16"
    assert precision_of(replace(FREEZE, context=256, precision="fp32"), "cpu") == "fp32"
    assert precision_of(replace(FREEZE, precision="bf16"), "cpu") == "bf16"


def test_contexts_measure_their_own_error(material: Material) -> None:
    """What Stage 1 says of itself is true: no context is further from the plain pass than it says."""
    task = task_of(material, 2_000, 500)
    design = freeze_arms(replace(FREEZE, tokens=2_000))[0].design
    found: Contexts = contexts_of(replace(FREEZE, tokens=2_000), task, design, 0)
    plain = contexts_of(replace(FREEZE, tolerance=1e-12), task, design, 0)

    assert plain.measured.plain
    assert found.after.shape == (2_500, 8)
    assert float((found.after - plain.after).abs().max()) <= 1e-3
    assert 0 < found.measured.ranks["train"] <= 1
    assert found.measured.checked >= 64


def test_what_is_made_by_hand_is_what_is_measured() -> None:
    """The stand-ins of these tests have the shape of the real thing."""
    one = measured(FREEZE, arm_named(FREEZE, "a"), 0, 0.5, 0.4)

    assert one.size.context == FREEZE.context
    assert small_task().text.vocabulary == len(small_task().embedding) == 132
    assert token_block.SCORES_AT_ONCE > 0
    assert (PAD, BOS, EOS) == (0, 2, 3)
    assert of_chance(4).digest == of_chance(8).digest
