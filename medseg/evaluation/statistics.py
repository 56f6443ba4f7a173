"""Means over patients with bootstrap intervals, and how many patients a study needs.

The patient is what is drawn: cases of one patient are averaged first. Below 50 patients the interval is studentised
(bootstrap-t), from 50 on bias-corrected and accelerated (BCa; Efron 1987), with tails that are cut a little later
where patients are few (`bootstrap.tail_level`); the rule looks at the number of patients only, never at the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy import stats

from medseg.evaluation.bootstrap import (
    BCA_FROM,
    EXPANSION_BCA,
    EXPANSION_T,
    bca_bounds,
    drawn_sums,
    percentile_bounds,
    studentised_bounds,
    tail_level,
)
from medseg.shapes import FloatArray

DRAWS = 10_000
CONFIDENCE = 0.95
UNBOUNDED = (-float("inf"), float("inf"))
INTERVAL_RULE = (
    f"95 % interval of the mean over patients: bootstrap-t below {BCA_FROM} patients, BCa from {BCA_FROM} on, cut at "
    f"2.5 % x n / (n + {EXPANSION_T:g}) and 2.5 % x n / (n + {EXPANSION_BCA:g}) of the draws on each side"
)


@dataclass(frozen=True)
class Interval:
    """A mean over patients and where it may lie.

    Args:
        mean: NaN without patients.
        ci95: two-sided interval, or None: fewer than two patients, all values equal, or no finite bound.
        method: `bootstrap-t`, `bca`, or why there is no interval.
        sd: standard deviation between patients, NaN below two.
        n: patients.
    """

    mean: float
    ci95: tuple[float, float] | None
    method: str
    sd: float
    n: int


def patient_means(values: FloatArray, patients: Sequence[str]) -> FloatArray:
    """Mean of `values` (N,) per patient, in the order of first appearance; NaN values are left out.

    >>> patient_means(np.array([1.0, 3.0, 5.0]), ["a", "a", "b"])
    array([2., 5.])
    """
    groups: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        if not np.isnan(value):
            groups.setdefault(patient, []).append(float(value))
    return np.array([np.mean(group) for group in groups.values()])


def mean_interval(
    values: FloatArray, *, draws: int = DRAWS, seed: int = 0, bounds: tuple[float, float] = UNBOUNDED
) -> Interval:
    """Mean of one value per patient (N,) with its 95 % bootstrap interval.

    A draw without any spread (few patients, rare misses) has no studentised value and counts as infinitely far, which
    widens the interval; bounds are then cut to what the metric can be. All values equal: no interval.

    Args:
        bounds: smallest and largest possible mean.
    """
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return _intervals(column, draws, seed, [bounds])[0]


def mean_intervals(
    table: FloatArray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    bounds: Sequence[tuple[float, float]] | None = None,
) -> list[Interval]:
    """`mean_interval` of every column of a table (N, K), from the same draws and so many times as fast.

    Args:
        table: one row per patient; NaN where a patient has no value, which that column then leaves out: each
            interval's `n` says how many are left.
        bounds: smallest and largest possible mean of each column, by default without end.

    >>> [interval.n for interval in mean_intervals(np.array([[0.1, 0.2], [0.3, np.nan], [0.4, 0.5]]))]
    [3, 2]
    """
    table = np.asarray(table, dtype=np.float64)
    limits = [UNBOUNDED] * table.shape[1] if bounds is None else list(bounds)
    known = ~np.isnan(table)
    sizes = known.sum(axis=0)
    found: dict[int, Interval] = {}
    for n in np.unique(sizes):
        columns = np.flatnonzero(sizes == n).tolist()
        packed = np.stack([table[known[:, column], column] for column in columns], axis=1)
        intervals = _intervals(packed, draws, seed, [limits[column] for column in columns])
        found |= dict(zip(columns, intervals, strict=True))
    return [found[column] for column in range(table.shape[1])]


def bca_interval(values: FloatArray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """BCa interval of the mean of (N,) values as in the textbook, 2.5 % a side, whatever N is."""
    low, high = bca_bounds(np.asarray(values, dtype=np.float64).reshape(-1, 1), draws, seed)
    return float(low[0]), float(high[0])


def studentised_interval(values: FloatArray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Bootstrap-t interval of the mean of (N,) values as in the textbook, 2.5 % a side, whatever N is.

    May be infinite for a handful of values.
    """
    low, high = studentised_bounds(np.asarray(values, dtype=np.float64).reshape(-1, 1), draws, seed)
    return float(low[0]), float(high[0])


def ratio_interval(
    numerator: FloatArray, denominator: FloatArray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """Ratio of two patient means (N,) and (N,) drawn together, with its percentile interval.

    NaN and None where the denominator's mean is 0; None below two patients, or where a draw's denominator is 0.
    """
    if not len(numerator) or not denominator.mean():
        return float("nan"), None
    ratio = float(numerator.mean() / denominator.mean())
    tops, bottoms = drawn_sums(np.stack([numerator, denominator], axis=1), draws, seed).T
    if len(numerator) < 2 or not bottoms.all():
        return ratio, None
    return ratio, percentile_bounds(tops / bottoms)


def rate_difference_interval(
    ours: tuple[FloatArray, FloatArray], theirs: tuple[FloatArray, FloatArray], *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the difference of two rates when patients are drawn.

    Args:
        ours: events and chances per patient, (N,) each.
        theirs: the same, of the other.

    None when no draw has a chance in both.
    """
    events, chances, others, other_chances = drawn_sums(np.stack([*ours, *theirs], axis=1), draws, seed).T
    drawn = (chances > 0) & (other_chances > 0)
    if not drawn.any():
        return None
    return percentile_bounds(events[drawn] / chances[drawn] - others[drawn] / other_chances[drawn])


def exact_upper_bound(events: int, chances: int) -> float:
    """Upper end of the exact two-sided 95 % interval of a rate (Clopper and Pearson 1934).

    >>> round(exact_upper_bound(0, 20), 3)  # no miss in 20 still allows 17 %
    0.168
    """
    if events >= chances:
        return 1.0
    return float(stats.beta.ppf((1 + CONFIDENCE) / 2, events + 1, chances - events))


def patients_for_power(sd: float, margin: float, *, power: float = 0.80) -> int:
    """Patients needed to show non-inferiority at this margin when the true difference is 0.

    From the observed standard deviation of the paired difference, two-sided 5 %, by Student's t.

    >>> patients_for_power(0.1, 0.05)
    34
    """
    normal = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(power)
    n = max(2, ceil((normal * sd / margin) ** 2))
    while ((stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) + stats.t.ppf(power, n - 1)) * sd / margin) ** 2 > n:
        n += 1
    return n


def _intervals(values: FloatArray, draws: int, seed: int, bounds: Sequence[tuple[float, float]]) -> list[Interval]:
    """Intervals of the columns of a table (N, K) without gaps."""
    n = len(values)
    means = values.mean(axis=0) if n else np.full(values.shape[1], np.nan)
    deviations = values.std(axis=0, ddof=1) if n > 1 else np.full(values.shape[1], np.nan)
    if n < 2:
        reason = "none: fewer than two patients"
        return [Interval(float(mean), None, reason, float("nan"), n) for mean in means]
    equal = np.ptp(values, axis=0) <= 1e-12 * np.maximum(1.0, np.abs(means))
    lows, highs = np.full(len(means), np.nan), np.full(len(means), np.nan)
    method, bound = ("bca", bca_bounds) if n >= BCA_FROM else ("bootstrap-t", studentised_bounds)
    if not equal.all():
        lows[~equal], highs[~equal] = bound(values[:, ~equal], draws, seed, tail_level(n))
    found = []
    for mean, sd, flat, low, high, limits in zip(means, deviations, equal, lows, highs, bounds, strict=True):
        low, high = np.clip((low, high), *limits)
        if flat:
            found.append(Interval(float(mean), None, "none: all values equal", 0.0, n))
        elif not (np.isfinite(low) and np.isfinite(high)):
            reason = "none: too few different values for a finite interval"
            found.append(Interval(float(mean), None, reason, float(sd), n))
        else:
            found.append(Interval(float(mean), (float(low), float(high)), method, float(sd), n))
    return found
