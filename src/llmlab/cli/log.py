"""The commands of the experiment log: ``llmlab log list|show|compare|supersede|render|serve``.

None of them imports torch, so that they answer at once.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from llmlab.claims import findings
from llmlab.cli.output import AsJson, Lang, LogDir, argument, entry_ids, helped, show, spoken, write_json
from llmlab.errors import SettingError, Stopped, TextError, UnreachableError
from llmlab.report import terminal
from llmlab.report.logbook import Logbook
from llmlab.report.messages import say
from llmlab.report.record import Record

LAST_PORT = 65_535

app = typer.Typer(help="The experiment log: list, show, compare, supersede, render, serve.")

app.callback(invoke_without_command=True)(helped)

EntryId = Annotated[str, argument("Id of an entry, or how it begins.", "ID", entry_ids)]


def readable(logbook: Logbook) -> list[Record]:
    """Return the records of a log, with a warning for each entry that cannot be read."""
    records = []
    for folder, record in logbook.read():
        if isinstance(record, ValueError):
            terminal.say(f"warning: {folder.name}: {record}")
        else:
            records.append(record)
    return records


@app.command("list")
def log_list(
    log_dir: LogDir = None,
    experiment: Annotated[str, typer.Option(help="Only this experiment.")] = "",
    search: Annotated[str, typer.Option(help="Only entries whose finding, command or note holds these words.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Superseded entries too.")] = False,
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """List the entries with what they found, a line each, oldest first."""
    from llmlab.report import listing

    records = [record for record in readable(Logbook.kept(log_dir)) if experiment in ("", record.result.experiment)]
    language = spoken(lang)
    records = [record for record in records if listing.matches(record, search, language)]
    records.sort(key=lambda record: (record.created, record.id))
    if as_json:
        write_json(listing.entries_document(records))
        return
    shown, console = [record for record in records if every or not record.superseded_by], terminal.console()
    lines = listing.entries_lines(shown, language, console.width if console.is_terminal else 0)
    said = listing.said_of(shown, folded=len(records) - len(shown), asked=bool(search or experiment))
    terminal.show(*([lines] if shown else []), language.say(said))


@app.command("show")
def log_show(
    entry: Annotated[str, argument("Id of an entry, or how it begins; the last one.", "ID", entry_ids)] = "",
    full: Annotated[bool, typer.Option("--full", help="All tables and pictures.")] = False,
    log_dir: LogDir = None,
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """Show one entry, the last if none is named: what it found, or all that its run measured."""
    from llmlab.report.table import circumstances, first_screen, height, report

    logbook = Logbook.kept(log_dir)
    record = logbook.find(entry)[1] if entry else last(logbook)
    if as_json:
        write_json(judged_document(record))
    else:
        console, language = terminal.console(), spoken(lang)
        which = circumstances(record, language, short=not full)
        lines = height(which, console) - 1  # it stands in the place of the line that names a run's entry
        shown = report(record, console, language) if full else first_screen(record, console, language, lines)
        terminal.show(which, *shown)


def last(logbook: Logbook) -> Record:
    """Return the newest entry."""
    found = max(readable(logbook), key=lambda record: (record.created, record.id), default=None)
    if found is None:
        raise TextError("log show: there is no entry yet; run an experiment first, for example llmlab phase1-2")
    return found


@app.command("compare")
def log_compare(a: EntryId, b: EntryId, log_dir: LogDir = None, lang: Lang = "en", as_json: AsJson = False) -> None:
    """Compare two entries: settings that differ, metrics, and differences paired by seed."""
    from llmlab import compare

    logbook = Logbook.kept(log_dir)
    (_, left), (_, right) = logbook.find(a), logbook.find(b)
    if as_json:
        write_json(compare.document(left, right))
    else:
        show(compare.tables(left, right), spoken(lang))


@app.command("supersede")
def log_supersede(
    old: Annotated[str, argument("Id of the entry that is superseded.", "OLD", entry_ids)],
    new: Annotated[str, argument("Id of the entry that replaces it.", "NEW", entry_ids)],
    why: Annotated[str, typer.Option(help="The reason, in a sentence.", show_default=False)] = "",
    why_ja: Annotated[str, typer.Option(help="The reason in Japanese.", show_default=False)] = "",
    log_dir: LogDir = None,
    lang: Lang = "en",
    as_json: AsJson = False,
) -> None:
    """Let an entry replace another one: both stay, linked; claims go by the new one."""
    logbook = Logbook.kept(log_dir)
    (_, replaced), (_, successor) = logbook.find(old), logbook.find(new)
    replaced, successor = logbook.supersede(replaced, successor, why, why_ja)
    if as_json:
        names = {"old": replaced.name, "new": successor.name}
        write_json({"schema": "llmlab.supersede/1", **names, "why": replaced.superseded_why})
    else:
        told = say("compare.superseded", old=replaced.id, new=successor.id)
        terminal.write(spoken(lang).say(told) + "\n")


@app.command("render")
def log_render(
    log_dir: LogDir = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 3 if something would change.")] = False,
) -> int:
    """Rebuild all pages and pictures from their records; your notes are kept."""
    outcomes = list(Logbook.kept(log_dir).render(only_check=check))
    for name, outcome in outcomes:
        if outcome != "same":
            terminal.say(f"{name}: {outcome}")
    terminal.write(f"{len(outcomes)} entries, {sum(outcome == 'same' for _, outcome in outcomes)} unchanged\n")
    return 3 if check and any(outcome != "same" for _, outcome in outcomes) else 0


@app.command("serve")
def log_serve(
    log_dir: LogDir = None,
    port: Annotated[int, typer.Option(help=f"Port on this machine.  (from 1 to {LAST_PORT:,})")] = 8000,
) -> int:
    """Show the log's site in a browser, at http://127.0.0.1:8000 (needs the docs extra)."""
    if not 1 <= port <= LAST_PORT:
        raise SettingError(f"--port: {port} is not a number from 1 to {LAST_PORT:,}")
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        raise UnreachableError("log serve needs MkDocs and Material; install them with: pip install 'llmlab[docs]'")
    site = Logbook.kept(log_dir).site
    if not (site / "mkdocs.yml").is_file():
        raise TextError("log serve: there is no log yet; run an experiment first, for example llmlab phase1-2")
    mkdocs = [sys.executable, "-m", "mkdocs", "serve", "-f", str(site / "mkdocs.yml"), "-a", f"127.0.0.1:{port}"]
    try:
        return subprocess.run(mkdocs, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode  # noqa: S603
    except Stopped:
        return 0


def judged_document(record: Record) -> dict[str, Any]:
    """Return a record's document with what the run decides of the claims."""
    return {**record.document(), "findings": [asdict(finding) for finding in findings(record)]}
