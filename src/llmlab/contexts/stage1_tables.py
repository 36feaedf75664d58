"""From the contexts of a design to tables: how its block was trained, how exact they are, how many directions they use.

Leaves out what is predicted from them: ``tables``.
"""

from collections.abc import Callable, Sequence

from llmlab.contexts.arms import Design
from llmlab.contexts.running import Comparison
from llmlab.contexts.stage1 import Measured
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Cell, Column, Table

RANKS = {"train": "train", "valid": "val", "untrained": "untrained"}
"""Effective ranks by their name, and how a column calls them."""


def contexts(found: Comparison, label: Callable[[Design], str]) -> Table:
    """Return what Stage 1 measured of each design: how far training brought it, and how exact its contexts are."""
    rows: list[list[Cell]] = []
    for design, measured in found.contexts.items():
        first = measured[0]
        rows.append(
            [
                label(design),
                first.size.context_parameters(),
                len(measured),
                _mean([one.rows[-1]["iteration"] for one in measured if one.rows]),
                _mean([one.converged for one in measured if one.converged is not None]),
                *mean_ranks(measured),
                None if first.plain else first.warm_up,
                max((one.max_error for one in measured if not one.plain), default=None),
                _mean([one.tokens_per_second for one in measured]),
            ]
        )
    return Table(
        "contexts",
        "Stage 1: the contexts",
        [
            Column("context block", "text"),
            Column("parameters", "integer"),
            Column("n", "integer"),
            Column("passes", digits=1),
            Column("converged", "share"),
            *rank_columns(),
            Column("warm-up", "integer"),
            Column("max error", digits=8),
            Column("tokens/s", digits=0),
        ],
        rows,
        "Passes: of the block's training, which ends when 95 % of the contexts stay where they are, or at the most "
        "passes allowed; the blocks that are compared by noise make all of them. Converged: share of positions whose "
        "context moved by less than 0.03 (mean square) in the last pass. Rank: effective rank of the contexts, as a "
        "share of their width (singular values, not centred, of the first 10,000 positions); untrained is the same "
        "block before its training. Max error: largest difference of any number of a checked context from the "
        "token-by-token pass. Without a warm-up and an error: computed token by token, for the block forgets too "
        "slowly or the text is too short to be cut.",
    )


def passes(one: Measured) -> Table:
    """Return the passes of a context block's training."""
    rows: list[list[Cell]] = [
        [int(row["iteration"]), row["fixed_point_loss"], row["diversity"], row["converged_fraction"]]
        for row in one.rows
    ]
    return Table(
        "passes",
        "Training the context block",
        [
            Column("pass", "integer"),
            Column("fixed-point loss"),
            Column("diversity loss"),
            Column("converged", "share"),
        ],
        rows,
        "The first pass learns nothing: it is the token-by-token one. The second moves contexts by the noise alone; "
        f"from the third on, the share measures how the block recovers from its own updates. Seed {one.seed}.",
    )


def mean_ranks(measured: Sequence[Measured]) -> list[Cell]:
    """Return the effective ranks of a design as shares of its width, means over seeds; empty cells without a seed."""
    return [_mean([one.ranks[name] for one in measured]) for name in RANKS]


def rank_columns() -> list[Column]:
    """Return the columns of ``mean_ranks``."""
    return [Column(f"rank, {name}", "share") for name in RANKS.values()]


def _mean(values: Sequence[float]) -> float | None:
    return mean_interval(values)[""] if values else None
