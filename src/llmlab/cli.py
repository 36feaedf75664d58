"""The command line: the only file that knows the terminal's arguments.

Covers one thin command per chapter, made from the fields of its settings, and ``log`` and ``doctor``.  Each
chapter command does the same: check the options, run, put the entry into the log, show.  Leaves out
everything else; torch is imported only once a chapter runs.
"""

import dataclasses
import gc
import importlib
import importlib.util
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import llmlab
from llmlab import settings as declared
from llmlab.errors import LlmlabError, StoppedError, TextError, UnreachableError, WriteError
from llmlab.report import terminal
from llmlab.report.escape import shell_word
from llmlab.report.logbook import Logbook
from llmlab.report.record import Record

CHAPTERS: dict[str, tuple[type[declared.TinySettings], str, str]] = {
    "phase1": (declared.Phase1Settings, "llmlab.phase1", "Train only the output layer; the embedding is frozen."),
    "phase1-2": (declared.Phase12Settings, "llmlab.phase1_2", "How embeddings move, what an inner product decides."),
}
"""Command, settings, module, help.  The modules import torch, so they are named here, not imported."""

EPILOG = (
    "Exit codes: 0 done, 1 bug, 2 usage or range, 3 unusable text, 4 no usable checkpoint, 5 not reachable, "
    "6 diverged, 7 write failed, 129/130/143 stopped."
)
DIVERGED = 6
LONGEST_INPUT = 64_000_000


class OneLineErrors(TyperGroup):
    """A command group whose failures are one line on standard error and the contract's exit code."""

    def main(self, args: Any = None, *rest: Any, **extra: Any) -> Any:
        """Run the command line and exit."""
        terminal.prepare()
        extra["standalone_mode"] = False
        words = list(sys.argv[1:] if args is None else args)
        try:
            sys.exit(super().main(args, *rest, **extra))
        except (LlmlabError, TyperException) as error:
            message, code = getattr(error, "message", None) or str(error), getattr(error, "exit_code", 1)
            if hasattr(error, "format_message"):
                message = error.format_message()
            failure: BaseException = error
        except (RuntimeError, MemoryError) as error:
            message, code, failure = f"{type(error).__name__}: {error}", 1, error
            if "memory" in message.lower():
                message += "; not enough memory, so try a smaller --dim, --seeds or text"
        except Exception as error:
            message, code, failure = f"internal error, {type(error).__name__}: {error} (--debug shows where)", 1, error
        if "--debug" in words:
            raise failure
        terminal.say(f"llmlab: {' '.join(message.split())}")
        sys.exit(code)


app = typer.Typer(
    cls=OneLineErrors,
    help="How tiny language models come to mean something, in six runnable chapters.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # --debug shows Python's own traceback, without anybody's local variables
    context_settings={"help_option_names": ["-h", "--help"]},
)
log_app = typer.Typer(help="The experiment log: list, show, compare, render, serve.", no_args_is_help=False)
app.add_typer(log_app, name="log")


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Show the version, or help where no command is given."""
    if version:
        terminal.write(f"llmlab {llmlab.__version__}\n")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line."""
    app(prog_name="llmlab")


# ---- one command per chapter ----------------------------------------------------------------------------------


def _chapter_command(name: str) -> Callable[..., Any]:
    """Return a function whose signature, as Typer reads it, is the chapter's settings and the run options."""
    settings_type = CHAPTERS[name][0]

    def command(context: typer.Context, **values: Any) -> int:
        given = [key for key in values if str(context.get_parameter_source(key)).endswith("COMMANDLINE")]
        own = {field.name for field in dataclasses.fields(settings_type)}
        options = declared.RunOptions(**{key: value for key, value in values.items() if key not in own})
        chosen = {key: value for key, value in values.items() if key in own}
        if chosen["text"] == "-":
            chosen["text"] = _standard_input()
        settings = settings_type(**chosen)
        return _run(name, settings, options, _command_line(name, settings, [key for key in given if key in own]))

    fields = [*dataclasses.fields(settings_type), *dataclasses.fields(declared.RunOptions)]
    annotations = {field.name: _annotation(field) for field in fields}
    parameters = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotations[field.name]
        )
        for field in fields
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {"context": typer.Context, **annotations}
    return command


def _annotation(field: dataclasses.Field[Any]) -> Any:
    """Return a field as a Typer option: its spelling, range, help and panel."""
    data, name = field.metadata, declared.flag(field.name)
    spellings = [f"{name}/--no-{field.name}"] if field.default is True else [name]
    text = data["help"] + (f"  One of: {', '.join(data['choices'])}." if data["choices"] else "")
    numeric = field.type in (int, float)
    option = typer.Option(
        *spellings,
        help=text,
        min=data["low"] if numeric else None,
        max=data["high"] if numeric else None,
        rich_help_panel=data["panel"],
        show_default=field.default not in ("", None),
    )
    return Annotated[field.type, option]


for _name in CHAPTERS:
    app.command(_name, help=CHAPTERS[_name][2], epilog=EPILOG)(_chapter_command(_name))


def _run(name: str, settings: declared.Settings, options: declared.RunOptions, command: str) -> int:
    logbook = Logbook.at(options.log_dir)
    if options.log:
        logbook.check_writable()
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _stop)
    progress = Progress(hidden=options.quiet)
    try:
        chapter = _import_with_torch(CHAPTERS[name][1], options.threads)
        start = time.perf_counter()
        result = chapter.run(settings, progress.step)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped by Ctrl-C{progress.where()}; nothing was written", signal.SIGINT) from None
    except StoppedError as stopped:
        raise StoppedError(f"{stopped}{progress.where()}; nothing was written", stopped.exit_code - 128) from None
    finally:
        progress.close()
    from llmlab.environment import facts

    record = Record(
        result,
        id="",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        command=command,
        seconds=round(time.perf_counter() - start, 3),
        environment=facts(sys.modules["torch"].get_num_threads()),
        expectation=_unicode(options.expect),
        note=_unicode(options.note),
    )
    page, failure = None, None
    if options.log:
        try:
            record, page = logbook.put(record)
        except WriteError as error:
            failure = error
    _show(record, page, options)
    if failure:
        raise failure
    if result.status != "complete":
        terminal.say(f"llmlab: {result.summary[0]}")
        return DIVERGED
    return 0


def _show(record: Record, page: Path | None, options: declared.RunOptions) -> None:
    entry = os.path.relpath(page) if page else None
    if options.json:
        document = {**record.document(), "entry": entry}
        terminal.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return
    if not options.quiet:
        from llmlab.report.table import report

        terminal.show(*report(record, terminal.console()))
    if entry:
        terminal.write(entry + "\n" if options.quiet else f"\nEntry: {entry}\n")


def _import_with_torch(module: str, threads: int) -> types.ModuleType:
    """Import a chapter, and torch with it, at two thirds of the usual price.

    A million objects are born in that import and none dies: looking for garbage among them, again and again
    and once more at the end of the process, takes a third of the start-up.
    """
    gc.disable()
    try:
        chapter = importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
    if threads:
        sys.modules["torch"].set_num_threads(threads)
    return chapter


class Progress:
    """Tells people on standard error how far a long run is; says nothing of one that takes a second."""

    def __init__(self, *, hidden: bool) -> None:
        self.hidden, self.begun, self.next_line = hidden, time.monotonic(), time.monotonic() + 2.0
        self.at, self.planned, self.line_open = 0, 0, False

    def step(self, update: int, planned: int) -> None:
        """Take note of an update, and tell about it now and then."""
        self.at, self.planned = update, planned
        now = time.monotonic()
        if self.hidden or now < self.next_line:
            return
        live = sys.stderr is not None and sys.stderr.isatty()
        self.next_line = now + (0.2 if live else 10.0)
        left = (now - self.begun) / update * (planned - update)
        text = f"update {update:,} of {planned:,}, about {left:.0f} s left"
        if live:
            sys.stderr.write(f"\r{text:<60}")
            sys.stderr.flush()
            self.line_open = True
        else:
            terminal.say(text)

    def where(self) -> str:
        """Return where the run is, for a message."""
        return f" after update {self.at:,} of {self.planned:,}" if self.planned else ""

    def close(self) -> None:
        """Remove the live line."""
        if self.line_open:
            sys.stderr.write("\r" + " " * 60 + "\r")


def _stop(number: int, _: types.FrameType | None) -> None:
    raise StoppedError(f"stopped by {signal.Signals(number).name}", number)


def _standard_input() -> str:
    data = sys.stdin.buffer.read(LONGEST_INPUT + 1)
    if len(data) > LONGEST_INPUT:
        raise TextError(f"standard input: more than {LONGEST_INPUT // 10**6} MB; give a shorter text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"standard input: not UTF-8 at byte {error.start}; convert it first") from error


def _command_line(name: str, settings: declared.TinySettings, given: list[str]) -> str:
    """Return the command that repeats the run, made from parsed settings: no path and no output option is in it."""
    words, source = ["llmlab", name], ""
    for key in given:
        value = getattr(settings, key)
        if key == "text" and len(value) > declared.LONGEST_TEXT_KEPT:
            value, source = "-", " < TEXT"
        words.append(f"{declared.flag(key)} {shell_word(str(value))}")
    return " ".join(words) + source


def _unicode(text: str) -> str:
    """Return an argument without the lone surrogates that stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# ---- the log -----------------------------------------------------------------------------------------------------

LogDir = Annotated[Path | None, typer.Option("--log-dir", help="Folder of the log.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
EntryId = Annotated[str, typer.Argument(help="Id of an entry, or how it begins.", metavar="ID", show_default=False)]


@log_app.callback(invoke_without_command=True)
def log_top(context: typer.Context) -> None:
    """List, show, compare, render or serve the experiment log."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@log_app.command("list")
def log_list(
    log_dir: LogDir = None,
    experiment: Annotated[str, typer.Option(help="Only this experiment.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the entries, oldest first."""
    from llmlab.report.listing import entries_document, entries_table
    from llmlab.report.table import table_view

    records: list[Record] = []
    for folder, record in Logbook.at(log_dir).read():
        if isinstance(record, ValueError):
            terminal.say(f"warning: {folder.name}: {record}")
        elif not experiment or record.result.experiment == experiment:
            records.append(record)
    records.sort(key=lambda record: (record.created, record.id))
    if as_json:
        _write_json(entries_document(records))
    else:
        terminal.show(table_view(entries_table(records), terminal.console()))


@log_app.command("show")
def log_show(entry: EntryId, log_dir: LogDir = None, as_json: AsJson = False) -> None:
    """Show one entry as its run showed it."""
    from llmlab.report.table import report

    _, record = Logbook.at(log_dir).find(entry)
    if as_json:
        _write_json(record.document())
    else:
        terminal.show(*report(record, terminal.console()))


@log_app.command("compare")
def log_compare(a: EntryId, b: EntryId, log_dir: LogDir = None, as_json: AsJson = False) -> None:
    """Compare two entries: settings that differ, metrics, and differences paired by seed."""
    from llmlab import compare
    from llmlab.report.table import table_view

    logbook = Logbook.at(log_dir)
    (_, left), (_, right) = logbook.find(a), logbook.find(b)
    if as_json:
        _write_json(compare.document(left, right))
    else:
        terminal.show(*(table_view(table, terminal.console()) for table in compare.tables(left, right)))


@log_app.command("render")
def log_render(
    log_dir: LogDir = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 3 if something would change.")] = False,
) -> int:
    """Rebuild all pages and pictures from their records; your notes are kept."""
    outcomes = list(Logbook.at(log_dir).render(only_check=check))
    for name, outcome in outcomes:
        if outcome != "same":
            terminal.say(f"{name}: {outcome}")
    terminal.write(f"{len(outcomes)} entries, {sum(outcome == 'same' for _, outcome in outcomes)} unchanged\n")
    return 3 if check and any(outcome != "same" for _, outcome in outcomes) else 0


@log_app.command("serve")
def log_serve(
    log_dir: LogDir = None, port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 8000
) -> int:
    """Show the log's site in a browser, at http://127.0.0.1:8000 (needs llmlab[docs])."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        raise UnreachableError("log serve needs MkDocs and Material; install them with: pip install 'llmlab[docs]'")
    site = Logbook.at(log_dir).site
    if not (site / "mkdocs.yml").is_file():
        raise TextError("log serve: there is no log yet; run an experiment first, for example llmlab phase1-2")
    mkdocs = [sys.executable, "-m", "mkdocs", "serve", "-f", str(site / "mkdocs.yml"), "-a", f"127.0.0.1:{port}"]
    try:
        return subprocess.run(mkdocs, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode  # noqa: S603
    except KeyboardInterrupt:
        return 0


# ---- this machine --------------------------------------------------------------------------------------------------


@app.command()
def doctor(log_dir: LogDir = None, as_json: AsJson = False) -> None:
    """Is this machine (a Raspberry Pi?) set up well?"""
    from llmlab import doctor as examine
    from llmlab.report.table import table_view

    found = list(examine.checks(log_dir))
    if as_json:
        _write_json({"schema": "llmlab.doctor/1", "checks": [dataclasses.asdict(check) for check in found]})
    else:
        terminal.show(table_view(examine.table(found), terminal.console()))


def _write_json(document: Any) -> None:
    terminal.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
