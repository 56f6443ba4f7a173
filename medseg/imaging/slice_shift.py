"""Slices moved within their plane by whole pixels (labels) or parts of one (HU), and laid one over the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.shapes import FloatArray

Moved = tuple[FloatArray, slice, slice]  # values, and where they lie along X and Y
AIR_HU = -1024.0


def place(source: npt.NDArray[Any], target: npt.NDArray[Any], shift: tuple[int, int]) -> None:
    """Sets target[i, j] = source[i + x, j + y] wherever the source has such a pixel."""
    starts = [max(0, -s) for s in shift]
    ends = [min(t, n - s) for t, n, s in zip(target.shape, source.shape, shift, strict=True)]
    if all(end > start for start, end in zip(starts, ends, strict=True)):
        (x, y), (x0, y0), (x1, y1) = shift, starts, ends
        target[x0:x1, y0:y1] = source[x0 + x : x1 + x, y0 + y : y1 + y]


def moved(plane: FloatArray, shift: tuple[float, ...], shape: tuple[int, ...]) -> Moved:
    """The plane at its pixels + shift, linear within, its edge repeated up to half a pixel outside."""
    window: list[slice] = []
    for axis, s in enumerate(shift):
        n = plane.shape[axis]
        first, last = max(0, int(np.ceil(-0.5 - s))), min(shape[axis], int(np.floor(n - 0.5 - s)) + 1)
        window.append(slice(first, max(first, last)))
        plane = _slid(plane, axis, np.clip(np.arange(first, max(first, last)) + s, 0, n - 1))
    return plane, window[0], window[1]


def _slid(plane: FloatArray, axis: int, index: FloatArray) -> FloatArray:
    """Linear values at evenly spaced indices of an axis; a view where they are whole."""
    below = np.floor(index).astype(np.intp)
    upper = (index - below).astype(np.float32)
    if not upper.any() and len(below):
        part = slice(int(below[0]), int(below[-1]) + 1)
        return plane[part] if axis == 0 else plane[:, part]
    low, high = (plane.take(each, axis=axis) for each in (below, np.minimum(below + 1, plane.shape[axis] - 1)))
    return low + (upper[:, None] if axis == 0 else upper) * (high - low)


def blend(out: FloatArray, moved: list[Moved], weight: np.floating[Any]) -> None:
    """Air, over it what either slice has alone, over it both as the weight of the second says."""
    out[:] = AIR_HU
    for values, x, y in moved:
        out[x, y] = values
    if len(moved) == 2:
        (low, x0, y0), (high, x1, y1) = moved
        x, y = _shared(x0, x1), _shared(y0, y1)
        both = low[_within(x, x0), _within(y, y0)]
        out[x, y] = both + weight * (high[_within(x, x1), _within(y, y1)] - both)


def _shared(one: slice, other: slice) -> slice:
    start = max(one.start, other.start)
    return slice(start, max(start, min(one.stop, other.stop)))


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
