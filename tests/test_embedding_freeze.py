"""Chapter 5 as a reader meets it: the grid, pairs, growth, and runs that stop, go on or diverge."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab import compare, embedding_freeze
from llmlab.embedding_freeze import LABELS
from llmlab.errors import SettingError, Stopped
from llmlab.lab import context_study
from llmlab.lab.steps import Diverged
from llmlab.measure.stats import mean_interval
from llmlab.report.record import Record
from llmlab.report.result import Result
from llmlab.settings.contexts import FREEZE_ARMS
from strategies_contexts import FREEZE_CONTRACT as CONTRACT
from strategies_contexts import GROWN, Stop, rows, without_times, write_model_and_text
from strategies_report import specimen

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere", "sixty_lines")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished comparison of all arms at two numbers of tokens, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlab.lab.context_stages.LINES", 60)
        return embedding_freeze.run(replace(GROWN, out=folder)), folder


def test_the_metrics_have_the_contracts_names(whole: tuple[Result, Path]) -> None:
    """Every name of the contract is there with a finite number, as are all arms and the baselines beside them."""
    metrics = whole[0].metrics

    assert set(metrics) >= CONTRACT
    assert all(math.isfinite(float(metrics[name] or 0)) for name in CONTRACT)
    assert {f"val_ppl_{name.replace('-', '_')}" for name in FREEZE_ARMS} <= set(metrics)
    assert (metrics["train_tokens"], metrics["val_tokens"]) == (300, 120)
    assert metrics["context_drift"] == 0
    assert metrics["trainable_parameters_trained"] - metrics["trainable_parameters_frozen"] == 132 * 8  # type: ignore
    assert metrics["total_parameters"] == metrics["total_parameters_trained"] == metrics["total_parameters_frozen"]
    assert float(metrics["bayes_ppl"] or 0) < float(metrics["kneser_ney_ppl"] or 0)
    json.dumps(whole[0].document(), allow_nan=False)


def test_the_tables_have_a_row_per_arm_with_n_mean_and_interval(whole: tuple[Result, Path]) -> None:
    """The grid in its own order; every PPL is the exponential of the samples' mean loss, and so is its interval."""
    result = whole[0]
    grid = rows(result, "arms")
    names = ["text", "meaning", "arms", "pairs", "final", "fit", "growth", "epochs", "contexts", "passes"]

    assert [table.name for table in result.tables] == names
    assert list(grid) == [LABELS[name] for name in FREEZE_ARMS]
    for name, label in LABELS.items():
        told = mean_interval(result.samples[f"val_loss_token_{name.replace('-', '_')}"])
        found = [grid[label][column] for column in ("n", "val PPL", "95 % low", "95 % high")]
        assert found == [2, *(pytest.approx(math.exp(told[end]), rel=5e-2) for end in ("", "_low", "_high"))]
        assert grid[label]["state"] == "done"
    assert {row["loss"] for row in rows(result, "meaning").values()} > {None}
    assert [figure.name for figure in result.figures] == ["curves", "fit", "growth"]


def test_pairs_are_subtracted_seed_by_seed(whole: tuple[Result, Path]) -> None:
    """From trained to frozen is the mean over seeds of the difference, and its exponential the change of PPL."""
    result = whole[0]
    told = rows(result, "pairs")["trained, tied → frozen, tied"]
    samples = [result.samples[f"val_loss_token_{name}"] for name in ("trained", "frozen")]
    wanted = mean_interval([b - a for a, b in zip(*samples, strict=True)])

    assert told["n"] == 2
    assert told["loss changes by"] == pytest.approx(wanted[""], abs=1e-3)
    assert told["PPL changes by"] == pytest.approx(math.expm1(told["loss changes by"]))
    assert len(rows(result, "pairs")) == len(embedding_freeze.PAIRS)
    for end, column in (("", ""), ("_low", "95 % low"), ("_high", "95 % high")):
        metric = result.metrics[f"val_loss_token_frozen_minus_trained{end}"]
        assert metric == told[column or "loss changes by"]
        assert result.metrics[f"val_ppl_change_frozen_minus_trained{end}"] == pytest.approx(math.expm1(float(metric)))
    assert result.metrics["val_loss_token_frozen_minus_trained_n"] == 2
    assert "val_loss_token_frozen_150_minus_trained_150" in result.metrics
    own, sized = (result.metrics[f"val_loss_token_frozen{n}_minus_trained{n}"] for n in ("", "_300"))
    assert own == sized


def test_freezing_and_tying_help_each_other_by_the_difference_of_two_differences(whole: tuple[Result, Path]) -> None:
    """What freezing does with a tied head, less what it does with an untied one."""
    metrics = {name: float(value) for name, value in whole[0].metrics.items() if isinstance(value, float)}
    tied, untied = (metrics[f"val_loss_token_frozen{end}_minus_trained{end}"] for end in ("", "_untied"))

    assert metrics["val_loss_token_tying_with_freezing"] == pytest.approx(tied - untied)


def test_growth_has_every_size_once_from_small_to_large(whole: tuple[Result, Path]) -> None:
    """The settings' own size among the others; parameters per token are the trained ones divided by it."""
    told = rows(whole[0], "growth")
    metrics = whole[0].metrics

    assert list(told) == [150, 300]
    assert told[300]["PPL, frozen"] == rows(whole[0], "arms")[LABELS["frozen"]]["val PPL"]
    assert told[150]["PPL, trained"] == pytest.approx(metrics["val_ppl_trained_150"], rel=0.05)  # another mean
    for tokens, row in told.items():
        per_token = float(metrics["trainable_parameters_trained"] or 0) / tokens
        assert row["parameters per token, trained"] == pytest.approx(per_token)


def test_a_text_file_with_fewer_tokens_counts_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes beyond the text are one row with the tokens that there are, and so are the parameters per token."""
    monkeypatch.setenv("LLMLAB_CACHE", str(tmp_path / "cache"))
    given = write_model_and_text(tmp_path) | {"data": str(tmp_path / "text" / "train.txt")}
    result = embedding_freeze.run(replace(GROWN, **given, arms="frozen,trained", grow="100,9000,90000", tokens=9000))
    tokens, metrics = result.metrics["train_tokens"], result.metrics

    assert isinstance(tokens, int)
    assert 300 < tokens < 9_000
    assert list(rows(result, "growth")) == [100, tokens]
    per_token = float(metrics["trainable_parameters_frozen"] or 0) / tokens
    assert rows(result, "arms")["frozen, tied"]["trained per token"] == pytest.approx(per_token)
    assert any("fewer than the 9,000 asked for" in sentence for sentence in result.summary)


def test_the_summary_is_words_of_what_was_measured(whole: tuple[Result, Path]) -> None:
    """The summary names n and text; the record holds numbers and no verdict."""
    result = whole[0]

    assert "on 300 tokens, mean of n = 2" in result.summary[0]
    assert all(math.isfinite(value) for values in result.samples.values() for value in values)


def test_the_same_command_gives_the_same_numbers(whole: tuple[Result, Path]) -> None:
    """A second run, its embedding made anew, equals the first to the bit."""
    again = embedding_freeze.run(GROWN)

    assert without_times(again.metrics) == without_times(whole[0].metrics)
    assert again.samples == whole[0].samples


def test_two_comparisons_can_be_compared(whole: tuple[Result, Path]) -> None:
    """The log's comparison takes two records of this chapter."""
    one = replace(specimen(), result=whole[0])
    document = compare.document(Record.from_json(one.json()), one)

    assert set(document["paired"]) == set(whole[0].samples)
    assert {told["difference"] for told in document["paired"].values()} == {0.0}


def test_a_stopped_run_is_interrupted_and_goes_on_to_the_same_numbers(whole: tuple[Result, Path]) -> None:
    """Stopped after a few arms it reports them and what was not begun; resumed it ends like the straight one."""
    stopped = embedding_freeze.run(GROWN, Stop(25))

    assert stopped.status == "interrupted"
    assert any("Stopped before the end; not begun: " in sentence for sentence in stopped.summary)
    assert "mean of n = 1:" in stopped.summary[0]
    assert stopped.samples == {}
    resumed = embedding_freeze.run(replace(GROWN, resume="auto"))
    assert resumed.status == "complete"
    assert without_times(resumed.metrics) == without_times(whole[0].metrics)


def test_a_run_stopped_before_its_first_arm_has_nothing_to_report() -> None:
    """The stop comes through as it was."""
    with pytest.raises(Stopped) as stopped:
        embedding_freeze.run(GROWN, Stop(3))
    assert stopped.value.signal_number == 15


def test_a_folder_with_runs_is_not_written_over(whole: tuple[Result, Path]) -> None:
    """Without ``--resume`` it is refused before anything is trained, and nothing in it changes."""
    before = {path: path.stat().st_mtime_ns for path in whole[1].rglob("*")}
    with pytest.raises(SettingError, match="--out"):
        embedding_freeze.run(replace(GROWN, out=whole[1]))
    assert {path: path.stat().st_mtime_ns for path in whole[1].rglob("*")} == before


def test_seeds_that_never_finish_together_leave_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """If frozen loses one seed and trained the other, both are told and nothing is subtracted."""
    real = context_study.train_arm

    def fragile(own: Any, task: Any, arm: Any, model: Any, seed: int, step: Any) -> Any:
        if (arm.name.startswith("frozen"), seed) in ((True, 0), (False, 1)):
            raise Diverged(3)
        return real(own, task, arm, model, seed, step)

    monkeypatch.setattr(context_study, "train_arm", fragile)
    result = embedding_freeze.run(replace(GROWN, arms="frozen,trained"))

    assert result.status == "complete"
    assert not [table for table in result.tables if table.name == "pairs"]
    assert {row["n"] for row in rows(result, "arms").values()} == {1}
    assert {row["n"] for row in rows(result, "growth").values()} == {0}
    assert not [name for name in result.metrics if "_minus_" in name]


def test_a_comparison_of_which_nothing_stays_finite_has_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every run diverges so has the comparison, and the result says which and when."""

    def wild(*_: Any, **__: Any) -> Any:
        raise Diverged(5)

    monkeypatch.setattr(context_study, "train_arm", wild)
    result = embedding_freeze.run(replace(GROWN, arms="frozen,trained", grow="none", seeds=1))

    assert result.status == "diverged"
    assert "frozen, tied: seed 0 diverged at update 5" in result.summary[0]
    assert result.metrics["val_ppl_frozen"] is None


def test_one_arm_alone_has_no_pairs_and_no_growth() -> None:
    """An untrained block with no ablation and one seed: tables that would be empty are left out."""
    result = embedding_freeze.run(replace(GROWN, arms="random-frozen", grow="none", seeds=1, block="untrained"))

    assert [table.name for table in result.tables] == ["text", "meaning", "arms", "final", "fit", "epochs", "contexts"]
    assert result.metrics["converged_fraction"] is None
    assert (result.status, len(result.samples)) == ("complete", 3)
