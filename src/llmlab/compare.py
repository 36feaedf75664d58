"""Two entries of the log side by side.

Covers the settings in which they differ, every metric both have, and, where they share seeds, the mean
difference seed by seed with its interval: the same start in both runs takes most of the noise out.  Two halves of a
depth sweep are joined: one row per depth, and differences between neighbours whichever half they come from.
Leaves out a verdict: an interval that excludes zero says enough.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from llmlab.measure.stats import mean_interval
from llmlab.report.record import Record
from llmlab.report.result import Cell, Column, Table

LARGEST_DIFFERENCE = 1e150
SUFFIXES = ("_sd", "_low", "_high", "_n", "_reason")
DEPTH = re.compile(r"(?P<name>val_ppl|train_loss|parameters)_L(?P<depth>\d+)")
HALVES_MAY_DIFFER = {"layers", "only", "seed", "seeds", "remedy", "device", "precision", "preset"}
"""Settings in which two halves of one depth sweep may differ."""


def tables(a: Record, b: Record) -> list[Table]:
    """Return the comparison as tables: settings, metrics, and differences paired by seed."""
    names = [a.id, b.id]
    settings = [[key, str(left), str(right)] for key, left, right in _differing(a, b)]
    metrics: list[list[Cell]] = [
        [name, left, right, _difference(left, right)]
        for name, left, right in _shared_numbers(a.result.metrics, b.result.metrics)
    ]
    paired = [
        [name, int(found["n"]), found[""], found.get("_low"), found.get("_high")]
        for name, found in _paired(a, b).items()
    ]
    interval = [Column(name) for name in ("mean difference", "95% low", "95% high")]
    built = [
        Table(
            "settings",
            "Settings that differ",
            [Column("setting", "text"), *(Column(name, "text") for name in names)],
            [list(row) for row in settings],
            " ".join([*(["None: the same experiment twice."] if not settings else []), *_superseded(a, b)]),
        ),
        Table("metrics", "Metrics", [Column("metric", "text"), *map(Column, names), Column("difference")], metrics),
    ]
    if paired:
        built.append(
            Table(
                "paired",
                "Differences seed by seed",
                [Column("metric", "text"), Column("n", "integer"), *interval],
                [list(row) for row in paired],
                f"{b.id} minus {a.id}, over the seeds that both ran.",
            )
        )
    return built + _depth_tables(a, b)


def document(a: Record, b: Record) -> dict[str, Any]:
    """Return the comparison as strict JSON values."""
    compared = {
        "schema": "llmlab.compare/1",
        "a": a.name,
        "b": b.name,
        "superseded_by": {name: record.superseded_by or None for name, record in (("a", a), ("b", b))},
        "settings": {key: [left, right] for key, left, right in _differing(a, b)},
        "metrics": {
            name: {"a": left, "b": right, "difference": _difference(left, right)}
            for name, left, right in _shared_numbers(a.result.metrics, b.result.metrics)
        },
        "paired": {
            name: {"difference" + key if key != "n" else key: value for key, value in found.items()}
            for name, found in _paired(a, b).items()
        },
    }
    joined = _by_depth(a, b)
    if not joined:
        return compared
    neighbours = [
        {"from": first, "to": second, "n": int(told["n"])}
        | {f"difference{end}": told[end] for end in told if end != "n"}
        for first, second, told in _neighbours(a, b)
    ]
    return compared | {"depths": {str(depth): row for depth, row in joined.items()}, "neighbours": neighbours}


def _by_depth(a: Record, b: Record) -> dict[int, dict[str, list[Any]]]:
    """Return by depth its metrics in both entries, ``None`` where one has not got it; empty if not both are sweeps."""
    sides = [_depths_of(record) for record in (a, b)]
    if not all(sides):
        return {}
    names = ("parameters", "val_ppl", "train_loss")
    every = sorted(sides[0] | sides[1])
    return {depth: {name: [side.get(depth, {}).get(name) for side in sides] for name in names} for depth in every}


def _depths_of(record: Record) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for metric, value in record.result.metrics.items():
        if match := DEPTH.fullmatch(metric):
            found.setdefault(int(match["depth"]), {})[match["name"]] = value
    return found


def _neighbours(a: Record, b: Record) -> list[tuple[int, int, dict[str, float]]]:
    """Return neighbouring depths of the joined sweep with their PPL differences over common seeds.

    Nothing if the entries differ in more than halves of one sweep do: the difference would not be the depth's.
    """
    if {key for key, _, _ in _differing(a, b)} - HALVES_MAY_DIFFER:
        return []
    by_seed: dict[int, dict[int, float]] = {}
    for record in (b, a):  # where both have a depth, the first entry's is taken
        first, count = _seeds(record)
        for name, values in record.result.samples.items():
            match = DEPTH.fullmatch(name)
            if match and match["name"] == "val_ppl" and len(values) == count:
                by_seed[int(match["depth"])] = dict(zip(range(first, first + count), values, strict=True))
    found = []
    for low, high in pairwise(sorted(by_seed)):
        one, other = by_seed[low], by_seed[high]
        differences = [_difference(one[seed], other[seed]) for seed in one if seed in other]
        finite = [difference for difference in differences if difference is not None]
        if finite and len(finite) == len(differences):
            found.append((low, high, {"n": len(finite), **mean_interval(finite)}))
    return found


def _depth_tables(a: Record, b: Record) -> list[Table]:
    """Return two sweeps as one, if that is what the entries are."""
    joined = _by_depth(a, b)
    if not joined:
        return []
    pairs: list[Column] = [Column(f"{what} {r.id}") for what in ("val PPL", "train loss") for r in (a, b)]
    rows: list[list[Cell]] = [
        [f"L{depth}", next((n for n in row["parameters"] if n is not None), None), *row["val_ppl"], *row["train_loss"]]
        for depth, row in joined.items()
    ]
    built = [
        Table(
            "depths",
            "Both sweeps by depth",
            [Column("stack", "text"), Column("parameters", "integer"), *pairs],
            rows,
            "A dash: that entry did not train this depth.",
        )
    ]
    steps: list[list[Cell]] = [
        [f"L{high} minus L{low}", int(told["n"]), told[""], told.get("_low"), told.get("_high")]
        for low, high, told in _neighbours(a, b)
    ]
    if steps:
        ends = [Column(name) for name in ("val PPL", "95% low", "95% high")]
        caption = f"Over the seeds that both depths ran; where both entries have a depth, that of {a.id} is taken."
        built.append(
            Table(
                "neighbours",
                "From depth to depth",
                [Column("what", "text"), Column("n", "integer"), *ends],
                steps,
                caption,
            )
        )
    return built


def _superseded(*records: Record) -> Iterator[str]:
    """Yield a sentence for each entry that the log no longer stands by."""
    yield from (f"{record.id} is superseded by {record.superseded_by}." for record in records if record.superseded_by)


def _differing(a: Record, b: Record) -> list[tuple[str, Any, Any]]:
    left, right = ({"experiment": r.result.experiment, **r.result.settings} for r in (a, b))
    return [(key, left.get(key), right.get(key)) for key in left | right if left.get(key) != right.get(key)]


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the metrics by which two entries are compared: numbers, without what only qualifies another one."""
    return {
        name: value
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not name.endswith(SUFFIXES)
    }


def _shared_numbers(left: dict[str, Any], right: dict[str, Any]) -> list[tuple[str, float, float]]:
    others = numbers(right)
    return [(name, value, others[name]) for name, value in numbers(left).items() if name in others]


def _paired(a: Record, b: Record) -> dict[str, dict[str, float]]:
    """Return n, mean difference and interval per metric, over the seeds that both records hold samples of."""
    (first_a, count_a), (first_b, count_b) = _seeds(a), _seeds(b)
    seeds = range(max(first_a, first_b), min(first_a + count_a, first_b + count_b))
    found: dict[str, dict[str, float]] = {}
    for name, left in a.result.samples.items():
        right = b.result.samples.get(name)
        if right is not None and len(left) == count_a and len(right) == count_b and len(seeds) > 1:
            differences = [_difference(left[seed - first_a], right[seed - first_b]) for seed in seeds]
            finite = [difference for difference in differences if difference is not None]
            if len(finite) == len(seeds):
                found[name] = {"n": len(seeds), **mean_interval(finite)}
    return found


def _difference(left: float, right: float) -> float | None:
    """Return how much larger the right number is; nothing where its square would be beyond what a float can hold."""
    difference = right - left
    return difference if abs(difference) < LARGEST_DIFFERENCE else None


def _seeds(record: Record) -> tuple[int, int]:
    first, count = (record.result.settings.get(name) for name in ("seed", "seeds"))
    return (first, count) if isinstance(first, int) and isinstance(count, int) else (0, 0)
