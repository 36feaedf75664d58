"""Chapter 6 as a reader meets it: both stages, one table for each choice, and runs that stops do not harm."""

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import HANG, Done, rows, without_times
from llmlab import two_stage
from llmlab.errors import SettingError
from llmlab.lab import made_embedding
from llmlab.lab.checkpoint import read
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Result
from llmlab.settings import TwoStageSettings, flag
from llmlab.settings.contexts import ABLATIONS
from llmlab.two_stage import stage_arms
from processes import started, wait_for_updates
from strategies_contexts import SMALL, diverging, diverging_blocks, options, write_model_and_text

ALL = TwoStageSettings(**SMALL, ablate="all", noises="0,0.1", depths="1,2")
ONE = replace(ALL, ablate="none")
CONTRACT = {
    *("stage1_tokens_per_second", "stage1_max_error", "stage2_tokens_per_second", "context_drift"),
    *("val_ppl", "val_accuracy", "train_tokens"),
}
"""Names of metrics that the chapter has promised."""

pytestmark = pytest.mark.usefixtures("elsewhere", "sixty_lines")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_embedding, "LINES", 60)
        return two_stage.run(replace(ALL, out=folder)), folder


def test_the_metrics_have_the_contracts_names(whole: tuple[Result, Path]) -> None:
    """Every name of the contract is there and finite; the contexts did not move; the error is within tolerance."""
    metrics = whole[0].metrics

    assert all(math.isfinite(float(metrics[name] or 0)) for name in CONTRACT)
    assert float(metrics["stage1_max_error"] or 0) <= ALL.tolerance
    assert (metrics["train_tokens"], metrics["val_tokens"], metrics["context_drift"]) == (300, 120, 0)
    assert {"val_ppl_untrained_block", "val_ppl_noise_0", "val_ppl_2_layers", "val_ppl_no_context"} <= set(metrics)
    json.dumps(whole[0].document(), allow_nan=False)


def test_each_choice_has_a_table_of_its_own(whole: tuple[Result, Path]) -> None:
    """In each the arm as set stands once, and every other one is told by its difference from it, seed by seed.

    But for noise, whose blocks make every pass, and the readings of a block whose only layer is the last.
    """
    result, _ = whole
    own = result.samples["val_loss_token"]
    wanted = {
        "block": ["trained block", "untrained block"],
        "noise": ["noise 0", "noise 0.1"],
        "layers": ["1 layer", "2 layers"],
        "wiring": ["every, constant", "every, decreasing", "first, constant", "first, decreasing"],
        "reading": ["after, by layer", "after, last layer", "before", "no context"],
    }
    for name in ABLATIONS:
        told = rows(result, name)
        assert list(told) == wanted[name]
        as_set = {"noise": 0, "reading": 2}.get(name, 1)
        assert [row["loss changes by"] for row in told.values()].count(None) == as_set
        for label, row in told.items():
            key = "val_loss_token_" + label.replace(",", "").replace(" ", "_").replace(".", "_")
            if row["loss changes by"] is None:
                assert row["val PPL"] == rows(result, "arms")["two-stage"]["val PPL"]
                continue
            change = mean_interval([b - a for a, b in zip(own, result.samples[key], strict=True)])
            assert row["n"] == 2
            for column, end in (("loss changes by", ""), ("95 % low", "_low"), ("95 % high", "_high")):
                assert row[column] == pytest.approx(change[end], abs=5e-3)
    # with one layer wiring changes nothing that is trained
    wiring = {label: row["val PPL"] for label, row in rows(result, "wiring").items()}
    assert all(wiring[f"every, {widths}"] == wiring[f"first, {widths}"] for widths in ("constant", "decreasing"))
    ranks = rows(result, "layers")
    for name, column in (("val_loss_token", "loss changes by"), ("effective_rank_validation", "rank, val")):
        change = ranks["2 layers"][column] - (ranks["1 layer"][column] or 0.0)
        assert result.metrics[f"{name}_2_layers_minus_1_layer"] == pytest.approx(change)
    assert result.metrics["effective_rank_untrained_2_layers"] == ranks["2 layers"]["rank, untrained"]
    assert len({row["val PPL"] for row in rows(result, "reading").values()}) == 3  # one layer is the last one
    assert [figure.name for figure in result.figures] == ["fit", "noise-loss", "layers-loss"]


def test_arms_are_shared_and_trained_once(whole: tuple[Result, Path]) -> None:
    names = {path.name for path in whole[1].iterdir() if path.is_dir() and not path.name.startswith("block-")}
    arms = [arm for each in stage_arms(ALL).values() for arm in each]

    assert names == {f"{arm.name}-seed{seed}" for arm in arms for seed in (0, 1)}
    assert len(rows(whole[0], "contexts")) == len({arm.contexts for arm in arms})


def test_without_ablations_there_is_one_arm(whole: tuple[Result, Path]) -> None:
    first = two_stage.run(ONE)

    names = ["text", "meaning", "arms", "final", "fit", "epochs", "contexts", "passes"]
    assert [table.name for table in first.tables] == names
    assert list(first.samples) == ["val_ppl", "val_loss_token", "val_accuracy"]
    assert first.samples["val_loss_token"] == whole[0].samples["val_loss_token"]


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": "random", "context": 3, "width": 5},
        {"block": "untrained", "inputs": 3},
        {"reading": "none", "precision": "bf16"},
        {"reading": "before", "layers": 3, "iterations": 1},
        {"wiring": "first", "widths": "decreasing", "layers": 2, "tolerance": 1.0},
        {"noise": 0.0, "diversity": 1.0},
    ],
    ids=lambda changes: " ".join(f"{name} {value}" for name, value in changes.items()),
)
def test_every_choice_runs_and_its_contexts_stay(changes: dict[str, Any]) -> None:
    result = two_stage.run(replace(ONE, **changes, seeds=1, epochs=1))

    assert (result.status, result.metrics["context_drift"]) == ("complete", 0)
    assert math.isfinite(float(result.metrics["val_ppl"] or math.nan))
    assert all(each.rows for each in result.tables)


# ---- what diverges -----------------------------------------------------------------------------------


def test_a_lost_main_arm_leaves_the_ablations(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging(monkeypatch, ("main", 0))
    result = two_stage.run(replace(ALL, ablate="reading,block", seeds=1))
    told = rows(result, "reading")

    assert (result.status, result.metrics["val_ppl"]) == ("complete", None)
    assert told["after, by layer"]["val PPL"] is None
    assert told["after, by layer"]["state"].startswith("seed 0 diverged")
    assert told["before"]["loss changes by"] is None
    assert told["before"]["val PPL"] is not None
    assert any(sentence.startswith("two-stage: seed 0 diverged at update 3") for sentence in result.summary)


def test_stage_1_is_told_of_the_arm_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its block diverged in the first seed, and another design was measured before it."""
    diverging_blocks(monkeypatch, lambda size, seed: seed == 0)
    result, alone = two_stage.run(replace(ALL, ablate="block")), two_stage.run(replace(ONE, seed=1, seeds=1))

    assert list(rows(result, "contexts")) == ["untrained block", "two-stage"]
    for name in ("effective_rank", "converged_fraction", "stage1_max_error"):
        assert result.metrics[name] == alone.metrics[name]


def test_ranks_are_compared_seed_by_seed_whatever_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    diverging_blocks(monkeypatch, lambda size, seed: not size.reads_tokens(1) and seed == 0)
    result = two_stage.run(replace(ALL, ablate="wiring", layers=2))

    assert rows(result, "wiring")["first, constant"]["n"] == 1
    for width in ("constant", "decreasing"):
        rank = f"effective_rank_validation_first_{width}_minus_every_{width}"
        assert result.metrics[f"{rank}_n"] == 1
        assert f"{rank}_low" not in result.metrics


# ---- its settings and its command -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("ablate", ["nothing", "all,noise"], "is not one of"),
        ("ablate", ["noise,noise"], "noise is listed twice"),
        ("noises", ["", "x", "-1", "nan", "inf", "1001", "0.1,"], "is no number from 0"),
        ("noises", ["0.1,0.10", "0.1,0.10000001", "0,-0"], "is listed twice"),
        ("depths", ["", "0", "65", "1,1", "x", "1.5"], ""),
        ("vectors", ["good"], "is not one of"),
        ("layers", [0], "allowed value"),
        ("noise", [-0.1], "allowed value"),
        ("block_lr", [0.0], "not above"),
        ("iterations", [0], "allowed value"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, values: list[object], words: str) -> None:
    """Unknown, double and missing words, numbers out of range: the option is named and what is wrong with it."""
    for value in values:
        with pytest.raises(SettingError, match=f"{flag(name)}: .*{words}"):
            TwoStageSettings(**{name: value})


@given(st.lists(st.sampled_from(ABLATIONS), unique=True), st.lists(st.integers(0, 1_000), min_size=1, unique=True))
def test_lists_are_read_in_any_order(names: list[str], noises: list[int]) -> None:
    """Ablations come in the order of their tables, noises from small to large."""
    asked = TwoStageSettings(ablate=",".join(names) or "none", noises=" , ".join(f"{each / 1000}" for each in noises))

    assert asked.ablations == [name for name in ABLATIONS if name in names]
    assert asked.swept_noises == sorted(each / 1000 for each in noises)
    assert TwoStageSettings(ablate="all").ablations == list(ABLATIONS)


def test_killed_on_the_way_a_comparison_ends_like_a_straight_one(tmp_path: Path) -> None:
    given = {**write_model_and_text(tmp_path), "epochs": 12, "patience": 1000, "save_minutes": 1e-9, "ablate": "block"}
    words = ["two-stage", *options(**given), "--json", "--no-log"]
    out, err = started(tmp_path, *words, "--out", "straight").communicate(timeout=HANG)
    straight = json.loads(out or err)
    for saved in (20, 75):
        process = started(tmp_path, *words, "--out", "cut", "--resume", "auto")
        wait_for_updates(tmp_path / "cut", saved, process)
        process.kill()
        process.communicate(timeout=HANG)
        assert process.returncode == -signal.SIGKILL
    cut = json.loads(started(tmp_path, *words, "--out", "cut", "--resume", "auto").communicate(timeout=HANG)[0])

    assert without_times(cut["metrics"]) == without_times(straight["metrics"])
    for arm in ("main-seed0", "untrained-block-seed0"):
        ends = [read(max((tmp_path / name / arm).glob("update-*")))["model"] for name in ("straight", "cut")]
        torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_the_command_trains_logs_and_repeats_itself(run_llmlab: Callable[..., Done], tmp_path: Path) -> None:
    """``llmlab two-stage`` with a model of one's own: one document, one entry, and quiet says only where it is."""
    given = write_model_and_text(tmp_path)
    done = run_llmlab("two-stage", *options(**given, ablate="block,reading"), "--json")
    (tmp_path / "model" / "model.safetensors").unlink()  # random vectors need the tokenizer alone

    assert done.code == 0, done.err
    assert set(done.document["metrics"]) >= CONTRACT
    assert {"block", "reading"} <= {table["name"] for table in done.document["tables"]}
    assert "--ablate block,reading" in done.document["command"]
    quiet = run_llmlab("two-stage", *options(**given, ablate="none", vectors="random"), "--quiet")
    assert (quiet.code, len(quiet.out.splitlines()), quiet.err) == (0, 1, "")
    assert len(quiet.entries) == 2
