"""The loop over epochs: an update depends on its number alone, so a run can be cut anywhere and goes on to the bit."""

import copy
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import Stop
from faults import bytes_in
from llmlab.baseline import ContextVectorLM, plain_training
from llmlab.errors import Stopped
from llmlab.fast.swept import SweptNewLLM
from llmlab.lab.checkpoint import CheckpointFolder, packed, read
from llmlab.lab.epochs import Recipe, Training
from llmlab.lab.language import Judged, evaluate
from llmlab.lab.sizes import Size
from llmlab.lab.steps import Diverged
from strategies_checkpoint import same
from strategies_trained import windows

SIZE = Size(vocabulary=12, embedding=4, hidden=6, context=4, layers=2)
WINDOWS = 22
BATCH = 5
EPOCH = 5
"""Updates of an epoch: 22 windows in batches of 5, the last one of 2."""

LAST = 6 * EPOCH
SCHEDULES: dict[str, dict[str, Any]] = {"constant": {}, "one-cycle": {"schedule": "one-cycle", "patience": 99}}


TRAIN, VALID = windows(SIZE.vocabulary, WINDOWS, 8, 0), windows(SIZE.vocabulary, 7, 8, 1)


def training(folder: Path | None = None, **changes: Any) -> Training:
    """Return a fresh run with dropout and clipping: best in its third epoch, it stops early after its sixth."""
    recipe = {"epochs": 7, "batch": BATCH, "lr": 0.05, "seed": 3, "clip": "0.5", "patience": 3} | changes
    model = SweptNewLLM(ContextVectorLM.initial(SIZE, 3, dropout=0.3, init="scaled"))
    return Training(model, TRAIN, VALID, Recipe(**recipe), CheckpointFolder(folder) if folder else None)


def final(run: Training) -> dict[str, Any]:
    """Return everything that a run ends with, but the time it took."""
    state = copy.deepcopy(run.state())
    state["best"] = dict(run.best)
    state["progress"].pop("seconds")
    for row in state["progress"]["history"]:
        row.pop("seconds")
    return state


@cache
def straight(schedule: str) -> dict[str, Any]:
    """Return the end of a run that nothing interrupted."""
    run = training(**SCHEDULES[schedule])
    run.run()
    return final(run)


def resumed(folder: Path, **changes: Any) -> Training:
    """Return a fresh run that goes on from the last checkpoint, if there is one."""
    run, store = training(folder, **changes), CheckpointFolder(folder)
    if found := store.latest(pytest.fail):
        run.restore(found[0], store.best())
    return run


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_loop_makes_the_updates_of_chapter_3(schedule: str) -> None:
    """With dropout, clipping and a schedule it ends each epoch with the loss of the plain loop, and in its numbers."""
    run = training(epochs=2, schedule=schedule)
    run.run()
    plain = ContextVectorLM.initial(SIZE, 3, dropout=0.3, init="scaled")
    losses = list(plain_training(plain, TRAIN, run.recipe))

    for row, epoch in zip(run.progress.history, (losses[:EPOCH], losses[EPOCH:]), strict=True):
        sizes = [BATCH] * (EPOCH - 1) + [WINDOWS % BATCH]
        mean = sum(loss * size for loss, size in zip(epoch, sizes, strict=True)) / WINDOWS
        assert row["train_loss"] == pytest.approx(mean, rel=1e-5)
    torch.testing.assert_close(run.model.parameters, plain.parameters, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(max_examples=10)
@given(stops=st.lists(st.integers(1, LAST - 1), min_size=1, max_size=5, unique=True).map(sorted))
@example(stops=[1])
@example(stops=[EPOCH, EPOCH + 1])
@example(stops=[LAST - 1])
def test_a_stopped_run_goes_on_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, schedule: str, stops: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    for stop in stops:
        with pytest.raises(Stopped):
            resumed(folder, **SCHEDULES[schedule]).run(Stop(stop))
    run = resumed(folder, **SCHEDULES[schedule])
    run.run()
    assert same(final(run), straight(schedule))


def test_a_stop_in_the_middle_of_an_update_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters that are a step ahead of their progress are not saved: the checkpoint before them stays the newest."""
    run = training(tmp_path)
    with pytest.raises(Stopped):
        run.run(Stop(6))
    update = run.optimizer.update

    def cut(*given: Any) -> None:
        update(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(run.optimizer, "update", cut)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    again = resumed(tmp_path)
    again.run()
    assert same(final(again), straight("constant"))


def test_saving_has_no_side_effect_and_what_is_saved_is_small(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.save_seconds = 0.0
    run.run()
    assert (run.progress.best_epoch, run.progress.updates) == (3, LAST)
    assert same(final(run), straight("constant"))
    assert sum(map(len, packed(run.state()).values())) < 12 * SIZE.parameters() + 40_000


def test_a_checkpoint_of_one_place_can_be_taken_up_in_another(tmp_path: Path) -> None:
    early = training(tmp_path)
    with pytest.raises(Stopped):
        early.run(Stop(3))
    state = read(tmp_path / "update-00000003")
    late = training()
    with pytest.raises(Stopped):
        late.run(Stop(25))
    late.restore(state)
    fresh = training()
    fresh.restore(state)
    assert same(final(late), final(fresh))


@pytest.mark.parametrize("length", [1, 2, 4, 10, 20])
def test_rounds_change_when_a_run_is_judged_and_nothing_else(length: int) -> None:
    """Order, dropout and clip go by passes over the text, whatever the rounds are that are judged."""
    passes, rounds = training(epochs=4), training(epochs=20 // length, round_updates=length, patience=99)
    passes.run()
    rounds.run()
    assert [row["updates"] for row in rounds.progress.history] == list(range(length, 21, length))
    assert same(passes.model.parameters, rounds.model.parameters)


def test_the_seed_and_only_the_seed_decides_a_run() -> None:
    ends = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(ends))
        run = training(seed=seed, epochs=2)
        run.run(lambda *_: torch.rand(3))  # somebody else draws
        ends.append(final(run))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.mark.parametrize("where", ["weight", "loss"])
def test_a_number_that_is_not_finite_stops_at_once(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good checkpoint is left as it was, and is the newest."""
    run, place = training(tmp_path), tmp_path / "update-00000006"
    with pytest.raises(Stopped):
        run.run(Stop(6))
    good, gradients = bytes_in(place), run.model.gradients
    if where == "weight":
        run.model.parameters["layer0.weight"][0, 0] = math.nan
    else:
        monkeypatch.setattr(run.model, "gradients", lambda *a, **k: (torch.tensor(math.inf), gradients(*a, **k)[1]))
    with pytest.raises(Diverged) as diverged:
        run.run()
    found = CheckpointFolder(tmp_path).latest(pytest.fail)
    assert (diverged.value.update, bytes_in(place), found and found[1]) == (7, good, place)


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e6])
def test_a_validation_loss_without_a_perplexity_is_never_the_best(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number, or one whose exponential is none, ends the run in validation; it never becomes the best epoch."""
    run = training(epochs=3)
    with pytest.raises(Stopped):
        run.run(Stop(EPOCH + 2))
    best, judge = dict(run.best), run.model.judge

    def broken(inputs: Tensor, targets: Tensor) -> Judged:
        judged = judge(inputs, targets)
        return Judged(judged.losses * factor, judged.hits)

    monkeypatch.setattr(run.model, "judge", broken)
    with pytest.raises(Diverged):
        run.run()
    assert run.progress.best_epoch == 1
    assert same(best, dict(run.best))


def test_early_stopping_wants_a_margin_and_the_best_model_does_not() -> None:
    """An epoch better by less than 0.001 is kept as the best, and still counts as waiting: the notes' two rules."""
    run = training(epochs=100, patience=3, lr=1e-9, schedule="constant")
    run.run()
    assert len(run.progress.history) == 4
    losses = [row["val_loss"] for row in run.progress.history]
    assert max(losses) - min(losses) < 0.001
    assert run.progress.best_epoch == losses.index(min(losses)) + 1


def test_the_best_model_is_that_of_the_best_epoch(tmp_path: Path) -> None:
    run = training(tmp_path, lr=0.3, schedule="constant", epochs=6)
    run.run()
    for parameters in (run.best, read(tmp_path / "best")["model"]):
        model = SweptNewLLM(ContextVectorLM(SIZE, parameters))
        assert evaluate(model, VALID, BATCH).loss_batch_mean == pytest.approx(run.progress.best_loss, rel=1e-6)


def test_a_kill_between_the_last_and_the_best_file_loses_nothing(tmp_path: Path) -> None:
    """If the last checkpoint is the best epoch and the best file is older, the last one is taken as the best."""
    run, again = training(tmp_path, epochs=3), training()
    run.run()
    last, older = (read(tmp_path / f"update-{epoch * EPOCH:08d}") for epoch in (3, 2))
    assert last["progress"]["best_epoch"] == 3
    again.restore(last, older)
    assert same(dict(again.best), dict(run.best))


@given(st.integers(0, 99), st.integers(20, 100))
def test_one_cycle_climbs_and_falls(update: int, planned: int) -> None:
    recipe = Recipe(epochs=1, batch=1, lr=0.5, schedule="one-cycle")
    if update < planned:
        assert 0 < recipe.rate(update, planned) <= 0.5
    assert recipe.rate(planned, planned) == pytest.approx(0.005)


def test_the_adaptive_clip_opens_with_the_epochs() -> None:
    recipe = Recipe(epochs=1, batch=1, lr=1.0)
    assert [recipe.largest_norm(epoch) for epoch in (0, 9, 10, 29, 30, 99)] == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    assert Recipe(epochs=1, batch=1, lr=1.0, clip="none").largest_norm(0) == math.inf
