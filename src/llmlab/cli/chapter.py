"""The table of contents: every experiment's command.  Its name, help and options are those of its settings."""

from collections.abc import Callable
from typing import Any

import typer

from llmlab import settings as of
from llmlab.cli.execute import execute
from llmlab.cli.lines import LINES, continue_lines
from llmlab.cli.options import chosen, signature, typed
from llmlab.errors import SettingError

Commands = dict[str, type[of.Settings]]


def _named(*settings: type[of.Settings]) -> Commands:
    return {each.experiment: each for each in settings}


CHAPTERS = _named(
    of.Phase1Settings,
    of.Phase12Settings,
    of.BaselineSettings,
    of.LayersSettings,
    of.EmbeddingFreezeSettings,
    of.TwoStageSettings,
)
FOLLOW_UPS = _named(
    of.EvaluateSettings,
    of.GenerateSettings,
    of.QuantizeSettings,
    of.FinetuneSettings,
    of.ExpandSettings,
    of.ExportSettings,
)
"""What can be done with what chapter 3 left, a trained baseline: ``llmlab baseline <verb> CHECKPOINT``."""


def module_of(experiment: str) -> str:
    """Return the name of an experiment's module, which is not imported here: it imports torch."""
    return f"llmlab.{'after.' if experiment in FOLLOW_UPS else ''}{experiment.replace('-', '_')}"


def add_commands(app: typer.Typer, epilog: str) -> None:
    """Add the chapters to a program, the follow-ups below theirs."""
    for name, settings in CHAPTERS.items():
        if settings is of.BaselineSettings:
            group = typer.Typer(invoke_without_command=True)
            group.callback()(command(name, settings))
            for verb, after in FOLLOW_UPS.items():
                group.command(verb, **_told(after, epilog))(command(f"{name} {verb}", after))
            app.add_typer(group, name=name, **_told(settings, epilog))
        else:
            app.command(name, **_told(settings, epilog))(command(name, settings))


def _told(settings: type[of.Settings], epilog: str) -> dict[str, Any]:
    return {"help": settings.__doc__, "epilog": f"Example: {settings.example}\n\n{epilog}"}


def command(name: str, settings: type[of.Settings]) -> Callable[..., Any]:
    """Return a function whose signature, as Typer reads it, is the experiment's settings and the run options."""
    module = module_of(settings.experiment)

    def run(ctx: typer.Context, **values: Any) -> int:
        if ctx.invoked_subcommand is None:
            picked = chosen(ctx, values, settings)
            if getattr(picked.settings, "prompt", "") == LINES:
                return continue_lines(module, picked)
            trains = "llmlab.peers" if getattr(picked.settings, "has_peers", False) else module
            return execute(name, trains, picked, ctx.obj or "")
        early = next((option for option in values if typed(ctx, option)), None)
        if early is not None:
            verb = ctx.invoked_subcommand
            raise SettingError(
                f"{of.flag(early)}: it stands before {verb}, which does not see it; write "
                f"llmlab {name} {verb} CHECKPOINT, and its options after that"
            )
        return 0

    return signature(run, settings)
