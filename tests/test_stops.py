"""A signal in each part of a run that is no update: one line that says what is kept and what goes on, and the code."""

import importlib
import os
import re
import signal
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest

from conftest import Done

BASELINE = ("baseline", "--epochs", "2", "--batch", "2048", "--hidden", "8", "--embedding", "8", "--context", "8")
STAGES = "two-stage --ablate none --width 4 --context 4 --layers 1 --tokens 400 --val-tokens 200 --iterations 3"
TUNED = (*STAGES.split(), "--epochs", "2", "--batch", "64", "--tune")
PLACES = {
    "reading": ("llmlab.lab.dataset.load_corpus", BASELINE, False),
    "counting": ("llmlab.lab.dataset.window_baselines", BASELINE, False),
    "reading by layers": ("llmlab.lab.dataset.prepare", ("layers", "--layers", "1,2", *BASELINE[1:]), False),
    "validating": ("llmlab.lab.epochs.evaluate", BASELINE, True),
    "making the embedding": ("llmlab.lab.made_embedding.training_of", TUNED, False),
    "stage 1": ("llmlab.embedding_freeze.fixed_contexts", TUNED, False),
    "after the block": ("llmlab.lab.context_study.keep", TUNED, True),
    "tuning": ("llmlab.lab.context_study.training_of", (*TUNED, "--block", "untrained"), False),
}


def unheard(number: int, _: Any) -> None:
    """Say that a command heard no signal."""
    raise AssertionError(f"nobody heard signal {number}")


def signalled(place: str, number: int) -> None:
    module, _, name = place.rpartition(".")
    holder = importlib.import_module(module)
    function: Callable[..., Any] = getattr(holder, name)

    def first_time(*args: Any, **keywords: Any) -> Any:
        setattr(holder, name, function)
        found = function(*args, **keywords)
        os.kill(os.getpid(), number)
        return found

    signal.signal(number, unheard)
    setattr(holder, name, first_time)


SIGNALS = dict(zip(PLACES, cycle((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)), strict=False))


@pytest.mark.usefixtures("sixty_lines")
@pytest.mark.parametrize("where", PLACES)
def test_a_stop_where_no_update_is_made_says_what_is_kept(run_llmlab: Callable[..., Done], where: str) -> None:
    """The code is 128 plus the signal's number; the line has the command that goes on, or says that nothing is kept."""
    (place, words, kept), number = PLACES[where], SIGNALS[where]
    signalled(place, number)
    done = run_llmlab(*words, "--quiet")
    told, saved = done.err.strip(), any(done.folder.rglob("run.json"))
    assert (done.code, told.count("\n"), saved) == (128 + number, 0, kept)
    if kept:
        assert re.search("go on with: llmlab .* --resume auto$", told)
    else:
        assert told.endswith("; nothing was written")


@pytest.mark.parametrize("words", [("layers", "--layers", "1", "--no-remedy", *BASELINE[1:]), TUNED[:-1]])
@pytest.mark.usefixtures("sixty_lines")
def test_more_seeds_join_those_that_are_finished(run_llmlab: Callable[..., Done], words: tuple[str, ...]) -> None:
    kept = [*words, "--out", "runs-of-mine", "--no-log", "--json"]
    one = run_llmlab(*kept, "--seeds", "1").document["samples"]
    two = run_llmlab(*kept, "--seeds", "2", "--resume", "auto").document["samples"]
    names = [name for name in one if name.startswith("val_ppl")]
    assert names
    assert all(len(two[name]) == 2 and two[name][:1] == one[name] for name in names)
