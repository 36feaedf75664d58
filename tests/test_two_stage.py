"""Chapter 6 as a reader meets it: both stages, one table for each choice, verdicts, and runs that kills do not harm."""

import json
import math
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import LLMLAB, Done, as_in_a_terminal, environment, watch
from llmlab import two_stage
from llmlab.contexts import keeping, made, running, stage_findings
from llmlab.contexts.arms import stage_arms
from llmlab.contexts.running import ArmRuns
from llmlab.errors import SettingError, Stopped
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Result
from llmlab.settings import TwoStageSettings, flag
from llmlab.settings.contexts import ABLATIONS
from llmlab.train.checkpoint import read
from llmlab.train.fit import Diverged
from strategies_contexts import SMALL, Stop, arm_runs, compared_by_hand, rows, without_times, write_model_and_text

Run = Callable[..., Done]
CONTRACT = {
    *("stage1_tokens_per_second", "stage1_max_error", "stage2_tokens_per_second", "context_drift"),
    *("val_ppl", "val_accuracy", "train_tokens"),
}
ALL = TwoStageSettings(**SMALL, noises="0,0.1", depths="1,2")
ONE = replace(ALL, ablate="none")
UPDATES = 10


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run leaves its checkpoints in the test's own folder, and its embedding is made of sixty lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(made, "LINES", 60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished run with every ablation, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "LINES", 60)
        return two_stage.run(replace(ALL, out=folder)), folder


# ---- a whole run ----------------------------------------------------------------------------------------------------


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
    """In each the arm as set stands once, and every other one is told by its difference from it, seed by seed."""
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
        assert [row["loss changes by"] for row in told.values()].count(None) == 1
        for label, row in told.items():
            key = "val_loss_token_" + label.replace(",", "").replace(" ", "_").replace(".", "_")
            if row["loss changes by"] is None:
                assert row["val PPL"] == rows(result, "arms")["two-stage"]["val PPL"]
                continue
            change = mean_interval([b - a for a, b in zip(own, result.samples[key], strict=True)])
            assert row["n"] == 2
            for column, end in (("loss changes by", ""), ("95 % low", "_low"), ("95 % high", "_high")):
                assert row[column] == pytest.approx(change[end], abs=5e-3)
    assert [figure.name for figure in result.figures] == ["fit", "noise-loss", "layers-loss"]


def test_with_one_layer_wiring_changes_nothing_that_is_trained(whole: tuple[Result, Path]) -> None:
    """A block of one layer reads the token there or nowhere: every and first are the same numbers."""
    told = rows(whole[0], "wiring")

    for widths in ("constant", "decreasing"):
        assert told[f"every, {widths}"]["val PPL"] == told[f"first, {widths}"]["val PPL"]


def test_arms_are_shared_and_trained_once(whole: tuple[Result, Path]) -> None:
    """Each arm has one folder for each seed, however many tables it is in."""
    names = {path.name for path in whole[1].iterdir() if path.is_dir()}
    arms = {arm.name for each in stage_arms(ALL).values() for arm in each}

    assert names == {f"{name}-seed{seed}" for name in arms for seed in (0, 1)}
    assert len(rows(whole[0], "contexts")) == len({arm.design for each in stage_arms(ALL).values() for arm in each})


def test_the_summary_says_what_stage_1_measured(whole: tuple[Result, Path]) -> None:
    """Its rate, how it was done, and that nothing moved; verdicts of two seeds are open."""
    result = whole[0]

    assert "mean of n = 2" in result.summary[0]
    assert "contexts a second, token by token; " in result.summary[1]
    assert "Stage 2 moved them by 0." in result.summary[1]
    assert "single changes change the PPL by" in result.summary[2]
    assert {finding.verdict for finding in result.findings} == {"inconclusive"}
    assert {finding.claim for finding in result.findings} >= {"EF-23", "NZ-2", "CN-4", "TS-1", "TS-3", "CS-1"}


def test_without_ablations_there_is_one_arm() -> None:
    """Both stages once, with their tables; the same numbers in another folder."""
    first, second = two_stage.run(ONE), two_stage.run(ONE)

    assert [table.name for table in first.tables] == [
        *("text", "meaning", "arms", "fit", "epochs", "contexts", "passes")
    ]
    assert list(first.samples) == ["val_ppl", "val_loss_token", "val_accuracy"]
    assert without_times(first.metrics) == without_times(second.metrics)
    assert len(list(Path("runs").iterdir())) == 2
    assert first.findings == []


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
    assert any(sentence.startswith("Unfinished; not begun: ") for sentence in stopped.summary)
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
    real = running.train_arm

    def fragile(own: Any, task: Any, arm: Any, *rest: Any) -> Any:
        if arm.name == "main":
            raise Diverged(3, torch.zeros(0))
        return real(own, task, arm, *rest)

    monkeypatch.setattr(running, "train_arm", fragile)
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
    real = keeping.learn

    def fragile(own: Any, task: Any, design: Any, seed: int, on_pass: Any) -> Any:
        if seed == 0:
            raise Diverged(1, torch.zeros(0))
        return real(own, task, design, seed, on_pass)

    monkeypatch.setattr(keeping, "learn", fragile)
    result = two_stage.run(replace(ALL, ablate="block"))
    alone = two_stage.run(replace(ONE, seed=1, seeds=1))

    assert list(rows(result, "contexts")) == ["untrained block", "two-stage"]
    for name in ("effective_rank", "converged_fraction", "stage1_max_error"):
        assert result.metrics[name] == alone.metrics[name]


def test_ranks_are_compared_seed_by_seed_whatever_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that diverges in one seed is missing there, and shifts no other seed's rank."""
    real = keeping.learn

    def fragile(own: Any, task: Any, design: Any, seed: int, on_pass: Any) -> Any:
        if design.wiring == "first" and seed == 0:
            raise Diverged(1, torch.zeros(0))
        return real(own, task, design, seed, on_pass)

    monkeypatch.setattr(keeping, "learn", fragile)
    result = two_stage.run(replace(ALL, ablate="wiring", layers=2))
    told = {finding.claim: finding for finding in result.findings}

    assert rows(result, "wiring")["first, constant"]["n"] == 1
    assert told["TS-3"].evidence.count("n = 1") == 2
    assert told["TS-3"].verdict == "inconclusive"


# ---- verdicts -------------------------------------------------------------------------------------------------------

EVERY = replace(ALL, noises="0,0.1", depths="1,3,6")


def by_hand(losses: dict[str, float], ranks: dict[str, float] | None = None, **others: Any) -> dict[str, Any]:
    """Return the verdicts of arms with these losses by label, a hundredth apart from seed to seed.

    ``others`` are further numbers by metric, then by label; from seed to seed every arm's rise faster than the last's.
    """
    arms, by_name = dict[str, ArmRuns](), dict[str, list[ArmRuns]]()
    for name, each in stage_arms(EVERY).items():
        for arm in each:
            if arm.label in losses:
                values = {
                    seed: {"val_loss_token": losses[arm.label] + seed / 100}
                    | {metric: told.get(arm.label, 1.0) + len(arms) * seed / 100 for metric, told in others.items()}
                    for seed in range(3)
                }
                arms[arm.label] = arm_runs(replace(arm, name=arm.label), values)
                by_name.setdefault(name, []).append(arms[arm.label])
    told = {name: {seed: (rank + seed / 1000, 0.4) for seed in range(3)} for name, rank in (ranks or {}).items()}
    found = compared_by_hand(EVERY, list(arms.values()), told)
    return {finding.claim: finding for finding in stage_findings.of(found, by_name)}


@given(st.floats(0.05, 1), st.booleans())
def test_the_worth_of_the_block_and_of_the_reading_is_a_direction(gap: float, better: bool) -> None:
    """EF-23 and CS-1 follow their own pair of arms, and no other claim is told."""
    sign = -1 if better else 1
    block = by_hand({"untrained block": 3.0, "trained block": 3.0 + sign * gap})
    reading = by_hand({"after, last layer": 3.0, "before": 3.0 + sign * gap})

    assert {claim: each.verdict for claim, each in block.items()} == {"EF-23": "supported" if better else "refuted"}
    assert {claim: each.verdict for claim, each in reading.items()} == {"CS-1": "supported" if better else "refuted"}


def test_noise_is_judged_by_epochs_gap_accuracy_and_loss() -> None:
    """Each of the four claims has its own number; a gap that is smaller by far less than twelve times refutes."""
    told = by_hand(
        {"noise 0": 3.0, "noise 0.1": 3.2},
        best_epoch={"noise 0": 3.0, "noise 0.1": 5.0},
        gap={"noise 0": 1.0, "noise 0.1": 0.5},
        val_accuracy={"noise 0": 0.3, "noise 0.1": 0.1},
    )
    assert {claim: each.verdict for claim, each in told.items()} == {
        "NZ-1": "supported",
        "NZ-2": "refuted",
        "NZ-3": "refuted",
        "NZ-4": "supported",
    }
    twelfth = {"noise 0": 3.0, "noise 0.1": 3.0 - math.log(12) - 0.01}
    told = by_hand({"noise 0": 3.0, "noise 0.1": 3.2}, best_epoch={}, val_accuracy={}, gap=twelfth)
    assert told["NZ-2"].verdict == "supported"


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [((3.0, 3.1, 3.2), "supported"), ((3.0, 2.9, 3.2), "refuted"), ((3.0, 3.0, 3.2), "inconclusive")],
)
def test_one_layer_is_best_if_every_other_depth_is_worse(losses: tuple[float, ...], verdict: str) -> None:
    """One better depth refutes it; one that is as good leaves it open; ranks and gaps have claims of their own."""
    labels = ("1 layer", "3 layers", "6 layers")
    told = by_hand(
        dict(zip(labels, losses, strict=True)),
        {"1 layer": 0.9, "3 layers": 0.8, "6 layers": 0.6},
        gap_last={"3 layers": 0.2, "6 layers": 0.5},
    )
    assert told["CN-4"].verdict == verdict
    assert (told["CN-5"].verdict, told["CN-6"].verdict, told["CN-9"].verdict) == ("supported",) * 3
    assert "3 layers 80.1%, 6 layers 60.1%; untrained 40.0% and 40.0%, n = 3" in told["CN-5"].evidence


def test_wiring_is_taken_apart_from_width() -> None:
    """The two designs of the document are one verdict, the token's place at equal widths another."""
    labels = ("every, constant", "every, decreasing", "first, constant", "first, decreasing")
    losses = dict(zip(labels, (3.0, 3.1, 3.2, 3.3), strict=True))
    both, one = (
        by_hand(losses, dict(zip(labels, ranks, strict=True))) for ranks in ((0.8, 0.8, 0.6, 0.6), (0.8, 0.6, 0.6, 0.8))
    )
    two = by_hand({label: losses[label] for label in labels[:2]})

    assert (both["TS-1"].verdict, both["TS-2"].verdict, both["TS-3"].verdict) == ("supported", "refined", "supported")
    assert one["TS-3"].verdict == "refined"
    assert two == {}
    assert set(both) <= set(stage_findings.CLAIMS)


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ablate", "nothing", "'nothing' is not one of"),
        ("ablate", "all,noise", "'all' is not one of"),
        ("ablate", "noise,noise", "noise stands there twice"),
        *(("noises", value, "is no number from 0") for value in ("", "x", "-1", "nan", "inf", "1001", "0.1,")),
        ("noises", "0.1,0.10", "0.1 stands there twice"),
        ("noises", "0.1,0.10000001", "0.1 stands there twice"),
        ("noises", "0,-0", "stands there twice"),
        *(("depths", value, "") for value in ("", "0", "65", "1,1", "x", "1.5")),
        ("vectors", "good", "is not one of"),
        ("layers", 0, "allowed value"),
        ("noise", -0.1, "allowed value"),
        ("block_lr", 0.0, "not above"),
        ("iterations", 0, "allowed value"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: object, words: str) -> None:
    """Unknown, double and missing words, numbers out of range: the option is named and what is wrong with it."""
    with pytest.raises(SettingError, match=f"{flag(name)}: .*{words}"):
        TwoStageSettings(**{name: value})


@given(st.lists(st.sampled_from(ABLATIONS), unique=True), st.lists(st.integers(0, 1_000), min_size=1, unique=True))
def test_lists_are_read_in_any_order(names: list[str], noises: list[int]) -> None:
    """Ablations come in the order of their tables, noises from small to large."""
    asked = TwoStageSettings(ablate=",".join(names) or "none", noises=" , ".join(f"{each / 1000}" for each in noises))

    assert asked.ablations == [name for name in ABLATIONS if name in names]
    assert asked.swept_noises == sorted(each / 1000 for each in noises)
    assert TwoStageSettings(ablate="all").ablations == list(ABLATIONS)


# ---- the command, and what happens to it ----------------------------------------------------------------------------


def options(**changes: Any) -> list[str]:
    """Return the options of a run that takes a second, as they are typed."""
    asked = SMALL | {"seeds": 1, "ablate": "none"} | changes
    return [word for name, value in asked.items() for word in (flag(name), str(value))]


def started(folder: Path, *args: str) -> "subprocess.Popen[bytes]":
    """Start a run in a folder."""
    return subprocess.Popen(
        [*LLMLAB, "two-stage", *args],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=as_in_a_terminal,
    )


def updates_saved(folder: Path) -> int:
    """Return how many updates the newest checkpoints of all runs in a folder have made together."""
    newest: dict[Path, int] = {}
    for path in folder.rglob("update-*.ckpt"):
        newest[path.parent] = max(newest.get(path.parent, 0), int(path.stem.removeprefix("update-")))
    return sum(newest.values())


def wait_for_updates(folder: Path, above: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until runs have saved beyond an update."""
    until = time.monotonic() + 90
    while updates_saved(folder) <= above and process.poll() is None:
        assert time.monotonic() < until, "no checkpoint came"
        time.sleep(0.01)


def test_killed_on_the_way_a_comparison_ends_like_a_straight_one(tmp_path: Path) -> None:
    """Killed with SIGKILL in its first and in a later arm, and resumed: the same numbers, and nothing half-written."""
    given = {**write_model_and_text(tmp_path), "epochs": 30, "patience": 1000, "save_minutes": 1e-9, "ablate": "block"}
    words = [*options(**given), "--json", "--no-log"]
    out, err = started(tmp_path, *words, "--out", "straight").communicate(timeout=120)
    straight = json.loads(out or err)
    for saved in (20, 200):
        process = started(tmp_path, *words, "--out", "cut", "--resume", "auto")
        wait_for_updates(tmp_path / "cut", saved, process)
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    cut = json.loads(started(tmp_path, *words, "--out", "cut", "--resume", "auto").communicate(timeout=120)[0])

    assert without_times(cut["metrics"]) == without_times(straight["metrics"])
    for arm in ("main-seed0", "untrained-block-seed0"):
        ends = [read(max((tmp_path / name / arm).glob("update-*.ckpt")))["model"] for name in ("straight", "cut")]
        assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Stopped by a signal in its second arm: one document that says interrupted, and the line that goes on."""
    given = {**write_model_and_text(tmp_path), "epochs": 60, "patience": 1000, "save_minutes": 1e-9, "ablate": "block"}
    process = started(tmp_path, *options(**given), "--json")
    wait_for_updates(tmp_path / "runs", 60 * 5 + 5, process)
    process.send_signal(signal.SIGTERM)
    out, err = (stream.decode() for stream in process.communicate(timeout=60))
    done = watch(Done(process.returncode, out, err, tmp_path), ["--json"])

    assert done.code == 128 + signal.SIGTERM
    assert json.loads(out)["status"] == "interrupted"
    assert "--resume auto" in done.err
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_command_trains_logs_and_repeats_itself(run_llmlab: Run, tmp_path: Path) -> None:
    """``llmlab two-stage`` with a model of one's own: one document, one entry, and quiet says only where it is."""
    given = write_model_and_text(tmp_path)
    done = run_llmlab("two-stage", *options(**given, ablate="block,reading"), "--json")

    assert done.code == 0, done.err
    assert set(done.document["metrics"]) >= CONTRACT
    assert {"block", "reading"} <= {table["name"] for table in done.document["tables"]}
    assert "--ablate block,reading" in done.document["command"]
    quiet = run_llmlab("two-stage", *options(**given, vectors="random"), "--quiet")
    assert (quiet.code, len(quiet.out.splitlines()), quiet.err) == (0, 1, "")
    assert len(quiet.entries) == 2


def test_random_vectors_need_a_tokenizer_only(run_llmlab: Run, tmp_path: Path) -> None:
    """A folder without weights serves ``--vectors random``, of the width asked for; alone it is refused."""
    given = write_model_and_text(tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    done = run_llmlab("two-stage", *options(**given, vectors="random", width=6), "--json", "--no-log")

    assert done.code == 0, done.err
    assert "of 6 numbers" in done.document["tables"][0]["caption"]
    refused = run_llmlab("two-stage", *options(**given), "--no-log")
    assert (refused.code, refused.out) == (3, "")


@pytest.mark.parametrize(
    "words", [("--ablate", "x"), ("--noises", "-1"), ("--depths", "0"), ("--vectors", "x"), ("--seeds", "0")]
)
def test_the_command_refuses_before_torch(run_llmlab: Run, words: tuple[str, str]) -> None:
    """Exit 2 with the option's name, and nothing is written."""
    done = run_llmlab("two-stage", *words)

    assert (done.code, done.out) == (2, "")
    assert words[0] in done.err
    assert list(done.folder.iterdir()) == []
