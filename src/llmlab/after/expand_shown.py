"""From trained arms of a context expansion to tables and a picture.

Leaves out training.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from llmlab.after.expanding import ExpandedArm, Growth
from llmlab.measure.score import Score, document_difference, perplexity
from llmlab.measure.stats import mean_interval, paired_interval
from llmlab.model.new_llm import ContextVectorLM
from llmlab.report.messages import say
from llmlab.report.result import (
    TO_ROUNDING,
    Cell,
    Column,
    Figure,
    Mark,
    Role,
    Table,
    counted,
    of_documents,
    of_seeds,
    rounded,
    sentences,
)

Arms = Mapping[str, Sequence[ExpandedArm]]

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


def compared(model: ContextVectorLM, score: Score, arms: Arms) -> Table:
    """Return the arms beside the base: size, what trains, perplexity before and after."""
    rows: list[list[Cell]] = [
        ["base", "as it was", model.size.context, model.size.parameters(), None, None, score.ppl, None]
    ]
    for name, found in arms.items():
        start, end = (fmean(values) for values in zip(*(ends(arm) for arm in found), strict=True))
        arm = found[0]
        rows.append([name, TOLD[name], arm.context, arm.parameters, arm.trained, start, end, end / score.ppl - 1])
    columns = [
        Column("arm", "text"),
        Column("what it is", "text"),
        Column("context", "integer"),
        Column("parameters", "integer"),
        Column("trained", "integer"),
        Column("PPL before", digits=2),
        Column("PPL after", digits=2),
        Column("beside base", "share"),
    ]
    first = next(iter(arms.values()))
    return Table(
        "arms",
        "Ways to a longer context",
        columns,
        rows,
        "Validation perplexity per token, before the first and after the last of "
        f"{counted(first[0].updates[-1], 'update')}{_means(first)}. To judge an expansion, compare it with continue, "
        "which trained as long; scratch has made these updates only.",
    )


def ends(arm: ExpandedArm) -> tuple[float, float]:
    """Return the perplexity of an arm before and after."""
    return perplexity(arm.losses[0]), arm.score.ppl


def growth_of_old(grown: Growth) -> Table:
    """Return by how much the old numbers grow: by arithmetic, and measured."""
    rows: list[list[Cell]] = [
        ["expected, were their mean 0", grown.simple],
        ["expected, with their mean", grown.exact],
        ["measured at the first token", grown.first],
        ["measured over all tokens", grown.all],
    ]
    return Table(
        "growth",
        "By how much zeros in a LayerNorm raise the old numbers",
        [Column("deviation of the old numbers, after / before", "text"), Column("factor")],
        rows,
        "New weights 0, before any update. The expectation holds at the first token, where the new numbers are 0; "
        "later they have become a constant, which the gates carry on.",
    )


def new_numbers(model: ContextVectorLM, arms: Arms) -> list[Table]:
    """Return what became of the new numbers and of the old weights; nothing without an expansion."""
    rows: list[list[Cell]] = []
    for name, found in arms.items():
        if found[0].apart is not None:
            moved = max(arm.old_moved or 0.0 for arm in found)
            apart = max(arm.apart or 0.0 for arm in found)
            shown: Cell = TO_ROUNDING if 0 < apart < ONE else apart
            rows.append(
                [name, found[0].context - model.size.context, shown, fmean(arm.rank or 0 for arm in found), moved]
            )
    columns = [
        Column("arm", "text"),
        Column("new numbers", "integer"),
        Column("farthest apart", digits=6),
        Column("effective rank", digits=2),
        Column("old weights moved", digits=6),
    ]
    caption = (
        "Farthest apart: the largest difference between the same weight of any two new numbers, 0 or a rounding if all "
        "of them are one. Effective rank: in how many directions their values vary over validation tokens. Old weights "
        "moved: the largest change of a weight that reads, writes or normalises an old number, 0 if they were held "
        "still."
    )
    return [Table("new_numbers", "What became of the new numbers", columns, rows, caption)] if rows else []


def beside_continue(arms: Arms) -> dict[str, dict[str, float]]:
    """Return how much larger each arm's PPL is than that of ``continue``: by seeds, and with documents drawn anew."""
    if "continue" not in arms:
        return {}
    scores = {name: {arm.seed: arm.score for arm in found} for name, found in arms.items()}
    ppls = {name: {seed: score.ppl for seed, score in one.items()} for name, one in scores.items()}
    plain = list(scores["continue"].values())
    return {
        name: paired_interval(ppls["continue"], ppls[name]) | document_difference(plain, list(one.values()))
        for name, one in scores.items()
        if name != "continue"
    }


def over_seeds(arms: Arms, documents: int) -> list[Table]:
    """Return perplexities with intervals, and each arm's difference from ``continue`` seed by seed."""
    first = next(iter(arms.values()))
    if len(first) < 2:
        return []
    beside, ends, rows = beside_continue(arms), ("", "_low", "_high", "_doc_low", "_doc_high"), list[list[Cell]]()
    for name, found in arms.items():
        rows.append([f"PPL {name}", len(found), *map(mean_interval([arm.score.ppl for arm in found]).get, ends)])
        if name in beside:
            rows.append([f"{name} minus continue", len(found), *map(beside[name].get, ends)])
    columns = [Column("after the last update", "text"), Column("n", "integer")]
    columns += [Column(name, digits=3) for name in ("mean", "95 % low", "95 % high", "docs low", "docs high")]
    caption = sentences(
        say("intervals.of_means"),
        of_seeds([len(first)], documents),
        of_documents(documents, len(first[0].score.targets_by_document)) if beside else "",
    )
    return [Table("over_seeds", "Over seeds", columns, rows, caption)]


def curves(score: Score, arms: Arms) -> Figure:
    """Return the validation loss of the arms by update, beside that of the base."""
    marks = [
        Mark(
            "line",
            ROLES[name],
            [float(update) for update in found[0].updates],
            rounded(_mean_losses(found)),
            legend=name,
        )
        for name, found in arms.items()
        if name in ROLES
    ]
    marks.append(Mark("level", "other", [], [score.loss], legend="base"))
    told = "; ".join(
        f"{name} from {losses[0]:.3f} to {losses[-1]:.3f}"
        for name, losses in ((name, _mean_losses(found)) for name, found in arms.items())
    )
    return Figure(
        "curve",
        "Loss after expanding",
        f"Validation loss per token in nats; the base has {score.loss:.3f}. {told}. A and scratch are left out of the "
        "picture.",
        "update",
        "loss (nats)",
        marks,
        after="arms",
    )


def _mean_losses(found: Sequence[ExpandedArm]) -> list[float]:
    return [fmean(losses) for losses in zip(*(arm.losses for arm in found), strict=True)]


def _means(found: Sequence[ExpandedArm]) -> str:
    return f", mean of {counted(len(found), 'seed')}" if len(found) > 1 else ""
