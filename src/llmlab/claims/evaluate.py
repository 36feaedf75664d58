"""Expressions of the ledger: sums and comparisons over a run's numbers, and the few functions they may call.

Rows are data, so an expression is given to simpleeval, which walks its syntax tree and knows arithmetic, comparisons
and the names that it is given; nothing of Python is reached.
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from string import Formatter
from typing import Any

from simpleeval import InvalidExpression, NameNotDefined, SimpleEval

from llmlab.claims import counts
from llmlab.measure.stats import LEVEL, t_distribution, t_quantile
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


def p_value(mean: float, low: float, high: float, count: int) -> float:
    """Return the p-value of "the metric is 0 in truth" from its mean, 95 % interval and number of samples.

    The inverse of ``mean_interval``: Student's t is the mean over its standard error, half the interval over the
    quantile.  Samples that are all equal have no spread: p is then 0, or 1 if they are 0.
    """
    half = (high - low) / 2
    if half <= 0 or count < 2:
        return 1.0 if mean == 0 or count < 2 else 0.0
    t = abs(mean) * t_quantile((1 + LEVEL) / 2, count - 1) / half
    return 2 * (1 - t_distribution(t, count - 1))


def holm(first: float, *others: float) -> float:
    """Return the first p-value corrected for standing among the others (Holm 1979).

    The k-th smallest of m p-values is multiplied by m - k + 1, and no corrected one is below a smaller one's: below
    0.05 the comparison decides, with a chance of 5 % at most that any of the family does so wrongly.
    """
    ordered = sorted((first, *others))
    count = len(ordered)
    return min(1.0, max((count - rank) * p for rank, p in enumerate(ordered) if p <= first))


def functions(known: Mapping[str, Scalar]) -> dict[str, Callable[..., float]]:
    """Return what an expression over a run's numbers may call.

    Where any one of several comparisons decides, they are corrected for their number: ``some_above("a", "b", "c")``, or
    ``holm(p("a"), p("b"), p("c")) < 0.05`` of a among the three.  Where all of them have to hold, no correction is
    needed.
    """

    def metric(*parts: Scalar) -> float:
        """Return the metric whose name is put together from parts: ``metric("val_ppl_L", setting_layers_most)``."""
        name = "".join(map(str, parts))
        found = known.get(name)
        if isinstance(found, str) or found is None:
            raise Missing(name)
        return float(found)

    def p(name: str) -> float:
        mean, low, high = (metric(name, end) for end in ("", "_low", "_high"))
        return p_value(mean, low, high, round(metric(f"{name}_n" if f"{name}_n" in known else "setting_seeds")))

    def some(sign: int, *names: str) -> bool:
        each = [p(name) for name in names]
        corrected = [holm(one, *each[:here], *each[here + 1 :]) for here, one in enumerate(each)]
        return any(one < 0.05 and sign * metric(name) > 0 for name, one in zip(names, corrected, strict=True))

    plain = (abs, min, max, round, math.exp, math.log, math.sqrt, hours, holm, metric, p, *counts.FORMULAS)
    return {
        **{function.__name__: function for function in plain},
        "some_above": partial(some, 1),
        "some_below": partial(some, -1),
    }


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
        found: Scalar = SimpleEval(functions=functions(known or {}), names=known or {}).eval(expression)
    except NameNotDefined as error:
        raise Missing(error.name) from error
    except (InvalidExpression, SyntaxError, TypeError, ValueError, ArithmeticError) as error:
        if known and isinstance(error, TypeError):  # words where a run should have a number
            raise Missing(expression) from error
        raise ValueError(f"{expression}: {error}") from error
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError(f"{expression}: no finite value")
    return found


class Evidence(Formatter):
    """``str.format`` with one format more, for what rounding decides: ``{x:<1e-6}`` shows no digits below the bound."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a number in a format."""
        if not format_spec.startswith("<"):
            return str(super().format_field(value, format_spec))
        bound = format_spec.removeprefix("<")
        return f"< {bound}" if abs(value) < float(bound) else format(value, ".1e")


def filled(template: str, known: Mapping[str, Scalar]) -> str:
    """Return a sentence with a run's numbers in it.

    Raises:
        Missing: it names a number that is not there, or that is none.
    """
    try:
        return Evidence().vformat(template, (), known)
    except (KeyError, TypeError, ValueError) as error:
        raise Missing(template) from error
