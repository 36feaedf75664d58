"""From tensors to the tables of chapters 1 and 2.

Each function returns one ``Table`` of plain numbers with a caption that says what to see.  Where a table shows
one model, it is the one of the first seed.  Long tables keep the rows that say most and tell how many are
left out.
"""

import math

import torch
from torch import Tensor

from llmlab.measure.entropy import conditional_entropy, unigram_entropy
from llmlab.measure.geometry import distances, moved, products
from llmlab.measure.ranks import quantiles
from llmlab.model.toy import TinyModel
from llmlab.report.result import Cell, Column, Table, counted
from llmlab.tiny.outcome import interval
from llmlab.tiny.training import TinyRun

MAX_ROWS = 24
MAX_DIMS = 4
"""With more dimensions than this a table shows lengths instead of every coordinate."""


def shortened(rows: list[list[Cell]], caption: str) -> tuple[list[list[Cell]], str]:
    """Return at most ``MAX_ROWS`` rows and a caption that admits to the cut."""
    if len(rows) <= MAX_ROWS:
        return rows, caption
    return rows[:MAX_ROWS], f"{caption} {len(rows) - MAX_ROWS:,} more rows are left out."


def loss(run: TinyRun) -> Table:
    """Return the loss beside its floor and the baselines that need no model."""
    counts = run.pairs.counts
    floor = conditional_entropy(counts)
    seeds = len(run.after)
    rows = [
        ("uniform guess", math.log(len(run.pairs.vocabulary))),
        ("token frequencies only", unigram_entropy(counts)),
        ("before training", float(run.losses[0].mean())),
        ("before the last update", float(run.losses[-1].mean())),
        ("floor of the text", floor),
    ]
    return Table(
        "loss",
        "Loss, in nats per token",
        [Column("what", "text"), Column("loss"), Column("above floor")],
        [[name, value, value - floor] for name, value in rows],
        f"Mean over {counted(seeds, 'seed')}. The floor is exact: it comes from the pair "
        "counts alone. The first two rows are baselines that need no model.",
    )


def next_token(run: TinyRun, focus: int) -> Table:
    """Return P(next | focus) before and after, beside the shares in the text."""
    tokens, followers = run.pairs.vocabulary.names, run.pairs.followers(focus)
    before, after = (model.probabilities()[:, focus].mean(0) for model in (run.before, run.after))  # (V,)
    order = after.argsort(descending=True).tolist()
    rows: list[list[Cell]] = [[tokens[k], followers.get(k, 0.0), float(before[k]), float(after[k])] for k in order]
    seeds = len(run.after)
    rows, caption = shortened(
        rows,
        f"P(next | {tokens[focus]}), mean over {counted(seeds, 'seed')}, likeliest first.",
    )
    columns = [Column("next", "token"), Column("in text", "share"), Column("before", "share"), Column("after", "share")]
    return Table("next_token", "What follows the focus token", columns, rows, caption)


def tensors(run: TinyRun, trained: frozenset[str]) -> Table:
    """Return what was trained and the largest change of any number in it, over all seeds."""
    rows: list[list[Cell]] = []
    for (name, before), after in zip(run.before.parameters().items(), run.after.parameters().values(), strict=True):
        change = float((after - before).abs().max())
        rows.append([name, "trained" if name in trained else "frozen", before[0].numel(), change])
    return Table(
        "tensors",
        "What moved and what did not",
        [Column("tensor", "text"), Column("", "text"), Column("numbers", "integer"), Column("largest change")],
        rows,
        "Largest change of any single number, over all seeds. Frozen means exactly zero, not nearly.",
    )


def over_seeds(samples: dict[str, Tensor]) -> Table:
    """Return n, mean and 95 % interval of every headline metric, and how its values are spread."""
    rows: list[list[Cell]] = []
    for name, values in samples.items():
        found = interval("", values)
        spread = [None] * 3 if values.dtype == torch.bool else quantiles(values, 0.05, 0.5, 0.95)
        rows.append([name.replace("_", " "), len(values), found[""], found.get("_low"), found.get("_high"), *spread])
    columns = [Column("metric", "text"), Column("n", "integer"), Column("mean", digits=3)]
    columns += [Column(name, digits=3) for name in ("95% low", "95% high", "p05", "p50", "p95")]
    return Table(
        "over_seeds",
        "Over all seeds",
        columns,
        rows,
        "Intervals of means are Student's t, of fractions Wilson's. p05 to p95 hold 90 % of the seeds.",
    )


def rows_before_and_after(
    name: str, title: str, caption: str, tokens: tuple[str, ...], before: Tensor, after: Tensor
) -> Table:
    """Return each token's vector before, after, and the difference: (V, D) twice.

    Up to ``MAX_DIMS`` dimensions every coordinate has its row; beyond, each token has its length and path.
    """
    dims = before.shape[-1]
    rows: list[list[Cell]]
    if dims > MAX_DIMS:
        numbers = torch.stack([before.norm(dim=-1), after.norm(dim=-1), moved(before, after)], dim=-1)
        rows = [[token, *numbers[v].tolist()] for v, token in enumerate(tokens)]
        rows.sort(key=lambda row: -float(row[3] or 0))
        columns = [Column("token", "token"), *(Column(c, digits=3) for c in ("length before", "after", "moved"))]
    else:
        rows = [
            [token, d + 1, float(before[v, d]), float(after[v, d]), float(after[v, d] - before[v, d])]
            for v, token in enumerate(tokens)
            for d in range(dims)
        ]
        columns = [Column("token", "token"), Column("axis", "integer")]
        columns += [Column(c, digits=3) for c in ("before", "after", "change")]
    rows, caption = shortened(rows, f"First seed. {caption}".strip())
    return Table(name, title, columns, rows, caption)


def pair_distances(run: TinyRun) -> Table:
    """Return the distance of every pair of embeddings before and after, first seed, largest change first."""
    tokens = run.pairs.vocabulary.names
    before, after = (distances(model.embedding[0]) for model in (run.before, run.after))
    upper = torch.triu_indices(len(tokens), len(tokens), offset=1)
    change = (after - before)[upper[0], upper[1]]
    order = change.abs().argsort(descending=True)
    rows: list[list[Cell]] = []
    for a, b in upper[:, order[:MAX_ROWS]].T.tolist():
        rows.append([tokens[a], tokens[b], float(before[a, b]), float(after[a, b]), float(after[a, b] - before[a, b])])
    closer = int((change < 0).sum())
    caption = f"{closer:,} of {counted(len(change), 'pair')} came closer. Largest change first."
    if len(order) > MAX_ROWS:
        caption += f" {len(order) - MAX_ROWS:,} more pairs are left out."
    columns = [Column("from", "token"), Column("to", "token")]
    columns += [Column(c, digits=3) for c in ("before", "after", "change")]
    return Table("distances", "Distances between embeddings", columns, rows, caption)


def decomposition(model: TinyModel, tokens: tuple[str, ...], focus: int, *, seeds_own_text: bool) -> Table:
    """Return every score of ``focus`` taken apart: products per dimension, inner product, bias, probability.

    Beyond ``MAX_DIMS`` dimensions the ones that differ most between tokens are shown and the rest is summed.
    """
    parts = products(model.embedding[0, focus], model.weight[0])  # (V, D)
    inner, bias = parts.sum(-1), model.bias[0]
    score = inner + bias
    probability = score.softmax(-1)
    dims = parts.std(0).argsort(descending=True)[:MAX_DIMS].sort().values if len(tokens) > 1 else torch.tensor([0])
    shown = parts[:, dims]
    columns = [Column("next", "token"), *(Column(f"axis {d + 1}", digits=2) for d in dims.tolist())]
    if parts.shape[-1] > MAX_DIMS:
        shown = torch.cat([shown, (inner - shown.sum(-1))[:, None]], dim=-1)
        columns.append(Column("other axes", digits=2))
    columns += [Column("inner", digits=2), Column("bias", digits=2), Column("score", digits=2), Column("P", "share")]
    numbers = torch.cat([shown, torch.stack([inner, bias, score, probability], dim=-1)], dim=-1)
    order = score.argsort(descending=True).tolist()
    rows: list[list[Cell]] = [[tokens[k], *numbers[k].tolist()] for k in order]
    rows, caption = shortened(
        rows,
        f"Input {tokens[focus]}, first seed. The products of its coordinates with those of an output row add up to the "
        "inner product; with the bias that is the score, and softmax makes probabilities of the scores."
        + (" The seed document left the bias out." if seeds_own_text else ""),
    )
    return Table("decomposition", "Why the model says what it says", columns, rows, caption)
