"""One thin command per chapter, made from the fields of its settings.

Each does the same: check the options, run the chapter, put the entry into the log, show it.  Leaves out what a
chapter computes and how it is shown.
"""

import dataclasses
import gc
import importlib
import inspect
import os
import secrets
import signal
import sys
import time
import types
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from llmlab import settings as declared
from llmlab.cli.log import write_json
from llmlab.cli.progress import Progress
from llmlab.errors import Stopped, TextError, WriteError
from llmlab.report import terminal
from llmlab.report.escape import shell_word
from llmlab.report.logbook import Logbook
from llmlab.report.record import CREATED, Record
from llmlab.report.result import Result

DIVERGED = 6
LONGEST_INPUT = 64_000_000


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A command's settings, its module (named, not imported: it imports torch), its help and an example."""

    settings: type[declared.TinySettings]
    module: str
    help: str
    example: str


CHAPTERS = {
    "phase1": Chapter(
        declared.Phase1Settings,
        "llmlab.phase1",
        "Train only the output layer; the embedding is frozen.",
        "llmlab phase1 --dim 8 --seeds 1000",
    ),
    "phase1-2": Chapter(
        declared.Phase12Settings,
        "llmlab.phase1_2",
        "How embeddings move, and what an inner product decides.",
        "llmlab phase1-2 --text banana --focus n --seeds 1000",
    ),
}


def command(name: str) -> Callable[..., Any]:
    """Return a function whose signature, as Typer reads it, is the chapter's settings and the run options."""
    settings_type = CHAPTERS[name].settings

    def run(context: typer.Context, **values: Any) -> int:
        own = [field.name for field in dataclasses.fields(settings_type)]
        options = declared.RunOptions(**{key: value for key, value in values.items() if key not in own})
        chosen = {key: values[key] for key in own}
        if chosen["text"] == "-":
            chosen["text"] = _standard_input()
        settings = settings_type(**chosen)
        return _run(name, settings, options, _command_line(name, settings, [key for key in own if typed(context, key)]))

    fields = [*dataclasses.fields(settings_type), *dataclasses.fields(declared.RunOptions)]
    annotations = {field.name: _annotation(field) for field in fields}
    parameters = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotations[field.name]
        )
        for field in fields
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    run.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {"context": typer.Context, **annotations}
    return run


def typed(context: typer.Context, parameter: str) -> bool:
    """Return whether a parameter was given on the command line."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _annotation(field: dataclasses.Field[Any]) -> Any:
    """Return a field as a Typer option: its spelling, range, help and panel."""
    data, name = field.metadata, declared.flag(field.name)
    spellings = [f"{name}/--no-{field.name}"] if field.default is True else [name]
    text = data["help"] + (f"  One of: {', '.join(data['choices'])}." if data["choices"] else "")
    option = typer.Option(
        *spellings,
        help=text + _range_in_words(data["low"], data["above"], data["high"]),
        rich_help_panel=data["panel"],
        show_default=field.default not in ("", None),
    )
    return Annotated[field.type, option]


def _range_in_words(low: float | None, above: float | None, high: float | None) -> str:
    """Return an option's range for its help; the settings check it, and their message names it too."""
    least = f"from {low:,}" if low is not None else f"above {above:,}" if above is not None else ""
    most = f"to {high:,}" if high is not None and high < 2**40 else ""
    return f"  ({' '.join(part for part in (least, most) if part)})" if least or most else ""


def _run(name: str, settings: declared.Settings, options: declared.RunOptions, command: str) -> int:
    """Run a chapter, put its entry into the log, show it; return the exit code.

    A log that cannot be written to is noticed before the run.  Where it fails after it, the result is shown all
    the same, and then the failure is raised.
    """
    logbook = Logbook.at(options.log_dir)
    if options.log:
        logbook.check_writable()
    result, seconds = _supervised(name, settings, options)
    record, page = _record(result, seconds, options, command), None
    failure: WriteError | None = None
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


def _supervised(name: str, settings: declared.Settings, options: declared.RunOptions) -> tuple[Result, float]:
    """Import and run a chapter with progress shown; return its result and the seconds it took.

    Raises:
        Stopped: a signal ended it.
    """
    for stop in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) is not signal.SIG_IGN:  # nohup means it
            signal.signal(stop, _stop)
    progress = Progress(hidden=options.quiet)
    try:
        chapter = _import_with_torch(CHAPTERS[name].module, options.threads)
        start = time.perf_counter()
        return chapter.run(settings, progress.step), time.perf_counter() - start
    except KeyboardInterrupt:
        raise Stopped(f"stopped by Ctrl-C{progress.where()}; nothing was written", signal.SIGINT) from None
    except Stopped as stopped:
        raise Stopped(f"{stopped}{progress.where()}; nothing was written", stopped.signal_number) from None
    finally:
        progress.close()


def _record(result: Result, seconds: float, options: declared.RunOptions, command: str) -> Record:
    from llmlab.environment import facts  # needs torch's thread count, so torch is there by now

    return Record(
        result,
        id=secrets.token_hex(4),
        created=datetime.now(UTC).strftime(CREATED),
        command=command,
        seconds=round(seconds, 3),
        environment=facts(sys.modules["torch"].get_num_threads()),
        expectation=_unicode(options.expect),
        note=_unicode(options.note),
    )


def _show(record: Record, page: Path | None, options: declared.RunOptions) -> None:
    entry = os.path.relpath(page) if page else None
    if options.json:
        write_json({**record.document(), "entry": entry})
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
        with warnings.catch_warnings():
            # torch would like numpy; nothing here needs it
            warnings.filterwarnings("ignore", message="Failed to initialize NumPy", category=UserWarning)
            chapter = importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()
    if threads:
        sys.modules["torch"].set_num_threads(threads)
    return chapter


def _stop(number: int, _: types.FrameType | None) -> None:
    raise Stopped(f"stopped by {signal.Signals(number).name}", number)


def _standard_input() -> str:
    if sys.stdin is None:
        raise TextError("--text -: there is no standard input; give the text itself, or a file with < FILE")
    data = sys.stdin.buffer.read(LONGEST_INPUT + 1)
    if len(data) > LONGEST_INPUT:
        raise TextError(f"standard input: more than {LONGEST_INPUT // 10**6} MB; give a shorter text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"standard input: not UTF-8 at byte {error.start}; convert it first") from error


def _command_line(name: str, settings: declared.TinySettings, given: list[str]) -> str:
    """Return the command that repeats the run, made from parsed settings: no path and no output option is in it.

    A text that no command line can hold, for its length or for a NUL, is said to come from a file.
    """
    words, source = ["llmlab", name], ""
    for key in given:
        value = getattr(settings, key)
        if key == "text" and (len(value) > declared.LONGEST_TEXT_KEPT or "\0" in value):
            value, source = "-", " < TEXT"
        words.append(f"{declared.flag(key)} {shell_word(str(value))}")
    return " ".join(words) + source


def _unicode(text: str) -> str:
    """Return an argument without the lone surrogates that stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
