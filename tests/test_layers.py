"""Chapter 4 as a reader meets it: equal updates, pairs by seed, halves that join, stops that go on, honest rows."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conftest import Done
from llmlab import compare, layers
from llmlab.errors import CheckpointError, SettingError, Stopped
from llmlab.lab.steps import Diverged
from llmlab.measure.stats import mean_interval
from llmlab.report.record import Record
from llmlab.report.result import Result
from llmlab.settings import BaselineSettings, LayersSettings, flag
from llmlab.text.grammar import Grammar
from strategies_report import specimen

EPOCHS, UPDATES = 2, 6
SMALL: dict[str, Any] = {
    "vocabulary": 150,
    "embedding": 4,
    "hidden": 8,
    "context": 4,
    "epochs": EPOCHS,
    "batch": 16,
    "seeds": 2,
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Forty-eight lines to train on and twelve to judge, and a cache that is thrown away."""
    folder = tmp_path_factory.mktemp("layers") / "few"
    folder.mkdir()
    for name, count, seed in (("train", 48, 1), ("valid", 12, 2)):
        (folder / f"{name}.txt").write_text("\n".join(Grammar.standard().lines(count, seed)) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMLAB_CACHE", str(folder.parent / "cache"))
        yield folder


def small(text: Path, **changes: Any) -> LayersSettings:
    """Return a sweep that takes a second."""
    return LayersSettings(data=str(text), **SMALL | {"layers": "1,2,3"} | changes)


@pytest.fixture(scope="module")
def whole(text: Path) -> tuple[Result, Path]:
    """A finished sweep with its remedy, and its folder."""
    folder = text.parent / "whole"
    return layers.run(small(text, out=folder)), folder


class Stop:
    """Counts updates, and stops the run at one of them."""

    def __init__(self, at: float = math.inf) -> None:
        self.at, self.calls, self.planned, self.told = at, 0, 0, list[str]()

    def __call__(self, update: int, planned: int, told: str = "") -> None:
        """Take note of a step."""
        self.calls, self.planned = self.calls + (not told.endswith("validating")), planned
        self.told.append(told)
        if update >= self.at:
            raise Stopped("stopped by SIGTERM", 15)


def rows(result: Result, name: str) -> dict[Any, dict[str, Any]]:
    """Return a table as cells by column name, by its first column."""
    table = next(table for table in result.tables if table.name == name)
    names = [column.name for column in table.columns]
    return {row[0]: dict(zip(names, row, strict=True)) for row in table.rows}


def without_times(result: Result) -> dict[str, Any]:
    """Return the metrics that do not depend on what else the machine did."""
    return {name: v for name, v in result.metrics.items() if "second" not in name and "equal_time" not in name}


def test_every_depth_makes_as_many_updates(whole: tuple[Result, Path]):
    """Updates and epochs are equal for all depths and both stacks, and the steps are counted over the sweep."""
    result, _ = whole
    made = {value for name, value in result.metrics.items() if name.startswith("updates")}

    assert made == {UPDATES}
    assert {row["updates"] for row in rows(result, "times").values()} == {str(UPDATES)}


def test_the_tables_have_a_row_per_depth_and_stack(whole: tuple[Result, Path]):
    """Plain stacks from shallow to deep, then the residual one beside the deepest."""
    result, _ = whole
    wanted = ["L1", "L2", "L3", "L3 residual"]

    assert [table.name for table in result.tables] == ["text", "depths", "fit", "pairs", "times", "measures"]
    assert all(list(rows(result, name)) == wanted for name in ("depths", "fit", "times", "measures"))
    assert list(rows(result, "pairs")) == ["L2 minus L1", "L3 minus L1", "L3 minus L2", "L3 residual minus L3"]
    assert [figure.name for figure in result.figures] == ["by-depth", "fit-by-depth", "curves"]
    assert {row["state"] for row in rows(result, "depths").values()} == {"done"}


def test_the_metrics_have_the_contracts_names_and_the_tables_numbers(whole: tuple[Result, Path]):
    """Each depth's PPL, train loss and count stand under their names with their intervals, and agree with samples."""
    result, _ = whole
    for n in (1, 2, 3):
        told = mean_interval(result.samples[f"val_ppl_L{n}"])
        for end in ("", "_sd", "_low", "_high"):
            assert result.metrics[f"val_ppl_L{n}{end}"] == pytest.approx(told[end], rel=1e-2)
        assert f"train_loss_L{n}_sd" in result.metrics
        row = rows(result, "depths")[f"L{n}"]
        assert row["val PPL"] == result.metrics[f"val_ppl_L{n}"]
        assert row["parameters"] == result.metrics[f"parameters_L{n}"]
        fit = rows(result, "fit")[f"L{n}"]
        assert fit["gap"] == pytest.approx(fit["val loss"] - fit["train loss"])
    assert result.metrics["parameters_L3"] == result.metrics["parameters_residual_L3"]
    json.dumps(result.document(), allow_nan=False)


def test_pairs_are_subtracted_seed_by_seed(whole: tuple[Result, Path]):
    """The table's differences are those of the samples."""
    result, _ = whole
    first, third = (result.samples[f"val_ppl_L{n}"] for n in (1, 3))
    row = rows(result, "pairs")["L3 minus L1"]

    assert row["n"] == 2
    assert row["val PPL"] == pytest.approx(
        mean_interval([b - a for a, b in zip(first, third, strict=True)])[""], rel=1e-3
    )
    for name, column in (("val_ppl", "val PPL"), ("train_loss", "train loss")):
        assert result.metrics[f"{name}_L3_minus_L1"] == row[column]
    assert {"val_ppl_L2_minus_L1", "val_ppl_L3_minus_L2", "train_loss_residual_L3_minus_L3"} <= set(result.metrics)


def test_a_depth_alone_is_what_it_is_in_the_sweep(whole: tuple[Result, Path], text: Path):
    """With ``--only`` a depth's numbers are those of the whole sweep, and no other depth is there."""
    half = layers.run(small(text, only="2", remedy=False, out=text.parent / "half"))

    assert list(rows(half, "depths")) == ["L2"]
    assert half.samples["val_ppl_L2"] == whole[0].samples["val_ppl_L2"]
    assert not any("_L1" in name or "_L3" in name for name in half.metrics)
    assert [figure.name for figure in half.figures] == ["curves"]


def test_two_halves_of_a_sweep_are_joined(whole: tuple[Result, Path], text: Path):
    """``log compare`` lays the depths of both entries in one table, and pairs neighbours across the entries."""
    ends, middle = (
        record(layers.run(small(text, only=only, remedy=False, out=text.parent / f"half-{only}")), f"{n:08x}")
        for n, only in enumerate(("1,3", "2"))
    )
    found = compare.document(ends, middle)
    samples = [whole[0].samples[f"val_ppl_L{n}"] for n in (1, 2, 3)]

    assert list(found["depths"]) == ["1", "2", "3"]
    assert found["depths"]["2"]["val_ppl"] == [None, pytest.approx(whole[0].metrics["val_ppl_L2"])]
    assert [(step["from"], step["to"], step["n"]) for step in found["neighbours"]] == [(1, 2, 2), (2, 3, 2)]
    for step, (low, high) in zip(found["neighbours"], pairwise(samples), strict=True):
        assert step["difference"] == pytest.approx(sum(b - a for a, b in zip(low, high, strict=True)) / 2, rel=1e-4)
    names = [table.name for table in compare.tables(ends, middle)]
    assert names[-2:] == ["depths", "neighbours"]


def test_sweeps_under_other_conditions_are_not_joined_by_differences(whole: tuple[Result, Path]):
    """Another learning rate, and the difference between neighbours would not be the depth's."""
    a = record(whole[0], "0000000a")
    b = record(replace(whole[0], settings=whole[0].settings | {"lr": 1.0}), "0000000b")

    assert compare.document(a, b)["neighbours"] == []
    assert "depths" not in compare.document(a, specimen())


def record(result: Result, name: str) -> Record:
    """Return a result as an entry of the log."""
    return replace(specimen(), result=result, id=name)


def test_a_finished_sweep_is_not_trained_again(whole: tuple[Result, Path], text: Path):
    """With ``--resume auto`` nothing is updated, and all numbers but times are those of the first time."""
    result, folder = whole
    count = Stop()
    again = layers.run(small(text, out=folder, resume="auto"), count)

    assert count.calls == 0
    assert without_times(again) == without_times(result)
    assert any("8 runs had been finished before" in sentence for sentence in again.summary)


def test_a_sweep_stopped_in_the_middle_goes_on(whole: tuple[Result, Path], text: Path):
    """It reports the runs it has, then trains only what is missing, and ends where an unbroken one does."""
    folder = text.parent / "stopped"
    first = Stop(at=5 * UPDATES + 4)  # in the second epoch of the sixth run: L2, seed 1
    broken = layers.run(small(text, out=folder), first)
    states = {name: row["state"] for name, row in rows(broken, "depths").items()}
    second = Stop()
    mended = layers.run(small(text, out=folder, resume="auto"), second)

    assert broken.status == "interrupted"
    assert states["L1"] == "done"
    assert states["L2"] == "seed 1 stopped after 1 of 2 epochs"
    assert rows(broken, "depths")["L3"]["n"] == 1
    assert "val_ppl_L1" in broken.samples
    assert "val_ppl_L2" not in broken.samples, "one seed is missing"
    assert any("in L2, seed 1, after 1 epoch of 2; finished before it: 5 runs" in told for told in broken.summary)
    assert mended.status == "complete"
    assert second.calls == 8 * UPDATES - first.calls
    assert without_times(mended) == without_times(whole[0])


def test_a_sweep_stopped_in_its_first_run_has_nothing_to_report(text: Path):
    """The stop comes through as it was, and the folder can be resumed by its path."""
    folder = text.parent / "early"
    with pytest.raises(Stopped) as stopped:
        layers.run(small(text, layers="1,2", seeds=1, remedy=False, out=folder), Stop(at=4))

    assert stopped.value.signal_number == 15
    count = Stop()
    result = layers.run(small(text, layers="1,2", seeds=1, remedy=False, resume=str(folder)), count)
    assert (result.status, count.calls) == ("complete", 2 * UPDATES - 4)


def test_a_folder_with_runs_is_not_written_over(whole: tuple[Result, Path], text: Path):
    """Without ``--resume`` it is refused before anything is trained; a path without a run is refused too."""
    count = Stop()
    with pytest.raises(SettingError, match="--out"):
        layers.run(small(text, layers="2,3,4", only="3,4", out=whole[1]), count)
    with pytest.raises(CheckpointError, match="--resume"):
        layers.run(small(text, resume=str(text)), count)
    assert count.calls == 0


def test_the_progress_is_one_count_and_names_the_run(text: Path):
    """A reader sees which depth and seed is trained, and how far the whole sweep is."""
    count = Stop()
    layers.run(small(text, layers="1,2", seeds=1, remedy=False, out=text.parent / "told"), count)

    assert count.told[0].startswith("L1, seed 0, epoch 1 of 2, loss")
    assert count.told[-1].startswith("L2, seed 0")
    assert count.planned == 2 * UPDATES


def test_a_depth_that_diverges_says_so_in_its_row(text: Path, monkeypatch: pytest.MonkeyPatch):
    """The other depths are trained all the same; its PPL is null, with the reason beside it."""
    real = layers.train_seed

    def fragile(settings: BaselineSettings, *rest: Any, **words: Any) -> Any:
        if settings.layers == 2:
            raise Diverged(3)
        return real(settings, *rest, **words)

    monkeypatch.setattr(layers, "train_seed", fragile)
    result = layers.run(small(text, remedy=False, out=text.parent / "diverged"))

    assert result.status == "complete"
    assert rows(result, "depths")["L2"]["state"] == "seed 0 diverged at update 3; seed 1 diverged at update 3"
    assert result.metrics["val_ppl_L2"] is None
    assert "diverged at update 3" in str(result.metrics["val_ppl_L2_reason"])
    assert result.metrics["val_ppl_L3"] is not None
    assert "L2 minus L1" not in rows(result, "pairs")


def test_a_sweep_of_which_nothing_stays_finite_has_diverged(text: Path, monkeypatch: pytest.MonkeyPatch):
    """If every run diverges, so has the sweep, and the result says which and when."""

    def wild(*_: Any, **__: Any) -> Any:
        raise Diverged(5)

    monkeypatch.setattr(layers, "train_seed", wild)
    result = layers.run(small(text, layers="1,2", out=text.parent / "wild"))

    assert result.status == "diverged"
    assert "L1: seed 0 diverged at update 5" in result.summary[0]
    assert (result.metrics["val_ppl_L1"], result.tables[-1].name) == (None, "depths")


def test_the_command_trains_logs_and_repeats_itself(run_llmlab: Callable[..., Done], text: Path):
    """``llmlab layers`` runs in an empty folder, keeps each run in a folder of its own, and publishes its command."""
    sizes = [word for name, value in SMALL.items() for word in (flag(name), str(value))]
    done = run_llmlab("layers", "--layers", "1,2", "--no-remedy", "--data", str(text), *sizes, "--json")

    assert done.code == 0, done.err
    assert done.document["metrics"]["parameters_L1"] < done.document["metrics"]["parameters_L2"]
    assert "--no-remedy" in done.document["command"].split()
    assert "PATH" in done.document["command"]
    assert len(list((done.folder / "runs").iterdir())) == 4
    assert len(done.entries) == 1
