"""The index by chapter: the entries of each experiment, in the order of the study, as Markdown with links.

Leaves out the index by verdict, which Material makes of the entries' tags.
"""

from collections.abc import Iterator

from llmlab.pages.words import CHAPTERS, chapter
from llmlab.report import entry
from llmlab.report.escape import md_text
from llmlab.report.language import language
from llmlab.report.record import Record


def index(records: list[Record], code: str = "en") -> str:
    """Return the index as Markdown for a page that lies beside the folder ``posts``."""
    return "\n".join(_lines(records, code))


def _lines(records: list[Record], code: str) -> Iterator[str]:
    known = list(CHAPTERS)
    there = {record.result.experiment for record in records}
    for experiment in [*(name for name in known if name in there), *sorted(there - set(known))]:
        yield f"\n## {md_text(chapter(experiment, code))}\n"
        for record in records:
            if record.result.experiment == experiment:
                yield f"- [{md_text(entry.title(record, language(code)))}](posts/{record.name}/{entry.PAGE})"
