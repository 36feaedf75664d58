"""The command ``llmlab exercise``: the questions of the chapters, and whether an answer is right."""

from typing import Annotated

import typer

from llmlab.cli.execute import import_with_torch
from llmlab.cli.output import Lang, argument, completing, show, spoken
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
    number: Annotated[str, argument("Number of an exercise.", "NUMBER", completing(_numbers))] = "",
    answer: Annotated[str, argument("Your answer.", "ANSWER")] = "",
    lang: Lang = "en",
) -> int:
    """Exercises of the chapters: list them, show one, check an answer (exit code 1: not right yet)."""
    from llmlab.exercises import COMPUTED, read
    from llmlab.report.folding import Words  # a line ends between words in Japanese, too

    said, exercises = spoken(lang), read()
    how = say("exercise.how", number=number or "NUMBER")
    if not number:
        columns = columns_of("exercise:token | chapter:token | question:text")
        rows: list[list[Cell]] = [[one.number, one.chapter, one.question[said.code]] for one in exercises.values()]
        show([Table("exercises", "Exercises", columns, rows, how)], said)
        return 0
    if number not in exercises:
        raise SettingError(f"exercise {number!r}: there is none; they are {', '.join(exercises)}")
    one, text = exercises[number], " ".join((answer, *context.args))
    first, then, right = one.question[said.code], said.say(how), True
    if text:
        given = one.number_of(text)
        if one.compute:
            import_with_torch(COMPUTED, threads=1)
        expected = one.answer()
        right, told = one.judged(given, expected)
        sign = say("exercise.right", answer=format(expected, one.show)) if right else say("exercise.wrong", answer=text)
        first, then = said.say(sign), told[said.code]
    terminal.show(Words(printable(first)), "", Words(printable(then)))
    return 0 if right else 1
