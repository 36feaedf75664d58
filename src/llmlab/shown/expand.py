"""What is shown of a context that was made longer: each way beside the base, and what became of the new numbers."""

from collections.abc import Mapping, Sequence

from llmlab.report.messages import Text, say
from llmlab.report.result import TO_ROUNDING, Cell, Figure, Role, Table
from llmlab.settings import ExpandSettings
from llmlab.shown.after import Metrics
from llmlab.shown.table import cells, curve, figure, level, table

ONE = 1e-4
"""New numbers whose weights differ by less than this are one number; weights that learn differ by a hundred times."""

TOLD = {
    "continue": "no expansion",
    "B": "new weights 0, all trains",
    "A": "new weights 0, old context held still",
    "random": "new rows random",
    "preserving": "new rows random, a LayerNorm of their own",
    "scratch": "started anew at the larger size",
}
ROLES: dict[str, Role] = {"continue": "before", "B": "series", "random": "winner", "preserving": "foot"}
"""The arms in the picture: A lies on B or above it, and scratch would leave no height for the others."""


def compared(metrics: Metrics, contexts: Mapping[str, int], updates: int, seeds: int) -> Table:
    """Return the arms beside the base: size, what trains, perplexity before and after; ``contexts`` by arm."""
    base = float(metrics["base_ppl"] or 0)
    rows: list[list[Cell]] = [
        ["base", "as it was", metrics["context_base"], metrics["parameters_base"], None, None, base, None]
    ]
    for arm, context in contexts.items():
        told = cells(metrics, "parameters trained_parameters start_ppl val_ppl", f"_{arm}")
        rows.append([arm, TOLD[arm], context, *told, float(told[-1] or 0) / base - 1])
    means = say("expand.means", seeds=seeds) if seeds > 1 else ""
    return table("expand.compared", rows, updates=updates, seeds=means)


def growth_of_old(factors: Sequence[float]) -> Table:
    """Return by how much the old numbers grow: by arithmetic, and measured."""
    what = (
        "expected, were their mean 0",
        "expected, with their mean",
        "measured at the first token",
        "measured over all tokens",
    )
    return table("expand.growth", zip(what, factors, strict=True))


def new_numbers(metrics: Metrics, arms: Sequence[str]) -> list[Table]:
    """Return what became of the new numbers and of the old weights; nothing without an expansion."""
    rows: list[list[Cell]] = []
    for arm in _expansions(metrics, arms):
        apart, rank, moved = cells(metrics, "new_apart new_rank old_moved", f"_{arm}")
        rows.append([arm, _new(metrics), TO_ROUNDING if 0 < float(apart or 0) < ONE else apart, rank, moved])
    return [table("expand.new_numbers", rows)] if rows else []


def curves(base: float, losses: Mapping[str, Sequence[float]], updates: int) -> Figure:
    """Return the mean validation loss of the arms, judged every so many updates, beside that of the base."""
    xs = [float(updates * place) for place in range(len(next(iter(losses.values()))))]
    drawn = [arm for arm in losses if arm in ROLES]
    marks = [curve(losses[arm], ROLES[arm], arm, xs) for arm in drawn] + level(base, "base")
    ends = [say("expand.from_to", arm=arm, first=each[0], last=each[-1]) for arm, each in losses.items()]
    says = "" if losses.keys() - ROLES.keys() == {"A", "scratch"} else "expand.curves_drawn"
    return figure("expand.curves", marks, says=says, base=base, arms=ends, drawn=drawn)


def summary(settings: ExpandSettings, metrics: Metrics, arms: Sequence[str], seeds: int) -> list[Text]:
    """Return the run in a few sentences."""
    told: list[Text] = [say("expand.base", context=metrics["context_base"], ppl=metrics["base_ppl"])]
    zero, expansions = next((arm for arm in arms if arm in ("A", "B")), ""), _expansions(metrics, arms)
    if zero:
        grown = {"first": metrics["growth_first"], "every": metrics["growth_all"]}
        told.append(say("expand.starts_at_zero", ppl=metrics[f"start_ppl_{zero}"], **grown))
    if "preserving" in arms:
        told.append(say("expand.preserves", ppl=metrics["start_ppl_preserving"]))
    of_seeds = say("expand.mean_of", seeds=seeds) if seeds > 1 else ""
    ends = [say("expand.end", arm=arm, ppl=metrics[f"val_ppl_{arm}"]) for arm in arms]
    told.append(say("expand.ends", updates=settings.updates, seeds=of_seeds, arms=ends))
    if expansions:
        ranks = [say("expand.rank", arm=arm, rank=metrics[f"new_rank_{arm}"]) for arm in expansions]
        told.append(say("expand.ranks", new=_new(metrics), arms=ranks))
    return told


def _expansions(metrics: Metrics, arms: Sequence[str]) -> list[str]:
    return [arm for arm in arms if f"new_rank_{arm}" in metrics]


def _new(metrics: Metrics) -> int:
    return int(metrics["context"] or 0) - int(metrics["context_base"] or 0)
