"""Which voxels a voxel-wise statistic counts: the whole image, or what the readers marked and a margin around it.

Kappas, STAPLE and calibration depend on the field of view (the same three masks give Fleiss 0.0625, 0.578 and 0.748 on
their union, their grid and a padded grid), so each of them names its domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from medseg.errors import GeometryError, UsageError
from medseg.imaging.labels import Box
from medseg.shapes import BoolArray, FloatArray, IntTriple, Triple

MARGIN_MM = 10.0
ROUNDING = 1e-5  # relative: a voxel exactly at the margin belongs to the domain, whatever its spacing rounds to
FAR = np.float32(np.inf)


@dataclass(frozen=True)
class Domain:
    """The voxels that count.

    Args:
        margin_mm: how far around the union of the readers, 0 for the union alone; None for the whole image.

    Raises:
        UsageError: a margin that is no distance.

    >>> str(Domain()), str(Domain(0.0)), str(Domain(None))
    ('union of the readers dilated by 10 mm', 'union of the readers', 'whole image')
    """

    margin_mm: float | None = MARGIN_MM

    def __post_init__(self) -> None:
        if self.margin_mm is not None and not 0 <= self.margin_mm < np.inf:
            raise UsageError("no margin of a domain", expected="0 mm or more", got=f"{self.margin_mm} mm")

    def __str__(self) -> str:
        if self.margin_mm is None:
            return "whole image"
        return "union of the readers" + (f" dilated by {self.margin_mm:g} mm" if self.margin_mm else "")

    def box(self, union: Box | None, shape: IntTriple, spacing_mm: Triple) -> Box | None:
        """The box around `union` (None: nobody marked anything) that holds all of the domain that differs from voxel to
        voxel; beyond it the whole image is background to everybody. None where there is nothing to look at.
        """
        if union is None or self.margin_mm is None:
            return union
        x, y, z = (
            slice(max(side.start - steps, 0), min(side.stop + steps, length))
            for side, length, steps in zip(union, shape, _steps(spacing_mm, self.margin_mm), strict=True)
        )
        return x, y, z

    def inside(self, union: BoolArray, spacing_mm: Triple) -> BoolArray | None:
        """Where the domain lies in the box of `box`, given the union of the readers there; None for everywhere."""
        return None if self.margin_mm is None else dilate(union, spacing_mm, self.margin_mm)


WHOLE = Domain(None)


def dilate(mask: BoolArray, spacing_mm: Triple, margin_mm: float) -> BoolArray:
    """The mask (X, Y, Z) and every voxel whose centre lies within `margin_mm` of the centre of one of its voxels.

    A ball in millimetres, cut at the border of the array; an empty mask stays empty. Exact, axis by axis: the squared
    distance to the nearest marked voxel of the row, then of the plane, then of the volume, no farther than the margin.

    >>> dilate(np.array([[[True, False, False, False]]]), (1.0, 1.0, 0.5), 1.0)[0, 0].tolist()
    [True, True, True, False]
    """
    x, y, z = (min(steps, n) for steps, n in zip(_steps(spacing_mm, margin_mm), mask.shape, strict=True))
    steps = x, y, z
    if not any(steps) or not mask.any():
        return mask.copy()
    if mask.strides[0] < mask.strides[2]:  # as files are read; worked along memory it is three times as fast
        x, y, z = spacing_mm
        return dilate(mask.T, (z, y, x), margin_mm).T
    first = int(np.argmax(steps))  # the axis of most steps is cheapest to scan, whatever their number
    squared = _row_distances(mask, first, spacing_mm[first], steps[first])
    for axis in {0, 1, 2} - {first}:
        squared = _nearest_along(squared, axis, spacing_mm[axis], steps[axis])
    return squared <= np.float32(margin_mm**2 * (1 + ROUNDING))


def union_box(boxes: Sequence[Box | None]) -> Box | None:
    """The smallest box around all that are not None."""
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    x, y, z = (slice(min(b[a].start for b in found), max(b[a].stop for b in found)) for a in range(3))
    return x, y, z


def _steps(spacing_mm: Triple, margin_mm: float) -> IntTriple:
    """Whole voxels along each axis that fit into the margin."""
    if not all(0 < mm < np.inf for mm in spacing_mm):
        raise GeometryError("a spacing that is none", expected="three lengths above 0 mm", got=str(tuple(spacing_mm)))
    x, y, z = (floor(margin_mm / mm * (1 + ROUNDING)) for mm in spacing_mm)
    return x, y, z


def _row_distances(mask: BoolArray, axis: int, mm: float, steps: int) -> FloatArray:
    """Squared distance in mm2 to the nearest marked voxel of the same row, infinite beyond `steps`."""
    kind = np.min_scalar_type(steps + 1)
    away = np.full_like(mask, steps + 1, dtype=kind)
    away[mask] = 0
    rows = np.moveaxis(away, axis, 0)
    for order in (range(1, len(rows)), range(len(rows) - 2, -1, -1)):
        back = -1 if order.step > 0 else 1
        for place in order:
            np.minimum(rows[place], np.minimum(rows[place + back], steps) + kind.type(1), out=rows[place])
    squares = np.append((np.arange(steps + 1) * mm) ** 2, FAR).astype(np.float32)
    return squares[away]


def _nearest_along(squared: FloatArray, axis: int, mm: float, steps: int) -> FloatArray:
    """The smallest squared distance over the row, plus the square of the way there, a plane at a time (in cache)."""
    if not steps:
        return squared
    nearest = squared.copy(order="K")
    across = 0 if axis else 1
    for old, new in zip(np.moveaxis(squared, across, 0), np.moveaxis(nearest, across, 0), strict=True):
        along = max(axis - 1, 0)
        source, target = np.moveaxis(old, along, 0), np.moveaxis(new, along, 0)
        for step in range(1, min(steps, len(source) - 1) + 1):
            farther = source + np.float32((step * mm) ** 2)
            np.minimum(target[step:], farther[:-step], out=target[step:])
            np.minimum(target[:-step], farther[step:], out=target[:-step])
    return nearest
