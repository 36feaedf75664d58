"""The examples are promises: each script runs as it stands, and each line of the tour answers as it says."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HANG, environment

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
QUICK = {"phase1", "phase1_2"}


@pytest.mark.parametrize(
    "script",
    [pytest.param(one, id=one.stem, marks=() if one.stem in QUICK else pytest.mark.slow) for one in SCRIPTS],
)
def test_every_example_runs_and_prints_something(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_example_fits_one_screen_and_uses_the_library_only(script: Path) -> None:
    text = script.read_text("utf-8")

    assert 15 <= len(text.splitlines()) <= 40
    assert "llmlab.cli" not in text
    assert "subprocess" not in text


def test_the_interactive_tour_answers_as_it_says() -> None:
    text = (EXAMPLES / "interactive.md").read_text("utf-8").replace("\n```\n", "\n\n")
    tour = doctest.DocTestParser().get_doctest(text, {}, "interactive.md", "interactive.md", 0)
    told: list[str] = []

    failed, tried = doctest.DocTestRunner().run(tour, out=told.append)

    assert tried > 10
    assert failed == 0, "".join(told)
