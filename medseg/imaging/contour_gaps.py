"""Slices on which an outline should have been drawn but was not, and outlines made for them from their neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import ndimage

from medseg.imaging.contours import Window
from medseg.shapes import BoolArray, FloatArray

SHORT_GAP_MM = 10.0  # so close together, outlines that overlap are taken for one object
TAPERED = 0.5  # an end: the outline has shrunk to this share of the largest one of its run
ALIKE = 0.5  # Dice of two parts of outlines that show one object
SMALLEST_PART = 16  # pixels; smaller ones come and go where a threshold drew them


@dataclass(frozen=True)
class Gap:
    """Slices without an outline between two that have one.

    Args:
        below, above: the two slices.
        outlines: (X, Y) masks on the two: all that is drawn there, or the part that the slices between leave out.
    """

    below: int
    above: int
    outlines: tuple[BoolArray, BoolArray] = field(compare=False, repr=False)

    @property
    def slices(self) -> tuple[int, ...]:
        """The indices of the slices without an outline."""
        return tuple(range(self.below + 1, self.above))


def missing_slices(planes: Mapping[int, BoolArray], heights_mm: FloatArray) -> list[Gap]:
    """The gaps inside one object, in order; in a gap between two objects nothing is missing.

    Slices on which nothing is drawn lie inside an object when the outlines on their two sides have a pixel in common,
    unless both sides look like natural ends, as of two lesions above one another: the outlines are more than
    SHORT_GAP_MM apart, and each has shrunk to half (TAPERED) of the largest outline in its unbroken run of slices. An
    outline that is the only one of its run has not shrunk: a structure drawn on every second slice is never taken
    for many.

    Slices on which only other parts are drawn were seen by the reader. They are missing when a part ends below them
    and one that is much the same (Dice of at least ALIKE) begins above them, within SHORT_GAP_MM.

    Args:
        planes: (X, Y) mask for each slice on which the structure is drawn, by the slice's index.
        heights_mm: (N,) positions of all slices along the normal.
    """
    found = [*_undrawn(planes, heights_mm), *_left_out_parts(planes, heights_mm)] if planes else []
    return sorted(found, key=lambda gap: (gap.below, gap.above))


def _undrawn(planes: Mapping[int, BoolArray], heights_mm: FloatArray) -> Iterator[Gap]:
    areas = {index: int(np.count_nonzero(plane)) for index, plane in sorted(planes.items())}
    drawn = np.array(list(areas), dtype=int)
    runs = [run.tolist() for run in np.split(drawn, np.flatnonzero(np.diff(drawn) > 1) + 1)]
    for lower, upper in pairwise(runs):
        below, above = lower[-1], upper[0]
        if not (planes[below] & planes[above]).any():
            continue
        ends = all(areas[side] <= TAPERED * max(areas[index] for index in run)
                   for side, run in ((below, lower), (above, upper)))  # fmt: skip
        if not (ends and heights_mm[above] - heights_mm[below] > SHORT_GAP_MM):
            yield Gap(below, above, (planes[below], planes[above]))


def _left_out_parts(planes: Mapping[int, BoolArray], heights_mm: FloatArray) -> Iterator[Gap]:
    window = _window(np.logical_or.reduce(list(planes.values())))
    drawn = {index: plane[window] for index, plane in planes.items()}
    parts = {index: list(_parts(plane)) for index, plane in drawn.items()}
    for below in sorted(drawn):
        for part in (part for part in parts[below] if below + 1 in drawn and not (drawn[below + 1] & part).any()):
            above = next((index for index in range(below + 2, len(heights_mm))
                          if index not in drawn or (drawn[index] & part).any()), None)  # fmt: skip
            if above is None or above not in drawn or heights_mm[above] - heights_mm[below] > SHORT_GAP_MM:
                continue
            for other in (other for other in parts[above] if not (drawn[above - 1] & other).any()):
                if _dice(part, other) >= ALIKE:
                    pair = [np.zeros(planes[below].shape, dtype=bool, order="F") for _ in range(2)]
                    pair[0][window], pair[1][window] = part, other
                    yield Gap(below, above, (pair[0], pair[1]))


def _dice(a: BoolArray, b: BoolArray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def _parts(plane: BoolArray) -> Iterator[BoolArray]:
    """The connected parts of an outline, but for the very small ones."""
    numbered, count = ndimage.label(plane)  # type: ignore[misc]
    if count > 1:
        sizes = np.bincount(numbered.ravel())
        yield from (numbered == number for number in range(1, count + 1) if sizes[number] >= SMALLEST_PART)
    elif count and np.count_nonzero(plane) >= SMALLEST_PART:
        yield plane


def interpolated(gap: Gap, heights_mm: FloatArray, spacing_mm: tuple[float, float]) -> dict[int, BoolArray]:
    """(X, Y) masks for the slices of a gap: shapes between the outlines on its two sides.

    The signed distances to the two outlines are interpolated linearly in height, and the region is where the result
    is positive (shape-based interpolation: Raya and Udupa, IEEE Trans Med Imaging 9:32, 1990). A region without a
    counterpart on the other side shrinks away within the gap.

    Args:
        heights_mm: as in `missing_slices`.
        spacing_mm: pixel size along X, Y.
    """
    below, above = gap.outlines
    window = _window(below | above)
    distances = [_signed_distance(plane[window], spacing_mm) for plane in (below, above)]
    made = {}
    for index in gap.slices:
        weight = (heights_mm[index] - heights_mm[gap.below]) / (heights_mm[gap.above] - heights_mm[gap.below])
        made[index] = np.zeros(below.shape, dtype=bool, order="F")
        made[index][window] = (1 - weight) * distances[0] + weight * distances[1] > 0
    return made


def _window(mask: BoolArray) -> Window:
    """The box around the mask; empty for an empty one."""
    x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(x[0], x[-1] + 1) if x.size else slice(0, 0), slice(y[0], y[-1] + 1) if y.size else slice(0, 0)


def _signed_distance(mask: BoolArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """Distance in mm to the outline, negative outside; the frame around the box is outside.

    The outline runs half a pixel from the nearest pixel of the other kind, to which the distances are measured.
    """
    padded, half = np.pad(mask, 1), sum(spacing_mm) / 4
    inside = np.asarray(ndimage.distance_transform_edt(padded, sampling=spacing_mm)) - half
    outside = np.asarray(ndimage.distance_transform_edt(~padded, sampling=spacing_mm)) - half
    return np.where(padded, inside, -outside)[1:-1, 1:-1]
