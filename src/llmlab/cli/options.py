"""From the fields of a settings class to the options of a command, their help in any language, and back to settings."""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperOption

from llmlab.cli.output import argument, completing, runs
from llmlab.errors import TextError
from llmlab.report.escape import shell_word
from llmlab.report.language import Language
from llmlab.report.messages import Text, say
from llmlab.settings import RunOptions, Settings, flag, options_of

FIRST = ("seed", "seeds", "full", "lang")
"""Of what every experiment has, the options that stand first in its help, behind the chapter's own."""

LONGEST_INPUT = 64_000_000
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

HELP: dict[str, Mapping[str, Any]] = {}
"""What every option is, by its English help, which is all that Typer keeps of it."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What was typed: the settings, the run's options, and which of both were given."""

    settings: Settings
    options: RunOptions
    given: list[str]

    def command_line(self, name: str, *, private: bool = False) -> str:
        """Return the command that repeats the run; only a ``private`` one has paths and output options in it."""
        words, source = ["llmlab", name], ""
        for field in options_of(self.settings):
            if field.name not in self.given:
                continue
            if not (private or field.metadata["recorded"]):
                words += [field.name.upper()] if field.metadata["argument"] else []
                continue
            spelled = str(getattr(self.settings, field.name)) if private else self.settings.spelled(field.name)
            source = " < TEXT" if field.metadata["from_stdin"] and spelled == "-" else source
            words.append(_typed_again(field, getattr(self.settings, field.name), spelled))
        if private:
            own = [(field, getattr(self.options, field.name)) for field in options_of(RunOptions)]
            words += [_typed_again(field, value, str(value)) for field, value in own if field.name in self.given]
        return " ".join(words) + source


def signature(function: Callable[..., Any], settings: type[Settings]) -> Callable[..., Any]:
    """Give a function of ``(ctx, **values)`` the signature that Typer reads: the settings, then the run options."""
    drawn = getattr(settings, "most_seeds", 2) > 1  # where nothing is drawn by chance, nobody needs the seeds
    first = [*settings.first, *(name for name in FIRST if drawn or name not in ("seed", "seeds"))]

    def place(field: dataclasses.Field[Any]) -> tuple[bool, int]:
        return not field.metadata["argument"], first.index(field.name) if field.name in first else len(first)

    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_annotation(field, None if field.name in first else "More options"),
        )
        for field in sorted([*options_of(settings), *options_of(RunOptions)], key=place)
    ]
    ctx = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    made = inspect.Signature([ctx, *parameters])
    function.__signature__ = made  # type: ignore[attr-defined]
    function.__annotations__ = {name: each.annotation for name, each in made.parameters.items()}
    return function


def chosen(ctx: typer.Context, values: dict[str, Any], settings: type[Settings]) -> Chosen:
    """Return what was typed as settings and options, both checked."""
    own, ours = options_of(settings), options_of(RunOptions)
    options = RunOptions(**{field.name: values[field.name] for field in ours})
    taken = {field.name: values[field.name] for field in own}
    for field in own:
        if field.metadata["from_stdin"] and taken[field.name] == "-":
            taken[field.name] = _standard_input(field.name)
    given = [field.name for field in (*own, *ours) if typed(ctx, field.name) or field.metadata["argument"]]
    return Chosen(settings(**taken), options, given)


def typed(ctx: typer.Context, parameter: str) -> bool:
    """Return whether a parameter was given on the command line."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _typed_again(field: dataclasses.Field[Any], value: Any, spelled: str) -> str:
    """Return an option or argument as a shell takes it."""
    if field.type is bool:
        return flag(field.name) if value else f"--no-{field.name}"
    word = shell_word(spelled)
    return word if field.metadata["argument"] else f"{flag(field.name)} {word}"


def _annotation(field: dataclasses.Field[Any], panel: str | None) -> Any:
    """Return a field as a Typer option or argument: its spelling, range and help, in a panel, and what completes it."""
    data, name, completed = field.metadata, flag(field.name), _completed(field)
    text = data["help"] + (f"  One of: {', '.join(data['choices'])}." if data["choices"] else "")
    if ends := [f"{end.removeprefix('help.')} {bound:,}" for end, bound in _ends(data).items()]:
        text += f"  ({' '.join(ends)})"
    HELP[text] = data
    if data["argument"]:
        return Annotated[field.type, argument(text, field.name.upper(), completed)]
    both = field.default is True or (field.type is bool and data["presets"])
    by_preset = ", ".join(f"{preset} {_spelled(field, value)}" for preset, value in data["presets"].items())
    option = typer.Option(
        f"{name}/--no-{field.name}" if both else name,
        help=text,
        rich_help_panel=panel,
        autocompletion=completed,
        show_default=by_preset or field.default not in ("", None),
        envvar=data["variable"] or None,
        show_envvar=True,
    )
    return Annotated[field.type, option]


def _spelled(field: dataclasses.Field[Any], value: Any) -> str:
    """Return a default as it would be typed."""
    return _typed_again(field, value, "") if isinstance(value, bool) else str(value)


def _completed(field: dataclasses.Field[Any]) -> Callable[[str], list[str]] | None:
    """Return what completes an option in a shell, which knows nothing but files where that is nothing."""
    if field.name in ("checkpoint", "resume"):
        return completing(lambda: ["auto", *runs()] if field.name == "resume" else runs())
    names = field.metadata["choices"] or field.metadata["words"]
    return completing(lambda: names) if names else None


def _ends(data: Mapping[str, Any]) -> dict[str, float]:
    """Return an option's range for its help, by message; the settings check it, and their message names it too."""
    ends = {"help.from": data["low"], "help.above": data["above"], "help.to": data["high"], "help.below": data["below"]}
    return {end: bound for end, bound in ends.items() if bound is not None and bound < 2**40}


def help_of(text: str) -> Text:
    """Return an option's help as a message, for other languages; what is no option's stays as it is.

    Only who asks for it pays: the messages take longer to read than all options to make.
    """
    if (data := HELP.get(text)) is None:
        return text
    said = [say(end, bound=bound) for end, bound in _ends(data).items()]
    between = say("help.range", ends=said) if said else ""
    choices = say("help.one_of", choices=list(data["choices"])) if data["choices"] else ""
    return say("help.option", what=data["help"], choices=choices, between=between)


def _type_in_help(option: TyperOption, ctx: Any) -> str:
    """Return what stands beside an option in its help: the kind of value, and nothing beside a flag."""
    return "" if option.is_flag else option.metavar or option.display_type(ctx)


TyperOption.display_type_rich = _type_in_help  # type: ignore[assignment]  # Typer says <bool> of every flag


def prepare_help(command: Any, language: Language) -> None:
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


def _standard_input(name: str) -> str:
    if sys.stdin is None:
        raise TextError(f"{flag(name)} -: there is no standard input; give the text itself, or a file with < FILE")
    data = sys.stdin.buffer.read(LONGEST_INPUT + 1)
    if len(data) > LONGEST_INPUT:
        raise TextError(f"standard input: more than {LONGEST_INPUT // 10**6} MB; give a shorter text")
    return decoded(data, "standard input")


def decoded(data: bytes, where: str) -> str:
    """Return bytes as text; ``where`` they stand is said of those that are not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{where}: not UTF-8 at byte {error.start}; convert it first") from error
