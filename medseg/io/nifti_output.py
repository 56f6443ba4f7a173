"""An array as a NIfTI file: the header by nibabel, the voxels plane by plane, packed by igzip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from medseg.errors import GeometryError, UsageError
from medseg.files import atomic_path
from medseg.imaging.geometry import Geometry
from medseg.io.nifti_header import FORM_TOLERANCE_VOXELS, contradiction, open_file, read_grid

SUFFIXES = (".nii.gz", ".nii")
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
POSITION_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
IGZIP_LEVEL = 2  # as small as zlib's level 4 to 2 percent, six times as fast
GZIP_WBITS = 31
NO_EXTENSION = b"\0\0\0\0"
LONGEST_AXIS = 32767  # NIfTI-1 counts voxels along an axis in int16


def is_nifti(path: str | Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return Path(path).name.lower().endswith(SUFFIXES)


def write_array(
    path: Path, array: npt.NDArray[Any], geometry: Geometry, like: str | Path | None, *, slope: float = 1
) -> None:
    """Writes (X, Y, Z) or (X, Y, Z, C); the arguments and errors are those of `nifti.write_labels`.

    Readers multiply the numbers by `slope`.

    Equal content gives equal bytes: the gzip header holds no name and no time.
    """
    if not is_nifti(path):
        raise UsageError("not a NIfTI name", where=path.name, expected="a name that ends in .nii.gz or .nii")
    if array.shape[:3] != geometry.shape:
        raise GeometryError("array and grid differ", where=path.name, expected=str(geometry.shape),
                            got=str(array.shape))  # fmt: skip
    header = _header(array, geometry) if like is None else _header_like(array, geometry, Path(like))
    header.set_data_offset(len(header.binaryblock) + len(NO_EXTENSION))
    header.set_slope_inter(slope, 0)
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        if path.name.lower().endswith(".gz"):
            _write_packed(raw, header, array)
        else:
            for piece in _pieces(header, array):
                raw.write(piece)


def _write_packed(raw: BinaryIO, header: Any, array: npt.NDArray[Any]) -> None:
    packer = isal_zlib.compressobj(IGZIP_LEVEL, isal_zlib.DEFLATED, GZIP_WBITS)
    for piece in _pieces(header, array):
        raw.write(packer.compress(piece))
    raw.write(packer.flush())


def _pieces(header: Any, array: npt.NDArray[Any]) -> Iterator[bytes]:
    """The file's bytes: header, an empty extension, and the planes of the array, first axis fastest."""
    yield header.binaryblock + NO_EXTENSION
    for index in np.ndindex(array.shape[:1:-1]):  # the last axes, slowest first
        yield array[(..., *index[::-1])].tobytes(order="F")


def _header(array: npt.NDArray[Any], geometry: Geometry) -> Any:
    kind = nib.Nifti1Header if max(array.shape) <= LONGEST_AXIS else nib.Nifti2Header
    header = _empty_header(kind, array)
    header.set_zooms((*geometry.spacing_mm, *[1.0] * (array.ndim - 3)))
    header.set_xyzt_units("mm")
    header.set_qform(geometry.affine, code=SCANNER)
    header.set_sform(geometry.affine, code=SCANNER)
    qform = Geometry(geometry.shape, np.asarray(header.get_qform()))
    if contradiction(geometry, qform)[0] > FORM_TOLERANCE_VOXELS * min(geometry.spacing_mm):
        header["qform_code"] = 0  # a sheared grid (gantry tilt): no quaternion can say it
    return header


def _header_like(array: npt.NDArray[Any], geometry: Geometry, like: Path) -> Any:
    with open_file(like, like.name) as (_, source):
        if faults := geometry.differences(read_grid(source, like.name, tilt="keep")):
            raise GeometryError("the array lies on another grid than the file it is to be like", where=like.name,
                                got="; ".join(faults))  # fmt: skip
        header = _empty_header(type(source), array)
        for field in POSITION_FIELDS:
            header[field] = source[field]
        header["pixdim"][:4] = source["pixdim"][:4]
    return header


def _empty_header(kind: Any, array: npt.NDArray[Any]) -> Any:
    header = kind(endianness="<")
    header.set_data_dtype(array.dtype.newbyteorder("="))
    header.set_data_shape(array.shape)
    return header
