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
from llmlab.lab.language import Judging, evaluate
from llmlab.lab.sizes import Size
from llmlab.lab.steps import Diverged
from strategies_checkpoint import same

SIZE = Size(vocabulary=12, embedding=4, hidden=6, context=4, layers=2)
WINDOWS = 22
BATCH = 5
EPOCH = 5
"""Updates of an epoch: 22 windows in batches of 5, the last one of 2."""

LAST = 11 * EPOCH
SCHEDULES: dict[str, dict[str, Any]] = {"constant": {}, "one-cycle": {"schedule": "one-cycle", "patience": 99}}


def windows(count: int, seed: int) -> Tensor:
    """Return random windows, some of them padded."""
    chance = torch.Generator().manual_seed(seed)
    found = torch.randint(1, SIZE.vocabulary, (count, 8), generator=chance)
    found[::3, 5:] = 0
    return found


TRAIN, VALID = windows(WINDOWS, 0), windows(7, 1)


def training(folder: Path | None = None, **changes: Any) -> Training:
    """Return a fresh run with dropout and clipping: best in its third epoch, it stops early after its eleventh."""
    recipe = {"epochs": 12, "batch": BATCH, "lr": 0.05, "seed": 3, "clip": "0.5", "patience": 8} | changes
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


def stopped_at(folder: Path, updates: list[int], **changes: Any) -> Training:
    """Return a run that was stopped at each of these updates, each time gone on with by a fresh object."""
    for stop in updates:
        run = training(folder, **changes)
        resume(run)
        with pytest.raises(Stopped):
            run.run(Stop(stop))
    run = training(folder, **changes)
    resume(run)
    run.run()
    return run


def somebody_else_draws(update: int, planned: int, told: str = "") -> None:
    """Disturb the global generator."""
    torch.rand(3)


def resume(run: Training) -> None:
    """Take up the last checkpoint, if there is one."""
    assert run.folder is not None
    found = run.folder.latest(pytest.fail) if run.folder.folder.exists() else None
    if found:
        run.restore(found[0], run.folder.best())


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
    run = stopped_at(tmp_path_factory.mktemp("run"), stops, **SCHEDULES[schedule])
    assert same(final(run), straight(schedule))


def test_saving_has_no_side_effect(tmp_path: Path) -> None:
    run = training(tmp_path)
    run.save_seconds = 0.0
    run.run()
    assert (run.progress.best_epoch, run.progress.updates) == (3, LAST)
    assert same(final(run), straight("constant"))


def test_a_checkpoint_of_one_place_can_be_taken_up_in_another(tmp_path: Path) -> None:
    early = training(tmp_path)
    with pytest.raises(Stopped):
        early.run(Stop(3))
    state = read(tmp_path / "update-00000003")
    late = training()
    with pytest.raises(Stopped):
        late.run(Stop(40))
    late.restore(state)
    fresh = training()
    fresh.restore(state)
    assert same(final(late), final(fresh))


def test_a_batch_in_parts_is_the_same_update() -> None:
    whole = training()._gradients(TRAIN[:BATCH], 0)
    in_parts = training()
    in_parts.judging = Judging(rows_at_once=2)
    parts = in_parts._gradients(TRAIN[:BATCH], 0)
    assert whole[0] == pytest.approx(parts[0], rel=1e-6)
    assert whole[2] == parts[2]
    for name, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][name], gradient, rtol=1e-4, atol=1e-7)


def test_the_seed_and_only_the_seed_decides_a_run() -> None:
    ends = []
    for seed in (3, 3, 4):
        torch.manual_seed(len(ends))
        run = training(seed=seed, epochs=2)
        run.run(somebody_else_draws)
        ends.append(final(run))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


@pytest.mark.parametrize("where", ["weight", "loss"])
def test_a_number_that_is_not_finite_stops_at_once(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(tmp_path)
    with pytest.raises(Stopped):
        run.run(Stop(6))
    good = bytes_in(tmp_path / "update-00000006")
    if where == "weight":
        run.model.parameters["layer0.weight"][0, 0] = math.nan
    else:
        gradients = run.model.gradients
        monkeypatch.setattr(
            run.model, "gradients", lambda *a, **k: (torch.tensor(math.inf), gradients(*a, **k)[1]), raising=True
        )
    with pytest.raises(Diverged) as diverged:
        run.run()
    assert diverged.value.update == 7
    assert bytes_in(tmp_path / "update-00000006") == good
    assert run.folder is not None
    found = run.folder.latest(pytest.fail)
    assert found is not None
    assert found[1].name == "update-00000006"


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e6])
def test_a_validation_loss_without_a_perplexity_is_never_the_best(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number, or one whose exponential is none, ends the run in validation; it never becomes the best epoch."""
    run = training(epochs=3)
    with pytest.raises(Stopped):
        run.run(Stop(EPOCH + 2))
    best = dict(run.best)
    judge = run.model.judge

    def broken(inputs: Tensor, targets: Tensor) -> Any:
        judged = judge(inputs, targets)
        return type(judged)(judged.losses * factor, judged.hits)

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
    run = training(tmp_path, epochs=3)
    run.run()
    found = read(tmp_path / f"update-{3 * EPOCH:08d}")
    older = read(tmp_path / f"update-{2 * EPOCH:08d}")
    assert found["progress"]["best_epoch"] == 3
    again = training()
    again.restore(found, older)
    assert same(dict(again.best), dict(run.best))


def test_a_state_is_plain_and_small(tmp_path: Path) -> None:
    run = training(tmp_path)
    with pytest.raises(Stopped):
        run.run(Stop(12))
    assert sum(map(len, packed(run.state()).values())) < 12 * SIZE.parameters() + 40_000


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


def test_clipping_shortens_to_the_length_and_no_further() -> None:
    """The step of plain descent is at most rate times the longest gradient."""
    run = training(optimizer="sgd", lr=1.0, clip="0.01", schedule="constant")
    before = {name: tensor.clone() for name, tensor in run.model.parameters.items()}
    run._update()
    way = math.sqrt(sum(float((run.model.parameters[name] - before[name]).square().sum()) for name in before))
    assert way == pytest.approx(0.01, rel=1e-3)
