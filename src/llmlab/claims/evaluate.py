"""Expressions of the ledger: sums and comparisons over a run's numbers, and the few functions they may call.

Rows are data, so an expression is given to simpleeval, which walks its syntax tree and knows arithmetic, comparisons
and the names that it is given; nothing of Python is reached.

Leaves out what an expression's value means: ``verdicts``.
"""

import math
from collections.abc import Callable
from datetime import datetime

from simpleeval import InvalidExpression, NameNotDefined, SimpleEval

from llmlab.claims import counts
from llmlab.report.result import Result, Scalar


class Missing(LookupError):  # noqa: N818 - no failure: the run does not have the number, and another may
    """An expression asks for a number that is not there, or that is no number."""


def hours(start: str, end: str) -> float:
    """Return the hours between two times of one place.

    Example:
        >>> hours("2025-11-18 00:12", "2025-11-18 17:42")
        17.5
    """
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 3600


FUNCTIONS: dict[str, Callable[..., float]] = {
    **{function.__name__: function for function in (abs, min, max, round, math.exp, math.log, math.sqrt, hours)},
    **{function.__name__: function for function in counts.FORMULAS},
}
"""What an expression may call."""


def names(result: Result) -> dict[str, Scalar]:
    """Return what expressions over a run may name: its metrics, and its settings as ``setting_<name>``."""
    settings = {f"setting_{name}": value for name, value in result.settings.items()}
    return {name: value for name, value in (settings | result.metrics).items() if value is not None}


def value(expression: str, known: dict[str, Scalar] | None = None) -> Scalar:
    """Return the value of an expression.

    Raises:
        Missing: it names a number that is not there, or that is none.
        ValueError: it cannot be read, or has no finite value.
    """
    try:
        found: Scalar = SimpleEval(functions=FUNCTIONS, names=known or {}).eval(expression)
    except NameNotDefined as error:
        raise Missing(error.name) from error
    except (InvalidExpression, SyntaxError, TypeError, ValueError, ArithmeticError) as error:
        if known and isinstance(error, TypeError):  # words where a run should have a number
            raise Missing(expression) from error
        raise ValueError(f"{expression}: {error}") from error
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{expression}: no finite value")
    return found


def filled(template: str, known: dict[str, Scalar]) -> str:
    """Return a sentence with a run's numbers in it.

    Raises:
        Missing: it names a number that is not there, or that is none.
    """
    try:
        return template.format(**known)
    except (KeyError, ValueError) as error:
        raise Missing(template) from error
