"""How the slices of a series lie in the patient, and everything that keeps them from being an even, upright volume.

Positions and directions are DICOM's (LPS, mm; PS3.3 C.7.6.2) until `Stack.geometry`, which is RAS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medseg.errors import DicomError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray

MIN_SLICES = 3  # two slices have one gap, and one gap cannot be seen to be even
SAME_POSITION_MM = 1e-3
EVEN_TOLERANCE_MM = 0.1  # positions are often rounded to 0.1 mm; a slice further off its place is a fault
TILT_TOLERANCE_DEG = 0.2  # rounded direction cosines alone reach 0.06 degrees
PERPENDICULAR_TOLERANCE = 1e-3
Tilt = Literal["resample", "keep", "refuse"]
Gaps = Literal["refuse", "resample"]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class SlicePlane:
    """Where one slice lies.

    Args:
        position: (3,) centre of the first pixel.
        row: (3,) unit vector in which the column index grows; `column` likewise for the row index.
        pixel_mm: distance between pixel rows, then between pixel columns: the order in which DICOM writes it.
        shape: pixel rows and columns.
    """

    position: FloatArray
    row: FloatArray
    column: FloatArray
    pixel_mm: tuple[float, float]
    shape: tuple[int, int]

    @property
    def normal(self) -> FloatArray:
        return np.cross(self.row, self.column)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in the order of their positions along the normal.

    Args:
        groups: for each place, bottom up, the indices of the slices that lie there; one each in a proper series.
        geometry: the volume's grid in RAS, X along pixel rows, Y along pixel columns, Z along the normal.
    """

    groups: tuple[tuple[int, ...], ...]
    geometry: Geometry
    acquisition: Acquisition

    def to_grid(self, hu: FloatArray) -> FloatArray:
        """HU (X, Y, Z) float32 on the grid of HU (X, Y, N) of the slices; the same array where nothing is resampled."""
        if self.acquisition.plain:
            return hu
        return self.acquisition.hu_to_grid(lambda k: hu[:, :, k])


def stack_planes(
    planes: Sequence[SlicePlane], *, tilt: Tilt = "resample", gaps: Gaps = "refuse", where: str = ""
) -> Stack:
    """The order and the grid of parallel, equally spaced slices; the spacing comes from the positions alone.

    Raises:
        DicomError: mixed orientations or matrices, one place only, too few slices, a tilted gantry, uneven gaps.
            Tilt and gaps are named together when both are there.
    """
    _check_alike(planes, where)
    normal = planes[0].normal
    groups = _places(planes, normal)
    if len(groups) == 1 and len(planes) > 1:
        raise DicomError(f"not a volume: all {len(planes)} images show one place", where=where,
                         do="This looks like a time series or a scout; choose another series.")  # fmt: skip
    if len(groups) < MIN_SLICES:
        raise DicomError("too few slices for a volume", where=where, expected=f"at least {MIN_SLICES}",
                         got=str(len(groups)), do="Check that the whole series was exported.")  # fmt: skip
    positions = np.array([planes[group[0]].position for group in groups])
    if faults := [fault for fault in (_tilt(positions, normal), _unevenness(positions)) if fault]:
        raise DicomError("; ".join(faults), where=where, do="Such series are not read yet: correct the tilt or the "
                         "gaps with a converter first, or choose an even, upright series.")  # fmt: skip
    geometry = _geometry(planes[0], positions)
    return Stack(groups, geometry, Acquisition.of_planes(geometry))


def _check_alike(planes: Sequence[SlicePlane], where: str) -> None:
    first = planes[0]
    normals = _clusters([np.concatenate([plane.row, plane.column]) for plane in planes], 1e-3)
    if normals > 1:
        raise DicomError(f"mixed orientations: the slices lie in {normals} different directions", where=where,
                         do="Give each orientation its own folder.")  # fmt: skip
    if len(shapes := Counter(plane.shape for plane in planes)) > 1:
        raise DicomError("slices of different size", where=where, got=_counted(shapes, "pixels"))
    if _clusters([np.array(plane.pixel_mm) for plane in planes], 1e-5) > 1:
        spacings = Counter(tuple(round(mm, 5) for mm in plane.pixel_mm) for plane in planes)
        raise DicomError("slices of different pixel spacing", where=where, got=_counted(spacings, "mm"))
    if abs(cosine := float(first.row @ first.column)) > PERPENDICULAR_TOLERANCE:
        raise DicomError("the image axes are not perpendicular", where=where, expected="90 degrees",
                         got=f"{np.degrees(np.arccos(cosine)):.3g} degrees")  # fmt: skip


def _clusters(vectors: Sequence[FloatArray], tolerance: float) -> int:
    """How many of the vectors differ from one another."""
    kinds: list[Any] = []
    for vector in vectors:
        if not any(np.abs(vector - kind).max() <= tolerance for kind in kinds):
            kinds.append(vector)
    return len(kinds)


def _counted(kinds: Counter[Any], unit: str) -> str:
    return ", ".join(f"{count} of {' x '.join(f'{n:g}' for n in kind)} {unit}" for kind, count in kinds.items())


def _places(planes: Sequence[SlicePlane], normal: FloatArray) -> tuple[tuple[int, ...], ...]:
    heights = np.array([plane.position @ normal for plane in planes])
    order = np.argsort(heights, kind="stable")
    breaks = np.flatnonzero(np.diff(heights[order]) > SAME_POSITION_MM) + 1
    return tuple(tuple(int(index) for index in group) for group in np.split(order, breaks))


def _tilt(positions: FloatArray, normal: FloatArray) -> str:
    way = positions[-1] - positions[0]
    along = float(way @ normal)
    angle = float(np.degrees(np.arctan2(np.linalg.norm(way - along * normal), abs(along))))
    return f"the gantry is tilted by {angle:.1f} degrees" if angle > TILT_TOLERANCE_DEG else ""


def _unevenness(positions: FloatArray) -> str:
    places = np.linspace(positions[0], positions[-1], len(positions))
    if np.linalg.norm(positions - places, axis=1).max() <= EVEN_TOLERANCE_MM:
        return ""
    gaps = [float(f"{gap:.3g}") for gap in np.linalg.norm(np.diff(positions, axis=0), axis=1)]
    kinds = Counter(gaps).most_common()
    rarest = kinds[-1][0]
    listed = ", ".join(f"{gap:g} mm ({'once' if count == 1 else f'{count} times'})" for gap, count in sorted(kinds)[:8])
    return (
        f"the slices are unevenly spaced: gaps of {listed}{' and others' if len(kinds) > 8 else ''}, "
        f"the {rarest:g} mm one after slice {gaps.index(rarest) + 1} of {len(positions)}"
    )


def _geometry(plane: SlicePlane, positions: FloatArray) -> Geometry:
    affine = np.eye(4)
    affine[:3, 0] = plane.row * plane.pixel_mm[1]
    affine[:3, 1] = plane.column * plane.pixel_mm[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    # As precise as a NIfTI header, so that a file written on this grid reads back with the very same affine
    ras = (LPS_TO_RAS @ affine).astype(np.float32).astype(np.float64)
    return Geometry((plane.shape[1], plane.shape[0], len(positions)), ras + 0.0)  # + 0.0: no negative zeros
