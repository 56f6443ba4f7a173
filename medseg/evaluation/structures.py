"""Every structure of a reading as numbers: how much, in how many pieces, where, and how much of it lies in the air."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from medseg.evaluation.surroundings import AirAround
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading
from medseg.shapes import BoolArray, Triple


@dataclass(frozen=True)
class StructureMeasure:
    """One structure of one reading; only made of structures that hold a voxel.

    Args:
        volume_ml: its volume.
        components: connected components, voxels that share a corner belonging together.
        centre_mm: centre of mass in RAS.
        box: the smallest box of voxels around it.
        outside: share of its voxels in the air around the body, or None when no image was given.
    """

    volume_ml: float
    components: int
    centre_mm: Triple
    box: Box
    outside: float | None = None


def measure_structures(reading: Reading, air: AirAround | None = None) -> dict[str, StructureMeasure]:
    """A measure of every structure that is drawn; only the box around each is touched.

    Args:
        air: the air around the body on the reading's own grid, from `find_air_around`.
    """
    return {name: _measure(reading, reading.mask_in(name, box), box, air) for name, box in reading.boxes().items()}


def _measure(reading: Reading, mask: BoolArray, box: Box, air: AirAround | None) -> StructureMeasure:
    voxels = int(np.count_nonzero(mask))
    x, y, z = reading.geometry.world(np.array(_centre(mask, box)))
    return StructureMeasure(
        voxels * reading.geometry.voxel_ml,
        count_components(mask),
        (float(x), float(y), float(z)),
        box,
        None if air is None else np.count_nonzero(mask & air.in_box(box)) / voxels,
    )


def count_components(mask: BoolArray) -> int:
    """Connected components of a mask (X, Y, Z), 26 neighbours; 0 for an empty one.

    >>> count_components(np.array([[[True, False, True]]]))
    2
    """
    if not mask.any():
        return 0
    framed = np.pad(mask, 1)  # cc3d 3.2x reserves too few labels for masks one voxel thick and raises
    return int(cc3d.connected_components(framed, connectivity=26, return_N=True)[1])


def _centre(mask: BoolArray, box: Box) -> Triple:
    """The mean voxel index, from the counts along each axis: a large mask is never listed voxel by voxel."""
    sums = [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
    x, y, z = (side.start + float(np.average(np.arange(len(n)), weights=n)) for side, n in zip(box, sums, strict=True))
    return x, y, z
