"""NIfTI files in and out; every check of a file from outside stands here.

Which position counts:

1. The sform when its code is above 0, else the qform when its code is above 0, else the file is refused, because it
   does not say where its voxels lie (the codes' own meaning, scanner or template, is not judged).
2. When both are valid and put a corner of the grid further apart than half the smallest voxel edge, the file is
   refused with the angle and the distance: one of them is wrong and the file does not say which.
3. `pixdim` belongs to the qform; beside an sform it does not count.
4. Lengths in metres or micrometres become mm; no unit means mm.
5. Axes that are off a right angle by up to 0.1 degrees are projected to the nearest right angles (float32 rounding, up
   to 1e-4 degrees, is left as it is); a larger shear is refused with its degrees. A gantry tilt that `medseg convert
   --tilt keep` kept is such a shear: `tilt="keep"` (in dataset.yaml `image: {path: ..., tilt: keep}`) reads it back,
   where two of the axes, those of the slices, are at right angles and the shear is no more than 45 degrees.

`read_notes` tells what rules 2 to 5 settled. Voxels are `stored * scl_slope + scl_inter`, computed in float64; a slope
of 0 scales nothing. Several frames, several parts (`.hdr` and `.img`), colours and complex numbers are refused.

Files that are written hold both forms with code 1 (scanner), no description and no extension: nothing of a patient.
Headers keep float32: an affine that was read from an sform is written back bit by bit; pass `like=` to carry any
other header's position fields over unchanged.

Source: the NIfTI-1 and NIfTI-2 data formats, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError, VoxelError
from medseg.imaging.cosines import Shear
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import whole_numbers
from medseg.imaging.prediction import ScaledMap
from medseg.imaging.volume import Volume
from medseg.io.nifti_header import grid_notes, open_file, read_grid, read_stored
from medseg.io.nifti_output import SUFFIXES, is_nifti, write_array
from medseg.shapes import FloatArray, IntArray

__all__ = [
    "is_nifti",
    "read_geometry",
    "read_label_values",
    "read_notes",
    "read_volume",
    "stem",
    "write_labels",
    "write_map",
    "write_probabilities",
    "write_volume",
]


def read_volume(path: str | Path, *, where: str = "", tilt: Shear = "refuse", nan_hu: float | None = None) -> Volume:
    """The image in HU (float32, x fastest, scl_slope and scl_inter applied) on its own grid, axes as stored.

    Memory: the volume and a few MB, whatever the type of the stored voxels.

    Args:
        where: what stands first in messages; the file's own name by default.
        tilt: `keep` accepts the sheared axes of a tilted gantry (rule 5 above).
        nan_hu: HU to put where voxels are NaN, for images without values outside the field of view; None refuses.

    Raises:
        FileReadError: missing, damaged, no NIfTI, several frames, or more bytes than the header announces.
        GeometryError: no volume, no valid position, a shear, or sform and qform contradict each other.
        VoxelError: NaN or infinite voxels.
    """
    where = where or Path(path).name
    hu, geometry = _read(Path(path), where, tilt, np.dtype(np.float32))
    if nan_hu is not None:
        hu[np.isnan(hu)] = nan_hu
    try:
        return Volume(hu, geometry)
    except VoxelError as error:
        do = "Export it again; where NaN stands for air outside the field of view, `nan_hu: -1000` says so."
        raise VoxelError(error.what, where=where, do=do) from None


def read_label_values(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> tuple[IntArray, Geometry]:
    """The integers (X, Y, Z) of a label file in the smallest fitting type, and their grid.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
        LabelError: a value is no integer.
    """
    where = where or Path(path).name
    values, geometry = _read(Path(path), where, tilt, None)
    return whole_numbers(values, where=where), geometry


def read_geometry(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> Geometry:
    """The grid alone; only the header is read, so a file that is truncated further on passes.

    Raises:
        FileReadError, GeometryError: as for `read_volume`.
    """
    where = where or Path(path).name
    with open_file(Path(path), where) as (_, header):
        return read_grid(header, where, tilt=tilt)


def read_notes(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> tuple[str, ...]:
    """What had to be settled about the file's position, a sentence each; empty for a usual file.

    Raises:
        FileReadError, GeometryError: as for `read_geometry`.
    """
    where = where or Path(path).name
    with open_file(Path(path), where) as (_, header):
        read_grid(header, where, tilt=tilt)
        return tuple(grid_notes(header, where))


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
    fits = hu.min() >= -32768 and hu.max() <= 32767
    whole = fits and all((hu[:, :, k] == np.rint(hu[:, :, k])).all() for k in range(hu.shape[2]))
    write_array(Path(path), hu.astype(np.int16) if whole else hu, volume.geometry, like)


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
    write_array(Path(path), whole_numbers(labels), geometry, like)


def write_probabilities(
    path: str | Path, probabilities: FloatArray, geometry: Geometry, *, like: str | Path | None = None
) -> None:
    """Writes probabilities (X, Y, Z, C), C in label order, as float32.

    Raises:
        UsageError, GeometryError, WriteError: as for `write_labels`.
    """
    kept = probabilities.dtype == np.float32  # what lies in a file is read by planes, and not all at once
    write_array(Path(path), probabilities if kept else np.asarray(probabilities, dtype=np.float32), geometry, like)


def write_map(path: str | Path, found: ScaledMap, geometry: Geometry, *, like: str | Path | None = None) -> None:
    """Writes a map (X, Y, Z) as int16 steps whose scale in the header gives nats.

    Raises:
        UsageError, GeometryError, WriteError: as for `write_labels`.
    """
    write_array(Path(path), found.steps, geometry, like, slope=found.step)


def stem(path: str | Path) -> str:
    """The file name without `.nii` or `.nii.gz`: the case id of a bare file.

    >>> stem("scans/c001.nii.gz")
    'c001'
    """
    name = Path(path).name
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), Path(name).stem)


def _read(path: Path, where: str, tilt: Shear, kind: np.dtype[Any] | None) -> tuple[npt.NDArray[Any], Geometry]:
    """The voxels (X, Y, Z), scaled, as `kind` (as stored for None; float64 when scaled), and their grid."""
    with open_file(path, where) as (content, header):
        geometry = read_grid(header, where, tilt=tilt)
        stored = read_stored(header, math.prod(geometry.shape), where)
        content.check_size(stored.end, where)
        own = np.dtype(np.float64) if stored.scaling else stored.kind.newbyteorder("=")
        voxels = np.empty(stored.count, kind or own)
        content.fill(voxels, stored, where)
    return voxels.reshape(geometry.shape, order="F"), geometry
