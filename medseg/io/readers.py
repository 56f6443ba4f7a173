"""Which reader a path belongs to: the table of all kinds of image that medseg reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import FileReadError
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import dicom, nifti


@dataclass(frozen=True)
class Reader:
    """One kind of image.

    Args:
        accepts: whether a path is of that kind.
        read: `(path, *, where="", **options) -> Volume`; `where` stands first in its messages.
        case_id: the case id that a path gives.
        grid: `(path, *, where="", **options) -> Geometry`, by headers alone.
        options: what `read` and `grid` may be told besides.
    """

    accepts: Callable[[str | Path], bool]
    read: Callable[..., Volume]
    case_id: Callable[[str | Path], str]
    grid: Callable[..., Geometry]
    options: tuple[str, ...] = ()


def _series_grid(path: str | Path, *, where: str = "", **options: str) -> Geometry:
    return dicom.read_series(path, where=where, **options).geometry


READERS = {
    "nifti": Reader(nifti.is_nifti, nifti.read_volume, nifti.stem, nifti.read_geometry),
    "dicom": Reader(dicom.is_series, dicom.read_series, dicom.series_id, _series_grid, ("series", "tilt", "gaps")),
}


def find_reader(path: str | Path, *, where: str = "") -> Reader:
    """The reader for a path.

    Raises:
        FileReadError: nothing is there, or no reader accepts it.

    Example:
        >>> find_reader("c001.nii.gz").case_id("c001.nii.gz")
        'c001'
    """
    for reader in READERS.values():
        if reader.accepts(path):
            return reader
    what = "neither a NIfTI file nor a folder of DICOM files" if Path(path).exists() else "no such file or folder"
    raise FileReadError(what, where=where or Path(path).name, do="Check the path.")
