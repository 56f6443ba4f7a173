"""Array aliases and the legend of axis letters.

X, Y, Z   voxel axes of an image; with a canonical affine they point right, anterior, superior (RAS)
C         classes (0 is background) or image channels
R         raters
B         batch
N         points, cases or patients, as said beside it
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
Triple = tuple[float, float, float]
IntTriple = tuple[int, int, int]
LEFT_RIGHT_AXIS = 0  # X of a canonical grid
