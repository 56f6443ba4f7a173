"""From one grid to another: ITK's interpolators, driven in index space so that any affine works."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray, IntArray

AIR_HU = -1024.0


def resample_linear(
    array: FloatArray, source: Geometry, target: Geometry, *, outside: float | None = AIR_HU
) -> FloatArray:
    """Trilinear values (float32) of `array` (X, Y, Z on `source`) at the voxels of `target`.

    Args:
        outside: value beyond the source's field of view; None repeats the nearest voxel.
    """
    return _resample(np.asarray(array, dtype=np.float32), source, target, sitk.sitkLinear, outside)


def resample_nearest(labels: IntArray, source: Geometry, target: Geometry, *, outside: int | None = 0) -> IntArray:
    """Nearest-neighbour values of an integer array (X, Y, Z on `source`) at the voxels of `target`."""
    return _resample(np.asarray(labels), source, target, sitk.sitkNearestNeighbor, outside)


def _resample(array, source: Geometry, target: Geometry, interpolator: int, outside: float | None):
    # numpy's C order makes ITK see the axes reversed: index (k, j, i). The map between the two index spaces is affine.
    to_source = np.linalg.inv(source.affine) @ target.affine
    matrix, offset = to_source[:3, :3][::-1, ::-1], to_source[:3, 3][::-1]
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(offset.tolist())
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    resampler = sitk.ResampleImageFilter()
    resampler.SetTransform(transform)
    resampler.SetSize([int(n) for n in target.shape[::-1]])
    resampler.SetInterpolator(interpolator)
    if outside is None:
        resampler.SetUseNearestNeighborExtrapolator(True)
    else:
        resampler.SetDefaultPixelValue(float(outside))
    return sitk.GetArrayFromImage(resampler.Execute(image))
