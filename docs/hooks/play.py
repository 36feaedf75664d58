"""The playground begins where ``llmlab phase1-2 --dim 2`` begins: its page gets the numbers of the first seeds.

They come from ``TinyModel.initial`` when the site is built, so they cannot drift from the package.  torch is imported
only for that page.  What moves is ``docs/javascripts/play.js``.
"""

from functools import cache
from pathlib import Path

from llmlab.pages.comparison import script_json
from llmlab.report.escape import html_text
from llmlab.report.messages import group

PLACE = "<!-- play -->"
SEEDS, MOST_LETTERS = 5, 8


def on_page_markdown(markdown: str, config, **_) -> str:
    """Return the page with the playground in place of its mark: controls, words and starts."""
    if PLACE not in markdown:
        return markdown
    words = group("play", str(config.theme["language"] or "en"))
    template, data = Path(__file__).with_suffix(".html").read_text("utf-8"), {"starts": starts(), "words": words}
    shown = {name: html_text(text) for name, text in words.items()}
    return markdown.replace(PLACE, template.format(data=script_json(data), **shown))


@cache
def starts() -> list[list[list[float]]]:
    """Return the models' numbers by the number of letters and by seed: E row by row, W, then b, in nine digits."""
    from llmlab.phase1 import TinyModel  # imports torch

    found = []
    for letters in range(1, MOST_LETTERS + 1):
        model = TinyModel.initial(letters, 2, range(SEEDS))
        numbers = [tensor.flatten(1) for tensor in (model.embedding, model.weight, model.bias)]
        rows = [[value for part in numbers for value in part[seed].tolist()] for seed in range(SEEDS)]
        found.append([[float(f"{value:.9g}") for value in row] for row in rows])
    return found
