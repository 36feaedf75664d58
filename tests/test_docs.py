"""The pages cannot rot: every command in them runs, and every output and picture is what a run or the log gives today.

What a page shows of chapters 1 and 2 is run again.  What it shows of trained models is an entry of the log, and has to
be that entry's, byte for byte.
"""

import inspect
import itertools
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import site_hooks
from llmlab.cli import app
from llmlab.cli.chapter import CHAPTERS, module_of
from llmlab.report.logbook import Logbook
from llmlab.text import story
from strategies_report import specimen

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
outputs = site_hooks.hook("outputs")

PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.rglob("*.md")) if "posts" not in page.parts)]
SHELL_BLOCK = re.compile(r"^( *)```(?:sh|bash|console)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
NOT_RUN = {
    "llmlab log serve": "serves until it is stopped; test_browser looks at the same site",
    "llmlab --install-completion": "changes the reader's shell",
    "llmlab data fetch": "needs the network; test_data_command has a stand-in for it",
    "llmlab baseline --peers": "takes minutes, most of them for the cost of a token; test_peers has small ones",
    "llmlab baseline --preset original": "needs WikiText-2, and far too long",
    "llmlab baseline --preset modern": "needs WikiText-2, and an hour",
    "llmlab layers --preset original": "needs WikiText-2, and far too long",
    "llmlab embedding-freeze --preset original": "needs UltraChat and GPT-2, and far too long",
    "llmlab embedding-freeze --pretrained": "needs a model; test_pretrained and test_context_arms have stand-ins",
    "llmlab two-stage --preset original": "needs UltraChat and GPT-2, and far too long",
    "llmlab two-stage --pretrained": "needs a model; test_pretrained and test_context_arms have stand-ins",
}
SMALL = "--embedding 8 --hidden 8 --context 8 --batch 60 --epochs 1"
"""A model that is trained in a second, for commands that only have to run."""
TEXT = "--batch 64 --val-tokens 400 --epochs 1 --seeds 1"
SHRUNKEN = {
    "baseline": SMALL,
    "layers": f"{SMALL} --seeds 1",
    "embedding-freeze": f"{TEXT} --grow 200",
    "two-stage": TEXT,
}
"""What is put before the options of commands that train: the same way through the code with a smaller model."""
FEWER = {
    **dict.fromkeys(("phase1", "phase1-2"), "--seeds 2 --epochs 5"),
    "layers": "--seeds 1",
    "embedding-freeze": "--tokens 400",
    "two-stage": "--tokens 400 --iterations 2",
}
"""What is put behind them, where it is obeyed in place of what the page asks for."""
WITH_A_MODEL = {
    **dict.fromkeys(("evaluate", "export", "generate", "quantize"), ""),
    "finetune": "--epochs 1",
    "expand": "--updates 12 --rounds 3",
}
ELSEWHERE = {
    "python3 -m venv": "makes an environment, which the tests run in",
    ". .venv/bin/activate": "as above",
    "pip install": "needs the network; extras and versions are checked below",
    "uv build": "test_wheel builds the same",
    "uvx": "test_wheel installs the wheel and runs what stands behind it",
    "pytest": "runs these tests",
    "make": "runs these tests, or what the lines beside it run; the targets are checked below",
    "mkdocs build --strict": "test_site builds the site",
    "torchrun": "test_team trains with several processes",
    "ls runs": "lists a folder",
}
"""Lines in shell blocks that are no command of llmlab, and where they are tried."""
INLINE = re.compile(r"`(llmlab [^`…<]+)`")
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.(?P<decimals>\d+))?(?:e[-+]?\d+)?(?=\W|$)", re.ASCII)
"""A number that is no part of a name; Japanese text follows one without a space."""
SHOWN = 4
"""So many significant digits of a number have to agree; the last of them, or its last one, may differ by one."""
PLOT = re.compile("[\u2800-\u28ff│┌┐└┘├┤┬┴]|^─+$")


def typed(line: str) -> str:
    """Return a line of a shell block without what finds the program."""
    return re.sub(r"^[\w./-]+/(?=\w)", "", line.strip().removeprefix("$ ")).removeprefix("uv run ")


BLOCKS_OF_SHELL = (block[2] for page in PAGES for block in SHELL_BLOCK.finditer(page.read_text("utf-8")))
LINES = list(
    dict.fromkeys(typed(line) for block in BLOCKS_OF_SHELL for line in re.split(r"\n|&&", block) if line.strip())
)
"""Every different line in the shell blocks of the pages, in order."""
COMMANDS = [line for line in LINES if line.split(" ")[0] == "llmlab"]
BLOCKS = [(page, block) for page in outputs.pages() for block in outputs.BLOCK.finditer(page.read_text("utf-8"))]
"""Every output and picture in the pages: the page and the match of its markers."""
MADE_ANEW = sorted({block["source"] for _, block in BLOCKS if not outputs.is_logged(block["source"])})
"""The commands whose outputs they are."""
RUN = [line for line in COMMANDS if line not in MADE_ANEW and not line.startswith("llmlab exercise")]
"""The others; what the exercises ask for is tried in ``test_exercises``."""


@pytest.fixture(scope="module")
def small_texts() -> Iterator[None]:
    """Let the texts that come with llmlab be short ones, and the embedding made of sixty lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmlab.text.grammar.SPLITS", {"train": (1_000, 1), "valid": (100, 2), "test": (100, 5)})
        patch.setitem(story.SPLITS, "train", slice(1))
        patch.setattr("llmlab.lab.made_embedding.LINES", 60)
        yield


@pytest.fixture(scope="module")
def small_checkpoint(small_texts: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of checkpoints of a very small model."""
    folder = str(tmp_path_factory.mktemp("trained") / "run")
    words = f"baseline --layers 1 {SMALL} --no-log --quiet --out".split()
    done = CliRunner().invoke(app, [*words, folder])
    assert done.exit_code == 0, done.stderr
    return folder


def shortened(command: str) -> list[str]:
    """Return the words of a command that takes the same way through the code as one of a page, in a second."""
    words = shlex.split(command, comments=True)
    words = list(itertools.takewhile(lambda word: word not in ("|", ">", "<"), words))
    if "--threads" in words:  # what they compute is the same with one, and threads of test workers wait for each other
        at = words.index("--threads")
        del words[at : at + 2]
    if words[1] in SHRUNKEN and words[2:3] and words[2] in WITH_A_MODEL:
        words[3:3] = WITH_A_MODEL[words[2]].split()
    elif words[1] in SHRUNKEN:
        words[2:2] = SHRUNKEN[words[1]].split()
    return words + FEWER.get(words[1], "").split()


@pytest.mark.usefixtures("elsewhere", "small_texts")
@pytest.mark.parametrize("command", RUN)
def test_every_command_in_the_pages_runs(command: str, request: pytest.FixtureRequest) -> None:
    reasons = [why for known, why in NOT_RUN.items() if command.startswith(known)]
    if reasons:
        pytest.skip(reasons[0])
    words = shortened(command)
    if "CHECKPOINT" in words:
        words[words.index("CHECKPOINT")] = request.getfixturevalue("small_checkpoint")
    if words[1:2] == ["log"]:
        ids = [Logbook.at().put(specimen(seed=seed))[0].id for seed in range(2)]
        names = {"ID": ids[0], "A": ids[0], "B": ids[1]}
        words = [names.get(word, word) for word in words]

    done = CliRunner().invoke(app, words[1:], input="hello")

    assert done.exit_code == 0, done.stderr


def test_every_other_line_in_a_shell_block_is_tried_elsewhere() -> None:
    """Lines that are no command of llmlab are of kinds that other tests try, and name extras and targets that exist."""
    others = [line for line in LINES if line not in COMMANDS]
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    pinned = (ROOT / "constraints.txt").read_text("utf-8").split()

    assert [line for line in others if not line.startswith(tuple(ELSEWHERE))] == []
    assert [kind for kind in ELSEWHERE if not any(line.startswith(kind) for line in others)] == []
    for pattern, known in ((r"^make (\w+)", made), (r"\.\[(\w+)\]", extras), (r"\S+==\S+", pinned)):
        assert {name for line in others for name in re.findall(pattern, line)} <= {*known}


def test_every_command_in_the_text_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of llmlab within sentences, and those that are not run here, name commands and options that exist.

    The command under an entry of the log is the one of its day.
    """
    inline = {found for page in PAGES for found in INLINE.findall(outputs.BLOCK.sub("", page.read_text("utf-8")))}
    asked = sorted(inline | {line for line in COMMANDS if line.startswith(tuple(NOT_RUN))})
    for kind in (typer.core.TyperCommand, typer.core.TyperGroup):  # the words are read; the help need not be drawn
        monkeypatch.setattr(kind, "format_help", lambda *_: None)
    told = {line: CliRunner().invoke(app, [*shlex.split(line, comments=True)[1:], "--help"]) for line in asked}

    assert inline
    assert {command: done.stderr for command, done in told.items() if done.exit_code != 0} == {}


def alike(shown: str, fresh: str, *, picture: bool = False) -> str:
    """Return how two transcripts differ in words, counts, signs or shown digits; empty if they do not.

    Pictures made of characters are left out: on another processor one dot of them may differ.  In a ``picture`` a
    coordinate may be off by one unit, of 640.
    """
    left, right = (
        "\n".join(line for line in text.split("\n") if not PLOT.search(line.strip())) for text in (shown, fresh)
    )
    words_left, words_right = (re.split(r"\s+", NUMBER.sub("#", text).strip()) for text in (left, right))
    if words_left != words_right:
        return "\n".join(f"- {a}\n+ {b}" for a, b in zip(words_left, words_right, strict=False) if a != b) or "length"
    found = []
    for a, b in zip(NUMBER.finditer(left), NUMBER.finditer(right), strict=True):
        old, new = value_of(a[0]), value_of(b[0])
        allowed = (1.0 if picture else last_digit(a)) if a["decimals"] else 0.0
        if a[0] != b[0] and not (abs(old - new) < 1.01 * allowed and old * new >= 0):
            found.append(f"- {a[0]}\n+ {b[0]}")
    return "\n".join(found)


def value_of(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def last_digit(number: re.Match[str]) -> float:
    """Return what one in the last digit that has to agree is worth."""
    size, power = abs(value_of(number[0])), int(number[0].partition("e")[2] or 0)
    first = math.floor(math.log10(size)) if size else 0
    return max(10.0 ** (power - len(number["decimals"])), 10.0 ** (first + 1 - SHOWN))


def differences(page: Path, block: re.Match[str]) -> str:
    """Return how an output or a picture and its caption differ from a fresh run."""
    kind, source, parts = (block[name] for name in ("kind", "source", "parts"))
    told = [alike(inspect.cleandoc(block["body"]), inspect.cleandoc(outputs.body(page, kind, source, parts)))]
    if kind == "figure":
        fresh = outputs.pictures(source, parts, outputs.code_of(page))
        shown = {file: (outputs.figures_of(page) / file).read_text("utf-8") for file in fresh}
        told += [alike(shown[file], drawn, picture=True) for file, drawn in fresh.items()]
    return "\n".join(difference for difference in told if difference)


@pytest.mark.parametrize("command", MADE_ANEW)
def test_every_output_and_picture_of_a_command_is_what_it_gives(command: str) -> None:
    """Each transcript has the words, counts and shown digits of a fresh run; else run: make outputs."""
    found = {
        f"{page.name}: {command} | {block['parts']}": differences(page, block)
        for page, block in BLOCKS
        if block["source"] == command
    }
    assert {where: told for where, told in found.items() if told} == {}


def test_what_the_pages_show_of_the_log_is_the_entry_byte_for_byte() -> None:
    """Nothing is trained for this; else run: make outputs."""
    for page, block in BLOCKS:
        kind, source, parts = (block[name] for name in ("kind", "source", "parts"))
        if outputs.is_logged(source):
            fresh = outputs.body(page, kind, source, parts)
            assert inspect.cleandoc(block["body"]) == inspect.cleandoc(fresh), f"{page.name}: {source} | {parts}"


LINKED = re.compile(r"log/posts/[\w-]+-([0-9a-f]{8})/entry\.md")
CELL_NUMBER = re.compile(r"(?<![\w.])(?P<number>[-+−]?\d[\d,]*\.(?P<decimals>\d+))(?![\w.])", re.ASCII)


def _measured(page: str) -> Iterator[float]:
    """Yield what was measured in the entries that a page links to and in the runs that it shows."""
    shown = {block["source"] for block in outputs.BLOCK.finditer(page)}
    quick = {source for source in shown if not outputs.is_logged(source) and source.split()[1] in outputs.EXPERIMENTS}
    for source in quick | {f"record {entry}" for entry in LINKED.findall(page)}:
        result = outputs.record(source).result
        cells = [cell for table in result.tables for row in table.rows for cell in row]
        few = [values for values in result.samples.values() if len(values) < 10]  # of a thousand, one always fits
        samples = [value for values in few for value in values]
        yield from (value for value in (*result.metrics.values(), *cells, *samples) if isinstance(value, float))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("study/*.md")), ids=lambda page: page.stem)
def test_a_number_in_a_table_of_the_study_was_measured(page: Path) -> None:
    """Each decimal in a page's own tables stands in an entry linked there or a run shown there, rounded or in percent.

    Or it is the difference of two others in its row.  Rows about a claim are left out: they set numbers of the original
    notes beside ours.
    """
    text = page.read_text("utf-8")
    measured = list(_measured(text))
    unknown = []
    for row in outputs.BLOCK.sub("", text).split("\n"):
        if not row.startswith("|") or "claims.md#" in row:
            continue
        found = [
            (number, 100 if "%" in cell else 1) for cell in row.split("|") for number in CELL_NUMBER.finditer(cell)
        ]
        values = [value_of(number["number"]) for number, _ in found]
        gaps = [a - b for a, b in itertools.permutations(values, 2)]
        for (number, scale), value in zip(found, values, strict=True):
            rounding = 0.51 * 10.0 ** -len(number["decimals"])
            if not any(abs(known - value) < rounding for known in (*(scale * one for one in measured), *gaps)):
                unknown.append(number[0])

    assert unknown == []


def test_no_page_holds_digits_that_only_rounding_decides() -> None:
    """Neither a page nor an entry of the log has a number below 1e-12 in it: that is said in words."""
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        assert re.findall(r"\de[-−](?:1[2-9]|[2-9]\d|\d{3})", page.read_text("utf-8")) == [], page


def test_no_page_trains_a_model() -> None:
    with pytest.raises(ValueError, match="show an entry of the log"):
        outputs.ran("llmlab layers --layers 1")


@pytest.mark.parametrize(
    ("shown", "fresh", "noticed"),
    [
        ("it moved", "it stood", True),  # a word
        ("a 0.1\nb 0.2", "a 0.1", True),  # a row
        ("a 0.1\nb 0.2", "b 0.2\na 0.1", True),  # their order
        ("1,000 seeds", "1,001 seeds", True),  # a count
        ("7 of 9", "8 of 9", True),
        ("changed by -0.0001", "changed by 0.0001", True),  # a sign
        ("changed by −0.5", "changed by 0.5", True),
        ("loss 0.3625 ends", "loss 0.3627 ends", True),  # a digit that is shown
        ("loss 0.3625 ends", "loss 0.3626 ends", False),
        ("97.6% of 1,000", "97.8% of 1,000", True),
        ("97.6% of 1,000", "97.7% of 1,000", False),
        ("PPL 1234.56", "PPL 1237.56", True),
        ("12.3456", "12.3461", False),
        ("off by 8.9e-02", "off by 8.9e-03", True),
        ("off by 8.9e-02", "off by 9.2e-02", True),
        ("0.3625", "to rounding", True),
        ("損失は2.459ナット", "損失は2.479ナット", True),
        ("損失は2.459ナット", "損失は2.460ナット", False),
    ],
)
def test_a_change_in_a_transcript_is_noticed_and_rounding_forgiven(shown: str, fresh: str, noticed: bool) -> None:
    """The fourth significant digit, or the last one shown, may round the other way on another processor."""
    assert alike(shown, shown) == alike(fresh, fresh) == ""
    assert bool(alike(shown, fresh)) == bool(alike(fresh, shown)) == noticed


def test_no_picture_lies_about_unused() -> None:
    assert outputs.unused() == []


@pytest.mark.parametrize("experiment", CHAPTERS)
def test_every_chapter_has_its_page_reference_example_test_and_settings(experiment: str) -> None:
    settings, stem = CHAPTERS[experiment], experiment.replace("-", "_")

    assert f"llmlab {experiment}" in (DOCS / "study" / f"{experiment}.md").read_text("utf-8")
    assert f"::: {module_of(experiment)}\n" in (DOCS / "reference" / "chapters.md").read_text("utf-8")
    assert f"study/{experiment}.md" in (ROOT / "mkdocs.yml").read_text("utf-8")
    assert settings.__name__ in (DOCS / "reference" / "settings.md").read_text("utf-8")
    assert settings.experiment == experiment
    assert (ROOT / "examples" / f"{stem}.py").is_file()
    assert (ROOT / "tests" / f"test_{stem}.py").is_file()


def _all_commands(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str) -> Iterator[str]:
    yield name
    for inner, below in getattr(command, "commands", {}).items():
        yield from _all_commands(below, f"{name} {inner}")


def test_the_command_line_page_has_the_help_of_every_command() -> None:
    wanted = {f"{name} --help" for name in _all_commands(typer.main.get_command(app), "llmlab")}

    assert {block["source"] for page, block in BLOCKS if page.name == "cli.md" and block["kind"] == "output"} == wanted
