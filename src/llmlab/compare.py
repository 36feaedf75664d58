"""Two entries of the log side by side.

Covers the settings in which they differ, every metric both have, and, where they share seeds, the mean
difference seed by seed with its interval: the same start in both runs takes most of the noise out.  Two halves of a
depth sweep are joined: one row per depth, and differences between neighbours whichever half they come from.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from llmlab.measure.stats import mean_interval
from llmlab.report.messages import Text, say, sentences
from llmlab.report.record import Record
from llmlab.report.result import Cell, Scalar, Table, columns_of

LARGEST_DIFFERENCE = 1e150
SUFFIXES = ("_sd", "_low", "_high", "_n", "_reason")
DEPTH = re.compile(r"(?P<name>val_ppl|train_loss|parameters)_L(?P<depth>\d+)")
HALVES_MAY_DIFFER = {"layers", "only", "seed", "seeds", "remedy", "device", "precision", "preset"}
"""Settings in which two halves of one depth sweep may differ."""


def document(a: Record, b: Record) -> dict[str, Any]:
    """Return the comparison as strict JSON values."""
    left, right = ({"experiment": record.result.experiment, **record.result.settings} for record in (a, b))
    ours, theirs = numbers(a.result.metrics), numbers(b.result.metrics)
    samples, others = _by_seed(a), _by_seed(b)
    paired = {name: _paired(samples[name], others[name], least=2) for name in samples if name in others}
    compared: dict[str, Any] = {
        "schema": "llmlab.compare/1",
        "a": a.name,
        "b": b.name,
        "superseded_by": {"a": a.superseded_by or None, "b": b.superseded_by or None},
        "settings": _differing(left, right),
        "metrics": {
            name: {"a": value, "b": theirs[name], "difference": _difference(value, theirs[name])}
            for name, value in ours.items()
            if name in theirs
        },
        "paired": {name: found for name, found in paired.items() if found},
    }
    depths = _depths(a.result.metrics, b.result.metrics)
    if not depths:
        return compared
    comparable = not compared["settings"].keys() - HALVES_MAY_DIFFER
    return compared | {"depths": depths, "neighbours": _neighbours(others | samples) if comparable else []}


def tables(a: Record, b: Record) -> list[Table]:
    """Return the comparison as tables: settings, metrics, and differences paired by seed."""
    found, names = document(a, b), f"{a.id} | {b.id}"
    settings: list[list[Cell]] = [[key, *map(str, pair)] for key, pair in found["settings"].items()]
    sweeps = " | ".join(f"{what} {record.id}" for what in ("val PPL", "train loss") for record in (a, b))
    superseded = [say("compare.superseded", old=r.id, new=r.superseded_by) for r in (a, b) if r.superseded_by]
    built = [
        Table(
            "settings",
            "Settings that differ",
            columns_of(f"setting:text | {a.id}:text | {b.id}:text"),
            settings,
            sentences("" if settings else say("compare.same"), *superseded),
        ),
        Table(
            "metrics",
            "Metrics",
            columns_of(f"metric:text | {names} | difference"),
            [[name, *told.values()] for name, told in found["metrics"].items()],
        ),
        Table(
            "paired",
            "Differences seed by seed",
            columns_of("metric:text | n:integer | mean difference | 95% low | 95% high"),
            [[name, *_interval(told)] for name, told in found["paired"].items()],
            say("compare.paired", a=a.id, b=b.id),
        ),
        Table(
            "depths",
            "Both sweeps by depth",
            columns_of(f"stack:text | parameters:integer | {sweeps}"),
            [_in_depth(depth, row) for depth, row in found.get("depths", {}).items()],
            say("compare.depths"),
        ),
        Table(
            "neighbours",
            "From depth to depth",
            columns_of("what:text | n:integer | val PPL | 95% low | 95% high"),
            [[_step(told["from"], told["to"]), *_interval(told)] for told in found.get("neighbours", [])],
            say("compare.neighbours", a=a.id),
        ),
    ]
    return [table for table in built if table.rows or table.name in ("settings", "metrics")]


def _differing(left: dict[str, Scalar], right: dict[str, Scalar]) -> dict[str, list[Scalar]]:
    """Return the settings that differ, each with both values.

    In one experiment a name may be a width and in another a yes or no: those are two settings.
    """
    found: dict[str, list[Scalar]] = {}
    for name in left | right:
        values = [left.get(name), right.get(name)]
        if None not in values and len({isinstance(value, bool) for value in values}) > 1:
            found[f"{name} ({left['experiment']})"] = [values[0], None]
            found[f"{name} ({right['experiment']})"] = [None, values[1]]
        elif values[0] != values[1]:
            found[name] = values
    return found


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics by which two entries are compared: numbers, without what only qualifies another one."""
    return {
        name: value for name, value in metrics.items() if isinstance(value, int | float) and not name.endswith(SUFFIXES)
    }


def _by_seed(record: Record) -> dict[str, dict[int, float]]:
    """Return a record's samples by seed: those that it has of every seed."""
    first, count = (record.result.settings.get(name) for name in ("seed", "seeds"))
    if not isinstance(first, int) or not isinstance(count, int):
        return {}
    seeds = range(first, first + count)
    return {
        name: dict(zip(seeds, values, strict=True))
        for name, values in record.result.samples.items()
        if len(values) == count
    }


def _paired(one: dict[int, float], other: dict[int, float], least: int = 1) -> dict[str, float]:
    """Return n, mean difference and interval over the seeds that both have; empty if they are too few."""
    differences = [_difference(one[seed], other[seed]) for seed in one if seed in other]
    finite = [difference for difference in differences if difference is not None]
    if len(differences) < least or len(finite) < len(differences):
        return {}
    return {"n": len(finite), **{f"difference{end}": value for end, value in mean_interval(finite).items()}}


def _in_depth(depth: str, row: dict[str, list[Any]]) -> list[Cell]:
    parameters = next((count for count in row["parameters"] if count is not None), None)
    return [f"L{depth}", parameters, *row["val_ppl"], *row["train_loss"]]


def _step(shallow: int, deep: int) -> Text:
    return say("layers.minus", second=f"L{deep}", first=f"L{shallow}")


def _interval(told: dict[str, Any]) -> list[Cell]:
    return [told.get(name) for name in ("n", "difference", "difference_low", "difference_high")]


def _difference(left: float, right: float) -> float | None:
    """Return how much larger the right number is; nothing where its square would be beyond what a float can hold."""
    difference = right - left
    return difference if abs(difference) < LARGEST_DIFFERENCE else None


def _depths(*sides: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Return by depth its metrics in both entries, ``None`` where one has not got it; empty if not both are sweeps."""
    found = [sorted({int(match["depth"]) for name in side if (match := DEPTH.fullmatch(name))}) for side in sides]
    if not all(found):
        return {}
    return {
        str(depth): {
            name: [side.get(f"{name}_L{depth}") for side in sides] for name in ("parameters", "val_ppl", "train_loss")
        }
        for depth in sorted({depth for depths in found for depth in depths})
    }


def _neighbours(samples: dict[str, dict[int, float]]) -> list[dict[str, Any]]:
    """Return neighbouring depths of the joined sweep with their PPL differences over common seeds."""
    by_depth = {
        int(match["depth"]): by_seed
        for name, by_seed in samples.items()
        if (match := DEPTH.fullmatch(name)) and match["name"] == "val_ppl"
    }
    paired = {(low, high): _paired(by_depth[low], by_depth[high]) for low, high in pairwise(sorted(by_depth))}
    return [{"from": low, "to": high, **found} for (low, high), found in paired.items() if found]
