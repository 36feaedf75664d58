"""Arms that go on from one trained model, in ``finetune`` and in ``expand``: seeds, and what outlives a bad end."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from claims_by_hand import verdicts
from llmlab.after import expand, finetune
from llmlab.errors import Stopped
from llmlab.lab.steps import Diverged
from llmlab.report.result import Result
from llmlab.settings import ExpandSettings, FinetuneSettings


class Verb(NamedTuple):
    """A command, what it trains an arm with, its settings, the two arms whose difference is told, and how."""

    command: ModuleType
    trains: str
    settings: Callable[..., Any]
    arms: tuple[str, str]
    rows: list[str]


TUNE = partial(FinetuneSettings, epochs=2, lr=5e-3)
TUNED = ["val_ppl_pretrained", "val_ppl_scratch", "pretrained minus scratch"]
WIDEN = partial(ExpandSettings, updates=6, rounds=2, arms="continue, random")
WIDENED = ["PPL continue", "PPL random", "random minus continue"]
VERBS = {
    "finetune": Verb(finetune, "tuned", TUNE, ("pretrained", "scratch"), TUNED),
    "expand": Verb(expand, "trained_arm", WIDEN, ("random", "continue"), WIDENED),
}
EACH = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


def run(verb: Verb, checkpoint: Path, text: Path, seeds: int = 1) -> Result:
    result: Result = verb.command.run(verb.settings(checkpoint=checkpoint, data=str(text), seeds=seeds))
    return result


@EACH
def test_seeds_give_intervals_and_the_same_seed_the_same_numbers(verb: Verb, trained: Path, dialect_text: Path):
    result, (first, second) = run(verb, trained, dialect_text, seeds=2), verb.arms
    told, difference = result.metrics, f"val_ppl_{first}_minus_{second}"
    assert told[f"val_ppl_{first}_low"] < told[f"val_ppl_{first}"]
    assert told[difference] == pytest.approx(told[f"val_ppl_{first}"] - told[f"val_ppl_{second}"])
    assert told[f"{difference}_n"] == 2
    assert told[f"{difference}_doc_low"] <= told[difference] <= told[f"{difference}_doc_high"]
    ends = ("", "_low", "_high", "_doc_low", "_doc_high")
    assert [row[:2] for row in result.tables[-1].rows] == [[name, 2] for name in verb.rows]
    assert verdicts(result) == {}
    assert result.tables[-1].rows[-1][2:] == [told[difference + end] for end in ends]
    assert run(verb, trained, dialect_text, seeds=2).document() == result.document()


@EACH
def test_a_seed_that_diverges_or_is_stopped_takes_no_other_with_it(
    verb: Verb, trained: Path, dialect_text: Path, monkeypatch: pytest.MonkeyPatch
):
    """The arms of the other seeds are as ever; without any there is a diverged result, or the stop itself."""
    ends: dict[tuple[str, int], BaseException] = {}
    train, arm = getattr(verb.command, verb.trains), verb.arms[1]

    def ending(settings: Any, name: str, seed: int, *rest: Any) -> Any:
        if (name, seed) in ends:
            raise ends[name, seed]
        return train(settings, name, seed, *rest)

    monkeypatch.setattr(verb.command, verb.trains, ending)
    whole = run(verb, trained, dialect_text, seeds=2).samples
    ends[arm, 0] = Diverged(3)
    lost = run(verb, trained, dialect_text, seeds=2)
    assert lost.samples == {name: values[1:] for name, values in whole.items()}
    assert f"Seed 0: {arm} diverged at update 3; no arm of this seed is in these numbers." in lost.summary
    nothing = run(verb, trained, dialect_text)
    assert (nothing.status, nothing.metrics["loss_reason"]) == ("diverged", f"diverged at update 3 of {arm}")
    ends = {(verb.arms[0], 1): Stopped("stopped", 15)}
    stopped = run(verb, trained, dialect_text, seeds=2)
    assert (stopped.status, stopped.samples) == ("interrupted", {name: values[:1] for name, values in whole.items()})
    assert "Unfinished: stopped after 1 seed." in stopped.summary
    ends = {(name, 0): Stopped("stopped", 15) for name in verb.arms}
    with pytest.raises(Stopped):
        run(verb, trained, dialect_text)
