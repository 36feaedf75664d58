"""The program ``llmlab``: its commands put together, and every failure as one line.

Leaves out what the commands do: ``chapter`` and ``log``.
"""

import dataclasses
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import llmlab
from llmlab.cli import chapter, log
from llmlab.cli.log import AsJson, LogDir, write_json
from llmlab.errors import LlmlabError
from llmlab.report import terminal

EPILOG = (
    "Exit codes: 0 done, 1 bug, 2 usage or range, 3 unusable text, 4 no usable checkpoint, 5 not reachable, "
    "6 diverged, 7 write failed, 129/130/143 stopped."
)


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
app.add_typer(log.app, name="log")
for _name in chapter.CHAPTERS:
    app.command(
        _name, help=chapter.CHAPTERS[_name].help, epilog=f"Example: {chapter.CHAPTERS[_name].example}\n\n{EPILOG}"
    )(chapter.command(_name))


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


@app.command()
def doctor(log_dir: LogDir = None, as_json: AsJson = False) -> None:
    """Is this machine (a Raspberry Pi?) set up well?"""
    from llmlab import doctor as examine
    from llmlab.report.table import table_view

    found = list(examine.checks(log_dir))
    if as_json:
        write_json({"schema": "llmlab.doctor/1", "checks": [dataclasses.asdict(check) for check in found]})
    else:
        terminal.show(table_view(examine.table(found), terminal.console()))
