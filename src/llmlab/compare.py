"""Two entries of the log side by side.

Covers the settings in which they differ, every metric both have, and, where they share seeds, the mean
difference seed by seed with its interval: the same start in both runs takes most of the noise out.
Leaves out a verdict: an interval that excludes zero says enough.
"""

from typing import Any

from llmlab.measure.stats import mean_interval
from llmlab.report.record import Record
from llmlab.report.result import Cell, Column, Table

LARGEST_DIFFERENCE = 1e150
SUFFIXES = ("_sd", "_low", "_high", "_reason")


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
            "None: the same experiment twice." if not settings else "",
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
    return built


def document(a: Record, b: Record) -> dict[str, Any]:
    """Return the comparison as strict JSON values."""
    return {
        "schema": "llmlab.compare/1",
        "a": a.name,
        "b": b.name,
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


def _differing(a: Record, b: Record) -> list[tuple[str, Any, Any]]:
    left, right = ({"experiment": r.result.experiment, **r.result.settings} for r in (a, b))
    return [(key, left.get(key), right.get(key)) for key in left | right if left.get(key) != right.get(key)]


def _shared_numbers(left: dict[str, Any], right: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [
        (name, left[name], right[name])
        for name in left
        if not name.endswith(SUFFIXES)
        and isinstance(left[name], (int, float))
        and isinstance(right.get(name), (int, float))
    ]


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
