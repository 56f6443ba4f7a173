"""How far two surfaces lie apart: surface Dice, 95th-percentile Hausdorff distance, average surface distance.

A mask's border is found once (`Surface`) and asked by every pair it takes part in. What lies outside the image counts
as background, so a structure cut off by the image's edge has a surface there.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.spatial import KDTree

from medseg.evaluation.surfels import cell_areas_mm2, cell_codes
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

PERCENTILE = 95.0
DEFAULT_TOLERANCE_MM = 2.0
ROUNDING_MM = 1e-6  # headers store float32: two voxels of 1 mm may lie 2.0000001 mm apart and still meet 2 mm


class Points:
    """Lattice points of one mask with their nearest-neighbour structure.

    Args:
        index: (N, 3) lattice indices in the frame that all masks of the case share, in C order.
        shape: extent of that frame.
        spacing_mm: distance between neighbours.
    """

    def __init__(self, index: IntArray, shape: tuple[int, ...], spacing_mm: Triple) -> None:
        self.mm: FloatArray = index * np.asarray(spacing_mm, dtype=np.float64)
        self._key: IntArray = index @ np.array([shape[1] * shape[2], shape[2], 1])

    def __len__(self) -> int:
        return len(self._key)

    @cached_property
    def _tree(self) -> KDTree:
        # on a lattice the unbalanced tree is built several times faster and answers as fast
        return KDTree(self.mm, balanced_tree=False, compact_nodes=False)

    def distances_to(self, other: Points) -> FloatArray:
        """Distance in mm (N,) from each point to the nearest of `other`; infinite when `other` has none."""
        if not len(other):
            return np.full(len(self), np.inf)
        distances = np.zeros(len(self))
        apart = ~np.isin(self._key, other._key, assume_unique=True)  # two readers share many border points
        if apart.any():
            distances[apart] = other._tree.query(self.mm[apart])[0]
        return distances


class Surface:
    """The border of one mask (X, Y, Z), measured once.

    `border` holds the voxels of the mask that touch background through a face; `surfels` the cells of eight voxels
    that the surface passes through, `areas_mm2` the surface area in each. All are empty for an empty mask.

    Example:
        >>> cube = np.zeros((5, 5, 5), dtype=bool)
        >>> cube[1:4, 1:4, 1:4] = True
        >>> len(Surface(cube, (1.0, 1.0, 1.0)).border)  # 27 voxels less the one in the middle
        26
    """

    def __init__(self, mask: BoolArray, spacing_mm: Triple) -> None:
        self.spacing_mm = spacing_mm
        self._frame = tuple(n + 1 for n in mask.shape)
        self._start, self._mask = _crop(np.asarray(mask, dtype=bool))
        self.voxels = int(np.count_nonzero(self._mask))

    @property
    def is_empty(self) -> bool:
        return self.voxels == 0

    @cached_property
    def border(self) -> Points:
        index = np.argwhere(_border(self._mask)) if self.voxels else np.zeros((0, 3), dtype=np.int64)
        return Points(index + self._start, self._frame, self.spacing_mm)

    @cached_property
    def _cells(self) -> tuple[IntArray, IntArray]:
        if not self.voxels:
            return np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.uint8)
        codes = cell_codes(self._mask)
        index = np.argwhere((codes != 0) & (codes != 255))
        return index + self._start, codes[tuple(index.T)]

    @cached_property
    def surfels(self) -> Points:
        return Points(self._cells[0], self._frame, self.spacing_mm)

    @cached_property
    def areas_mm2(self) -> FloatArray:
        return cell_areas_mm2(self.spacing_mm)[self._cells[1]]


def nsd(
    reference: BoolArray, prediction: BoolArray, spacing_mm: Triple, tolerance_mm: float = DEFAULT_TOLERANCE_MM
) -> float:
    """Share of both surfaces, by area, that lies within `tolerance_mm` of the other one, 0 to 1.

    Normalised surface distance, or surface Dice (Nikolov et al. 2021), over surfels with marching-cubes areas.
    One mask empty gives 0, both empty NaN.
    """
    return surfel_nsd(Surface(reference, spacing_mm), Surface(prediction, spacing_mm), tolerance_mm)


def hd95(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """95th-percentile Hausdorff distance in mm: the larger of the two directed percentiles (linear) of border voxels.

    One mask empty gives infinity, both empty NaN.
    """
    return border_distances(Surface(reference, spacing_mm), Surface(prediction, spacing_mm))[0]


def assd(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """Average symmetric surface distance in mm, both directions pooled over border voxels; empty masks as `hd95`."""
    return border_distances(Surface(reference, spacing_mm), Surface(prediction, spacing_mm))[1]


def surfel_nsd(a: Surface, b: Surface, tolerance_mm: float) -> float:
    """Surface Dice of two measured surfaces; one empty 0, both empty NaN."""
    if a.is_empty or b.is_empty:
        return float("nan") if a.is_empty and b.is_empty else 0.0
    near = [
        float(one.areas_mm2[one.surfels.distances_to(other.surfels) <= tolerance_mm + ROUNDING_MM].sum())
        for one, other in ((a, b), (b, a))
    ]
    return sum(near) / float(a.areas_mm2.sum() + b.areas_mm2.sum())


def border_distances(a: Surface, b: Surface) -> tuple[float, float]:
    """(HD95, ASSD) in mm of two measured surfaces from one pass; one empty gives infinity, both empty NaN."""
    if a.is_empty or b.is_empty:
        value = float("nan") if a.is_empty and b.is_empty else float("inf")
        return value, value
    there, back = a.border.distances_to(b.border), b.border.distances_to(a.border)
    hausdorff = max(float(np.percentile(directed, PERCENTILE)) for directed in (there, back))
    return hausdorff, float(there.sum() + back.sum()) / (len(there) + len(back))


def _crop(mask: BoolArray) -> tuple[IntArray, BoolArray]:
    """First index and content of the box around a mask; an empty box for an empty mask."""
    start, stop = [], []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        start.append(int(filled[0]) if len(filled) else 0)
        stop.append(int(filled[-1]) + 1 if len(filled) else 0)
    return np.array(start), mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]


def _border(mask: BoolArray) -> BoolArray:
    """Voxels of the mask with a background neighbour across a face (shifted ANDs; outside is background)."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for shift in (slice(0, -2), slice(2, None)):
            place = [slice(1, -1)] * 3
            place[axis] = shift
            inner &= padded[tuple(place)]
    return mask & ~inner
