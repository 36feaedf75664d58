"""Chapter 6 as a reader meets it: both stages, one table for each choice, and runs that stops do not harm."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab import two_stage
from llmlab.errors import Stopped
from llmlab.lab import context_study
from llmlab.lab.context_stages import Stages
from llmlab.lab.steps import Diverged
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Result
from llmlab.settings import TwoStageSettings
from llmlab.settings.contexts import ABLATIONS
from llmlab.two_stage import stage_arms
from strategies_contexts import SMALL, UPDATES, Stop, rows, without_times
from strategies_contexts import STAGE_CONTRACT as CONTRACT

ALL = TwoStageSettings(**SMALL, ablate="all", noises="0,0.1", depths="1,2")
ONE = replace(ALL, ablate="none")

pytestmark = pytest.mark.usefixtures("one_thread", "elsewhere", "sixty_lines")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished run with every ablation, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlab.lab.context_stages.LINES", 60)
        return two_stage.run(replace(ALL, out=folder)), folder


def test_the_metrics_have_the_contracts_names(whole: tuple[Result, Path]) -> None:
    """Every name of the contract is there and finite; the contexts did not move; the error is within tolerance."""
    metrics = whole[0].metrics

    assert set(metrics) >= CONTRACT
    assert all(math.isfinite(float(metrics[name] or 0)) for name in CONTRACT)
    assert metrics["context_drift"] == 0
    assert float(metrics["stage1_max_error"] or 0) <= ALL.tolerance
    assert (metrics["train_tokens"], metrics["val_tokens"]) == (300, 120)
    assert {"val_ppl_untrained_block", "val_ppl_noise_0", "val_ppl_2_layers", "val_ppl_no_context"} <= set(metrics)
    json.dumps(whole[0].document(), allow_nan=False)


def test_each_choice_has_a_table_of_its_own(whole: tuple[Result, Path]) -> None:
    """In each the arm as set stands once, and every other one is told by its difference from it, seed by seed.

    But for noise, whose blocks make every pass, and the readings of a block whose only layer is the last.
    """
    result = whole[0]
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
    ranks = rows(result, "layers")
    for name, column in (("val_loss_token", "loss changes by"), ("effective_rank_validation", "rank, val")):
        change = ranks["2 layers"][column] - (ranks["1 layer"][column] or 0.0)
        assert result.metrics[f"{name}_2_layers_minus_1_layer"] == pytest.approx(change)
    assert result.metrics["effective_rank_untrained_2_layers"] == ranks["2 layers"]["rank, untrained"]
    assert [figure.name for figure in result.figures] == ["fit", "noise-loss", "layers-loss"]


def test_with_one_layer_wiring_changes_nothing_that_is_trained(whole: tuple[Result, Path]) -> None:
    """A block of one layer reads the token there or nowhere: every and first are the same numbers."""
    told = rows(whole[0], "wiring")

    for widths in ("constant", "decreasing"):
        assert told[f"every, {widths}"]["val PPL"] == told[f"first, {widths}"]["val PPL"]


def test_arms_are_shared_and_trained_once(whole: tuple[Result, Path]) -> None:
    """Each arm has one folder for each seed, however many tables it is in."""
    names = {path.name for path in whole[1].iterdir() if path.is_dir() and not path.name.startswith("block-")}
    arms = {arm.name for each in stage_arms(ALL).values() for arm in each}

    assert names == {f"{name}-seed{seed}" for name in arms for seed in (0, 1)}
    assert len(rows(whole[0], "contexts")) == len({arm.contexts for each in stage_arms(ALL).values() for arm in each})


def test_the_summary_says_what_stage_1_measured(whole: tuple[Result, Path]) -> None:
    """Its rate, how it was done, and that nothing moved."""
    result = whole[0]

    assert "mean of n = 2" in result.summary[0]
    assert any("contexts a second, token by token. " in sentence for sentence in result.summary)
    assert any("Stage 2 moved them by 0." in sentence for sentence in result.summary)
    assert any("changes, one at a time, move the PPL by" in sentence for sentence in result.summary)


def test_without_ablations_there_is_one_arm() -> None:
    """Both stages once, with their tables; the same numbers in another folder."""
    first, second = two_stage.run(ONE), two_stage.run(ONE)

    assert [table.name for table in first.tables] == [
        *("text", "meaning", "arms", "final", "fit", "epochs", "contexts", "passes")
    ]
    assert list(first.samples) == ["val_ppl", "val_loss_token", "val_accuracy"]
    assert without_times(first.metrics) == without_times(second.metrics)
    assert len(list(Path("runs").iterdir())) == 2


def test_the_arm_as_set_is_the_same_with_and_without_ablations(whole: tuple[Result, Path]) -> None:
    """What else is trained beside it changes none of its numbers."""
    alone = two_stage.run(ONE)
    assert alone.samples["val_loss_token"] == whole[0].samples["val_loss_token"]


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": "random"},
        {"block": "untrained"},
        {"reading": "none"},
        {"reading": "before", "layers": 3},
        {"wiring": "first", "widths": "decreasing", "layers": 2},
        {"inputs": 3},
        {"context": 3, "width": 5},
        {"iterations": 1},
        {"noise": 0.0, "diversity": 1.0},
        {"precision": "bf16"},
        {"tolerance": 1.0},
    ],
    ids=lambda changes: " ".join(f"{name} {value}" for name, value in changes.items()),
)
def test_every_choice_runs_and_its_contexts_stay(changes: dict[str, Any]) -> None:
    """Whatever is chosen, both stages run, and the contexts do not move."""
    result = two_stage.run(replace(ONE, **changes, seeds=1, epochs=1))

    assert result.status == "complete"
    assert result.metrics["context_drift"] == 0
    assert math.isfinite(float(result.metrics["val_ppl"] or math.nan))
    assert all(each.rows for each in result.tables)


@pytest.mark.parametrize("at", [12, 44])
def test_a_stopped_run_is_interrupted_and_goes_on_to_the_same_numbers(whole: tuple[Result, Path], at: int) -> None:
    """Stopped on the way it reports what it has with the arms not begun; resumed it ends like the straight run."""
    stopped = two_stage.run(ALL, Stop(at))

    assert stopped.status == "interrupted"
    assert any("Stopped before the end; not begun: " in sentence for sentence in stopped.summary)
    assert stopped.metrics["val_ppl_first_decreasing"] is None
    assert stopped.metrics["val_ppl_first_decreasing_reason"] == "not begun"
    json.dumps(stopped.document(), allow_nan=False)
    resumed = two_stage.run(replace(ALL, resume="auto"))
    assert resumed.status == "complete"
    assert without_times(resumed.metrics) == without_times(whole[0].metrics)


def test_a_run_stopped_in_its_first_arm_has_nothing_to_report() -> None:
    """The stop comes through, and the rest can be resumed by the folder's name with more ablations."""
    with pytest.raises(Stopped):
        two_stage.run(replace(ONE, out=Path("a")), Stop(4))
    rest = Stop()
    result = two_stage.run(replace(ONE, resume="a", ablate="block"), rest)

    assert result.status == "complete"
    assert len(rest.updates) == 4 * UPDATES - 4


def test_a_lost_main_arm_leaves_the_ablations(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the arm as set diverges, the others are told all the same, without differences."""
    real = context_study.train_arm

    def fragile(own: Any, task: Any, arm: Any, *rest: Any) -> Any:
        if arm.name == "main":
            raise Diverged(3)
        return real(own, task, arm, *rest)

    monkeypatch.setattr(context_study, "train_arm", fragile)
    result = two_stage.run(replace(ALL, ablate="reading,block", seeds=1))

    assert result.status == "complete"
    assert result.metrics["val_ppl"] is None
    assert rows(result, "reading")["after, by layer"]["val PPL"] is None
    assert rows(result, "reading")["before"]["loss changes by"] is None
    assert rows(result, "reading")["before"]["val PPL"] is not None
    assert rows(result, "reading")["after, by layer"]["state"].startswith("seed 0 diverged")
    assert any(sentence.startswith("two-stage: seed 0 diverged at update 3") for sentence in result.summary)


def test_stage_1_is_told_of_the_arm_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its block diverged in the first seed, and another design was measured before it."""
    real = Stages.trained_block

    def fragile(stages: Any, spec: Any, seed: int, on_pass: Any) -> Any:
        if seed == 0:
            raise Diverged(1)
        return real(stages, spec, seed, on_pass)

    monkeypatch.setattr(Stages, "trained_block", fragile)
    result = two_stage.run(replace(ALL, ablate="block"))
    alone = two_stage.run(replace(ONE, seed=1, seeds=1))

    assert list(rows(result, "contexts")) == ["untrained block", "two-stage"]
    for name in ("effective_rank", "converged_fraction", "stage1_max_error"):
        assert result.metrics[name] == alone.metrics[name]


def test_ranks_are_compared_seed_by_seed_whatever_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that diverges in one seed is missing there, and shifts no other seed's rank."""
    real = Stages.trained_block

    def fragile(stages: Any, spec: Any, seed: int, on_pass: Any) -> Any:
        if spec.wiring == "first" and seed == 0:
            raise Diverged(1)
        return real(stages, spec, seed, on_pass)

    monkeypatch.setattr(Stages, "trained_block", fragile)
    result = two_stage.run(replace(ALL, ablate="wiring", layers=2))

    assert rows(result, "wiring")["first, constant"]["n"] == 1
    for width in ("constant", "decreasing"):
        rank = f"effective_rank_validation_first_{width}_minus_every_{width}"
        assert result.metrics[f"{rank}_n"] == 1
        assert f"{rank}_low" not in result.metrics
