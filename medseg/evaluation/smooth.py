"""Bootstrap-t interval of a smooth function of patient means: standard deviations, their ratios, rates, correlations.

A limit of agreement is `mean + 1.96 sd`, a rate is `sum / sum`: functions of a few means over patients. Percentile
intervals of a standard deviation lie too low where patients are few (20 patients: the upper limit of agreement was
missed from below in 12 % of 1,000 simulated normal data sets, in 2.5 % with the interval given here), so each draw is
studentised with its own standard error from the delta method (Hall 1992, The Bootstrap and
Edgeworth Expansion, chapter 3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medseg.evaluation.bootstrap import EXPANSION_T, TAIL, drawn_sums
from medseg.shapes import FloatArray

SmoothFunction = Callable[[FloatArray], FloatArray]  # means (..., K) to values (...)
STEP = 1e-4  # of a column's standard deviation: central differences for the gradient
SMOOTH_RULE = (
    f"bootstrap-t over drawn patients with a delta-method standard error, cut at 2.5 % x n / (n + {EXPANSION_T:g}) "
    "of the draws on each side"
)


def smooth_interval(
    columns: FloatArray, function: SmoothFunction, *, draws: int, seed: int
) -> tuple[float, float] | None:
    """The 95 % interval of `function` of the means of K columns (n, K), one row per patient.

    Args:
        function: of means (..., K), value (...); smooth around the observed means. Where it is not finite a draw
            counts as infinitely far on the side that widens the interval.

    None below two patients, without spread, or where no finite bound is left.

    >>> doses = np.arange(1.0, 31.0).reshape(-1, 1)
    >>> low, high = smooth_interval(doses, lambda mean: np.log(mean[..., 0]), draws=2000, seed=0)
    >>> round(low, 2), round(high, 2)
    (2.5, 2.95)
    """
    columns = np.asarray(columns, dtype=np.float64)
    n = len(columns)
    if n < 2:
        return None
    mean = columns.mean(axis=0)
    centred = columns - mean
    steps = STEP * centred.std(axis=0)
    products = _products(centred)
    with np.errstate(all="ignore"):  # a draw may hold one patient only; it counts as infinitely far
        value, error = _with_error(function, mean, np.zeros_like(mean), products.mean(axis=0), steps, n)
        if not (np.isfinite(value) and np.isfinite(error)) or error <= 1e-12 * max(1.0, abs(float(value))):
            return None
        drawn = drawn_sums(np.concatenate([centred, products], axis=1), draws, seed) / n
        shift, squares = drawn[:, : len(mean)], drawn[:, len(mean) :]
        values, errors = _with_error(function, mean, shift, squares, steps, n)
        t = (values - value) / errors
    tail = TAIL * n / (n + EXPANSION_T)
    low, high = value - error * _largest(t, tail), value - error * _smallest(t, tail)
    return (float(low), float(high)) if np.isfinite(low) and np.isfinite(high) else None


def _products(centred: FloatArray) -> FloatArray:
    """Products (n, K (K + 1) / 2) of every pair of columns."""
    first, second = np.triu_indices(centred.shape[1])
    return centred[:, first] * centred[:, second]


def _with_error(
    function: SmoothFunction, mean: FloatArray, shift: FloatArray, squares: FloatArray, steps: FloatArray, n: int
) -> tuple[FloatArray, FloatArray]:
    """Value and standard error (...) where the means are `mean + shift` (..., K)."""
    at = mean + shift
    gradient = np.zeros_like(at)
    for column in np.flatnonzero(steps):  # a column without spread adds no variance
        step = np.zeros_like(mean)
        step[column] = steps[column]
        gradient[..., column] = (function(at + step) - function(at - step)) / (2 * steps[column])
    first, second = np.triu_indices(len(mean))
    covariance = squares - shift[..., first] * shift[..., second]
    twice = np.where(first == second, 1.0, 2.0)
    variance = np.sum(twice * gradient[..., first] * gradient[..., second] * covariance, axis=-1) / (n - 1)
    return np.asarray(function(at)), np.sqrt(np.maximum(variance, 0.0))


def _largest(t: FloatArray, tail: float) -> float:
    """The drawn value below which all but `tail` lie; what is not finite counts as above."""
    ordered = np.sort(np.where(np.isnan(t), np.inf, t))
    return float(ordered[int(np.ceil((1 - tail) * (len(t) - 1)))])


def _smallest(t: FloatArray, tail: float) -> float:
    ordered = np.sort(np.where(np.isnan(t), -np.inf, t))
    return float(ordered[int(np.floor(tail * (len(t) - 1)))])
