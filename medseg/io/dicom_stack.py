"""How the slices of a series lie in the patient, and the even, upright grid that is made of them.

Positions and directions are DICOM's (LPS, mm; PS3.3 C.7.6.2) until `Stack.geometry`, which is RAS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from medseg.errors import DicomError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.io.dicom_run import EVEN_TOLERANCE_MM, MAX_PLANES_A_SLICE, SliceRun, told_gaps
from medseg.shapes import FloatArray

MIN_SLICES = 3  # two slices have one gap, and one gap cannot be seen to be even
SAME_POSITION_MM = 1e-3
MAX_TILT_DEG = 45.0  # gantries tilt to 30; what is sheared by more was never one scan
PERPENDICULAR_TOLERANCE = 1e-3
MAX_POSITION_MM = 1e5
MAX_EXTENT_MM = 5000.0
MAX_KINDS = 100  # of directions or pixel spacings that are told apart
MAX_TOLD = 8  # of them in a message
MAX_PIXELS = 8192  # along a side of an upright grid
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
        geometry: the volume's grid in RAS, X along pixel rows, Y along pixel columns, Z along the normal, or where a
            tilt is kept along the way from slice to slice.
        acquisition: the slices of the groups, and their relation to the grid.
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
    """The order and the grid of parallel slices; the spacing comes from the positions alone.

    Args:
        tilt: what becomes of a gantry tilt: `resample` gives an upright grid that covers all acquired voxels, `keep`
            the sheared grid of the slices as they are, `refuse` an error.
        gaps: `resample` gives uneven or missing slices an even grid, `refuse` an error. Where slices are only
            missing, the planes of the grid are the slices that are there and the invented ones between them; slices
            at uneven heights get planes as close as the closest two, but hardly more than two a slice.

    Raises:
        DicomError: mixed orientations or matrices, one place only, too few slices, slices shifted sideways, and as
            the options say a tilted gantry and uneven gaps (named together when both are there).
    """
    _check_options(tilt, gaps)
    _check_alike(planes, where)
    groups = _places(planes, planes[0].normal)
    if len(groups) == 1 and len(planes) > 1:
        raise DicomError(f"not a volume: all {len(planes)} images show one place", where=where,
                         do="This looks like a time series or a scout; choose another series.")  # fmt: skip
    if len(groups) < MIN_SLICES:
        raise DicomError("too few slices for a volume", where=where, expected=f"at least {MIN_SLICES}",
                         got=str(len(groups)), do="Check that the whole series was exported.")  # fmt: skip
    _check_groups(planes, groups, where)
    run = SliceRun(np.array([planes[group[0]].position for group in groups]), planes[0].row, planes[0].column)
    _check_run(run, where)
    _check_wishes(run, tilt, gaps, where)
    acquisition = _acquisition(planes[0], run, _geometry(planes[0], run, tilt, where))
    return Stack(groups, acquisition.geometry, acquisition)


def _check_options(tilt: str, gaps: str) -> None:
    for name, value, allowed in (("tilt", tilt, get_args(Tilt)), ("gaps", gaps, get_args(Gaps))):
        if value not in allowed:
            raise UsageError(f"no such way with {name}", expected=" or ".join(allowed), got=str(value))


def _check_groups(planes: Sequence[SlicePlane], groups: Sequence[Sequence[int]], where: str) -> None:
    far = [float(np.linalg.norm(planes[other].position - planes[first].position))
           for first, *others in groups for other in others]  # fmt: skip
    if far and max(far) > EVEN_TOLERANCE_MM:
        raise DicomError("slices at one height are shifted sideways against each other", where=where,
                         expected=f"at most {EVEN_TOLERANCE_MM:g} mm", got=f"{max(far):.3g} mm",
                         do="Separate the reconstructions into folders.")  # fmt: skip


def _check_run(run: SliceRun, where: str) -> None:
    if (extent := float(np.ptp(run.heights))) > MAX_EXTENT_MM:
        raise DicomError("the slices lie too far apart for one patient", where=where,
                         expected=f"at most {MAX_EXTENT_MM:g} mm from first to last", got=f"{extent:.4g} mm",
                         do="Export the original series again.")  # fmt: skip
    if run.sideways_mm.max() > EVEN_TOLERANCE_MM:
        worst = int(np.argmax(run.sideways_mm))
        count = int((run.sideways_mm > EVEN_TOLERANCE_MM).sum())
        raise DicomError(f"{count} of {len(run.heights)} slices are shifted sideways out of the line of the others",
                         where=where, expected=f"at most {EVEN_TOLERANCE_MM:g} mm",
                         got=f"{run.sideways_mm[worst]:.3g} mm at slice {worst + 1}",
                         do="No option accepts this; give each position of the table its own series.")  # fmt: skip
    if abs(run.tilt_deg) > MAX_TILT_DEG:
        raise DicomError(f"the slices are sheared by {run.tilt_deg:.1f} degrees, which no gantry tilts", where=where,
                         expected=f"at most {MAX_TILT_DEG:g} degrees",
                         do="Positions or orientation are wrong; export the original series again.")  # fmt: skip


def _check_wishes(run: SliceRun, tilt: Tilt, gaps: Gaps, where: str) -> None:
    """Raises what the options refuse, and tells of the other fault as well where both are there."""
    tilted = f"the gantry is tilted by {run.tilt_deg:.1f} degrees" if run.tilt_deg else ""
    refusals = []
    if tilted and tilt == "refuse":
        refusals.append("`--tilt resample` puts it on an upright grid, `--tilt keep` keeps the sheared one")
    if not run.even and gaps == "refuse":
        refusals.append("`--gaps resample` interpolates onto an even grid and marks the invented slices")
    if refusals:
        raise DicomError("; ".join(fault for fault in (tilted, "" if run.even else told_gaps(run.positions)) if fault),
                         where=where, expected="even, upright slices" if tilt == "refuse" else "even slices",
                         do="; ".join(refusals) + ".")  # fmt: skip
    if run.planes > (most := MAX_PLANES_A_SLICE * len(run.heights)):
        raise DicomError(f"the gaps are too large to interpolate: {told_gaps(run.positions)}", where=where,
                         expected=f"an even grid of at most {most} planes", got=str(run.planes),
                         do="Export the missing slices, or split the series.")  # fmt: skip


def _geometry(plane: SlicePlane, run: SliceRun, tilt: Tilt, where: str) -> Geometry:
    pixel = np.array([plane.pixel_mm[1], plane.pixel_mm[0]])  # along rows (X), along columns (Y)
    axes = np.stack([plane.row, plane.column], axis=1) * pixel
    start, stop = np.zeros(2), np.zeros(2)
    step = (run.positions[-1] - run.positions[0]) / (run.planes - 1)
    straight = np.linalg.norm(run.drift_mm) <= EVEN_TOLERANCE_MM
    if straight or (run.tilt_deg and tilt == "resample"):
        pixels = np.where(np.abs(run.drift_mm) <= EVEN_TOLERANCE_MM, 0.0, run.drift_mm / pixel)
        start, stop = np.floor(np.minimum(pixels, 0) + 1e-3), np.ceil(np.maximum(pixels, 0) - 1e-3)
        step = run.normal * run.step_mm
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = axes, step, run.positions[0] + axes @ start
    x, y = np.array([plane.shape[1], plane.shape[0]]) + stop - start
    if max(x, y) > MAX_PIXELS:
        larger = max(x, y) > max(plane.shape)
        what = f"the upright grid of a tilt by {run.tilt_deg:.1f} degrees is" if larger else "the slices are"
        raise DicomError(f"{what} too large", where=where, expected=f"at most {MAX_PIXELS} pixels along a side",
                         got=f"{x:.0f} x {y:.0f}", do="`--tilt keep` keeps the sheared one." if larger
                         else "Export the original series again.")  # fmt: skip
    return Geometry((int(x), int(y), run.planes), _ras(affine))


def _acquisition(plane: SlicePlane, run: SliceRun, geometry: Geometry) -> Acquisition:
    affines = np.repeat(geometry.affine[None], len(run.positions), axis=0)
    affines[:, :3, 2] = _ras_vectors(run.normal)
    affines[:, :3, 3] = _ras_vectors(run.positions)
    acquisition = Acquisition((plane.shape[1], plane.shape[0]), affines, geometry, run.tilt_deg)
    invented = sorted(set(range(geometry.shape[2])) - set(acquisition.plane_of_slice.tolist()))
    return replace(acquisition, invented=tuple(invented))


def _ras(affine: FloatArray) -> FloatArray:
    """As precise as a NIfTI header, so that a file written on this grid reads back with the very same affine."""
    return (LPS_TO_RAS @ affine).astype(np.float32).astype(np.float64) + 0.0  # + 0.0: no negative zeros


def _ras_vectors(vectors: FloatArray) -> FloatArray:
    return vectors @ LPS_TO_RAS[:3, :3] + 0.0


def _check_alike(planes: Sequence[SlicePlane], where: str) -> None:
    first = planes[0]
    normals = _clusters([np.concatenate([plane.row, plane.column]) for plane in planes], 1e-3)
    if normals > 1:
        raise DicomError(f"mixed orientations: the slices lie in {_up_to(normals)} different directions", where=where,
                         do="Give each orientation its own folder.")  # fmt: skip
    if len(shapes := Counter(plane.shape for plane in planes)) > 1:
        raise DicomError("slices of different size", where=where, got=_counted(shapes, "pixels"))
    if _clusters([np.array(plane.pixel_mm) for plane in planes], 1e-5) > 1:
        spacings = Counter(tuple(round(mm, 5) for mm in plane.pixel_mm) for plane in planes)
        raise DicomError("slices of different pixel spacing", where=where, got=_counted(spacings, "mm"))
    if max(float(np.abs(plane.position).max()) for plane in planes) > MAX_POSITION_MM:
        raise DicomError("slices lie where no patient can", where=where,
                         expected=f"positions within {MAX_POSITION_MM:g} mm",
                         do="Export the original series again.")  # fmt: skip
    if abs(cosine := float(first.row @ first.column)) > PERPENDICULAR_TOLERANCE:
        raise DicomError("the image axes are not perpendicular", where=where, expected="90 degrees",
                         got=f"{np.degrees(np.arccos(cosine)):.3g} degrees")  # fmt: skip


def _clusters(vectors: Sequence[FloatArray], tolerance: float) -> int:
    """How many of the vectors differ from one another; counted up to MAX_KINDS."""
    kinds: list[Any] = []
    for vector in vectors:
        if not any(np.abs(vector - kind).max() <= tolerance for kind in kinds):
            kinds.append(vector)
        if len(kinds) == MAX_KINDS:
            break
    return len(kinds)


def _up_to(count: int) -> str:
    return f"{MAX_KINDS} or more" if count == MAX_KINDS else str(count)


def _counted(kinds: Counter[Any], unit: str) -> str:
    told = [f"{count} of {' x '.join(f'{n:g}' for n in kind)} {unit}" for kind, count in kinds.most_common(MAX_TOLD)]
    return ", ".join(told) + (f" and {len(kinds) - MAX_TOLD} other kinds" if len(kinds) > MAX_TOLD else "")


def _places(planes: Sequence[SlicePlane], normal: FloatArray) -> tuple[tuple[int, ...], ...]:
    heights = np.array([plane.position @ normal for plane in planes])
    order = np.argsort(heights, kind="stable")
    breaks = np.flatnonzero(np.diff(heights[order]) > SAME_POSITION_MM) + 1
    return tuple(tuple(int(index) for index in group) for group in np.split(order, breaks))
