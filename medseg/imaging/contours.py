"""Closed outlines on a slice as masks: the even-odd rule, outlines drawn twice, outlines that cross.

Points are in pixels of the slice; pixel (i, j) has its centre at (i, j). A pixel belongs to a region when its centre
lies inside by the even-odd rule: a line from the centre to infinity meets the outlines an odd number of times. So a
contour inside another cuts a hole, one inside the hole is an island again, and the two edges of a keyhole's bridge
cancel. A centre exactly on an edge belongs to the side towards which X, then Y, grow, so that regions which share an
edge share no pixel and leave none out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from medseg.errors import GeometryError
from medseg.shapes import BoolArray, FloatArray, IntArray

DECIMALS = 6  # of a pixel; what lies closer to a centre is rounding, and must not decide a tie
MAX_PARTIAL = 1000  # pairs of contours on a slice that touch or cross; drawings have a few, damage has millions
CROSSINGS_AT_ONCE = 1 << 22  # keeps the arrays of a contour of a million points below 100 MB
Window = tuple[slice, slice]


class Crossing(NamedTuple):
    """Two contours of which neither lies inside nor outside the other: their indices and the pixels that they share."""

    first: int
    second: int
    pixels: int


def rasterise(polygons: Sequence[FloatArray], shape: tuple[int, int]) -> BoolArray:
    """(X, Y) mask, x fastest, of the pixels whose centres lie inside an odd number of the polygons (N, 2).

    Polygons are closed without being told so, and may reach beyond the slice. Empty for no polygon.

    >>> square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
    >>> rasterise([square], (4, 4)).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    mask = np.zeros(shape, dtype=bool, order="F")
    window = _window(polygons, shape)
    if window is not None:
        mask[window] = _inside(polygons, window)
    return mask


def unite(polygons: Sequence[FloatArray], crossing: Sequence[Crossing], shape: tuple[int, int]) -> BoolArray:
    """As `rasterise`, but polygons that cross one another count as the one region that they cover together."""
    group = list(range(len(polygons)))
    for pair in crossing:
        old, new = group[pair.second], group[pair.first]
        group = [new if each == old else each for each in group]
    mask = np.zeros(shape, dtype=bool, order="F")
    for each in dict.fromkeys(group):
        together = np.zeros(shape, dtype=bool, order="F")
        for polygon in (polygon for polygon, other in zip(polygons, group, strict=True) if other == each):
            together |= rasterise([polygon], shape)
        mask ^= together
    return mask


def repeated(polygons: Sequence[FloatArray], tolerance: float) -> list[int]:
    """Indices of the polygons that an earlier one equals, wherever they start and whichever way they run.

    Points count as equal when they round to the same multiple of `tolerance`. By the even-odd rule a contour that is
    written twice would wipe itself out.
    """
    seen: set[bytes] = set()
    found = []
    for index, polygon in enumerate(polygons):
        points = np.unique(np.round(polygon / tolerance).astype(np.int64), axis=0)
        key = points.tobytes()
        if key in seen:
            found.append(index)
        seen.add(key)
    return found


def crossings(polygons: Sequence[FloatArray], shape: tuple[int, int]) -> list[Crossing]:
    """Pairs of contours whose pixels overlap in part, or are the very same: the even-odd rule has no meaning there.

    A part that is nowhere two pixels thick is the rounding of a shared edge and counts for nothing.
    From the largest contour to the smallest, each must lie wholly inside one region that the larger ones left; this
    looks at each pixel of each contour once, however many contours there are.

    Raises:
        GeometryError: more than MAX_PARTIAL pairs touch or cross.
    """
    found: list[Crossing] = []
    owner = np.zeros(shape, dtype=np.int32, order="F")  # 1 + rank of the smallest contour so far that covers a pixel
    holders: list[tuple[int, ...]] = [()]  # by rank: the contours inside which it lies, itself the last
    sizes: dict[int, int] = {}
    partial = 0
    for index, window, mask in _by_size(polygons, shape):
        under, sizes[index] = owner[window], int(mask.sum())
        counts = np.bincount(under[mask], minlength=len(holders))
        met = [int(rank) for rank in np.flatnonzero(counts)]
        around = set(holders[met[0]]).intersection(*(holders[rank] for rank in met))
        if _is_thick(mask):
            found += [Crossing(other, index, sizes[other]) for other in around if sizes[other] == sizes[index]]
        for other in sorted({each for rank in met for each in holders[rank]} - around):
            held = np.zeros(len(holders), dtype=bool)
            held[[rank for rank in met if other in holders[rank]]] = True
            within = held[under] & mask
            if _is_thick(within) and _is_thick(mask & ~within):
                found.append(Crossing(other, index, int(within.sum())))
            if (partial := partial + 1) > MAX_PARTIAL:
                raise GeometryError("contours on one slice cross one another too often to be outlines",
                                    expected=f"at most {MAX_PARTIAL} pairs that touch or cross")  # fmt: skip
        under[mask] = len(holders)
        holders.append((*holders[int(np.argmax(counts))], index))
    return found


def _by_size(polygons: Sequence[FloatArray], shape: tuple[int, int]) -> Iterator[tuple[int, Window, BoolArray]]:
    windows = [_window([polygon], shape) for polygon in polygons]
    solid = [(i, w, _inside([p], w)) for i, (p, w) in enumerate(zip(polygons, windows, strict=True)) if w is not None]
    yield from sorted((each for each in solid if each[2].any()), key=lambda each: -int(each[2].sum()))


def _is_thick(mask: BoolArray) -> bool:
    """Whether two by two pixels of the mask lie side by side."""
    return bool((mask[1:, 1:] & mask[1:, :-1] & mask[:-1, 1:] & mask[:-1, :-1]).any())


def _window(polygons: Sequence[FloatArray], shape: tuple[int, int]) -> Window | None:
    """The pixels of the slice between the least and the greatest points, or None where there are none."""
    if not polygons:
        return None
    low = np.round(np.min([polygon.min(axis=0) for polygon in polygons], axis=0), DECIMALS)
    high = np.round(np.max([polygon.max(axis=0) for polygon in polygons], axis=0), DECIMALS)
    start, stop = np.clip(np.ceil([low, high]), 0, np.array(shape)).astype(int)  # the upper edge is outside
    return None if (stop <= start).any() else (slice(start[0], stop[0]), slice(start[1], stop[1]))


def _inside(polygons: Sequence[FloatArray], window: Window) -> BoolArray:
    """The mask inside a window: each edge that a row of centres meets turns all pixels to its right over."""
    columns, rows = (side.stop - side.start for side in window)
    start, end = _upward_edges(polygons, np.array([window[0].start, window[1].start]))
    first, stop = np.clip(np.ceil([start[:, 1], end[:, 1]]), 0, rows).astype(np.int64)  # rows y: y_start <= y < y_end
    turns = np.zeros(rows * (columns + 1), dtype=np.int64)
    for edges in _blocks(stop - first):
        turns += np.bincount(_turned_pixels(start[edges], end[edges], first[edges], stop[edges], columns),
                             minlength=len(turns))  # fmt: skip
    odd = np.cumsum(turns.reshape(rows, columns + 1)[:, :columns], axis=1) & 1
    return odd.astype(bool).T


def _upward_edges(polygons: Sequence[FloatArray], corner: IntArray) -> tuple[FloatArray, FloatArray]:
    """Start and end (E, 2) of all edges, turned so that Y grows: an edge drawn to and fro is then met at one place."""
    points = [np.round(polygon - corner, DECIMALS) for polygon in polygons]
    start, end = np.concatenate(points), np.concatenate([np.roll(polygon, -1, axis=0) for polygon in points])
    down = (start[:, 1] > end[:, 1])[:, None]
    return np.where(down, end, start), np.where(down, start, end)


def _blocks(rows_met: IntArray) -> Iterator[slice]:
    """Runs of edges that meet at most CROSSINGS_AT_ONCE rows together (or one edge)."""
    ends = np.cumsum(rows_met)
    begin = 0
    while begin < len(ends):
        before = int(ends[begin - 1]) if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, before + CROSSINGS_AT_ONCE, side="right")))
        yield slice(begin, stop)
        begin = stop


def _turned_pixels(start: FloatArray, end: FloatArray, first: IntArray, stop: IntArray, columns: int) -> IntArray:
    """Flat index (row major) of the first pixel at or right of each place where an edge meets a row of centres."""
    counts = stop - first
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    (x0, y0), (x1, y1) = start[edge].T, end[edge].T
    x = np.round(x0 + (row - y0) * (x1 - x0) / (y1 - y0), DECIMALS)
    return row * (columns + 1) + np.clip(np.ceil(x), 0, columns).astype(np.int64)
