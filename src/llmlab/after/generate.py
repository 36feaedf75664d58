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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import fmean, median

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


@dataclass
class Written:
    """What one seed wrote, token by token, with the model's own probabilities and entropies, and what each cost."""

    seed: int
    tokens: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    likeliest: list[int] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)  # nats
    seconds: list[float] = field(default_factory=list)
    state_bytes: set[int] = field(default_factory=set)


def write(
    reader: Reader,
    prompt: list[int],
    settings: GenerateSettings,
    seed: int,
    on_step: OnStep | None = None,
    before: int = 0,
) -> Written:
    """Return what the model writes after a prompt of one token or more; the same seed draws the same text.

    ``on_step`` is told of each token, ``before`` of them having been given to other seeds.
    """
    rng, written = generator("generate", seed), Written(seed)
    context = reader.own.new_zeros(reader.size.context)
    with torch.no_grad():
        for _ in range(WARM_UP):  # the first use of torch's functions would be counted as the first token
            draw(reader.step(prompt[0], context)[0], settings.temperature, settings.top_k, generator("warm-up"))
        for token in prompt[:-1]:
            _, context = reader.step(token, context)
        token = prompt[-1]
        for number in range(settings.tokens):
            start = time.perf_counter()
            scores, context = reader.step(token, context)
            token = draw(scores, settings.temperature, settings.top_k, rng)
            written.seconds.append(time.perf_counter() - start)
            logs = scores.double().log_softmax(0)
            written.tokens.append(token)
            written.probabilities.append(float(logs[token].exp()))
            written.likeliest.append(int(scores.argmax()))
            written.entropies.append(-float((logs.exp() * logs).sum()))
            written.state_bytes.add(context.untyped_storage().nbytes() + 8)  # and the last token, an int64
            if on_step:
                on_step(before + number + 1, settings.seeds * settings.tokens, "writing")
            if token == EOS and settings.stop:
                break
    return written


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
        return closed(found.vocabulary.decode(token for token in written.tokens if token >= len(MARKS)))

    return go_on


# ---- what was written, in numbers -------------------------------------------------------------------------------


def surprises(written: Written) -> list[float]:
    """Return -ln of each token's probability."""
    return [-math.log(max(one, LEAST)) for one in written.probabilities]


def microseconds(written: Written) -> tuple[float, float]:
    """Return what a token cost at the beginning and at the end: the medians of the first and last tenth."""
    tenth = max(1, len(written.seconds) // 10)
    return 1e6 * median(written.seconds[:tenth]), 1e6 * median(written.seconds[-tenth:])


def numbers(written: Written) -> dict[str, float]:
    """Return the headline metrics of one seed."""
    first, last = microseconds(written)
    return {
        "tokens": float(len(written.tokens)),
        "unk_share": written.tokens.count(UNK) / len(written.tokens),
        "mean_probability": fmean(written.probabilities),
        "mean_entropy": fmean(written.entropies),
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
    reader, texts = Reader(model), list[Written]()
    for seed in settings.every_seed:
        texts.append(write(reader, prompt, settings, seed, on_step, before=len(texts) * settings.tokens))
    first, states = texts[0], sorted(set().union(*(text.state_bytes for text in texts)))
    by_seed = [numbers(text) for text in texts]
    samples = {name: [one[name] for one in by_seed] for name in by_seed[0]}
    text = closed(words.decode(first.tokens))
    metrics: dict[str, Scalar] = {"state_bytes": states[0], "state_bytes_most": states[-1], **metrics_of(samples)}
    metrics["base_data"] = found.settings.data
    metrics["stopped_at_eos"] = all(text.tokens[-1] == EOS for text in texts)
    metrics["text"] = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"
    chances = fmean(one for each in texts for one in each.probabilities)
    written = {text.seed: text.tokens for text in texts}
    costs = [
        (text.seed, len(text.tokens), *microseconds(text), min(text.state_bytes), max(text.state_bytes))
        for text in texts
    ]
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
            shown.one_by_one(words, first.tokens, first.probabilities, first.likeliest, first.entropies),
            shown.cost(costs),
        ],
        figures=[
            shown.surprise(surprises(first), first.entropies),
            shown.price([1e6 * one for one in first.seconds], *microseconds(first)),
        ],
        samples={name: rounded(values) for name, values in samples.items()},
    )
