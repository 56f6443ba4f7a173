"""`medseg convert`: one study, DICOM above all, as a NIfTI file in HU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medseg.errors import OutputExistsError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.volume import Volume
from medseg.io import dicom, nifti
from medseg.io.readers import find_reader
from medseg.workflows.outputs import write_json
from medseg.workflows.telling import Progress

RECORD = ".acquisition.json"


def convert(
    study: str | Path,
    out: str | Path,
    *,
    series: str | None = None,
    tilt: str | None = None,
    gaps: str | None = None,
    nan_hu: float | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = lambda what, done, total, note: None,
) -> Path:
    """Writes a study to `out` (.nii or .nii.gz) and returns the file's path.

    HU and position are written without loss. Where slices were resampled (a tilted gantry, gaps), or a tilt was kept,
    the file `<out>.acquisition.json` beside it holds the acquired slices, the way back to them and the slices that
    were invented; see `Acquisition`.

    Args:
        study: a DICOM folder tree, zip, DICOMDIR or file, or a NIfTI, NRRD or MetaImage file.
        series: the `series_...` to take where the study holds several.
        tilt: what becomes of a gantry tilt: `resample` (the default) onto an upright grid, `keep` the sheared axes, or
            `refuse`.
        nan_hu: HU for voxels that a NIfTI file leaves undefined (NaN); they are refused without it.
        say: called with a sentence for each thing that was done to the slices beyond reading them.
        gaps: what becomes of missing or uneven slices: `refuse` (the default) or `resample` onto an even grid.

    Raises:
        UsageError: `out` has no NIfTI name, or an option that this kind of study does not take.
        OutputExistsError: `out` exists and `overwrite` is False; nothing has been read then.
        FileReadError, DicomError, GeometryError, VoxelError: the study is no CT volume, or one that the options refuse.
        WriteError: the disk refused; an old file stays.
    """
    out = Path(out)
    _check_out(out, overwrite=overwrite)
    given: dict[str, Any] = {"series": series, "tilt": tilt, "gaps": gaps, "nan_hu": nan_hu}
    options = {name: value for name, value in given.items() if value is not None}
    reader = find_reader(study)
    reader.check(options)
    if reader.read is dicom.read_series:
        volume = _read_series(study, options, say, progress)
    else:
        volume = reader.read(study, **options)
    record = out.with_name(nifti.stem(out) + RECORD)
    if volume.acquisition is not None and (sentences := list(_changes(volume.acquisition))):
        write_json(record, volume.acquisition.as_dict())
        for sentence in (*sentences, f"The acquired slices and the way back to them: {record.name}"):
            say(sentence)
    elif overwrite:
        record.unlink(missing_ok=True)  # of the file that is replaced
    nifti.write_volume(out, volume, like=study if nifti.is_nifti(study) else None)
    return out


def scan(study: str | Path) -> dicom.Scan:
    """The DICOM series at a path by their headers, and what was left out; `line` of each series is safe to show.

    Raises:
        FileReadError, DicomError: nothing there, or a zip that is damaged, encrypted or a bomb.
    """
    return dicom.scan(study)


def list_series(study: str | Path) -> Iterator[str]:
    """A line for each CT series at a path, with what keeps it from an even, upright volume, and what was left out.

    Raises:
        FileReadError, DicomError: as `scan`.
    """
    found = scan(study)
    for series in found.series:
        obstacle = dicom.obstacle_of(series)
        yield series.line + (f": {obstacle}" if obstacle else "")
    if not found.series:
        yield "No CT series here"
    yield f"Passed over: {found.left_out or 'nothing'}"


def _read_series(study: str | Path, options: dict[str, Any], say: Callable[[str], None], progress: Progress) -> Volume:
    def show(what: str, done: int, of: int) -> None:
        progress(f"Reading {what}", done, of, "")

    chosen = dicom.choose_series(study, series=options.pop("series", None), progress=show)
    volume = dicom.read_volume_of(chosen, **options, progress=show)
    for note in chosen.notes:
        say(note)
    return volume


def _check_out(out: Path, *, overwrite: bool) -> None:
    if not nifti.is_nifti(out):
        raise UsageError("not a NIfTI name", where=out.name, expected="a name that ends in .nii.gz or .nii")
    if out.is_dir():
        raise UsageError("the output is a folder", where=out.name, expected="a file")
    if out.exists() and not overwrite:
        raise OutputExistsError("the file exists", where=out.name, do="Choose another name, or pass --overwrite.")


def _changes(acquisition: Acquisition) -> Iterator[str]:
    """A sentence for each thing that makes the volume more, or less, than the slices as they were acquired."""
    planes = acquisition.geometry.shape[2]
    if acquisition.tilt_deg:
        done = "kept: the axes are sheared" if acquisition.sheared else "resampled onto an upright grid"
        yield f"Gantry tilt of {acquisition.tilt_deg:.1f} degrees {done}"
    if planes != acquisition.slices or acquisition.invented:
        invented = len(acquisition.invented)
        yield f"{acquisition.slices} uneven slices resampled to {planes} even ones, {invented} of them invented"
