"""The program ``llmlab``: its commands put together, and every failure as one line."""

import os
import sys
import traceback
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import llmlab
from llmlab.cli import chapter, claims, data, exercise, log
from llmlab.cli.options import prepare_help, typed
from llmlab.cli.output import AsJson, Lang, LogDir, show, spoken, write_json
from llmlab.cli.progress import ignore_signals, on_signals, stop_at_once
from llmlab.errors import LlmlabError, SettingError, Stopped, WriteError
from llmlab.report import terminal
from llmlab.report.language import Language
from llmlab.report.messages import CODES, say
from llmlab.settings import LANGUAGE_VARIABLE

EPILOG = (
    "Exit codes: 0 done, 1 bug, 2 usage or range, 3 unusable text, 4 no usable checkpoint, 5 not reachable, "
    "6 diverged, 7 write failed, 129/130/143 stopped."
)

WITHOUT_COMMAND = (["log"], ["data"])
"""What shows its help where nothing more is typed."""


class OneLineErrors(TyperGroup):
    """A command group whose failures are one line on standard error and the exit code of ``llmlab.errors``."""

    def list_commands(self, context: Any) -> list[str]:
        """Return the chapters in their order, then the other commands."""
        return sorted(super().list_commands(context), key=lambda name: [*chapter.CHAPTERS, name].index(name))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is meant; what can be done with a baseline stands behind that."""
        if args[0] in chapter.FOLLOW_UPS:
            raise SettingError(f"{args[0]}: it is for a trained baseline; write llmlab baseline {args[0]}")
        return super().resolve_command(ctx, args)

    def main(self, args: Any = None, *rest: Any, **extra: Any) -> Any:
        """Run the command line and exit."""
        terminal.prepare()
        extra["standalone_mode"] = False
        words = list(sys.argv[1:] if args is None else args)
        if {"--help", "-h"} & {*words} or words in WITHOUT_COMMAND:
            asked = asked_language(words)
            prepare_help(self, spoken(asked if asked in CODES else "en"))
        on_signals(stop_at_once)
        try:
            code = super().main(args, *rest, **extra)
        except SystemExit as stop:  # only Rich and Typer raise it here, with 1 for a reader that has gone away
            code = 0 if stop.code == 1 else stop.code
        except Stopped as stopped:
            ignore_signals()
            terminal.say(f"llmlab: {stopped}")
            code = stopped.exit_code
        except Exception as error:
            message, code = explained(error)
            if "--debug" in words:
                traceback.print_exception(error)
            else:
                terminal.say(f"llmlab: {' '.join(message.split())}")
        sys.exit(code)


def asked_language(words: list[str]) -> str:
    """Return the language that a command line, or else the environment, asks for; help comes before all options."""
    asked = [word.removeprefix("--lang=") for word in words if word.startswith("--lang=")]
    asked += [code for option, code in pairwise(words) if option == "--lang"]
    return (asked or [os.environ.get(LANGUAGE_VARIABLE, "en")])[-1]


def explained(error: Exception) -> tuple[str, int]:
    """Return what to say of a failure, and its exit code."""
    if isinstance(error, LlmlabError):
        return str(error), error.exit_code
    if isinstance(error, TyperException):
        told = error.format_message() if hasattr(error, "format_message") else str(error)
        if context := getattr(error, "ctx", None):
            told += ("" if told.endswith((".", "?")) else ".") + f" See {context.command_path} --help"
        return told, getattr(error, "exit_code", 1)
    if isinstance(error, OSError):  # help and usage are written by Typer, which does not catch it
        terminal.to_nowhere()
        return f"{error.filename or 'standard output'}: {error.strerror}", WriteError.exit_code
    told = f"{type(error).__name__}: {error}"
    if "memory" in told.lower():
        return f"{told}; not enough memory, so try smaller sizes, a smaller batch, fewer seeds or a shorter text", 1
    return f"internal error, {told} (--debug shows where)", 1


def params(lang: Lang = "en", as_json: AsJson = False) -> None:
    """Exact parameter counts of every model in the study."""
    from llmlab.params import models, tables

    counted, said = models(), spoken(lang)
    write_json({"schema": "llmlab.params/1", "models": counted}) if as_json else show(tables(counted), said)


def doctor(log_dir: LogDir = None, lang: Lang = "en", as_json: AsJson = False) -> None:
    """Is this machine (a Raspberry Pi?) set up well?"""
    from llmlab import doctor as examine

    found = list(examine.checks(log_dir))
    if as_json:
        write_json({"schema": "llmlab.doctor/1", "checks": [check._asdict() for check in found]})
    else:
        show([examine.table(found)], spoken(lang))


app = typer.Typer(
    cls=OneLineErrors,
    help="How tiny language models come to mean something, in runnable chapters.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # --debug shows Python's own traceback, without anybody's local variables
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(log.app, name="log")
app.add_typer(data.app, name="data")
chapter.add_commands(app, EPILOG)
app.command("params")(params)
app.add_typer(claims.app, name="claims")
app.command("exercise", context_settings=exercise.AS_TYPED)(exercise.exercise)
app.command("doctor")(doctor)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    lang: Lang = "en",
) -> None:
    """Show the version, or a welcome where no command is given."""
    if version:
        terminal.write(f"llmlab {llmlab.__version__}\n")
    elif context.invoked_subcommand is None:
        welcome(spoken(lang))
    elif typed(context, "lang"):
        behind = f"llmlab {context.invoked_subcommand} … --lang {lang}"
        raise SettingError(f"--lang: write it behind all of the command, {behind}, or set {LANGUAGE_VARIABLE}={lang}")


def welcome(language: Language) -> None:
    """Print the six chapters and where to begin."""
    from llmlab.report import screen

    width = max(map(len, chapter.CHAPTERS))
    lines = [f"llmlab {name:{width}}  {screen.chapter(name, language)}" for name in chapter.CHAPTERS]
    what, begin, more = map(language.say, (say("welcome.what"), say("welcome.begin"), say("welcome.more")))
    terminal.show(what, "", *lines, "", begin, more)


def main() -> None:
    """Run the command line."""
    app(prog_name="llmlab")
