"""What somebody may type at chapter 3 who repeats, mixes up or interrupts: nothing is ignored without a word."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Done
from llmlab.after.opening import restored
from llmlab.baseline import run
from llmlab.cli.execute import _supervised, _to_go_on
from llmlab.cli.options import Chosen
from llmlab.cli.progress import ProgressLine
from llmlab.errors import CheckpointError, SettingError, Stopped, WriteError
from llmlab.lab.checkpoint import read
from llmlab.lab.sizes import MODELS
from llmlab.settings import (
    BaselineSettings,
    FinetuneSettings,
    LayersSettings,
    RunOptions,
)
from llmlab.shown.peers import asked

pytestmark = pytest.mark.usefixtures("elsewhere", "counted_once", "one_thread")

Run = Callable[..., Done]
TINY = BaselineSettings(embedding=4, hidden=8, context=4, layers=1, epochs=1, batch=256)


@pytest.mark.parametrize("early", ["--json", "--no-log", "--epochs=3", "--data=dialect"])
def test_an_option_before_the_verb_is_refused(run_llmlab: Run, early: str) -> None:
    """An option that stands before ``evaluate`` would have no effect there, so it is refused by name: exit 2."""
    done = run_llmlab("baseline", early, "evaluate", "nowhere")
    assert (done.code, done.out) == (2, "")
    assert f"{early.split('=')[0].replace('no-', '')}: it stands before evaluate" in done.err


@pytest.mark.parametrize("preset", ["pocket", "original", "advanced"])
def test_a_decay_that_no_rule_would_use_is_refused(preset: str) -> None:
    """``--weight-decay`` without AdamW would change nothing, so it is refused with the way out."""
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
    """``--out`` beside ``--resume PATH`` is refused unless both say the same folder; it would be ignored."""
    with pytest.raises(SettingError, match="--out"):
        replace(TINY, resume="a", out=Path("b"))
    for resume in ("a", "a/", "a/best"):
        assert replace(TINY, resume=resume, out=Path("a")).out == Path("a")


@pytest.mark.parametrize("options", [{"peers": True}, {"model": "gru"}])
def test_chapter_3_says_who_trains_other_models(options: dict[str, Any]) -> None:
    """New-LLM is all that its own module trains; whoever asks it for a peer is told where they are."""
    with pytest.raises(SettingError, match=r"llmlab\.peers\.run"):
        run(replace(TINY, **options))


def test_one_checkpoint_for_several_seeds_is_refused_before_training() -> None:
    """A checkpoint is of one seed: with ``--seeds 2`` it is refused at once, and no folder is made."""
    run(replace(TINY, out=Path("a")))
    there = sorted(Path().rglob("*"))
    with pytest.raises(SettingError, match="of one seed"):
        run(replace(TINY, seeds=2, resume="a/best"))
    assert sorted(Path().rglob("*")) == there


def test_seeds_that_were_not_begun_begin_when_their_folder_is_resumed() -> None:
    """A run of two seeds stopped in the first one goes on by ``--resume FOLDER``, and the second seed is trained."""

    def stop(update: int, planned: int, told: str = "") -> None:
        if update >= 3:
            raise Stopped("enough", signal.SIGTERM)

    with pytest.raises(Stopped):
        run(replace(TINY, seeds=2, out=Path("a")), stop)
    result = run(replace(TINY, seeds=2, resume="a"))
    assert result.status == "complete"
    assert len(result.samples["val_ppl"]) == 2
    with pytest.raises(CheckpointError, match="--resume: a/seed0 has no folder"):
        run(replace(TINY, seeds=2, resume="a/seed0"))
    assert not Path("a/seed0/seed0").exists()


def test_a_file_in_the_place_of_a_folder_is_named() -> None:
    """``--out FILE`` is refused by the option's name, as what cannot be written to."""
    Path("file").write_text("words")
    with pytest.raises(WriteError, match="--out: file is not a folder"):
        run(replace(TINY, out=Path("file")))


def test_the_line_to_go_on_names_the_folder_of_a_resumed_checkpoint(tmp_path: Path) -> None:
    """Stopped after a resume from a checkpoint, the printed line goes on from the newest one, not from that."""
    run(replace(TINY, out=Path("a")))
    first = min(Path("a").glob("update-*"))
    chosen = Chosen(replace(TINY, resume=str(first)), RunOptions(), ["epochs", "resume"])
    assert _to_go_on("baseline", chosen) == "llmlab baseline --epochs 1 --resume a"
    folder = Chosen(replace(TINY, resume="a"), RunOptions(), ["resume"])
    assert _to_go_on("baseline", folder) == "llmlab baseline --resume a"
    assert _to_go_on("baseline", Chosen(TINY, RunOptions(), [])) == "llmlab baseline --resume auto"
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


def test_a_stopped_finetuning_says_what_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fine-tuning with ``--out`` cannot go on, but has written something, and the message says so."""
    run(replace(TINY, out=Path("a")))
    settings = FinetuneSettings(checkpoint=Path("a"), epochs=2, out=Path("b"))
    progress = ProgressLine(hidden=True)

    def stopped_soon(_: ProgressLine, update: int, planned: int, told: str = "") -> None:
        progress.planned = planned
        if update > 3:
            raise Stopped("stopped by SIGTERM", signal.SIGTERM)

    monkeypatch.setattr(ProgressLine, "__call__", stopped_soon)
    with pytest.raises(Stopped, match="what is in b is unfinished"):
        _supervised("llmlab.after.finetune", Chosen(settings, RunOptions(), []), progress)
    assert list(Path("b").glob("update-*"))


def test_a_folder_of_several_runs_says_which_one_to_give() -> None:
    """Given the folder of several seeds, a verb names one of the folders in it."""
    run(replace(TINY, seeds=2, out=Path("a")))
    with pytest.raises(CheckpointError, match=r"such as a/seed0"):
        restored(Path("a"))


@pytest.mark.parametrize(("model", "word"), [("gru", "recurrent"), ("tiny-gpt2", "attention")])
def test_the_run_of_a_peer_does_not_describe_new_llm(model: str, word: str) -> None:
    """What a page says it asks and does is of the model that was trained, and it names that model."""
    why, how = asked(model)
    assert MODELS[model] in why
    assert word in how
    assert "stack" not in how
