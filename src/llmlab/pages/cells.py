"""Spare table cells that hold no Markdown its inline parsing: an entry is mostly cells of numbers.

A Markdown extension.  It marks such a cell as finished before the inline patterns come, some fifteen of them, each of
which would look for what cannot be there.  What a page says does not change, only how long it takes.
"""

import re
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

PLAIN = re.compile(r"[A-Za-z0-9 .,;%()+−–\-]*")
BEFORE_INLINE = 25
"""Markdown's own patterns for what stands within a line run at 20."""


class PlainCells(Treeprocessor):  # type: ignore[misc]  # Markdown has no types
    """Marks plain cells as finished."""

    def run(self, root: Element) -> None:
        """Go through the page's table cells."""
        for cell in (*root.iter("td"), *root.iter("th")):
            if cell.text and PLAIN.fullmatch(cell.text):
                cell.text = AtomicString(cell.text)


class makeExtension(Extension):  # type: ignore[misc]  # noqa: N801 - the name that Markdown asks a module for
    """Adds the step to a Markdown converter."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Markdown's name
        """Add the step."""
        md.treeprocessors.register(PlainCells(md), "plain-cells", BEFORE_INLINE)
