"""Where the voxels of a NIfTI file lie, as its header says; the rules stand in the docstring of `nifti`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from isal import igzip_lib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from medseg.errors import FileReadError, GeometryError
from medseg.imaging.cosines import Shear, skew_deg, squared
from medseg.imaging.geometry import Geometry
from medseg.io.nifti_bytes import Content, Stored, open_content
from medseg.shapes import FloatArray

Form = Literal["sform", "qform"]
UNITS = {0: ("unknown", 1.0), 1: ("metre", 1000.0), 2: ("mm", 1.0), 3: ("micrometre", 0.001)}  # xyzt_units & 7
FORM_TOLERANCE_VOXELS = 0.5  # float32 quaternions alone move a corner by up to 0.2 mm when the rotation is near 180 deg
NOTED_MM = 0.01
FARTHEST_MM = 1e7  # ten kilometres
UNPACKING: Any = igzip_lib.IsalError  # its stub calls the class an instance
BROKEN = (OSError, ValueError, OverflowError, UNPACKING)
QUIET = logging.Logger("medseg.io.nifti")  # nibabel's own prints what our error says
QUIET.addHandler(logging.NullHandler())
MOST_AXES = 7
ANALYZE_HEADER_BYTES = 348
SINGLE_FILE = "Save it as a single NIfTI file (.nii or .nii.gz)."


@contextmanager
def open_file(path: Path, where: str) -> Iterator[tuple[Content, Any]]:
    """The content of a NIfTI file and its nibabel header; whatever breaks in the block is an error of the file.

    Raises:
        FileReadError: no such file, no single-file NIfTI (`.nii`, `.nii.gz`), damaged, or too large for the memory.
    """
    try:
        with open_content(path) as content:
            yield content, _parse(content, where)
    except FileNotFoundError:
        raise FileReadError("no such file", where=where, do="Check the path.") from None
    except EOFError as error:
        raise FileReadError("the file is truncated", where=where, do="Copy or export it again.") from error
    except MemoryError as error:
        raise FileReadError("the voxels do not fit into memory", where=where) from error
    except (HeaderDataError, WrapStructError) as error:
        raise FileReadError("the header is damaged", where=where, got=" ".join(str(error).split())[:80],
                            do="Copy or export it again.") from error  # fmt: skip
    except BROKEN as error:
        raise FileReadError(f"cannot be read ({type(error).__name__})", where=where,
                            do="Copy or export it again.") from error  # fmt: skip


def _parse(content: Content, where: str) -> Any:
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        block = content.head(kind.sizeof_hdr)
        if len(block) == kind.sizeof_hdr and kind.may_contain_header(block):
            header = kind(block, check=False)
            header.check_fix(logger=QUIET)
            if header["magic"].item() == kind.pair_magic:
                raise FileReadError("half of a NIfTI pair (.hdr and .img)", where=where, do=SINGLE_FILE)
            return header
    start = content.head(4)
    if ANALYZE_HEADER_BYTES in (int.from_bytes(start, "little"), int.from_bytes(start, "big")):
        raise FileReadError("an Analyze 7.5 file, which does not say which side is left", where=where, do=SINGLE_FILE)
    raise FileReadError("not a NIfTI file (.nii or .nii.gz)", where=where, do="Convert it, or check the path.")


def read_stored(header: Any, count: int, where: str) -> Stored:
    """Where and how the voxels of a header stand in its file.

    A slope of 0 or NaN means that nothing is scaled, as the standard and common files say.

    Raises:
        FileReadError: no plain numbers, a slope that is infinite or without a valid intercept, or voxels inside the
            header.
    """
    kind = header.get_data_dtype()
    if kind.kind not in "iuf":
        raise FileReadError("the voxels are no plain numbers", where=where, expected="integers or floats",
                            got=str(header.get_value_label("datatype")))  # fmt: skip
    begin = float(header["vox_offset"])
    if not header.single_vox_offset <= begin < 2**63 or begin != int(begin):
        raise FileReadError("the header does not say where the voxels begin", where=where, got=f"vox_offset {begin:g}",
                            expected=f"{header.single_vox_offset} or more", do="Export it again.")  # fmt: skip
    if np.isinf(float(header["scl_slope"])):  # which nibabel would take for none
        raise FileReadError("scl_slope is infinite", where=where, do="Mend the header of the file.")
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise FileReadError("scl_slope is given and scl_inter is no number", where=where,
                            do="Mend the header of the file.") from error  # fmt: skip
    if slope is None or (slope, intercept) == (1, 0):
        return Stored(int(begin), kind, count)
    return Stored(int(begin), kind, count, (float(slope), float(intercept)))


def read_grid(header: Any, where: str, *, tilt: Shear = "refuse") -> Geometry:
    """The grid in mm that a nibabel header describes; further axes of one frame are left out.

    Raises:
        FileReadError: several frames.
        GeometryError: no volume, an unknown unit of length, no valid position, two that contradict each other, or
            axes that are not at right angles (see `cosines.squared`; `tilt="keep"` accepts a tilted gantry).
    """
    if not 1 <= int(header["dim"][0]) <= MOST_AXES:
        raise FileReadError("the number of axes is damaged", where=where, expected=f"1 to {MOST_AXES}",
                            got=str(int(header["dim"][0])), do="Copy or export it again.")  # fmt: skip
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 3 or min(shape) < 1:
        raise GeometryError("not a volume", where=where, expected="three axes of at least one voxel", got=str(shape))
    if len(shape) > 3 and (frames := math.prod(shape[3:])) != 1:
        raise FileReadError(f"{len(shape)}-D with {frames} frames", where=where, expected="one volume of three axes",
                            got=str(shape), do="Save the frame you want as a file of its own.")  # fmt: skip
    try:
        geometry = _stored_geometry(header, (shape[0], shape[1], shape[2]), where)[0]
    except GeometryError as error:
        raise error if error.where else GeometryError(error.what, where=where, got=error.got, do=error.do) from None
    return squared(geometry, shear=tilt, where=where)


def grid_notes(header: Any, where: str) -> Iterator[str]:
    """What was settled about an accepted grid and a reader may want to know; nothing for a usual file."""
    x, y, z = (int(n) for n in header.get_data_shape()[:3])
    geometry, form = _stored_geometry(header, (x, y, z), where)
    unit, scale = UNITS[_unit_code(header)]
    if scale != 1:
        yield f"lengths are in {unit}: spacing and position were multiplied by {scale:g}"
    if (skew := max(skew_deg(geometry))) > 0 and (moved := squared(geometry, shear="keep")) is not geometry:
        distance = contradiction(geometry, moved)[0]
        yield f"axes {skew:.2g} degrees off a right angle were turned; corners moved by up to {distance:.2g} mm"
    pixdim = np.array(header["pixdim"][1:4], dtype=np.float64) * scale
    if form == "sform" and not np.allclose(pixdim, geometry.spacing_mm, rtol=1e-3):
        given, counted = (" x ".join(f"{mm:.4g}" for mm in three) for three in (pixdim, geometry.spacing_mm))
        yield f"pixdim says {given} mm and the sform {counted} mm: the sform counts"
    forms = _forms(header, where)
    if len(forms) == 2:
        sform, qform = (Geometry(geometry.shape, affine) for affine in forms.values())
        if (distance := contradiction(sform, qform)[0]) > NOTED_MM:
            yield f"sform and qform put corners up to {distance:.2g} mm apart: the sform counts"


def contradiction(a: Geometry, b: Geometry) -> tuple[float, float]:
    """Largest distance in mm between equal corners, and largest angle in degrees between equal axes."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape])).reshape(3, -1).T
    distance = float(np.linalg.norm(a.world(corners) - b.world(corners), axis=1).max())
    cosine = np.clip((a.direction * b.direction).sum(axis=0), -1, 1).min()
    return distance, float(np.degrees(np.arccos(cosine)))


def _stored_geometry(header: Any, shape: tuple[int, int, int], where: str) -> tuple[Geometry, Form]:
    """The grid as the form that counts gives it, in mm, and that form's name."""
    forms = _forms(header, where)
    if not forms:
        raise GeometryError("the header does not say where the voxels lie (sform_code and qform_code are 0)",
                            where=where, do="Export it again, or set the sform with its code.")  # fmt: skip
    grids: dict[Form, Geometry] = {name: Geometry(shape, affine) for name, affine in forms.items()}
    if len(grids) == 2:
        _check_agreement(grids["sform"], grids["qform"], header, where)
    name = next(iter(grids))
    return grids[name], name


def _forms(header: Any, where: str) -> dict[Form, FloatArray]:
    """The affines in mm whose codes are above 0, the one that counts first."""
    factor = _factor(header, where)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused below
            affines = {"sform": header.get_sform(coded=True)[0], "qform": header.get_qform(coded=True)[0]}
    except ValueError as error:  # the quaternion is longer than 1
        raise GeometryError("the qform is invalid", where=where, do="Mend the header of the file.") from error
    scale = np.array([[factor], [factor], [factor], [1.0]])
    forms: dict[Form, FloatArray] = {
        name: scale * affine
        for name, affine in affines.items()
        if affine is not None  # type: ignore[misc]
    }
    for name, affine in forms.items():
        if not np.abs(affine).max() < FARTHEST_MM:  # NaN too
            raise GeometryError(f"the {name} holds numbers that are no place in a scanner", where=where,
                                expected=f"less than {FARTHEST_MM:g} mm", do="Mend the header.")  # fmt: skip
    return forms


def _factor(header: Any, where: str) -> float:
    """What turns the header's lengths into mm."""
    code = _unit_code(header)
    if code not in UNITS:
        raise GeometryError("the header's unit of length does not exist", where=where, got=f"xyzt_units {code}",
                            expected="metre 1, mm 2 or micrometre 3",
                            do="Set xyzt_units to the unit of the affine.")  # fmt: skip
    return UNITS[code][1]


def _unit_code(header: Any) -> int:
    return int(header["xyzt_units"]) & 7


def _check_agreement(sform: Geometry, qform: Geometry, header: Any, where: str) -> None:
    distance, angle = contradiction(sform, qform)
    if distance > FORM_TOLERANCE_VOXELS * min(sform.spacing_mm):
        s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
        raise GeometryError(
            f"sform (code {s_code}) and qform (code {q_code}) contradict each other",
            where=where,
            expected="one position to half a voxel",
            got=f"axes {angle:.3g} degrees and corners up to {distance:.3g} mm apart",
            do="Find out which is right and set the other's code to 0.",
        )
