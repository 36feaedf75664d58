"""What commands print, tables in a language or one JSON document, and the options by which they are told to."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.language import ENGLISH, Language, language
from llmlab.report.messages import CODES
from llmlab.report.result import Table
from llmlab.settings import LANGUAGE_VARIABLE


def completing(values: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what a shell asks for the values of an option; they are made only when it asks.

    Of a list with commas the last word is completed, by one that is not in it yet.
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        there = before.split(",") if comma else []
        return [before + comma + value for value in values() if value and value.startswith(last) and value not in there]

    return complete


def argument(text: str, name: str, completed: Callable[..., Any] | None = None) -> Any:
    """Return how Typer takes a word without a flag: its help, its name there, and what completes it in a shell."""
    return typer.Argument(help=text, metavar=name, show_default=False, autocompletion=completed)


def helped(context: typer.Context) -> None:
    """Show the help of a group of commands where none of them is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def runs() -> list[str]:
    """Return the folders of runs below the one where runs are kept, newest first."""
    found = [path for path in Path("runs").glob("*") if path.is_dir()]
    return [str(path) for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)]


Lang = Annotated[
    str,
    typer.Option(
        "--lang",
        envvar=LANGUAGE_VARIABLE,
        help=f"Language of tables: {' or '.join(CODES)}.",
        autocompletion=completing(lambda: CODES),
    ),
]
LogDir = Annotated[
    Path | None, typer.Option("--log-dir", help="Folder of the log's site; its entries lie in docs/log/posts.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def entry_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the ids of the log's entries that begin so, each with the name of its folder, for a shell."""
    from llmlab.report.logbook import Logbook

    names = Logbook.kept(context.params.get("log_dir")).names()
    return [(key, name) for key, name in names.items() if key.startswith(incomplete)]


def spoken(code: str) -> Language:
    """Return the language of a command's output; English, with a word of why, where the output lacks the signs."""
    if code not in CODES:
        raise SettingError(f"--lang (or {LANGUAGE_VARIABLE}): {code!r} is not one of {', '.join(CODES)}")
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if code != "en" and not terminal.writes(encoding, "日本語"):
        terminal.say(f"warning: --lang {code}: the output knows only {encoding}, so this is English")
        return ENGLISH
    return language(code)


def show(tables: Iterable[Table], lang: Language = ENGLISH) -> None:
    """Print tables in a language."""
    from llmlab.report.table import table_view  # with Rich's tables and plots, for which help has no time

    terminal.show(*(table_view(lang.table(table), terminal.console()) for table in tables))


def write_json(document: Any) -> None:
    """Print one strict JSON document, in ASCII: it means the same whatever the terminal can show."""
    terminal.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
