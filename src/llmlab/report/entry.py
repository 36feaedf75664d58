"""From a Record to the files of its log entry: one Markdown page and its pictures.

Pure functions: the same record gives the same bytes, today and in a year.  The page opens with what was found, what
was asked and expected, and one picture; all else is folded below.  The region between the two notes markers belongs to
the human and is carried over from the page that stands there.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from llmlab.claims import findings
from llmlab.report import screen
from llmlab.report.colours import THEMES
from llmlab.report.escape import html_text, md_block, md_fence, md_line, md_text, printable
from llmlab.report.figure import svg
from llmlab.report.format import is_text, several, texts
from llmlab.report.language import ENGLISH, Language
from llmlab.report.messages import worded
from llmlab.report.record import Record
from llmlab.report.result import Column, Figure, Result, Table

PAGE, CURVES = "entry.md", "curves.csv"
STEPS = ("epoch", "update", "updates")
"""What the curves of a training go along."""
NOTES_BEGIN = "<!-- notes:begin (yours: what stands between these two lines is never overwritten) -->"
NOTES_END = "<!-- notes:end -->"
NO_NOTES = "*Nothing yet.*"
NO_NAMES: Mapping[str, str] = {}


class NotesLost(ValueError):  # noqa: N818 - says what would happen, and does not let it
    """A page's notes markers are damaged, so its notes cannot be told from the rest."""


def files(
    record: Record, old_page: str | None = None, language: Language = ENGLISH, names: Mapping[str, str] = NO_NAMES
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
    figures, sheet = record.result.figures, curves(record.result)
    drawn = {f"{figure.name}-{theme}.svg": svg(figure, theme, language) for figure in figures for theme in THEMES}
    numbers = {CURVES: sheet} if sheet else {}
    return {"record.json": record.json(), PAGE: page(record, old_page, language, names), **numbers, **drawn}


def curves(result: Result) -> str:
    """Return the numbers of the curves of a run's training, one a row, as CSV; nothing where there is none.

    A sheet runs none of the words.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for figure in (each for each in result.figures if str(each.x_label) in STEPS):
        for mark in (each for each in figure.marks if each.kind == "line"):
            words = (printable(text) for text in (mark.legend or mark.role, figure.y_label))
            curve, measure = (re.sub(r"^(?=[=+@-])", "'", text) for text in words)
            for at, value in zip(mark.xs, mark.ys, strict=True):
                rows.writerow([figure.name, curve, str(figure.x_label), f"{at:.15g}", measure, value])
    return text.getvalue() and "figure,curve,along,at,measure,value\n" + text.getvalue()


def page(
    record: Record, old_page: str | None = None, language: Language = ENGLISH, names: Mapping[str, str] = NO_NAMES
) -> str:
    """Return the entry as Markdown; see ``files``."""
    notes = notes_of(old_page) if old_page is not None else md_block(record.note) or NO_NOTES
    notes = language.say(notes) if notes == NO_NOTES else notes
    head = [*_front_matter(record, language), *_body(record, language, names)]
    return "\n".join([*head, NOTES_BEGIN, "", notes, "", NOTES_END, ""])


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


def _front_matter(record: Record, language: Language) -> Iterator[str]:
    verdicts = sorted({finding.verdict for finding in findings(record)})
    ends = ["superseded"] if record.superseded_by else []
    fields = {
        "title": screen.title(record, language),
        "date": record.created,
        "slug": record.name,
        "categories": [record.result.experiment],
        "tags": [language.say(tag) for tag in (record.result.status, *ends, *verdicts)],
    }
    yield "---"
    for name, value in fields.items():
        # JSON is YAML, but for escapes of letters in two halves; a date has to stand without quotes to be one.
        yield f"{name}: {value if name == 'date' else json.dumps(value, ensure_ascii=False)}"
    yield "---"


def _body(record: Record, language: Language, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the page's parts."""
    result, word = language.result(record.result), language.say
    yield f"\n# {md_text(screen.title(record, language))}\n"
    first = _first_screen(record, result, language)
    if record.superseded_by:  # then its successor is what lists show of it
        why = _words(worded(record, "superseded_why", language.code), language)
        yield f"**{word('Superseded by')} {_linked(record.superseded_by, names)}**: {why}\n"
        first = _folded(word("What it said"), first)
    yield from first
    yield "\n<!-- more -->\n"  # a list of entries shows no more of each
    if record.supersedes:
        yield f"{word('Supersedes')} {word(', ').join(_linked(other, names) for other in record.supersedes)}\n"
    if record.rerun_of:
        yield f"{word('Rerun of')} {_linked(record.rerun_of, names)}\n"
    if proposal := screen.proposal(record, language):
        command, why = proposal
        yield f"**{word('Next')}**\n\n{_words(why, language, md_line)}\n\n{md_fence(command, 'sh')}\n"
    settings = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value
        for name, value in result.settings.items()
    }
    how = f"{_words(result.how, language, md_line)}\n"
    yield from _folded(word("How, and under which conditions"), [how, *_pairs(word("option"), settings, language)])
    yield from _folded(word("All tables and pictures"), _parts(record, result, language))
    if found := findings(record, language.code):
        rows = [[said.claim, said.statement, word(said.verdict), said.evidence] for said in found]
        columns = [Column(word(name), "text") for name in ("id", "claim", "verdict", "evidence")]
        grid = _grid(columns, [[_words(text, language) for text in row] for row in rows])
        yield from _folded(word("Verdicts on claims of the original notes"), grid)
    yield from _amendments(record, language)
    where = {**record.environment, "seconds": f"{record.seconds:.2f}"}
    again = f"{md_fence(record.command, 'sh')}\n"
    yield from _folded(word("Reproduce"), [again, *_pairs(word("what"), where, language)])
    yield f"\n## {word('Notes')}\n"


def _first_screen(record: Record, result: Result, language: Language) -> Iterator[str]:
    """Yield what was asked, expected and found, and the one picture.

    ``result`` is the record's in the language; findings are worked out from the messages of the record as it is.
    """
    word, told = language.say, screen.findings(record, language)
    facts = record.created[:10], screen.chapter(result.experiment, language), screen.conditions(record, language)
    yield f"*{md_text(' · '.join(filter(None, facts)))}*\n"
    yield '<div class="log-asked" markdown="1">\n'  # which lists of entries leave out
    yield f"**{word('Asked')}** {_words(result.why, language)}\n"
    if record.expectation:
        yield f"**{word(expected(record))}** {md_block(record.expectation)}\n"
    yield f"**{word('Found')}** " + "\n\n".join(_words(one, language, md_line) for one in told)
    yield "\n</div>\n"
    if figure := screen.picture(result):
        yield from _images(figure)


def expected(record: Record) -> str:
    """Return what an expectation is called: it is one only if nothing was known."""
    return "Written after a first look:" if record.expectation_after_look else "Expected beforehand:"


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a part of the page that opens on demand, without any script; Markdown is read inside it."""
    yield f'<details markdown="1">\n<summary>{html_text(title)}</summary>\n'
    yield from lines
    yield "\n</details>\n"


def _parts(record: Record, result: Result, language: Language) -> Iterator[str]:
    for part in result.parts():
        yield f"### {md_text(part.title)}\n"
        if isinstance(part, Table):
            yield from _grid(part.columns, [[md_text(text) for text in row] for row in texts(part)])
        else:
            yield from _images(part)
        yield f"\n{_words(part.caption, language, md_line)}\n"
    if curves(record.result):
        yield f"[{language.say('The curves as numbers')}]({CURVES})"


def _images(figure: Figure) -> Iterator[str]:
    """Yield both pictures of a figure: the theme shows the one that fits (``#only-light``, ``#only-dark``)."""
    for theme in THEMES:
        yield f"![{md_text(figure.caption)}]({figure.name}-{theme}.svg#only-{theme})"


def _linked(other: str, names: Mapping[str, str]) -> str:
    return f"[{md_text(other)}](../{names[other]}/{PAGE})" if other in names else md_text(other)


def _amendments(record: Record, language: Language) -> Iterator[str]:
    """Yield what was counted again, folded, with each old value beside the new one."""
    word, now = language.say, record.numbers()
    if record.amendments:
        yield f"\n**{word('Counted again')}**\n"
    heads = "".join(f"<th>{word(name)}</th>" for name in ("number", "was", "is"))
    for amendment in record.amendments:
        yield "<details>"
        yield f"<summary>{amendment.date}: {_words(worded(amendment, 'why', language.code), language)}</summary>"
        yield f"<table>\n<tr>{heads}</tr>"
        for name, was in amendment.was.items():
            cells = "".join(f"<td>{md_text(text)}</td>" for text in (name, several(was), several(now[name])))
            yield f"<tr>{cells}</tr>"
        yield "</table>\n</details>\n"


def _words(text: str, language: Language, escape: Callable[[str], str] = md_text) -> str:
    """Return a text of ours as Markdown; where it stayed English on another language's page, that is marked."""
    return f'<span lang="en">{md_text(text)}</span>' if language.is_foreign(text) else escape(text)


def _pairs(name: str, values: Mapping[str, object], language: Language) -> Iterator[str]:
    columns = [Column(head, "text") for head in (name, language.say("value"))]
    return _grid(columns, [[md_text(key), md_text(str(value))] for key, value in values.items()])


def _grid(columns: list[Column], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(md_text(column.name) for column in columns) + " |"
    yield "|" + "|".join(" :--- " if is_text(column) else " ---: " for column in columns) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
