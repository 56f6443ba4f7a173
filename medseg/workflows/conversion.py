"""`medseg convert`: a DICOM series as a NIfTI file in HU."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import OutputExistsError, UsageError
from medseg.io import dicom, nifti


def convert(series: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Writes the series in the folder `series` to `out` (.nii or .nii.gz) without loss and returns the file's path.

    Raises:
        UsageError: `out` has no NIfTI name.
        OutputExistsError: `out` exists and `overwrite` is False; nothing has been read then.
        FileReadError, DicomError: the folder holds no even, upright CT volume.
        WriteError: the disk refused; an old file stays.
    """
    out = Path(out)
    if not nifti.is_nifti(out):
        raise UsageError("not a NIfTI name", where=out.name, expected="a name that ends in .nii.gz or .nii")
    if out.is_dir():
        raise UsageError("the output is a folder", where=out.name, expected="a file")
    if out.exists() and not overwrite:
        raise OutputExistsError("the file exists", where=out.name, do="Choose another name, or pass --overwrite.")
    nifti.write_volume(out, dicom.read_series(series))
    return out
