"""What a run found, in a screen: one picture, one table, a few sentences, and what to try next.

Which they are stands in ``shown/screens/<experiment>.toml``, as rules over the numbers of a record, and is worked out
whenever it is shown: mend a rule, and every title and every first screen of the log is right.

    [[found]]
    when = "setting_seeds == 1 and distance_after > distance_before"
    with.apart = "distance_after - distance_before"
    en = "{went_focus} and {went_next} moved apart by {apart:.2f}."
    ja = "…"

A rule may name metrics, settings as ``setting_<name>`` (of a list of whole numbers ``setting_<name>_least`` and
``setting_<name>_most`` too), and what stands in the record's own sentences, as ``<message>_<value>``.  It is silent
where one of them is missing.  The first that holds is the title.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from llmlab.claims.evaluate import Missing, names, value
from llmlab.report.escape import shell_word
from llmlab.report.language import ENGLISH, Language, language
from llmlab.report.messages import CODES, Message, Text, fill, group, say
from llmlab.report.record import Record
from llmlab.report.result import Cell, Column, Figure, Result, Table

Part = TypeVar("Part", Figure, Table)

MOST, MOST_MISSING = 3, 2
"""Sentences of a first screen, and how many of them say what is missing from the numbers."""

MISSING = "study."
"""How the keys of such messages begin."""

SAFE = re.compile(r"[\w .,+/→-]{1,24}")
"""Words of the user's that a title may hold: it appears unescaped in menus."""

NUMBERS = re.compile(r"[0-9]{1,4}(,[0-9]{1,4})*")
"""A setting that lists whole numbers, such as depths."""

LONGEST = 10
"""Signs of a bar."""

LONGEST_COMMAND = 240
"""Signs of a command that is proposed: who trains on a longer text knows how to type it."""

FOLLOW_UP = re.compile(r"llmlab baseline [a-z]+")
"""How a command begins that goes on from a checkpoint; its next word is which."""

LARGEST = 1e15
"""A sentence holds no larger number: one would be no finding but a line full of digits."""


@dataclass(frozen=True)
class Rule:
    """A sentence and when it is true; ``where`` are expressions for numbers that no metric has."""

    en: str
    ja: str
    when: str = "True"
    where: Mapping[str, str] = field(default_factory=dict)
    without: str = ""
    """A name, with holes as in a sentence, that must be missing: an earlier llmlab or this run did not measure it."""
    command: str = ""

    def said(self, known: Mapping[str, Any], code: str, template: str | None = None) -> str | None:
        """Return the sentence, or another template, with a run's numbers in it, or nothing where it does not hold."""
        template = getattr(self, code) if template is None else template
        numbers = {name: one for name, one in known.items() if not isinstance(one, Message | list)}
        try:
            if fill(self.without, known, code) in known or not value(self.when, numbers):
                return None
            more = {name: value(expression, numbers) for name, expression in self.where.items()}
            words = {name: language(code).say(one) for name, one in more.items() if isinstance(one, str)}
            text = fill(template, {**known, **more, **words}, code)
        except (Missing, KeyError, ValueError, TypeError, OverflowError):
            return None
        ours = any(template.startswith(f"{{{name}}}") for name in words)  # a token of the reader's stays as it is
        return text[:1].upper() + text[1:] if ours else text


@dataclass(frozen=True)
class Screen:
    """What an experiment's first screen shows, by name: the first figure and the first table that a run has.

    ``wide`` are the columns to show, if not all, ``narrow`` those where these are too wide, and ``rows`` how many rows.
    """

    title: Mapping[str, str]
    conditions: Mapping[str, str]
    figures: Sequence[str] = ()
    tables: Sequence[str] = ()
    wide: Sequence[str] = ()
    narrow: Sequence[str] = ()
    bars: str = ""
    """The column of shares that is drawn as bars beside the first, where there is room."""
    rows: int = 7
    of_first_start: Sequence[str] = ()
    """What shows the first of several starts alone, and says so."""
    found: Sequence[Rule] = ()
    next: Sequence[Rule] = ()


@cache
def of(experiment: str) -> Screen:
    """Return an experiment's first screen; one that is not ours has its own name and nothing else."""
    file = files("llmlab") / "shown" / "screens" / f"{experiment}.toml"
    if not file.is_file():
        return Screen(dict.fromkeys(CODES, experiment), dict.fromkeys(CODES, ""))
    data = tomllib.loads(file.read_text("utf-8"))
    for name in ("found", "next"):
        data[name] = [Rule(where=one.pop("with", {}), **one) for one in data[name]]
    return Screen(**data)


def findings(record: Record, language: Language = ENGLISH) -> list[str]:
    """Return what the run found, the title first; where no rule holds, what the run itself says in short.

    What is missing from a run's numbers, seeds that diverged or a run that was stopped, follows the title.
    """
    told, summary = [*_said(record.result, _known(record.result), language)], record.result.summary
    if not told:
        return [language.say(sentence) for sentence in summary[:MOST]]
    missing = [one for one in summary if isinstance(one, Message) and one.key.startswith(MISSING)]
    return [told[0], *map(language.say, missing[:MOST_MISSING]), *told[1:]][:MOST]


def title(record: Record, language: Language = ENGLISH) -> str:
    """Return the finding as the title of an entry: without its full stop, and with how the run ended, if early.

    Words that are not ours are left out if they could be more than words; where no rule holds, chapter and time stand.
    """
    result, ends = record.result, group("title", language.code)
    known = {name: _safe(one) for name, one in _known(result).items()}
    when = f"{chapter(result.experiment, language)}{language.say(', ')}{record.created[:16].replace('T', ' ')}"
    early, late = ends.get(result.status, ""), ends["superseded"] if record.superseded_by else ""
    return next(_said(result, known, language), when).rstrip(".。") + early + late


def _said(result: Result, known: Mapping[str, Any], language: Language) -> Iterator[str]:
    if result.status != "diverged":
        yield from filter(None, (rule.said(known, language.code) for rule in of(result.experiment).found))


def chapter(experiment: str, language: Language = ENGLISH) -> str:
    """Return what an experiment is called; one that we do not know goes by its own name."""
    return of(experiment).title[language.code]


def conditions(record: Record, language: Language = ENGLISH) -> str:
    """Return under which conditions it ran, in a few words."""
    told = of(record.result.experiment).conditions
    return Rule(told["en"], told["ja"]).said(_known(record.result), language.code) or ""


def picture(result: Result) -> Figure | None:
    """Return the one picture that shows what was found."""
    found = _first(result.figures, of(result.experiment).figures)
    return replace(found, title=_headed(result, found)) if found else None


def tables(result: Result) -> list[Table]:
    """Return the one table that decides with the columns that a wide console has room for, and with the few others.

    Before both comes the first with bars, where there are shares to draw.
    """
    one = of(result.experiment)
    found = _first(result.tables, one.tables)
    if not found:
        return []
    found = replace(found, title=_headed(result, found), rows=found.rows[: one.rows], caption="")
    whole, few = _with_columns(found, one.wide), _with_columns(found, one.narrow)
    at = next((at for at, column in enumerate(whole.columns) if one.bars and column.name == one.bars), None)
    if at is None:
        return [whole, few]
    rows = [[row[0], _bar(row[at]), *row[1:]] for row in whole.rows]
    barred = replace(whole, columns=[whole.columns[0], Column("", "text"), *whole.columns[1:]], rows=rows)
    return [barred, whole, few]


def _first(parts: list[Part], names: Sequence[str]) -> Part | None:
    return next((part for name in names for part in parts if part.name == name), None)


def of_first_start(result: Result, part: Figure | Table) -> bool:
    """Return whether a part shows the first of several starts alone."""
    return part.name in of(result.experiment).of_first_start and result.settings.get("seeds", 1) != 1


def _headed(result: Result, part: Figure | Table) -> Text:
    return say("first.start", title=part.title) if of_first_start(result, part) else part.title


def _with_columns(table: Table, names: Sequence[str]) -> Table:
    """Return a table with the columns of some names only; with all where it has none of them."""
    keep = [at for at, column in enumerate(table.columns) if str(column.name) in names] or range(len(table.columns))
    cells = [[row[at] for at in keep] for row in table.rows]
    return replace(table, columns=[table.columns[at] for at in keep], rows=cells)


def _bar(share: Cell) -> str:
    return "▇" * round(LONGEST * share) if isinstance(share, float) and 0 <= share <= 1 else ""


def proposal(record: Record, language: Language = ENGLISH, place: str = "") -> tuple[str, str] | None:
    """Return a command to go on with and what it would answer, the first that fits; nothing goes on from no numbers.

    ``place`` is the checkpoint to go on from, where a command without one would not find it.
    """
    known = {**_known(record.result), "command": record.command}
    for rule in of(record.result.experiment).next if record.result.status != "diverged" else ():
        line, why = rule.said(known, "en", rule.command), rule.said(known, language.code)
        if line and why is not None and len(line) <= LONGEST_COMMAND:
            return FOLLOW_UP.sub(lambda found: f"{found[0]} {shell_word(place)}", line) if place else line, why
    return None


def _known(result: Result) -> dict[str, Any]:
    """Return what rules may name."""
    captions: list[Text] = [part.caption for part in result.parts()]
    said = {
        f"{message.key.partition('.')[2]}_{name}": one
        for message in [*captions, *result.summary]
        if isinstance(message, Message)
        for name, one in message.values.items()
    }
    listed = {
        f"setting_{name}_{end}": pick(map(int, text.split(",")))
        for name, text in result.settings.items()
        if isinstance(text, str) and NUMBERS.fullmatch(text)
        for end, pick in (("least", min), ("most", max))
    }
    seeds, first = result.settings.get("seeds", 1), result.settings.get("seed", 0)
    which = say("first.seed", seed=first) if seeds == 1 else say("first.seeds", seeds=seeds)
    known = {**said, **listed, **names(result), "seeds": which}
    return {name: one for name, one in known.items() if not isinstance(one, int | float) or abs(one) < LARGEST}


def _safe(one: Any) -> Any:
    return "…" if isinstance(one, str) and not SAFE.fullmatch(one) else one
