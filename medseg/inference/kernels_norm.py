"""Compiled loops for instance norm and leaky ReLU in place, where the channels of a voxel lie side by side.

The twin in torch is `leaky_relu(instance_norm(x))`, which the tests hold against them.
"""

from __future__ import annotations

import numpy as np

from medseg.imaging.compiled import compiled
from medseg.shapes import FloatArray

SHORT = 256  # voxels whose sums are kept in float32 before they are added up in float64


@compiled
def add_moments(voxels: FloatArray, pivot: FloatArray, moments: FloatArray, first: int, last: int) -> None:
    """Sets `moments` (2, C) float64 to the sums of `voxels - pivot` and of its square over rows `first` to `last`.

    Args:
        voxels: (voxels, C) float32.
        pivot: (C) float32 near the mean, so that the squares do not swallow the deviations.
    """
    channels = voxels.shape[1]
    moments[:] = 0
    total, square = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(first, last, SHORT):
        total[:] = 0
        square[:] = 0
        for i in range(start, min(start + SHORT, last)):
            for c in range(channels):
                value = voxels[i, c] - pivot[c]
                total[c] += value
                square[c] += value * value
        for c in range(channels):
            moments[0, c] += total[c]
            moments[1, c] += square[c]


@compiled
def scale_and_bend(
    voxels: FloatArray, scale: FloatArray, shift: FloatArray, slope: float, first: int, last: int
) -> None:
    """Rows `first` to `last` become `voxels * scale + shift`, what is negative times `slope`; in place."""
    channels = voxels.shape[1]
    bent = np.float32(slope)
    for i in range(first, last):
        for c in range(channels):
            value = voxels[i, c] * scale[c] + shift[c]
            voxels[i, c] = value if value > 0 else value * bent
