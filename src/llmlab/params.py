"""How many parameters every model of the study has, trained and frozen apart.

Counted from the sizes that the models declare, under the settings with which the chapters build them; no model is
built, and torch is not imported.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.sizes import GPT2Size, GRUSize, Size, peer_size_of, size_of, sized
from llmlab.report.messages import Text, say
from llmlab.report.result import Table, columns_of
from llmlab.settings import BaselineSettings, EmbeddingFreezeSettings, LayersSettings, Phase1Settings, Phase12Settings

GPT2_VOCABULARY = 50_257
MINILM_VOCABULARY, MINILM_WIDTH = 30_522, 384
SYNTHETIC_VOCABULARY = 132
"""Words and marks of the synthetic language."""

TINY_FROZEN = {"none": (), "embedding": ("embedding.weight",), "linear": ("linear.weight", "linear.bias")}
"""The parts of chapter 1's model that stay as they are, by what is frozen."""

CAPTIONS = {"1 and 2": "params.about_tiny", "3 and 4": "params.about_recurrent", "5 and 6": "params.about_contexts"}
"""What is to be known of the counts, by chapters."""

CORNERS = {
    ("every", "decreasing"): "params.every_decreasing",
    ("first", "constant"): "params.first_constant",
    ("first", "decreasing"): "params.first_decreasing",
}
"""The other ways of reading and widening than that of the original notes: what a context layer reads, and its width."""

Row = tuple[Text, dict[str, int], Iterable[str]]
"""A model's name, its parameters by part, and the parts that stay as they are."""


def models() -> list[dict[str, Any]]:
    """Return the counts of every model of the study as strict JSON values, in the order of the chapters."""
    counted = []
    for chapters, rows in zip(CAPTIONS, (_tiny(), _recurrent(), _on_fixed_contexts()), strict=True):
        for name, parts, kept in rows:
            total, frozen = sum(parts.values()), sum(parts[part] for part in kept)
            sums = {"total": total, "trainable": total - frozen, "frozen": frozen}
            counted.append({"name": name, "chapters": chapters, **sums, "parts": parts, "frozen_parts": sorted(kept)})
    return counted


def tables(counted: list[dict[str, Any]]) -> list[Table]:
    """Return the counts as tables, one for every two chapters."""
    shown = ("name", "total", "trainable", "frozen")
    return [
        Table(
            f"chapters {chapters}",
            say("params.title", first=chapters[0], second=chapters[-1]),
            columns_of("model:text | total:integer | trained:integer | frozen:integer"),
            [[each[key] for key in shown] for each in counted if each["chapters"] == chapters],
            say(caption),
        )
        for chapters, caption in CAPTIONS.items()
    ]


def _tiny() -> Iterator[Row]:
    """Count the models of chapters 1 and 2."""
    for settings, freezes in ((Phase1Settings(), ["embedding"]), (Phase12Settings(), [*TINY_FROZEN])):
        size = len(set(settings.text))
        parts = {"embedding.weight": size * settings.dim, "linear.weight": size * settings.dim, "linear.bias": size}
        for freeze in freezes:
            yield say("params.tiny", dim=settings.dim, freeze=freeze), parts, TINY_FROZEN[freeze]


def _recurrent() -> Iterator[Row]:
    """Count the models of chapters 3 and 4."""
    for name, settings in _on_windows():
        words = _vocabulary(settings)
        yield name, _parts((size_of if settings.model == "new-llm" else peer_size_of)(settings, words)), ()
    yield say("params.tiny_gpt2_coded"), _parts(GPT2Size(layers=6)), ()


def _vocabulary(settings: BaselineSettings) -> int:
    return SYNTHETIC_VOCABULARY if settings.data == "synthetic" else settings.vocabulary


def _on_windows() -> Iterator[tuple[Text, BaselineSettings]]:
    """Yield New-LLM, its depths, its longer context, and its peers."""
    for preset in ("original", "advanced", "pocket"):
        yield say("params.new_llm", preset=preset), BaselineSettings(preset=preset)
    for preset in ("original", "pocket"):
        sweep = LayersSettings(preset=preset)
        for depth in sweep.depths:
            yield say("params.new_llm_deep", preset=preset, depth=depth), sweep.of_one(depth, sweep.stack)
    for depth in (1, 4, 6):
        wide = BaselineSettings(preset="original", layers=depth, context=512)
        yield say("params.new_llm_wide", preset="original", depth=depth, context=512), wide
    for preset in ("original", "pocket"):
        settings = BaselineSettings(preset=preset)
        for peer, key in (("tiny-gpt2", "params.tiny_gpt2"), ("gru", "params.gru")):
            yield say(key, preset=preset), sized(settings, peer, _vocabulary(settings))


def _parts(size: Size | GPT2Size | GRUSize) -> dict[str, int]:
    """Return the parameters by part; New-LLM's stack is one, and of a peer all but what has to do with words."""
    if isinstance(size, Size):
        parts: Counter[str] = Counter()
        for name, shape in size.shapes().items():
            parts[name.split(".")[0].rstrip("0123456789").replace("layer", "stack")] += math.prod(shape)
        return dict(parts)
    if isinstance(size, GPT2Size):
        words = {"embedding": size.vocabulary * size.width, "positions": size.positions * size.width}
        return words | {"blocks": size.parameters() - sum(words.values())}
    words = {"embedding": size.vocabulary * size.embedding, "output": size.vocabulary * (size.hidden + 1)}
    return words | {"recurrence": size.parameters() - sum(words.values())}


def _on_fixed_contexts() -> Iterator[Row]:
    """Count the models of chapters 5 and 6: the freeze grid at three sizes, then depths and widths at one."""
    presets = (EmbeddingFreezeSettings(preset=preset) for preset in ("original", "pocket"))
    original, pocket = (
        BlockSize(each.width, each.context, each.layers, each.inputs, each.wiring, each.widths) for each in presets
    )
    minilm = replace(original, embedding=MINILM_WIDTH, context=MINILM_WIDTH)
    large = "GPT-2 size", GPT2_VOCABULARY
    for name, vocabulary, size in (
        (*large, original),
        ("MiniLM size", MINILM_VOCABULARY, minilm),
        ("pocket", SYNTHETIC_VOCABULARY, pocket),
    ):
        for tied in (True, False):
            for trained in (False, True):
                yield _on_contexts(name, vocabulary, size, tied=tied, trained=trained)
    for layers in (1, 2, 3):
        yield _on_contexts(*large, replace(original, layers=layers))
    yield _on_contexts(*large, replace(original, layers=3), tied=False)
    for (injection, widths), corner in CORNERS.items():
        model, parts, frozen = _on_contexts(*large, replace(original, token_injection=injection, widths=widths))
        yield say(corner, model=model), parts, frozen


def _on_contexts(name: str, vocabulary: int, size: BlockSize, *, tied: bool = True, trained: bool = False) -> Row:
    """Count a token block on fixed contexts, its embedding tied to the head or not, trained or frozen."""
    parts = {
        "embedding": vocabulary * size.embedding,
        "context_block": size.context_parameters(),
        "norm": 2 * size.embedding,
        "token_block": size.token_parameters(),
    }
    if not tied:
        parts["head"] = vocabulary * (size.embedding + 1)
    arm = f"{'tied' if tied else 'untied'}, {'trained' if trained else 'frozen'}"
    frozen = ["context_block"] if trained else ["context_block", "embedding"]
    return say("params.contexts", size=name, layers=size.layers, arm=arm), parts, frozen
