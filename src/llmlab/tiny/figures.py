"""From tensors to the pictures of chapters 1 and 2, as plain data.

Covers the learning curve, the map of stations and tracks, and distance against inner product.  Leaves out
every question of ink: ``report`` draws the same data in the terminal and as SVG.
"""

from dataclasses import replace

import torch
from torch import Tensor

from llmlab.measure.entropy import conditional_entropy
from llmlab.measure.geometry import distances, feet, main_plane
from llmlab.report.result import Figure, Mark, counted, rounded
from llmlab.tiny.training import TinyRun

CURVE_POINTS = 100
MAP_TOKENS = 12
"""More stations or tracks than this make the map unreadable; the focus and the best scores stay."""

MAP_FEET = 5
"""Perpendiculars are drawn for the best scores only."""

SCATTER_POINTS = 240


def learning_curve(run: TinyRun) -> Figure:
    """Return the loss against updates: the median with the band of 90 % of seeds, above the floor."""
    floor = conditional_entropy(run.pairs.counts)
    updates, seeds = run.losses.shape
    shown = torch.linspace(0, updates - 1, min(updates, CURVE_POINTS)).round().long()
    xs = [float(update + 1) for update in shown]
    levels = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    low, middle, high = run.losses[shown].double().quantile(levels, dim=1)
    marks = [
        Mark("line", "series", xs, rounded(middle), legend="loss" if seeds == 1 else "median loss"),
        Mark("level", "floor", [], [floor], legend="floor"),
    ]
    if seeds > 1:
        marks.insert(0, Mark("band", "series", xs, rounded(low), tops=rounded(high), legend="90 % of seeds"))
    return Figure(
        "curve",
        "Learning curve",
        f"Loss from {float(middle[0]):.3f} to {float(middle[-1]):.3f} over {counted(updates, 'update')}, median of "
        f"{counted(seeds, 'seed')}; the dashed line is the floor of the text, {floor:.4f}.",
        "update",
        "loss (nats)",
        marks,
        after="loss",
    )


def stations_and_tracks(run: TinyRun, focus: int) -> Figure:
    """Return the map of the first seed: tokens before and after with their paths, output rows as tracks.

    From the focus token a perpendicular falls on each track: how far along the track it lands, times the
    track's length, is the inner product.
    """
    tokens = run.pairs.vocabulary.names
    weight, end = run.after.weight[0], run.after.embedding[0]
    scores = weight @ end[focus]
    tracks = scores.argsort(descending=True)[:MAP_TOKENS].tolist()
    stations = sorted(range(len(tokens)), key=lambda v: (v != focus, v))[:MAP_TOKENS]
    plane, share = main_plane(torch.cat([run.path[0], end, weight]))

    def flat(vectors: Tensor) -> tuple[list[float], list[float]]:
        xs, ys = (vectors @ plane).T.tolist()
        return rounded(xs), rounded(ys)

    marks = [
        Mark(
            "track",
            "winner" if place == 0 else "track",
            *flat(weight[k : k + 1]),
            [f"→{tokens[k]} {float(scores[k]):.2f}"],
            legend={0: "largest inner product", 1: "other output rows"}.get(place, ""),
        )
        for place, k in enumerate(tracks)
    ]
    shown = tracks[:MAP_FEET]
    landing = feet(end[focus], weight)[shown]
    marks += [Mark("line", "foot", *flat(torch.stack([end[focus], foot]))) for foot in landing]
    marks.append(Mark("points", "foot", *flat(landing), legend=f"where {tokens[focus]} lands"))
    marks += [Mark("line", "path", *flat(run.path[:, v])) for v in stations]
    marks.append(Mark("points", "before", *flat(run.path[0, stations]), legend="before"))
    marks.append(Mark("points", "after", *flat(end[stations]), [tokens[v] for v in stations], legend="after"))
    left_out = len(tokens) - len(stations)
    return Figure(
        "map",
        "Stations and tracks",
        f"Tokens as stations before (hollow) and after training (full) with their paths; output rows as tracks through "
        f"zero. Where the perpendicular from {tokens[focus]} lands on a track, times the track's length, is the inner "
        f"product; it is largest for {tokens[tracks[0]]}, {float(scores[tracks[0]]):.2f}."
        + (f" The plane shown keeps {share:.0%} of all squared lengths." if share < 0.9995 else "")
        + (f" {counted(left_out, 'token')} left out." if left_out > 0 else ""),
        "axis 1" if plane.shape[0] <= 2 else "first main axis",
        "axis 2" if plane.shape[0] <= 2 else "second main axis",
        marks,
        equal_axes=True,
        after="embedding",
    )


def distance_and_product(run: TinyRun) -> Figure:
    """Return the distance of two embeddings against the inner product of one with the other's output row.

    One point per pair of an input and a token, for as many of the first seeds as stay readable.
    """
    inputs, size = run.pairs.inputs(), len(run.pairs.vocabulary)
    seeds = min(len(run.after), max(1, SCATTER_POINTS // (len(inputs) * size)))
    part = run.after[slice(0, seeds)]
    apart = distances(part.embedding)[:, inputs].flatten()
    product = (part.embedding @ part.weight.transpose(1, 2))[:, inputs].flatten()
    follows = (run.pairs.joint()[inputs] > 0).expand(seeds, -1, -1).flatten()
    chosen = torch.linspace(0, len(apart) - 1, min(len(apart), 4 * SCATTER_POINTS)).round().long()
    apart, product, follows = apart[chosen], product[chosen], follows[chosen]
    marks, told = [], []
    kinds = [
        Mark("points", "winner", [], [], legend="pairs of the text"),
        Mark("points", "other", [], [], legend="other pairs"),
    ]
    for mark, keep in zip(kinds, (follows, ~follows), strict=True):
        if keep.any():
            marks.append(replace(mark, xs=rounded(apart[keep]), ys=rounded(product[keep])))
            means = float(product[keep].mean()), float(apart[keep].mean())
            told.append(
                f"{mark.legend} have a mean inner product of {means[0]:.2f} at a mean distance of {means[1]:.2f}"
            )
    return Figure(
        "scatter",
        "Distance against inner product",
        f"Every pair of an input and a token, {counted(seeds, 'seed')}: {'; '.join(told)}.",
        "distance of the two embeddings",
        "inner product with the output row",
        marks,
        after="decomposition",
    )
