"""Where the frames of a DICOM segmentation lie: on a grid of their own, or on the slices of the CT that they belong to.

Positions are turned from DICOM's LPS to RAS here (PS3.3 C.7.6.16.2.3 Plane Position, C.7.6.16.2.4 Plane Orientation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.errors import DicomError, GeometryError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.lattice import OFF_LATTICE_EDGE, OFF_LATTICE_MM, Embedding, embed
from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_headers import sound_numbers
from medseg.shapes import FloatArray

SAME_PLACE_MM = 1e-3
EXACT_MM = 0.02  # where the distance is inferred from one gap, chance must not make multiples
MOST_MM = 1e6
MAX_VOXELS = 2**31  # of one mask; more than 4,000 slices of 700 x 700
UNIT_TOLERANCE = 0.01  # of the length of a direction cosine
PERPENDICULAR_TOLERANCE = 1e-3
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class FramePlane:
    """Where one frame lies, in RAS.

    Args:
        origin_mm: (3,) centre of the first pixel.
        axes_mm: (3, 2) the step from column to column and the step from row to row.
        spacing_mm: the declared distance between slices, or None.
    """

    origin_mm: FloatArray
    axes_mm: FloatArray
    spacing_mm: float | None

    @property
    def normal(self) -> FloatArray:
        """(3,) unit vector."""
        normal = np.cross(self.axes_mm[:, 0], self.axes_mm[:, 1])
        return normal / np.linalg.norm(normal)


def read_planes(dataset: Any, frames: int) -> list[FramePlane]:
    """One plane per frame, from the shared or the per-frame functional groups.

    Raises:
        BROKEN: a position, orientation or spacing is missing or is none.
    """
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    if len(per_frame) != frames:
        raise DamageError("it has not one functional group per frame")
    return [_plane(own, shared) for own in per_frame]


def functional_group(own: Any, shared: Any, name: str) -> Any:
    """The item of a functional group: the frame's own, else the shared one; None where there is neither."""
    for groups in (own, shared):
        if sequence := groups.get(name):
            return sequence[0]
    return None


def _plane(own: Any, shared: Any) -> FramePlane:
    position = functional_group(own, shared, "PlanePositionSequence")
    orientation = functional_group(own, shared, "PlaneOrientationSequence")
    measures = functional_group(own, shared, "PixelMeasuresSequence")
    if position is None or orientation is None or measures is None:
        raise DamageError("a frame has no plane position, orientation or pixel measures")
    origin = _numbers(position, "ImagePositionPatient", 3)
    cosines = _numbers(orientation, "ImageOrientationPatient", 6).reshape(2, 3)
    row_mm, column_mm = _numbers(measures, "PixelSpacing", 2)  # between rows, then between columns
    lengths = np.linalg.norm(cosines, axis=1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE or min(row_mm, column_mm) <= 1e-6:
        raise DamageError("directions are no unit vectors, or a spacing is not positive")
    cosines = cosines / lengths[:, None]
    if abs(float(cosines[0] @ cosines[1])) > PERPENDICULAR_TOLERANCE:
        raise DamageError("rows and columns are not perpendicular")
    axes = (cosines * np.array([[column_mm], [row_mm]]) * LPS_TO_RAS).T
    declared = measures.get("SpacingBetweenSlices")
    between = abs(float(declared)) if declared not in (None, "") else 0.0
    return FramePlane(origin * LPS_TO_RAS, axes, between if np.isfinite(between) and between > 0 else None)


def _numbers(item: Any, name: str, count: int) -> FloatArray:
    return np.array(sound_numbers(name, item[name].value, count, MOST_MM))


def own_grid(planes: Sequence[FramePlane], shape: tuple[int, int], where: str) -> Geometry:
    """The smallest even grid, X along rows, Y along columns, on which every frame lies; absent slices included.

    The distance between slices is the declared one when all positions are multiples of it; else that of the frames
    when they follow one another evenly; else the smallest gap when all positions are multiples of it. One plane needs
    the declared one: a thickness says nothing about distance.

    Args:
        shape: columns and rows of a frame.

    Raises:
        DicomError: no frames, frames in several directions or of several pixel sizes, or positions that are no
            multiples of one distance.
    """
    if not planes:
        raise DicomError("a segmentation without frames has no grid of its own", where=where,
                         do="Read it together with its CT series.")  # fmt: skip
    first = planes[0]
    reach = np.array([max(1, n - 1) for n in shape], dtype=float)
    if any(np.abs((plane.axes_mm - first.axes_mm) * reach).max() > OFF_LATTICE_MM for plane in planes):
        raise DicomError("the frames lie in several directions or have several pixel sizes", where=where,
                         do="Read it together with its CT series.")  # fmt: skip
    heights = np.array([plane.origin_mm @ first.normal for plane in planes])
    order = np.argsort(heights, kind="stable")
    keep = order[np.concatenate([[True], np.diff(heights[order]) > SAME_PLACE_MM])]
    origins = np.array([planes[index].origin_mm for index in keep])
    step, count = _even_step(origins, first, where)
    if count * shape[0] * shape[1] > MAX_VOXELS:
        raise DicomError("the frames lie too far apart for one grid", where=where,
                         expected=f"at most {MAX_VOXELS} voxels", got=f"{count} slices of {shape[0]} x {shape[1]}",
                         do="Read it together with its CT series.")  # fmt: skip
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = first.axes_mm, step, origins[0]
    return Geometry((shape[0], shape[1], count), affine)


def _even_step(origins: FloatArray, plane: FramePlane, where: str) -> tuple[FloatArray, int]:
    """The vector from slice to slice, and how many slices there are."""
    if len(origins) == 1:
        if plane.spacing_mm is None:
            raise DicomError("one slice without SpacingBetweenSlices has no depth", where=where,
                             do="Read it together with its CT series.")  # fmt: skip
        return plane.normal * plane.spacing_mm, 1
    way = origins[-1] - origins[0]
    lengths = np.linalg.norm(origins - origins[0], axis=1)
    gaps = np.diff(lengths)
    dense = float(lengths[-1]) / (len(origins) - 1)
    for step, limit in ((plane.spacing_mm, OFF_LATTICE_MM), (dense, OFF_LATTICE_MM), (float(gaps.min()), EXACT_MM)):
        if not step or not 2 <= (count := round(float(lengths[-1]) / step) + 1) <= MAX_VOXELS:
            continue
        places = np.rint(lengths / step)
        off = np.linalg.norm(origins - origins[0] - places[:, None] * way / (count - 1), axis=1).max()
        if off <= min(limit, OFF_LATTICE_EDGE * step) and len(set(places)) == len(places):
            return way / (count - 1), count
    listed = ", ".join(f"{gap:.4g}" for gap in sorted({float(f"{gap:.4g}") for gap in gaps})[:8])
    raise DicomError("the frames lie at uneven distances", where=where, got=f"gaps of {listed} mm",
                     do="Read it together with its CT series.")  # fmt: skip


def fit_to_grid(planes: Sequence[FramePlane], shape: tuple[int, int], grid: Geometry) -> list[Embedding]:
    """The place of each frame on a volume's grid.

    Raises:
        GeometryError: an interpolation would be needed.
    """
    known: dict[bytes, Embedding] = {}
    found = []
    for plane in planes:
        key = plane.origin_mm.tobytes() + plane.axes_mm.tobytes()
        if key not in known:
            known[key] = embed(plane.origin_mm, plane.axes_mm, shape, grid)
        found.append(known[key])
    return found


def fit_to_slices(planes: Sequence[FramePlane], shape: tuple[int, int], acquisition: Acquisition) -> list[Embedding]:
    """The place of each frame on the acquired slices, whose index stands for Z.

    Raises:
        GeometryError: a frame lies on no acquired slice, or its pixels are not theirs.
    """
    affines = acquisition.affines
    known: dict[bytes, Embedding] = {}
    found = []
    for plane in planes:
        key = plane.origin_mm.tobytes() + plane.axes_mm.tobytes()
        if key not in known:
            away = np.abs(np.einsum("ni,ni->n", plane.origin_mm - affines[:, :3, 3], affines[:, :3, 2]))
            nearest = int(np.argmin(away))
            on = embed(plane.origin_mm, plane.axes_mm, shape,
                       Geometry((*acquisition.shape, 1), affines[nearest]), height=0)  # fmt: skip
            stack = Geometry((*acquisition.shape, len(affines)), affines[nearest])  # only its shape counts here
            known[key] = Embedding(on.start + np.array([0, 0, nearest]), on.steps, on.shape, stack)
        found.append(known[key])
    return found


def fit(
    planes: Sequence[FramePlane], shape: tuple[int, int], acquisition: Acquisition, where: str
) -> tuple[list[Embedding], bool]:
    """The place of each frame on the volume's grid, or where the volume was resampled, on the acquired slices.

    Returns:
        The places, and whether they are on the acquired slices (True) or on the volume's grid (False).

    Raises:
        GeometryError: neither fits without an interpolation.
    """
    try:
        if acquisition.plain:
            return fit_to_grid(planes, shape, acquisition.geometry), False
        return fit_to_slices(planes, shape, acquisition), True
    except GeometryError as error:
        fault = error
    try:  # a segmentation that was made on the resampled volume
        return fit_to_grid(planes, shape, acquisition.geometry), False
    except GeometryError:
        raise GeometryError(f"the segmentation does not lie on the voxels of the CT: {fault.what}", where=where,
                            expected=fault.expected or "the CT's voxels, up to axis order, flips and cropping",
                            got=fault.got, do="Export it on the grid of the CT, or name the series that it was "
                            "drawn on (--series).") from None  # fmt: skip
