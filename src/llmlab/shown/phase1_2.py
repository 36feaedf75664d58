"""What is shown of chapter 2: movement, every score taken apart, the side experiments, and the map of it all.

Where a table or picture shows one model, it is the one of the first seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from llmlab.measure.geometry import distances, moved
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say
from llmlab.report.result import ARMS, TO_ROUNDING, Cell, Figure, Mark, MarkKind, Role, Table, rounded
from llmlab.settings import Phase12Settings
from llmlab.shown.phase1 import reached
from llmlab.shown.table import MAX_ROWS, cells, figure, table, tell
from llmlab.text.pairs import Pairs

WHY, HOW = say("phase1_2.why"), say("phase1_2.how")
MAX_DIMS = 4
"""With more dimensions than this a table shows lengths instead of every coordinate."""

ROUNDING = 1e-5
"""A difference below this share of the largest score is what float32 leaves of equal numbers."""

LIMIT_GAP = 0.1
"""A start fits the text if it ends within this of the floor."""

MAP_TOKENS, MAP_FEET = 12, 5
"""How many stations and tracks a map has, and perpendiculars: the focus and the best scores stay."""

SCORES, BARS = 6, 0.7
"""Tokens whose scores are drawn as bars, and the share of a token's height that these take."""

SCATTER_POINTS = 240

Limits = Sequence[tuple[int, bool, list[float], list[float], list[float]]]


# ---- movement, and the decision -----------------------------------------------------------------------------------


def places(settings: Phase12Settings, pairs: Pairs, what: str, before: Tensor, after: Tensor) -> Table:
    """Return where the tokens are (``embedding``) or the output rows point (``linear``), (V, D) before and after.

    A row for each of up to ``MAX_DIMS`` coordinates; beyond, each token has its length and its distance moved.
    """
    key = "phase1_2.embedding" if what == "embedding" else "phase1_2.output_rows"
    caption: Text = "First seed. Every token is an input, so every token gets a gradient."
    if settings.freeze == what:
        caption = "First seed. Frozen: nothing moved."
    elif what == "linear":
        caption = "First seed. Every row moves: each token competes to be next."
    elif unseen := pairs.unseen():
        decays = settings.optimizer == "adamw" and settings.weight_decay > 0
        caption = say("phase1_2.unseen_decays" if decays else "phase1_2.unseen_stays", token=pairs.names[unseen[0]])
    if before.shape[-1] > MAX_DIMS:
        lengths = torch.stack([before.norm(dim=-1), after.norm(dim=-1), moved(before, after)], -1)
        farthest = lengths[:, 2].argsort(descending=True, stable=True).tolist()
        rows = [[pairs.names[v], *lengths[v].tolist()] for v in farthest]
        return table(key, rows, columns="token:token | length before:3 | after:3 | moved:3", caption=caption)
    numbers = torch.stack([before, after, after - before], -1).tolist()
    each = zip(pairs.names, numbers, strict=True)
    return table(key, ([token, d, *one] for token, axes in each for d, one in enumerate(axes, 1)), caption=caption)


def pair_distances(pairs: Pairs, before: Tensor, after: Tensor) -> Table:
    """Return the distance of every pair of embeddings, (V, D) before and after, largest change first."""
    first, second = torch.triu_indices(len(pairs.tokens), len(pairs.tokens), offset=1)
    start, end = distances(before)[first, second], distances(after)[first, second]
    change = end - start
    farthest = change.abs().argsort(descending=True)[:MAX_ROWS].tolist()
    rows = [
        [pairs.names[first[k]], pairs.names[second[k]], float(start[k]), float(end[k]), float(change[k])]
        for k in farthest
    ]
    caption: Text = say("phase1_2.distances", closer=int((change < 0).sum()), pairs=len(change))
    if left_out := len(change) - len(rows):
        caption = say("table.pairs_left_out", caption=caption, left_out=left_out)
    return table("phase1_2.distances", rows, caption=caption)


def decomposition(settings: Phase12Settings, pairs: Pairs, parts: Tensor, bias: Tensor) -> Table:
    """Return every score of the focus token taken apart: products per dimension, inner product, bias, probability.

    Beyond ``MAX_DIMS`` dimensions the ones that differ most between tokens are shown and the rest is summed.  ``parts``
    are the products, (V, D); the bias is (V,).
    """
    tokens, inner = pairs.names, parts.sum(-1)
    score = inner + bias
    dims = parts.std(0).argsort(descending=True)[:MAX_DIMS].sort().values if len(tokens) > 1 else torch.tensor([0])
    shown = parts[:, dims]
    rest = (inner - shown.sum(-1)).tolist() if parts.shape[-1] > MAX_DIMS else [None] * len(tokens)
    numbers = torch.stack([inner, bias, score, score.softmax(-1)], -1).tolist()
    rows = [[tokens[k], *shown[k].tolist(), rest[k], *numbers[k]] for k in score.argsort(descending=True).tolist()]
    axes = ["{}:2"] * len(dims)
    of_notes = settings.text == Phase12Settings().text
    return table(
        "phase1_2.decomposition",
        rows,
        columns=" | ".join(["next:token", *axes, "other axes:2?", "inner:2", "bias:2", "score:2", "P:share"]),
        made=[say("phase1_2.axis", axis=d + 1) for d in dims.tolist()],
        says="phase1_2.decomposition_of_notes" if of_notes else "",
        focus=tokens[pairs.numbers[settings.focus]],
    )


# ---- the side experiments -----------------------------------------------------------------------------------------


def rotation_check(dims: int, logit: float, probability: float, largest: float) -> Table:
    """Return the largest difference that rotating a trained model made, beside the largest score there is."""
    rounding, found = logit <= ROUNDING * max(largest, 1.0), {"any score": logit, "any probability": probability}
    rows = [(name, TO_ROUNDING if rounding and value else value) for name, value in found.items()]
    says = "phase1_2.rotation" if rounding else "phase1_2.rotation_matters"
    return table("phase1_2.rotation", rows, says=says, dims=dims, largest=largest)


def freezes(arms: Mapping[str, Mapping[str, Tensor]]) -> Table:
    """Return what freezing nothing, the embedding or the linear layer came to: samples of the same starts."""
    rows: list[list[Cell]] = []
    for frozen, samples in arms.items():
        loss, shrank = mean_interval(samples["loss"].tolist()), samples.get("distance_shrank_fraction")
        came_closer = float(shrank.double().mean()) if shrank is not None and frozen != "embedding" else None
        rows.append([frozen, *cells(loss, "±"), float(samples["p_next"].mean()), came_closer])
    return table("phase1_2.freezes", rows, seeds=len(next(iter(arms.values()))["loss"]))


def equivariance(found: Sequence[tuple[str, float, float, float, float]]) -> Table:
    """Return whether rotating the start is the same as rotating the end, by SGD and by Adam.

    ``found`` are rule, loss, loss from the rotated start, and the largest differences of a P and of a coordinate.
    """
    matter = {"SGD": "phase1_2.rounding_grows", "Adam": "phase1_2.axes_matter"}
    sgd, adam = (
        say("phase1_2.commutes" if row[3] < 1e-6 else key, rule=rule)
        for (rule, key), row in zip(matter.items(), found, strict=True)
    )
    return table("phase1_2.equivariance", found, sgd=sgd, adam=adam)


def pole_star(found: Sequence[tuple[str, float, float]], token: str) -> Table:
    """Return when a token that is never an input moves after all: rule, its embedding's way, its output row's."""
    return table("phase1_2.pole_star", found, token=token)


def frozen_limit(found: Limits, pairs: Pairs, updates: int, lr: float, long: tuple[int, float]) -> Table:
    """Return what freezing costs in each dimension, and whether that is a limit or only slowness.

    ``found`` says per dimension whether every table of scores can be reached, and the losses of each start: frozen,
    free, and frozen after a ``long`` run, of so many updates at such a rate.
    """
    floor, inputs, starts = pairs.conditional_entropy(), len(pairs.inputs()), len(found[0][4])
    rows: list[list[Cell]] = []
    for dim, full_rank, frozen, free, end in found:
        fits = sum(loss < floor + LIMIT_GAP for loss in end) / starts
        rows.append([dim, "yes" if full_rank else "no", *cells(mean_interval(frozen), "±"), fmean(free), fits])
    said: dict[str, Any] = {"starts": starts, "lr": lr, "updates": updates, "gap": LIMIT_GAP}
    said |= {"long": long[0], "long_lr": long[1], "inputs": inputs, "enough": inputs - 1, "limits": inputs - 2}
    says = "phase1_2.frozen_limit" if inputs > 2 else "phase1_2.frozen_never_limits"
    return table("phase1_2.frozen_limit", rows, says=says, **said)


# ---- the pictures -------------------------------------------------------------------------------------------------


def stations_and_tracks(pairs: Pairs, focus: int, path: Tensor, embedding: Tensor, weight: Tensor) -> Figure:
    """Return the map: tokens before and after with their paths, (K, V, D), output rows as tracks, (V, D).

    From the focus token a perpendicular falls on each track: how far along the track it lands, times the track's
    length, is the inner product.
    """
    tokens, scores = pairs.names, weight @ embedding[focus]
    tracks = scores.argsort(descending=True)[:MAP_TOKENS].tolist()
    stations = sorted(range(len(tokens)), key=lambda v: (v != focus, v))[:MAP_TOKENS]
    plane, share = main_plane(torch.cat([path[0], embedding, weight]))

    def mark(kind: MarkKind, role: Role, vectors: Tensor, labels: Sequence[str] = (), legend: Text = "") -> Mark:
        xs, ys = (rounded(each) for each in (vectors @ plane).T.tolist())
        return Mark(kind, role, xs, ys, list(labels), legend)

    landing = dict(zip(tracks[:MAP_FEET], projections(embedding[focus], weight)[tracks[:MAP_FEET]], strict=True))
    roles: dict[int, Role] = dict.fromkeys(tracks, "track") | {tracks[0]: "winner"}
    legends = dict(zip(tracks, ["largest inner product", "other output rows"], strict=False))
    shadows = {tracks[0]: say("phase1_2.shadow", focus=tokens[focus])}
    marks = [
        mark(
            "shadow", roles[k], foot[None], [f"{tokens[focus]}·{tokens[k]} {float(scores[k]):.2f}"], shadows.get(k, "")
        )
        for k, foot in landing.items()
    ]
    marks += [mark("track", roles[k], weight[k : k + 1], [f"→{tokens[k]}"], legends.get(k, "")) for k in tracks]
    marks += [mark("line", "foot", torch.stack([embedding[focus], foot])) for foot in landing.values()]
    marks += [mark("line", "path", path[:, v]) for v in stations]
    marks.append(mark("points", "before", path[0, stations], legend="before"))
    marks.append(mark("points", "after", embedding[stations], [tokens[v] for v in stations], "after"))
    best, left_out = tracks[0], len(tokens) - len(stations)
    caption = say("phase1_2.map_with_shadows", focus=tokens[focus], winner=tokens[best], inner=float(scores[best]))
    if share < 0.9995:
        caption = say("phase1_2.map_plane", caption=caption, share=share)
    if left_out:
        caption = say("phase1_2.map_left_out", caption=caption, tokens=left_out)
    drawn = replace(figure("phase1_2.map", marks, caption=caption), equal_axes=True)
    if plane.shape[0] > 2:
        return drawn
    return replace(drawn, x_label="axis 1", y_label="axis 2" if plane.shape[0] == 2 else "no second axis")


def scores_apart(taken_apart: Table) -> Figure:
    """Return the scores of ``decomposition`` as bars: each token's products, its bias, and below these their sum."""
    best, rows = taken_apart.rows[0], taken_apart.rows[:SCORES][::-1]  # the highest score at the top
    names = [column.name for column in taken_apart.columns]
    shown = [*range(1, names.index("inner")), names.index("bias"), names.index("score")]
    roles: list[Role] = [*ARMS[1 : len(shown) - 1], "other", "after"]
    marks = list[Mark]()
    for place, (at, role) in enumerate(zip(shown, roles, strict=True)):
        heights = [height + BARS * (0.5 - (place + 0.5) / len(shown)) for height in range(len(rows))]
        legend = "sum: the score" if names[at] == "score" else names[at]
        marks.append(Mark("bar", role, rounded(float(row[at] or 0) for row in rows), heights, legend=legend))
    drawn = figure("phase1_2.scores", marks, winner=str(best[0]), score=float(best[shown[-1]] or 0))
    return replace(drawn, names=[str(row[0]) for row in rows])


def distance_and_product(pairs: Pairs, embedding: Tensor, weight: Tensor) -> Figure:
    """Return the distance of two embeddings against the inner product of one with the other's output row.

    One point per pair of an input and a token, for as many of the first seeds as stay readable; (S, V, D) each.
    """
    inputs = pairs.inputs()
    seeds = min(len(embedding), max(1, SCATTER_POINTS // (len(inputs) * len(pairs.tokens))))
    apart = distances(embedding[:seeds])[:, inputs].flatten()
    product = (embedding[:seeds] @ weight[:seeds].transpose(1, 2))[:, inputs].flatten()
    follows = (pairs.joint()[inputs] > 0).expand(seeds, -1, -1).flatten()
    chosen = torch.linspace(0, len(apart) - 1, min(len(apart), 4 * SCATTER_POINTS)).round().long()
    apart, product, follows = apart[chosen], product[chosen], follows[chosen]
    marks, told = list[Mark](), list[Text]()
    kinds: list[tuple[str, Role, Tensor]] = [
        ("pairs of the text", "winner", follows),
        ("other pairs", "other", ~follows),
    ]
    for kind, role, keep in kinds:
        if keep.any():
            marks.append(Mark("points", role, rounded(apart[keep]), rounded(product[keep]), legend=kind))
            means = {"product": float(product[keep].mean()), "distance": float(apart[keep].mean())}
            told.append(say("phase1_2.scatter_part", kind=kind, **means))
    return figure("phase1_2.scatter", marks, seeds=seeds, parts=told)


# ---- the result in short ------------------------------------------------------------------------------------------


def summary(
    settings: Phase12Settings, pairs: Pairs, samples: Mapping[str, Tensor], first: Sequence[Tensor], other: int | None
) -> list[Text]:
    """Return the result in two or three sentences.

    ``first`` are the focus token's embedding, (D,), of the first seed, its output rows, (V, D), and bias, (V,);
    ``other`` is the token that follows it most often, unless that is itself.
    """
    embedding, weight, bias = first
    inner = weight @ embedding
    probabilities = (inner + bias).softmax(-1)
    winner = int(probabilities.argmax())
    said = {
        "seed": settings.seed,
        "focus": pairs.names[pairs.numbers[settings.focus]],
        "winner": pairs.names[winner],
        "probability": float(probabilities[winner]),
        "score": float(inner[winner]) + float(bias[winner]),
        "inner": float(inner[winner]),
        "bias": float(bias[winner]),
    }
    went = ""
    if other is not None:
        before, now = (float(samples[f"distance_{when}"][0]) for when in ("before", "after"))
        said |= {"next": pairs.names[other], "before": before, "now": now}
        said |= {"closer": int(samples["distance_shrank_fraction"].sum()), "seeds": settings.seeds}
        went = "phase1_2.went_over_seeds" if settings.seeds > 1 else "phase1_2.went"
    return [reached("phase1_2.reached", settings, pairs, samples), *tell(said, "phase1_2.decided", went)]


def projections(vector: Tensor, directions: Tensor) -> Tensor:
    """Return where the perpendicular from ``vector`` meets each line through zero: (D,), (V, D) -> (V, D).

    The foot on direction w is (e . w / |w|^2) w, and the inner product is its signed distance from zero
    times |w|.  A zero direction has its foot at zero.
    """
    scale = directions.square().sum(-1).clamp_min(torch.finfo(directions.dtype).tiny)
    return (directions @ vector / scale)[:, None] * directions


def main_plane(vectors: Tensor) -> tuple[Tensor, float]:
    """Return the plane through zero that keeps most of (N, D) rows' squared length, (D, 2), and the share it keeps.

    Two or fewer dimensions are kept as they are (a line becomes the first axis).  Through zero, because
    inner products are about zero, not about the mean.
    """
    dim = vectors.shape[-1]
    if dim <= 2:
        return torch.eye(dim, 2), 1.0
    _, sizes, directions = torch.linalg.svd(vectors, full_matrices=False)
    plane, kept = torch.zeros(dim, 2), directions[:2].T
    plane[:, : kept.shape[1]] = kept
    total = sizes.square().sum()
    return plane, float(sizes[:2].square().sum() / total) if total > 0 else 1.0
