"""Every pair of readers of a case, scored: each mask's surface is measured once, however many pairs ask for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np

from medseg.evaluation.consensus import TIE, majority
from medseg.evaluation.desk import Desk, Pair, PairScore, measure_pair
from medseg.evaluation.given_masks import given_masks
from medseg.evaluation.overlap import overlap
from medseg.evaluation.surface import DEFAULT_TOLERANCE_MM, Surface
from medseg.evaluation.surface_rules import MEDSEG, SurfaceRule
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading, box_of
from medseg.shapes import BoolArray, Triple

__all__ = ["Boxes", "Pair", "PairScore", "boxes_of", "others_of", "score_case", "score_masks", "score_pair"]
Tolerance = float | Mapping[str, float]
Boxes = Mapping[str, Mapping[str, Box]]  # reading to structure to the box around it


def score_pair(
    reference: BoolArray,
    prediction: BoolArray,
    spacing_mm: Triple,
    *,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    rule: SurfaceRule = MEDSEG,
) -> dict[str, float]:
    """All METRICS of two masks (X, Y, Z): shares 0 to 1, distances in mm; NaN where both masks are empty.

    Raises:
        GeometryError, UsageError: masks of different shapes, label maps or probabilities; see `given_masks`.

    >>> cube = np.ones((3, 3, 3), dtype=bool)
    >>> scores = score_pair(cube, cube, (1.0, 1.0, 1.0))
    >>> scores["dice"], scores["nsd"], scores["hd95"]
    (1.0, 1.0, 0.0)
    """
    given = given_masks({"reference": reference, "prediction": prediction}, spacing_mm)
    a, b = _cropped([given["reference"], given["prediction"]])
    return measure_pair((Surface(a, spacing_mm), Surface(b, spacing_mm)), overlap(a, b, spacing_mm), tolerance_mm, rule)


def score_masks(
    masks: Mapping[str, BoolArray],
    spacing_mm: Triple,
    *,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    pairs: Iterable[Pair] | None = None,
    read: Mapping[str, BoolArray] | None = None,
    label: str = "",
    rule: SurfaceRule = MEDSEG,
    keep_gaps: bool = False,
) -> list[PairScore]:
    """Scores of named masks (X, Y, Z) of one structure in one case, one entry per pair.

    Args:
        pairs: the pairs wanted, all by default. A name that is not in `masks` is missing: its scores are NaN.
        read: for a name, where it read (X, Y, Z, or broadcastable to it); everywhere by default. A pair is compared
            where both read; a structure that goes on beyond is cut there for both alike. No common voxel: missing.
        label: the structure's name, passed through.
        rule: whose definition of a surface; see `PARITY`.
        keep_gaps: keep each pair's distances, some kilobytes, for NSD at other tolerances and curves.

    Two empty masks score 1 for overlap when any of `masks` is not empty (they agree on its absence), else NaN.

    Raises:
        GeometryError, UsageError: masks of different shapes, label maps or probabilities; see `given_masks`.
    """
    wanted = list(combinations(masks, 2) if pairs is None else pairs)
    given = given_masks(masks, spacing_mm)
    return Desk(given, read or {}, spacing_mm).scores(label, wanted, rule, tolerance_mm, keep_gaps=keep_gaps)


def score_case(
    readings: Mapping[str, Reading],
    *,
    labels: Sequence[str] | None = None,
    tolerance_mm: Tolerance = DEFAULT_TOLERANCE_MM,
    pairs: Sequence[Pair] | None = None,
    leave_one_out: Sequence[str] = (),
    rule: SurfaceRule = MEDSEG,
    keep_gaps: bool = False,
    threads: int | None = None,
    boxes: Boxes | None = None,
) -> list[PairScore]:
    """Scores of every structure and pair of one case; all readings lie on one grid.

    Structures may overlap within a reading (`RegionMap`): each is scored by itself. Each label volume is read once for
    the boxes of all its structures, then only boxes are touched. A structure
    that a reader did not look for, a slice that was not read and an ignored voxel are missing, not empty.

    Args:
        labels: structures to score, all foreground ones by default.
        tolerance_mm: of NSD, one for all structures or one by name (`DEFAULT_TOLERANCE_MM` for a name not there).
        pairs: the pairs wanted, all by default.
        leave_one_out: raters to leave out one by one. The majority of the others becomes a reading of its own, named
            by `others_of`, that `pairs` may name.
        rule: whose definition of a surface; see `PARITY`.
        keep_gaps: keep each pair's distances, some kilobytes, for NSD at other tolerances and curves.
        threads: structures scored at the same time; by default as many as there are processors. Results do not depend
            on it.
        boxes: what `boxes_of` gave for some of the readings, which are then not looked through again.
    """
    if not readings:
        return []
    first = next(iter(readings.values()))
    names = first.label_set.foreground if labels is None else labels
    known = boxes or {}
    around = {**known, **boxes_of({name: one for name, one in readings.items() if name not in known}, threads)}
    wanted = list(combinations(readings, 2)) if pairs is None else list(pairs)

    def score(label: str) -> list[PairScore]:
        masks, read, spacing_mm = _masks_of(label, readings, around, leave_one_out)
        tolerance = tolerance_of(tolerance_mm, label)
        return Desk(masks, read, spacing_mm).scores(label, wanted, rule, tolerance, keep_gaps=keep_gaps)

    with ThreadPoolExecutor(threads or _processors()) as pool:
        return [found for scores in pool.map(score, names) for found in scores]


def boxes_of(readings: Mapping[str, Reading], threads: int | None = None) -> dict[str, dict[str, Box]]:
    """The box around every structure of every reading, several readings at the same time."""
    with ThreadPoolExecutor(threads or _processors()) as pool:
        return dict(zip(readings, pool.map(lambda reading: reading.boxes(), readings.values()), strict=True))


def tolerance_of(tolerance_mm: Tolerance, label: str) -> float:
    """The tolerance of one structure."""
    if isinstance(tolerance_mm, Mapping):
        return tolerance_mm.get(label, DEFAULT_TOLERANCE_MM)
    return tolerance_mm


def others_of(rater: str) -> str:
    """Name under which the consensus of everybody but this rater is scored."""
    return f"all but {rater}"


def _masks_of(
    label: str, readings: Mapping[str, Reading], boxes: Boxes, leave_one_out: Sequence[str]
) -> tuple[dict[str, BoolArray], dict[str, BoolArray], Triple]:
    """Masks (Z, Y, X) in their common box, where they were read, and the spacing, all with the axes turned."""
    here = {name: reading for name, reading in readings.items() if reading.was_read(label)}
    box = _union([boxes[name].get(label) for name in here])
    masks = {name: reading.mask_in(label, box) for name, reading in here.items()}
    read = {name: where for name, reading in here.items() if (where := reading.known_in(box)) is not None}
    spacing_mm = next(iter(readings.values())).geometry.spacing_mm
    # Z, Y, X as files lie in memory, and whatever the memory order, so that sums round alike; no metric names an axis
    masks = {name: np.ascontiguousarray(mask.T) for name, mask in masks.items()}
    read = {name: np.transpose(where) for name, where in read.items()}
    spacing_mm = (spacing_mm[2], spacing_mm[1], spacing_mm[0])
    for rater in leave_one_out:
        others = [name for name in leave_one_out if name != rater and name in masks]
        if others:
            masks[others_of(rater)], read[others_of(rater)] = majority(
                [masks[name] for name in others], [read.get(name) for name in others], tie=TIE
            )
    return masks, read, spacing_mm


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cropped(masks: Sequence[BoolArray]) -> list[BoolArray]:
    """The masks in the box around all of them."""
    box = _union([box_of(mask) for mask in masks])
    return [mask[box] for mask in masks]


def _union(boxes: Sequence[Box | None]) -> Box:
    """The smallest box around all; the first voxel when nobody marked anything."""
    found = [box for box in boxes if box is not None]
    if not found:
        return slice(0, 1), slice(0, 1), slice(0, 1)
    low = [min(box[axis].start for box in found) for axis in range(3)]
    high = [max(box[axis].stop for box in found) for axis in range(3)]
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
