"""The log as an Atom feed (RFC 4287), made of the records: the same log gives the same bytes.

Without the site's address every link is relative to the feed, which Atom allows, and every id is a UUID made of the
entry's name, so that the feed is whole on a disk as well.  Leaves out tables and figures: an entry's summary and its
verdicts say whether to read on.
"""

from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element, SubElement, tostring

from llmlab.claims import findings
from llmlab.report import screen
from llmlab.report.escape import printable
from llmlab.report.language import Language, language
from llmlab.report.record import Record

ATOM = "http://www.w3.org/2005/Atom"
NEVER = "1970-01-01T00:00:00Z"
LONGEST = 50
"""How many entries, the newest, are in the feed."""


def atom(records: list[Record], *, title: str, code: str, site: str, folder: str, links: list[str]) -> str:
    """Return the feed of the records, newest first; superseded ones are no news.

    ``site`` is the site's address and ``folder`` where on it the feed lies, each with a slash at its end; ``links`` are
    the entries' addresses, relative to the feed.
    """
    said = language(code)
    feed = Element("feed", {"xmlns": ATOM, "xml:lang": code})
    _add(feed, "title", title)
    _add(feed, "id", _urn(f"{site}{folder}feed"))
    _add(feed, "updated", max((record.created for record in records), default=NEVER))
    _add(SubElement(feed, "author"), "name", title)
    if site:
        SubElement(feed, "link", {"rel": "self", "type": "application/atom+xml", "href": f"{site}{folder}feed.xml"})
    for record, link in list(zip(records, links, strict=True))[:LONGEST]:
        feed.append(_entry(record, f"{site}{folder}{link}" if site else link, said))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(feed, encoding="unicode") + "\n"


def _entry(record: Record, link: str, said: Language) -> Element:
    element = Element("entry")
    _add(element, "title", screen.title(record, said))
    SubElement(element, "link", {"rel": "alternate", "type": "text/html", "href": link})
    _add(element, "id", _urn(record.name))
    _add(element, "published", record.created)
    _add(element, "updated", record.created)
    for term in [record.result.experiment, *sorted({found.verdict for found in findings(record)})]:
        SubElement(element, "category", {"term": term})
    verdicts = [f"{found.claim}: {found.verdict} ({found.evidence})" for found in findings(record, said.code)]
    _add(element, "summary", "\n".join(map(printable, [*screen.findings(record, said), *verdicts])))
    return element


def _add(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text


def _urn(name: str) -> str:
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'llmlab {name}')}"
