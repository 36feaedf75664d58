"""Chapter 4 as a reader meets it: equal updates, pairs by seed, halves that join, stops that go on, honest rows."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Done, Stop, rows, without_times
from llmlab import compare, layers
from llmlab.errors import CheckpointError, SettingError
from llmlab.lab.runs import LanguageRun, epochs_in_equal_time
from llmlab.lab.study import Runs
from llmlab.measure.score import Score
from llmlab.measure.stats import mean_interval
from llmlab.report.record import Record
from llmlab.report.result import Result, time_span
from llmlab.settings import BaselineSettings, LanguageSettings, LayersSettings, flag
from llmlab.shown.layers import Stack, StackRuns, reading
from llmlab.text.grammar import Grammar
from strategies_report import specimen
from strategies_trained import diverging, write_text

UPDATES = 6
SMALL: dict[str, Any] = {"vocabulary": 150, "embedding": 4, "hidden": 8, "context": 4, "batch": 16, "epochs": 2}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Forty-eight lines to train on and twelve to judge, and a cache that is thrown away."""
    folder, lines = tmp_path_factory.mktemp("layers"), Grammar.standard().lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMLAB_CACHE", str(folder / "cache"))
        yield write_text(folder / "few", lines(48, 1), lines(12, 2))


def small(text: Path, **changes: Any) -> LayersSettings:
    return LayersSettings(data=str(text), **SMALL | {"layers": "1,2,3", "seeds": 2} | changes)


@pytest.fixture(scope="module")
def whole(text: Path) -> tuple[Result, Path]:
    folder = text.parent / "whole"
    return layers.run(small(text, out=folder)), folder


def test_the_tables_have_a_row_per_depth_and_stack(whole: tuple[Result, Path]):
    """Plain stacks from shallow to deep, then the residual one beside the deepest; each makes as many updates."""
    result, wanted = whole[0], ["L1", "L2", "L3", "L3 residual"]
    assert {value for name, value in result.metrics.items() if name.startswith("updates")} == {UPDATES}
    assert {row["updates"] for row in rows(result, "times").values()} == {str(UPDATES)}
    assert [table.name for table in result.tables] == ["text", "depths", "fit", "pairs", "times", "measures"]
    assert all(list(rows(result, name)) == wanted for name in ("depths", "fit", "times", "measures"))
    assert list(rows(result, "pairs")) == ["L2 minus L1", "L3 minus L1", "L3 minus L2", "L3 residual minus L3"]
    assert [figure.name for figure in result.figures] == ["by-depth", "fit-by-depth", "curves"]
    assert {row["state"] for row in rows(result, "depths").values()} == {"done"}


def test_the_metrics_have_the_contracts_names_and_the_tables_numbers(whole: tuple[Result, Path]):
    """Each depth's numbers stand under their names with their intervals, and are those of the samples, as pairs are."""
    result, _ = whole
    for n in (1, 2, 3):
        told = mean_interval(result.samples[f"val_ppl_L{n}"])
        for end in ("", "_sd", "_low", "_high"):
            assert result.metrics[f"val_ppl_L{n}{end}"] == pytest.approx(told[end], rel=1e-2)
        assert f"train_loss_L{n}_sd" in result.metrics
        row, fit = rows(result, "depths")[f"L{n}"], rows(result, "fit")[f"L{n}"]
        assert row["val PPL"] == result.metrics[f"val_ppl_L{n}"]
        assert row["parameters"] == result.metrics[f"parameters_L{n}"]
        assert fit["gap"] == pytest.approx(fit["val loss"] - fit["train loss"])
    pair, (first, third) = rows(result, "pairs")["L3 minus L1"], (result.samples[f"val_ppl_L{n}"] for n in (1, 3))
    assert pair["n"] == 2
    assert pair["val PPL"] == pytest.approx((sum(third) - sum(first)) / 2, rel=1e-3)
    for name, column in (("val_ppl", "val PPL"), ("train_loss", "train loss")):
        assert result.metrics[f"{name}_L3_minus_L1"] == pair[column]
    assert {"val_ppl_L2_minus_L1", "val_ppl_L3_minus_L2", "train_loss_residual_L3_minus_L3"} <= set(result.metrics)
    assert result.metrics["parameters_L3"] == result.metrics["parameters_residual_L3"]
    json.dumps(result.document(), allow_nan=False)


def record(result: Result, name: str) -> Record:
    return replace(specimen(), result=result, id=name)


def test_two_halves_of_a_sweep_are_joined_where_their_conditions_are_one(whole: tuple[Result, Path], text: Path):
    """A depth alone is what it is in the sweep; ``log compare`` has the depths of both entries and their neighbours."""
    ends, middle = (
        layers.run(small(text, only=only, remedy=False, out=text.parent / f"half-{only}")) for only in ("1,3", "2")
    )
    entries = record(ends, "0000000a"), record(middle, "0000000b")
    found, samples = compare.document(*entries), [whole[0].samples[f"val_ppl_L{n}"] for n in (1, 2, 3)]
    assert list(rows(middle, "depths")) == ["L2"]
    assert middle.samples["val_ppl_L2"] == samples[1]
    assert not any("_L1" in name or "_L3" in name for name in middle.metrics)
    assert [figure.name for figure in middle.figures] == ["curves"]
    assert list(found["depths"]) == ["1", "2", "3"]
    assert found["depths"]["2"]["val_ppl"] == [None, pytest.approx(whole[0].metrics["val_ppl_L2"])]
    assert [(step["from"], step["to"], step["n"]) for step in found["neighbours"]] == [(1, 2, 2), (2, 3, 2)]
    for step, (low, high) in zip(found["neighbours"], pairwise(samples), strict=True):
        assert step["difference"] == pytest.approx((sum(high) - sum(low)) / 2, rel=1e-4)
    assert [table.name for table in compare.tables(*entries)][-2:] == ["depths", "neighbours"]
    other = record(replace(middle, settings=middle.settings | {"lr": 1.0}), "0000000b")
    assert compare.document(entries[0], other)["neighbours"] == []
    assert "depths" not in compare.document(entries[0], specimen())


def test_a_finished_sweep_is_neither_trained_again_nor_written_over(whole: tuple[Result, Path], text: Path):
    """Without ``--resume`` it is refused before anything is trained; a path without a run is refused too."""
    (result, folder), count = whole, Stop()
    again = layers.run(small(text, out=folder, resume="auto"), count)
    with pytest.raises(SettingError, match="--out"):
        layers.run(small(text, layers="2,3,4", only="3,4", out=folder), count)
    with pytest.raises(CheckpointError, match="--resume"):
        layers.run(small(text, resume=str(text)), count)
    assert count.updates == []
    assert without_times(again.metrics) == without_times(result.metrics)
    assert any("8 runs had been finished before" in sentence for sentence in again.summary)


def test_a_sweep_stopped_in_the_middle_goes_on(whole: tuple[Result, Path], text: Path):
    folder = text.parent / "stopped"
    first, second = Stop(at=5 * UPDATES + 4), Stop()  # in the second epoch of the sixth run: L2, seed 1
    broken = layers.run(small(text, out=folder), first)
    mended = layers.run(small(text, out=folder, resume="auto"), second)
    state = {name: (row["state"], row["n"]) for name, row in rows(broken, "depths").items()}
    assert (broken.status, mended.status) == ("interrupted", "complete")
    assert (state["L1"], state["L3"][1]) == (("done", 2), 1)
    assert state["L2"][0] == "seed 1 stopped after 1 of 2 epochs"
    assert broken.samples.keys() & {"val_ppl_L1", "val_ppl_L2"} == {"val_ppl_L1"}, "one seed is missing"
    assert any("in L2, seed 1, after 1 epoch of 2; finished before it: 5 runs" in told for told in broken.summary)
    assert len(second.updates) == 8 * UPDATES - len(first.updates)
    assert without_times(mended.metrics) == without_times(whole[0].metrics)


def test_a_depth_that_diverges_says_so_in_its_row(text: Path, monkeypatch: pytest.MonkeyPatch):
    """The other depths are trained all the same; its PPL is null, with the reason beside it."""
    diverging(monkeypatch, lambda settings, _: settings.layers == 2)
    result = layers.run(small(text, remedy=False, out=text.parent / "diverged"))
    assert result.status == "complete"
    assert rows(result, "depths")["L2"]["state"] == "seed 0 diverged at update 3; seed 1 diverged at update 3"
    assert result.metrics["val_ppl_L2"] is None
    assert "diverged at update 3" in str(result.metrics["val_ppl_L2_reason"])
    assert result.metrics["val_ppl_L3"] is not None
    assert "L2 minus L1" not in rows(result, "pairs")


def test_the_command_keeps_each_run_in_a_folder_and_the_texts_path_private(run_llmlab: Callable[..., Done], text: Path):
    sizes = [word for name, value in SMALL.items() for word in (flag(name), str(value))]
    done = run_llmlab("layers", "--layers", "1,2", "--seeds", "2", "--no-remedy", "--data", str(text), *sizes, "--json")
    assert done.code == 0, done.err
    assert done.document["metrics"]["parameters_L1"] < done.document["metrics"]["parameters_L2"]
    assert {"--no-remedy", "PATH"} <= {*done.document["command"].split()}
    assert done.document["settings"]["data"] == "path: few"
    assert len(list((done.folder / "runs").iterdir())) == 4
    (entry,) = done.entries
    assert not [page for page in entry.iterdir() if str(text.parent) in page.read_text("utf-8")]


# ---- without training -----------------------------------------------------------------------------------------------


def test_the_original_preset_is_the_documents_sweep():
    """Its depths, batch, rate, epochs and patience, and one run each."""
    original = LayersSettings(preset="original")
    assert original.depths == [1, 2, 3, 4, 5, 6, 7]
    assert (original.batch, original.lr, original.epochs, original.patience, original.seeds) == (2048, 8e-4, 150, 30, 1)


def test_every_model_of_a_sweep_is_one_of_chapter_three():
    """All settings but depth and stack are shared, and belong to New-LLM."""
    swept = LayersSettings(lr=0.5, dropout=0.25, seeds=7)
    one = swept.of_one(3, "residual", resume="auto")
    shared = {field.name for field in fields(LanguageSettings)} - {"stack", "resume", "seeds"}
    assert all(getattr(one, name) == getattr(swept, name) for name in shared)
    assert (one.model, one.layers, one.stack, one.resume, one.seeds) == ("new-llm", 3, "residual", "auto", 1)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8, unique=True))
def test_depths_are_read_in_any_order_and_come_in_order(wanted: list[int]):
    words = ", ".join(map(str, wanted))
    assert LayersSettings(layers=words).depths == sorted(wanted)
    assert LayersSettings(layers=words, only=str(wanted[0])).depths == [wanted[0]]


@pytest.mark.parametrize("name", ["layers", "only"])
def test_a_list_that_is_no_list_of_depths_is_refused_by_name(name: str):
    """Zero, words, doubles, nothing between commas, the absurd, and of a sweep what is not in it."""
    for value in ("0", "1,x", "1,1", "65", "-1", "1.5", ",", "1,,2", " ", "9" * 30, "²", "nan"):
        with pytest.raises(SettingError, match=flag(name)):
            LayersSettings(**{name: value})
    with pytest.raises(SettingError, match="--only: 3 is not among --layers 1,2"):
        LayersSettings(layers="1,2", only="1,3")
    with pytest.raises(SettingError, match="--layers"):
        LayersSettings(layers="")


@pytest.mark.parametrize(
    ("asked", "stacks"),
    [
        ({}, "1 plain, 2 plain, 2 residual"),
        ({"remedy": False}, "1 plain, 2 plain"),
        ({"stack": "residual"}, "1 residual, 2 residual"),
        ({"preset": "original"}, "1 plain, 2 plain"),
        ({"preset": "original", "remedy": True}, "1 plain, 2 plain, 2 residual"),
        ({"layers": "1"}, "1 plain"),
    ],
)
def test_the_residual_stack_is_beside_the_deepest_where_it_is_asked_for(asked: dict[str, Any], stacks: str):
    """Of one layer it is the plain one."""
    each = (stack.settings for stack in layers.stacks_of(LayersSettings(**{"layers": "1,2"} | asked)))
    assert ", ".join(f"{one.layers} {one.stack}" for one in each) == stacks


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (119, "119 s"), (720, "12 min"), (37 * 3600, "37.0 h")])
def test_a_span_of_time_has_the_unit_that_fits(seconds: float, words: str):
    assert time_span(seconds) == words


WORSE = {1: [20.0, 20.2, 20.1], 5: [20.5, 20.8, 20.6], 6: [21.5, 21.8, 21.7]}
"""Validation PPL of three seeds that rises with depth in each of them."""


def made(seed: int, ppl: float, train: float = 2.0, ends: Sequence[float] = (1.0,)) -> LanguageRun:
    """Return a finished run of these numbers, its epochs at these seconds, the last one's loss that of the PPL."""
    loss = math.log(ppl)
    rows = [
        {"val_loss": loss, "val_loss_token": loss + len(ends) - n, "seconds": end, "updates": float(n)}
        for n, end in enumerate(ends, 1)
    ]
    numbers = {"val_ppl": ppl, "val_loss_token": loss, "train_loss_no_dropout": train, "gap": loss - train}
    score = Score(loss, loss, 0, 0, 0, 0, 1, [], [])
    return LanguageRun(seed=seed, numbers=numbers, history=rows, parameters=0, best_epoch=len(rows), score=score)


def stack(depth: int, runs: list[LanguageRun]) -> StackRuns:
    return Runs(Stack(f"L{depth}", f"L{depth}", settings=BaselineSettings(layers=depth)), runs)


def by_hand(ppls: dict[int, list[float]], trains: dict[int, list[float]]) -> list[StackRuns]:
    return [stack(n, list(map(made, range(len(own)), own, trains[n]))) for n, own in ppls.items()]


def test_the_words_under_the_table_follow_both_losses():
    """PPL and train loss that rise together with depth are underfitting; a train loss that falls is overfitting."""
    rising, falling = ({1: [2.7] * 3, 5: [2.8] * 3, 6: [2.9] * 3}, {1: [2.9] * 3, 5: [2.8] * 3, 6: [2.7] * 3})
    assert "underfitting, not overfitting" in reading(by_hand(WORSE, rising))[0]
    assert reading(by_hand(WORSE, falling))[0].endswith("overfitting.")
    assert reading(by_hand(WORSE, falling)[:1]) == []


def test_differences_between_depths_are_metrics_with_their_intervals():
    """Every deeper stack minus every shallower one, seed by seed; with one seed there is no interval."""
    found = layers.differences(by_hand(WORSE, {n: [2.0 + n] * 3 for n in WORSE}))
    few = layers.differences(by_hand({n: ppls[:1] for n, ppls in WORSE.items()}, {n: [2.0] for n in WORSE}))
    assert found["val_ppl_L6_minus_L5"] == pytest.approx(31 / 30)
    assert found["val_ppl_L6_minus_L5_low"] == pytest.approx(31 / 30 - 4.3027 * (1 / 300) ** 0.5 / 3**0.5, rel=1e-3)
    assert (found["train_loss_L5_minus_L1"], found["val_ppl_L6_minus_L1_n"]) == (4, 3)
    assert (few["val_ppl_L6_minus_L5"], few["val_ppl_L6_minus_L5_n"]) == (pytest.approx(1), 1)
    assert "val_ppl_L6_minus_L5_low" not in few


def test_equal_time_gives_the_slower_fewer_epochs():
    """A stack that takes twice as long gets half the epochs; one that gets none has no PPL."""
    slow = {1: 1.0, 5: 2.0, 6: 9.0}
    stacks = [stack(n, [made(0, 2.0, ends=[step * k for k in (1, 2, 3, 4)])]) for n, step in slow.items()]
    fits = epochs_in_equal_time({one.arm.name: one.runs for one in stacks})
    assert fits == {"L1": 4, "L5": 2, "L6": 0}
    found = {n: layers.of_stack(one, 150, 4, fits[one.arm.name]) for n, one in zip(slow, stacks, strict=True)}
    wanted = {1: pytest.approx(2.0), 5: pytest.approx(2.0 * math.e**2), 6: None}
    assert {n: own[f"val_ppl_equal_time_L{n}"] for n, own in found.items()} == wanted
    assert {n: own[f"val_ppl_equal_updates_L{n}"] for n, own in found.items()} == dict.fromkeys(
        slow, pytest.approx(2.0)
    )
