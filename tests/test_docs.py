"""The pages cannot rot: every command in them runs, and every output and picture in them is what a run gives today."""

import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

import site_hooks
from llmlab.cli import app
from llmlab.cli.chapter import CHAPTERS
from llmlab.report.logbook import Logbook

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


outputs = site_hooks.hook("outputs")

PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if "posts" not in page.parts)]
SHELL_BLOCK = re.compile(r"^( *)```(?:sh|bash|console)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
NOT_RUN = {
    "llmlab log serve": "serves until it is stopped; test_browser looks at the same site",
    "llmlab --install-completion": "changes the reader's shell",
    "llmlab data fetch": "needs the network; test_data_command has a stand-in for it",
    "llmlab baseline --preset seed": "needs WikiText-2, and far too long",
    "llmlab baseline --preset modern": "needs WikiText-2, and an hour",
    "llmlab layers --preset seed": "needs WikiText-2, and far too long",
    "llmlab embedding-freeze --preset seed": "needs UltraChat and GPT-2, and far too long",
    "llmlab embedding-freeze --pretrained": "needs a model; test_pretrained and test_context_texts have stand-ins",
    "llmlab two-stage --preset seed": "needs UltraChat and GPT-2, and far too long",
    "llmlab two-stage --pretrained": "needs a model; test_pretrained and test_context_texts have stand-ins",
}
TOO_LONG = {"llmlab baseline --peers": "takes minutes, most of them for the cost of a token; test_peers has small ones"}
SMALL = "--embedding 8 --hidden 8 --context 8 --batch 500 --epochs 1"
"""A model that is trained in a second, for commands that only have to run."""
SHRUNKEN = {
    "llmlab layers": f"{SMALL} --seeds 1",
    "llmlab baseline --epochs 1 --device cpu": SMALL,
    "llmlab baseline --epochs 1 --device auto": SMALL,
    "llmlab baseline --epochs 2": SMALL,
    "llmlab baseline --resume auto": SMALL,
    "llmlab baseline --seeds 3": SMALL,
    "llmlab embedding-freeze": "--tokens 400 --val-tokens 400 --grow 200 --epochs 1 --seeds 1",
    "llmlab two-stage": "--tokens 400 --val-tokens 400 --epochs 1 --seeds 1 --iterations 2",
}
"""Commands that take long, and what is put behind them here: the same way through the code with a smaller model."""
ELSEWHERE = {
    "python3 -m venv": "makes an environment, which the tests run in",
    ". .venv/bin/activate": "as above",
    "pip install": "needs the network; extras and versions are checked below",
    "pytest": "runs these tests",
    "make": "runs these tests, or what the lines beside it run; the targets are checked below",
    "mkdocs build --strict": "test_site builds the site",
    "torchrun": "test_team_processes trains with several processes",
    "ls runs": "lists a folder",
}
"""Lines in shell blocks that are no command of llmlab, and where they are tried."""
INLINE = re.compile(r"`(llmlab [^`…<]+)`")
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.(?P<decimals>\d+))?(?:e[-+]?\d+)?(?=\W|$)", re.ASCII)
"""A number that is no part of a name; Japanese text follows one without a space."""
TRAINED = ("llmlab baseline", "llmlab layers", "llmlab embedding-freeze", "llmlab two-stage")
"""Commands whose numbers differ from processor to processor: training on so little text makes much of the last bits."""
SHARE = 0.12
"""How far such numbers may be apart, as a share: between processors with and without AVX-512, up to 6 % were seen."""
APART = {0: 2.0, 1: 4.0, 2: 0.5, 3: 0.4}
"""By decimals, how far they may be apart in any case, as differences near 0 have no share; 0.05 with more decimals."""
GRID = re.compile(r'<line [^>]*stroke="#\w+" />|<text [^>]*>[-−\d.,]+%?</text>')
"""The lines and numbers of a picture's axes, which move when its range does."""
PLOT = re.compile("[\u2800-\u28ff│┌┐└┘├┤┬┴]|^─+$")


def lines() -> list[str]:
    """Return every different line in the shell blocks of the pages, in order, without the folder of a program."""
    blocks = (block[2] for page in PAGES for block in SHELL_BLOCK.finditer(page.read_text("utf-8")))
    found = (line.strip().removeprefix("$ ") for block in blocks for line in re.split(r"\n|&&", block))
    return list(dict.fromkeys(re.sub(r"^[\w./-]+/(?=\w)", "", line) for line in found if line))


def commands() -> list[str]:
    """Return every different ``llmlab`` command line in the shell blocks of the pages, in order."""
    return [line for line in lines() if line.split(" ")[0] == "llmlab"]


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    """A command sets torch's threads; in the tests' own process that is put back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of checkpoints of a very small model."""
    folder = str(tmp_path_factory.mktemp("trained") / "run")
    words = f"baseline --layers 1 {SMALL} --no-log --quiet --out".split()
    done = CliRunner().invoke(app, [*words, folder])
    assert done.exit_code == 0, done.stderr
    return folder


def shown_in_a_page(command: str) -> bool:
    """Return whether a page holds this command's output, so that another test runs it; a guess changes no output."""
    without_guess = re.sub(r' --expect "[^"]*"', "", command)
    return any(without_guess == shown for _, shown, _, _ in _blocks("output"))


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_pages_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Each llmlab command that a page tells the reader to type succeeds in an empty folder."""
    words = shlex.split(command, comments=True)
    skipped = [reason for known, reason in NOT_RUN.items() if command.startswith(known)]
    if skipped or " ".join(words) in TOO_LONG:
        pytest.skip(skipped[0] if skipped else TOO_LONG[" ".join(words)])
    if command.startswith(TRAINED) and shown_in_a_page(command):
        pytest.skip("its output stands in a page, and is compared below")
    if command in SHRUNKEN:
        words += SHRUNKEN[command].split()
        monkeypatch.setattr("llmlab.contexts.made.LINES", 60)
    monkeypatch.chdir(tmp_path)
    words = words[: next((n for n, word in enumerate(words) if word in ("|", ">", "<")), len(words))]
    if "CHECKPOINT" in words:
        words[words.index("CHECKPOINT")] = request.getfixturevalue("small_checkpoint")
    if "log" in words[1:2]:
        for seed in ("0", "1"):
            CliRunner().invoke(app, ["phase1", "--epochs", "2", "--seeds", "2", "--seed", seed])
        ids = [folder.name.rsplit("-", 1)[-1] for folder in Logbook.at().folders()]
        places = [n for n, word in enumerate(words) if word in ("ID", "A", "B")]
        for place, entry in zip(places, ids, strict=False):
            words[place] = entry

    done = CliRunner().invoke(app, words[1:], input="hello")

    assert done.exit_code == 0, done.stderr


def test_every_other_line_in_a_shell_block_is_tried_elsewhere() -> None:
    """Lines that are no command of llmlab are of kinds that other tests try, and name extras and targets that exist."""
    others = [line for line in lines() if line not in commands()]
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    pinned = (ROOT / "constraints.txt").read_text("utf-8").split()

    assert [line for line in others if not line.startswith(tuple(ELSEWHERE))] == []
    assert [kind for kind in ELSEWHERE if not any(line.startswith(kind) for line in others)] == []
    for line in others:
        assert set(re.findall(r"^make (\w+)", line)) <= set(made)
        assert set(re.findall(r"\.\[(\w+)\]", line)) <= extras.keys()
        assert set(re.findall(r"\S+==\S+", line)) <= set(pinned)


def test_every_command_in_the_text_is_understood() -> None:
    """Commands of llmlab within sentences, and those that are not run here, name commands and options that exist."""
    inline = {found for page in PAGES for found in INLINE.findall(page.read_text("utf-8"))}
    wrong = {}
    for command in sorted(inline | {line for line in commands() if line.startswith(tuple(NOT_RUN))}):
        done = CliRunner().invoke(app, [*shlex.split(command, comments=True)[1:], "--help"])
        if done.exit_code != 0:
            wrong[command] = done.stderr

    assert inline
    assert wrong == {}


def _blocks(kind: str) -> list[tuple[Path, str, str | None, str]]:
    return [
        (page, block["command"], block["parts"], block["body"])
        for page in outputs.pages()
        for block in outputs.BLOCK.finditer(page.read_text("utf-8"))
        if block["kind"] == kind
    ]


def alike(shown: str, fresh: str, tolerance: float = 2e-3, *, trained: bool = False) -> str:
    """Return how two transcripts differ in words, or in numbers by more than the tolerance; empty if they do not.

    A number may also differ by one in its last digit.  Pictures made of characters are left out: on another
    processor one dot of them may differ.  Counts are never forgiven, and what was ``trained`` more than the rest.
    """
    left, right = ([line for line in text.split("\n") if not PLOT.search(line.strip())] for text in (shown, fresh))
    words_left, words_right = (re.split(r"\s+", NUMBER.sub("#", "\n".join(text)).strip()) for text in (left, right))
    if words_left != words_right:
        return "\n".join(f"- {a}\n+ {b}" for a, b in zip(words_left, words_right, strict=False) if a != b) or "length"
    found = []
    pairs = zip(*(NUMBER.finditer("\n".join(text)) for text in (left, right)), strict=True)
    for a, b in pairs:
        decimals, share = len(a["decimals"] or ""), a.string[a.end() : a.end() + 1] == "%"
        allowed = max(tolerance, 1.01 * 10.0**-decimals) if decimals else 0.0
        if trained and (decimals or share):
            allowed = max(allowed, APART.get(decimals, 0.05), SHARE * abs(_value(a[0])))
        if abs(_value(a[0]) - _value(b[0])) > allowed:
            found.append(f"- {a[0]}\n+ {b[0]}")
    return "\n".join(found)


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _needed(command: str) -> str:
    """Return the command that has to run first: what is done with a trained model needs the model."""
    return str(outputs.TRAINED) if "CHECKPOINT" in command else command


@pytest.mark.parametrize(
    "needed", sorted({_needed(command) for kind in ("output", "figure") for _, command, _, _ in _blocks(kind)})
)
def test_every_output_and_picture_in_the_pages_is_what_the_command_gives(needed: str) -> None:
    """Each transcript has the words of a fresh run, and its numbers to within 0.002; else run: make outputs."""
    differences: dict[str, str] = {}
    for page, command, parts, body in _blocks("output"):
        if _needed(command) == needed:
            fresh = outputs.body(page, "output", command, parts)
            told = alike(inspect.cleandoc(body), inspect.cleandoc(fresh), trained=command.startswith(TRAINED))
            differences |= {f"{page.name}: {command} | {parts}": told} if told else {}
    for page, command, name, body in _blocks("figure"):
        if _needed(command) == needed:
            told = _pictures_differ(page, command, str(name), body)
            differences |= {f"{page.name}: {command} | {name}": told} if told else {}

    assert differences == {}


def _pictures_differ(page: Path, command: str, name: str, body: str) -> str:
    """Return how a picture and its caption differ from a fresh run, by more than one unit of its 640.

    Of what was trained the lines, their points and every word are compared; where a point stands its caption says.
    """
    trained = command.startswith(TRAINED)
    told = [alike(body.strip(), outputs.body(page, "figure", command, name).strip(), trained=trained)]
    for file, fresh in outputs.pictures(command, name, outputs.code_of(page)).items():
        shown = (outputs.figures_of(page) / file).read_text("utf-8")
        if trained:
            shown, fresh = GRID.sub("", shown), GRID.sub("", fresh)
        told.append(alike(shown, fresh, 400.0 if trained else 1.0))
    return "\n".join(difference for difference in told if difference)


def test_a_changed_word_or_number_in_a_transcript_is_noticed() -> None:
    """The comparison forgives rounding, and nothing else."""
    assert alike("loss 0.3625 ends", "loss 0.3626 ends") == ""
    assert alike("97.6% of 1,000", "97.7% of 1,000") == ""
    assert alike("loss 0.3625", "loss 0.3725") != ""
    assert alike("1,000 seeds", "1,001 seeds") != ""
    assert alike("it moved", "it stood") != ""
    assert alike("one two", "one") != ""
    assert alike("PPL 11.64, 62% recovered", "PPL 11.67, 61% recovered", trained=True) == ""
    assert alike("PPL 11.64", "PPL 13.67", trained=True) != ""
    assert alike("損失は2.459ナット", "損失は2.460ナット") == ""
    assert alike("損失は2.459ナット", "損失は2.479ナット") != ""
    assert alike("83,396 parameters", "83,397 parameters", trained=True) != ""


def test_no_picture_lies_about_unused() -> None:
    """Each SVG among the study's figures is shown by a page of its language."""
    assert outputs.unused() == []


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
