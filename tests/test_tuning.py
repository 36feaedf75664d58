"""Each arm at its own best: equal effort, a tail that nobody trained on, the same again after a stop."""

import contextlib
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Stop, rows, without_times
from llmlab.embedding_freeze import freeze_arms, run, stage1, stage2
from llmlab.errors import Stopped
from llmlab.fast.fixed_context_lm import FixedContextLM
from llmlab.lab import context_metrics, context_study
from llmlab.lab.context_runs import document_sums
from llmlab.lab.context_study import BESIDE, FACTORS, SHARES, TRIES, Comparison, Try, Tuned, tail_start
from llmlab.lab.context_text import EmbeddedCorpus, dataset_of
from llmlab.lab.optimizer import optimizer_named
from llmlab.lab.steps import Diverged
from llmlab.settings import EmbeddingFreezeSettings
from llmlab.text.streams import Stream
from strategies import SEEDS
from strategies_contexts import FREEZE, SMALL, UPDATES, compared

pytestmark = pytest.mark.usefixtures("elsewhere", "sixty_lines")

TUNE = replace(FREEZE, arms="frozen,trained", seeds=1, tune=True)
ARMS = {arm.name: arm for arm in freeze_arms(FREEZE)}


@pytest.fixture(scope="module")
def straight(source: EmbeddedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A comparison that nothing stopped."""
    return compared(replace(TUNE, out=tmp_path_factory.mktemp("straight") / "runs"), source)


def model_of(data: Any, name: str) -> FixedContextLM:
    return stage2(FREEZE, data, ARMS[name], stage1(FREEZE, data, ARMS[name].contexts, 0), 0)


@given(st.sampled_from(["sgd", "adam", "adamw"]), st.sampled_from([0.0, 0.03, 0.5, 2.0]), SEEDS)
def test_a_share_of_the_rate_is_a_rate_of_its_own(rule: str, share: float, seed: int) -> None:
    """With a share, one parameter moves as under its own optimiser with that rate, and the other as without."""
    chance = torch.Generator().manual_seed(seed)
    start, *gradients = ({name: torch.randn(3, generator=chance) for name in ("embedding", "rest")} for _ in range(5))

    def after(lr: float, shares: dict[str, float]) -> dict[str, torch.Tensor]:
        parameters = {name: tensor.clone() for name, tensor in start.items()}
        optimizer = optimizer_named(rule, lr, 0.1, shares)
        for each in gradients:
            optimizer.update(parameters, each)
        return parameters

    both = after(0.1, {"embedding": share})
    assert torch.equal(both["rest"], after(0.1, {})["rest"])
    assert torch.equal(both["embedding"], after(0.1 * share, {})["embedding"])


@given(st.lists(st.none() | st.floats(0.5, 9), min_size=TRIES, max_size=TRIES), st.sampled_from(sorted(ARMS)))
def test_every_arm_tries_as_much_and_looks_as_far(losses: list[float | None], name: str) -> None:
    """Whatever the losses: as many tries, the same highest and lowest rate, and the best of them is chosen."""
    found = Tuned(ARMS[name], FREEZE, 30)
    while (rates := found.next) is not None:
        found.tries.append(replace(rates, loss=losses[len(found.tries)]))

    assert len(set(found.tries)) == TRIES == len(FACTORS) == len(SHARES) + len(BESIDE)
    assert (max(one.rate for one in found.tries), min(one.rate for one in found.tries)) == (FACTORS[0], FACTORS[-1])
    assert found.best.loss == min((loss for loss in losses if loss is not None), default=None)
    moves = ARMS[name].trains_embedding
    if moves:
        first, then = found.tries[: len(SHARES)], found.tries[len(SHARES) :]
        assert [one.embedding for one in first] == list(SHARES)
        assert {one.embedding for one in then} == {replace(found, tries=first).best.embedding}
    for one in found.tries:
        asked = found.at(one)
        assert asked.lr == FREEZE.lr * one.rate
        assert asked.lr * asked.embedding_lr == pytest.approx(FREEZE.lr * one.embedding if moves else asked.lr)


@pytest.mark.parametrize(
    ("name", "rates", "edge"),
    [
        ("frozen", Try(4.0, 1.0, 1.0), ["rate"]),
        ("frozen", Try(0.5, 1.0, 1.0), ["rate"]),
        ("frozen", Try(1.4, 1.0, 1.0), []),
        ("trained", Try(1.0, 0.01, 1.0), ["embedding"]),
        ("trained", Try(4.0, 1.0, 1.0), ["rate", "embedding"]),
        ("trained", Try(1.0, 0.1, 1.0), []),
        ("trained", Try(1.0, 0.1), []),
    ],
)
def test_the_edge_of_the_grid_is_told(name: str, rates: Try, edge: list[str]) -> None:
    assert Tuned(ARMS[name], FREEZE, 30, [rates]).edge == edge


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), SEEDS)
def test_the_tail_begins_with_a_document_and_scores_something(lengths: list[int], seed: int) -> None:
    """Some document's first token near the last tenth, or a cut between tokens; something is scored behind it."""
    starts = torch.tensor([1, *torch.tensor(lengths).cumsum(0).add(1).tolist()[:-1]])
    tokens = 1 + sum(lengths)
    scored = torch.rand(tokens - 1, generator=torch.Generator().manual_seed(seed)) < 0.5
    scored[random.Random(seed).randrange(tokens - 1)] = True
    stream = Stream(torch.zeros(tokens, dtype=torch.int64), starts)
    cut = tail_start(SimpleNamespace(train=stream, scored=lambda _: scored))

    assert 1 <= cut < tokens
    assert scored[cut - 1 :].any()
    if scored[-1] and any(tokens // 2 <= start <= tokens - max(1, tokens // 50) for start in starts.tolist()):
        assert cut in starts


def test_a_try_trains_on_nothing_that_it_is_judged_on(source: EmbeddedCorpus) -> None:
    data = dataset_of(source, 300, 120)
    model, cut = model_of(data, "trained"), tail_start(data.text)
    whole, part = (context_study.training_of(TUNE, data, model, 0, tail=tail) for tail in (0, cut))

    assert torch.equal(torch.cat([part.train, part.valid]), whole.train)
    assert int(part.train[:, 0].max()) + 1 < cut <= int(part.valid[:, 0].min()) + 1
    assert cut in data.text.train.starts
    assert 0.85 < cut / 300 < 0.95


def test_the_validation_text_has_no_say(source: EmbeddedCorpus, straight: Comparison) -> None:
    found = compared(replace(TUNE, val_tokens=60, arms="trained"), source)

    assert found.tuned["trained"].tries == straight.tuned["trained"].tries
    assert found.text.text.digest != straight.text.text.digest


@pytest.mark.parametrize("name", ["frozen", "trained"])
def test_the_runs_use_what_was_chosen_and_all_of_the_text(
    source: EmbeddedCorpus, straight: Comparison, name: str
) -> None:
    """The runs of an arm are those of a comparison that is given its rates, on the whole training text."""
    tuned = straight.tuned[name]
    plain = compared(replace(tuned.at(tuned.best), tune=False, arms=name, out=None), source)
    assert plain.arms[name].runs[0].numbers == straight.arms[name].runs[0].numbers
    assert plain.tuned == {}


@pytest.mark.parametrize("at", [3, 14, 75, 80, 150])
def test_a_stopped_comparison_does_not_choose_again(source: EmbeddedCorpus, straight: Comparison, at: int) -> None:
    stop, rest, again = Stop(at), Stop(), Stop()
    with contextlib.suppress(Stopped):
        compared(TUNE, source, stop)
    resumed = compared(replace(TUNE, resume="auto"), source, rest)

    tried, wanted = ({name: one.tries for name, one in found.tuned.items()} for found in (resumed, straight))
    assert tried == wanted
    assert without_times(context_metrics.metrics(resumed)) == without_times(context_metrics.metrics(straight))
    assert rest.planned == stop.planned == {2 * (TRIES + 1) * UPDATES}
    compared(replace(TUNE, resume="auto"), source, again)
    assert again.updates == []


def test_a_try_that_diverges_is_one_that_was_not_best(source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no loss, the others decide; where all diverge, the rates stay as they are set."""
    real = context_study.training_of
    bad: set[float] = {4.0, 2.8}

    def diverging(settings: Any, *told: Any, tail: int = 0) -> Any:
        training = real(settings, *told, tail=tail)
        if tail and round(settings.lr / TUNE.lr, 6) in bad:
            monkeypatch.setattr(training, "run", lambda on_step: (_ for _ in ()).throw(Diverged(1)))
        return training

    monkeypatch.setattr(context_study, "training_of", diverging)
    found = compared(TUNE, source)
    assert [one.loss is None for one in found.tuned["frozen"].tries] == [True, True, *[False] * 5]
    assert found.tuned["frozen"].best.rate not in bad
    bad |= {*FACTORS, *BESIDE}
    none = compared(replace(TUNE, out=Path("b")), source)
    assert (none.tuned["frozen"].best, none.tuned["frozen"].edge) == (Try(1.0, 1.0), [])
    assert none.arms["frozen"].runs


def test_losses_by_document_add_up_to_those_that_are_reported(source: EmbeddedCorpus) -> None:
    """By a plain loop over targets: the loss of each document, and over all the one that the run is known by."""
    found = compared(replace(FREEZE, arms="trained", seeds=1), source)
    (one,), data = found.arms["trained"].runs, found.text
    assert len(one.valid_sums) == len(data.valid_counts) == len(data.text.valid.starts)
    assert sum(one.valid_sums) / sum(data.valid_counts) == pytest.approx(one.numbers["val_loss_token"], rel=1e-6)
    assert sum(one.test_sums) / sum(data.test_counts) == pytest.approx(one.numbers["test_loss_token"], rel=1e-12)

    model = model_of(data, "trained")
    for number, counts in ((1, data.valid_counts), (2, data.test_counts)):
        stream, sums, scored = data.text.streams[number], [0.0] * len(counts), [0] * len(counts)
        for place, row in enumerate(model.windows(number, data.text.unknown), start=1):
            document = sum(start <= place for start in stream.starts.tolist()) - 1
            sums[document] += float(model.judge(row[None, :1], row[None, 1:]).losses)
            scored[document] += int(row[1] >= 0)
        assert document_sums(model, data, number) == pytest.approx(sums, rel=1e-5)
        assert scored == counts


@pytest.mark.slow
def test_what_was_tried_is_shown_and_measured() -> None:
    """Metrics name the rates of each arm, tables every try; without --tune neither is there."""
    result = run(EmbeddingFreezeSettings(**SMALL | {"seeds": 2}, grow="150", arms="frozen,trained", tune=True))
    plain = run(EmbeddingFreezeSettings(**SMALL, grow="none", arms="frozen,trained", tune=False))
    shown = rows(result, "embedding-rates") | rows(result, "rates")

    assert set(shown) == {f"{kind}, tied{size}" for kind in ("frozen", "trained") for size in ("", ", 150")}
    for name, label in (("frozen", "frozen, tied"), ("trained_150", "trained, tied, 150")):
        assert shown[label]["rate"] == result.metrics[f"tuned_lr_{name}"]
        assert (shown[label]["at the edge"] != "no") == result.metrics[f"tuned_at_edge_{name}"]
    assert "tuned_embedding_lr_trained" in result.metrics
    assert "tuned_embedding_lr_frozen" not in result.metrics
    assert result.metrics["tuning_tries"] == TRIES
    assert not any(name.startswith("tun") for name in plain.metrics)
    assert not {"rates", "embedding-rates"} & {table.name for table in plain.tables}
    for name in ("frozen_minus_trained", "frozen_150_minus_trained_150"):
        for loss in ("val_loss_token", "test_loss_token"):
            low, middle, high = (result.metrics[f"{loss}_{name}{end}"] for end in ("_doc_low", "", "_doc_high"))
            assert low <= middle <= high
    assert set(rows(result, "final")) >= {"frozen, tied", "trained, tied", "bigram", "Kneser–Ney 3-gram"}
