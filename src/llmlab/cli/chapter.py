"""The table of contents: every experiment's command, with its settings and its module.

Leaves out how a command reads its options (``options``) and what it does with them (``execute``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import typer

from llmlab import settings as of
from llmlab.cli.execute import execute
from llmlab.cli.lines import LINES, continue_lines
from llmlab.cli.options import chosen, signature, typed
from llmlab.errors import SettingError


@dataclass(frozen=True)
class Chapter:
    """A command's settings, its module (named, not imported: it imports torch), its help and an example.

    ``follow_ups`` are its own commands, for what can be done with what it left.
    """

    settings: type[of.Settings]
    module: str
    help: str
    example: str
    follow_ups: "dict[str, Chapter]" = field(default_factory=dict)


def _after(settings: type[of.Settings], help_text: str, options: str = "") -> Chapter:
    """Return what can be done with a trained baseline: ``llmlab baseline <verb> CHECKPOINT``."""
    verb = settings.experiment
    example = f"llmlab baseline {verb} runs/baseline-pocket-…-1 {options}".strip()
    return Chapter(settings, f"llmlab.after.{verb}", help_text, example)


FOLLOW_UPS = {
    "evaluate": _after(of.EvaluateSettings, "Score a trained model, on its own text or another."),
    "generate": _after(of.GenerateSettings, "Let a trained model write.", "--tokens 40 --temperature 0.8"),
    "quantize": _after(of.QuantizeSettings, "Keep a trained model in eight bits, and measure what that costs."),
    "finetune": _after(
        of.FinetuneSettings, "Train a trained model on another text, against starting from nothing.", "--seeds 3"
    ),
    "expand": _after(of.ExpandSettings, "Widen the context of a trained model in four ways, and see which can learn."),
    "export": _after(of.ExportSettings, "Write a trained model so that it opens without llmlab.", "my-model"),
}

CHAPTERS = {
    "phase1": Chapter(
        of.Phase1Settings,
        "llmlab.phase1",
        "Train only the output layer; the embedding is frozen.",
        "llmlab phase1 --dim 8 --seeds 1000",
    ),
    "phase1-2": Chapter(
        of.Phase12Settings,
        "llmlab.phase1_2",
        "How embeddings move, and what an inner product decides.",
        "llmlab phase1-2 --text banana --focus n --seeds 1000",
    ),
    "baseline": Chapter(
        of.BaselineSettings,
        "llmlab.baseline",
        "Train New-LLM, a recurrent context-vector language model.",
        "llmlab baseline --preset pocket --layers 1",
        FOLLOW_UPS,
    ),
    "layers": Chapter(
        of.LayersSettings,
        "llmlab.layers",
        "Depth sweep: how deep must the stack be?",
        "llmlab layers --layers 1,2 --seeds 3",
    ),
    "embedding-freeze": Chapter(
        of.EmbeddingFreezeSettings,
        "llmlab.embedding_freeze",
        "Pretrained embeddings: frozen against trained, on the same text.",
        "llmlab embedding-freeze --arms frozen,trained --grow none",
    ),
    "two-stage": Chapter(
        of.TwoStageSettings,
        "llmlab.two_stage",
        "Fixed contexts first, then the token block on top of them.",
        "llmlab two-stage --ablate noise --seeds 3",
    ),
}


def add_commands(app: typer.Typer, chapters: dict[str, Chapter], epilog: str, before: str = "") -> None:
    """Add each chapter's command to a program, and its follow-ups below it."""
    for name, chapter in chapters.items():
        told: dict[str, Any] = {"help": chapter.help, "epilog": f"Example: {chapter.example}\n\n{epilog}"}
        function = command(before + name, chapter)
        if chapter.follow_ups:
            group = typer.Typer(invoke_without_command=True)
            group.callback()(function)
            add_commands(group, chapter.follow_ups, epilog, f"{name} ")
            app.add_typer(group, name=name, **told)
        else:
            app.command(name, **told)(function)


def command(name: str, chapter: Chapter) -> Callable[..., Any]:
    """Return a function whose signature, as Typer reads it, is the experiment's settings and the run options."""

    def run(ctx: typer.Context, **values: Any) -> int:
        if ctx.invoked_subcommand is None:
            picked = chosen(ctx, values, chapter.settings)
            if getattr(picked.settings, "prompt", "") == LINES:
                return continue_lines(chapter.module, picked)
            module = "llmlab.peers" if getattr(picked.settings, "has_peers", False) else chapter.module
            return execute(name, module, picked, ctx.obj or "")
        early = next((option for option in values if typed(ctx, option)), None)
        if early is not None:
            verb = ctx.invoked_subcommand
            raise SettingError(
                f"{of.flag(early)}: it stands before {verb}, which does not see it; write "
                f"llmlab {name} {verb} CHECKPOINT, and its options after that"
            )
        return 0

    return signature(run, chapter.settings)
