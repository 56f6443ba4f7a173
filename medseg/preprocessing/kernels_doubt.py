"""The compiled loops that interpolate class scores and keep what their softmax leaves open, row by row of the result.

The twin in numpy is `resample_linear` for each class and a softmax over them, which the tests hold against it.
"""

from __future__ import annotations

from math import exp, log

import numpy as np

from medseg.imaging.compiled import compiled
from medseg.imaging.prediction import LIKELY, POSSIBLE
from medseg.shapes import FloatArray, IntArray

FAR = -20.0  # of a logit below the highest one: a share under 2e-9 is taken as 0, which spares most exponentials
COLUMNS = 5  # of the sums: voxels, total, inside, likely, possible


@compiled
def doubt_of_row(row: FloatArray, classes: int, shares: FloatArray, out: FloatArray, sums: FloatArray) -> None:
    """Entropy of the softmax of `row` (classes and what lies behind them, I) into `out[0]`; what lies behind follows.

    Args:
        shares: room for the classes.
        out: (1 + channels behind the classes, I); entropy in nats, nothing below 0.
        sums: (classes, 5) float64, added to.
    """
    for i in range(row.shape[1]):
        best, winner = row[0, i], 0
        for c in range(1, classes):
            if row[c, i] > best:
                best, winner = row[c, i], c
        total, moment = 0.0, 0.0
        for c in range(classes):
            below = row[c, i] - best
            shares[c] = 0.0
            if below > FAR:
                shares[c] = exp(below)
                total += shares[c]
                moment += below * shares[c]
        out[0, i] = max(0.0, log(total) - moment / total)
        sums[winner, 0] += 1.0
        sums[winner, 2] += 1.0 / total
        for c in range(classes):
            if shares[c] > 0.0:
                share = shares[c] / total
                sums[c, 1] += share
                sums[c, 3] += 1.0 if share >= LIKELY else 0.0
                sums[c, 4] += 1.0 if share >= POSSIBLE else 0.0
        for n in range(1, out.shape[0]):
            out[n, i] = max(row[classes - 1 + n, i], np.float32(0.0))


@compiled
def fill_doubt(
    planes: FloatArray,
    across: tuple[IntArray, IntArray, FloatArray],
    rows: tuple[IntArray, IntArray, FloatArray],
    columns: tuple[IntArray, IntArray, FloatArray],
    out: FloatArray,
    sums: FloatArray,
    first: int,
    last: int,
) -> None:
    """Fills rows `first` to `last` of all planes of `out` (channels, K, J, I) and adds to `sums` (classes, 5).

    Arguments as of `kernels_restore.fill_winners`; `planes` holds the classes and what lies behind them.
    """
    lower_a, upper_a, weight_a = across
    lower_m, upper_m, weight_m = rows
    lower_n, upper_n, weight_n = columns
    channels, width, wide = planes.shape[1], planes.shape[3], len(lower_n)
    blended = np.empty(width, np.float32)
    enlarged = np.empty((2, channels, wide), np.float32)
    row = np.empty((channels, wide), np.float32)
    shares = np.empty(sums.shape[0], np.float64)
    held = np.empty(2, np.int64)
    for k in range(len(lower_a)):
        held[:] = -1
        a, b, wa = lower_a[k], upper_a[k], weight_a[k]
        for j in range(first, last):
            for m in (lower_m[j], upper_m[j]):
                slot = m & 1
                if held[slot] != m:
                    for c in range(channels):
                        for n in range(width):
                            low = planes[a, c, m, n]
                            blended[n] = low + wa * (planes[b, c, m, n] - low)
                        for i in range(wide):
                            low = blended[lower_n[i]]
                            enlarged[slot, c, i] = low + weight_n[i] * (blended[upper_n[i]] - low)
                    held[slot] = m
            one, other, wm = lower_m[j] & 1, upper_m[j] & 1, weight_m[j]
            for c in range(channels):
                for i in range(wide):
                    low = enlarged[one, c, i]
                    row[c, i] = low + wm * (enlarged[other, c, i] - low)
            doubt_of_row(row, sums.shape[0], shares, out[:, k, j], sums)


@compiled
def doubt_of_scores(scores: FloatArray, out: FloatArray, sums: FloatArray, first: int, last: int) -> None:
    """The same for rows of scores (channels, K, J, I) that are interpolated already."""
    shares = np.empty(sums.shape[0], np.float64)
    for k in range(scores.shape[1]):
        for j in range(first, last):
            doubt_of_row(scores[:, k, j], sums.shape[0], shares, out[:, k, j], sums)
