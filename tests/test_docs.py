"""The pages cannot rot: every command in them runs, and every output and picture in them is what a run gives today."""

import importlib.util
import inspect
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from llmlab.cli import app
from llmlab.cli.chapter import CHAPTERS
from llmlab.report.logbook import Logbook

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def _outputs() -> ModuleType:
    """Import ``docs/hooks/outputs.py``, which is a script beside the pages and no part of the package."""
    spec = importlib.util.spec_from_file_location("llmlab_docs_outputs", DOCS / "hooks" / "outputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


outputs = _outputs()

PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if "posts" not in page.parts)]
SHELL_BLOCK = re.compile(r"^( *)```(?:sh|bash|console)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
NOT_RUN = {
    "llmlab log serve": "serves until it is stopped; test_browser looks at the same site",
    "llmlab --install-completion": "changes the reader's shell",
}
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.(?P<decimals>\d+))?(?:e[-+]?\d+)?(?=\W|$)")
PLOT = re.compile("[\u2800-\u28ff│┌┐└┘├┤┬┴]|^─+$")


def commands() -> list[str]:
    """Return every different ``llmlab`` command line in the shell blocks of the pages, in order."""
    blocks = (block[2] for page in PAGES for block in SHELL_BLOCK.finditer(page.read_text("utf-8")))
    lines = (line.strip().removeprefix("$ ") for block in blocks for line in re.split(r"\n|&&", block))
    spelled = (re.sub(r"^(\S*/)?llmlab(?= |$)", "llmlab", line) for line in lines)
    return list(dict.fromkeys(line for line in spelled if line.split(" ")[0] == "llmlab"))


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A command sets what SIGTERM and SIGHUP do; in the tests' own process that is put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_pages_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each llmlab command that a page tells the reader to type succeeds in an empty folder."""
    words = shlex.split(command, comments=True)
    if any(command.startswith(known) for known in NOT_RUN):
        pytest.skip(next(reason for known, reason in NOT_RUN.items() if command.startswith(known)))
    monkeypatch.chdir(tmp_path)
    words = words[: next((n for n, word in enumerate(words) if word in ("|", ">", "<")), len(words))]
    if "log" in words[1:2]:
        for seed in ("0", "1"):
            CliRunner().invoke(app, ["phase1", "--epochs", "2", "--seeds", "2", "--seed", seed])
        ids = [folder.name.rsplit("-", 1)[-1] for folder in Logbook.at().folders()]
        places = [n for n, word in enumerate(words) if word in ("ID", "A", "B")]
        for place, entry in zip(places, ids, strict=False):
            words[place] = entry

    done = CliRunner().invoke(app, words[1:], input="hello")

    assert done.exit_code == 0, done.stderr


def _blocks(kind: str) -> list[tuple[Path, str, str | None, str]]:
    return [
        (page, block["command"], block["parts"], block["body"])
        for page in outputs.pages()
        for block in outputs.BLOCK.finditer(page.read_text("utf-8"))
        if block["kind"] == kind
    ]


def alike(shown: str, fresh: str, tolerance: float = 2e-3) -> str:
    """Return how two transcripts differ in words, or in numbers by more than the tolerance; empty if they do not.

    A number may also differ by one in its last digit.  Pictures made of characters are left out: on another
    processor one dot of them may differ.
    """
    left, right = ([line for line in text.split("\n") if not PLOT.search(line.strip())] for text in (shown, fresh))
    words_left, words_right = (re.split(r"\s+", NUMBER.sub("#", "\n".join(text)).strip()) for text in (left, right))
    if words_left != words_right:
        return "\n".join(f"- {a}\n+ {b}" for a, b in zip(words_left, words_right, strict=False) if a != b) or "length"
    found = []
    pairs = zip(*(NUMBER.finditer("\n".join(text)) for text in (left, right)), strict=True)
    for a, b in pairs:
        allowed = max(tolerance, 1.01 * 10.0 ** -len(a["decimals"] or "")) if "." in a[0] else 0.0
        if abs(_value(a[0]) - _value(b[0])) > allowed:
            found.append(f"- {a[0]}\n+ {b[0]}")
    return "\n".join(found)


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


@pytest.mark.parametrize(("page", "command", "parts", "body"), _blocks("output"))
def test_every_output_in_the_pages_is_what_the_command_prints(
    page: Path, command: str, parts: str | None, body: str
) -> None:
    """Each transcript has the words of a fresh run, and its numbers to within 0.002; else run: make outputs."""
    fresh = outputs.body(page, "output", command, parts)

    assert alike(inspect.cleandoc(body), inspect.cleandoc(fresh)) == ""


@pytest.mark.parametrize(("page", "command", "name", "body"), _blocks("figure"))
def test_every_picture_in_the_pages_is_what_the_command_draws(page: Path, command: str, name: str, body: str) -> None:
    """Each picture and caption is that of a fresh run, to within one unit of its 640; else run: make outputs."""
    fresh = outputs.body(page, "figure", command, name)

    assert alike(body.strip(), fresh.strip()) == ""
    for file, picture in outputs.pictures(command, name).items():
        assert alike((outputs.FIGURES / file).read_text("utf-8"), picture, tolerance=1.0) == ""


def test_a_changed_word_or_number_in_a_transcript_is_noticed() -> None:
    """The comparison forgives rounding, and nothing else."""
    assert alike("loss 0.3625 ends", "loss 0.3626 ends") == ""
    assert alike("97.6% of 1,000", "97.7% of 1,000") == ""
    assert alike("loss 0.3625", "loss 0.3725") != ""
    assert alike("1,000 seeds", "1,001 seeds") != ""
    assert alike("it moved", "it stood") != ""
    assert alike("one two", "one") != ""


def test_no_picture_lies_about_unused() -> None:
    """Each SVG among the study's figures is shown by a page."""
    shown = "".join(page.read_text("utf-8") for page in PAGES)

    assert [file.name for file in outputs.FIGURES.glob("*.svg") if f"/{file.name}#" not in shown] == []


@pytest.mark.parametrize("experiment", CHAPTERS)
def test_every_chapter_has_its_page_reference_example_test_and_settings(experiment: str) -> None:
    """Each experiment of the command line has a study page, a reference stub, an example, a test file and settings."""
    chapter, stem = CHAPTERS[experiment], experiment.replace("-", "_")

    assert (DOCS / "study" / f"{experiment}.md").is_file()
    assert f"llmlab {experiment}" in (DOCS / "study" / f"{experiment}.md").read_text("utf-8")
    assert f"::: {chapter.module}\n" in (DOCS / "reference" / "chapters.md").read_text("utf-8")
    assert f"study/{experiment}.md" in (ROOT / "mkdocs.yml").read_text("utf-8")
    assert chapter.settings.__name__ in (DOCS / "reference" / "settings.md").read_text("utf-8")
    assert chapter.settings.experiment == experiment
    assert (ROOT / "examples" / f"{stem}.py").is_file()
    assert (ROOT / "tests" / f"test_{stem}.py").is_file()


def _all_commands(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str) -> Iterator[str]:
    yield name
    for inner, below in getattr(command, "commands", {}).items():
        yield from _all_commands(below, f"{name} {inner}")


def test_the_command_line_page_has_the_help_of_every_command() -> None:
    """The reference page shows the help of each command and of no other (its text is compared above)."""
    wanted = {f"{name} --help" for name in _all_commands(typer.main.get_command(app), "llmlab")}

    assert {command for page, command, _, _ in _blocks("output") if page.name == "cli.md"} == wanted
