"""What could act in an HTML document, counted."""

import html.parser
import re
from collections import Counter

RUNNING = {"script", "iframe", "frame", "object", "embed", "applet", "style", "base", "form", "input", "button"}
ADDRESSES = {"href", "src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}


class Danger(html.parser.HTMLParser):
    """Counts what could act in a document, and keeps its text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count an element that runs, an attribute that runs, and an address that leaves the site."""
        if tag in RUNNING:
            self.found[tag] += 1
        for name, value in attrs:
            plain = re.sub(r"[\s\x00-\x20]", "", value or "").lower()
            if name.startswith("on") or name == "srcdoc":
                self.found[name] += 1
            if name in ADDRESSES and re.match(r"(?!file)[a-z][a-z+.-]*:|//", plain):
                self.found[f"{tag} {name} {plain}"] += 1
            if name == "style" and not re.fullmatch(r"text-align:(left|right|center);?", plain):
                self.found[f"style {plain}"] += 1

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text.append(data)


def danger(document: str) -> Danger:
    """Return what could act in an HTML document."""
    parser = Danger()
    parser.feed(document)
    parser.close()
    return parser
