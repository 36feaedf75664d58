"""From a Result to what the terminal shows: rich tables, pictures, findings, and the result in short.

Fits forty columns: words fold, numbers do not, and a table that cannot fit is turned into one block of
``name value`` lines per row.  No markup is ever parsed, so a token like ``[red]`` is shown, not obeyed.
"""

from collections.abc import Iterator
from dataclasses import replace

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from llmlab.claims import findings
from llmlab.report import screen
from llmlab.report.escape import printable
from llmlab.report.folding import Words, folded, is_wide, phrases
from llmlab.report.format import is_text, several, texts
from llmlab.report.language import ENGLISH, Language
from llmlab.report.messages import say, worded
from llmlab.report.plot import legend, plot
from llmlab.report.record import Record
from llmlab.report.result import Cell, Column, Figure, Finding, Table

VERDICT_STYLE = {"supported": "green", "refuted": "red", "refined": "cyan"}
UNDECIDED = "inconclusive"
NARROW = 60
LINES = (39, 59)
"""Of a first screen, without the line that names the entry; fewer columns may take more of them."""

LOWEST, HIGHEST = 9, 18
"""Lines of its picture."""

LOWEST_FRAME = 7
"""Lines of a picture that is redrawn: on a low terminal it is that, or none."""

GAP = 2
"""Blank columns between two columns of a table."""


def first_screen(
    record: Record, console: Console, language: Language = ENGLISH, lines: int = 0, place: str = ""
) -> Iterator[RenderableType]:
    """Yield what a run found, in a screen: the picture, the table that decides, a few sentences, and what is next.

    The picture is as high as the rest leaves room for, and ``lines`` that come below.  ``place`` is the checkpoint that
    the next step has to name.
    """
    yield _ends(screen.chapter(record.result.experiment, language), screen.conditions(record, language), console.width)
    below = [*_deciding(record, console, language), Text(), *_found(record, language)]
    below += _next(record, console, language, place)
    if figure := screen.picture(record.result):
        figure = language.figure(figure)
        head = [_words(figure.title, "bold")] if screen.of_first_start(record.result, figure) else []
        signs = _words(legend(figure, language), "dim")
        used = sum(height(part, console) for part in (*head, *below, signs)) + 2 + lines
        most = min(max(LINES[console.width < NARROW] - used, LOWEST), HIGHEST)
        yield Group(Text(), *head, _drawn(figure, console, console.width, most), signs)
    yield Group(*below)  # alone, rich would make plain Text of Words, and end lines of Japanese anywhere


def report(record: Record, console: Console, language: Language = ENGLISH, place: str = "") -> Iterator[RenderableType]:
    """Yield everything a run shows, in reading order: tables with their pictures, findings, the result in short."""
    result, say = language.result(record.result), language.say
    yield Group(_words(f"{result.experiment}: {result.why}", "bold"))  # alone, rich would make plain Text of it
    for part in result.parts():
        if isinstance(part, Table):
            yield table_view(part, console)
        else:
            shown = Group(_drawn(part, console, console.width), _words(legend(part, language)))
            yield _part(part.title, shown, part.caption)
    if found := findings(record, language.code):
        yield findings_view(found, language)
    if record.amendments:
        yield _counted_again(record, console, language)
    short = map(_words, result.summary)
    yield _part(say("In short"), Group(*_expected(record, language), *short))
    if record.note:
        yield _part(say("Note"), Group(*map(_words, record.note.splitlines())))
    if following := [*_next(record, console, language, place)]:
        yield Group(Text(), *following)


def _deciding(record: Record, console: Console, language: Language) -> Iterator[RenderableType]:
    """Yield the table that decides, without its caption: with all columns, with those that fit, or as blocks."""
    tables = [language.table(table) for table in screen.tables(record.result)]
    grids = [_grid(table) for table in tables]
    if tables:
        fits = next((grid for grid, needed in grids if needed <= console.width), None)
        yield Group(Text(), _words(tables[0].title, "bold"), fits or _blocks(tables[-1]))


def _found(record: Record, language: Language) -> Iterator[RenderableType]:
    yield from _expected(record, language)
    for place, sentence in enumerate(screen.findings(record, language)):
        yield _words(sentence, "" if place else "bold")
    decided = [f"{one.claim} {language.say(one.verdict)}" for one in findings(record) if one.verdict != UNDECIDED]
    if decided:
        yield _words(say("first.claims", claims=decided).spoken(language.code), "dim")


def _expected(record: Record, language: Language) -> Iterator[RenderableType]:
    head = "After a first look you wrote: " if record.expectation_after_look else "You expected: "
    if record.expectation:
        yield Words.assemble((language.say(head), "italic"), printable(record.expectation))


def _next(record: Record, console: Console, language: Language, place: str) -> Iterator[RenderableType]:
    """Yield a command to go on with, and what it would answer as a comment, so that a shell takes the line as it is.

    The command is never broken: where it is too wide for the console, the terminal folds what stays one line.
    """
    if proposal := screen.proposal(record, language, place):
        command, why = say("first.next", command=printable(proposal[0])).spoken(language.code), printable(proposal[1])
        if cell_len(line := f"{command}   # {why}") <= console.width:
            yield Text(line)
        else:
            yield Group(Text(command, no_wrap=True, overflow="ignore"))  # alone, rich would make plain Text of it
            yield Words(f"# {why}")


def height(part: RenderableType, console: Console) -> int:
    """Return how many lines of a terminal a part takes."""
    lines = "".join(segment.text for segment in console.render(part)).split("\n")[:-1]
    return sum(max(1, -(-cell_len(line) // console.width)) for line in lines)


def _ends(left: str, right: str, width: int) -> RenderableType:
    """Return two texts at the two ends of a line, or one below the other."""
    gap = width - cell_len(left) - cell_len(right)
    if gap < GAP:
        return Group(_words(left, "bold"), _words(right, "dim"))
    return Group(Text.assemble((printable(left), "bold"), " " * gap, (printable(right), "dim")))


def circumstances(record: Record, language: Language = ENGLISH, *, short: bool = False) -> Group:
    """Return the lines that tell an entry from others: when, id, command; what it supersedes, what supersedes it.

    ``short`` leaves out what does not fit on a line.
    """
    say, when = language.say, record.created.replace("T", " ").removesuffix("Z")
    lines = [f"{when} UTC, id {record.id}: {record.command}"]
    if record.superseded_by:
        lines += [f"{say('Superseded by')} {record.superseded_by}: {worded(record, 'superseded_why', language.code)}"]
    if record.supersedes:
        lines += [f"{say('Supersedes')} {say(', ').join(record.supersedes)}"]
    if record.rerun_of:
        lines += [f"{say('Rerun of')} {record.rerun_of}"]
    if short:
        return Group(*(Text(printable(line), no_wrap=True, overflow="ellipsis") for line in lines))
    return Group(*map(_words, lines))


def table_view(table: Table, console: Console) -> RenderableType:
    """Return a table, or blocks of lines where the console is too narrow for it."""
    grid, needed = _grid(table)
    return _part(table.title, grid if needed <= console.width else _blocks(table), table.caption)


def frame_view(figure: Figure, console: Console, language: Language = ENGLISH) -> RenderableType | None:
    """Return a picture as one of many in a place, with what its signs mean if there is room, and a line to spare.

    Nothing on a console that is too low for it.
    """
    title = Text(printable(figure.title), style="bold cyan", no_wrap=True, overflow="ellipsis")
    signs = _words(legend(figure, language), "dim")
    for below in ([signs], []):
        most = console.height - 3 - sum(height(part, console) for part in below)
        if most >= LOWEST_FRAME:
            return Group(title, _drawn(figure, console, console.width - 1, min(most, HIGHEST)), *below)
    return None


def findings_view(findings: list[Finding], language: Language = ENGLISH) -> RenderableType:
    """Return what the run says about claims of the original notes."""
    lines: list[RenderableType] = []
    for finding in findings:
        verdict = (language.say(finding.verdict).upper(), VERDICT_STYLE.get(finding.verdict, "dim"))
        lines.append(Words.assemble((f"{finding.claim} ", "bold"), verdict, f" {printable(finding.statement)}"))
        lines.append(Padding(_words(finding.evidence, "dim"), (0, 0, 0, 2)))
    return _part(language.say("Claims of the original notes"), Group(*lines))


def _counted_again(record: Record, console: Console, language: Language) -> RenderableType:
    """Return the numbers that were counted again, each with its old value."""
    now, rows, reasons = record.numbers(), list[list[Cell]](), []
    for amendment in record.amendments:
        rows += [[name, several(was), several(now[name])] for name, was in amendment.was.items()]
        reasons.append(f"{amendment.date}: {worded(amendment, 'why', language.code)}")
    columns = [Column(name, "text") for name in ("number", "was", "is")]
    table = language.table(Table("amendments", "Counted again", columns, rows))
    return table_view(replace(table, caption=" ".join(reasons)), console)


def _part(title: str, body: RenderableType, caption: str = "") -> RenderableType:
    return Group(Text(), _words(title, "bold cyan"), body, *([_words(caption, "dim")] if caption else []))


def _words(text: str, style: str = "") -> Words:
    return Words(printable(text), style=style)


def _drawn(figure: Figure, console: Console, width: int, most: int = 28) -> Text:
    """Return a picture drawn with characters, at most 76 columns wide, and in ASCII where there is nothing else."""
    return plot(figure, min(width, 76), most=most, ascii_only=not console.encoding.lower().startswith("utf"))


def _grid(table: Table) -> tuple[RichTable, int]:
    """Return the table and the least width at which no number and no token is cut."""
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    needed, rows = -1, [[*map(printable, row)] for row in texts(table)]
    for index, column in enumerate(table.columns):
        cells, folds, name = [row[index] for row in rows], column.kind == "text", printable(column.name)
        words = [phrase for text in cells for phrase in phrases(text)] if folds else cells
        least = max(cell_len(text.strip()) for text in [*phrases(name), *words, ""])
        grid.add_column(
            Words("\n".join(_head(name, column, least))),
            justify="left" if is_text(column) else "right",
            no_wrap=not folds,
            min_width=least,
        )
        needed += least + GAP
    for row in rows:
        grid.add_row(*map(Words, row))
    return grid, needed


def _head(name: str, column: Column, least: int) -> list[str]:
    """Return a column's name as the lines above it: a word of English each, or as many phrases as fit."""
    if is_wide(name):
        return [name] if column.kind == "text" else [line.strip() for line in folded(name, least)]
    return [name] if is_text(column) else name.split(" ")


def _blocks(table: Table) -> RenderableType:
    """Return a block of lines per row, headed by its first cells up to the first number."""
    names, kinds = [printable(column.name) for column in table.columns], [*map(is_text, table.columns)]
    head = max(1, kinds.index(False) if False in kinds else len(kinds))
    width = max(map(cell_len, names))
    lines: list[RenderableType] = []
    for cells in ([*map(printable, row)] for row in texts(table)):
        lines.append(Words(" ".join(cells[:head]) if kinds[0] else f"{names[0]} {cells[0]}", style="bold"))
        for name, text in zip(names[head:], cells[head:], strict=True):
            lines.append(Padding(Words(f"{set_cell_size(name, width)} {text:>10}"), (0, 0, 0, 2)))
    return Group(*lines)
