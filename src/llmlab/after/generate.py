"""``llmlab baseline generate CHECKPOINT``: a trained New-LLM writes.

Question: what does the model write, how sure is it of each token, and does the thousandth token cost what the first
one did?

    scores, context = step(token, context)
    token ~ softmax(scores / temperature), among the k likeliest

The prompt is read from an empty context up to its last token; then these two lines again and again.  Nothing is kept
but one context vector and one token.  Probability and entropy are the model's own, before temperature and top-k.

But: how good the text is stays for the reader to say; perplexity on held-out text is measured by ``evaluate``.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from statistics import fmean, median
from typing import NamedTuple

import torch
from torch import Tensor

from llmlab.after.opening import Restored, opened_new_llm
from llmlab.fast.reader import Reader
from llmlab.lab.rng import generator
from llmlab.lab.steps import OnStep
from llmlab.measure.stats import metrics_of
from llmlab.report.messages import Text, say
from llmlab.report.result import Result, Scalar, rounded
from llmlab.settings import GenerateSettings
from llmlab.shown import generate as shown
from llmlab.text.story import STORY, closed, spaced
from llmlab.text.words import EOS, MARKS, UNK

LEAST = 1e-300
"""A smaller probability counts as this one where its logarithm is taken."""

WARM_UP = 5
LONGEST_TEXT = 10_000
"""Characters of the text in the JSON document."""


# ---- writing ----------------------------------------------------------------------------------------------------


def draw(logits: Tensor, temperature: float, top_k: int, rng: torch.Generator) -> int:
    """Return a token drawn from softmax(logits / temperature), (V,), among the ``top_k`` likeliest, or all for 0.

    Temperature 0 takes the likeliest; of equal ones the first counts.  ``rng`` is asked once, and not at all for that.
    """
    if temperature == 0:
        return int(logits.argmax())
    values, tokens = logits.double().sort(descending=True, stable=True)
    values = values[:top_k] if top_k else values
    # the largest is taken off first: then no temperature, however small, makes a number that is not one
    weights = ((values - values[0]) / temperature).exp()
    return int(tokens[torch.multinomial(weights, 1, generator=rng)])


class Token(NamedTuple):
    """One token that was written: its number, the model's own probability of it, and what it cost.

    ``likeliest`` could have stood in its place, ``entropy`` (nats) is that of the choice, and ``state_bytes`` are what
    is kept for the next one.
    """

    number: int
    probability: float
    likeliest: int
    entropy: float
    seconds: float
    state_bytes: int


@torch.no_grad()
def write(reader: Reader, prompt: list[int], settings: GenerateSettings, seed: int) -> Iterator[Token]:
    """Write, token by token, after a prompt of one token or more; the same seed draws the same text."""
    rng, context = generator("generate", seed), reader.own.new_zeros(reader.size.context)
    for _ in range(WARM_UP):  # the first use of torch's functions would be counted as the first token
        draw(reader.step(prompt[0], context)[0], settings.temperature, settings.top_k, generator("warm-up"))
    for token in prompt[:-1]:
        _, context = reader.step(token, context)
    token = prompt[-1]
    for _ in range(settings.tokens):
        start = time.perf_counter()
        scores, context = reader.step(token, context)
        token = draw(scores, settings.temperature, settings.top_k, rng)
        seconds = time.perf_counter() - start
        logs = scores.double().log_softmax(0)
        entropy = -float((logs.exp() * logs).sum())
        kept = context.untyped_storage().nbytes() + 8  # and the last token, an int64
        yield Token(token, float(logs[token].exp()), int(scores.argmax()), entropy, seconds, kept)
        if token == EOS and settings.stop:
            return


def words_of(found: Restored, text: str) -> str:
    """Return a prompt with its words as those of the model's own text stand: the story's signs are words too."""
    return spaced(text) if found.settings.data == STORY else text


def continuing(settings: GenerateSettings, tell: Callable[[Text], object] | None = None) -> Callable[[str], str]:
    """Return a function that goes on after a line, as people write: without marks, and never with <unk>.

    Each line is drawn from a seed of its own, the first one from the settings'.  ``tell`` is called with what is to say
    of the choice of the checkpoint.  The function refuses a line that is too long by a ``SettingError``.
    """
    found, model = opened_new_llm(settings.checkpoint, "generate")
    model.parameters["output.bias"][UNK] = -math.inf
    if tell:
        for note in found.notes:
            tell(note)
    reader, seeds = Reader(model), count(settings.seed)

    def go_on(line: str) -> str:
        asked = words_of(found, replace(settings, prompt=line).prompt)
        written = write(reader, found.vocabulary.encode(asked)[:-1], settings, next(seeds))
        return closed(found.vocabulary.decode(one.number for one in written if one.number >= len(MARKS)))

    return go_on


# ---- what was written, in numbers -------------------------------------------------------------------------------


def surprises(written: list[Token]) -> list[float]:
    """Return -ln of each token's probability."""
    return [-math.log(max(one.probability, LEAST)) for one in written]


def microseconds(written: list[Token]) -> tuple[float, float]:
    """Return what a token cost at the beginning and at the end: the medians of the first and last tenth."""
    tenth = max(1, len(written) // 10)
    return 1e6 * median(one.seconds for one in written[:tenth]), 1e6 * median(one.seconds for one in written[-tenth:])


def numbers(written: list[Token]) -> dict[str, float]:
    """Return the headline metrics of one seed."""
    first, last = microseconds(written)
    return {
        "tokens": float(len(written)),
        "unk_share": fmean(one.number == UNK for one in written),
        "mean_probability": fmean(one.probability for one in written),
        "mean_entropy": fmean(one.entropy for one in written),
        "own_ppl": math.exp(fmean(surprises(written))),
        "microseconds_first": first,
        "microseconds_last": last,
    }


def run(settings: GenerateSettings, on_step: OnStep | None = None) -> Result:
    """Let the New-LLM of a checkpoint write one text per seed."""
    found, model = opened_new_llm(settings.checkpoint, "generate")
    words = found.vocabulary
    asked = words_of(found, settings.prompt)
    prompt = words.encode(asked)[:-1]  # without <eos>: the line goes on
    reader, texts = Reader(model), dict[int, list[Token]]()
    for place, seed in enumerate(settings.every_seed):
        texts[seed] = []
        for one in write(reader, prompt, settings, seed):
            texts[seed].append(one)
            if on_step:
                on_step(place * settings.tokens + len(texts[seed]), settings.seeds * settings.tokens, "writing")
    first, every = texts[settings.seed], [one for text in texts.values() for one in text]
    by_seed, states = [numbers(text) for text in texts.values()], sorted({one.state_bytes for one in every})
    samples = {name: [one[name] for one in by_seed] for name in by_seed[0]}
    written = {seed: [one.number for one in text] for seed, text in texts.items()}
    text = closed(words.decode(written[settings.seed]))
    metrics: dict[str, Scalar] = {"state_bytes": states[0], "state_bytes_most": states[-1], **metrics_of(samples)}
    metrics["base_data"] = found.settings.data
    metrics["stopped_at_eos"] = all(tokens[-1] == EOS for tokens in written.values())
    metrics["text"] = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"
    chances = fmean(one.probability for one in every)
    costs = []
    for seed, tokens in texts.items():
        kept = [one.state_bytes for one in tokens]
        costs.append((seed, len(tokens), *microseconds(tokens), min(kept), max(kept)))
    return Result(
        settings.experiment,
        settings.document(),
        say("generate.why"),
        say("generate.how"),
        metrics=metrics,
        summary=[
            *shown.summary(settings, words, asked, prompt, written, chances, microseconds(first), states),
            *found.notes,
        ],
        tables=[
            found.table(),
            shown.the_text(words, prompt, written),
            shown.one_by_one(words, [one[:4] for one in first]),
            shown.cost(costs),
        ],
        figures=[
            shown.surprise(surprises(first), [one.entropy for one in first]),
            shown.price([1e6 * one.seconds for one in first], *microseconds(first)),
        ],
        samples={name: rounded(values) for name, values in samples.items()},
    )
