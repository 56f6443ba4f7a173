"""Patients drawn again and again: bounds of means, for many columns from the same draws.

A resample is kept as how often each patient was drawn, so that the means of all labels and metrics are one matrix
product. The tails that are cut off are a little smaller than 2.5 % a side where patients are few, as in the expanded
percentile interval (Hesterberg 2015, The American Statistician 69:371): plain bootstrap-t and BCa intervals of
left-skewed differences lie too high, and a lower bound that is too high calls a worse model non-inferior. How much
smaller depends on the number of patients only; `benchmarks/calibration.py` measures what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from medseg.shapes import FloatArray, IntArray

BCA_FROM = 50  # patients
TAIL = 0.025  # of a two-sided 95 % interval
# 2.5 % x n / (n + this): chosen on exponential and log-normal differences so that at most 3.5 % of lower bounds lie
# above the truth from 20 patients on, while normal differences are still covered in at most 97 %
EXPANSION_T, EXPANSION_BCA = 8.0, 25.0
BLOCK = 2_000_000  # drawn numbers held at once: 16 MB
COLUMNS = 200  # columns whose draws are held at once: 16 MB at 10,000 draws
ROUNDING = 1e-9  # of the standard error; smaller shifts of a draw are no shift

Bounds = tuple[FloatArray, FloatArray]


def tail_level(n: int) -> float:
    """Share of draws that is cut off on each side for n patients, below 0.025; it looks at nothing else.

    >>> round(tail_level(20), 4), round(tail_level(50), 4), round(tail_level(1000), 4)
    (0.0179, 0.0167, 0.0244)
    """
    return TAIL * n / (n + (EXPANSION_BCA if n >= BCA_FROM else EXPANSION_T))


def draw_counts(n: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """How often each of n patients was drawn (B, n) in resamples of n patients, in blocks that fit memory."""
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // n)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        index: IntArray = rng.integers(0, n, size=(size, n))
        index += np.arange(size)[:, None] * n
        yield np.bincount(index.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def drawn_sums(values: FloatArray, draws: int, seed: int) -> FloatArray:
    """Sums (draws, K) of K columns (n, K) over the same drawn patients."""
    return np.concatenate([counts @ values for counts in draw_counts(len(values), draws, seed)])


def studentised_bounds(values: FloatArray, draws: int, seed: int, tail: float = TAIL) -> Bounds:
    """Bootstrap-t bounds, two arrays (K,), of the means of K columns (n, K), each with some spread.

    A draw in which every patient has the same value has no studentised mean and counts as infinitely far: bounds may
    be infinite for a handful of values.
    """
    n, mean = len(values), values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    low, high = np.empty_like(mean), np.empty_like(mean)
    below, above = int(np.floor(tail * (draws - 1))), int(np.ceil((1 - tail) * (draws - 1)))
    for part in _parts(values):
        t = _studentised(values[:, part] - mean[part], error[part], draws, seed)
        # drawn values themselves: interpolating between a number and infinity has no meaning
        t.partition((below, above), axis=0)
        low[part] = mean[part] - t[above] * error[part]
        high[part] = mean[part] - t[below] * error[part]
    return low, high


def bca_bounds(values: FloatArray, draws: int, seed: int, tail: float = TAIL) -> Bounds:
    """BCa bounds (Efron 1987), two arrays (K,), of the means of K columns (n, K), each with some spread.

    The acceleration comes from leaving out one patient at a time.
    """
    n, mean = len(values), values.mean(axis=0)
    low, high = np.empty_like(mean), np.empty_like(mean)
    for part in _parts(values):
        centred = values[:, part] - mean[part]
        shifts = np.sort(drawn_sums(centred, draws, seed) / n, axis=0)
        same = ROUNDING * centred.std(axis=0) / np.sqrt(n)
        below = (np.sum(shifts < -same, axis=0) + np.sum(shifts <= same, axis=0)) / (2 * draws)  # ties count half
        bias = stats.norm.ppf(np.clip(below, 1 / (draws + 1), draws / (draws + 1)))
        # the mean without patient i is off by -centred / (n - 1); the skewness of those gives the acceleration
        acceleration = np.sum(centred**3, axis=0) / (6 * np.sum(centred**2, axis=0) ** 1.5)
        z = bias + stats.norm.ppf([[tail], [1 - tail]])
        levels = stats.norm.cdf(bias + z / (1 - acceleration * z))
        low[part], high[part] = (mean[part] + _at_levels(shifts, level) for level in levels)
    return low, high


def percentile_bounds(draws: FloatArray, tail: float = TAIL) -> tuple[float, float]:
    """The middle 95 % of drawn values (B,)."""
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _parts(values: FloatArray) -> Iterator[slice]:
    for start in range(0, values.shape[1], COLUMNS):
        yield slice(start, start + COLUMNS)


def _studentised(centred: FloatArray, error: FloatArray, draws: int, seed: int) -> FloatArray:
    """Studentised means (draws, K) of K centred columns (n, K)."""
    n = len(centred)
    parts = []
    for counts in draw_counts(n, draws, seed):
        shift = counts @ centred / n
        variance = np.maximum(counts @ centred**2 / n - shift**2, 0.0) / (n - 1)
        # squares are subtracted, so equal values leave a variance of about 1e-16 of the column's
        flat = variance <= 1e-12 * error**2
        far = np.where(np.abs(shift) <= ROUNDING * error, 0.0, np.copysign(np.inf, shift))
        parts.append(np.where(flat, far, shift / np.sqrt(np.where(flat, 1.0, variance))))
    return np.concatenate(parts)


def _at_levels(ordered: FloatArray, level: FloatArray) -> FloatArray:
    """The quantile (K,) of each column of (B, K) at its own level (K,), linear between the two neighbours."""
    place = level * (len(ordered) - 1)
    first = np.floor(place).astype(np.int64)
    column = np.arange(ordered.shape[1])
    lower, upper = ordered[first, column], ordered[np.minimum(first + 1, len(ordered) - 1), column]
    return lower + (place - first) * (upper - lower)
