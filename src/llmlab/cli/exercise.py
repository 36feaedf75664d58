"""The command ``llmlab exercise``: the questions of the chapters, and whether an answer is right.

Leaves out the questions, and what is computed: ``llmlab.exercises``.
"""

import importlib
from typing import Annotated

import typer

from llmlab.cli.execute import import_with_torch
from llmlab.cli.output import Lang, completing, show, spoken
from llmlab.errors import SettingError
from llmlab.report import terminal
from llmlab.report.escape import printable
from llmlab.report.messages import say
from llmlab.report.result import Cell, Table, columns_of

AS_TYPED = {"ignore_unknown_options": True, "allow_extra_args": True}
"""An answer may begin with a minus and have blanks: -0.05, 13.4 %."""


def _numbers() -> list[str]:
    from llmlab.exercises import read

    return list(read())


def exercise(
    context: typer.Context,
    number: Annotated[
        str,
        typer.Argument(
            help="Number of an exercise.", metavar="NUMBER", show_default=False, autocompletion=completing(_numbers)
        ),
    ] = "",
    answer: Annotated[str, typer.Argument(help="Your answer.", metavar="ANSWER", show_default=False)] = "",
    lang: Lang = "en",
) -> int:
    """Exercises of the chapters: list them, show one, check an answer (exit code 1: not right yet)."""
    from llmlab.exercises import COMPUTED, read

    said, exercises = spoken(lang), read()
    if not number:
        columns = columns_of("exercise:token | chapter:token | question:text")
        rows: list[list[Cell]] = [[one.number, one.chapter, one.question[said.code]] for one in exercises.values()]
        show([Table("exercises", "Exercises", columns, rows, say("exercise.how", number="NUMBER"))], said)
        return 0
    one = exercises.get(number)
    if one is None:
        raise SettingError(f"exercise {number!r}: there is none; they are {', '.join(exercises)}")
    text = " ".join((answer, *context.args))
    if not text:
        _tell(one.question[said.code], said.say(say("exercise.how", number=number)))
        return 0
    given = one.number_of(text)
    if one.compute:
        import_with_torch(COMPUTED)
        importlib.import_module("llmlab.lab.device").begin(1)
    expected = one.answer()
    right = one.is_right(given, expected)
    told = say("exercise.right", answer=format(expected, one.show)) if right else say("exercise.wrong", answer=text)
    _tell(said.say(told), (one.why if right else one.hint_for(given, expected))[said.code])
    return 0 if right else 1


def _tell(first: str, then: str) -> None:
    """Print two paragraphs, whose lines end between words in Japanese, too."""
    from llmlab.report.folding import Words

    terminal.show(Words(printable(first)), "", Words(printable(then)))
