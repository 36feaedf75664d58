"""The examples are promises: each script runs as it stands, and each line of the tour answers as it says."""

import doctest
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
QUICK = {"phase1", "phase1_2"}


@pytest.mark.parametrize(
    "script",
    [pytest.param(one, id=one.stem, marks=() if one.stem in QUICK else pytest.mark.slow) for one in SCRIPTS],
)
@pytest.mark.usefixtures("elsewhere")
def test_every_example_runs_and_prints_something(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr()
    assert (told.err, list(tmp_path.iterdir())) == ("", [])
    assert len(told.out.splitlines()) >= 3


def test_every_example_fits_one_screen_and_uses_the_library_only() -> None:
    for script in SCRIPTS:
        text = script.read_text("utf-8")
        assert 15 <= len(text.splitlines()) <= 40, script
        assert [word for word in ("llmlab.cli", "subprocess") if word in text] == [], script


def test_the_interactive_tour_answers_as_it_says() -> None:
    text = (EXAMPLES / "interactive.md").read_text("utf-8").replace("\n```\n", "\n\n")
    tour = doctest.DocTestParser().get_doctest(text, {}, "interactive.md", "interactive.md", 0)
    told: list[str] = []

    failed, tried = doctest.DocTestRunner().run(tour, out=told.append)

    assert tried > 10
    assert failed == 0, "".join(told)
