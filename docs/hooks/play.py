"""The playground begins where ``llmlab phase1-2 --dim 2`` begins: its page gets the numbers of the first seeds.

They come from ``TinyModel.initial`` when the site is built, so they cannot drift from the package.  torch is imported
only for that page.
"""

from functools import cache

from llmlab.pages import play

SEEDS, MOST_LETTERS = 5, 8


def on_page_markdown(markdown: str, config, **_) -> str:
    """Return the page with the playground in place of its mark."""
    if play.PLACE not in markdown:
        return markdown
    return markdown.replace(play.PLACE, play.block(starts(), str(config.theme["language"] or "en")))


@cache
def starts() -> list[list[list[float]]]:
    """Return the models' numbers in float32's nine digits, by the number of letters and by seed."""
    from llmlab.phase1 import TinyModel  # imports torch

    found = []
    for letters in range(1, MOST_LETTERS + 1):
        model = TinyModel.initial(letters, 2, range(SEEDS))
        numbers = [tensor.flatten(1) for tensor in (model.embedding, model.weight, model.bias)]
        rows = [[value for part in numbers for value in part[seed].tolist()] for seed in range(SEEDS)]
        found.append([[float(f"{value:.9g}") for value in row] for row in rows])
    return found
