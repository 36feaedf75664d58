"""From a Record to the files of its log entry: one Markdown page and its pictures.

Pure functions: the same record gives the same bytes, today and in a year.  The page reads Why, How,
Conditions, Results, Verdicts, Counted again, Reproduce, Environment, Notes.  The region between the two notes markers
belongs to the human and is carried over from the page that stands there.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmlab.claims import findings
from llmlab.report.colours import THEMES
from llmlab.report.escape import md_block, md_fence, md_line, md_text
from llmlab.report.figure import svg
from llmlab.report.format import cell, is_text, several
from llmlab.report.language import ENGLISH, Language
from llmlab.report.messages import Message, say, worded
from llmlab.report.record import Record
from llmlab.report.result import Column, Figure, Table

PAGE = "entry.md"
NOTES_BEGIN = "<!-- notes:begin (yours: what stands between these two lines is never overwritten) -->"
NOTES_END = "<!-- notes:end -->"
TITLED = {
    ("freeze", "embedding"): "title.embedding_frozen",
    ("freeze", "linear"): "title.linear_frozen",
    ("optimizer", "sgd"): "title.sgd",
    ("optimizer", "adamw"): "title.adamw",
    ("data", "wikitext-2"): "title.wikitext",
    ("data", "dailydialog"): "title.dailydialog",
    ("data", "ultrachat"): "title.ultrachat",
    ("preset", "original"): "title.original",
    ("preset", "advanced"): "title.advanced",
    ("preset", "modern"): "title.modern",
    ("model", "tiny-gpt2"): "title.tiny_gpt2",
    ("model", "gru"): "title.gru",
    ("peers", True): "title.peers",
    ("stack", "residual"): "title.residual",
    ("status", "interrupted"): "title.interrupted",
    ("status", "diverged"): "title.diverged",
}
"""What a title may say of settings that are words: only what stands here."""

DEPTHS = re.compile(r"[0-9]{1,2}(,[0-9]{1,2}){0,20}")
ABLATED = re.compile(r"(block|layers|noise|reading|wiring)(,(block|layers|noise|reading|wiring)){0,4}")
FOCUS = re.compile(r"[A-Za-z0-9]")
MOST_NAMED = 2
"""A title names this many refuted claims; of more it gives the number."""

NO_NOTES = "*Nothing yet.*"
NO_NAMES: Mapping[str, str] = {}


class NotesLost(ValueError):  # noqa: N818 - says what would happen, and does not let it
    """A page's notes markers are damaged, so its notes cannot be told from the rest."""


def files(
    record: Record,
    old_page: str | None = None,
    language: Language = ENGLISH,
    names: Mapping[str, str] = NO_NAMES,
) -> dict[str, str]:
    """Return every file of an entry by name, the record itself among them.

    Args:
        record: the truth.
        old_page: the page that stands there, whose notes are kept.
        language: of the page and the pictures.
        names: the folders of entries by id; a record's predecessors and its successor are linked if they are there.

    Raises:
        NotesLost: the old page has no pair of notes markers.
    """
    drawn = {
        _picture(figure, theme): svg(figure, theme, language) for figure in record.result.figures for theme in THEMES
    }
    return {"record.json": record.json(), PAGE: page(record, old_page, language, names), **drawn}


def page(
    record: Record,
    old_page: str | None = None,
    language: Language = ENGLISH,
    names: Mapping[str, str] = NO_NAMES,
) -> str:
    """Return the entry as Markdown; see ``files``."""
    notes = notes_of(old_page) if old_page is not None else md_block(record.note) or NO_NOTES
    notes = language.say(notes) if notes == NO_NOTES else notes
    head = "\n".join([*_front_matter(record, language), *_body(language.record(record), language, names)])
    return "\n".join([head, NOTES_BEGIN, "", notes, "", NOTES_END, ""])


def notes_of(page: str) -> str:
    """Return what a human wrote between the markers.

    Raises:
        NotesLost: the markers are not both there, in order.
    """
    begin, end = page.find("\n<!-- notes:begin"), page.rfind(NOTES_END)
    start = page.find("\n", begin + 1)
    if begin < 0 or end < 0 or start < 0 or start > end:
        raise NotesLost("its notes markers are missing or out of order")
    return page[start:end].strip("\n")


def title(record: Record, language: Language = ENGLISH) -> str:
    """Return the entry's title, made only of names and numbers of ours: it appears unescaped in menus."""
    settings, status = record.result.settings, record.result.status
    parts = [say(key) for (name, value), key in TITLED.items() if settings.get(name) == value]
    parts += [*_sizes(settings), *_refuted(record)]
    parts += [say(TITLED["status", status])] if status != "complete" else []
    parts += [say("title.superseded")] if record.superseded_by else []
    when = f"{record.created[:10]} {record.created[11:16]}"
    return f"{record.result.experiment}{''.join(map(language.say, parts))}{language.say(', ')}{when}"


def _sizes(settings: dict[str, Any]) -> Iterator[Message]:
    """Yield what a title says of settings that are numbers, or lists of names of ours."""
    numbers = {name: value for name, value in settings.items() if type(value) is int}
    words = {name: str(settings.get(name, "")) for name in ("layers", "ablate", "focus")}
    if ABLATED.fullmatch(words["ablate"]):
        yield say("title.ablating", parts=words["ablate"].replace(",", " + "))
    if FOCUS.fullmatch(words["focus"]):
        yield say("title.focus", token=words["focus"])
    if "dim" in numbers:
        yield say("title.dim", dim=numbers["dim"])
    if DEPTHS.fullmatch(words["layers"]):
        yield say("title.depth", layers=words["layers"])
    if "tokens" in numbers:
        yield say("title.tokens", tokens=numbers["tokens"])
    if "seeds" in numbers:
        yield say("title.seeds", seeds=numbers["seeds"])


def _refuted(record: Record) -> Iterator[Message]:
    claims = [finding.claim for finding in findings(record) if finding.verdict == "refuted"]
    if len(claims) > MOST_NAMED:
        yield say("title.refutes_many", claims=len(claims))
    elif len(claims) == MOST_NAMED:
        yield say("title.refutes_two", first=claims[0], second=claims[1])
    elif claims:
        yield say("title.refutes_one", claim=claims[0])


def _front_matter(record: Record, language: Language) -> Iterator[str]:
    verdicts = sorted({finding.verdict for finding in findings(record)})
    ends = ["superseded"] if record.superseded_by else []
    fields = {
        "title": title(record, language),
        "date": record.created,
        "slug": record.name,
        "categories": [record.result.experiment],
        "tags": [language.say(tag) for tag in (record.result.status, *ends, *verdicts)],
    }
    yield "---"
    for name, value in fields.items():
        # JSON is YAML; a date has to stand without quotes to be one.
        yield f"{name}: {value if name == 'date' else json.dumps(value)}"
    yield "---"


def _body(record: Record, language: Language, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the page's parts; the record's own words are in the language already."""
    result, word = record.result, language.say
    yield f"\n# {md_text(title(record, language))}\n"
    first, *others = [_line(sentence, language) for sentence in result.summary] or [""]
    yield from _superseded(record, first, language, names) if record.superseded_by else [first]
    yield "\n<!-- more -->\n"  # a list of entries shows no more of each
    yield "\n\n".join(others)
    if record.expectation:
        yield f"\n**{word(expected(record))}**\n\n{md_block(record.expectation)}"
    if record.supersedes:
        yield f"\n{word('Supersedes')} {word(', ').join(_linked(other, names) for other in record.supersedes)}"
    yield ""
    yield f"## {word('Why')}\n\n{_words(result.why, language)}\n"
    yield f"## {word('How')}\n\n{_words(result.how, language)}\n"
    yield f"## {word('Conditions')}\n"
    yield from _pairs("option", {name: _shown(value) for name, value in result.settings.items()}, language)
    yield f"\n## {word('Results')}\n"
    for part in result.parts():
        yield from _table(part, language) if isinstance(part, Table) else _pictures(part, language)
    if found := findings(record, language.code):
        yield f"## {word('Verdicts on claims of the original notes')}\n"
        rows = [[said.claim, said.statement, word(said.verdict), said.evidence] for said in found]
        columns = [Column(word(name), "text") for name in ("id", "claim", "verdict", "evidence")]
        yield from _grid(columns, [[_words(text, language) for text in row] for row in rows])
    yield from _amendments(record, language)
    yield f"\n## {word('Reproduce')}\n\n{md_fence(record.command, 'sh')}\n"
    yield f"## {word('Environment')}\n"
    yield from _pairs("what", {**record.environment, "seconds": f"{record.seconds:.2f}"}, language)
    yield f"\n## {word('Notes')}\n"


def expected(record: Record) -> str:
    """Return what an expectation is called: it is one only if nothing was known."""
    return "Written after a first look:" if record.expectation_after_look else "Expected beforehand:"


def _superseded(record: Record, first: str, language: Language, names: Mapping[str, str]) -> Iterator[str]:
    """Yield what stands at the head of a superseded entry, in lists too: its successor, and its first sentence folded.

    Folded parts are HTML without a blank line, which every Markdown takes as it is.
    """
    word = language.say
    successor = _linked(record.superseded_by, names)
    why = _words(worded(record, "superseded_why", language.code), language)
    yield f"**{word('Superseded by')} {successor}**: {why}\n"
    yield f"<details>\n<summary>{word('What it said')}</summary>\n<p>{first}</p>\n</details>"


def _linked(other: str, names: Mapping[str, str]) -> str:
    return f"[{md_text(other)}](../{names[other]}/{PAGE})" if other in names else md_text(other)


def _amendments(record: Record, language: Language) -> Iterator[str]:
    """Yield what was counted again, folded, with each old value beside the new one."""
    word, now = language.say, record.numbers()
    if record.amendments:
        yield f"\n## {word('Counted again')}\n"
    heads = "".join(f"<th>{word(name)}</th>" for name in ("number", "was", "is"))
    for amendment in record.amendments:
        yield "<details>"
        yield f"<summary>{amendment.date}: {_words(worded(amendment, 'why', language.code), language)}</summary>"
        yield f"<table>\n<tr>{heads}</tr>"
        for name, was in amendment.was.items():
            cells = "".join(f"<td>{md_text(text)}</td>" for text in (name, several(was), several(now[name])))
            yield f"<tr>{cells}</tr>"
        yield "</table>\n</details>\n"


def _table(table: Table, language: Language) -> Iterator[str]:
    yield f"### {md_text(table.title)}\n"
    cells = ([cell(value, column) for value, column in zip(row, table.columns, strict=True)] for row in table.rows)
    yield from _grid(table.columns, [[md_text(text) for text in row] for row in cells])
    yield f"\n{_line(table.caption, language)}\n"


def _words(text: str, language: Language) -> str:
    """Return a text of ours as Markdown; where it stayed English on another language's page, that is marked."""
    return f'<span lang="en">{md_text(text)}</span>' if language.is_foreign(text) else md_text(text)


def _line(text: str, language: Language) -> str:
    """Return the same where it begins a line."""
    return _words(text, language) if language.is_foreign(text) else md_line(text)


def _pictures(figure: Figure, language: Language) -> Iterator[str]:
    """Yield both pictures of a figure: the theme shows the one that fits (``#only-light``, ``#only-dark``)."""
    yield f"### {md_text(figure.title)}\n"
    for theme in THEMES:
        yield f"![{md_text(figure.caption)}]({_picture(figure, theme)}#only-{theme})"
    yield f"\n{_line(figure.caption, language)}\n"


def _picture(figure: Figure, theme: str) -> str:
    return f"{figure.name}-{theme}.svg"


def _pairs(name: str, values: dict[str, object], language: Language) -> Iterator[str]:
    columns = [Column(language.say(head), "text") for head in (name, "value")]
    yield from _grid(columns, [[md_text(key), md_text(str(value))] for key, value in values.items()])


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _grid(columns: list[Column], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(md_text(column.name) for column in columns) + " |"
    yield "|" + "|".join(" :--- " if is_text(column) else " ---: " for column in columns) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
