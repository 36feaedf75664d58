"""Put real output and real pictures into the pages: ``make outputs``, or ``python docs/hooks/outputs.py [PAGE …]``.

A page says what it wants in a comment, and what stands between that and the closing comment is made by this file:

    <!-- output: llmlab phase1 -->                              all that the command prints
    <!-- output: llmlab phase1 | Loss, in nats per token -->    only the parts with these titles (a ; between two)
    <!-- end output -->

    <!-- figure: llmlab phase1-2 | map -->                      one picture of the run, for light and for dark
    <!-- end figure -->

Commands run in this process, each in an empty folder of its own, at 80 columns and without a log entry, so nothing they
print depends on when or where.  Times do: leave the parts out that show them.  The word CHECKPOINT stands for the
last checkpoint that TRAINED left.

A page under ``docs/ja`` has the same comments, with the same English titles in them, and gets what ``--lang ja`` shows.

``tests/test_docs.py`` runs them all again and compares.  Not a MkDocs hook: the build itself runs no experiment.
"""

import atexit
import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from llmlab.cli import app
from llmlab.report.escape import md_text
from llmlab.report.figure import THEMES, svg
from llmlab.report.language import CODES, Language, language
from llmlab.report.record import Record
from llmlab.report.result import Figure
from llmlab.report.table import report

DOCS = Path(__file__).resolve().parents[1]
FIGURES = Path("study", "figures")
BLOCK = re.compile(
    r"^(?P<indent> *)<!-- (?P<kind>output|figure): (?P<command>[^|\n]+?)(?: \| (?P<parts>[^\n]+?))? -->\n"
    r"(?P<body>.*?)^ *<!-- end (?P=kind) -->$",
    re.DOTALL | re.MULTILINE,
)


PLAIN = ("params", "claims")
"""Commands that only print: they have no record."""

TRAINED = "llmlab baseline"
"""The command whose model the word CHECKPOINT means."""


@cache
def ran(command: str) -> tuple[str, Path]:
    """Run a command and return its standard output, and the folder that it ran in."""
    folder = Path(tempfile.mkdtemp(prefix="llmlab-pages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    words = [trained() if word == "CHECKPOINT" else word for word in shlex.split(command)[1:]]
    if experiment(command) and "--help" not in words:
        words += ["--no-log", "--threads", "1"]  # small models only wait for each other
    with contextlib.chdir(folder):
        told = CliRunner().invoke(
            app, words, env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}, prog_name="llmlab"
        )
    if told.exit_code != 0:
        raise RuntimeError(f"{command}: exit code {told.exit_code}: {told.stderr}")
    return told.stdout, folder


def experiment(command: str) -> bool:
    """Return whether a command is an experiment, whose output is made of a record."""
    return command.split()[1] not in PLAIN


def trained() -> str:
    """Return the last checkpoint that TRAINED left: which epoch is the best is not the same on every processor."""
    _, folder = ran(f"{TRAINED} --json")
    return str(max((folder / "runs").glob("*/update-*.ckpt")))


@cache
def record(command: str) -> Record:
    """Return what an experiment's command hands to the log, made once for all parts and pictures of it."""
    return Record.from_json(ran(f"{command} --json")[0])


def code_of(page: Path) -> str:
    """Return the language of a page: that of its folder."""
    return "ja" if page.is_relative_to(DOCS / "ja") else "en"


def figures_of(page: Path) -> Path:
    """Return the folder of the pictures of a page's language."""
    return (DOCS if code_of(page) == "en" else DOCS / code_of(page)) / FIGURES


@cache
def printed(command: str, code: str = "en") -> str:
    """Return what a command prints, at 80 columns, as it would into a file."""
    if "--help" in command:
        text = ran(command)[0]
    elif not experiment(command):
        text = ran(command if code == "en" else f"{command} --lang {code}")[0]
    else:
        console = Console(markup=False, highlight=False, emoji=False, width=80, file=io.StringIO())
        for part in report(record(command), console, language(code)):
            console.print(part)
        text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def selected(text: str, titles: str | None, said: Language) -> str:
    """Return only the parts of a command's output whose titles are given, in English, in that order.

    Raises:
        KeyError: there is no part of that title.
    """
    if titles is None:
        return text
    parts = {part.split("\n", 1)[0]: part for part in text.split("\n\n")}
    return "\n\n".join(parts[said.say(title)] for title in titles.split("; "))


def figures(command: str) -> dict[str, Figure]:
    """Return the figures of a run by name."""
    return {figure.name: figure for figure in record(command).result.figures}


def pictures(command: str, name: str, code: str = "en") -> dict[str, str]:
    """Return the two SVG files of one figure, by file name."""
    stem = re.sub(r"[^a-z0-9]+", "-", f"{command.removeprefix('llmlab ')} {name}")
    return {f"{stem}-{theme}.svg": svg(figures(command)[name], theme, language(code)) for theme in THEMES}


def body(page: Path, kind: str, command: str, parts: str | None) -> str:
    """Return what belongs between the two comments of one block."""
    code = code_of(page)
    if kind == "output":
        return f"```text\n{selected(printed(command, code), parts, language(code))}\n```\n"
    if parts is None:
        raise ValueError(f"{page.name}: a figure needs its name: <!-- figure: {command} | map -->")
    folder, figure = os.path.relpath(figures_of(page), page.parent), language(code).figure(figures(command)[parts])
    links = [
        f"![{md_text(figure.caption)}]({folder}/{name}#only-{theme})"
        for name, theme in zip(pictures(command, parts), THEMES, strict=True)
    ]
    return "\n" + "\n".join(links) + f"\n\n*{md_text(figure.caption)}*\n\n"


def fresh(page: Path) -> str:
    """Return a page with every block made anew."""

    def made(block: re.Match[str]) -> str:
        kind, command, parts, indent = (block[name] for name in ("kind", "command", "parts", "indent"))
        opening, closing = block[0].split("\n", 1)[0], f"{indent}<!-- end {kind} -->"
        lines = body(page, kind, command, parts).split("\n")
        inside = "\n".join(indent + line if line else "" for line in lines)
        return f"{opening}\n{inside}{closing}"

    return BLOCK.sub(made, page.read_text("utf-8"))


def pages() -> list[Path]:
    """Return the pages that hold a block, the README among them."""
    written = (page for page in (DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))) if "posts" not in page.parts)
    return [page for page in written if BLOCK.search(page.read_text("utf-8"))]


def unused() -> list[Path]:
    """Return the pictures that no page of their language shows."""
    shown = {code: "".join(page.read_text("utf-8") for page in pages() if code_of(page) == code) for code in CODES}
    return [old for old in DOCS.rglob(f"{FIGURES}/*.svg") if f"/{old.name}#" not in shown[code_of(old)]]


def main(chosen: list[str]) -> None:
    """Make every block and picture anew, or those of some pages."""
    of_interest = [page for page in pages() if not chosen or page in {Path(name).resolve() for name in chosen}]
    for page in of_interest:
        page.write_text(fresh(page), "utf-8", newline="\n")
        for block in BLOCK.finditer(page.read_text("utf-8")):
            if block["kind"] == "figure":
                figures_of(page).mkdir(parents=True, exist_ok=True)
                for name, picture in pictures(block["command"], block["parts"], code_of(page)).items():
                    (figures_of(page) / name).write_text(picture, "utf-8", newline="\n")
    for old in unused():
        old.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
