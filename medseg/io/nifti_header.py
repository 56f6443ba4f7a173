"""Where the voxels of a NIfTI file lie, as its header says; the rules stand in the docstring of `nifti`."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.errors import FileReadError, GeometryError
from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray

UNITS = {0: "unknown", 1: "metre", 2: "mm", 3: "micrometre"}  # xyzt_units & 7; unknown is read as mm, as all tools do
FORM_TOLERANCE_VOXELS = 0.5  # float32 quaternions alone move a corner by up to 0.2 mm when the rotation is near 180 deg


def read_grid(header: Any, where: str) -> Geometry:
    """The grid that a nibabel header describes; a fourth axis of one frame is left out.

    Raises:
        FileReadError: several frames.
        GeometryError: no volume, another unit than mm, no valid position, or two that contradict each other.
    """
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) > 3 and (frames := int(np.prod(shape[3:]))) != 1:
        raise FileReadError(f"{len(shape)}-D with {frames} frames", where=where, expected="one volume of three axes",
                            got=str(shape), do="Save the frame you want as a file of its own.")  # fmt: skip
    if len(shape) < 3 or min(shape) < 1:
        raise GeometryError("not a volume", where=where, expected="three axes of at least one voxel", got=str(shape))
    if (unit := UNITS.get(int(header["xyzt_units"]) & 7, "invalid")) not in ("mm", "unknown"):
        raise GeometryError("the header's unit of length is not mm", where=where, got=unit,
                            do="Scale the affine to mm and set xyzt_units to 2.")  # fmt: skip
    try:
        return Geometry((shape[0], shape[1], shape[2]), _affine(header, shape[:3], where))
    except GeometryError as error:
        raise error if error.where else GeometryError(error.what, where=where, got=error.got, do=error.do) from None


def _affine(header: Any, shape: tuple[int, ...], where: str) -> FloatArray:
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except ValueError as error:  # the quaternion is longer than 1
        raise GeometryError("the qform is invalid", where=where, do="Mend the header of the file.") from error
    if sform is None and qform is None:
        raise GeometryError("the header does not say where the voxels lie (sform_code and qform_code are 0)",
                            where=where, do="Export it again, or set the sform with its code.")  # fmt: skip
    if sform is None:
        return np.asarray(qform)
    if qform is None:
        return sform
    a, b = Geometry((shape[0], shape[1], shape[2]), sform), Geometry((shape[0], shape[1], shape[2]), qform)
    distance, angle = contradiction(a, b)
    if distance > FORM_TOLERANCE_VOXELS * min(a.spacing_mm):
        raise GeometryError(
            "sform and qform contradict each other",
            where=where,
            got=f"axes {angle:.3g} degrees and corners up to {distance:.3g} mm apart",
            do="Find out which is right and set the other's code to 0.",
        )
    return sform


def contradiction(a: Geometry, b: Geometry) -> tuple[float, float]:
    """Largest distance in mm between equal corners, and largest angle in degrees between equal axes."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape])).reshape(3, -1).T
    distance = float(np.linalg.norm(a.world(corners) - b.world(corners), axis=1).max())
    cosine = np.clip((a.direction * b.direction).sum(axis=0), -1, 1).min()
    return distance, float(np.degrees(np.arccos(cosine)))
