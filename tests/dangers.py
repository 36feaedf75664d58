"""What an HTML document is made of, and what of it could act."""

import html.parser
import re
from collections import Counter

RUNNING = {"script", "iframe", "frame", "object", "embed", "applet", "style", "base", "form", "input", "button"}
ADDRESSES = {"href", "src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}


class Seen(html.parser.HTMLParser):
    """The elements, attributes, comments and words of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.comments: list[str] = []
        self.words = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_comment(self, data: str) -> None:
        self.comments.append(data.strip())

    def handle_data(self, data: str) -> None:
        self.words += data

    @property
    def dangers(self) -> Counter[str]:
        """Count elements that run, attributes that run, and addresses that leave the site."""
        found = Counter({tag: count for tag, count in self.elements.items() if tag in RUNNING})
        for tag, name, value in self.attributes:
            plain = re.sub(r"[\s\x00-\x20]", "", value).lower()
            if name.startswith("on") or name == "srcdoc":
                found[name] += 1
            if name in ADDRESSES and re.match(r"(?!file)[a-z][a-z+.-]*:|//", plain):
                found[f"{tag} {name} {plain}"] += 1
            if name == "style" and not re.fullmatch(r"text-align:(left|right|center);?", plain):
                found[f"style {plain}"] += 1
        return found
