"""Which planes of a case are shown, and how they lie on the page.

The planes are seen as radiologists see them: the patient's right on the left, front and head at the top; the sagittal
plane with the front on the left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading, box_of
from medseg.imaging.volume import BODY_HU, Volume
from medseg.shapes import IntTriple

SAGITTAL, CORONAL, AXIAL = 0, 1, 2  # by the world axis (R, A, S) that stands across the plane
SMALL = 0.35  # labels that fill less of the axial slice than this, along both sides, are shown enlarged as well
BORDER_MM = 15.0
BODY_STEP = 4
Plane = npt.NDArray[Any]


@dataclass(frozen=True)
class Drawn:
    """A reading with the box around each structure that it holds."""

    reading: Reading
    boxes: Mapping[str, Box]

    def shown(self, cut: Cut) -> dict[str, Plane]:
        """The mask of every structure on a cut, as rows and columns of the page."""
        here = [name for name, box in self.boxes.items() if box[cut.voxel].start <= cut.index < box[cut.voxel].stop]
        return {name: cut.page(self.reading.mask_in(name, cut.box)) for name in here}


@dataclass(frozen=True)
class Cut:
    """A plane of a grid: across which world axis, at which voxel, and which part of it."""

    geometry: Geometry
    across: int
    index: int
    part: Box

    @property
    def voxel(self) -> int:
        """The voxel axis across the plane."""
        return self.geometry.axes[self.across][0]

    @property
    def worlds(self) -> tuple[int, int]:
        """World axes along the columns and the rows of the page."""
        columns, rows = (world for world in range(3) if world != self.across)
        return columns, rows

    @property
    def box(self) -> Box:
        """The plane as a box one voxel thick."""
        x, y, z = (slice(self.index, self.index + 1) if axis == self.voxel else self.part[axis] for axis in range(3))
        return x, y, z

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height on the page."""
        grid = self.geometry
        width, height = (
            (self.part[voxel].stop - self.part[voxel].start) * grid.spacing_mm[voxel]
            for voxel in (grid.axes[world][0] for world in self.worlds)
        )
        return width, height

    def page(self, array: Plane) -> Plane:
        """An array of the cut's box as rows (from the top) and columns (from the left) of the page."""
        plane = np.take(array, 0, axis=self.voxel)
        (first, sign), (second, other) = (self.geometry.axes[world] for world in self.worlds)
        plane = plane.T if first > second else plane
        return plane[::-sign, ::-other].T


def choose_cuts(volume: Volume, drawn: Sequence[Drawn]) -> list[Cut]:
    """Axial, coronal and sagittal through the middle of the labels, or of the body when nothing is labelled.

    A fourth, axial one holds small labels alone.
    """
    grid = volume.geometry
    middle = _middle(volume, drawn)
    whole: Box = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    cuts = [Cut(grid, across, middle[grid.axes[across][0]], whole) for across in (AXIAL, CORONAL, SAGITTAL)]
    near = _near(cuts[0], drawn)
    return cuts if near is None else [*cuts, near]


def _middle(volume: Volume, drawn: Sequence[Drawn]) -> IntTriple:
    """The median labelled voxel along each axis: there at least one structure is seen, where a mean may miss all."""
    counts = [np.zeros(n) for n in volume.hu.shape]
    for each in drawn:
        for name, box in each.boxes.items():
            for axis, sums in enumerate(_sums(each.reading.mask_in(name, box))):
                counts[axis][box[axis]] += sums
    if not any(each.boxes for each in drawn):
        body = volume.hu[::BODY_STEP, ::BODY_STEP, ::BODY_STEP] > BODY_HU
        for axis, sums in enumerate(_sums(body)):
            counts[axis][::BODY_STEP] = sums
    x, y, z = (_median(count) for count in counts)
    return x, y, z


def _sums(mask: Plane) -> list[Plane]:
    """How many voxels are marked at each place of each axis."""
    return [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]


def _median(counts: Plane) -> int:
    if not counts.any():
        return len(counts) // 2
    return int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))


def _near(cut: Cut, drawn: Sequence[Drawn]) -> Cut | None:
    """The part of the cut around its labels, or None when they fill much of it or there are none."""
    marked = np.zeros([side.stop - side.start for side in cut.box], dtype=bool)
    for each in drawn:
        for name, box in each.boxes.items():
            if box[cut.voxel].start <= cut.index < box[cut.voxel].stop:
                marked |= each.reading.mask_in(name, cut.box)
    found = box_of(marked)
    grid = cut.geometry
    if found is None or any(
        side.stop - side.start > SMALL * grid.shape[axis] for axis, side in enumerate(found) if axis != cut.voxel
    ):
        return None
    x, y, z = (
        slice(max(side.start - border, 0), min(side.stop + border, n))
        for side, border, n in zip(found, (int(np.ceil(BORDER_MM / mm)) for mm in grid.spacing_mm), grid.shape,
                                   strict=True)
    )  # fmt: skip
    return replace(cut, part=(x, y, z))
