"""What a run says, in another language than the one it was written in.

Records hold English sentences with numbers in them, and stay as they are.  A catalogue, a folder of TOML files beside
this one, maps English to the other language, whole texts or patterns with holes:

    "loss" = "…"
    "{n} parameter{s}, trained on {t}, after {w}" = "…{w}…{n}…{t}…"

A hole whose name begins with ``n`` holds a number, with ``w`` a word that stays as it is (a token, a name), with ``x``
any words that stay, with ``t`` words that have to be in the catalogue themselves, and with ``l`` a list of such words
with a number each and no semicolon; ``{s}`` is the English plural and goes away.  What a catalogue does
not have is tried part by part, at full stops and at semicolons, and else stays English as a whole: no part is half
translated.

Leaves out help, errors and progress, which are English, and the JSON document, which is nobody's language.
"""

import re
import tomllib
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files

from llmlab.report.folding import is_wide
from llmlab.report.format import cell
from llmlab.report.messages import Message
from llmlab.report.record import Record
from llmlab.report.result import TO_ROUNDING, Cell, Column, Figure, Mark, Result, Table

HOLE = re.compile(r"\{(?P<name>[lntwx]\d*|s)\}")
NUMBER = r"[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"
FORMS = {"n": NUMBER, "w": r"\S+?", "l": "[^;]+?"}
LISTED = re.compile(rf"(?P<name>.+?)(?: has)?(?P<colon>:?) (?P<number>{NUMBER}%?)(?:, |$)")
SENTENCE = re.compile(r"(?<=[.!?]) +(?=[^a-z ])")
WORDS = re.compile(r"[A-Za-z]{2,}[^A-Za-z]* [^A-Za-z]*[A-Za-z]{2,}")
LONGEST, MOST_PARTS, JOINTS = 800, 40, (": ", "; ", " → ")
"""A text that is longer or has more parts is nobody's sentence of ours, and would take long to look for."""


@dataclass(frozen=True)
class Pattern:
    """An English sentence with holes, and its translation with the same ones."""

    english: str
    other: str

    @cached_property
    def pieces(self) -> list[str]:
        """What stands between the holes: a text without them is not meant, which is quick to see."""
        return HOLE.split(self.english)[::2]

    @cached_property
    def form(self) -> re.Pattern[str]:
        """The sentence as a regular expression with a group per hole."""
        names = HOLE.findall(self.english)
        groups = ["s?" if name == "s" else f"(?P<{name}>{FORMS.get(name[0], '.+?')})" for name in names]
        pairs = zip(self.pieces, [*groups, ""], strict=True)
        return re.compile("".join(re.escape(piece) + group for piece, group in pairs), re.DOTALL)

    def filled(self, held: dict[str, str | None]) -> str:
        """Return the translation with its holes filled."""
        return HOLE.sub(lambda hole: str(held.get(hole["name"], "")), self.other)


@dataclass(frozen=True)
class Language:
    """A language and what it says for English words and sentences; English itself has an empty catalogue."""

    code: str
    catalogue: dict[str, str] = field(default_factory=dict)

    @cached_property
    def patterns(self) -> list[Pattern]:
        """The texts with holes, in the order of the catalogue: the first that fits is taken."""
        return [Pattern(english, other) for english, other in self.catalogue.items() if HOLE.search(english)]

    @cached_property
    def _said(self) -> dict[str, str | None]:
        return {}

    def say(self, text: str) -> str:
        """Return a text of ours in this language, or as it is where the catalogue does not have it."""
        return self.translation(text) or text

    def translation(self, text: str) -> str | None:
        """Return a text of ours in this language, or nothing."""
        if isinstance(text, Message):
            return text.spoken(self.code, self.say)
        if not self.catalogue or len(text) > LONGEST or max(map(text.count, JOINTS)) > MOST_PARTS:
            return None
        if text not in self._said:
            self._said[text] = self.catalogue.get(text) or self._by_pattern(text) or self._by_part(text)
        return self._said[text]

    def _by_pattern(self, text: str) -> str | None:
        for pattern in self.patterns:
            if all(piece in text for piece in pattern.pieces) and (match := pattern.form.fullmatch(text)):
                held = match.groupdict()
                told = {name: self._held(name[0], words) for name, words in held.items()}
                if all(told.values()):
                    return pattern.filled(told)
        return None

    def _held(self, kind: str, words: str) -> str | None:
        """Return what stands in a hole, or nothing where it cannot be said."""
        if kind == "l":
            items = [
                (self.translation(item["name"]), f"{item['colon']} {item['number']}") for item in LISTED.finditer(words)
            ]
            whole = not LISTED.sub("", words) and all(name for name, _ in items)
            return self.say(", ").join(f"{name}{number}" for name, number in items) if whole else None
        return self.translation(words) if kind == "t" else words

    def _by_part(self, text: str) -> str | None:
        """Return the translations of a text's sentences, or of what semicolons divide, joined."""
        for parts, joint in ((SENTENCE.split(text.strip()), ""), (text.split("; "), "；")):
            if len(parts) > 1 and all(told := [self.translation(part) for part in parts]):
                return joint.join(map(str, told))
        return None

    def is_foreign(self, text: str) -> bool:
        """Return whether a text that this language has to show is an English one: words, and all of them Latin."""
        return self.code != "en" and not is_wide(text) and bool(WORDS.search(text))

    def record(self, record: Record) -> Record:
        """Return a record with everything that a person reads of it in this language."""
        return replace(record, result=self.result(record.result)) if self.catalogue else record

    def result(self, result: Result) -> Result:
        """Return a result likewise; its numbers, names and verdicts are no language's and stay."""
        return replace(
            result,
            why=self.say(result.why),
            how=self.say(result.how),
            summary=[self.say(sentence) for sentence in result.summary],
            tables=[self.table(table) for table in result.tables],
            figures=[self.figure(figure) for figure in result.figures],
        )

    def table(self, table: Table) -> Table:
        """Return a table likewise; a token is the reader's own word and stays."""
        rows = [
            [self.cell(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows
        ]
        columns = [Column(self.say(column.name), column.kind, column.digits) for column in table.columns]
        return replace(table, title=self.say(table.title), columns=columns, rows=rows, caption=self.say(table.caption))

    def cell(self, value: Cell, column: Column) -> Cell:
        """Return a cell likewise: its words, or what stands in place of a number that only rounding decides."""
        if column.kind == "token":
            return value
        told = cell(value, column)
        return self.say(told) if isinstance(value, str) or told == TO_ROUNDING else value

    def figure(self, figure: Figure) -> Figure:
        """Return a figure likewise; labels inside it are tokens and stay."""
        return replace(
            figure,
            title=self.say(figure.title),
            caption=self.say(figure.caption),
            x_label=self.say(figure.x_label),
            y_label=self.say(figure.y_label),
            marks=[self.mark(mark) for mark in figure.marks],
        )

    def mark(self, mark: Mark) -> Mark:
        """Return a mark with its line in the legend likewise."""
        return replace(mark, legend=self.say(mark.legend))


ENGLISH = Language("en")
CODES = ("en", "ja")


@cache
def language(code: str) -> Language:
    """Return a language by its code.

    Raises:
        KeyError: there is no such language.
    """
    if code not in CODES:
        raise KeyError(code)
    if code == "en":
        return ENGLISH
    catalogue: dict[str, str] = {}
    for file in sorted((files("llmlab.report.language") / code).iterdir(), key=lambda file: file.name):
        catalogue |= tomllib.loads(file.read_text("utf-8"))
    return Language(code, catalogue)
