"""A study as the network will see it, with all that is needed to go back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.resample import AIR_HU, resample_linear
from medseg.imaging.volume import Volume
from medseg.inference.tiles import BodyMap
from medseg.preprocessing.standardise import whole_hu
from medseg.shapes import IntArray

SLAB_VOXELS = 2**22  # resampled at a time: float32 values exist for so many only


@dataclass(frozen=True, eq=False)
class StandardisedStudy:
    """A study on the plan's grid; the volume that it was made of is no longer needed.

    Args:
        hu: (X, Y, Z) int16, as training cases are stored.
        geometry: the standardised grid.
        native: the study's own grid.
        body: what is not plain air; None where every tile is to be computed.
        coarse: (X, Y, Z) classes that a coarser network gave; None outside of a cascade.
    """

    hu: IntArray
    geometry: Geometry
    native: Geometry
    body: BodyMap | None = None
    coarse: IntArray | None = None


def resample_hu(volume: Volume, target: Geometry) -> IntArray:
    """Whole HU (X, Y, Z on `target`, int16, x fastest) by linear interpolation; air beyond the image.

    Memory: the result and 16 MB. HU beyond the range of int16 are put to its ends.
    """
    hu = np.empty(target.shape, dtype=np.int16, order="F")
    x, y, z = target.shape
    step = max(1, SLAB_VOXELS // (x * y))
    for first in range(0, z, step):
        slab = target.cropped((0, 0, first), (x, y, min(step, z - first)))
        hu[:, :, first : first + step] = whole_hu(resample_linear(volume.hu, volume.geometry, slab, outside=AIR_HU))
    return hu
