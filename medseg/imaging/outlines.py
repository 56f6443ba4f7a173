"""Masks on a slice as closed outlines: the inverse of `contours.rasterise`.

An outline runs along the edges of the pixels, so it encloses the very area of the mask, and every pixel centre lies
half a pixel from it: whoever fills it by pixel centres gets the mask back, however small it is and however the numbers
are rounded. A hole is joined to its outline by a channel of no width (the keyhole of PS3.3 C.8.8.6.3), along pixel
edges too; so one outline is one region, whether others combine outlines by union or by the even-odd rule. Pixels that
touch at a corner only belong to different outlines.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from medseg.shapes import BoolArray, FloatArray, IntArray


def outlines(mask: BoolArray) -> list[FloatArray]:
    """The corners (N, 2) of the outline of each region, in pixels: pixel (i, j) reaches from i - 0.5 to i + 0.5.

    The last corner is not the first once more. Empty for an empty mask.

    >>> outlines(np.array([[False, True]]))[0].tolist()
    [[0.5, 0.5], [-0.5, 0.5], [-0.5, 1.5], [0.5, 1.5]]
    """
    columns, rows = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not columns.size:
        return []
    corner = np.array([columns[0], rows[0]])
    box = mask[columns[0] : columns[-1] + 1, rows[0] : rows[-1] + 1]
    return [_turns(ring) + corner - 1.5 for ring in _regions(np.pad(box, 1))]


def _regions(padded: BoolArray) -> Iterator[IntArray]:
    """One ring of lattice points (N, 2) around each region; point (i, j) is the lower corner of pixel (i, j)."""
    labels: IntArray = np.zeros(padded.shape, dtype=np.int32)
    ndimage.label(padded, output=labels)
    around: dict[int, IntArray] = {}
    holes: dict[int, list[IntArray]] = {}
    for contour in find_contours(padded.astype(np.float32), 0.5):
        ring, area = _lattice(contour)
        region = _region_of(contour, labels)
        if area > 0:
            around[region] = ring
        else:
            holes.setdefault(region, []).append(ring)
    for region, ring in around.items():
        yield _with_keyholes(ring, holes.get(region, []), labels == region) if region in holes else ring


def _lattice(contour: FloatArray) -> tuple[IntArray, float]:
    """The pixel corners along a line through the middles of pixel edges, and the area inside, negative for a hole.

    `find_contours` gives the middle of each edge between a marked and an unmarked pixel, in order: one of its two
    coordinates is halved. Two edges that follow one another share a corner. It separates marked pixels that touch at a
    corner (`fully_connected` low) and runs counter-clockwise around unmarked ones, so clockwise around marked ones.
    """
    twice = np.rint(contour[:-1] * 2).astype(np.int64)
    after = np.roll(twice, -1, axis=0)
    # a corner is halved in both coordinates: where neither edge is, it lies between two edges in one line
    halved = np.where(twice % 2 == 1, twice, np.where(after % 2 == 1, after, (twice + after) // 2))
    ring = (halved + 1) // 2
    x, y = ring.T
    area = 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return ring, -area


def _region_of(contour: FloatArray, labels: IntArray) -> int:
    """The region whose pixel lies beside the first edge."""
    first = contour[0]
    low, high = labels[tuple(np.floor(first).astype(int))], labels[tuple(np.ceil(first).astype(int))]
    return int(max(low, high))


def _with_keyholes(ring: IntArray, holes: list[IntArray], region: BoolArray) -> IntArray:
    """The ring with each hole joined to it: from the leftmost corner of the hole along X down to whatever comes first.

    Holes in the order of their leftmost corner, so that a hole which comes first is part of the ring already.
    """
    starts = [hole[np.lexsort((hole[:, 1], hole[:, 0]))[0]] for hole in holes]
    for place in sorted(range(len(holes)), key=lambda index: tuple(starts[index])):
        hole, (x, y) = holes[place], starts[place]
        inside = region[:x, y - 1] & region[:x, y]  # both pixels beside the channel belong to the region
        end = int(np.flatnonzero(~inside)[-1]) + 1
        there = int(np.flatnonzero((ring == (end, y)).all(axis=1))[0])
        first = int(np.flatnonzero((hole == (x, y)).all(axis=1))[0])
        around = np.roll(hole, -first, axis=0)
        ring = np.concatenate([ring[: there + 1], around, around[:1], ring[there:]])
    return ring


def _turns(ring: IntArray) -> FloatArray:
    """The points at which the direction changes."""
    step = np.sign(np.roll(ring, -1, axis=0) - ring)
    return ring[(step != np.roll(step, 1, axis=0)).any(axis=1)].astype(np.float64)
