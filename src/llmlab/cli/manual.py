"""How help looks: in the reader's language, with whole names of options however narrow the terminal is.

Typer makes it with Rich; here stands what is told to Typer.
"""

from typing import Any

from typer.core import TyperOption

from llmlab.cli.options import help_of
from llmlab.report.language import Language

EXAMPLE = "Example: "
HEADS = {
    "ARGUMENTS_PANEL_TITLE": "Arguments",
    "OPTIONS_PANEL_TITLE": "Options",
    "COMMANDS_PANEL_TITLE": "Commands",
    "DEFAULT_STRING": "[default: {}]",
    "ENVVAR_STRING": "[env var: {}]",
    "REQUIRED_LONG_STRING": "[required]",
}
"""What Typer itself writes, by where it keeps it."""


def _type_in_help(option: TyperOption, ctx: Any) -> str:
    """Return what stands beside an option in its help: the kind of value, and nothing beside a flag."""
    return "" if option.is_flag else option.metavar or option.display_type(ctx)


TyperOption.display_type_rich = _type_in_help  # type: ignore[assignment]  # Typer says <bool> of every flag


def prepare(command: Any, language: Language) -> None:
    """Let the help of a command and of all below it be in a language, and fit the terminal."""
    from typer import rich_utils

    from llmlab.report.folding import OptionsTable, Words

    rich_utils.Table = OptionsTable  # type: ignore[attr-defined]
    if language.code == "en":
        return
    for place, text in HEADS.items():
        setattr(rich_utils, place, language.say(text))
    marked = rich_utils.highlighter
    usage = language.say("Usage: ")
    rich_utils.highlighter = lambda text: marked(  # type: ignore[assignment]
        text.replace("Usage: ", usage, 1) if isinstance(text, str) else text
    )
    rich_utils._make_rich_text = lambda text, **_: Words(language.say(text))  # Typer's own cuts a line without blanks
    translate(command, language)


def translate(command: Any, language: Language) -> None:
    """Let a command, its options and all below it say what they are in a language."""
    for part in (command, *command.params):
        if getattr(part, "help", None):
            part.help = "\n\n".join(language.say(help_of(one)) for one in part.help.split("\n\n"))
        if getattr(part, "rich_help_panel", None):
            part.rich_help_panel = language.say(part.rich_help_panel)
    if command.epilog:
        command.epilog = "\n\n".join(
            language.say(EXAMPLE) + one.removeprefix(EXAMPLE) if one.startswith(EXAMPLE) else language.say(one)
            for one in command.epilog.split("\n\n")
        )
    for below in getattr(command, "commands", {}).values():
        translate(below, language)
