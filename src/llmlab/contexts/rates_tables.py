"""From what each arm tried to two tables: of arms that train the embedding, and of those that do not.

Leaves out how rates are chosen, ``tuning``, and what the chosen ones reach, ``tables``.
"""

from collections.abc import Sequence

from llmlab.contexts.running import ArmRuns
from llmlab.contexts.tuning import BESIDE, FACTORS, SHARES, Tuned
from llmlab.report.result import Cell, Column, Table

CHOSEN = (
    Column("rate", digits=5),
    Column("embedding's", digits=6),
    Column("at the edge", "text"),
    Column("judged on", "integer"),
)
TRIED = (
    "Lowest loss on the last documents of the training text, judged on so many tokens, after training with one seed on "
    "what stands before them. Every arm makes as many tries; the runs that are compared then train on all of the "
    "training text, with the rates chosen here. An empty cell diverged. At the edge: what was best is the highest or "
    "lowest value tried, and one beyond might be better."
)


def rates(shown: Sequence[ArmRuns]) -> list[Table]:
    """Return what each arm's tries reached, for the arms that train the embedding and for those that do not."""
    tuned = [(arm.arm.label, arm.tuned) for arm in shown if arm.tuned]
    both = [
        Table(
            "embedding-rates",
            "Choosing the rates of arms that train the embedding",
            [
                Column("arm", "text"),
                *(Column(f"embedding × {share:g}") for share in SHARES),
                *(Column(f"rest × {factor:g}") for factor in BESIDE),
                *CHOSEN,
            ],
            [_tried(label, found) for label, found in tuned if found.arm.learns_embedding],
            "First the rate of the embedding, times the one set; then, with the best of these, that of everything "
            f"else. {TRIED}",
        ),
        Table(
            "rates",
            "Choosing the rate of arms that do not train the embedding",
            [Column("arm", "text"), *(Column(f"× {factor:g}") for factor in FACTORS), *CHOSEN],
            [_tried(label, found) for label, found in tuned if not found.arm.learns_embedding],
            f"The rate, times the one set. {TRIED}",
        ),
    ]
    return [table for table in both if table.rows]


def _tried(label: str, found: Tuned) -> list[Cell]:
    own = found.at(found.best)
    rate = own.lr * own.embedding_lr if found.arm.learns_embedding else None
    edge = {"": "no", "rate": "rate", "embedding": "embedding", "rate embedding": "rate and embedding"}[
        " ".join(found.edge)
    ]
    return [label, *(one.loss for one in found.tries), own.lr, rate, edge, found.tail]
