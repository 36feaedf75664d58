"""Two real runs, kept as records, and every byte that is made of them: terminal output, page and pictures.

A change of the report shows here as a difference to be read.  To accept it:

    python tests/test_golden.py              anew from the kept records
    python tests/test_golden.py --records    the records too, from real runs (after a change of a chapter)
"""

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llmlab.report import entry
from llmlab.report.record import Record
from llmlab.report.table import first_screen
from strategies_report import on_screen

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("phase1", "phase1-2")
WIDTHS = (40, 80)
ENVIRONMENT = {"llmlab": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "system": "Linux aarch64", "cores": 4}
MOST_BYTES = 60_000


def kept(name: str) -> Record:
    return Record.from_json((GOLDEN / name / "record.json").read_text("utf-8"))


def made_of(record: Record) -> dict[str, str]:
    screens = {f"full-{width}.txt": on_screen(record, width) for width in WIDTHS}
    screens |= {f"first-{width}.txt": on_screen(record, width, first_screen) for width in WIDTHS}
    stripped = {name: "".join(f"{line.rstrip()}\n" for line in text.splitlines()) for name, text in screens.items()}
    return {**entry.files(record), **stripped}


@pytest.mark.parametrize("name", NAMES)
def test_everything_made_of_a_record_is_as_it_was(name: str) -> None:
    made = made_of(kept(name))
    assert max(len(text.encode()) for text in made.values()) <= MOST_BYTES, "more than can be read in a review"
    there = {path.name: path.read_bytes().decode() for path in (GOLDEN / name).iterdir()}
    assert made.keys() == there.keys()
    for file, text in made.items():
        assert text == there[file], f"{name}/{file} differs; read the difference, then: python tests/test_golden.py"


@pytest.mark.parametrize("name", NAMES)
def test_no_digit_that_only_rounding_decides_is_shown(name: str) -> None:
    """Nothing that is made for a person has a number below 1e-12 in it; the record keeps it."""
    for file, text in made_of(kept(name)).items():
        assert file == "record.json" or not re.search(r"\de-(1[2-9]|[2-9]\d|\d{3})", text), file


def run_anew(name: str) -> Record:
    """Run a chapter and return its record with neutral circumstances."""
    from llmlab.cli.chapter import CHAPTERS, module_of

    settings = CHAPTERS[name](seeds=20 if name == "phase1-2" else 1)
    record = Record(
        importlib.import_module(module_of(name)).run(settings),
        id="c0ffee00",
        created="2026-11-22T03:18:00Z",
        command=f"llmlab {name}" + (" --seeds 20" if name == "phase1-2" else ""),
        seconds=0.5,
        environment=ENVIRONMENT,
    )
    return replace(record, expectation="h and e come closer", note="First try.\nLook at `o`: it <never> moves.")


def main() -> None:
    for name in NAMES:
        (GOLDEN / name).mkdir(parents=True, exist_ok=True)
        record = Record.from_json(run_anew(name).json()) if "--records" in sys.argv else kept(name)
        for file, text in made_of(record).items():
            (GOLDEN / name / file).write_bytes(text.encode())


if __name__ == "__main__":
    main()
