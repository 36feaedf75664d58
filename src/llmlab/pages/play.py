"""The playground's place in its page: controls, words in the page's language, and the starts of llmlab's first seeds.

What moves is ``docs/javascripts/play.js``; the numbers are handed in, for pages compute none.
"""

from collections.abc import Sequence
from importlib.resources import files

from llmlab.pages.comparison import script_json
from llmlab.report.escape import html_text
from llmlab.report.messages import group

PLACE = "<!-- play -->"


def block(starts: Sequence[Sequence[Sequence[float]]], code: str) -> str:
    """Return the playground as HTML.

    ``starts`` are by the number of different letters (from 1 on) and by seed (from 0 on): E row by row, W, then b.
    """
    template = (files("llmlab.pages") / "play.html").read_text("utf-8")
    words = group("play", code)
    data = script_json({"starts": starts, "words": words})
    return template.format(data=data, **{name: html_text(text) for name, text in words.items()})
