"""Put real output and real pictures into the pages: ``make outputs``, or ``python docs/hooks/outputs.py [PAGE …]``.

A page says what it wants in a comment, and what stands between that and the closing comment is made by this file:

    <!-- output: llmlab phase1 -->                              what the command prints
    <!-- output: llmlab phase1 | Loss, in nats per token -->    of --full only the parts with these titles (a ; between)
    <!-- output: record 17c03ae7 | What the number means -->    the same of an entry of the log, by its id
    <!-- end output -->

    <!-- figure: llmlab phase1-2 | map -->                      one picture of the run, for light and for dark
    <!-- figure: record 17c03ae7 | curve -->                    or that of an entry
    <!-- end figure -->

Commands are run only where that takes a second or two: chapters 1 and 2, and those that train nothing.  Each runs in
this process, in an empty folder with a log of its own, and at 80 columns, so nothing it prints depends on when or
where.  What a larger model came to depends on the machine that trained it.  So it is taken from the log, and one
line says which command made the entry, and on what.

A page under ``docs/ja`` has the same comments, with the same English titles in them, and gets what ``--lang ja`` shows.

``tests/test_docs.py`` makes them all again and compares.  Not a MkDocs hook: the build itself runs no experiment.
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
from llmlab.report.colours import THEMES
from llmlab.report.escape import md_text
from llmlab.report.figure import svg
from llmlab.report.language import Language, language
from llmlab.report.messages import CODES
from llmlab.report.record import Record
from llmlab.report.result import Figure
from llmlab.report.table import first_screen, report

DOCS = Path(__file__).resolve().parents[1]
FIGURES = Path("study", "figures")
POSTS = DOCS / "log" / "posts"
LOGGED = "record"
BLOCK = re.compile(
    r"^(?P<indent> *)<!-- (?P<kind>output|figure): (?P<source>[^|\n]+?)(?: \| (?P<parts>[^\n]+?))? -->\n"
    r"(?P<body>.*?)^ *<!-- end (?P=kind) -->$",
    re.DOTALL | re.MULTILINE,
)


EXPERIMENTS = ("phase1", "phase1-2")
"""Chapters that are quick and exact enough to run for a page."""

PLAIN = ("params", "claims")
"""Commands that only print: they have no record."""


@cache
def ran(command: str) -> tuple[str, Path]:
    """Run a command and return its standard output, and the folder that it ran in.

    Raises:
        ValueError: the command trains a larger model, so what it prints belongs to one machine.
    """
    words = shlex.split(command)[1:]
    if "--help" not in words and words[0] not in (*EXPERIMENTS, *PLAIN):
        raise ValueError(f"{command}: trains too much for a page; show an entry of the log: <!-- output: record ID -->")
    folder = Path(tempfile.mkdtemp(prefix="llmlab-pages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if words[0] in EXPERIMENTS and "--help" not in words:
        words += ["--log-dir", "log", "--threads", "1"]  # small models only wait for each other
    with contextlib.chdir(folder):
        told = CliRunner().invoke(
            app, words, env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}, prog_name="llmlab"
        )
    if told.exit_code != 0:
        raise RuntimeError(f"{command}: exit code {told.exit_code}: {told.stderr}")
    return told.stdout, folder


@cache
def record(source: str) -> Record:
    """Return what an experiment's command hands to the log, or what the log has under ``record ID``.

    Raises:
        ValueError: the log has no such entry.
    """
    posts, name = (POSTS, f"*-{source.split(' ')[1]}") if is_logged(source) else (ran(source)[1] / "log", "**/posts/*")
    found = list(posts.glob(f"{name}/record.json"))
    if len(found) != 1:
        raise ValueError(f"{source}: the log has {len(found)} entries of that id")
    return Record.from_json(found[0].read_text("utf-8"))


def is_logged(source: str) -> bool:
    """Return whether a block shows an entry of the log."""
    return source.split(" ")[0] == LOGGED


def code_of(page: Path) -> str:
    """Return the language of a page: that of its folder."""
    return "ja" if page.is_relative_to(DOCS / "ja") else "en"


def _root(page: Path) -> Path:
    """Return the folder of the pages of a page's language."""
    return DOCS if code_of(page) == "en" else DOCS / code_of(page)


def figures_of(page: Path) -> Path:
    """Return the folder of the pictures of a page's language that the log does not have."""
    return _root(page) / FIGURES


@cache
def printed(source: str, code: str = "en", *, full: bool = False) -> str:
    """Return what a command prints, or would have printed, at 80 columns, as it would into a file."""
    if "--help" in source:
        text = ran(source)[0]
    elif is_logged(source) or source.split()[1] in EXPERIMENTS:
        console = Console(markup=False, highlight=False, emoji=False, width=80, file=io.StringIO())
        for part in (report if full else first_screen)(record(source), console, language(code)):
            console.print(part, crop=False)
        text = console.file.getvalue()  # type: ignore[attr-defined]
    else:
        text = ran(source if code == "en" else f"{source} --lang {code}")[0]
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def selected(source: str, titles: str | None, code: str) -> str:
    """Return only the parts of a command's output whose titles are given, in English, in that order.

    Raises:
        KeyError: there is no part of that title.
    """
    if titles is None:
        return printed(source, code)
    text = printed(source, code, full=True)
    named = [part.split("\n", 1)[0] for part in printed(source, "en", full=True).split("\n\n")]
    parts = dict(zip(named, text.split("\n\n"), strict=True))
    return "\n\n".join(parts[title] for title in titles.split("; "))


def figure_of(source: str, name: str) -> Figure:
    """Return one figure of a run."""
    return {figure.name: figure for figure in record(source).result.figures}[name]


def pictures(source: str, name: str, code: str = "en") -> dict[str, str]:
    """Return the two SVG files of one figure of a command, by file name; an entry of the log has its own."""
    if is_logged(source):
        return {}
    stem = re.sub(r"[^a-z0-9]+", "-", f"{source.removeprefix('llmlab ')} {name}")
    return {f"{stem}-{theme}.svg": svg(figure_of(source, name), theme, language(code)) for theme in THEMES}


def body(page: Path, kind: str, source: str, parts: str | None) -> str:
    """Return what belongs between the two comments of one block."""
    said = language(code_of(page))
    if kind == "output":
        shown = f"```text\n{selected(source, parts, said.code)}\n```\n"
    elif parts is None:
        raise ValueError(f"{page.name}: a figure needs its name: <!-- figure: {source} | map -->")
    else:
        caption = md_text(said.figure(figure_of(source, parts)).caption)
        links = [
            f"![{caption}]({link}#only-{theme})"
            for link, theme in zip(_links(page, source, parts), THEMES, strict=True)
        ]
        shown = "\n" + "\n".join(links) + f"\n\n*{caption}*\n\n"
    if is_logged(source):
        shown = f"{shown.rstrip()}\n\n{_origin(page, source, said)}"
    return shown


def _links(page: Path, source: str, name: str) -> list[str]:
    """Return the addresses of a figure's two pictures, seen from a page."""
    if is_logged(source):
        folder, names = _entry(page, source), [f"{name}-{theme}.svg" for theme in THEMES]
    else:
        folder, names = os.path.relpath(figures_of(page), page.parent), list(pictures(source, name))
    return [f"{folder}/{name}" for name in names]


def _entry(page: Path, source: str) -> str:
    """Return the folder of an entry of the log, seen from a page; the Japanese site has it at the same place."""
    return os.path.relpath(_root(page) / POSTS.relative_to(DOCS) / record(source).name, page.parent)


def _origin(page: Path, source: str, said: Language) -> str:
    """Return the line that says where an entry's numbers come from: its command, processor and version of torch."""
    entry = record(source)
    made_on = f"{entry.environment['processor']}{said.say(', ')}torch {entry.environment['torch']}"
    link = f"[`{entry.command}`]({_entry(page, source)}/entry.md)"
    return f"{said.say('From the log:')} {link}{said.say(', ')}{made_on}\n\n"


def fresh(page: Path) -> str:
    """Return a page with every block made anew."""

    def made(block: re.Match[str]) -> str:
        kind, source, parts, indent = (block[name] for name in ("kind", "source", "parts", "indent"))
        opening, closing = block[0].split("\n", 1)[0], f"{indent}<!-- end {kind} -->"
        lines = body(page, kind, source, parts).split("\n")
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
                for name, picture in pictures(block["source"], block["parts"], code_of(page)).items():
                    (figures_of(page) / name).write_text(picture, "utf-8", newline="\n")
    for old in unused():
        old.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
