"""Put real output and real pictures into the pages: ``make outputs``, or ``python docs/hooks/outputs.py``.

A page says what it wants in a comment, and what stands between that and the closing comment is made by this file:

    <!-- output: llmlab phase1 -->                              all that the command prints
    <!-- output: llmlab phase1 | Loss, in nats per token -->    only the parts with these titles (a ; between two)
    <!-- end output -->

    <!-- figure: llmlab phase1-2 | map -->                      one picture of the run, for light and for dark
    <!-- end figure -->

Commands run in this process, at 80 columns and without a log entry, so nothing they print depends on when or where.
``tests/test_docs.py`` runs them all again and compares.  Not a MkDocs hook: the build itself runs no experiment.
"""

import os
import re
import shlex
from functools import cache
from pathlib import Path

from typer.testing import CliRunner

from llmlab.cli import app
from llmlab.report.escape import md_text
from llmlab.report.figure import THEMES, svg
from llmlab.report.record import Record
from llmlab.report.result import Figure

DOCS = Path(__file__).resolve().parents[1]
FIGURES = DOCS / "study" / "figures"
BLOCK = re.compile(
    r"^(?P<indent> *)<!-- (?P<kind>output|figure): (?P<command>[^|\n]+?)(?: \| (?P<parts>[^\n]+?))? -->\n"
    r"(?P<body>.*?)^ *<!-- end (?P=kind) -->$",
    re.DOTALL | re.MULTILINE,
)


@cache
def printed(command: str) -> str:
    """Return what a command prints, at 80 columns, as it would into a file."""
    words = shlex.split(command)[1:]
    if words[0] != "log" and "--help" not in words:
        words.append("--no-log")
    told = CliRunner().invoke(app, words, env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}, prog_name="llmlab")
    if told.exit_code != 0:
        raise RuntimeError(f"{command}: exit code {told.exit_code}: {told.stderr}")
    return "\n".join(line.rstrip() for line in told.stdout.split("\n")).strip("\n")


def selected(text: str, titles: str | None) -> str:
    """Return only the parts of a command's output whose titles are given, in that order.

    Raises:
        KeyError: there is no part of that title.
    """
    if titles is None:
        return text
    parts = {part.split("\n", 1)[0]: part for part in text.split("\n\n")}
    return "\n\n".join(parts[title] for title in titles.split("; "))


@cache
def figures(command: str) -> dict[str, Figure]:
    """Return the figures of a run by name."""
    result = Record.from_json(printed(f"{command} --json")).result
    return {figure.name: figure for figure in result.figures}


def pictures(command: str, name: str) -> dict[str, str]:
    """Return the two SVG files of one figure, by file name."""
    stem = re.sub(r"[^a-z0-9]+", "-", f"{command.removeprefix('llmlab ')} {name}")
    return {f"{stem}-{theme}.svg": svg(figures(command)[name], theme) for theme in THEMES}


def body(page: Path, kind: str, command: str, parts: str | None) -> str:
    """Return what belongs between the two comments of one block."""
    if kind == "output":
        return f"```text\n{selected(printed(command), parts)}\n```\n"
    if parts is None:
        raise ValueError(f"{page.name}: a figure needs its name: <!-- figure: {command} | map -->")
    folder, figure = os.path.relpath(FIGURES, page.parent), figures(command)[parts]
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


def main() -> None:
    """Make every block and picture anew."""
    FIGURES.mkdir(exist_ok=True)
    wanted: dict[str, str] = {}
    for page in pages():
        page.write_text(fresh(page), "utf-8", newline="\n")
        for block in BLOCK.finditer(page.read_text("utf-8")):
            if block["kind"] == "figure":
                wanted |= pictures(block["command"], block["parts"])
    for old in FIGURES.glob("*.svg"):
        if old.name not in wanted:
            old.unlink()
    for name, picture in wanted.items():
        (FIGURES / name).write_text(picture, "utf-8", newline="\n")


if __name__ == "__main__":
    main()
