"""Which reader a path belongs to: the table of all kinds of image that medseg reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medseg.errors import FileReadError
from medseg.imaging.volume import Volume
from medseg.io import dicom, nifti


class Read(Protocol):
    """Reads an image; `where` stands first in its messages."""

    def __call__(self, path: str | Path, *, where: str = "") -> Volume: ...


@dataclass(frozen=True)
class Reader:
    """One kind of image: whether a path is of that kind, how to read it, and the case id that it gives."""

    accepts: Callable[[str | Path], bool]
    read: Read
    case_id: Callable[[str | Path], str]


READERS = {
    "nifti": Reader(nifti.is_nifti, nifti.read_volume, nifti.stem),
    "dicom": Reader(dicom.is_series, dicom.read_series, dicom.series_id),
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
