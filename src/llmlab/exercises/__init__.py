"""The exercises of the chapters as data, and how an answer is read and judged.

``exercises.toml`` has questions, hints and explanations, English and Japanese side by side; ``computed`` has the
functions that compute what is asked for, and imports torch.
"""

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from unicodedata import normalize

from llmlab.claims.evaluate import value
from llmlab.errors import SettingError
from llmlab.report.result import Scalar

COMPUTED = "llmlab.exercises.computed"
ANSWER = re.compile(
    r"(?P<top>[-+]?(?:[1-9]\d{0,2}(?:,\d{3})+|\d*)(?:\.\d+)?(?:e[-+]?\d+)?)(?:/(?P<under>[1-9]\d*))?(?P<share>%?)",
    re.ASCII,
)
Said = dict[str, str]
"""A text by its language."""


@dataclass(frozen=True)
class Exercise:
    """One row: what is asked, and what computes it from what is ``given``: a function of ``computed``, or a sum.

    ``share``: the answer is a share, and per cent will do as well.  ``wrong`` are answers that are worth a word of
    their own: expressions over ``answer``, which is the right one, and what is given.  ``record`` is an entry of the
    log that the explanation goes by.
    """

    number: str
    chapter: str
    given: dict[str, Scalar]
    within: float
    show: str
    question: Said
    hint: Said
    why: Said
    compute: str = ""
    sum: str = ""
    wrong: list[Said] = field(default_factory=list)
    share: bool = False
    record: str = ""

    def answer(self) -> float:
        """Return what is asked for."""
        if self.sum:
            return float(value(self.sum, self.given) or 0)
        from llmlab.exercises import computed  # and torch with it

        return float(getattr(computed, self.compute)(**self.given))

    def number_of(self, text: str) -> float:
        """Return an answer as a number: ``0.4159``, ``1,426,152``, ``2e-6``, ``2/5``, and of a share also ``13.4 %``.

        Raises:
            SettingError: it is none.
        """
        found = ANSWER.fullmatch(normalize("NFKC", text).replace("−", "-").replace(" ", "").lower())
        if not found or not re.match(r"[-+]?\.?\d", found["top"]):
            raise SettingError(f"exercise {self.number}: {text!r} is no number; write it like 0.25, 1,000, 2e-6 or 1/4")
        if found["share"] and not self.share:
            raise SettingError(f"exercise {self.number}: {text!r} is a share, and none was asked for")
        number = float(found["top"].replace(",", "")) / float(found["under"] or 1)
        return number / 100 if found["share"] else number

    def judged(self, answer: float, expected: float) -> tuple[bool, Said]:
        """Return whether an answer is near enough, and what to say of it.

        Of a wrong one that is what was confused, if it can be seen, or else where to look.  Two digits are enough to
        see it by; a count is either the same or another one.
        """
        if self._is(answer, expected, self.within):
            return True, self.why
        for wrong in self.wrong:
            confused = float(value(wrong["is"], {"answer": expected, **self.given}) or 0)
            if self._is(answer, confused, abs(confused) / 30 if self.within else 0):
                return False, wrong
        return False, self.hint

    def _is(self, answer: float, wanted: float, within: float) -> bool:
        """Return whether an answer is a number; a share of 0.134 may also be called 13.4."""
        meant = (answer, answer / 100) if self.share else (answer,)
        return any(abs(each - wanted) <= within + 1e-9 * abs(wanted) for each in meant)


@cache
def read() -> dict[str, Exercise]:
    """Return the exercises by their numbers, in the order of the chapters."""
    rows = tomllib.loads((files("llmlab.exercises") / "exercises.toml").read_text("utf-8"))["exercise"]
    return {row["number"]: Exercise(**row) for row in rows}
