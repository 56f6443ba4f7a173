"""Contours of one region of interest on the acquired slices of its CT.

A contour lies on a slice when none of its points is further from the slice's plane than a tenth of the way to the
next slice, and at most 0.5 mm (at least 0.01 mm): positions are written with one to three decimals, so that honest
contours are up to 0.05 mm off, while one that was drawn between two slices is off by up to half of the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg.errors import DicomError, GeometryError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.contours import Crossing, crossings, rasterise, repeated, unite
from medseg.io.dicom_rtstruct_file import Contour, Roi
from medseg.io.roi_names import RoiRules
from medseg.io.roi_suggestions import shown_name
from medseg.io.series_facts import SeriesFacts
from medseg.shapes import BoolArray, FloatArray

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
OFF_PLANE_MM, OFF_PLANE_SHARE, ROUNDING_MM = 0.5, 0.1, 0.01
SAME_POINT_MM = 0.01
MAX_CONTOURS_A_SLICE = 2000  # of one region; spongy bone outlined by a threshold has hundreds
XOR = frozenset({"CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR"})  # the standard's spelling, and one seen in files
CLOSED = XOR | {"CLOSED_PLANAR"}


@dataclass(frozen=True, eq=False)
class Drawn:
    """One region on the slices: an (X, Y) mask for each slice on which it has a contour, and what is worth saying."""

    planes: dict[int, BoolArray]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Slices:
    """The acquired slices of a series, for finding the one on which a contour lies."""

    acquisition: Acquisition
    series: SeriesFacts

    @cached_property
    def heights_mm(self) -> FloatArray:
        """(N,) positions along the slices' own normal."""
        return self.acquisition.affines[:, :3, 3] @ self._normal

    @cached_property
    def tolerances_mm(self) -> FloatArray:
        """(N,) how far off each slice's plane a point of it may lie."""
        gaps = np.abs(np.diff(self.heights_mm))
        nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
        return np.clip(OFF_PLANE_SHARE * nearest, ROUNDING_MM, OFF_PLANE_MM)

    @cached_property
    def spacing_mm(self) -> tuple[float, float]:
        x, y = np.linalg.norm(self.acquisition.affines[0, :3, :2], axis=0)
        return float(x), float(y)

    @property
    def names_each(self) -> bool:
        """Whether an image is one slice; in a multi-frame object it is all of them."""
        return len(set(self.series.instance_uids)) >= self.acquisition.slices

    def place(self, points_mm: FloatArray) -> tuple[int, float, FloatArray]:
        """The nearest slice of LPS points (P, 3), how far the furthest is off its plane in mm, and (P, 2) pixels."""
        points = points_mm * LPS_TO_RAS
        heights = points @ self._normal
        index = int(np.argmin(np.abs(self.heights_mm - heights.mean())))
        pixels = points @ self._inverses[index, :2, :3].T + self._inverses[index, :2, 3]
        return index, float(np.abs(heights - self.heights_mm[index]).max()), pixels

    @cached_property
    def _normal(self) -> FloatArray:
        return self.acquisition.affines[0, :3, 2]

    @cached_property
    def _inverses(self) -> FloatArray:
        return np.linalg.inv(self.acquisition.affines)


def draw(roi: Roi, slices: Slices, rules: RoiRules, *, where: str) -> Drawn:
    """The region's masks on the slices that have a contour of it; a contour may enclose no voxel's centre.

    Raises:
        DicomError: contours that lie on no slice, beside the image or on another image than they name; contours that
            overlap in part while no rule says what that means; kinds of contours that cannot be combined.
    """
    where = f"{where}: ROI {shown_name(roi.name)}"
    contours, pixels = _placed(roi, slices, rules, where)
    shape, exclusive = slices.acquisition.shape, any(contour.kind in XOR for contour in roi.contours)
    planes, crossing, twice, notes = {}, dict[int, list[Crossing]](), list[int](), list[str]()
    for index in sorted(contours):
        polygons = pixels[index]
        if not exclusive and (again := repeated([contour.points_mm for contour in contours[index]], SAME_POINT_MM)):
            polygons = [polygon for place, polygon in enumerate(polygons) if place not in again]
            twice += [index] * len(again)
        pairs = [] if exclusive or len(polygons) == 1 else _crossings(polygons, shape, where)
        if pairs:
            crossing[index] = pairs
        united = rules.crossing == "union" and pairs
        planes[index] = unite(polygons, pairs, shape) if united else rasterise(polygons, shape)
    if crossing and rules.crossing == "refuse":
        raise _crossing_error(crossing, slices, where)
    if crossing:
        notes.append(f"contours overlap in part on {told_slices(list(crossing), slices)} ({rules.crossing})")
    if twice:
        notes.append(f"{_contours(len(twice))} written twice counted once on {told_slices(sorted(set(twice)), slices)}")
    notes += _edge_notes(pixels, planes, slices)
    return Drawn(planes, tuple(f"ROI {shown_name(roi.name)}: {note}" for note in notes))


def _crossings(polygons: Sequence[FloatArray], shape: tuple[int, int], where: str) -> list[Crossing]:
    try:
        return crossings(polygons, shape)
    except GeometryError as error:
        raise DicomError(error.what, where=where, expected=error.expected, do="Export it again.") from None


def told_slices(indices: Sequence[int], slices: Slices) -> str:
    """Indices as people count slices, runs of them shortened, the first runs only.

    Example: `slices 3-5, 9 of 40`.
    """
    runs = np.split(np.array(indices), np.flatnonzero(np.diff(indices) > 1) + 1)
    texts = [f"{run[0] + 1}-{run[-1] + 1}" if len(run) > 1 else str(run[0] + 1) for run in runs]
    more = f" and {len(texts) - 8} more places" if len(texts) > 8 else ""
    return f"slice{'s' if len(indices) > 1 else ''} {', '.join(texts[:8])}{more} of {slices.acquisition.slices}"


def _placed(
    roi: Roi, slices: Slices, rules: RoiRules, where: str
) -> tuple[Mapping[int, list[Contour]], Mapping[int, list[FloatArray]]]:
    """The region's contours by slice, and their points in pixels."""
    contours: dict[int, list[Contour]] = {}
    pixels: dict[int, list[FloatArray]] = {}
    off: list[float] = []
    allowed = 0.0
    for contour in roi.contours:
        index, distance, points = slices.place(contour.points_mm)
        if distance > slices.tolerances_mm[index]:
            off.append(distance)
            allowed = float(slices.tolerances_mm[index])
            continue
        if rules.trust in ("all", "images"):
            _check_image(contour, index, slices, where)
        contours.setdefault(index, []).append(contour)
        pixels.setdefault(index, []).append(points)
    if off:
        raise DicomError(f"{len(off)} of {_contours(len(roi.contours))} on no slice of {slices.series.id}", where=where,
                         expected=f"points at most {allowed:.2g} mm off the plane of a slice",
                         got=f"up to {max(off):.3g} mm", do="Export the structure set on the slices of this series, or "
                         "choose the series that it was drawn on (--series).")  # fmt: skip
    if (most := max(map(len, pixels.values()))) > MAX_CONTOURS_A_SLICE:
        raise DicomError("more contours on one slice than any region has", where=where,
                         expected=f"at most {MAX_CONTOURS_A_SLICE}", got=str(most))  # fmt: skip
    _check_beside(pixels, slices, where)
    return contours, pixels


def _check_image(contour: Contour, index: int, slices: Slices, where: str) -> None:
    """The image that a contour names must be the slice on whose plane it lies."""
    known = slices.series.instance_uids
    named = [known[uid] for uid in contour.instance_uids if uid in known]
    if named and slices.names_each and index not in named:
        away = abs(slices.heights_mm[named[0]] - slices.heights_mm[index])
        raise DicomError("a contour lies on another slice than the image that it names", where=where,
                         expected=f"slice {named[0] + 1} of {slices.acquisition.slices}",
                         got=f"slice {index + 1}, {away:.3g} mm away", do="To go by positions alone, accept it with "
                         "--trust frame.")  # fmt: skip


def _check_beside(pixels: Mapping[int, Sequence[FloatArray]], slices: Slices, where: str) -> None:
    """No contour may lie wholly beside the image; one that reaches beyond it is cut off there."""
    last = np.array(slices.acquisition.shape) - 0.5
    for index, polygons in pixels.items():
        for polygon in polygons:
            beyond = np.maximum(-0.5 - polygon.max(axis=0), polygon.min(axis=0) - last) * slices.spacing_mm
            if beyond.max() > 0:
                raise DicomError(f"a contour lies beside the image of {slices.series.id}", where=where,
                                 expected="contours on the image", got=f"{beyond.max():.3g} mm away on "
                                 f"{told_slices([index], slices)}", do="Choose the series that it was drawn on "
                                 "(--series); this one may be cropped.")  # fmt: skip


def _crossing_error(crossing: Mapping[int, Sequence[Crossing]], slices: Slices, where: str) -> DicomError:
    shared = sum(pair.pixels for pairs in crossing.values() for pair in pairs)
    return DicomError(
        "contours overlap in part, so that nobody can say whether the common part is inside",
        where=where,
        expected="contours inside one another (holes) or apart",
        got=f"{shared} voxels in common on {told_slices(list(crossing), slices)}",
        do="Say what it means: --crossing union (all that they cover) or --crossing xor (the common part is a hole).",
    )


def _edge_notes(
    pixels: Mapping[int, Sequence[FloatArray]], planes: Mapping[int, BoolArray], slices: Slices
) -> list[str]:
    notes, last = [], np.array(slices.acquisition.shape) - 0.5
    cut = [index for index, polygons in pixels.items()
           if any((polygon.min() < -0.5) or (polygon.max(axis=0) > last).any() for polygon in polygons)]  # fmt: skip
    if cut:
        notes.append(f"reaches beyond the image and is cut off there on {told_slices(sorted(cut), slices)}")
    if hollow := [index for index, plane in planes.items() if not plane.any()]:
        notes.append(f"encloses no voxel's centre on {told_slices(hollow, slices)}")
    return notes


def _contours(count: int) -> str:
    return f"{count} contour{'' if count == 1 else 's'}"
