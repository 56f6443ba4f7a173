"""NIfTI files in and out; every check of a file from outside stands here.

Which affine counts: the sform when its code is above 0, else the qform when its code is above 0, else the file is
refused, because it does not say where its voxels lie. When both are valid and put a corner of the grid further apart
than half the smallest voxel edge, the file is refused too: one of them is wrong and the file does not say which.

Files that are written hold both forms with code 1 (scanner), no description and no extension: nothing of a patient.
Headers keep float32: an affine that was read from an sform is written back bit by bit; pass `like=` to carry any
other header's position fields over unchanged.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from medseg.errors import FileReadError, GeometryError, LabelError, UsageError, VoxelError
from medseg.files import atomic_path
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import count_values as count_values
from medseg.imaging.labels import whole_numbers
from medseg.imaging.volume import Volume
from medseg.io.nifti_header import FORM_TOLERANCE_VOXELS, contradiction, read_grid
from medseg.shapes import FloatArray, IntArray

SUFFIXES = (".nii.gz", ".nii")
SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
POSITION_FIELDS = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
BROKEN = (OSError, EOFError, zlib.error, ValueError, OverflowError, HeaderDataError, WrapStructError)


def read_volume(path: str | Path, *, where: str = "") -> Volume:
    """The image in HU (float32, scl_slope and scl_inter applied) on its own grid, axes as stored.

    Raises:
        FileReadError: missing, truncated, no NIfTI, or several frames.
        GeometryError: no volume, no valid position, or sform and qform contradict each other.
        VoxelError: NaN or infinite voxels.
    """
    where = where or Path(path).name
    voxels, geometry = _read(Path(path), where)
    try:
        return Volume(voxels.astype(np.float32, copy=False), geometry)
    except VoxelError as error:
        raise VoxelError(error.what, where=where, do=error.do) from None


def read_label_values(path: str | Path, *, where: str = "") -> tuple[IntArray, Geometry]:
    """The integers (X, Y, Z) of a label file in the smallest fitting type, and their grid.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
        LabelError: a value is no integer.
    """
    where = where or Path(path).name
    values, geometry = _read(Path(path), where)
    return whole_numbers(values, where=where), geometry


def read_geometry(path: str | Path, *, where: str = "") -> Geometry:
    """The grid alone; only the header is read, so a file that is truncated further on passes.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
    """
    where = where or Path(path).name
    return read_grid(_open(Path(path), where, whole=False)[1], where)


def write_volume(path: str | Path, volume: Volume, *, like: str | Path | None = None) -> None:
    """Writes HU, as int16 when every value is a whole number that fits, else as float32: either way without loss.

    Args:
        like: a NIfTI file on the same grid whose position fields are copied bit by bit.

    Raises:
        UsageError: the name does not end in .nii or .nii.gz.
        GeometryError: `like` lies on another grid.
        WriteError: the disk refused; an old file stays.
    """
    hu = np.asarray(volume.hu, dtype=np.float32)
    whole = hu.size > 0 and hu.min() >= -32768 and hu.max() <= 32767 and bool((hu == np.rint(hu)).all())
    _write(Path(path), hu.astype(np.int16) if whole else hu, volume.geometry, like)


def write_labels(path: str | Path, labels: IntArray, geometry: Geometry, *, like: str | Path | None = None) -> None:
    """Writes label values (X, Y, Z) in the smallest integer type that holds them all.

    Raises:
        LabelError: the array holds no integers.
        UsageError, GeometryError, WriteError: as for `write_volume`, or array and grid differ in shape.
    """
    labels = np.asarray(labels)
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer):
        raise LabelError("labels must be integers", where=Path(path).name, got=str(labels.dtype))
    _write(Path(path), whole_numbers(labels), geometry, like)


def write_probabilities(
    path: str | Path, probabilities: FloatArray, geometry: Geometry, *, like: str | Path | None = None
) -> None:
    """Writes probabilities (X, Y, Z, C), C in label order, as float32.

    Raises:
        UsageError, GeometryError, WriteError: as for `write_labels`.
    """
    _write(Path(path), np.asarray(probabilities, dtype=np.float32), geometry, like)


def stem(path: str | Path) -> str:
    """The file name without `.nii` or `.nii.gz`: the case id of a bare file.

    >>> stem("scans/c001.nii.gz")
    'c001'
    """
    name = Path(path).name
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), Path(name).stem)


def is_nifti(path: str | Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return Path(path).name.lower().endswith(SUFFIXES)


def _read(path: Path, where: str) -> tuple[Any, Geometry]:
    """The voxels as stored (scaled, any numeric type) and their grid."""
    content, header, kind = _open(path, where, whole=True)
    geometry = read_grid(header, where)
    kind_of_voxel = header.get_data_dtype()
    if kind_of_voxel.kind not in "iuf":
        raise FileReadError("the voxels are no plain numbers", where=where, expected="integers or floats",
                            got=str(header.get_value_label("datatype")))  # fmt: skip
    needed = int(header.get_data_offset()) + kind_of_voxel.itemsize * int(np.prod(geometry.shape))
    if len(content) < needed:
        raise FileReadError("the file is truncated", where=where, expected=f"{needed} bytes of header and voxels",
                            got=str(len(content)), do="Copy or export it again.")  # fmt: skip
    try:
        return np.asanyarray(kind.from_bytes(content).dataobj).reshape(geometry.shape), geometry
    except BROKEN as error:
        raise _broken(where, error) from error


def _open(path: Path, where: str, *, whole: bool) -> tuple[bytes, Any, Any]:
    """Unpacked bytes (all, or the header's), the header and the nibabel class; gzip is told by its magic number.

    The whole stream is read, so that gzip compares its checksum and a damaged file cannot pass.
    """
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            content = stream.read() if whole else stream.read(nib.Nifti2Header.sizeof_hdr)
        for kind in (nib.Nifti1Image, nib.Nifti2Image):
            block = content[: kind.header_class.sizeof_hdr]
            if len(block) == kind.header_class.sizeof_hdr and kind.header_class.may_contain_header(block):
                return content, kind.header_class(block), kind
    except FileNotFoundError:
        raise FileReadError("no such file", where=where, do="Check the path.") from None
    except BROKEN as error:
        raise _broken(where, error) from error
    raise FileReadError("not a NIfTI file (.nii or .nii.gz)", where=where, do="Convert it, or check the path.")


def _broken(where: str, error: Exception) -> FileReadError:
    fault = "the file is truncated" if isinstance(error, EOFError) else f"cannot be read ({type(error).__name__})"
    return FileReadError(fault, where=where, do="Copy or export it again.")


def _write(path: Path, array: Any, geometry: Geometry, like: str | Path | None) -> None:
    if not is_nifti(path):
        raise UsageError("not a NIfTI name", where=path.name, expected="a name that ends in .nii.gz or .nii")
    if array.shape[:3] != geometry.shape:
        raise GeometryError("array and grid differ", where=path.name, expected=str(geometry.shape),
                            got=str(array.shape))  # fmt: skip
    image = _image(array, geometry) if like is None else _image_like(array, geometry, Path(like))
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        if path.name.lower().endswith(".gz"):
            # no name and no time in the gzip header: equal content gives equal bytes
            with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(raw)


def _image(array: Any, geometry: Geometry) -> Any:
    image = nib.Nifti1Image(array, geometry.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(geometry.affine, code=SCANNER)
    image.set_sform(geometry.affine, code=SCANNER)
    qform = Geometry(geometry.shape, np.asarray(image.header.get_qform()))
    if contradiction(geometry, qform)[0] > FORM_TOLERANCE_VOXELS * min(geometry.spacing_mm):
        image.header["qform_code"] = 0  # a sheared grid (gantry tilt): no quaternion can say it
    return image


def _image_like(array: Any, geometry: Geometry, like: Path) -> Any:
    _, header, kind = _open(like, like.name, whole=False)
    if faults := geometry.differences(read_grid(header, like.name)):
        raise GeometryError("the array lies on another grid than the file it is to be like", where=like.name,
                            got="; ".join(faults))  # fmt: skip
    image = kind(array, header.get_best_affine(), dtype=array.dtype)
    for field in POSITION_FIELDS:
        image.header[field] = header[field]
    image.header["pixdim"][:4] = header["pixdim"][:4]
    return image
