"""From one grid to another: separable kernels where the axes are parallel, ITK's interpolators where they are oblique.

The rule at the edge is ITK's for both: a voxel of the target belongs to the source's field of view when it lies no
further than half a source voxel beyond the outermost centres; there the edge is repeated. Beyond, it gets `outside`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from medseg.imaging.bands import Taps, cubic_taps, linear_taps
from medseg.imaging.geometry import Geometry
from medseg.imaging.separable import Alignment, AnyArray, align, interpolate, pick
from medseg.shapes import BoolArray, FloatArray, IntArray

AIR_HU = -1024.0
TIE_DECIMALS = 6  # positions nearer to a tie than 1e-6 voxel are ties, whatever the rounding of the affines


def resample_linear(
    array: FloatArray | IntArray,
    source: Geometry,
    target: Geometry,
    *,
    outside: float | None = AIR_HU,
    threads: int | None = None,
) -> FloatArray:
    """Trilinear values (float32) of `array` (X, Y, Z on `source`) at the voxels of `target`.

    The result's memory lies as the array's does (x fastest or z fastest) where the axes are parallel, else z fastest.

    Args:
        outside: value beyond the source's field of view; None repeats the nearest voxel.
        threads: at most so many, all processors where None; the result is the same for any number.
    """
    return _sums(array, source, target, linear_taps, sitk.sitkLinear, outside, threads)


def resample_cubic(
    array: FloatArray | IntArray,
    source: Geometry,
    target: Geometry,
    *,
    outside: float | None = AIR_HU,
    threads: int | None = None,
) -> FloatArray:
    """Values (float32) at the voxels of `target` of the cubic B-spline through all voxels of `array`; see above.

    At sharp edges the spline swings over: values may lie outside the range of the array. The edge voxels are repeated
    for ever before the spline is laid (scipy's `nearest`, the rule of nnU-Net's order 3); on oblique grids ITK mirrors
    the image instead, which differs within about five voxels of the edge.
    """
    return _sums(array, source, target, cubic_taps, sitk.sitkBSpline, outside, threads)


def resample_nearest(
    labels: IntArray | BoolArray,
    source: Geometry,
    target: Geometry,
    *,
    outside: int | None = 0,
    threads: int | None = None,
) -> Any:
    """Nearest-neighbour values of an integer or boolean array (X, Y, Z on `source`) at the voxels of `target`.

    Of two voxels that are equally near, the one with the higher index is taken.
    """
    values: AnyArray = np.asarray(labels)
    if (alignment := align(source, target)) is None:
        return _by_itk(values, source, target, sitk.sitkNearestNeighbor, outside)
    return _framed(values, alignment, _pick_nearest, values.dtype, outside, threads)


def _sums(
    array: AnyArray,
    source: Geometry,
    target: Geometry,
    taps: Callable[[FloatArray, int], Taps],
    interpolator: int,
    outside: float | None,
    threads: int | None,
) -> FloatArray:
    array = np.asarray(array)
    if (alignment := align(source, target)) is None:
        return _by_itk(array.astype(np.float32, copy=False), source, target, interpolator, outside)

    def kernel(view: AnyArray, positions: Sequence[FloatArray], out: Any, threads: int) -> None:
        interpolate(view, [taps(x, n) for x, n in zip(positions, view.shape, strict=True)], out, threads=threads)

    return _framed(array, alignment, kernel, np.dtype(np.float32), outside, threads)


def _pick_nearest(view: AnyArray, positions: Sequence[FloatArray], out: AnyArray, threads: int) -> None:
    indices = [np.clip(np.floor(np.round(x, TIE_DECIMALS) + 0.5).astype(np.intp), 0, n - 1)
               for x, n in zip(positions, view.shape, strict=True)]  # fmt: skip
    pick(view, indices, out, threads=threads)


def _framed(
    array: AnyArray,
    alignment: Alignment,
    kernel: Callable[[AnyArray, Sequence[FloatArray], AnyArray, int], None],
    dtype: np.dtype[Any],
    outside: float | None,
    threads: int | None,
) -> Any:
    """What the kernel makes of the voxels in the field of view, and `outside` around it, in the array's own order."""
    view = array.transpose(alignment.axes)
    memory = sorted(range(3), key=lambda axis: -abs(view.strides[axis]))
    view, positions = view.transpose(memory), [alignment.positions[axis] for axis in memory]
    if view.strides[-1] != view.itemsize:
        view = np.ascontiguousarray(view)
    out = np.empty([len(x) for x in positions], dtype=dtype)
    box = [_seen(x, n) for x, n in zip(positions, view.shape, strict=True)]
    count = threads or processors()
    if any(len(x[part]) < len(x) for x, part in zip(positions, box, strict=True)):
        if outside is None:
            _pick_nearest(view.astype(dtype, copy=False), positions, out, count)
        else:
            out.fill(outside)
    if out[tuple(box)].size:
        kernel(view, [x[part] for x, part in zip(positions, box, strict=True)], out[tuple(box)], count)
    return out.transpose(np.argsort(memory))


def _seen(positions: FloatArray, n: int) -> slice:
    """The voxels no further than half a source voxel outside; the far limit itself is outside, as ITK has it."""
    x = np.round(positions, TIE_DECIMALS)
    seen = np.flatnonzero((x >= -0.5) & (x < n - 0.5))
    return slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)


def processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # what this process may use; not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _by_itk(array: AnyArray, source: Geometry, target: Geometry, interpolator: int, outside: float | None) -> Any:
    # numpy's C order makes ITK see the axes reversed: index (k, j, i). The map between the two index spaces is affine.
    to_source = np.linalg.inv(source.affine) @ target.affine
    matrix, offset = to_source[:3, :3][::-1, ::-1], to_source[:3, 3][::-1]
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(offset.tolist())
    whole = array.astype(np.uint8) if array.dtype == bool else array  # ITK has no booleans
    image = sitk.GetImageFromArray(np.ascontiguousarray(whole))
    resampler = sitk.ResampleImageFilter()
    resampler.SetTransform(transform)
    resampler.SetSize([int(n) for n in target.shape[::-1]])
    resampler.SetInterpolator(interpolator)
    if outside is None:
        resampler.SetUseNearestNeighborExtrapolator(True)
    else:
        resampler.SetDefaultPixelValue(float(outside))
    return sitk.GetArrayFromImage(resampler.Execute(image)).astype(array.dtype, copy=False)
