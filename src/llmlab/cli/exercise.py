"""The command ``llmlab exercise``: the questions of the chapters, and whether an answer is right."""

from typing import Annotated

import typer

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
    from llmlab.exercises import read
    from llmlab.report.folding import Words  # a line ends between words in Japanese, too

    said, exercises = spoken(lang), read()
    how = say("exercise.how", number=number or "NUMBER")
    if not number:
        rows: list[list[Cell]] = [[one.number, one.chapter, one.question[said.code]] for one in exercises.values()]
        columns = columns_of("exercise:token | chapter:token | question:text")
        show([Table("exercises", "Exercises", columns, rows, how)], said)
        return 0
    one = exercises.get(number)
    if one is None:
        raise SettingError(f"exercise {number!r}: there is none; they are {', '.join(exercises)}")
    text = " ".join((answer, *context.args))
    first, then, right = one.question[said.code], said.say(how), True
    if text:
        right, told = one.judged(one.number_of(text))
        shown = (
            say("exercise.right", answer=format(one.answer(), one.show))
            if right
            else say("exercise.wrong", answer=text)
        )
        first, then = said.say(shown), told[said.code]
    terminal.show(Words(printable(first)), "", Words(printable(then)))
    return 0 if right else 1
