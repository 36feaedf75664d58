"""How many parameters every model of the study has, trained and frozen apart.

Counted from the sizes that the models declare, under the settings with which the chapters build them; no model is
built, and torch is not imported.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from llmlab.lab.block_sizes import BlockSize
from llmlab.lab.sizes import GPT2Size, GRUSize, Size, peer_size_of, size_of, sized
from llmlab.report.messages import Text, say
from llmlab.report.result import Table, columns_of
from llmlab.settings import (
    BaselineSettings,
    EmbeddingFreezeSettings,
    LayersSettings,
    Phase1Settings,
    Phase12Settings,
)

GPT2_VOCABULARY = 50_257
MINILM_VOCABULARY, MINILM_WIDTH = 30_522, 384
SYNTHETIC_VOCABULARY = 132
"""Words and marks of the synthetic language."""

TINY_FROZEN = {"none": [], "embedding": ["embedding.weight"], "linear": ["linear.weight", "linear.bias"]}
"""The parts of chapter 1's model that stay as they are, by what is frozen."""

CAPTIONS = {
    "1 and 2": "params.about_tiny",
    "3 and 4": "params.about_recurrent",
    "5 and 6": "params.about_contexts",
}
"""What is to be known of the counts, by chapters."""

CORNERS = {
    ("every", "decreasing"): "params.every_decreasing",
    ("first", "constant"): "params.first_constant",
    ("first", "decreasing"): "params.first_decreasing",
}
"""The other ways of reading and widening than that of the original notes: what a context layer reads, and its width."""


@dataclass(frozen=True)
class Counted:
    """The parameters of one model by part, and the parts that stay as they are."""

    chapters: str
    name: Text
    parts: dict[str, int]
    frozen: frozenset[str] = frozenset()

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parts.values())

    @property
    def trainable(self) -> int:
        """Those that are trained."""
        return sum(count for part, count in self.parts.items() if part not in self.frozen)


def models() -> list[Counted]:
    """Return every model of the study, in the order of the chapters."""
    return [*_tiny(), *_recurrent(), *_on_fixed_contexts()]


def document(counted: list[Counted]) -> dict[str, Any]:
    """Return the counts as strict JSON values."""
    return {
        "schema": "llmlab.params/1",
        "models": [
            {
                "name": each.name,
                "chapters": each.chapters,
                "total": each.total,
                "trainable": each.trainable,
                "frozen": each.total - each.trainable,
                "parts": each.parts,
                "frozen_parts": sorted(each.frozen),
            }
            for each in counted
        ],
    }


def tables(counted: list[Counted]) -> list[Table]:
    """Return the counts as tables, one for every two chapters."""
    return [
        Table(
            f"chapters {chapters}",
            say("params.title", first=chapters[0], second=chapters[-1]),
            columns_of("model:text | total:integer | trained:integer | frozen:integer"),
            [
                [each.name, each.total, each.trainable, each.total - each.trainable]
                for each in counted
                if each.chapters == chapters
            ],
            say(caption),
        )
        for chapters, caption in CAPTIONS.items()
    ]


def _tiny() -> Iterator[Counted]:
    """Count the models of chapters 1 and 2."""
    for settings, freezes in ((Phase1Settings(), ("embedding",)), (Phase12Settings(), tuple(TINY_FROZEN))):
        size = len(set(settings.text))
        parts = {"embedding.weight": size * settings.dim, "linear.weight": size * settings.dim, "linear.bias": size}
        for freeze in freezes:
            name = say("params.tiny", dim=settings.dim, freeze=freeze)
            yield Counted("1 and 2", name, parts, frozenset(TINY_FROZEN[freeze]))


def _recurrent() -> Iterator[Counted]:
    """Count New-LLM, its depths, its longer context, and its peers: chapters 3 and 4."""
    chapters = "3 and 4"

    def words(settings: BaselineSettings) -> int:
        return SYNTHETIC_VOCABULARY if settings.data == "synthetic" else settings.vocabulary

    def new_llm(settings: BaselineSettings, name: Text) -> Counted:
        return Counted(chapters, name, _new_llm(size_of(settings, words(settings))))

    for preset in ("original", "advanced", "pocket"):
        yield new_llm(BaselineSettings(preset=preset), say("params.new_llm", preset=preset))
    for preset in ("original", "pocket"):
        sweep = LayersSettings(preset=preset)
        for depth in sweep.depths:
            yield new_llm(sweep.of_one(depth, sweep.stack), say("params.new_llm_deep", preset=preset, depth=depth))
    for depth in (1, 4, 6):
        wide = BaselineSettings(preset="original", layers=depth, context=512)
        yield new_llm(wide, say("params.new_llm_wide", preset="original", depth=depth, context=512))
    for preset in ("original", "pocket"):
        settings = BaselineSettings(preset=preset)
        for peer, key in (("tiny-gpt2", "params.tiny_gpt2"), ("gru", "params.gru")):
            size = peer_size_of(sized(settings, peer, words(settings)), words(settings))
            yield Counted(chapters, say(key, preset=preset), _peer(size))
    yield Counted(chapters, say("params.tiny_gpt2_coded"), _peer(GPT2Size(layers=6)))


def _new_llm(size: Size) -> dict[str, int]:
    """Return New-LLM's parameters by part: the layers of the stack are one."""
    parts: Counter[str] = Counter()
    for name, shape in size.shapes().items():
        parts[name.split(".")[0].rstrip("0123456789").replace("layer", "stack")] += math.prod(shape)
    return dict(parts)


def _peer(size: GPT2Size | GRUSize) -> dict[str, int]:
    """Return a peer's parameters by part: what turns words into numbers and back, and the rest."""
    if isinstance(size, GPT2Size):
        words = {"embedding": size.vocabulary * size.width, "positions": size.positions * size.width}
        return words | {"blocks": size.parameters() - sum(words.values())}
    words = {"embedding": size.vocabulary * size.embedding, "output": size.vocabulary * (size.hidden + 1)}
    return words | {"recurrence": size.parameters() - sum(words.values())}


def _on_fixed_contexts() -> Iterator[Counted]:
    """Count the models of chapters 5 and 6: the freeze grid at three sizes, then depths and widths at one."""
    presets = (EmbeddingFreezeSettings(preset=preset) for preset in ("original", "pocket"))
    original, pocket = (
        BlockSize(each.width, each.context, each.layers, each.inputs, each.wiring, each.widths) for each in presets
    )
    yield from _grid("GPT-2 size", GPT2_VOCABULARY, original)
    yield from _grid("MiniLM size", MINILM_VOCABULARY, replace(original, embedding=MINILM_WIDTH, context=MINILM_WIDTH))
    yield from _grid("pocket", SYNTHETIC_VOCABULARY, pocket)
    for layers in (1, 2, 3):
        yield _on_contexts("GPT-2 size", GPT2_VOCABULARY, replace(original, layers=layers))
    yield _on_contexts("GPT-2 size", GPT2_VOCABULARY, replace(original, layers=3), tied=False)
    for (injection, widths), corner in CORNERS.items():
        size = replace(original, token_injection=injection, widths=widths)
        here = _on_contexts("GPT-2 size", GPT2_VOCABULARY, size)
        yield replace(here, name=say(corner, model=here.name))


def _grid(name: str, vocabulary: int, size: BlockSize) -> Iterator[Counted]:
    """Count the four arms of the freeze grid at one size."""
    for tied in (True, False):
        for trained in (False, True):
            yield _on_contexts(name, vocabulary, size, tied=tied, trained=trained)


def _on_contexts(name: str, vocabulary: int, size: BlockSize, *, tied: bool = True, trained: bool = False) -> Counted:
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
    frozen = frozenset({"context_block"} if trained else {"context_block", "embedding"})
    return Counted("5 and 6", say("params.contexts", size=name, layers=size.layers, arm=arm), parts, frozen)
