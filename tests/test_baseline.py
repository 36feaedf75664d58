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
from llmlab.after.opening import restored
from llmlab.baseline import build, run, train_seed
from llmlab.cli.execute import _supervised, _to_go_on
from llmlab.cli.options import Chosen
from llmlab.cli.progress import ProgressLine
from llmlab.errors import CheckpointError, SettingError, Stopped, WriteError
from llmlab.lab.checkpoint import read
from llmlab.lab.dataset import Dataset
from llmlab.lab.language import LanguageModel
from llmlab.lab.runs import LOSSES, LanguageRun, beside_the_notes, repeats_the_notes
from llmlab.lab.sizes import MODELS
from llmlab.lab.steps import Diverged
from llmlab.report.result import Result
from llmlab.settings import BaselineSettings, FinetuneSettings, LayersSettings, RunOptions
from llmlab.shown.peers import asked
from processes import started, updates_saved, wait_for_updates
from strategies_trained import saved

pytestmark = pytest.mark.usefixtures("elsewhere", "counted_once", "one_thread")

Run = Callable[..., Done]
SMALL = ("--embedding", "4", "--hidden", "8", "--context", "4", "--layers", "1", "--epochs", "2", "--batch", "256")
COMMAND = ("baseline", *SMALL)
TINY = {"embedding": 4, "hidden": 8, "context": 4, "layers": 1, "epochs": 2, "batch": 256}
ONCE = BaselineSettings(**TINY | {"epochs": 1})
CONTRACT = {
    *("parameters", "epochs", "best_epoch", "train_loss", "val_loss", "val_ppl", "val_ppl_batch_mean", "val_accuracy"),
    *("val_accuracy_known", "unk_share", "unigram_ppl", "bigram_ppl", "tokens_per_second", "bayes_ppl"),
    "context_recovered",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished run of one seed, and its folder, which is not to be changed (see ``here``)."""
    folder = tmp_path_factory.mktemp("one") / "a"
    return run(BaselineSettings(**TINY, out=folder)), folder


@pytest.fixture
def here(one: tuple[Result, Path]) -> Path:
    """A copy of its folder, where the test works."""
    return shutil.copytree(one[1], Path("a"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A finished run of two seeds, and its folder, which is not to be changed."""
    folder = tmp_path_factory.mktemp("both") / "a"
    return run(BaselineSettings(**TINY, seeds=2, out=folder)), folder


def test_the_document_has_the_contracts_metrics(run_llmlab: Run) -> None:
    done = run_llmlab("baseline", *SMALL, "--json")
    metrics = done.document["metrics"]
    assert set(metrics) >= CONTRACT
    assert all(math.isfinite(metrics[name]) for name in CONTRACT)
    assert metrics["bayes_ppl"] < metrics["exact_bigram_ppl"] < metrics["unigram_ppl"]
    assert metrics["parameters"] == 132 * 4 + 8 * 8 + 8 + 132 * 8 + 132 + 12 * 8 + 12 + 2 * 4
    assert done.document["status"] == "complete"
    assert len(done.entries) == 1
    assert len(list(done.folder.glob("runs/*/best"))) == 1


def test_a_seed_that_diverges_is_named_and_takes_no_other_with_it(
    both: tuple[Result, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(settings: BaselineSettings, task: Dataset, seed: int, *args: Any) -> LanguageRun:
        if seed == 0:
            raise Diverged(7)
        return train_seed(settings, task, seed, *args)

    whole, folder = both
    monkeypatch.setattr("llmlab.baseline.train_seed", train)
    result = run(BaselineSettings(**TINY, seeds=2))
    low, mean, high = (whole.metrics[f"val_ppl{end}"] for end in ("_low", "", "_high"))
    assert low < mean < high
    assert len(set(whole.samples["val_ppl"])) == 2
    assert "over_seeds" in {table.name for table in whole.tables}
    assert len(list(folder.iterdir())) == 2
    assert result.status == "complete"
    assert result.samples["val_ppl"] == whole.samples["val_ppl"][1:]
    assert "Seed 0 diverged at update 7; it is in none of these numbers." in result.summary


def test_the_same_seed_gives_the_same_result_and_another_folder(one: tuple[Result, Path], tmp_path: Path) -> None:
    """A second run of the same command equals the first to the bit, and touches none of its files."""
    first = run(BaselineSettings(**TINY))
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.safetensors")}
    run(BaselineSettings(**TINY | {"epochs": 1}))
    assert without_times(first.metrics) == without_times(one[0].metrics)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize("updates", [3, 20, 25])
def test_a_stopped_run_is_resumed_to_the_same_numbers(one: tuple[Result, Path], updates: int) -> None:
    if updates <= 20:  # before the first validation
        with pytest.raises(Stopped):
            run(BaselineSettings(**TINY), Stop(updates))
    else:
        stopped = run(BaselineSettings(**TINY), Stop(updates))
        assert (stopped.status, stopped.metrics["epochs"]) == ("interrupted", 1)
        assert "Unfinished: stopped after 1 epoch of 2." in stopped.summary
    resumed = run(BaselineSettings(**TINY, resume="auto"))
    assert without_times(resumed.metrics) == without_times(one[0].metrics)
    assert any("Resumed at update" in sentence for sentence in resumed.summary)


def test_more_epochs_continue_a_finished_run_of_constant_rate() -> None:
    """A constant rate knows no end: a finished run can be taken further, and equals the long run."""
    constant = TINY | {"schedule": "constant", "out": Path("one")}
    run(BaselineSettings(**constant))
    longer = run(BaselineSettings(**constant | {"epochs": 3, "resume": "auto"}))
    straight = run(BaselineSettings(**constant | {"epochs": 3, "out": Path("two")}))
    assert without_times(longer.metrics) == without_times(straight.metrics)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"hidden": 9}, "hidden"), ({"lr": 0.5}, "lr"), ({"seed": 1}, "seed"), ({"batch": 128}, "batch")],
)
def test_the_checkpoint_of_another_run_is_refused(here: Path, change: dict[str, Any], word: str) -> None:
    """A checkpoint made under other options is refused with the option's name; so is writing over a run."""
    with pytest.raises(CheckpointError, match=word):
        run(BaselineSettings(**TINY | change, resume=str(here)))
    with pytest.raises(SettingError, match="--resume auto"):
        run(BaselineSettings(**TINY, out=here))


@pytest.mark.parametrize("path", ["nowhere", "empty", "text.txt"])
def test_what_cannot_be_resumed_is_refused(run_llmlab: Run, tmp_path: Path, path: str) -> None:
    """A path that is not there, an empty folder, and a file that is no checkpoint: exit 4, and nothing is logged."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no checkpoint")
    done = run_llmlab("baseline", *SMALL, "--resume", path)
    assert (done.code, done.entries) == (4, [])
    assert path in done.err


@pytest.mark.parametrize("content", [b"", b"one line\n", b"\xff\xfe\x00a", b"a b\nc d\ne f\n" * 20, None])
def test_a_text_that_cannot_be_used_is_refused(run_llmlab: Run, tmp_path: Path, content: bytes | None) -> None:
    """Empty, one line, not UTF-8, lines that are too short, or a folder without train.txt: refused by name."""
    (tmp_path / "mine").mkdir() if content is None else (tmp_path / "mine").write_bytes(content)
    done = run_llmlab("baseline", *SMALL, "--data", "mine", LLMLAB_CACHE=str(tmp_path / "cache"))
    assert (done.code, done.entries) == (3, [])
    assert ("mine" if content is not None else "train.txt") in done.err


def test_a_file_of_ones_own_trains_and_its_path_stays_private(run_llmlab: Run, tmp_path: Path) -> None:
    lines = [f"the {a} sees the {b} every {c} day" for a in "xyz" for b in "uvw" for c in "rst"] * 12
    (tmp_path / "secret-place").mkdir()
    (tmp_path / "secret-place" / "mine.txt").write_text("\n".join(lines), "utf-8")
    path = str(tmp_path / "secret-place" / "mine.txt")
    done = run_llmlab("baseline", *SMALL, "--batch", "16", "--length", "12", "--json", "--data", path)
    assert done.code == 0, done.err
    assert done.document["settings"]["data"] == "path: mine.txt"
    assert "--data PATH" in done.document["command"]
    assert "secret-place" not in "".join(page.read_text("utf-8") for page in done.entries[0].iterdir())


def test_wikitext_without_network_says_the_way_out(run_llmlab: Run) -> None:
    done = run_llmlab("baseline", "--preset", "original", "--offline", LLMLAB_DATA=None)
    assert (done.code, done.entries) == (5, [])
    assert "--data" in done.err


@pytest.mark.parametrize(
    ("words", "used"), [(("phase1-2",), 1), (COMMAND, 1), (("phase1", "--epochs", "2", "--threads", "2"), 2)]
)
def test_a_small_run_takes_one_thread_unless_told_otherwise(run_llmlab: Run, words: tuple[str, ...], used: int) -> None:
    """Its products are too small to share, whatever is free; the record says how many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    done = run_llmlab(*words, "--json")
    torch.set_num_threads(before)
    assert done.document["environment"]["threads"] == used


@pytest.mark.parametrize(
    "command", ["baseline", "baseline --optimizer sgd --clip none", "baseline --peers", "layers --layers 1"]
)
def test_a_loss_without_a_perplexity_has_diverged(
    run_llmlab: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A loss that is not finite, or whose exponential is no float: exit 6, no word of success, a readable entry."""
    monkeypatch.setattr("llmlab.peers.LENGTHS", (1, 8))  # after which the cost of a token is taken, in seconds
    done = run_llmlab(*command.split(), *SMALL, "--epochs", "1", "--lr", "1000")
    assert done.code == 6
    assert "inf" not in done.out
    assert "Next" not in done.out
    assert "Checkpoints" not in done.out
    listed = run_llmlab("log", "list", "--json", folder=done.folder)
    assert [entry["status"] for entry in listed.document["entries"]] == ["diverged"]
    assert listed.err == ""


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
    options = ("--epochs", "6", "--save-minutes", "1e-9", "--json", "--no-log")
    straight = run(BaselineSettings(**TINY | {"epochs": 6}, out=Path("straight")))
    for kill in range(3):
        process = started(tmp_path, *COMMAND, *options, "--out", "cut", "--resume", "auto")
        wait_for_updates(tmp_path / "cut", updates_saved(tmp_path / "cut") + 3 + 14 * kill, process)
        process.kill()
        process.communicate(timeout=HANG)
    process = started(tmp_path, *COMMAND, *options, "--out", "cut", "--resume", "auto")
    cut = json.loads(process.communicate(timeout=HANG)[0])
    assert without_times(cut["metrics"]) == without_times(straight.metrics)
    ends = [read(max(folder.glob("update-*"))) for folder in (tmp_path / "straight", tmp_path / "cut")]
    assert max(float((ends[0]["model"][name] - ends[1]["model"][name]).abs().max()) for name in ends[0]["model"]) == 0.0
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_checkpoint_gives_the_model_back(one: tuple[Result, Path]) -> None:
    back = restored(one[1])
    best = read(one[1] / "best")
    best["settings"]["device"] = "cuda"
    assert back.settings.hidden == 8
    assert len(back.history) == 2
    assert len(back.vocabulary) == 132
    assert back.dataset().valid_targets == one[0].metrics["val_targets"]
    assert restored(saved(Path("card"), best)).model.parameters["embedding"].device.type == back.model.device


def test_a_damaged_last_checkpoint_falls_back_and_says_so(here: Path) -> None:
    """With a bit of the newest file turned, the run goes on from the one before, and the summary says what was lost."""
    newest = max(here.glob("update-*/model.safetensors"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    result = run(BaselineSettings(**TINY, out=here, resume="auto"))
    assert any("updates are lost" in sentence for sentence in result.summary)


@pytest.mark.parametrize("updates", [3, 25])
def test_what_is_finished_outlives_a_stop_in_the_second_seed(
    both: tuple[Result, Path], tmp_path: Path, updates: int
) -> None:
    """Before and after that seed's first epoch: the first seed is reported, and the run goes on where it stopped."""
    stopped = run(BaselineSettings(**TINY, seeds=2, out=Path("two")), Stop(40 + updates))
    resumed = run(BaselineSettings(**TINY, seeds=2, out=Path("two"), resume="auto"))

    assert stopped.status == "interrupted"
    assert stopped.samples["val_ppl"] == both[0].samples["val_ppl"][:1]
    assert any("Unfinished: stopped in New-LLM, seed 1, after" in sentence for sentence in stopped.summary)
    assert without_times(resumed.metrics) == without_times(both[0].metrics)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"seed0", "seed1"}


@pytest.mark.parametrize("resume", ["auto", "a"])
def test_more_seeds_join_a_run_of_one(both: tuple[Result, Path], here: Path, resume: str) -> None:
    heard = Stop()
    joined = run(BaselineSettings(**TINY, seeds=2, out=here, resume=resume), heard)
    again = run(BaselineSettings(**TINY, out=here, resume="auto"))

    assert min(heard.updates) > 40
    assert without_times(joined.metrics) == without_times(both[0].metrics)
    assert again.samples["val_ppl"] == both[0].samples["val_ppl"][:1]


def test_a_model_is_let_go_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of a wide model need the memory of one."""
    models: list[weakref.ref[LanguageModel]] = []

    def remembered(*args: Any) -> LanguageModel:
        assert [model for model in models if model()] == []
        models.append(weakref.ref(model := build(*args)))
        return model

    monkeypatch.setattr("llmlab.baseline.build", remembered)
    run(BaselineSettings(**TINY, seeds=2))
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


def test_the_command_says_where_the_checkpoints_are_and_the_record_does_not(run_llmlab: Callable[..., Done]) -> None:
    one = run_llmlab(*COMMAND)
    two = run_llmlab(*COMMAND, "--seeds", "2", "--out", "both")
    (place,) = re.findall(r"^Checkpoints: (.*)$", one.out, re.MULTILINE)

    assert (one.folder / place / "best").is_dir()
    assert "Checkpoints: both\n" in two.out
    assert all(place not in file.read_text("utf-8") for entry in one.entries for file in entry.glob("*.*"))


# ---- who repeats, mixes up or interrupts: nothing is ignored without a word -----------------------------------------


@pytest.mark.parametrize("early", ["--json", "--no-log", "--epochs=3", "--data=dialect"])
def test_an_option_before_the_verb_is_refused(run_llmlab: Run, early: str) -> None:
    done = run_llmlab("baseline", early, "evaluate", "nowhere")
    assert (done.code, done.out) == (2, "")
    assert f"{early.split('=')[0].replace('no-', '')}: it stands before evaluate" in done.err


@pytest.mark.parametrize("preset", ["pocket", "original", "advanced"])
def test_a_decay_that_no_rule_would_use_is_refused(preset: str) -> None:
    with pytest.raises(SettingError, match="--optimizer adamw"):
        BaselineSettings(preset=preset, weight_decay=0.1)
    assert BaselineSettings(preset=preset, weight_decay=0.1, optimizer="adamw").weight_decay == 0.1


@pytest.mark.parametrize("settings", [BaselineSettings, LayersSettings])
def test_a_presets_decay_goes_with_its_rule(settings: type[BaselineSettings | LayersSettings]) -> None:
    """The modern preset decays weights by AdamW; under another rule its settings say that nothing is decayed."""
    assert settings(preset="modern").weight_decay > 0
    plain = settings(preset="modern", optimizer="sgd")
    assert plain.weight_decay == 0
    assert replace(plain) == plain


def test_another_folder_for_a_run_that_goes_on_is_refused() -> None:
    with pytest.raises(SettingError, match="--out"):
        replace(ONCE, resume="a", out=Path("b"))
    for resume in ("a", "a/", "a/best"):
        assert replace(ONCE, resume=resume, out=Path("a")).out == Path("a")


@pytest.mark.parametrize("options", [{"peers": True}, {"model": "gru"}])
def test_chapter_3_says_who_trains_other_models(options: dict[str, Any]) -> None:
    """New-LLM is all that its own module trains; whoever asks it for a peer is told where they are."""
    with pytest.raises(SettingError, match=r"llmlab\.peers\.run"):
        run(replace(ONCE, **options))


def test_one_checkpoint_for_several_seeds_is_refused_before_training(here: Path) -> None:
    there = sorted(Path().rglob("*"))
    with pytest.raises(SettingError, match="of one seed"):
        run(BaselineSettings(**TINY, seeds=2, resume=f"{here}/best"))
    assert sorted(Path().rglob("*")) == there


def test_seeds_that_were_not_begun_begin_when_their_folder_is_resumed() -> None:
    with pytest.raises(Stopped):
        run(replace(ONCE, seeds=2, out=Path("a")), Stop(3))
    result = run(replace(ONCE, seeds=2, resume="a"))
    assert result.status == "complete"
    assert len(result.samples["val_ppl"]) == 2
    with pytest.raises(CheckpointError, match="--resume: a/seed0 has no folder"):
        run(replace(ONCE, seeds=2, resume="a/seed0"))
    assert not Path("a/seed0/seed0").exists()


def test_a_file_in_the_place_of_a_folder_is_named() -> None:
    Path("file").write_text("words")
    with pytest.raises(WriteError, match="--out: file is not a folder"):
        run(replace(ONCE, out=Path("file")))


def test_the_line_to_go_on_names_the_folder_of_a_resumed_checkpoint(here: Path) -> None:
    first = min(here.glob("update-*"))
    chosen = Chosen(replace(ONCE, resume=str(first)), RunOptions(), ["epochs", "resume"])
    assert _to_go_on("baseline", chosen) == "llmlab baseline --epochs 1 --resume a"
    folder = Chosen(replace(ONCE, resume="a"), RunOptions(), ["resume"])
    assert _to_go_on("baseline", folder) == "llmlab baseline --resume a"
    assert _to_go_on("baseline", Chosen(ONCE, RunOptions(), [])) == "llmlab baseline --resume auto"
    assert read(first)["progress"]["updates"] == 20


def test_a_second_signal_does_not_promise_a_checkpoint() -> None:
    """The first signal waits for the end of an update; the second does not, and is remembered as such."""
    progress = ProgressLine(hidden=True, saves=True)
    progress(1, 10)
    progress.stop(signal.SIGINT, None)
    assert not progress.at_once
    with pytest.raises(Stopped):
        progress.stop(signal.SIGINT, None)
    assert progress.at_once


def test_a_stopped_finetuning_says_what_it_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FinetuneSettings(checkpoint=here, epochs=2, out=Path("b"))
    progress = ProgressLine(hidden=True)

    def stopped_soon(_: ProgressLine, update: int, planned: int, told: str = "") -> None:
        progress.planned = planned
        if update > 3:
            raise Stopped("stopped by SIGTERM", signal.SIGTERM)

    monkeypatch.setattr(ProgressLine, "__call__", stopped_soon)
    with pytest.raises(Stopped, match="what is in b is unfinished"):
        _supervised("llmlab.after.finetune", Chosen(settings, RunOptions(), []), progress)
    assert list(Path("b").glob("update-*"))


def test_a_folder_of_several_runs_says_which_one_to_give(both: tuple[Result, Path]) -> None:
    with pytest.raises(CheckpointError, match=f"such as {both[1]}/seed0"):
        restored(both[1])


@pytest.mark.parametrize(("model", "word"), [("gru", "recurrent"), ("tiny-gpt2", "attention")])
def test_the_run_of_a_peer_does_not_describe_new_llm(model: str, word: str) -> None:
    why, how = asked(model)
    assert MODELS[model] in why
    assert word in how
    assert "stack" not in how
