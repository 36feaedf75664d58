"""A result in a notebook: what was found, the picture and the table that decides, and all else folded.

Plain HTML without script or style sheet, in the language that ``LLMLAB_LANG`` names; whatever a user typed passes
through ``escape``, and a picture is an image, which runs nothing.
"""

import base64
import os
from collections.abc import Iterator

from llmlab.report import screen
from llmlab.report.escape import html_text
from llmlab.report.figure import svg
from llmlab.report.format import is_text, texts
from llmlab.report.language import Language, language
from llmlab.report.messages import CODES
from llmlab.report.record import Record
from llmlab.report.result import Figure, Result, Table


def html(result: Result) -> str:
    """Return a result as HTML."""
    code = os.environ.get("LLMLAB_LANG", "en")
    said = language(code if code in CODES else "en")
    figure, tables = screen.picture(result), screen.tables(result)
    record = Record(result, id="", created="", command="", seconds=0.0)
    return "\n".join(
        [
            f"<p><b>{html_text(screen.chapter(result.experiment, said))}</b></p>",
            *(f"<p>{html_text(one)}</p>" for one in screen.findings(record, said)),
            *(_picture(figure, said) if figure else ()),
            *(_table(said.table(tables[0])) if tables else ()),
            f"<details><summary>{html_text(said.say('All tables and pictures'))}</summary>",
            *(line for part in result.parts() for line in _part(part, said)),
            "</details>",
        ]
    )


def _part(part: Table | Figure, said: Language) -> Iterator[str]:
    yield f"<p><b>{html_text(said.say(part.title))}</b></p>"
    yield from _picture(part, said) if isinstance(part, Figure) else _table(said.table(part))
    yield f"<p>{html_text(said.say(part.caption))}</p>"


def _picture(figure: Figure, said: Language) -> Iterator[str]:
    data = base64.b64encode(svg(figure, "light", said).encode()).decode()
    yield f'<img alt="{html_text(said.say(figure.caption))}" src="data:image/svg+xml;base64,{data}">'


def _table(table: Table) -> Iterator[str]:
    sides = ["left" if is_text(column) else "right" for column in table.columns]
    yield "<table>"
    for kind, row in [("th", [str(column.name) for column in table.columns]), *(("td", row) for row in texts(table))]:
        cells = (
            f'<{kind} style="text-align: {side}">{html_text(text)}</{kind}>'
            for side, text in zip(sides, row, strict=True)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</table>"
