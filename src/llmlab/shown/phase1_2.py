"""What is shown of chapter 2: movement, every score taken apart, the side experiments, and the map of it all.

Where a table or picture shows one model, it is the one of the first seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch
from torch import Tensor

from llmlab.measure.geometry import distances, moved
from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say
from llmlab.report.result import ARMS, TO_ROUNDING, Cell, Figure, Mark, Role, Table, rounded
from llmlab.settings import Phase12Settings
from llmlab.shown.phase1 import reached
from llmlab.shown.table import MAX_ROWS, cells, figure, table
from llmlab.text.pairs import Pairs

WHY, HOW = say("phase1_2.why"), say("phase1_2.how")
FROZEN = "First seed. Frozen: nothing moved."
MAX_DIMS = 4
"""With more dimensions than this a table shows lengths instead of every coordinate."""

ROUNDING = 1e-5
"""A difference below this share of the largest score is what float32 leaves of equal numbers."""

LIMIT_GAP = 0.1
"""A start fits the text if it ends within this of the floor."""

MAP_TOKENS = 12
"""More stations or tracks than this make the map unreadable; the focus and the best scores stay."""

MAP_FEET = 5
"""Perpendiculars are drawn for the best scores only."""

SCORES, BARS = 6, 0.7
"""Tokens whose scores are drawn as bars, and the share of a token's height that these take."""

SCATTER_POINTS = 240


# ---- movement ---------------------------------------------------------------------------------------------------


def embeddings(settings: Phase12Settings, pairs: Pairs, before: Tensor, after: Tensor) -> Table:
    """Return where the tokens are, (V, D) before and after."""
    said = FROZEN if settings.freeze == "embedding" else _said_of_unseen(settings, pairs)
    return _rows_before_and_after("phase1_2.embedding", said, pairs, before, after)


def output_rows(settings: Phase12Settings, pairs: Pairs, before: Tensor, after: Tensor) -> Table:
    """Return where the output rows point, (V, D) before and after."""
    said = FROZEN if settings.freeze == "linear" else "First seed. Every row moves: each token competes to be next."
    return _rows_before_and_after("phase1_2.output_rows", said, pairs, before, after)


def _said_of_unseen(settings: Phase12Settings, pairs: Pairs) -> Text:
    if not pairs.unseen():
        return "First seed. Every token is an input, so every token gets a gradient."
    name = pairs.names[pairs.unseen()[0]]
    decays = settings.optimizer == "adamw" and settings.weight_decay > 0
    return say("phase1_2.unseen_decays" if decays else "phase1_2.unseen_stays", token=name)


def _rows_before_and_after(key: str, caption: Text, pairs: Pairs, before: Tensor, after: Tensor) -> Table:
    """Return each token's vector before, after, and the difference: a row for each of up to ``MAX_DIMS`` coordinates.

    Beyond, each token has its length and its distance moved.
    """
    tokens, dims = pairs.names, before.shape[-1]
    rows: list[list[Cell]]
    if dims > MAX_DIMS:
        numbers = torch.stack([before.norm(dim=-1), after.norm(dim=-1), moved(before, after)], dim=-1)
        rows = [[token, *numbers[v].tolist()] for v, token in enumerate(tokens)]
        rows.sort(key=lambda row: -float(row[3] or 0))
        return table(key, rows, columns="token:token | length before:3 | after:3 | moved:3", caption=caption)
    rows = [
        [token, d + 1, float(before[v, d]), float(after[v, d]), float(after[v, d] - before[v, d])]
        for v, token in enumerate(tokens)
        for d in range(dims)
    ]
    return table(key, rows, caption=caption)


def pair_distances(pairs: Pairs, before: Tensor, after: Tensor) -> Table:
    """Return the distance of every pair of embeddings, (V, D) before and after, largest change first."""
    tokens = pairs.names
    start, end = distances(before), distances(after)
    upper = torch.triu_indices(len(tokens), len(tokens), offset=1)
    change = (end - start)[upper[0], upper[1]]
    rows = [
        [tokens[a], tokens[b], float(start[a, b]), float(end[a, b]), float(end[a, b] - start[a, b])]
        for a, b in upper[:, change.abs().argsort(descending=True)[:MAX_ROWS]].T.tolist()
    ]
    caption, left_out = (
        say("phase1_2.distances", closer=int((change < 0).sum()), pairs=len(change)),
        len(change) - len(rows),
    )
    if left_out:
        caption = say("table.pairs_left_out", caption=caption, left_out=left_out)
    return table("phase1_2.distances", rows, caption=caption)


# ---- the decision -----------------------------------------------------------------------------------------------


def decomposition(settings: Phase12Settings, pairs: Pairs, parts: Tensor, bias: Tensor) -> Table:
    """Return every score of the focus token taken apart: products per dimension, inner product, bias, probability.

    Beyond ``MAX_DIMS`` dimensions the ones that differ most between tokens are shown and the rest is summed.  ``parts``
    are the products, (V, D); the bias is (V,).
    """
    tokens = pairs.names
    inner = parts.sum(-1)
    score = inner + bias
    dims = parts.std(0).argsort(descending=True)[:MAX_DIMS].sort().values if len(tokens) > 1 else torch.tensor([0])
    shown = parts[:, dims]
    rest = inner - shown.sum(-1) if parts.shape[-1] > MAX_DIMS else None
    numbers = torch.stack([inner, bias, score, score.softmax(-1)], dim=-1)
    rows = [
        [tokens[k], *shown[k].tolist(), None if rest is None else float(rest[k]), *numbers[k].tolist()]
        for k in score.argsort(descending=True).tolist()
    ]
    columns = ["next:token", *["{}:2"] * len(dims), "other axes:2?", "inner:2", "bias:2", "score:2", "P:share"]
    of_notes = settings.text == Phase12Settings().text
    said = say(
        "phase1_2.decomposition_of_notes" if of_notes else "phase1_2.decomposition",
        focus=tokens[pairs.numbers[settings.focus]],
    )
    axes = [say("phase1_2.axis", axis=d + 1) for d in dims.tolist()]
    return table("phase1_2.decomposition", rows, columns=" | ".join(columns), made=axes, caption=said)


def rotation_check(dims: int, logit: float, probability: float, largest: float) -> Table:
    """Return the largest difference that rotating a trained model made, beside the largest score there is."""
    rounding, found = logit <= ROUNDING * max(largest, 1.0), {"any score": logit, "any probability": probability}
    rows = [[name, TO_ROUNDING if rounding and value else value] for name, value in found.items()]
    said = say("phase1_2.rotation" if rounding else "phase1_2.rotation_matters", dims=dims, largest=largest)
    return table("phase1_2.rotation", rows, caption=said)


# ---- the side experiments ---------------------------------------------------------------------------------------


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
    sgd, adam = (_said_of_rotation(rule, row[3]) for rule, row in zip(("SGD", "Adam"), found, strict=True))
    return table("phase1_2.equivariance", found, sgd=sgd, adam=adam)


def _said_of_rotation(rule: str, difference: float) -> Text:
    if difference < 1e-6:
        return say("phase1_2.commutes", rule=rule)
    return say("phase1_2.axes_matter" if rule == "Adam" else "phase1_2.rounding_grows", rule=rule)


def pole_star(found: Sequence[tuple[str, float, float]], token: str) -> Table:
    """Return when a token that is never an input moves after all: rule, its embedding's way, its output row's."""
    return table("phase1_2.pole_star", found, token=token)


def frozen_limit(
    found: Sequence[tuple[int, bool, list[float], list[float], list[float]]],
    pairs: Pairs,
    updates: int,
    lr: float,
    long: tuple[int, float],
) -> Table:
    """Return what freezing costs in each dimension, and whether that is a limit or only slowness.

    ``found`` says per dimension whether every table of scores can be reached, and the losses of each start: frozen,
    free, and frozen after a ``long`` run, of so many updates at such a rate.
    """
    floor, inputs, starts = pairs.conditional_entropy(), len(pairs.inputs()), len(found[0][4])
    rows: list[list[Cell]] = []
    for dim, full_rank, losses_frozen, losses_free, losses_long in found:
        frozen = mean_interval(losses_frozen)
        fits = sum(loss < floor + LIMIT_GAP for loss in losses_long) / starts
        rows.append([dim, "yes" if full_rank else "no", *cells(frozen, "±"), fmean(losses_free), fits])
    numbers = {"starts": starts, "lr": lr, "updates": updates, "gap": LIMIT_GAP, "long": long[0], "long_lr": long[1]}
    if inputs > 2:
        numbers |= {"inputs": inputs, "enough": inputs - 1, "limits": inputs - 2}
    key = "phase1_2.frozen_limit" if inputs > 2 else "phase1_2.frozen_never_limits"
    return table("phase1_2.frozen_limit", rows, caption=say(key, **numbers))


# ---- the pictures -----------------------------------------------------------------------------------------------


def stations_and_tracks(pairs: Pairs, focus: int, path: Tensor, embedding: Tensor, weight: Tensor) -> Figure:
    """Return the map: tokens before and after with their paths, (K, V, D), output rows as tracks, (V, D).

    From the focus token a perpendicular falls on each track: how far along the track it lands, times the track's
    length, is the inner product.
    """
    tokens, scores = pairs.names, weight @ embedding[focus]
    tracks = scores.argsort(descending=True)[:MAP_TOKENS].tolist()
    stations = sorted(range(len(tokens)), key=lambda v: (v != focus, v))[:MAP_TOKENS]
    plane, share = main_plane(torch.cat([path[0], embedding, weight]))

    def flat(vectors: Tensor) -> tuple[list[float], list[float]]:
        xs, ys = (vectors @ plane).T.tolist()
        return rounded(xs), rounded(ys)

    landing = projections(embedding[focus], weight)[tracks[:MAP_FEET]]
    marks = [
        Mark(
            "shadow",
            "track" if place else "winner",
            *flat(foot[None]),
            [f"{tokens[focus]}·{tokens[k]} {float(scores[k]):.2f}"],
            legend="" if place else say("phase1_2.shadow", focus=tokens[focus]),
        )
        for place, (k, foot) in enumerate(zip(tracks, landing, strict=False))
    ]
    marks += [
        Mark(
            "track",
            "winner" if place == 0 else "track",
            *flat(weight[k : k + 1]),
            [f"→{tokens[k]}"],
            legend={0: "largest inner product", 1: "other output rows"}.get(place, ""),
        )
        for place, k in enumerate(tracks)
    ]
    marks += [Mark("line", "foot", *flat(torch.stack([embedding[focus], foot]))) for foot in landing]
    marks += [Mark("line", "path", *flat(path[:, v])) for v in stations]
    marks.append(Mark("points", "before", *flat(path[0, stations]), legend="before"))
    marks.append(Mark("points", "after", *flat(embedding[stations]), [tokens[v] for v in stations], legend="after"))
    best, left_out = tracks[0], len(tokens) - len(stations)
    caption = _map_caption(tokens[focus], tokens[best], float(scores[best]), share, left_out)
    drawn = replace(figure("phase1_2.map", marks, caption=caption), equal_axes=True)
    if plane.shape[0] > 2:
        return drawn
    return replace(drawn, x_label="axis 1", y_label="axis 2" if plane.shape[0] == 2 else "no second axis")


def _map_caption(focus: str, winner: str, inner: float, share: float, left_out: int) -> Text:
    """Return what the map shows, and what it does not: lengths out of its plane, and tokens."""
    caption = say("phase1_2.map_with_shadows", focus=focus, winner=winner, inner=inner)
    if share < 0.9995:
        caption = say("phase1_2.map_plane", caption=caption, share=share)
    return say("phase1_2.map_left_out", caption=caption, tokens=left_out) if left_out else caption


def scores_apart(taken_apart: Table) -> Figure:
    """Return the scores of ``decomposition`` as bars: each token's products, its bias, and below these their sum."""
    rows = taken_apart.rows[:SCORES][::-1]  # the highest score at the top
    names = [str(column.name) for column in taken_apart.columns]
    shown = [*range(1, names.index("inner")), names.index("bias"), names.index("score")]
    roles: list[Role] = [*ARMS[1 : len(shown) - 1], "other", "after"]
    marks = [
        Mark(
            "bar",
            role,
            rounded(float(row[at] or 0) for row in rows),
            [height + BARS * (0.5 - (place + 0.5) / len(shown)) for height in range(len(rows))],
            legend="sum: the score" if names[at] == "score" else taken_apart.columns[at].name,
        )
        for place, (at, role) in enumerate(zip(shown, roles, strict=True))
    ]
    best, *_ = taken_apart.rows
    drawn = figure("phase1_2.scores", marks, winner=str(best[0]), score=float(best[shown[-1]] or 0))
    return replace(drawn, names=[str(row[0]) for row in rows])


def distance_and_product(pairs: Pairs, embedding: Tensor, weight: Tensor) -> Figure:
    """Return the distance of two embeddings against the inner product of one with the other's output row.

    One point per pair of an input and a token, for as many of the first seeds as stay readable; (S, V, D) each.
    """
    inputs, size = pairs.inputs(), len(pairs.tokens)
    seeds = min(len(embedding), max(1, SCATTER_POINTS // (len(inputs) * size)))
    apart = distances(embedding[:seeds])[:, inputs].flatten()
    product = (embedding[:seeds] @ weight[:seeds].transpose(1, 2))[:, inputs].flatten()
    follows = (pairs.joint()[inputs] > 0).expand(seeds, -1, -1).flatten()
    chosen = torch.linspace(0, len(apart) - 1, min(len(apart), 4 * SCATTER_POINTS)).round().long()
    apart, product, follows = apart[chosen], product[chosen], follows[chosen]
    marks, told = list[Mark](), list[Text]()
    kinds: dict[str, tuple[Role, Tensor]] = {
        "pairs of the text": ("winner", follows),
        "other pairs": ("other", ~follows),
    }
    for kind, (role, keep) in kinds.items():
        if keep.any():
            marks.append(Mark("points", role, rounded(apart[keep]), rounded(product[keep]), legend=kind))
            means = {"product": float(product[keep].mean()), "distance": float(apart[keep].mean())}
            told.append(say("phase1_2.scatter_part", kind=kind, **means))
    return figure("phase1_2.scatter", marks, seeds=seeds, parts=told)


# ---- the result in short ----------------------------------------------------------------------------------------


def summary(
    settings: Phase12Settings,
    pairs: Pairs,
    samples: Mapping[str, Tensor],
    embedding: Tensor,
    weight: Tensor,
    bias: Tensor,
    other: int | None,
) -> list[Text]:
    """Return the result in two or three sentences.

    ``embedding`` is the focus token's, (D,), of the first seed, as are the output rows, (V, D), and the bias, (V,);
    ``other`` is the token that follows it most often, unless that is itself.
    """
    names, focus = pairs.names, pairs.numbers[settings.focus]
    inner = weight @ embedding
    probabilities = (inner + bias).softmax(-1)
    winner = int(probabilities.argmax())
    told: list[Text] = [
        reached("phase1_2.reached", settings, pairs, samples),
        say(
            "phase1_2.decided",
            seed=settings.seed,
            focus=names[focus],
            winner=names[winner],
            probability=float(probabilities[winner]),
            score=float(inner[winner]) + float(bias[winner]),
            inner=float(inner[winner]),
            bias=float(bias[winner]),
        ),
    ]
    if other is not None:
        before, now = (float(samples[f"distance_{when}"][0]) for when in ("before", "after"))
        went = {"focus": names[focus], "next": names[other], "before": before, "now": now}
        closer = int(samples["distance_shrank_fraction"].sum())
        over = say("phase1_2.went_over_seeds", **went, closer=closer, seeds=settings.seeds)
        told.append(over if settings.seeds > 1 else say("phase1_2.went", **went))
    return told


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
    plane = torch.zeros(dim, 2)
    plane[:, : min(2, len(sizes))] = directions[:2].T
    total = sizes.square().sum()
    return plane, float(sizes[:2].square().sum() / total) if total > 0 else 1.0
