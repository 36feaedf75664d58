"""The study: one order, one progress, one stop, one rule for divergence, and differences paired by seed."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import Stopped
from llmlab.lab.steps import Diverged, OnStep
from llmlab.lab.study import Arm, Run, Runs, Study, Unfinished, study
from llmlab.measure.stats import mean_interval
from llmlab.settings import Settings

STEPS = 3


def made(seed: int, loss: float) -> Run:
    """Return a run that is only a number."""
    return Run(seed=seed, numbers={"loss": loss}, history=[])


def compared(
    names: str,
    seeds: range,
    on_step: OnStep | None = None,
    *,
    before: int = 0,
    **arms: Callable[[int], float],
) -> Study[Arm, Run]:
    """Train arms of three updates, called by a letter each, whose loss is a function of the seed, at first the seed.

    A loss that is not finite means that the run diverges at its second update.
    """

    def train(arm: Arm, seed: int, step: OnStep) -> Run:
        loss = arms.get(arm.name, float)(seed)
        planned = STEPS + (before if seed == seeds[0] else 0)
        for update in range(1, planned + 1):
            if math.isinf(loss) and update == 2:
                raise Diverged(update)
            step(update, planned, f"update {update}")
        return made(seed, loss)

    settings = Settings(seed=seeds.start, seeds=len(seeds))
    return study(settings, [Arm(name, updates=STEPS, before=before) for name in names], train, on_step)


def stops_at(moment: int, stop: type[BaseException] = Stopped) -> tuple[OnStep, list[tuple[int, int, str]]]:
    """Return an ``on_step`` that stops at its n-th call, and what it heard."""
    heard: list[tuple[int, int, str]] = []

    def on_step(update: int, planned: int, told: str = "") -> None:
        heard.append((update, planned, told))
        if len(heard) == moment:
            raise stop("stopped", 15) if stop is Stopped else stop

    return on_step, heard


def reached(found: Study[Arm, Run]) -> dict[str, list[int]]:
    return {name: [run.seed for run in runs.runs] for name, runs in found.arms.items()}


@given(before=st.integers(0, 4), seeds=st.integers(1, 3), names=st.sampled_from(["a", "ab", "aba"]))
def test_every_arm_is_trained_with_every_seed_seed_by_seed(before: int, seeds: int, names: str):
    """Each state of a study is a fair comparison: no arm is more than one seed ahead; of equal names one is trained.

    The progress is one count, with what comes before an arm's first run; a run is named where there are others.
    """
    on_step, heard = stops_at(0)

    found = compared(names, range(5, 5 + seeds), on_step, before=before)

    arms = sorted(set(names))
    total, several = len(arms) * (seeds * STEPS + before), len(arms) * seeds > 1
    assert (reached(found), found.stop) == ({arm: list(range(5, 5 + seeds)) for arm in arms}, None)
    assert [(update, planned) for update, planned, _ in heard] == [(n, total) for n in range(1, total + 1)]
    begun = [f"{arm}, seed {seed}, update 1" if several else "update 1" for seed in range(5, 5 + seeds) for arm in arms]
    assert [told for *_, told in heard if told.endswith("update 1")] == begun


@pytest.mark.parametrize("stop", [Stopped, KeyboardInterrupt])
@given(moment=st.integers(1, 12))
def test_what_is_finished_outlives_a_stop_at_any_moment(stop: type[BaseException], moment: int):
    """Whichever update is interrupted: finished runs are there, none is made up, and what stopped them is kept."""
    on_step, _ = stops_at(moment, stop)
    whole = (moment - 1) // STEPS  # runs finished before the one that is interrupted
    if whole == 0:
        with pytest.raises(stop):
            compared("ab", range(2), on_step)
        return

    found = compared("ab", range(2), on_step)

    plan = [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert isinstance(found.stop, stop)
    assert reached(found) == {key: [seed for k, seed in plan[:whole] if k == key] for key in "ab"}
    assert found.whole().keys() == set("ab" if whole >= 2 else "")
    assert all([run.seed for run in runs] == [0] for runs in found.whole().values())


def test_one_seed_that_diverges_takes_nothing_with_it():
    """The other seeds and arms go on, the progress counts on, and pairs are made of the seeds that both have."""
    on_step, heard = stops_at(0)

    found = compared(
        "ab", range(3), on_step, a=lambda seed: math.inf if seed == 1 else seed, b=lambda seed: 10.0 * seed
    )

    assert reached(found) == {"a": [0, 2], "b": [0, 1, 2]}
    assert (found.arms["a"].diverged, found.arms["b"].diverged) == ({1: 2}, {})
    assert found.whole() == {"a": [made(0, 0.0), made(2, 2.0)], "b": [made(0, 0.0), made(2, 20.0)]}
    assert heard[-1][:2] == (18, 18)
    assert found.arms["b"].minus(found.arms["a"], "loss") == {"_n": 2, **mean_interval([0.0, 18.0])}
    assert compared("a", range(1), a=lambda seed: math.inf).whole() == {}
    crossed = compared("ab", range(2), a=[0.0, math.inf].__getitem__, b=[math.inf, 0.0].__getitem__)
    assert crossed.diverged == [(0, "b", 2), (1, "a", 2)], "seed by seed"


def test_what_a_stopped_run_had_reached_is_kept_apart_from_finished_runs():
    """It is in no mean; the study says in which arm and seed it was stopped, and trains nothing more.

    Of arms of equal names it is the first.
    """
    reason = Stopped("stopped", 15)

    def train(arm: Arm, seed: int, _: OnStep) -> Run:
        if (arm.name, seed) == ("a", 1):
            raise Unfinished(made(seed, 7.0), reason)
        return made(seed, 1.0)

    for first, finished in ((0, [0]), (1, [])):
        found = study(Settings(seed=first, seeds=2), [Arm("a"), Arm("b"), Arm("a", "again")], train)
        runs = found.arms["a"]

        assert (found.stop, runs.arm, runs.stopped, runs.unfinished) == (reason, Arm("a"), 1, made(1, 7.0))
        assert [run.seed for run in runs.runs] == finished
        assert [run.seed for run in found.arms["b"].runs] == finished


losses = st.dictionaries(st.integers(0, 5), st.floats(-1e3, 1e3))


@given(losses, losses)
def test_differences_are_of_common_seeds_and_turn_round(first: dict[int, float], second: dict[int, float]):
    """Whatever runs are missing: the mean of differences within seeds; swapping the arms swaps sign and ends."""
    a, b = (Runs(Arm("x"), [made(*each) for each in numbers.items()]) for numbers in (first, second))
    by_hand = [loss - second[seed] for seed, loss in first.items() if seed in second]
    there, back = a.minus(b, "loss"), b.minus(a, "loss")

    assert there == ({"_n": len(by_hand), **mean_interval(by_hand)} if by_hand else {})
    assert back.get("_n") == there.get("_n")
    for end, other in {"": "", "_low": "_high", "_high": "_low"}.items():
        assert back.get(end) == (pytest.approx(-there[other]) if other in there else None)
    assert not first or a.stat("loss") == mean_interval(list(first.values()))
