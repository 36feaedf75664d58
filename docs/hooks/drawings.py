"""Drawings of the models, put into the pages as SVG: one file for both languages and both colour schemes.

    <!-- drawing: tiny-model -->      in a page becomes docs/drawings/tiny-model.svg

The file's holes are filled with words in the page's language, and with three more: ``{named}`` says what the drawing
shows to those who cannot see it, ``{tip}`` is the head of an arrow, ``{to}`` puts it on a line.  Colours are classes.
"""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError

from llmlab.report.escape import html_text
from llmlab.report.messages import group

PLACE = re.compile(r"^<!-- drawing: ([a-z0-9-]+) -->$", re.MULTILINE)
TIP = (
    '<defs><marker id="{id}-tip" viewBox="0 0 8 8" refX="5" refY="4" markerWidth="8" markerHeight="8" '
    'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)


def on_page_markdown(markdown: str, page, config, **_) -> str:
    """Return the page with a drawing in place of each mark; a log entry, which holds a user's words, as it is."""
    if page.file.src_uri.startswith("log/"):
        return markdown
    folder, code = Path(config.docs_dir) / "drawings", str(config.theme["language"] or "en")

    def drawn(name: str) -> str:
        try:
            return inlined(name, (folder / f"{name}.svg").read_text("utf-8"), code)
        except (OSError, KeyError) as error:  # no drawing, or no words for a hole of it
            raise PluginError(f"{page.file.src_uri}: drawing {name}: {error!r}") from error

    return PLACE.sub(lambda place: drawn(place[1]), markdown)


def inlined(name: str, template: str, code: str) -> str:
    """Return a drawing as HTML in a language."""
    words, mark = {key: html_text(text) for key, text in group("drawings", code).items()}, f"drawing-{name}"
    named = f'role="img" aria-label="{words[name.replace("-", "_")]}"'
    tip, to = TIP.format(id=mark), f'marker-end="url(#{mark}-tip)"'
    return f'<figure class="drawing">\n{template.format(named=named, tip=tip, to=to, **words).strip()}\n</figure>'
