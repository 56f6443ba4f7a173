"""Slices on which an outline should have been drawn but was not, and outlines made for them from their neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medseg.imaging.contours import Window
from medseg.shapes import BoolArray, FloatArray

SHORT_GAP_MM = 10.0  # so close together, outlines that overlap are taken for one object
TAPERED = 0.5  # an end: the outline has shrunk to this share of the largest one of its run


class Gap(NamedTuple):
    """Slices without an outline between two that have one."""

    below: int
    above: int

    @property
    def slices(self) -> tuple[int, ...]:
        """The indices of the slices without an outline."""
        return tuple(range(self.below + 1, self.above))


def missing_slices(planes: Mapping[int, BoolArray], heights_mm: FloatArray) -> list[Gap]:
    """The gaps inside one object; in a gap between two objects nothing is missing.

    A gap lies inside an object when the outlines on its two sides have a pixel in common, unless both sides look
    like natural ends, as of two lesions above one another: the outlines are more than SHORT_GAP_MM apart, and each
    has shrunk to half (TAPERED) of the largest outline in its unbroken run of slices. An outline that is the only
    one of its run has not shrunk: a structure drawn on every second slice is never taken for many.

    Args:
        planes: (X, Y) mask for each slice on which the structure is drawn, by the slice's index.
        heights_mm: (N,) positions of all slices along the normal.
    """
    areas = {index: int(np.count_nonzero(plane)) for index, plane in sorted(planes.items())}
    drawn = np.array(list(areas), dtype=int)
    runs = [run.tolist() for run in np.split(drawn, np.flatnonzero(np.diff(drawn) > 1) + 1)]
    found = []
    for lower, upper in pairwise(runs):
        gap = Gap(lower[-1], upper[0])
        if not (planes[gap.below] & planes[gap.above]).any():
            continue
        ends = all(areas[side] <= TAPERED * max(areas[index] for index in run)
                   for side, run in ((gap.below, lower), (gap.above, upper)))  # fmt: skip
        if not (ends and heights_mm[gap.above] - heights_mm[gap.below] > SHORT_GAP_MM):
            found.append(gap)
    return found


def interpolated(
    planes: Mapping[int, BoolArray], gap: Gap, heights_mm: FloatArray, spacing_mm: tuple[float, float]
) -> dict[int, BoolArray]:
    """(X, Y) masks for the slices of a gap: shapes between the outlines on its two sides.

    The signed distances to the two outlines are interpolated linearly in height, and the region is where the result
    is positive (shape-based interpolation: Raya and Udupa, IEEE Trans Med Imaging 9:32, 1990). A region without a
    counterpart on the other side shrinks away within the gap.

    Args:
        planes, heights_mm: as in `missing_slices`.
        spacing_mm: pixel size along X, Y.
    """
    below, above = planes[gap.below], planes[gap.above]
    window = _window(below | above)
    distances = [_signed_distance(plane[window], spacing_mm) for plane in (below, above)]
    made = {}
    for index in gap.slices:
        weight = (heights_mm[index] - heights_mm[gap.below]) / (heights_mm[gap.above] - heights_mm[gap.below])
        made[index] = np.zeros(below.shape, dtype=bool, order="F")
        made[index][window] = (1 - weight) * distances[0] + weight * distances[1] > 0
    return made


def _window(mask: BoolArray) -> Window:
    """The box around the mask; outside of both outlines both distances are negative."""
    x, y = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(x[0], x[-1] + 1), slice(y[0], y[-1] + 1)


def _signed_distance(mask: BoolArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """Distance in mm to the outline, negative outside; the frame around the box is outside.

    The outline runs half a pixel from the nearest pixel of the other kind, to which the distances are measured.
    """
    padded, half = np.pad(mask, 1), sum(spacing_mm) / 4
    inside = np.asarray(ndimage.distance_transform_edt(padded, sampling=spacing_mm)) - half
    outside = np.asarray(ndimage.distance_transform_edt(~padded, sampling=spacing_mm)) - half
    return np.where(padded, inside, -outside)[1:-1, 1:-1]
