"""The table of contents: every experiment's command, with its settings and its module.

Leaves out how a command reads its options (``options``) and what it does with them (``execute``).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import typer

from llmlab import settings as declared
from llmlab.cli.execute import execute
from llmlab.cli.options import chosen, signature, typed
from llmlab.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A command's settings, its module (named, not imported: it imports torch), its help and an example.

    ``follow_ups`` are its own commands, for what can be done with what it left.
    """

    settings: type[declared.Settings]
    module: str
    help: str
    example: str
    follow_ups: "dict[str, Chapter]" = dataclasses.field(default_factory=dict)


FOLLOW_UPS = {
    "evaluate": Chapter(
        declared.EvaluateSettings,
        "llmlab.after.evaluate",
        "Score a trained model, on its own text or another.",
        "llmlab baseline evaluate runs/baseline-pocket-…-1",
    ),
    "generate": Chapter(
        declared.GenerateSettings,
        "llmlab.after.generate",
        "Let a trained model write.",
        "llmlab baseline generate runs/baseline-pocket-…-1 --tokens 40 --temperature 0.8",
    ),
    "quantize": Chapter(
        declared.QuantizeSettings,
        "llmlab.after.quantize",
        "Keep a trained model in eight bits, and measure what that costs.",
        "llmlab baseline quantize runs/baseline-pocket-…-1",
    ),
    "finetune": Chapter(
        declared.FinetuneSettings,
        "llmlab.after.finetune",
        "Train a trained model on another text, against starting from nothing.",
        "llmlab baseline finetune runs/baseline-pocket-…-1 --seeds 3",
    ),
    "expand": Chapter(
        declared.ExpandSettings,
        "llmlab.after.expand",
        "Widen the context of a trained model in four ways, and see which can learn.",
        "llmlab baseline expand runs/baseline-pocket-…-1",
    ),
}
"""What can be done with a trained baseline: ``llmlab baseline <verb> CHECKPOINT``."""

CHAPTERS = {
    "phase1": Chapter(
        declared.Phase1Settings,
        "llmlab.phase1",
        "Train only the output layer; the embedding is frozen.",
        "llmlab phase1 --dim 8 --seeds 1000",
    ),
    "phase1-2": Chapter(
        declared.Phase12Settings,
        "llmlab.phase1_2",
        "How embeddings move, and what an inner product decides.",
        "llmlab phase1-2 --text banana --focus n --seeds 1000",
    ),
    "baseline": Chapter(
        declared.BaselineSettings,
        "llmlab.baseline",
        "Train New-LLM, a recurrent context-vector language model.",
        "llmlab baseline --preset pocket --layers 1",
        FOLLOW_UPS,
    ),
    "layers": Chapter(
        declared.LayersSettings,
        "llmlab.layers",
        "Depth sweep: how deep must the stack be?",
        "llmlab layers --layers 1,2 --seeds 3",
    ),
    "embedding-freeze": Chapter(
        declared.EmbeddingFreezeSettings,
        "llmlab.embedding_freeze",
        "Pretrained embeddings: frozen against trained, on the same text.",
        "llmlab embedding-freeze --arms frozen,trained --grow none",
    ),
    "two-stage": Chapter(
        declared.TwoStageSettings,
        "llmlab.two_stage",
        "Fixed contexts first, then the token block on top of them.",
        "llmlab two-stage --ablate noise --seeds 3",
    ),
}


def command(name: str, chapter: Chapter) -> Callable[..., Any]:
    """Return a function whose signature, as Typer reads it, is the experiment's settings and the run options."""

    def run(ctx: typer.Context, **values: Any) -> int:
        if ctx.invoked_subcommand is not None:
            _check_nothing_before(ctx, name, values)
            return 0
        return execute(name, chapter.module, chosen(ctx, values, chapter.settings))

    return signature(run, chapter.settings)


def _check_nothing_before(ctx: typer.Context, name: str, values: dict[str, Any]) -> None:
    """Refuse options between a command and its verb, where the verb would not read them.

    Raises:
        SettingError: there is one.
    """
    early = next((option for option in values if typed(ctx, option)), None)
    if early is not None:
        verb = ctx.invoked_subcommand
        raise SettingError(
            f"{declared.flag(early)}: it stands before {verb}, which does not see it; write "
            f"llmlab {name} {verb} CHECKPOINT, and its options after that"
        )
