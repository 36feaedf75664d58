"""The index by chapter: the entries of each experiment, in the order of the study, as Markdown with links.

Superseded entries stand folded below the others.  Leaves out the index by verdict, which Material makes of the
entries' tags.
"""

import re
from collections.abc import Callable

from llmlab.report import entry, screen
from llmlab.report.escape import html_text, md_text
from llmlab.report.language import language
from llmlab.report.messages import say
from llmlab.report.record import Record

FOLDED = re.compile(r"<!-- log: superseded ([a-z0-9_-]+) -->")
"""The place of an experiment's superseded entries, which ``folded`` fills once the pages have their addresses."""


def index(records: list[Record], code: str = "en") -> str:
    """Return the index as Markdown for a page that lies beside the folder ``posts``."""
    said, lines = language(code), []
    there = {screen.chapter(record.result.experiment, said): record.result.experiment for record in records}
    for chapter, experiment in sorted(there.items()):
        lines.append(f"\n## {md_text(chapter)}\n")
        found = [record for record in records if record.result.experiment == experiment]
        for record in (one for one in found if not one.superseded_by):
            link = f"[{md_text(screen.title(record, said))}](posts/{record.name}/{entry.PAGE})"
            lines.append(f"- {record.created[:10]} · {link}")
        if any(record.superseded_by for record in found):
            lines.append(f"\n<!-- log: superseded {experiment} -->")
    return "\n".join(lines)


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
