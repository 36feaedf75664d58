"""The comparison page: a table of all entries, and the data that its script sorts, filters and compares two by.

Covers HTML that is whole without the script, and JSON small enough for a thousand entries: every name and text stands
in it once.  Which metrics two entries are compared by is ``llmlab.compare``'s word; the script only subtracts.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from llmlab.claims import findings
from llmlab.compare import numbers
from llmlab.report import screen
from llmlab.report.escape import html_text, printable
from llmlab.report.format import NOTHING, number
from llmlab.report.language import Language, language
from llmlab.report.messages import group, say
from llmlab.report.record import Record

DIGITS = 9
"""Significant digits of a metric in the data: a difference of two is right to more than it shows."""

COLUMNS = ("date", "experiment", "seeds", "loss", "perplexity", "verdicts")
WITHOUT_SCRIPT = (
    "<noscript><style>.log-controls, .log-table .log-choose { display: none !important }</style></noscript>"
)


def block(records: list[Record], address: Callable[[Record], str], code: str = "en") -> str:
    """Return the whole comparison as HTML, rows in the order of the records; ``address`` links to an entry's page."""
    words, said = group("pages", code), language(code)
    if not records:
        return f"<p>{html_text(words['empty'])}</p>"
    return "\n".join(
        [
            f'<div class="log-comparison" id="log-comparison">{WITHOUT_SCRIPT}',
            *_controls(words, len(records)),
            '<section class="log-pair" id="log-pair" tabindex="-1" aria-labelledby="log-pair-title" hidden></section>',
            f'<table class="log-table" role="table" aria-label="{html_text(words["table"])}">',
            *_head(words),
            '<tbody role="rowgroup">',
            *(_row(record, address(record), words, said) for record in records),
            "</tbody></table>",
            '<p class="log-bar" id="log-bar" hidden></p>',
            f'<script type="application/json" id="log-data">{script_json(data(records, words))}</script>',
            "</div>",
        ]
    )


def data(records: list[Record], words: dict[str, str]) -> dict[str, Any]:
    """Return what the script needs, in the order of the table's rows, every name and text in it only once.

    ``entries`` hold the entry's id, its experiment, and two pairs of a number, which list of ``names`` it is, and the
    values: of settings the numbers of their ``texts``, of metrics the metrics.
    """
    names: dict[tuple[str, ...], int] = {}
    texts: dict[str, int] = {}

    def names_of(values: dict[str, Any]) -> int:
        return names.setdefault(tuple(map(printable, values)), len(names))

    rows = []
    for record in records:
        settings, metrics = record.result.settings, numbers(record.result.metrics)
        values = [texts.setdefault(printable(str(value)), len(texts)) for value in settings.values()]
        told = [record.id, record.result.experiment, names_of(settings), values]
        rows.append([*told, names_of(metrics), [*map(_short, metrics.values())]])
    return {"words": words, "names": [list(found) for found in names], "texts": list(texts), "entries": rows}


def script_json(document: Any) -> str:
    """Return JSON that can stand in an HTML script element: nothing in it opens or closes anything."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _controls(words: dict[str, str], count: int) -> Iterator[str]:
    yield f'<div class="log-controls" role="group" aria-label="{html_text(words["controls"])}">'
    for name, first in (("experiment", "all"), ("setting", "any"), ("value", "any"), ("metric", "none")):
        option = f'<option value="">{html_text(words[first])}</option>'
        yield f'<label>{html_text(words[name])} <select id="log-{name}">{option}</select></label>'
    told = words["shown"].format(shown=count, all=count)
    yield f'<p class="log-count" id="log-count" role="status">{html_text(told)}</p>'
    yield "</div>"


def _head(words: dict[str, str]) -> Iterator[str]:
    yield '<thead role="rowgroup"><tr role="row">'
    yield f'<th role="columnheader" class="log-choose">{html_text(words["choose"])}</th>'
    for name in ("entry", *COLUMNS):
        newest = ' aria-sort="descending"' if name == "date" else ""
        yield f'<th role="columnheader" scope="col" data-sort="{name}"{newest}>{html_text(words[name])}</th>'
    yield '<th role="columnheader" scope="col" data-sort="metric" hidden></th></tr></thead>'


def _row(record: Record, link: str, words: dict[str, str], said: Language) -> str:
    seeds, metrics = record.result.settings.get("seeds"), numbers(record.result.metrics)
    verdicts = Counter(finding.verdict for finding in findings(record)).most_common()
    values = (
        record.created[:16].replace("T", " "),
        record.result.experiment,
        seeds if isinstance(seeds, int) else None,
        metrics.get("loss", metrics.get("val_loss")),
        metrics.get("val_ppl"),
        said.say(say("claims.list", each=[say("claims.so_many", verdict=which, n=n) for which, n in verdicts])),
    )
    chosen = f'<input type="checkbox" aria-label="{html_text(words["choose"])} {html_text(record.id)}">'
    title = f'<a href="{html_text(link)}">{html_text(screen.title(record, said))}</a>'
    named = zip(COLUMNS, values, strict=True)
    cells = [_cell(words[name], value, 2 if name == "perplexity" else 4) for name, value in named]
    head = f'<td role="cell" class="log-choose">{chosen}</td><th role="rowheader" scope="row">{title}</th>'
    return f'<tr role="row">{head}{"".join(cells)}<td role="cell" hidden></td></tr>'


def _cell(label: str, value: str | float | None, digits: int) -> str:
    start = f'<td role="cell" data-label="{html_text(label)}"'
    if isinstance(value, str):
        return f"{start}>{html_text(value or NOTHING)}</td>"
    if value is None:
        return f'{start} data-value="">{NOTHING}</td>'
    told = f"{value:,}" if isinstance(value, int) else number(value, digits)
    return f'{start} data-value="{_short(value)}">{told}</td>'


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
