"""Drawings of the models, put into the pages as SVG: one file for both languages and both colour schemes.

    <!-- drawing: tiny-model -->      in a page becomes docs/drawings/tiny-model.svg

The file's holes are filled with words in the page's language, and with three more: ``{named}`` says what the drawing
shows to those who cannot see it, ``{tip}`` is the head of an arrow, ``{to}`` puts it on a line.  Colours are classes.
"""

import re

from llmlab.report.escape import html_text
from llmlab.report.messages import group

PLACE = re.compile(r"^<!-- drawing: ([a-z0-9-]+) -->$", re.MULTILINE)
TIP = (
    '<defs><marker id="{id}-tip" viewBox="0 0 8 8" refX="5" refY="4" markerWidth="8" markerHeight="8" '
    'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)


def inlined(name: str, template: str, code: str) -> str:
    """Return a drawing as HTML in a language.

    Raises:
        KeyError: a hole of the template, or the drawing itself, has no words.
    """
    words = {key: html_text(text) for key, text in group("drawings", code).items()}
    mark = f"drawing-{name}"
    shown = template.format(
        named=f'role="img" aria-label="{words[name.replace("-", "_")]}"',
        tip=TIP.format(id=mark),
        to=f'marker-end="url(#{mark}-tip)"',
        **words,
    )
    return f'<figure class="drawing">\n{shown.strip()}\n</figure>'
