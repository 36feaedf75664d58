"""``llmlab baseline generate CHECKPOINT``: a trained New-LLM writes.

Question: what does the model write, how sure is it of each token, and does the thousandth token cost what the first
one did?

The prompt is read from an empty context up to its last token.  Then, again and again, the last token is read with the
context before it: that gives the scores from which the next token is drawn, and the next context.

Covers temperature and top-k, the model's own probability of what it wrote, and what the state and a token cost.
But: how good the text is stays for the reader to say; perplexity on held-out text is measured by ``evaluate``.
"""

import math
from collections.abc import Callable
from statistics import fmean, median

from llmlab.after.opening import opened_new_llm, the_model
from llmlab.after.writing import Written, write
from llmlab.fast.reader import Reader
from llmlab.lab.steps import OnStep
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Cell, Column, Figure, Mark, Result, Scalar, Table, counted, rounded
from llmlab.settings import GenerateSettings
from llmlab.text.words import EOS, UNK, WordVocabulary

WHY = (
    "A recurrent model whose whole memory is one vector can write without end at a price that does not grow. What does "
    "it write, and how sure is it of each word?"
)
HOW = (
    "The prompt is read from an empty context up to its last token. Then the last token is read with the context "
    "before it, a next token is drawn from softmax(scores / temperature), and so on. Nothing is kept but one context "
    "vector and one token. Probability and entropy are the model's own, before temperature and top-k."
)
SHOWN_FIRST, SHOWN_LAST, IN_A_ROW = 240, 80, 8
"""How many tokens of a long text are shown; a row of the table has eight."""

ONE_BY_ONE, IN_SHORT, POINTS = 20, 60, 200
LONGEST_TEXT = 10_000
"""Characters of the text in the JSON document."""


def run(settings: GenerateSettings, on_step: OnStep | None = None) -> Result:
    """Let the New-LLM of a checkpoint write one text per seed.

    Args:
        settings: the options.
        on_step: called after each token with its number, the number planned, and a few words.

    Raises:
        CheckpointError: there is no usable checkpoint.
        SettingError: it holds another model.
    """
    found, model = opened_new_llm(settings.checkpoint, "generate")
    words = found.vocabulary
    prompt = words.encode(settings.prompt)[:-1]  # without <eos>: the line goes on
    reader, texts = Reader(model), list[Written]()
    for seed in range(settings.seed, settings.seed + settings.seeds):
        texts.append(write(reader, prompt, settings, seed, on_step, before=len(texts) * settings.tokens))
    numbers = [text.numbers() for text in texts]
    samples = {name: [one[name] for one in numbers] for name in numbers[0]}
    states = sorted(set().union(*(text.state_bytes for text in texts)))
    metrics: dict[str, Scalar] = {"state_bytes": states[0], "state_bytes_most": states[-1]}
    for name, values in samples.items():
        metrics |= {name + suffix: value for suffix, value in mean_interval(values).items()}
    metrics["stopped_at_eos"] = all(text.tokens[-1] == EOS for text in texts)
    metrics["text"] = cut(words.decode(texts[0].tokens))
    return Result(
        settings.experiment,
        settings.document(),
        WHY,
        HOW,
        metrics=metrics,
        summary=_summary(settings, words, prompt, texts, states),
        tables=[the_model(found), the_text(words, prompt, texts), one_by_one(words, texts[0]), cost(texts)],
        figures=[surprise(texts[0]), price(texts[0])],
        samples={name: rounded(values) for name, values in samples.items()},
    )


def the_text(words: WordVocabulary, prompt: list[int], texts: list[Written]) -> Table:
    """Return prompt and text, eight tokens in a row; of a long text its beginning and its end."""
    rows: list[list[Cell]] = [["prompt", None, words.decode(prompt)]]
    for text in texts:
        rows += [[f"seed {text.seed}", *row] for row in _rows(words, text.tokens)]
    return Table(
        "text",
        "What the model wrote",
        [Column("who", "text"), Column("from token", "integer"), Column("tokens", "token")],
        rows,
        "<unk> stands for any word without a number: the model has learned to expect it, but cannot say which word.",
    )


def _rows(words: WordVocabulary, tokens: list[int]) -> list[list[Cell]]:
    starts = range(0, len(tokens), IN_A_ROW)
    whole = len(tokens) <= SHOWN_FIRST + SHOWN_LAST
    rows: list[list[Cell]] = []
    for start in starts:
        if whole or start < SHOWN_FIRST or start >= len(tokens) - SHOWN_LAST:
            rows.append([start + 1, words.decode(tokens[start : start + IN_A_ROW])])
        elif rows[-1][0] is not None:
            rows.append([None, "…"])
    return rows


def one_by_one(words: WordVocabulary, text: Written) -> Table:
    """Return the first tokens, how likely each was, and what was likeliest in its place."""
    several = zip(text.tokens, text.probabilities, text.likeliest, text.entropies, strict=True)
    rows: list[list[Cell]] = [
        [number, words.words[token], probability, words.words[likeliest], entropy]
        for number, (token, probability, likeliest, entropy) in enumerate(several, 1)
        if number <= ONE_BY_ONE
    ]
    return Table(
        "tokens",
        "Token by token",
        [
            Column("token", "integer"),
            Column("drawn", "token"),
            Column("probability", "share"),
            Column("likeliest", "token"),
            Column("entropy", digits=2),
        ],
        rows,
        "The model's own distribution, before temperature and top-k; entropy in nats, at most "
        f"{math.log(len(words)):.2f}."
        + (f" The first {ONE_BY_ONE} of {len(text.tokens):,} tokens." if len(text.tokens) > ONE_BY_ONE else ""),
    )


def cost(texts: list[Written]) -> Table:
    """Return what a token and the state cost at the beginning and at the end of each text."""
    rows: list[list[Cell]] = []
    for text in texts:
        first, last = text.microseconds()
        states = sorted(text.state_bytes)
        rows.append([text.seed, len(text.tokens), first, last, states[0], states[-1]])
    return Table(
        "cost",
        "What a token costs",
        [
            Column("seed", "integer"),
            Column("tokens", "integer"),
            Column("µs per token, first tenth", digits=0),
            Column("µs per token, last tenth", digits=0),
            Column("state bytes, least", "integer"),
            Column("state bytes, most", "integer"),
        ],
        rows,
        "Medians of step and draw, on this machine with whatever else it did. The state is the context vector and the "
        "last token: all that the model knows of what it wrote.",
    )


def surprise(text: Written) -> Figure:
    """Return how surprising each token was to the model that drew it, beside how unsure it was."""
    surprises = text.surprises()
    xs, ys = _thinned(surprises)
    _, unsure = _thinned(text.entropies)
    return Figure(
        "surprise",
        "How sure the model is of what it writes",
        f"Surprise of the drawn tokens, mean {fmean(surprises):.2f} nats, beside the entropy of the distributions "
        f"they were drawn from, mean {fmean(text.entropies):.2f}; equal on the average at temperature 1.",
        "token",
        "nats",
        [Mark("line", "series", xs, ys, legend="surprise"), Mark("line", "other", xs, unsure, legend="entropy")],
        after="tokens",
    )


def price(text: Written) -> Figure:
    """Return what each token cost."""
    # few points, so that each is the median of several tokens: one that another process held up says nothing
    xs, ys = _thinned([1e6 * one for one in text.seconds], median, POINTS // 5)
    first, last = text.microseconds()
    return Figure(
        "price",
        "What a token costs",
        f"Microseconds per token: {first:.0f} in the first tenth, {last:.0f} in the last of "
        f"{counted(len(text.tokens), 'token')}.",
        "token",
        "microseconds",
        [Mark("line", "series", xs, ys, legend="step and draw")],
        after="cost",
    )


def _thinned(
    values: list[float], middle: Callable[[list[float]], float] = fmean, most: int = POINTS
) -> tuple[list[float], list[float]]:
    """Return at most ``most`` points: the middle of each stretch of values, at the stretch's end."""
    stretch = -(-len(values) // most)
    parts = [values[start : start + stretch] for start in range(0, len(values), stretch)]
    ends = [float(min((number + 1) * stretch, len(values))) for number in range(len(parts))]
    return ends, rounded(middle(part) for part in parts)


def cut(text: str) -> str:
    """Return a text, or as much of it as a record has room for."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"


def _summary(
    settings: GenerateSettings, words: WordVocabulary, prompt: list[int], texts: list[Written], states: list[int]
) -> list[str]:
    text = texts[0]
    after = f"After “{words.decode(prompt[1:][-IN_SHORT:])}” it" if len(prompt) > 1 else "It"
    more = " …" if len(text.tokens) > IN_SHORT else ""
    told = [f"{after} wrote: {words.decode(text.tokens[:IN_SHORT])}{more}"]
    unknown = [word for word in dict.fromkeys(settings.prompt.lower().split()) if word not in words.numbers]
    if unknown:
        some = ", ".join(unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        told.append(f"In the prompt the model does not know {some}: it read <unk>.")
    tokens = [token for one in texts for token in one.tokens]
    chances = [one for each in texts for one in each.probabilities]
    told.append(
        f"Of {counted(len(tokens), 'token')} {tokens.count(UNK) / len(tokens):.1%} are <unk>; the model gave those it "
        f"wrote a probability of {fmean(chances):.1%} on the average."
    )
    if settings.stop and text.tokens[-1] == EOS and len(text.tokens) < settings.tokens:
        told.append(f"It ended the line itself after {counted(len(text.tokens), 'token')}; --no-stop lets it go on.")
    if not settings.stop and EOS in text.tokens[:-1]:
        told.append("After <eos> it reads on, which it never did in training.")
    first, last = text.microseconds()
    grown = "did not grow" if len(states) == 1 else f"grew to {states[-1]:,}"
    told.append(
        f"A token cost {first:.0f} µs at first and {last:.0f} µs at last; the state of {states[0]:,} bytes {grown}."
    )
    return told
