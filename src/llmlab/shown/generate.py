"""What is shown of a text that a model wrote: the text itself, how sure the model was of it, and what it cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median

from llmlab.report.messages import Text, say
from llmlab.report.result import Cell, Figure, Mark, Table, rounded
from llmlab.settings import GenerateSettings
from llmlab.shown.table import figure, table, tell
from llmlab.text.story import closed
from llmlab.text.words import EOS, UNK, WordVocabulary

SHOWN_FIRST, SHOWN_LAST, IN_A_ROW = 240, 80, 8
"""How many tokens of a long text are shown; a row of the table has eight."""

ONE_BY_ONE, IN_SHORT, POINTS = 20, 60, 200


def the_text(words: WordVocabulary, prompt: list[int], texts: Mapping[int, list[int]]) -> Table:
    """Return prompt and text of each seed, eight tokens in a row; of a long text its beginning and its end."""
    rows: list[list[Cell]] = [["prompt", None, words.decode(prompt)]]
    for seed, tokens in texts.items():
        who, end = say("generate.seed", seed=seed), max(SHOWN_FIRST, len(tokens) - SHOWN_LAST)
        for start in range(0, len(tokens), IN_A_ROW):
            if start < SHOWN_FIRST or start >= end:
                rows.append([who, start + 1, words.decode(tokens[start : start + IN_A_ROW])])
            elif rows[-1][1] is not None:
                rows.append([who, None, "…"])
    return table("generate.text", rows)


def one_by_one(words: WordVocabulary, written: Sequence[tuple[int, float, int, float]]) -> Table:
    """Return the first tokens, how likely each was, what was likeliest in its place, and the entropy of the choice."""
    rows = [
        (number, words.words[token], probability, words.words[likely], entropy)
        for number, (token, probability, likely, entropy) in enumerate(written[:ONE_BY_ONE], 1)
    ]
    tokens, most = len(written), math.log(len(words))
    says = "generate.first_tokens" if tokens > ONE_BY_ONE else ""
    return table("generate.tokens", rows, says=says, most=most, shown=ONE_BY_ONE, tokens=tokens)


def cost(rows: Sequence[Sequence[Cell]]) -> Table:
    """Return what a token and the state cost at the beginning and at the end of each text."""
    return table("generate.cost", rows)


def surprise(surprises: Sequence[float], entropies: Sequence[float]) -> Figure:
    """Return how surprising each token was to the model that drew it, beside how unsure it was."""
    marks = [
        Mark("line", "series", *_thinned(surprises), legend="surprise"),
        Mark("line", "other", *_thinned(entropies), legend="entropy"),
    ]
    return figure("generate.surprise", marks, surprise=fmean(surprises), entropy=fmean(entropies))


def price(microseconds: Sequence[float], first: float, last: float) -> Figure:
    """Return what each token cost; ``first`` and ``last`` are the medians of the first and last tenth."""
    # few points, so that each is the median of several tokens: one that another process held up says nothing
    xs, ys = _thinned(microseconds, median, POINTS // 5)
    line = Mark("line", "series", xs, ys, legend="step and draw")
    return figure("generate.price", [line], first=first, last=last, tokens=len(microseconds))


def _thinned(
    values: Sequence[float], middle: Callable[[Sequence[float]], float] = fmean, most: int = POINTS
) -> tuple[list[float], list[float]]:
    """Return at most ``most`` points: the middle of each stretch of values, at the stretch's end."""
    stretch = -(-len(values) // most)
    parts = [values[start : start + stretch] for start in range(0, len(values), stretch)]
    ends = [float(min((number + 1) * stretch, len(values))) for number in range(len(parts))]
    return ends, rounded(middle(part) for part in parts)


def summary(
    settings: GenerateSettings,
    words: WordVocabulary,
    asked: str,
    prompt: list[int],
    texts: Mapping[int, list[int]],
    probability: float,
    cost: tuple[float, float],
    states: Sequence[int],
) -> list[Text]:
    """Return the run in a few sentences.

    ``asked`` is the prompt as it was read, ``prompt`` its tokens, ``probability`` the mean one of what was written,
    ``cost`` that of a token at first and at last, in microseconds, and ``states`` the sizes of the state, rising.
    """
    first, every = next(iter(texts.values())), [token for tokens in texts.values() for token in tokens]
    unknown = [word for word in dict.fromkeys(asked.lower().split()) if word not in words.numbers]
    said = {
        "prompt": closed(words.decode(prompt[1:][-IN_SHORT:])),
        "text": closed(words.decode(first[:IN_SHORT])) + (" …" if len(first) > IN_SHORT else ""),
        "words": ", ".join(unknown[:5]),
    }
    told = tell(
        said,
        "generate.wrote_after" if said["prompt"] else "generate.wrote",
        "generate.unknown_words" if len(unknown) > 5 else "generate.unknown" if unknown else "",
    )
    told.append(say("generate.sure", tokens=len(every), unknown=every.count(UNK) / len(every), probability=probability))
    if settings.stop and first[-1] == EOS and len(first) < settings.tokens:
        told.append(say("generate.stopped", tokens=len(first)))
    if not settings.stop and EOS in first[:-1]:
        told.append(say("generate.read_on"))
    took = {"first": cost[0], "last": cost[1], "least": states[0], "most": states[-1]}
    return [*told, *tell(took, "generate.state" if len(states) == 1 else "generate.state_grew")]
