"""The air around a patient, so that labels drawn in it can be found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import Box
from medseg.imaging.volume import BODY_HU
from medseg.shapes import BoolArray, FloatArray, IntTriple

STEP_MM = 3.0  # a coarser grid than the image's is enough to tell a room from a patient, and 27 times faster
ROOM_AIR_HU = -950.0  # lungs, emphysema apart, lie above (Mueller et al., Chest 94:782, 1988)


@dataclass(frozen=True, eq=False)
class AirAround:
    """Where the air of the room is, in blocks of `steps` voxels along X, Y, Z, each told by its middle voxel."""

    mask: BoolArray
    steps: IntTriple

    def in_box(self, box: Box) -> BoolArray:
        """Where it is inside a box of the image's own voxels."""
        places = [
            np.minimum(np.arange(side.start, side.stop) // step, length - 1)
            for side, step, length in zip(box, self.steps, self.mask.shape, strict=True)
        ]
        return self.mask[np.ix_(*places)]


def find_air_around(hu: FloatArray, geometry: Geometry) -> AirAround:
    """The air of the room in an image in HU (X, Y, Z).

    In every axial slice: what lies below -300, reaches the edge of the slice and is mostly below -950. Lungs and
    bowel do not reach the edge, or, in a crop, are not as empty as the room. Coils, clothes and the table count as air
    only where they are as thin as it.
    """
    x, y, z = (max(1, round(STEP_MM / mm)) for mm in geometry.spacing_mm)
    x, y, z = (min(step, n) for step, n in zip((x, y, z), hu.shape, strict=True))
    coarse = hu[x // 2 :: x, y // 2 :: y, z // 2 :: z]
    axial = geometry.axes[2][0]
    neighbours = ndimage.generate_binary_structure(3, 1)
    neighbours[tuple(slice(None) if axis != axial else slice(0, 3, 2) for axis in range(3))] = False
    regions = np.empty(coarse.shape, dtype=np.int32)
    count = int(ndimage.label(coarse < BODY_HU, structure=neighbours, output=regions))  # type: ignore[call-overload]
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    empty = np.bincount(regions[coarse < ROOM_AIR_HU].ravel(), minlength=count + 1)
    at_edge = np.zeros(count + 1, dtype=bool)
    for axis in {0, 1, 2} - {axial}:
        for end in (0, -1):
            at_edge[np.take(regions, end, axis=axis)] = True
    is_air = at_edge & (2 * empty > sizes)
    is_air[0] = False
    return AirAround(is_air[regions], (x, y, z))
