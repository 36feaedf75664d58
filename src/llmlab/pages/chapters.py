"""The index by chapter: the entries of each experiment, in the order of the study, as Markdown with links.

Superseded entries stand folded below the others.  Leaves out the index by verdict, which Material makes of the
entries' tags.
"""

import re
from collections.abc import Callable, Iterator

from llmlab.report import entry, screen
from llmlab.report.escape import html_text, md_text
from llmlab.report.language import language
from llmlab.report.messages import say
from llmlab.report.record import Record

FOLDED = re.compile(r"<!-- log: superseded ([a-z0-9_-]+) -->")
"""The place of an experiment's superseded entries, which ``folded`` fills once the pages have their addresses."""


def index(records: list[Record], code: str = "en") -> str:
    """Return the index as Markdown for a page that lies beside the folder ``posts``."""
    return "\n".join(_lines(records, code))


def folded(records: list[Record], experiment: str, address: Callable[[Record], str], code: str = "en") -> str:
    """Return an experiment's superseded entries as HTML: a list of links that opens on demand."""
    said = language(code)
    found = [record for record in records if record.superseded_by and record.result.experiment == experiment]
    links = [
        f'<li><a href="{html_text(address(record))}">{html_text(screen.title(record, said))}</a></li>'
        for record in found
    ]
    head = html_text(said.say(say("list.superseded", entries=len(found))))
    return f"<details><summary>{head}</summary><ul>{''.join(links)}</ul></details>"


def _lines(records: list[Record], code: str) -> Iterator[str]:
    there = {screen.chapter(record.result.experiment, language(code)): record.result.experiment for record in records}
    for chapter, experiment in sorted(there.items()):
        yield f"\n## {md_text(chapter)}\n"
        found = [record for record in records if record.result.experiment == experiment]
        for record in found:
            if not record.superseded_by:
                link = f"[{md_text(screen.title(record, language(code)))}](posts/{record.name}/{entry.PAGE})"
                yield f"- {record.created[:10]} · {link}"
        if any(record.superseded_by for record in found):
            yield f"\n<!-- log: superseded {experiment} -->"
