"""Which reader a path belongs to: the table of all kinds of image that medseg reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from medseg.errors import FileReadError, UsageError
from medseg.imaging.cosines import Shear, squared
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io import dicom, itk_images, nifti
from medseg.io.dicom_sources import Item
from medseg.io.input_files import itk_files, series_files, single_file

PAIR_SUFFIXES = (".hdr", ".img")


@dataclass(frozen=True)
class Reader:
    """One kind of image.

    Args:
        accepts: whether a path is of that kind.
        read: `(path, *, where="", **options) -> Volume`; `where` stands first in its messages.
        case_id: the case id that a path gives.
        grid: `(path, *, where="", **options) -> Geometry`, by headers alone.
        files: `(path, *, where="")` -> the files that it is read from; of DICOM also with `series`.
        options: what `read` and `grid` may be told besides, and the values that each may have (None: any).
    """

    accepts: Callable[[str | Path], bool]
    read: Callable[..., Volume]
    case_id: Callable[[str | Path], str]
    grid: Callable[..., Geometry]
    files: Callable[..., tuple[Item, ...]]
    options: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    @property
    def options_text(self) -> str:
        """The options for a message."""
        parts = [name + (f": {' or '.join(values)}" if values else "") for name, values in self.options.items()]
        return ", ".join(parts) or "no options"

    def told(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Of the options those that say more than the reader does by itself, but for the name of the series."""
        own = {name: parameter.default for name, parameter in signature(self.read).parameters.items()}
        return {name: value for name, value in sorted(options.items()) if name != "series" and value != own.get(name)}

    def check(self, given: Mapping[str, Any]) -> None:
        """Refuses options of the command line that this kind of file does not take.

        Raises:
            UsageError: an option that means nothing here, or a value that it cannot have.
        """
        for name, value in given.items():
            flag = f"--{name.replace('_', '-')}"
            if name not in self.options:
                raise UsageError(f"{flag} means nothing for this kind of file", expected=self.options_text,
                                 do="Take it out.")  # fmt: skip
            if value not in (self.options[name] or (value,)):
                raise UsageError(f"{flag} cannot be '{value}'", expected=" or ".join(self.options[name] or ()))


def _series_grid(path: str | Path, *, where: str = "", **options: Any) -> Geometry:
    return dicom.read_series_grid(path, where=where, **options)[1].geometry


def _nifti_grid(path: str | Path, *, where: str = "", tilt: Shear = "refuse", nan_hu: float | None = None) -> Geometry:
    return nifti.read_geometry(path, where=where, tilt=tilt)


def _itk_volume(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> Volume:
    volume = itk_images.read_volume(path, where=where)
    geometry = squared(volume.geometry, shear=tilt, where=where or Path(path).name)
    return volume if geometry is volume.geometry else Volume(volume.hu, geometry)


def _itk_grid(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> Geometry:
    return squared(itk_images.read_geometry(path, where=where), shear=tilt, where=where or Path(path).name)


STORED_TILT = {"tilt": ("refuse", "keep")}
SERIES_OPTIONS = {"series": None, "tilt": ("resample", "keep", "refuse"), "gaps": ("refuse", "resample")}
READERS = {
    "nifti": Reader(
        nifti.is_nifti, nifti.read_volume, nifti.stem, _nifti_grid, single_file, {**STORED_TILT, "nan_hu": None}
    ),
    "itk": Reader(itk_images.is_itk, _itk_volume, itk_images.stem, _itk_grid, itk_files, STORED_TILT),
    "dicom": Reader(dicom.is_series, dicom.read_series, dicom.series_id, _series_grid, series_files, SERIES_OPTIONS),
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
    where = where or Path(path).name
    if not Path(path).exists():
        raise FileReadError("no such file or folder", where=where, do="Check the path.")
    if Path(path).name.lower().removesuffix(".gz").endswith(PAIR_SUFFIXES):
        raise FileReadError("one half of a NIfTI or Analyze pair (.hdr and .img)", where=where,
                            do="Save it as a single NIfTI file (.nii or .nii.gz).")  # fmt: skip
    raise FileReadError("neither a NIfTI, NRRD or MetaImage file nor a folder of DICOM files", where=where,
                        do="Check the path.")  # fmt: skip
