"""By how much nearest-neighbour resampling moves what it takes."""

from __future__ import annotations

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.imaging.separable import align


def largest_shift_mm(source: Geometry, target: Geometry) -> float:
    """How far at most a voxel centre of `target` lies from the voxel of `source` that is nearest to it, in mm.

    Only voxels in the source's field of view count; 0 when none is. Where the axes are oblique to each other this is
    the upper bound, half a diagonal of the source's voxel.

    >>> fine, coarse = Geometry((4, 1, 1), np.eye(4)), Geometry((2, 1, 1), np.diag([2.0, 1, 1, 1]))
    >>> largest_shift_mm(fine, coarse), largest_shift_mm(coarse, fine)
    (0.0, 1.0)
    """
    if (alignment := align(source, target)) is None:
        return float(np.linalg.norm(source.spacing_mm)) / 2
    shifts = []
    for axis, positions in zip(alignment.axes, alignment.positions, strict=True):
        n = source.shape[axis]
        seen = positions[(positions >= -0.5) & (positions <= n - 0.5)]
        if not seen.size:
            return 0.0
        nearest = np.clip(np.rint(seen), 0, n - 1)
        shifts.append(float(np.abs(seen - nearest).max()) * source.spacing_mm[axis])
    return float(np.linalg.norm(shifts))
