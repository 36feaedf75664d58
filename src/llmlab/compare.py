"""Two entries of the log side by side.

Covers the settings in which they differ, every metric both have, and, where they share seeds, the mean
difference seed by seed with its interval: the same start in both runs takes most of the noise out.  Two halves of a
depth sweep are joined: one row per depth, and differences between neighbours whichever half they come from.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from llmlab.measure.stats import mean_interval
from llmlab.report.messages import say, sentences
from llmlab.report.record import Record
from llmlab.report.result import Scalar, Table, columns_of

LARGEST_DIFFERENCE = 1e150
SUFFIXES = ("_sd", "_low", "_high", "_n", "_reason")
BY_DEPTH = ("parameters", "val_ppl", "train_loss")
DEPTH = re.compile(rf"(?:{'|'.join(BY_DEPTH)})_L(\d+)")
HALVES_MAY_DIFFER = {"layers", "only", "seed", "seeds", "remedy", "device", "precision", "preset"}
"""Settings in which two halves of one depth sweep may differ."""
INTERVAL = ("n", "difference", "difference_low", "difference_high")


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
    return compared | {
        "depths": depths,
        "neighbours": list(_neighbours(depths, others | samples)) if comparable else [],
    }


def tables(a: Record, b: Record) -> list[Table]:
    """Return the comparison as tables: settings, metrics, and differences paired by seed."""
    found = document(a, b)
    superseded = [say("compare.superseded", old=r.id, new=r.superseded_by) for r in (a, b) if r.superseded_by]
    sweeps = " | ".join(f"{what} {record.id}" for what in ("val PPL", "train loss") for record in (a, b))

    def table(name: str, title: str, columns: str, rows: list[list[Any]], *caption: str) -> Table:
        return Table(name, title, columns_of(columns), rows, sentences(*caption))

    built = [
        table(
            "settings",
            "Settings that differ",
            f"setting:text | {a.id}:text | {b.id}:text",
            [[name, *map(str, pair)] for name, pair in found["settings"].items()],
            "" if found["settings"] else say("compare.same"),
            *superseded,
        ),
        table(
            "metrics",
            "Metrics",
            f"metric:text | {a.id} | {b.id} | difference",
            [[name, *told.values()] for name, told in found["metrics"].items()],
        ),
        table(
            "paired",
            "Differences seed by seed",
            "metric:text | n:integer | mean difference | 95% low | 95% high",
            [[name, *map(told.get, INTERVAL)] for name, told in found["paired"].items()],
            say("compare.paired", a=a.id, b=b.id),
        ),
        table(
            "depths",
            "Both sweeps by depth",
            f"stack:text | parameters:integer | {sweeps}",
            [
                [f"L{depth}", next(filter(None, row["parameters"]), None), *row["val_ppl"], *row["train_loss"]]
                for depth, row in found.get("depths", {}).items()
            ],
            say("compare.depths"),
        ),
        table(
            "neighbours",
            "From depth to depth",
            "what:text | n:integer | val PPL | 95% low | 95% high",
            [
                [say("layers.minus", second=f"L{told['to']}", first=f"L{told['from']}"), *map(told.get, INTERVAL)]
                for told in found.get("neighbours", [])
            ],
            say("compare.neighbours", a=a.id),
        ),
    ]
    return [one for one in built if one.rows or one.name in ("settings", "metrics")]


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics by which two entries are compared: numbers, without what only qualifies another one."""
    return {
        name: value for name, value in metrics.items() if isinstance(value, int | float) and not name.endswith(SUFFIXES)
    }


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


def _by_seed(record: Record) -> dict[str, dict[int, float]]:
    """Return a record's samples by seed: those that it has of every seed."""
    first, count = (record.result.settings.get(name) for name in ("seed", "seeds"))
    if not isinstance(first, int) or not isinstance(count, int):
        return {}
    whole = {name: values for name, values in record.result.samples.items() if len(values) == count}
    return {name: dict(enumerate(values, first)) for name, values in whole.items()}


def _paired(one: dict[int, float], other: dict[int, float], least: int = 1) -> dict[str, float]:
    """Return n, mean difference and interval over the seeds that both have; empty if they are too few."""
    differences = [_difference(one[seed], other[seed]) for seed in one if seed in other]
    finite = [difference for difference in differences if difference is not None]
    if len(differences) < least or len(finite) < len(differences):
        return {}
    return {"n": len(finite), **{f"difference{end}": value for end, value in mean_interval(finite).items()}}


def _difference(left: float, right: float) -> float | None:
    """Return how much larger the right number is; nothing where its square would be beyond what a float can hold."""
    difference = right - left
    return difference if abs(difference) < LARGEST_DIFFERENCE else None


def _depths(*sides: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """Return by depth its metrics in both entries, ``None`` where one has not got it; empty if not both are sweeps."""
    found = [{int(match[1]) for name in side if (match := DEPTH.fullmatch(name))} for side in sides]
    return {
        str(depth): {name: [side.get(f"{name}_L{depth}") for side in sides] for name in BY_DEPTH}
        for depth in sorted(set().union(*found) if all(found) else ())
    }


def _neighbours(depths: Mapping[str, Any], samples: dict[str, dict[int, float]]) -> Iterator[dict[str, Any]]:
    """Yield neighbouring depths of the joined sweep with their PPL differences over common seeds."""
    known = [depth for depth in depths if f"val_ppl_L{depth}" in samples]
    for low, high in pairwise(known):
        if found := _paired(samples[f"val_ppl_L{low}"], samples[f"val_ppl_L{high}"]):
            yield {"from": int(low), "to": int(high), **found}
