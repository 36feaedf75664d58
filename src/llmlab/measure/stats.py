"""What many seeds say together: means with intervals and shares with intervals.

Covers the 95 % interval of a mean (Student's t) and of a share (Wilson), on plain lists and without torch, so
that the log can compare entries at once.  scipy is the oracle in the tests; it is not a dependency, for it
would be the heaviest but one.  p-values, corrected for the number of comparisons, are made of these by the rules of the
claims.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist, fmean

LEVEL = 0.95


def mean_interval(samples: Sequence[float]) -> dict[str, float]:
    """Return the mean of samples under ``""``, and of several also ``"_sd"``, ``"_low"``, ``"_high"``: 95 % interval.

    The keys are suffixes to a metric's name.
    """
    mean, count = fmean(samples), len(samples)
    if count < 2:
        return {"": mean}
    deviation = math.sqrt(math.fsum((sample - mean) ** 2 for sample in samples) / (count - 1))
    half = t_quantile((1 + LEVEL) / 2, count - 1) * deviation / math.sqrt(count)
    return {"": mean, "_sd": deviation, "_low": mean - half, "_high": mean + half}


def paired_interval(first: Mapping[int, float], second: Mapping[int, float]) -> dict[str, float]:
    """Return how much larger samples are in the second of two mappings by seed, over the seeds that both have.

    That is how many under ``"_n"``, and what ``mean_interval`` says of them; nothing without a common seed.
    """
    differences = [second[seed] - first[seed] for seed in first if seed in second]
    return {"_n": len(differences), **mean_interval(differences)} if differences else {}


def share_interval(hits: Sequence[bool]) -> dict[str, float]:
    """Return the share of true values and its Wilson 95 % interval, as suffixes to a metric's name.

    Unlike the textbook interval it stays inside [0, 1] and is right for 0 and for all of N (Wilson 1927).
    """
    share, count = fmean(hits), len(hits)
    if count < 2:
        return {"": share}
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    centre, scale = share + z * z / (2 * count), 1 + z * z / count
    return {
        "": share,
        "_sd": math.sqrt(share * (1 - share) * count / (count - 1)),
        "_low": (centre - spread) / scale if share > 0 else 0.0,
        "_high": (centre + spread) / scale if share < 1 else 1.0,
    }


def as_metrics(name: str, told: Mapping[str, float]) -> dict[str, float]:
    """Return numbers that go by suffixes under a metric's name."""
    return {name + suffix: value for suffix, value in told.items()}


def metrics_of(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return each metric with its interval under its own name: of booleans the share, of numbers the mean."""
    found: dict[str, float] = {}
    for name, values in samples.items():
        told = share_interval(list(map(bool, values))) if isinstance(values[0], bool) else mean_interval(values)
        found |= as_metrics(name, told)
    return found


@cache
def t_quantile(probability: float, degrees: int) -> float:
    """Return the value below which Student's t lies with the given probability (at least 1/2).

    Found by halving an interval on the exact distribution function.
    """
    low, high = 0.0, 1.0
    while t_distribution(high, degrees) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_distribution(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def t_distribution(t: float, degrees: int) -> float:
    """Return P(T <= t), t >= 0: a finite sum for whole degrees (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term, total = (cosine, cosine if degrees > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inner = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inner) / 2
