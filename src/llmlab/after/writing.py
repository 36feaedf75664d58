"""A New-LLM writes on from a prompt, and every token is written down with what it was worth and what it cost.

Leaves out what is said about the text: ``generate``.
"""

import math
import time
from dataclasses import dataclass, field
from statistics import fmean, median

import torch

from llmlab.fast.reader import Reader, draw
from llmlab.lab.rng import generator
from llmlab.lab.steps import OnStep
from llmlab.settings import GenerateSettings
from llmlab.text.words import EOS, UNK

LEAST = 1e-300
"""A smaller probability counts as this one where its logarithm is taken."""

WARM_UP = 5


@dataclass
class Written:
    """What one seed wrote, and what each token cost; entropies in nats."""

    seed: int
    tokens: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    likeliest: list[int] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    state_bytes: set[int] = field(default_factory=set)

    def microseconds(self) -> tuple[float, float]:
        """Return what a token cost at the beginning and at the end: the medians of the first and last tenth."""
        tenth = max(1, len(self.seconds) // 10)
        return 1e6 * median(self.seconds[:tenth]), 1e6 * median(self.seconds[-tenth:])

    def surprises(self) -> list[float]:
        """Return -ln of each token's probability."""
        return [-math.log(max(one, LEAST)) for one in self.probabilities]

    def numbers(self) -> dict[str, float]:
        """Return the headline metrics."""
        first, last = self.microseconds()
        return {
            "tokens": float(len(self.tokens)),
            "unk_share": self.tokens.count(UNK) / len(self.tokens),
            "mean_probability": fmean(self.probabilities),
            "mean_entropy": fmean(self.entropies),
            "own_ppl": math.exp(fmean(self.surprises())),
            "microseconds_first": first,
            "microseconds_last": last,
        }


def write(
    reader: Reader,
    prompt: list[int],
    settings: GenerateSettings,
    seed: int,
    on_step: OnStep | None = None,
    before: int = 0,
) -> Written:
    """Return what the model writes after a prompt.

    Args:
        reader: the model.
        prompt: token numbers, one or more.
        settings: how many tokens, how they are drawn, and whether <eos> ends the text.
        seed: the same seed draws the same text.
        on_step: called after each token.
        before: tokens that other seeds were given already.
    """
    chance, written = generator("generate", seed), Written(seed)
    context = reader.own.new_zeros(reader.size.context)
    with torch.no_grad():
        _warm_up(reader, prompt[0], settings)
        for token in prompt[:-1]:
            _, context = reader.step(token, context)
        token = prompt[-1]
        for number in range(settings.tokens):
            start = time.perf_counter()
            scores, context = reader.step(token, context)
            token = draw(scores, settings.temperature, settings.top_k, chance)
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


def _warm_up(reader: Reader, token: int, settings: GenerateSettings) -> None:
    """Read and draw a few times for nothing: the first use of torch's functions would be counted as the first token."""
    context, chance = reader.own.new_zeros(reader.size.context), generator("warm-up")
    for _ in range(WARM_UP):
        scores, _ = reader.step(token, context)
        draw(scores, settings.temperature, settings.top_k, chance)
