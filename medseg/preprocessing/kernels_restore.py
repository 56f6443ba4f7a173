"""The compiled loop that interpolates class scores and keeps the winner, row by row of the result.

The twin in numpy is `resample_linear` for each class and `argmax` over them, which the tests hold against it.
"""

from __future__ import annotations

import numpy as np

from medseg.imaging.compiled import compiled
from medseg.shapes import FloatArray, IntArray


@compiled
def fill_winners(
    planes: FloatArray,
    across: tuple[IntArray, IntArray, FloatArray],
    rows: tuple[IntArray, IntArray, FloatArray],
    columns: tuple[IntArray, IntArray, FloatArray],
    table: IntArray,
    out: IntArray,
    first: int,
    last: int,
) -> None:
    """Sets rows `first` to `last` of all planes of `out` (K, J, I) to `table[class of the highest score]`.

    A row of the source is enlarged once and kept until the next but one is: what remains per voxel and class is one
    multiplication over rows that lie in the cache. Of equal scores the first class wins, as in `argmax`.

    Args:
        planes: (P, C, M, N) float32 scores; what lies behind the classes of the table is no score.
        across, rows, columns: for each output along that axis the lower and the upper source and the upper's weight.
    """
    lower_a, upper_a, weight_a = across
    lower_m, upper_m, weight_m = rows
    lower_n, upper_n, weight_n = columns
    classes, width, wide = len(table), planes.shape[3], len(lower_n)
    blended = np.empty(width, np.float32)
    enlarged = np.empty((2, classes, wide), np.float32)
    best = np.empty(wide, np.float32)
    winner = np.empty(wide, np.int32)
    held = np.empty(2, np.int64)
    for k in range(len(lower_a)):
        held[:] = -1
        a, b, wa = lower_a[k], upper_a[k], weight_a[k]
        for j in range(first, last):
            for m in (lower_m[j], upper_m[j]):
                slot = m & 1  # two neighbouring rows never share a place
                if held[slot] != m:
                    for c in range(classes):
                        for n in range(width):
                            low = planes[a, c, m, n]
                            blended[n] = low + wa * (planes[b, c, m, n] - low)
                        for i in range(wide):
                            low = blended[lower_n[i]]
                            enlarged[slot, c, i] = low + weight_n[i] * (blended[upper_n[i]] - low)
                    held[slot] = m
            one, other, wm = lower_m[j] & 1, upper_m[j] & 1, weight_m[j]
            for i in range(wide):
                low = enlarged[one, 0, i]
                best[i] = low + wm * (enlarged[other, 0, i] - low)
                winner[i] = 0
            for c in range(1, classes):
                for i in range(wide):
                    low = enlarged[one, c, i]
                    value = low + wm * (enlarged[other, c, i] - low)
                    better = value > best[i]
                    best[i] = value if better else best[i]
                    winner[i] = c if better else winner[i]
            for i in range(wide):
                out[k, j, i] = table[winner[i]]


@compiled
def keep_better(score: FloatArray, index: int, best: FloatArray, winner: IntArray, first: int, last: int) -> None:
    """Where a class's `score` is above `best`, takes it over and sets `winner` to the class; for flat arrays."""
    for i in range(first, last):
        better = score[i] > best[i]
        best[i] = score[i] if better else best[i]
        winner[i] = index if better else winner[i]
