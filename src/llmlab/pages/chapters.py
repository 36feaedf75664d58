"""The index by chapter: the entries of each experiment, in the order of the study, as Markdown with links.

Superseded entries stand folded below the others.  Leaves out the index by verdict, which Material makes of the
entries' tags.
"""

import re
from collections.abc import Callable, Iterator

from llmlab.report import entry
from llmlab.report.escape import html_text, md_text
from llmlab.report.language import language
from llmlab.report.messages import say
from llmlab.report.record import Record

CHAPTERS = {
    "phase1": "1 · Only the output layer",
    "phase1-2": "2 · How embeddings move",
    "baseline": "3 · Baseline",
    "generate": "3 · Generate",
    "evaluate": "3 · Evaluate",
    "quantize": "3 · Quantize",
    "finetune": "3 · Finetune",
    "expand": "3 · Expand",
    "layers": "4 · Layers",
    "embedding-freeze": "5 · Embedding freeze",
    "two-stage": "6 · Two stages",
}
"""The experiments in the order of the study, with the chapter each belongs to."""

FOLDED = re.compile(r"<!-- log: superseded ([a-z0-9_-]+) -->")
"""The place of an experiment's superseded entries, which ``folded`` fills once the pages have their addresses."""


def chapter(experiment: str, code: str) -> str:
    """Return what an experiment's chapter is called; an experiment that no chapter knows goes by its own name."""
    return language(code).say(CHAPTERS[experiment]) if experiment in CHAPTERS else experiment


def index(records: list[Record], code: str = "en") -> str:
    """Return the index as Markdown for a page that lies beside the folder ``posts``."""
    return "\n".join(_lines(records, code))


def folded(records: list[Record], experiment: str, address: Callable[[Record], str], code: str = "en") -> str:
    """Return an experiment's superseded entries as HTML: a list of links that opens on demand."""
    said = language(code)
    found = [record for record in records if record.superseded_by and record.result.experiment == experiment]
    links = [
        f'<li><a href="{html_text(address(record))}">{html_text(entry.title(record, said))}</a></li>'
        for record in found
    ]
    head = html_text(said.say(say("list.superseded", entries=len(found))))
    return f"<details><summary>{head}</summary><ul>{''.join(links)}</ul></details>"


def _lines(records: list[Record], code: str) -> Iterator[str]:
    known = list(CHAPTERS)
    there = {record.result.experiment for record in records}
    for experiment in [*(name for name in known if name in there), *sorted(there - set(known))]:
        yield f"\n## {md_text(chapter(experiment, code))}\n"
        found = [record for record in records if record.result.experiment == experiment]
        for record in found:
            if not record.superseded_by:
                yield f"- [{md_text(entry.title(record, language(code)))}](posts/{record.name}/{entry.PAGE})"
        if any(record.superseded_by for record in found):
            yield f"\n<!-- log: superseded {experiment} -->"
