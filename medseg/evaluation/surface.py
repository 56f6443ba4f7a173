"""How far two surfaces lie apart: surface Dice, Hausdorff distances, average surface distances.

A mask's border is found once (`Surface`) and asked by every pair it takes part in. What lies outside the image counts
as background, so a structure cut off by the image's edge has a surface there. Every metric of a pair comes from two
lists of distances (`Spread`), one per direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from medseg.evaluation.nearest import Frame, Points
from medseg.evaluation.spread import Spread, spread_between
from medseg.evaluation.surface_rules import DEFAULT_TOLERANCE_MM, MEDSEG, NAN, SURFEL, VOXEL, Elements, SurfaceRule
from medseg.evaluation.surfels import FULL_CELL, border_of_cells, cell_areas_mm2, cell_codes
from medseg.imaging.regions import box_of
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

SURFACE_METRICS = ("nsd", "hd", "hd95", "assd", "masd", "signed_surface_distance")
Weighted = tuple[Points, FloatArray | None]


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
        mask = np.asarray(mask, dtype=bool)
        self.spacing_mm = spacing_mm
        self.frame = Frame((mask.shape[0], mask.shape[1], mask.shape[2]), spacing_mm)
        box = box_of(mask)
        self._mask = mask[box] if box else np.zeros((0, 0, 0), dtype=bool)
        self._start = np.array([side.start for side in box]) if box else np.zeros(3, dtype=np.int64)
        self.voxels = int(np.count_nonzero(self._mask))

    @property
    def is_empty(self) -> bool:
        return self.voxels == 0

    @cached_property
    def _cells(self) -> tuple[IntArray, IntArray]:
        """Numbers (N,) of the cells that the surface passes through, ascending, and their codes (N,)."""
        if not self.voxels:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
        codes = cell_codes(self._mask)
        places = np.flatnonzero(codes + np.uint8(1) > 1)  # neither empty nor FULL_CELL, in one look
        index = np.stack(np.unravel_index(places, codes.shape), axis=1)
        return self.frame.keys(index + self._start), codes.ravel()[places]

    @cached_property
    def surfels(self) -> Points:
        return Points(self.frame, self._cells[0])

    @cached_property
    def areas_mm2(self) -> FloatArray:
        return cell_areas_mm2(self.spacing_mm)[self._cells[1]]

    @cached_property
    def border(self) -> Points:
        here, before = border_of_cells(self._cells[1])
        keys = self._cells[0]
        return Points(self.frame, np.union1d(keys[here], keys[before] - int(self.frame.strides.sum())))

    def elements(self, kind: Elements) -> Weighted:
        """The places of the surface's elements and the weight of each; None for a weight of 1."""
        return (self.surfels, self.areas_mm2) if kind == SURFEL else (self.border, None)

    def inside(self, kind: Elements) -> BoolArray:
        """Which of the frame's numbers are cells with all eight corners in the mask, or its voxels."""
        found = np.zeros(self.frame.padded, dtype=bool)
        content = cell_codes(self._mask) == FULL_CELL if kind == SURFEL else self._mask
        first = self._start + self.frame.margin
        found[tuple(slice(a, a + n) for a, n in zip(first, content.shape, strict=True))] = content
        return found.ravel()

    def forget(self) -> None:
        """Gives back the memory that questions about distances to this surface took."""
        for points in (self.surfels, self.border):
            points.forget()


@dataclass(frozen=True, eq=False)
class Gap:
    """The distances between two surfaces, from the first to the second and back."""

    there: Spread
    back: Spread

    def nsd(self, tolerance_mm: float) -> float:
        """Share of both surfaces within the tolerance; NaN when both are empty."""
        total = self.there.total + self.back.total
        return (self.there.within(tolerance_mm) + self.back.within(tolerance_mm)) / total if total else float("nan")

    def hausdorff(self, percentile: str | None = None) -> float:
        """Larger of the two directed distances in mm: largest ones, or the 95th percentiles, `linear` or by `area`."""
        sides = (self.there, self.back)
        if percentile is None:
            return max(side.largest for side in sides)
        return max(side.percentile() if percentile == "linear" else side.share_percentile() for side in sides)

    @property
    def assd(self) -> float:
        """Mean distance in mm of all elements of both surfaces."""
        return (self.there.sum + self.back.sum) / (self.there.total + self.back.total)

    @property
    def masd(self) -> float:
        """Mean of the two directed mean distances in mm."""
        return (self.there.mean + self.back.mean) / 2

    @property
    def signed(self) -> float:
        """Mean distance in mm of all elements of both surfaces, positive where the second mask reaches beyond."""
        return (self.back.outward - self.there.outward) / (self.there.total + self.back.total)


def gap(a: Surface, b: Surface, kind: Elements = SURFEL) -> Gap:
    """The distances between two measured surfaces over surfels with their areas, or over border voxels."""
    return Gap(_spread(a, b, kind), _spread(b, a, kind))


def _spread(source: Surface, target: Surface, kind: Elements) -> Spread:
    points, weight = source.elements(kind)
    return spread_between(points, weight, target.elements(kind)[0], target.inside(kind))


def measure(
    a: Surface,
    b: Surface,
    rule: SurfaceRule = MEDSEG,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    gaps: Mapping[str, Gap] | None = None,
) -> dict[str, float]:
    """The SURFACE_METRICS of two measured surfaces by a rule, empty masks as it says: shares 0 to 1, distances in mm.

    Args:
        gaps: by kind of element, those already measured.

    >>> a, b = np.zeros((2, 1, 1, 9), dtype=bool)
    >>> a[..., 2] = b[..., 6] = True
    >>> measure(Surface(a, (1.0, 1.0, 1.0)), Surface(b, (1.0, 1.0, 1.0)))
    {'nsd': 0.0, 'hd': 4.0, 'hd95': 4.0, 'assd': 4.0, 'masd': 4.0, 'signed_surface_distance': 0.0}
    """
    if a.is_empty or b.is_empty:
        both = a.is_empty and b.is_empty
        return {metric: rule.empty.get(metric, (NAN, NAN))[both] for metric in SURFACE_METRICS}
    known = {kind: (gaps or {}).get(kind) or gap(a, b, kind) for kind in rule.kinds}
    apart = known[rule.distances]
    return {
        "nsd": known[rule.nsd].nsd(tolerance_mm),
        "hd": apart.hausdorff(),
        "hd95": apart.hausdorff(rule.percentile),
        "assd": apart.assd,
        "masd": apart.masd,
        "signed_surface_distance": known[rule.nsd].signed,
    }


def measure_masks(
    reference: BoolArray,
    prediction: BoolArray,
    spacing_mm: Triple,
    *,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    rule: SurfaceRule = MEDSEG,
) -> dict[str, float]:
    """The SURFACE_METRICS of two masks (X, Y, Z) by one of the definitions of `PARITY`."""
    return measure(Surface(reference, spacing_mm), Surface(prediction, spacing_mm), rule, tolerance_mm)


def nsd(
    reference: BoolArray, prediction: BoolArray, spacing_mm: Triple, tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    surface: Elements = SURFEL,
) -> float:  # fmt: skip
    """Share of both surfaces that lies within `tolerance_mm` of the other one, 0 to 1.

    Normalised surface distance, or surface Dice (Nikolov et al. 2021), over surfels with marching-cubes areas, or over
    border voxels (`surface="voxel"`). One mask empty gives 0, both empty NaN.
    """
    rule = replace(MEDSEG, nsd=surface, distances=surface)
    return measure_masks(reference, prediction, spacing_mm, tolerance_mm=tolerance_mm, rule=rule)["nsd"]


def hd(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """Hausdorff distance in mm: the largest distance of a border voxel to the other border; empty masks as `hd95`."""
    return _border_metrics(reference, prediction, spacing_mm)["hd"]


def hd95(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """95th-percentile Hausdorff distance in mm: the larger of the two directed percentiles (linear) of border voxels.

    One mask empty gives infinity, both empty NaN.
    """
    return _border_metrics(reference, prediction, spacing_mm)["hd95"]


def assd(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """Average symmetric surface distance in mm, both directions pooled over border voxels; empty masks as `hd95`."""
    return _border_metrics(reference, prediction, spacing_mm)["assd"]


def masd(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """Mean of the two directed average surface distances in mm over border voxels; empty masks as `hd95`."""
    return _border_metrics(reference, prediction, spacing_mm)["masd"]


def signed_surface_distance(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> float:
    """How far in mm the prediction's surface lies outside the reference's on average, negative where it lies inside.

    Over the area of both surfaces (surfels). It says which of two masks is drawn larger, which no unsigned distance
    does; errors that cancel out give 0. One mask empty, or both, gives NaN.
    """
    return measure_masks(reference, prediction, spacing_mm)["signed_surface_distance"]


def _border_metrics(reference: BoolArray, prediction: BoolArray, spacing_mm: Triple) -> dict[str, float]:
    return measure_masks(reference, prediction, spacing_mm, rule=replace(MEDSEG, nsd=VOXEL))
