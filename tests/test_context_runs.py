"""A comparison as it runs: its steps count as one, stopped it goes on to the same numbers, what diverges is told."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Stop, without_times
from llmlab.errors import CheckpointError, LlmlabError, SettingError, Stopped, WriteError
from llmlab.lab import context_metrics
from llmlab.lab.context_study import Comparison
from llmlab.lab.context_text import EmbeddedCorpus
from llmlab.shown import contexts as shown
from strategies_contexts import FREEZE, UPDATES, compared, diverging, diverging_blocks

pytestmark = pytest.mark.usefixtures("elsewhere")
BOTH = replace(FREEZE, arms="frozen,trained")
TWO = replace(FREEZE, arms="frozen")
ONE = replace(TWO, seeds=1)


def numbers(found: Comparison) -> dict[str, Any]:
    """Return what a comparison measured, without times."""
    return without_times(context_metrics.metrics(found))


@pytest.fixture(scope="module")
def straight(source: EmbeddedCorpus, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Frozen and trained with two seeds each, and nothing stopped them."""
    return compared(replace(BOTH, out=tmp_path_factory.mktemp("straight") / "runs"), source)


def test_the_steps_of_all_runs_count_as_one_and_each_has_a_folder_of_its_own(source: EmbeddedCorpus) -> None:
    """The updates of all arms and seeds rise together to the planned number; training a block counts as none.

    Under ``runs`` there is one folder for the comparison, in it one for each arm and seed, and the trained blocks.
    """
    count = Stop()
    found = compared(replace(FREEZE, arms="frozen,random-frozen", patience=100), source, count)

    assert count.planned == {4 * UPDATES} == {sum(int(run.numbers["updates"]) for run in found.finished)}
    assert count.updates == sorted(count.updates)
    assert count.updates[-1] == 4 * UPDATES
    assert any("context block, iteration 2 of 3" in told for told in count.told)
    assert any(told.startswith("random, frozen, seed 1, epoch 2 of 2") for told in count.told)
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("embedding-freeze-pocket-")
    assert folder.name.endswith("-1")
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"block-{each}-L1-every-constant-noise0.1-300-seed{n}" for each in ("pretrained", "random") for n in (0, 1)),
        *(f"{each}-seed{n}" for each in ("frozen", "random-frozen") for n in (0, 1)),
    ]


@pytest.mark.parametrize("at", [0, 3, 5, 12, 20, 33])
def test_a_stopped_comparison_goes_on_to_the_same_numbers(
    source: EmbeddedCorpus, straight: Comparison, at: int
) -> None:
    """Stopped in Stage 1, within or between runs: what is finished is told, and the rest follows to the bit."""
    if at < UPDATES:  # before the first run is finished there is nothing to tell
        with pytest.raises(Stopped):
            compared(BOTH, source, Stop(at))
    else:
        stopped = compared(BOTH, source, Stop(at))
        assert stopped.stop
        assert any("Stopped before the end" in note for note in shown.notes(stopped))
        assert all("done" not in stopped.state(arm) for arm in stopped.arms.values() if len(arm.runs) < BOTH.seeds)
    rest, (folder,) = Stop(), Path("runs").iterdir()
    resumed = compared(replace(BOTH, resume=str(folder) if at > UPDATES else "auto"), source, rest)

    assert (numbers(resumed), resumed.stop) == (numbers(straight), None)
    assert len(rest.updates) == 4 * UPDATES - at
    assert len(list(Path("runs").iterdir())) == 1


def test_a_trained_block_is_not_trained_again(source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its file is damaged; it is kept as soon as it is there, before the contexts are computed."""
    asked, trained = replace(TWO, out=Path("a")), diverging_blocks(monkeypatch, lambda *_: False)

    def stop(update: int, planned: int, told: str = "") -> None:
        if told.endswith("tokens read") and list(Path("a").glob("block-*")):
            raise Stopped("stopped by SIGTERM", 15)

    with pytest.raises(Stopped):
        compared(asked, source, stop)
    first = compared(replace(asked, resume="auto"), source)
    assert (trained, len(first.finished)) == ([0, 1], 2)

    block = next(Path("a").glob("block-*-seed1")) / "model.safetensors"
    block.write_bytes(block.read_bytes()[:-1])
    assert numbers(compared(replace(asked, resume="a"), source)) == numbers(first)
    assert trained == [0, 1, 1]


@pytest.mark.parametrize("lost", ["best", "update-*"])
def test_lost_checkpoints_change_no_number(source: EmbeddedCorpus, lost: str) -> None:
    """Without its best checkpoint a finished run still knows its best epoch; without the last ones it trains again.

    Only what needs the best model itself, its losses on other text, is then missing.
    """
    asked = replace(TWO, out=Path("a"), lr=0.5, epochs=4)
    first = compared(asked, source)
    for path in Path("a").rglob(lost):
        shutil.rmtree(path)
    again = compared(replace(asked, resume="auto"), source)

    assert numbers(again).items() <= numbers(first).items()
    missing = numbers(first).keys() - numbers(again).keys()
    assert all(lost == "best" and name.startswith(("test_ppl", "test_loss")) for name in missing)


def test_other_options_begin_anew_and_do_not_meet_the_old_run(source: EmbeddedCorpus) -> None:
    """``--resume auto`` goes on in a comparison with the same options only; with others it begins one of its own."""
    compared(ONE, source)
    for change in ({"noise": 0.2}, {"reading": "before"}, {"block": "untrained"}):
        assert compared(replace(ONE, resume="auto", **change), source).finished
    count = Stop()
    compared(replace(BOTH, resume="auto"), source, count)
    assert len(list(Path("runs").iterdir())) == 4
    assert len(count.updates) == 3 * UPDATES


def test_more_epochs_go_on_from_fewer(source: EmbeddedCorpus) -> None:
    """The rate is constant, so a finished comparison can be taken further, and equals the long one."""
    compared(replace(ONE, out=Path("a")), source)
    longer = compared(replace(ONE, out=Path("a"), epochs=3, resume="auto"), source)

    assert numbers(longer) == numbers(compared(replace(ONE, epochs=3, out=Path("b")), source))


def test_folders_that_cannot_be_used_are_refused(source: EmbeddedCorpus) -> None:
    compared(replace(ONE, out=Path("a")), source)
    Path("empty").mkdir()
    Path("file").write_text("x")
    refused: list[tuple[dict[str, Any], type[LlmlabError], str]] = [
        ({"out": Path("a")}, SettingError, "--out: a holds checkpoints; add --resume auto"),
        ({"out": Path("file")}, WriteError, "--out: file is not a folder"),
        *(({"resume": name}, CheckpointError, f"{name} holds no runs") for name in ("empty", "file", "nowhere")),
        ({"resume": "a", "lr": 0.1}, CheckpointError, "of another run: lr"),
        ({"resume": "a", "out": Path("b")}, SettingError, "--out"),
    ]
    for change, kind, words in refused:
        with pytest.raises(kind, match=words):
            compared(replace(ONE, **change), source)
    assert replace(ONE, resume="a", out=Path("a")).out == Path("a")


def test_an_arm_that_diverges_leaves_the_others_alone(
    source: EmbeddedCorpus, straight: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Stop()
    diverging(monkeypatch, ("trained", 0), ("trained", 1))
    found = compared(BOTH, source, count)

    assert found.state(found.arms["trained"]) == "seed 0 diverged at update 3; seed 1 diverged at update 3"
    assert found.arms["frozen"].by_seed("val_ppl") == straight.arms["frozen"].by_seed("val_ppl")
    assert context_metrics.metrics(found)["val_ppl_trained"] is None
    assert any(note.startswith("trained, tied: seed 0 diverged") for note in shown.notes(found))
    assert not found.stop
    assert max(count.updates) == 3 * UPDATES


def test_a_block_that_diverges_takes_only_its_own_arms_with_it(
    source: EmbeddedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arms on it say in which pass; those on other contexts are trained."""
    trained: list[int] = diverging_blocks(monkeypatch, lambda *_: len(trained) == 2)
    found = compared(replace(FREEZE, arms="frozen,trained,random-frozen,random-trained", seeds=1), source)

    assert trained == [0, 0]
    for name in ("random-frozen", "random-trained"):
        assert found.trouble(found.arms[name]) == ["seed 0: the context block diverged in pass 2"]
    assert [name for name, arm in found.arms.items() if arm.runs] == ["frozen", "trained"]
    assert len(found.contexts) == 1


def test_a_wild_rate_diverges_or_stays_finite_but_never_fails(source: EmbeddedCorpus) -> None:
    found = compared(replace(FREEZE, arms="trained,trained-untied", lr=1e3, block_lr=1e3, seeds=1), source)

    for arm in found.arms.values():
        assert arm.runs or "diverged" in found.state(arm)
        assert all(math.isfinite(run.numbers["val_loss_token"]) for run in arm.runs)
