"""The page of the original notes, made at build time from the ledger and the records of the log.

A page gets, in the site's language, what the notes were in the place of ``<!-- claims notes -->``, the claims to read
first in that of ``<!-- claims first -->``, and in that of ``<!-- claims ledger -->`` counts by verdict and document,
then every claim, folded by document, each with an anchor (``#p1-1``), its verdict, its evidence, a link to the entry,
and the command.

Records may hold somebody's words.  Everything from a row or a record passes through ``shown``, which escapes it.
Leaves out the judging, ``llmlab.claims``, and the filter, ``docs/javascripts/claims.js``, without which all is there.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url

from llmlab.claims.ledger import Document, read
from llmlab.claims.verdicts import BASES, JUDGEMENTS, Judged, first, judged
from llmlab.report import screen
from llmlab.report.escape import md_text, printable
from llmlab.report.language import language
from llmlab.report.logbook import Logbook
from llmlab.report.messages import say, worded

PLACE = re.compile(r"<!-- claims (notes|first|ledger) -->")
WORDS = {
    "verdict": "Verdict",
    "chapter": "Chapter",
    "words": "Words",
    "count": "{shown} of {all} claims",
    "also": "also: {list}",
    "more": "figures and how it is checked",
    "document": "document",
    "how": "checked by",
    "records": "metrics of the run",
    "opinion": "nothing: an opinion",
    "by runs": "runs",
    "by runs under other conditions": "other conditions",
    "by runs on another text": "another text",
    "by sums": "sums",
    "by quoted figures": "quoted figures",
    "by opinion": "opinions",
    "runs under other conditions": "under other conditions",
    "runs on another text": "on another text",
    "conditions": "conditions, and the document's",
    "basis": "basis",
    "unmet": "wanting to decide",
    "needs": "needed to decide",
    "only": "one outcome only",
    "changed": "rule changed after the result",
    "beside": "Beside this document, a statement of llmlab's own.",
}
"""What the page calls things, where it is not by the ledger's own word."""


def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Return the page with the ledger in place of its mark."""
    if not PLACE.search(markdown):
        return markdown
    lang = config.theme["language"] or "en"
    documents, found = read(), records(Path(config["docs_dir"]) / "log")
    rows = [judged(claim, found) for document in documents for claim in document.claims]
    made = {
        "notes": notes(documents, lang),
        "first": to_read_first(rows, lang),
        "ledger": rendered(documents, rows, lang, get_relative_url("log/", page.url)),
    }
    return PLACE.sub(lambda place: made[place[1]], markdown)


def records(log: Path) -> list:
    """Return the records of the site's log.

    Raises:
        PluginError: one cannot be read; the build stops and names it.
    """
    found = list(Logbook(log, log.parent.parent).read())
    for folder, record in found:
        if isinstance(record, ValueError):
            raise PluginError(f"{folder.name}: {record}")
    return [record for _, record in found]


def notes(documents: list[Document], lang: str) -> str:
    """Return the documents by title, and what each is about, as a list in Markdown."""
    return "\n".join(
        f"- **{md_text(worded(document, 'title', lang))}** ({said('document', lang)} {number(document.name)}). "
        f"{md_text(worded(document, 'about', lang))}"
        for document in documents
    )


def number(name: str) -> str:
    """Return the number by which claims name a document."""
    return name.split("_")[0]


def to_read_first(rows: list[Judged], lang: str) -> str:
    """Return the claims to read first, each with a link to its place in the ledger."""
    items = (
        f'<li><a href="#{row.claim.id.lower()}">{row.claim.id}</a> {badge(row, lang)} '
        f"{marked(worded(row.claim, 'claim', lang), lang)}<br>"
        f"<small>{marked(row.in_brief(lang), lang)}</small></li>"
        for row in first(rows)
    )
    return f"<ol>{''.join(items)}</ol>"


def rendered(documents: list[Document], rows: list[Judged], lang: str, log: str) -> str:
    """Return counts, filter and claims as Markdown; ``log`` is the way to the entries."""
    parts = [*summary(documents, rows, lang), "", *filters(rows, lang), ""]
    for document in documents:
        own = [row for row in rows if row.claim.document == document.name]
        title = say("claims.titled", title=worded(document, "title", lang), claims=len(own))
        blocks = "".join(block(row, lang, log) for row in own)
        parts += [
            f'<details class="claims"><summary>{shown(language(lang).say(title))}</summary>{blocks}</details>',
            "",
        ]
    return "\n".join(parts)


def chapter(name: str, lang: str) -> str:
    """Return what a chapter is called."""
    return screen.chapter(name, language(lang))


def said(word: str, lang: str) -> str:
    """Return a word of ours in a language."""
    return language(lang).say(WORDS.get(word, word))


def shown(text: str) -> str:
    """Return text that HTML shows as it is."""
    return escape(printable(text))


def marked(text: str, lang: str) -> str:
    """Return text for HTML, marked as English where it is that on a page of another language."""
    return f'<span lang="en">{shown(text)}</span>' if language(lang).is_foreign(text) else shown(text)


def summary(documents: list[Document], rows: list[Judged], lang: str) -> Iterator[str]:
    """Yield two tables of counts, by what verdicts rest on and by document."""
    yield from counts({said(f"by {basis}", lang): basis for basis in BASES}, rows, lambda row: row.basis, lang)
    yield ""
    titles = {md_text(worded(document, "title", lang)): document.name for document in documents}
    ours = "llmlab"
    yield from counts({**titles, ours: ours}, rows, lambda row: ours if row.claim.ours else row.claim.document, lang)


def counts(columns: dict[str, str], rows: list[Judged], column: Callable[[Judged], str], lang: str) -> Iterator[str]:
    """Yield a table of counts, one row per verdict and one column, by its heading, per value of a property."""
    found = Counter((column(row), row.said.verdict) for row in rows)
    yield "| " + " | ".join([said("verdict", lang), *columns, said("all", lang)]) + " |"
    yield "| :--- |" + " ---: |" * (len(columns) + 1)
    for verdict in JUDGEMENTS:
        each = [found[value, verdict] for value in columns.values()]
        yield f"| {said(verdict, lang)} | {' | '.join(map(str, [*each, sum(each)]))} |"
    totals = [sum(found[value, verdict] for verdict in JUDGEMENTS) for value in columns.values()]
    yield f"| **{said('all', lang)}** | {' | '.join(f'**{total}**' for total in [*totals, sum(totals)])} |"


def filters(rows: list[Judged], lang: str) -> Iterator[str]:
    """Yield the filter, hidden until its script is there."""
    chapters = dict.fromkeys(row.claim.chapter for row in rows)
    yield f'<div class="claims-filter" data-count="{shown(said("count", lang))}" hidden>'
    for name, values, called in (("verdict", JUDGEMENTS, said), ("chapter", chapters, chapter)):
        options = "".join(f'<option value="{value}">{shown(called(value, lang))}</option>' for value in values)
        first = f'<option value="">{shown(said("all", lang))}</option>'
        yield f'<label>{shown(said(name, lang))} <select name="{name}">{first}{options}</select></label>'
    yield f'<label>{shown(said("words", lang))} <input type="search" name="words"></label>'
    yield '<p role="status"></p>'
    yield "</div>"


def block(row: Judged, lang: str, log: str) -> str:
    """Return one claim: what it says, the verdict, the evidence, and the rest folded."""
    claim, anchor = row.claim, row.claim.id.lower()
    evidence = marked(row.said.evidence[lang], lang)
    if row.said.record:
        evidence += f' (<a href="{log}{row.said.record}.html">{shown(said("entry", lang))}</a>)'
    also = said(", ", lang).join(shown(said(f"{count} {judgement}", lang)) for judgement, count in row.also().items())
    if also:
        evidence += " · " + said("also", lang).format(list=also)
    evidence += "".join(f"<br>{shown(language(lang).say(one))}" for one in row.confirmations())
    aside = f' <span class="elsewhere">{shown(said(row.basis, lang))}</span>' if row.elsewhere else ""
    return (
        f'<div class="claim" data-verdict="{row.said.verdict}" data-chapter="{claim.chapter}">'
        f'<h3 id="{anchor}"><a href="#{anchor}">{claim.id}</a> {badge(row, lang)}{aside}</h3>'
        f"<p>{marked(worded(claim, 'claim', lang), lang)}</p>"
        f'<p class="evidence">{evidence}</p>'
        f"<p><code>{shown(claim.command)}</code></p>"
        f"<details><summary>{shown(said('more', lang))}</summary><dl>{''.join(more(row, lang))}</dl></details>"
        "</div>"
    )


def badge(row: Judged, lang: str) -> str:
    """Return a claim's verdict."""
    verdict = row.said.verdict
    return f'<span class="verdict {verdict.replace(" ", "-")}">{shown(said(verdict, lang))}</span>'


def more(row: Judged, lang: str) -> Iterator[str]:
    """Yield what is folded away, as terms and their descriptions."""
    claim = row.claim
    told = {
        "conditions": shown(row.elsewhere),
        "unmet": shown(", ".join(row.said.unmet)),
        "changed": f"{claim.changed.on}: {marked(worded(claim.changed, 'why', lang), lang)}" if claim.changed else "",
        "figures": marked(worded(claim, "figures", lang), lang),
        "known": "" if claim.check == "opinion" else marked(worded(claim, "known", lang), lang),
        "basis": shown(said(f"by {row.basis}", lang)) if row.basis not in ("runs", "sums", "opinion") else "",
        "kind": shown(language(lang).say(claim.kind)) if claim.kind != "measured" else "",
        "how": "<br>".join([shown(said(claim.check, lang)), *checks(row, lang)]),
        "document": shown(number(claim.document)) + (f" {shown(said('beside', lang))}" if claim.ours else ""),
    }
    for name, text in told.items():
        if text:
            yield f"<dt>{shown(said(name, lang).split(':')[0])}</dt><dd>{text}</dd>"


def checks(row: Judged, lang: str) -> Iterator[str]:
    """Yield the expression that gave the verdict, and what the rule needs; the ledger has the other expressions."""
    claim = row.claim
    if claim.records:
        if expression := getattr(claim.records, row.said.verdict, ""):
            yield f"{shown(said(row.said.verdict, lang))}: <code>{shown(expression)}</code>"
        if claim.records.needs:
            needs = ", ".join(f"{name} {wanted}" for name, wanted in claim.records.needs.items())
            yield f"{shown(said('needs', lang))}: <code>{shown(needs)}</code>"
        if claim.records.only:
            yield f"{shown(said('only', lang))}: {marked(worded(claim.records, 'only', lang), lang)}"
    for one in claim.sums:
        source = worded(one, "source", lang)
        yield f"<code>{shown(one.value or one.holds)}</code>" + (f" ({marked(source, lang)})" if source else "")
