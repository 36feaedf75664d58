"""Mathematics at build time: every formula becomes MathML, so a page needs no script to show it.

``pymdownx.arithmatex`` marks what stands between dollar signs and leaves the TeX as text.  This hook replaces the
marked text by what latex2mathml makes of it.  All browsers of our time draw MathML by themselves.

Leaves out log entries on purpose: their dollar signs and backslashes are entities, so nothing in them is marked.
"""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, page, **_) -> str:
    """Return the page's HTML with MathML in place of TeX."""
    where = page.file.src_uri
    content = BLOCK.sub(lambda found: mathml(found[1], "block", where), content)
    return INLINE.sub(lambda found: mathml(found[1], "inline", where), content)


def mathml(tex: str, display: str, where: str) -> str:
    """Return one formula as a MathML element.

    Raises:
        PluginError: the formula cannot be read; the build stops and names the page.
    """
    try:
        element = convert(html.unescape(tex).strip(), display=display)
    except Exception as error:  # latex2mathml has no common base class for its errors
        raise PluginError(f"{where}: cannot read the formula {tex!r}: {error!r}") from error
    return f'<div class="formula">{element}</div>' if display == "block" else element
