"""The only doors through which text reaches a terminal, a page of Markdown or HTML, or an SVG.

Notes, tokens and ``--text`` are somebody's words.  In a terminal they could clear the screen, in Markdown they
could break the page, on the site they could run as script.  Everything that ``report`` writes goes through one
of these functions, our own sentences too, so that none is forgotten.
"""

import re
import shlex
import unicodedata
from html import escape

MARKDOWN_SPECIAL = re.compile(r"[&<>`*_\[\]{}|\\#!~^$]|:(?=:)")
NUMBERED = re.compile(r"\d+[.)]")
LONGEST_NOTE = 2_000
"""A longer note is cut, visibly: some texts take a Markdown parser time that grows with their square."""


def printable(text: str) -> str:
    """Return text without a single control, format, surrogate or unassigned character: one safe line.

    Each is shown as its code point, ``U+001B``, and none acts.  (Direction marks are format
    characters too: text cannot be made to read backwards.)
    """
    return "".join(
        f"U+{ord(character):04X}" if unicodedata.category(character) in _ACTING else character for character in text
    )


_ACTING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def html_text(text: str) -> str:
    """Return text that HTML shows as it is, in an element or in an attribute."""
    return escape(printable(text))


def md_text(text: str) -> str:
    """Return text that Markdown shows as it is: in a paragraph, a heading, a table cell or an alternative text."""
    return MARKDOWN_SPECIAL.sub(lambda found: f"&#{ord(found[0])};", printable(text))


def md_block(text: str) -> str:
    """Return text of several lines as a Markdown paragraph with its line breaks kept.

    Each line is a ``md_line``; blank lines are dropped.
    """
    cut = text if len(text) <= LONGEST_NOTE else text[:LONGEST_NOTE] + " … (cut)"
    return "  \n".join(md_line(line.strip()) for line in cut.splitlines() if line.strip())


def md_line(line: str) -> str:
    """Return text that begins a line and is nothing but text: no list, heading, admonition or inclusion."""
    if not line or (line[0].isalnum() and not NUMBERED.match(line)):
        return md_text(line)
    return "".join(f"&#{ord(character)};" for character in printable(line[0])) + md_text(line[1:])


def md_fence(text: str, language: str = "") -> str:
    """Return text as a fenced code block that it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def shell_word(text: str) -> str:
    """Return text quoted for a POSIX shell; with control characters in bash's ``$'…'`` form, on one line."""
    if printable(text) == text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(sign if printable(sign) == sign else f"\\U{ord(sign):08x}" for sign in escaped) + "'"
