"""Means over patients with bootstrap intervals, and how many patients a study needs.

The patient is what is drawn: cases of one patient are averaged first. Below 50 patients the interval is studentised
(bootstrap-t), from 50 on bias-corrected and accelerated (BCa; Efron 1987), because those two kept their promised
coverage best at those sizes; the rule looks at the number of patients only, never at the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy import stats

from medseg.shapes import FloatArray, IntArray

DRAWS = 10_000
BCA_FROM = 50
CONFIDENCE = 0.95
BLOCK = 2_000_000  # drawn numbers held at once: 16 MB
UNBOUNDED = (-float("inf"), float("inf"))


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
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    mean = float(values.mean()) if n else float("nan")
    sd = float(values.std(ddof=1)) if n > 1 else float("nan")
    if n < 2:
        return Interval(mean, None, "none: fewer than two patients", sd, n)
    if np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return Interval(mean, None, "none: all values equal", 0.0, n)
    method, bound = ("bca", _bca) if n >= BCA_FROM else ("bootstrap-t", _studentised)
    low, high = np.clip(bound(values, draws, seed), *bounds)
    if not (np.isfinite(low) and np.isfinite(high)):
        return Interval(mean, None, "none: too few different values for a finite interval", sd, n)
    return Interval(mean, (float(low), float(high)), method, sd, n)


def bca_interval(values: FloatArray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """BCa interval of the mean of (N,) values with leave-one-out acceleration, whatever N is."""
    low, high = _bca(np.asarray(values, dtype=np.float64), draws, seed)
    return float(low), float(high)


def studentised_interval(values: FloatArray, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Bootstrap-t interval of the mean of (N,) values, whatever N is; may be infinite for a handful of values."""
    low, high = _studentised(np.asarray(values, dtype=np.float64), draws, seed)
    return float(low), float(high)


def ratio_interval(
    numerator: FloatArray, denominator: FloatArray, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """Ratio of two patient means (N,) and (N,) drawn together, with its percentile interval.

    NaN and None where the denominator's mean is 0; None below two patients, or where a draw's denominator is 0.
    """
    if not len(numerator) or not denominator.mean():
        return float("nan"), None
    ratio = float(numerator.mean() / denominator.mean())
    tops, bottoms = _sums(np.stack([numerator, denominator]), draws, seed)
    if len(numerator) < 2 or not bottoms.all():
        return ratio, None
    return ratio, _percentiles(tops / bottoms)


def rate_difference_interval(
    ours: tuple[FloatArray, FloatArray], theirs: tuple[FloatArray, FloatArray], *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the difference of two rates when patients are drawn.

    Args:
        ours: events and chances per patient, (N,) each.
        theirs: the same, of the other.

    None when no draw has a chance in both.
    """
    events, chances, others, other_chances = _sums(np.stack([*ours, *theirs]), draws, seed)
    drawn = (chances > 0) & (other_chances > 0)
    if not drawn.any():
        return None
    return _percentiles(events[drawn] / chances[drawn] - others[drawn] / other_chances[drawn])


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


def _blocks(n: int, draws: int, seed: int) -> Iterator[IntArray]:
    """Patient numbers (B, n) of `draws` resamples, in blocks that fit memory."""
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // n)
    for start in range(0, draws, rows):
        yield rng.integers(0, n, size=(min(rows, draws - start), n))


def _studentised(values: FloatArray, draws: int, seed: int) -> tuple[float, float]:
    n, mean = len(values), values.mean()
    error = values.std(ddof=1) / np.sqrt(n)
    parts = []
    for index in _blocks(n, draws, seed):
        drawn = values[index]
        shift, spread = drawn.mean(axis=1) - mean, drawn.std(axis=1, ddof=1) / np.sqrt(n)
        flat = spread <= 1e-12 * error  # every patient of the draw has the same value
        far = np.where(np.abs(shift) <= 1e-12 * error, 0.0, np.copysign(np.inf, shift))
        parts.append(np.where(flat, far, shift / np.where(flat, 1.0, spread)))
    t = np.concatenate(parts)
    tail = (1 - CONFIDENCE) / 2
    # "higher"/"lower" pick a drawn value: interpolating between a number and infinity has no meaning
    upper = np.quantile(t, 1 - tail, method="higher")
    lower = np.quantile(t, tail, method="lower")
    return mean - upper * error, mean - lower * error


def _bca(values: FloatArray, draws: int, seed: int) -> tuple[float, float]:
    n, mean = len(values), values.mean()
    means = np.concatenate([values[index].mean(axis=1) for index in _blocks(n, draws, seed)])
    below = (np.count_nonzero(means < mean) + 0.5 * np.count_nonzero(means == mean)) / draws
    bias = stats.norm.ppf(np.clip(below, 1 / (draws + 1), draws / (draws + 1)))
    # the mean without patient i is off by (mean - value_i) / (n - 1); the skewness of those gives the acceleration
    without = mean - values
    acceleration = -np.sum(without**3) / (6 * np.sum(without**2) ** 1.5) if np.any(without) else 0.0
    z = bias + stats.norm.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    levels = stats.norm.cdf(bias + z / (1 - acceleration * z))
    low, high = np.quantile(means, levels)
    return low, high


def _sums(rows: FloatArray, draws: int, seed: int) -> FloatArray:
    """Sums (K, draws) of K rows (K, N) over the same drawn patients."""
    return np.concatenate([rows[:, index].sum(axis=2) for index in _blocks(rows.shape[1], draws, seed)], axis=1)


def _percentiles(draws: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
