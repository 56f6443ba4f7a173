"""Every pair of readers of a case, scored: each mask's surface is measured once, however many pairs ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medseg.evaluation.consensus import TIE, majority
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.overlap import dice_of_counts, iou_of_counts
from medseg.evaluation.surface import DEFAULT_TOLERANCE_MM, Surface, border_distances, surfel_nsd
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading
from medseg.shapes import BoolArray, Triple

Pair = tuple[str, str]


@dataclass(frozen=True)
class PairScore:
    """Two readings of one structure in one case.

    `values` maps every key of METRICS to a number: NaN where undefined or missing, infinity for a distance to nothing.
    """

    label: str
    a: str
    b: str
    values: Mapping[str, float]
    volume_a_ml: float
    volume_b_ml: float

    @property
    def is_missing(self) -> bool:
        """Whether one of the two did not read the structure, or they have no voxel in common that both read."""
        return bool(np.isnan(self.volume_a_ml) or np.isnan(self.volume_b_ml))

    @property
    def flag(self) -> str:
        """`missing`, `both_empty`, `one_empty` or nothing."""
        if self.is_missing:
            return "missing"
        empty = (self.volume_a_ml == 0) + (self.volume_b_ml == 0)
        return ("", "one_empty", "both_empty")[empty]


def score_pair(
    reference: BoolArray, prediction: BoolArray, spacing_mm: Triple, *, tolerance_mm: float = DEFAULT_TOLERANCE_MM
) -> dict[str, float]:
    """All METRICS of two masks (X, Y, Z): shares 0 to 1, distances in mm; NaN where both masks are empty.

    >>> cube = np.ones((3, 3, 3), dtype=bool)
    >>> score_pair(cube, cube, (1.0, 1.0, 1.0))
    {'dice': 1.0, 'iou': 1.0, 'nsd': 1.0, 'hd95': 0.0, 'assd': 0.0}
    """
    a, b = np.asarray(reference, dtype=bool), np.asarray(prediction, dtype=bool)
    return _measure(Surface(a, spacing_mm), Surface(b, spacing_mm), int(np.count_nonzero(a & b)), tolerance_mm)


def score_masks(
    masks: Mapping[str, BoolArray],
    spacing_mm: Triple,
    *,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    pairs: Iterable[Pair] | None = None,
    read: Mapping[str, BoolArray] | None = None,
    label: str = "",
) -> list[PairScore]:
    """Scores of named masks (X, Y, Z) of one structure in one case, one entry per pair.

    Args:
        pairs: the pairs wanted, all by default. A name that is not in `masks` is missing: its scores are NaN.
        read: for a name, where it read (X, Y, Z, or broadcastable to it); everywhere by default. A pair is compared
            where both read; a structure that goes on beyond is cut there for both alike. No common voxel: missing.
        label: the structure's name, passed through.

    Two empty masks score 1 for overlap when any of `masks` is not empty (they agree on its absence), else NaN.
    """
    marked = any(mask.any() for mask in masks.values())
    desk = _Desk(masks, read or {}, spacing_mm)
    wanted = combinations(masks, 2) if pairs is None else pairs
    return [desk.score(label, a, b, tolerance_mm, marked) for a, b in wanted]


def score_case(
    readings: Mapping[str, Reading],
    *,
    labels: Sequence[str] | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    pairs: Sequence[Pair] | None = None,
    leave_one_out: Sequence[str] = (),
) -> list[PairScore]:
    """Scores of every structure and pair of one case; all readings lie on one grid.

    Structures may overlap within a reading (`RegionMap`): each is scored by itself. Each label volume is read once for
    the boxes of all its structures, then only boxes are touched. A structure
    that a reader did not look for, a slice that was not read and an ignored voxel are missing, not empty.

    Args:
        labels: structures to score, all foreground ones by default.
        pairs: the pairs wanted, all by default.
        leave_one_out: raters to leave out one by one. The majority of the others becomes a reading of its own, named
            by `others_of`, that `pairs` may name.
    """
    if not readings:
        return []
    first = next(iter(readings.values()))
    names = first.label_set.foreground if labels is None else labels
    wanted = list(combinations(readings, 2)) if pairs is None else list(pairs)
    boxes = {name: reading.boxes() for name, reading in readings.items()}
    scores: list[PairScore] = []
    for label in names:
        here = {name: reading for name, reading in readings.items() if reading.was_read(label)}
        box = _union([boxes[name].get(label) for name in here])
        masks = {name: reading.mask_in(label, box) for name, reading in here.items()}
        read = {name: where for name, reading in here.items() if (where := reading.known_in(box)) is not None}
        for rater in leave_one_out:
            others = [name for name in leave_one_out if name != rater and name in masks]
            if others:
                masks[others_of(rater)], read[others_of(rater)] = majority(
                    [masks[name] for name in others], [read.get(name) for name in others], tie=TIE
                )
        scores += score_masks(
            masks, first.geometry.spacing_mm, tolerance_mm=tolerance_mm, pairs=wanted, read=read, label=label
        )
    return scores


def others_of(rater: str) -> str:
    """Name under which the consensus of everybody but this rater is scored."""
    return f"all but {rater}"


class _Desk:
    """Surfaces of one structure's masks, each made when first asked for."""

    def __init__(self, masks: Mapping[str, BoolArray], read: Mapping[str, BoolArray], spacing_mm: Triple) -> None:
        self.masks, self.read, self.spacing_mm = masks, read, spacing_mm
        self._surfaces: dict[tuple[str, bytes], tuple[BoolArray, Surface]] = {}

    def score(self, label: str, a: str, b: str, tolerance_mm: float, marked: bool) -> PairScore:
        nan = float("nan")
        missing = PairScore(label, a, b, dict.fromkeys(METRICS, nan), nan, nan)
        if a not in self.masks or b not in self.masks:
            return missing
        common = self._common(a, b)
        if common is not None and not common.any():
            return missing
        (mask_a, surface_a), (mask_b, surface_b) = self._surface(a, common), self._surface(b, common)
        values = _measure(surface_a, surface_b, int(np.count_nonzero(mask_a & mask_b)), tolerance_mm)
        if marked and surface_a.is_empty and surface_b.is_empty:
            values = {key: nan if METRICS[key].is_distance else 1.0 for key in METRICS}
        voxel_ml = float(np.prod(self.spacing_mm)) / 1000.0
        return PairScore(label, a, b, values, surface_a.voxels * voxel_ml, surface_b.voxels * voxel_ml)

    def _common(self, a: str, b: str) -> BoolArray | None:
        """Where both read, or None for everywhere."""
        parts = [self.read[name] for name in (a, b) if name in self.read]
        if not parts:
            return None
        common = parts[0] if len(parts) == 1 else parts[0] & parts[1]
        return None if common.all() else common

    def _surface(self, name: str, common: BoolArray | None) -> tuple[BoolArray, Surface]:
        key = (name, b"" if common is None else common.tobytes())
        if key not in self._surfaces:
            mask = self.masks[name] if common is None else self.masks[name] & common
            self._surfaces[key] = mask, Surface(mask, self.spacing_mm)
        return self._surfaces[key]


def _measure(a: Surface, b: Surface, common: int, tolerance_mm: float) -> dict[str, float]:
    hausdorff, average = border_distances(a, b)
    return {
        "dice": dice_of_counts(a.voxels, b.voxels, common),
        "iou": iou_of_counts(a.voxels, b.voxels, common),
        "nsd": surfel_nsd(a, b, tolerance_mm),
        "hd95": hausdorff,
        "assd": average,
    }


def _union(boxes: Sequence[Box | None]) -> Box:
    """The smallest box around all; the first voxel when nobody marked anything."""
    found = [box for box in boxes if box is not None]
    if not found:
        return slice(0, 1), slice(0, 1), slice(0, 1)
    low = [min(box[axis].start for box in found) for axis in range(3)]
    high = [max(box[axis].stop for box in found) for axis in range(3)]
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
