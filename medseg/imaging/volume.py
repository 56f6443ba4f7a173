"""A CT image in Hounsfield units on its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError, VoxelError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray

BODY_HU = -300.0  # between air and fat


@dataclass(frozen=True, eq=False)
class Volume:
    """HU values (X, Y, Z), float32, on a grid.

    Args:
        acquisition: the slices of which the volume was made; None where a file does not tell (NIfTI).

    Raises:
        GeometryError: array and grid have different shapes, or the acquisition belongs to another grid.
        VoxelError: a voxel is NaN or infinite.
    """

    hu: FloatArray
    geometry: Geometry
    acquisition: Acquisition | None = None

    def __post_init__(self) -> None:
        if self.hu.shape != self.geometry.shape:
            raise GeometryError("array and grid differ", expected=str(self.geometry.shape), got=str(self.hu.shape))
        if self.acquisition and (faults := self.acquisition.geometry.differences(self.geometry)):
            raise GeometryError("the acquisition belongs to another grid", got="; ".join(faults))
        # a finite sum proves that every voxel is finite, in less than half the time of asking each
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(self.hu.sum()):
                return
        if bad := int(self.hu.size - np.count_nonzero(np.isfinite(self.hu))):
            raise VoxelError(
                f"{bad} of {self.hu.size} voxels are NaN or infinite",
                do="Replace them with the HU of air (-1000) or export the image again.",
            )
