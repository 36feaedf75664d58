"""Chapter 3 from the command line: what it says, what it leaves on disk, how it is stopped and refused."""

import json
import math
import re
import shutil
import signal
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import HANG, Done, Stop, watch, without_times
from llmlab.baseline import build, run
from llmlab.cli.execute import _supervised, _to_go_on
from llmlab.cli.options import Chosen
from llmlab.cli.progress import ProgressLine
from llmlab.errors import CheckpointError, SettingError, Stopped
from llmlab.lab.checkpoint import read
from llmlab.lab.language import LanguageModel
from llmlab.lab.runs import LOSSES, beside_the_notes, repeats_the_notes
from llmlab.lab.sizes import MODELS
from llmlab.report.result import Result
from llmlab.settings import BaselineSettings, FinetuneSettings, LayersSettings, RunOptions
from llmlab.shown.peers import asked
from processes import started, updates_saved, wait_for_updates
from strategies_trained import diverging

pytestmark = pytest.mark.usefixtures("elsewhere", "counted_once")

Run = Callable[..., Done]
SMALL = ("--embedding", "4", "--hidden", "8", "--context", "4", "--layers", "1", "--epochs", "2", "--batch", "256")
COMMAND = ("baseline", *SMALL)
TINY = {"embedding": 4, "hidden": 8, "context": 4, "layers": 1, "epochs": 2, "batch": 256}
TWO = BaselineSettings(**TINY)
ONCE = replace(TWO, epochs=1)
"""Twenty updates an epoch."""
CONTRACT = {
    *("parameters", "epochs", "best_epoch", "train_loss", "val_loss", "val_ppl", "val_ppl_batch_mean", "val_accuracy"),
    *("val_accuracy_known", "unk_share", "unigram_ppl", "bigram_ppl", "tokens_per_second", "bayes_ppl"),
    "context_recovered",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished run of one seed, and its folder, which is not to be changed (see ``here``)."""
    folder = tmp_path_factory.mktemp("one") / "a"
    return run(replace(TWO, out=folder)), folder


@pytest.fixture
def here(one: tuple[Result, Path]) -> Path:
    """A copy of its folder, where the test works."""
    return shutil.copytree(one[1], Path("a"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished run of two seeds, and its folder, which is not to be changed."""
    folder = tmp_path_factory.mktemp("both") / "a"
    return run(replace(TWO, seeds=2, out=folder)), folder


def test_the_command_leaves_a_record_of_the_contracts_metrics_and_checkpoints_that_it_names(
    run_llmlab: Run, both: tuple[Result, Path]
) -> None:
    """Where the checkpoints are is said, and not published."""
    done = run_llmlab(*COMMAND)
    (entry,), (place,) = done.entries, re.findall(r"^Checkpoints: (.*)$", done.out, re.MULTILINE)
    document = json.loads((entry / "record.json").read_text("utf-8"))
    metrics = document["metrics"]
    assert document["status"] == "complete"
    assert all(math.isfinite(metrics[name]) for name in CONTRACT)
    assert metrics["bayes_ppl"] < metrics["exact_bigram_ppl"] < metrics["unigram_ppl"]
    assert metrics["parameters"] == 132 * 4 + 8 * 8 + 8 + 132 * 8 + 132 + 12 * 8 + 12 + 2 * 4
    assert [path.parent for path in done.folder.glob("runs/*/best")] == [done.folder / place]
    assert all(place not in file.read_text("utf-8") for file in entry.glob("*.*"))
    shutil.copytree(both[1], "both")
    again = run_llmlab(*COMMAND, "--seeds", "2", "--out", "both", "--resume", "auto")
    assert "Checkpoints: both\n" in again.out


def test_a_seed_that_diverges_is_named_and_takes_no_other_with_it(
    both: tuple[Result, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = both
    low, mean, high = (whole.metrics[f"val_ppl{end}"] for end in ("_low", "", "_high"))
    assert low < mean < high
    assert "over_seeds" in {table.name for table in whole.tables}
    diverging(monkeypatch, lambda _, seed: seed == 0)
    result = run(replace(TWO, seeds=2))
    assert (result.status, result.samples["val_ppl"]) == ("complete", whole.samples["val_ppl"][1:])
    assert "Seed 0 diverged at update 3; it is in none of these numbers." in result.summary


# ---- stopped, and gone on with ------------------------------------------------------------------------------------


@pytest.mark.parametrize("updates", [20, 25])
def test_a_stopped_run_is_resumed_to_the_same_numbers(one: tuple[Result, Path], updates: int) -> None:
    """In the same folder.  Before the first epoch is judged there is no result; later there is an unfinished one."""
    if updates <= 20:
        with pytest.raises(Stopped):
            run(TWO, Stop(updates))
    else:
        stopped = run(TWO, Stop(updates))
        assert (stopped.status, stopped.metrics["epochs"]) == ("interrupted", 1)
        assert "Unfinished: stopped after 1 epoch of 2." in stopped.summary
        assert "test_ppl" in one[0].metrics.keys() - stopped.metrics.keys(), "the test text is read at the end alone"
    resumed = run(replace(TWO, resume="auto"))
    assert without_times(resumed.metrics) == without_times(one[0].metrics)
    assert any("Resumed at update" in sentence for sentence in resumed.summary)
    assert len(list(Path("runs").iterdir())) == 1


def test_more_epochs_continue_a_finished_run_of_constant_rate(one: tuple[Result, Path]) -> None:
    """A constant rate knows no end: a finished run can be taken further, and equals the long run."""
    constant = replace(TWO, schedule="constant", out=Path("one"))
    run(replace(constant, epochs=1))
    longer, straight = run(replace(constant, resume="auto")), run(replace(constant, out=Path("two")))
    assert without_times(longer.metrics) == without_times(straight.metrics) != without_times(one[0].metrics)


def test_a_stop_in_the_second_seed_keeps_the_first(both: tuple[Result, Path]) -> None:
    """Before and after that seed's own first epoch: a half run and a whole one have no mean."""
    two = replace(TWO, seeds=2, out=Path("two"), resume="auto")
    for at in (43, 65):
        stopped = run(two, Stop(at))
        assert (stopped.status, stopped.samples["val_ppl"]) == ("interrupted", both[0].samples["val_ppl"][:1])
        assert any("Unfinished: stopped in New-LLM, seed 1, after" in sentence for sentence in stopped.summary)
    resumed = run(two)
    assert without_times(resumed.metrics) == without_times(both[0].metrics)
    assert {path.name for path in Path("two").iterdir()} == {"seed0", "seed1"}


def test_seeds_that_were_not_begun_begin_when_their_folder_is_resumed() -> None:
    with pytest.raises(Stopped):
        run(replace(ONCE, seeds=2, out=Path("a")), Stop(3))
    result = run(replace(ONCE, seeds=2, resume="a"))
    assert (result.status, len(result.samples["val_ppl"])) == ("complete", 2)
    with pytest.raises(CheckpointError, match="--resume: a/seed0 has no folder"):
        run(replace(ONCE, seeds=2, resume="a/seed0"))
    assert not Path("a/seed0/seed0").exists()


def test_more_seeds_join_a_run_of_one(both: tuple[Result, Path], here: Path) -> None:
    """Its folder is named by either option; no run of a seed is made twice."""
    heard, silent = Stop(), Stop()
    joined = run(replace(TWO, seeds=2, out=here, resume="auto"), heard)
    run(replace(TWO, seeds=2, resume="a"), silent)
    again = run(replace(TWO, out=here, resume="auto"))
    assert min(heard.updates) > 40
    assert silent.updates == []
    assert without_times(joined.metrics) == without_times(both[0].metrics)
    assert again.samples["val_ppl"] == both[0].samples["val_ppl"][:1]


def test_a_damaged_last_checkpoint_falls_back_and_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bit of the newest file turned, the run goes on from the one before, and the summary says what was lost.

    So it does without the best one, and on as many threads as before.
    """
    for damaged in (max(here.glob("update-*/model.safetensors")), here / "best" / "model.safetensors"):
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
    taken = list[int]()
    monkeypatch.setattr("llmlab.lab.folders.take", taken.append)
    result = run(replace(TWO, out=here, resume="auto"))
    for told in ("updates are lost", "The best model so far is lost"):
        assert any(told in sentence for sentence in result.summary), told
    assert (result.status, taken) == ("complete", [1])


def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = started(tmp_path, *COMMAND, "--epochs", "2000", "--json")
    wait_for_updates(tmp_path, 0, process)
    process.send_signal(signal.SIGTERM)
    out, err = (stream.decode() for stream in process.communicate(timeout=HANG))
    done = watch(Done(process.returncode, out, err, tmp_path), ["--json"])
    assert done.code == 128 + signal.SIGTERM
    assert "--resume auto" in done.err
    assert json.loads(out)["status"] == "interrupted"
    newest = max((tmp_path / "runs").rglob("update-*"))
    assert f"after update {read(newest)['progress']['updates']:,} of" in done.err


def test_killed_again_and_again_a_run_ends_like_a_straight_one(tmp_path: Path) -> None:
    options = ("--epochs", "6", "--save-minutes", "1e-9", "--json", "--no-log", "--out", "cut", "--resume", "auto")
    straight = run(replace(TWO, epochs=6, out=Path("straight")))
    for kill in range(3):
        process = started(tmp_path, *COMMAND, *options)
        wait_for_updates(tmp_path / "cut", updates_saved(tmp_path / "cut") + 3 + 14 * kill, process)
        process.kill()
        process.communicate(timeout=HANG)
    cut = json.loads(started(tmp_path, *COMMAND, *options).communicate(timeout=HANG)[0])
    assert without_times(cut["metrics"]) == without_times(straight.metrics)
    ends = [read(max(folder.glob("update-*"))) for folder in (tmp_path / "straight", tmp_path / "cut")]
    assert max(float((ends[0]["model"][name] - ends[1]["model"][name]).abs().max()) for name in ends[0]["model"]) == 0.0
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_second_signal_does_not_promise_a_checkpoint() -> None:
    """The first signal waits for the end of an update; the second does not, and is remembered as such."""
    progress = ProgressLine(hidden=True, saves=True)
    progress(1, 10)
    progress.stop(signal.SIGINT, None)
    assert not progress.at_once
    with pytest.raises(Stopped):
        progress.stop(signal.SIGINT, None)
    assert progress.at_once


def test_the_line_to_go_on_names_the_folder_of_a_resumed_checkpoint(here: Path) -> None:
    for resume, given, rest in (
        (str(min(here.glob("update-*"))), ["epochs", "resume"], "--epochs 1 --resume a"),
        ("a", ["resume"], "--resume a"),
        ("", [], "--resume auto"),
    ):
        told = _to_go_on("baseline", Chosen(replace(ONCE, resume=resume), RunOptions(), given))
        assert told == f"llmlab baseline {rest}"


def test_a_stopped_finetuning_says_what_it_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, progress = FinetuneSettings(checkpoint=here, epochs=2, out=Path("b")), ProgressLine(hidden=True)

    def stopped_soon(_: ProgressLine, update: int, planned: int, told: str = "") -> None:
        progress.planned = planned
        if update > 3:
            raise Stopped("stopped by SIGTERM", signal.SIGTERM)

    monkeypatch.setattr(ProgressLine, "__call__", stopped_soon)
    with pytest.raises(Stopped, match="what is in b is unfinished"):
        _supervised("llmlab.after.finetune", Chosen(settings, RunOptions(), []), progress)
    assert list(Path("b").glob("update-*"))


# ---- refused ------------------------------------------------------------------------------------------------------


FILES = {"empty": b"", "line": b"one line\n", "bytes": b"\xff\xfe\x00a", "short": b"a b\nc d\ne f\n" * 20}
REFUSED = {
    **{f"--resume {path}": (4, path) for path in ("nowhere", "folder", "line")},
    **{f"--data {name}": (3, name) for name in FILES},
    "--data folder": (3, "train.txt"),
    "--preset original --offline": (5, "--data"),
    "--out line": (7, "--out: line is not a folder"),
    **{
        f"{early} evaluate nowhere": (2, f"{early.split('=')[0].replace('no-', '')}: it stands before evaluate")
        for early in ("--json", "--no-log", "--epochs=3", "--data=dialect")
    },
}
"""Nothing to resume, no text to read, no network, no folder, and an option before the verb, which would be ignored."""


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(run_llmlab: Run, tmp_path: Path, words: str) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    done = run_llmlab("baseline", *words.split(), *(SMALL if words.startswith(("--resume", "--out")) else ()))
    code, told = REFUSED[words]
    assert (done.code, done.out, done.entries) == (code, "", [])
    assert told in done.err


def test_the_checkpoint_of_another_run_is_refused(here: Path) -> None:
    """By the option that differs; one checkpoint for several seeds, and writing over a run, are refused too.

    The rate of every update depends on how many epochs are planned, but for a constant one.
    """
    there = sorted(Path().rglob("*"))
    changes: dict[str, Any] = {"hidden": 9, "lr": 0.5, "seed": 1, "batch": 128, "dropout": 0.5, "epochs": 3}
    for name, value in changes.items():
        with pytest.raises(CheckpointError, match=name):
            run(replace(TWO, **{name: value}, resume=str(here)))
    with pytest.raises(SettingError, match="of one seed"):
        run(replace(TWO, seeds=2, resume=f"{here}/best"))
    with pytest.raises(SettingError, match="--resume auto"):
        run(replace(TWO, out=here))
    assert sorted(Path().rglob("*")) == there


def test_another_folder_for_a_run_that_goes_on_is_refused() -> None:
    with pytest.raises(SettingError, match="--out"):
        replace(ONCE, resume="a", out=Path("b"))
    for resume in ("a", "a/", "a/best"):
        assert replace(ONCE, resume=resume, out=Path("a")).out == Path("a")


@pytest.mark.parametrize("settings", [BaselineSettings, LayersSettings])
def test_a_decay_goes_with_a_rule_that_uses_it(settings: type[BaselineSettings | LayersSettings]) -> None:
    """Asked for under another rule it is refused; the modern preset's is none there, and its settings say so."""
    for preset in ("pocket", "original", "advanced"):
        with pytest.raises(SettingError, match="--optimizer adamw"):
            settings(preset=preset, weight_decay=0.1)
        assert settings(preset=preset, weight_decay=0.1, optimizer="adamw").weight_decay == 0.1
    assert settings(preset="modern").weight_decay > 0
    plain = settings(preset="modern", optimizer="sgd")
    assert plain.weight_decay == 0
    assert replace(plain) == plain


@pytest.mark.parametrize("options", [{"peers": True}, {"model": "gru"}])
def test_chapter_3_says_who_trains_other_models(options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"llmlab\.peers\.run"):
        run(replace(ONCE, **options))


@pytest.mark.parametrize("command", ["baseline", "baseline --optimizer sgd --clip none", "layers --layers 1"])
def test_a_loss_without_a_perplexity_has_diverged(run_llmlab: Run, command: str) -> None:
    """A loss that is not finite, or whose exponential is no float: exit 6, no word of success, a readable entry."""
    done = run_llmlab(*command.split(), *SMALL, "--epochs", "1", "--lr", "1000")
    assert done.code == 6
    assert not [word for word in ("inf", "Next", "Checkpoints") if word in done.out]
    listed = run_llmlab("log", "list", "--json")
    assert ([entry["status"] for entry in listed.document["entries"]], listed.err) == (["diverged"], "")


def test_what_is_reported_is_of_the_best_epoch() -> None:
    """At so high a rate the second epoch is worse than the first, whose train loss is told with its number."""
    metrics = run(replace(TWO, lr=30.0, schedule="constant", out=Path("a"))).metrics
    (first,) = read(Path("a/best"))["progress"]["history"]
    assert (metrics["epochs"], metrics["best_epoch"], metrics["train_loss"]) == (2, 1, first["train_loss"])


# ---- what is said, and what is not kept ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "used"),
    [(("phase1-2",), 1), ((*COMMAND, "--epochs", "1"), 1), (("phase1", "--epochs", "2", "--threads", "2"), 2)],
)
def test_a_small_run_takes_one_thread_unless_told_otherwise(run_llmlab: Run, words: tuple[str, ...], used: int) -> None:
    """Its products are too small to share, whatever is free; the record says how many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    done = run_llmlab(*words, "--json")
    torch.set_num_threads(before)
    assert done.document["environment"]["threads"] == used


def test_a_model_is_let_go_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of a wide model need the memory of one."""
    models: list[weakref.ref[LanguageModel]] = []

    def remembered(*args: Any) -> LanguageModel:
        assert [model for model in models if model()] == []
        models.append(weakref.ref(model := build(*args)))
        return model

    monkeypatch.setattr("llmlab.baseline.build", remembered)
    run(replace(ONCE, seeds=2))
    assert len(models) == 2


@pytest.mark.parametrize("epochs", [1, 5, 27, 40])
def test_a_curve_is_held_against_the_recorded_one_epoch_by_epoch(epochs: int) -> None:
    """The farthest epoch, in per cent of the perplexity and with its sign, and every epoch that did not improve."""
    losses = [*LOSSES, *([3.2] * 13)][:epochs]
    losses[epochs // 2 if epochs < 27 else 9] += math.log(0.94)
    run: Any = type("Run", (), {"history": [{"val_loss": loss} for loss in losses]})
    found = beside_the_notes(run)
    assert found["curve_epochs"] == min(epochs, 27)
    assert found["curve_farthest"] == pytest.approx(-0.06)
    assert found["curve_rises"] == sum(b >= a for a, b in pairwise(losses[:27]))


def test_only_the_documents_conditions_are_held_against_its_record() -> None:
    """For however many epochs, but with no other setting changed."""
    theirs = BaselineSettings(preset="original", data="wikitext-2")
    assert repeats_the_notes(replace(theirs, epochs=3))
    for name, other in (("lr", 0.1), ("clip", "none"), ("hidden", 8), ("layers", 1), ("data", "synthetic")):
        assert not repeats_the_notes(replace(theirs, **{name: other})), name


@pytest.mark.parametrize(("model", "word"), [("gru", "recurrent"), ("tiny-gpt2", "attention")])
def test_the_run_of_a_peer_does_not_describe_new_llm(model: str, word: str) -> None:
    why, how = asked(model)
    assert MODELS[model] in why
    assert word in how
    assert "stack" not in how
