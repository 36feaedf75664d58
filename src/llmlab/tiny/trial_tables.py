"""The side experiments of chapter 2 as tables: rotation, pole star, frozen limit, and the three freezes.

Each function takes what ``trials`` found and returns one table whose caption says what it settles.
"""

from statistics import fmean

from llmlab.measure.entropy import conditional_entropy
from llmlab.measure.stats import mean_interval
from llmlab.report.result import Cell, Column, Table, counted
from llmlab.text.pairs import Pairs
from llmlab.tiny import outcome
from llmlab.tiny.training import TinyRun
from llmlab.tiny.trials import ADAM_LR, LIMIT_GAP, LIMIT_LR, LIMIT_UPDATES, Equivariance, FrozenLimit, PoleStar

ROUNDING = 1e-5
"""A difference below this share of the largest score is what float32 leaves of equal numbers."""


def freezes(runs: dict[str, TinyRun], focus: int) -> Table:
    """Return what freezing nothing, the embedding or the linear layer came to, on the same starts."""
    rows: list[list[Cell]] = []
    for frozen, run in runs.items():
        found = outcome.per_seed(run, focus) | outcome.movement_per_seed(run, focus)
        loss = mean_interval(found["loss"].tolist())
        shrank = found.get("distance_shrank_fraction")
        rows.append(
            [
                frozen,
                loss[""],
                loss.get("_low"),
                loss.get("_high"),
                float(found["p_next"].mean()),
                float(shrank.double().mean()) if shrank is not None and frozen != "embedding" else None,
            ]
        )
    seeds = len(next(iter(runs.values())).after)
    columns = [Column("frozen", "text"), Column("loss"), Column("95% low"), Column("95% high")]
    columns += [Column("P(next)", digits=3), Column("came closer", "share")]
    return Table(
        "freezes",
        "What if something stays frozen?",
        columns,
        rows,
        f"Three trainings from the same starts ({counted(seeds, 'seed')}). 'Came closer' is the share of seeds in "
        "which the focus token and its next token ended nearer to each other.",
    )


def rotation_check(dims: int, logit: float, probability: float, largest: float) -> Table:
    """Return the largest difference that rotating a trained model made, beside the largest score there is."""
    rounding = logit <= ROUNDING * max(largest, 1.0)
    return Table(
        "rotation",
        "Turn everything: does the answer change?",
        [Column("largest difference of", "text"), Column("value", digits=9)],
        [["any score", logit], ["any probability", probability]],
        f"Embeddings and output rows of the trained models turned together by one random rotation of "
        f"{counted(dims, 'dimension')}; the largest score is {largest:.3g}. "
        + (
            "What is left is rounding: absolute coordinates mean nothing."
            if rounding
            else "More than rounding is left."
        ),
    )


def rotation_and_training(found: list[Equivariance]) -> Table:
    """Return whether rotating the start is the same as rotating the end."""
    return Table(
        "equivariance",
        "Turn the start: is the training the same?",
        [
            Column("rule", "text"),
            Column("loss"),
            Column("loss, turned"),
            Column("P differs by"),
            Column("E differs by"),
        ],
        [
            [row.optimizer, row.loss, row.loss_rotated, row.probability_difference, row.embedding_difference]
            for row in found
        ],
        "The function does not mind a rotation, but does the way there? "
        + " ".join(_said_of_rotation(row) for row in found)
        + " (First seed, float64; E is turned back before it is compared.)",
    )


def _said_of_rotation(row: Equivariance) -> str:
    name = row.optimizer.split(",")[0]
    if row.probability_difference < 1e-6:
        return f"{name}'s does not: turned start, turned end."
    cause = "it scales each coordinate by itself, so the axes matter" if name == "Adam" else "rounding grows that large"
    return f"{name}'s does: {cause}."


def pole_star(found: list[PoleStar], token: str) -> Table:
    """Return when a token that is never an input moves after all."""
    return Table(
        "pole_star",
        "The token that nothing follows",
        [Column("rule", "text"), Column("embedding moved"), Column("output row moved")],
        [[row.rule, row.embedding_moved, row.output_moved] for row in found],
        f"{token} is never an input, so no gradient reaches its embedding: a pole star under Adam and SGD. AdamW's "
        "decay moves it, tied weights move it, and its output row moves always.",
    )


def frozen_limit(found: list[FrozenLimit], pairs: Pairs, updates: int) -> Table:
    """Return what freezing costs in each dimension, and whether that is a limit or only slowness."""
    floor = conditional_entropy(pairs.counts)
    starts = len(found[0].losses_long)
    rows: list[list[Cell]] = []
    for row in found:
        frozen = mean_interval(row.losses_frozen)
        fits = sum(loss < floor + LIMIT_GAP for loss in row.losses_long) / starts
        numbers = [frozen[""], frozen["_low"], frozen["_high"], fmean(row.losses_free)]
        rows.append([row.dim, "yes" if row.full_rank else "no", *numbers, fits])
    inputs = len(pairs.inputs())
    columns = [Column("dim", "integer"), Column("any scores?", "text"), Column("frozen", digits=3)]
    columns += [Column("95% low", digits=3), Column("95% high", digits=3), Column("free", digits=3)]
    columns.append(Column("fits in the end", "share"))
    if inputs > 2:
        reach = (
            f"with {inputs} inputs the linear layer can reach every table of scores from "
            f"{counted(inputs - 1, 'dimension')} on, where freezing costs speed, not reach; going down, "
            f"{inputs - 2} is the first dimension that can limit."
        )
    else:
        reach = "with one or two inputs freezing never limits; it only costs speed."
    return Table(
        "frozen_limit",
        "From which dimension on does freezing limit?",
        columns,
        rows,
        f"{counted(starts, 'start')} each, Adam at lr {ADAM_LR}. 'Frozen' and 'free': mean loss before the last of "
        f"{counted(updates, 'update')}. 'Any scores?': {reach} 'Fits in the end': share of starts within {LIMIT_GAP} "
        f"of the floor after {LIMIT_UPDATES:,} updates of the linear layer at lr {LIMIT_LR}.",
    )
