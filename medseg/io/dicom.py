"""DICOM CT as volumes in HU: from a folder tree, a zip, a DICOMDIR or one file, or a sentence that says why not.

Slices are ordered by ImagePositionPatient along the normal of the image plane, never by name or InstanceNumber.
Localisers, dose reports, captures and objects without a CT plane (RTSTRUCT, SEG, SR) are passed over and named.
Messages name a series by a hash of its UID and a slice by its place, because file names are often UIDs.

| module | does |
|---|---|
| `dicom_sources`, `dicom_zip`, `dicom_directory` | find the files |
| `dicom_elements`, `dicom_headers`, `dicom_enhanced` | bytes of a header, their meaning, frames of Enhanced CT |
| `dicom_grouping`, `dicom_series`, `dicom_scan` | which images are one stack, `Series`, all headers at a path |
| `dicom_stack` | order, tilt and gaps |
| `dicom_frames`, `dicom_codecs`, `dicom_pixels` | bytes of a frame, stored values, HU |
| `dicom_damage`, `dicom_quiet` | what broken files raise, and nothing that pydicom says |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medseg.errors import DicomError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.volume import Volume
from medseg.io.dicom_headers import Image
from medseg.io.dicom_pixels import WORKERS, SliceReader
from medseg.io.dicom_scan import Progress, holds_dicom, scan, silent
from medseg.io.dicom_series import Scan, Series
from medseg.io.dicom_stack import Gaps, SlicePlane, Stack, Tilt, stack_planes
from medseg.shapes import FloatArray

__all__ = ["Scan", "Series", "choose_series", "is_series", "list_series", "read_series", "read_series_grid",
           "read_volume_of", "scan", "series_id"]  # fmt: skip
NO_HU = {"PERFUSION", "RCBF", "RCBV", "MTT", "TTP", "TMAX", "PERMEABILITY", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"}
LISTED = 20  # series in a message
REQUIRED = {  # what an image must have, by the name of its element
    "PixelSpacing": "pixel_mm", "ImagePositionPatient": "position", "ImageOrientationPatient": "orientation",
    "RescaleSlope": "slope", "RescaleIntercept": "intercept",
}  # fmt: skip


def is_series(path: str | Path) -> bool:
    """Whether the path is a folder tree, zip, DICOMDIR or file that holds at least one DICOM file."""
    return holds_dicom(path)


def list_series(path: str | Path, *, where: str = "", progress: Progress = silent) -> tuple[Series, ...]:
    """The CT image series at a path, the largest first; at least one.

    Raises:
        FileReadError, DicomError: as `scan`, and when there is no CT series.
    """
    found = scan(path, where=where, progress=progress)
    if not found.series:
        raise _no_ct(found, where or Path(path).name)
    return found.series


def choose_series(path: str | Path, *, series: str | None = None, where: str = "",
                  progress: Progress = silent) -> Series:  # fmt: skip
    """The only CT series at a path, or the one whose `id` is `series`.

    Raises:
        FileReadError, DicomError: as `list_series`; several series and none chosen; no series of that id.
    """
    found = scan(path, where=where, progress=progress)
    where = where or Path(path).name  # a caller's name is enough: the folder may be called like the patient
    if not found.series:
        raise _no_ct(found, where)
    left_out = f" Passed over: {found.left_out}." if found.left_out else ""
    lines = "; ".join(one.line for one in found.series[:LISTED])
    lines += f"; and {len(found.series) - LISTED} more" if len(found.series) > LISTED else ""
    if series is None and len(found.series) > 1:
        counts = ", ".join(str(len(one.images)) for one in found.series[:LISTED])
        raise DicomError(f"mixed: the folder holds {len(found.series)} series", where=where, expected="one",
                         got=f"series of {counts} images: {lines}",
                         do=f"Choose one, for example with --series {found.series[0].id}.{left_out}")  # fmt: skip
    chosen = [one for one in found.series if series in (None, one.id)]
    chosen = chosen or [one for one in found.series if one.id.rpartition("_")[0] == series]
    if len(chosen) != 1:
        what = f"several stacks of series {series}" if chosen else f"no series {series}"
        raise DicomError(what, where=where, expected="one of those that are here", got=lines,
                         do="Give --series one of these names.")  # fmt: skip
    return chosen[0]


def series_id(path: str | Path) -> str:
    """`series_` and 8 hex digits of the only series at the path: a name that does not give the UID away.

    They are of the SHA-256 of SeriesInstanceUID; when that is empty, of every slice's other UIDs and its position.

    Raises:
        FileReadError, DicomError: no CT series, or more than one.
    """
    return choose_series(path).id


def read_series(
    path: str | Path, *, series: str | None = None, tilt: Tilt = "resample", gaps: Gaps = "refuse", where: str = "",
    progress: Progress = silent,
) -> Volume:  # fmt: skip
    """The CT volume in HU (float32, X along pixel rows, Y along pixel columns, Z along the normal) in RAS.

    The affine is rounded to float32, as NIfTI headers are; the array is x fastest. `where` comes before the series in
    messages. `tilt` and `gaps` as in `stack_planes`.

    Raises:
        FileReadError: nothing there, or a zip that is damaged, encrypted or a bomb.
        DicomError: not one CT series, one that the options refuse, something missing in a header, or pixels that
            cannot be decoded. The series is named by its `series_id`.
    """
    return read_volume_of(choose_series(path, series=series, where=where, progress=progress), tilt=tilt, gaps=gaps,
                          where=where, progress=progress)  # fmt: skip


def read_series_grid(
    path: str | Path, *, series: str | None = None, tilt: Tilt = "resample", gaps: Gaps = "refuse", where: str = "",
) -> tuple[Series, Acquisition]:  # fmt: skip
    """The series and its grid by headers alone: what `read_series` would give without the voxels.

    Raises:
        FileReadError, DicomError: as `read_series`, but for pixels.
    """
    chosen = choose_series(path, series=series, where=where)
    return chosen, grid_of(chosen, tilt=tilt, gaps=gaps, where=where)


def grid_of(series: Series, *, tilt: Tilt = "resample", gaps: Gaps = "refuse", where: str = "") -> Acquisition:
    """The grid of a series that `list_series` gave, by headers alone.

    Raises:
        DicomError: as `read_series`, but for pixels.
    """
    return _stack(series, tilt, gaps, _named(series, where)).acquisition


def obstacle_of(series: Series) -> str:
    """What keeps the slices of a series from being an even, upright volume, by headers alone; "" when nothing does.

    Such as `the gantry is tilted by 14.0 degrees` or `not a volume: all 4 images show one place`.
    """
    try:
        _stack(series, "refuse", "refuse", "")
    except DicomError as error:
        return error.what
    return ""


def read_volume_of(
    series: Series, *, tilt: Tilt = "resample", gaps: Gaps = "refuse", where: str = "", progress: Progress = silent
) -> Volume:
    """The volume of a series that `list_series` gave; what was dropped is added to `series.notes`.

    Raises:
        DicomError: as `read_series`.
    """
    where = _named(series, where)
    stack = _stack(series, tilt, gaps, where)
    slices = [[series.images[index] for index in group] for group in stack.groups]
    reader = SliceReader(slices, where)
    reader.check_room()
    if stack.acquisition.plain:
        hu = reader.read_all(lambda done, of: progress("slices", done, of))
    else:
        hu = stack.acquisition.hu_to_grid(_telling(reader, progress), threads=WORKERS)
    if reader.dropped:
        count = len(reader.dropped)
        series.notes.append(f"{count} repeated image{'s' if count > 1 else ''} of one place dropped")
    return Volume(hu, stack.geometry, stack.acquisition)


def _telling(reader: SliceReader, progress: Progress) -> Callable[[int], FloatArray]:
    """`reader.read` that tells how many of the slices have been asked for; at seams some are more than once."""
    read: set[int] = set()

    def tell(k: int) -> FloatArray:
        read.add(k)
        progress("slices", len(read), len(reader.slices))
        return reader.read(k)

    return tell


def _named(series: Series, where: str) -> str:
    return where if where.endswith(series.id) else ", ".join(part for part in (where, series.id) if part)


def _stack(series: Series, tilt: Tilt, gaps: Gaps, where: str) -> Stack:
    if set(series.modalities) != {"CT"}:
        raise _not_ct(series.modalities, "", where)
    _check_images(series.images, where)
    return stack_planes([_plane(image, where) for image in series.images], tilt=tilt, gaps=gaps, where=where)


def _no_ct(found: Scan, where: str) -> DicomError:
    """Why there is no CT series: other images, told with what else is wrong with the largest, or none at all."""
    if not found.others:
        return DicomError("no image slices here", where=where, expected="a CT series",
                          got=found.left_out or "no DICOM file", do="Check the path.")  # fmt: skip
    first = found.others[0].id.partition("_")[2].partition("_")[0]
    stacks = [other for other in found.others if other.id.partition("_")[2].partition("_")[0] == first]
    images = [image for other in stacks for image in other.images]
    modalities = sum((other.modalities for other in stacks), Counter[str]())
    try:
        stack_planes([_plane(image, where) for image in images], tilt="refuse", where=where)
        also = ""
    except DicomError as error:
        also = f"; besides, {error.what}"
    return _not_ct(modalities, also, f"{where}, series_{first}")


def _not_ct(modalities: Counter[str], also: str, where: str) -> DicomError:
    got = ", ".join(f"{name} ({count} images)" for name, count in modalities.most_common(LISTED))
    return DicomError("not a CT series", where=where, expected="modality CT", got=got + also)


def _check_images(images: Sequence[Image], where: str) -> None:
    for name, attribute in REQUIRED.items():
        if missing := sum(getattr(image, attribute) is None for image in images):
            raise DicomError(f"{name} is missing", where=where, got=f"{missing} of {len(images)} slices without it",
                             do="Export the original CT series again.")  # fmt: skip
    photometric = {image.pixels.photometric or "UNNAMED" for image in images}
    if others := photometric - {"MONOCHROME2"}:
        raise DicomError(f"{' and '.join(sorted(_word(other) for other in others))} images", where=where,
                         expected="MONOCHROME2", do="Export the original CT series; captures hold no HU.")  # fmt: skip
    if others := {image.rescale_type or "HU" for image in images} - {"HU", "US"}:
        raise DicomError("the values are no HU", where=where, expected="RescaleType HU",
                         got=", ".join(sorted(_word(other) for other in others)))  # fmt: skip
    if maps := {word for image in images if image.rescale_type != "HU" for word in image.image_type} & NO_HU:
        raise DicomError("the values are no HU", where=where, expected="an image of densities, or RescaleType HU",
                         got=f"image type {' '.join(sorted(maps))}")  # fmt: skip
    if widths := {image.pixels.bits[0] for image in images} - {8, 16, 32}:
        raise DicomError(f"pixels of {min(widths)} bits", where=where, expected="8, 16 or 32 bits allocated")
    if any(image.slope == 0 for image in images):
        raise DicomError("RescaleSlope is 0", where=where, do="Export the original CT series again.")
    if (count := len({image.frame_of_reference for image in images})) > 1:
        raise DicomError(f"the slices lie in {count} frames of reference", where=where, expected="one",
                         do="Positions of different frames cannot be compared.")  # fmt: skip


def _word(value: str) -> str:
    """A word of the standard as it stands in a header; other text is not shown."""
    return value if value.replace("_", "").replace(" ", "").isalnum() and len(value) <= 16 else "another"


def _plane(image: Image, where: str) -> SlicePlane:
    place, cosines, spacing = image.position, image.orientation, image.pixel_mm
    if place is None or cosines is None or spacing is None:
        raise DicomError("the position of a slice is missing", where=where)
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if np.abs(np.array(lengths) - 1).max() > 0.01 or min(spacing) <= 0:
        raise DicomError("the position of a slice cannot be read", where=where,
                         expected="directions of length 1 and spacings above 0",
                         do="The file is damaged: export the series again.")  # fmt: skip
    return SlicePlane(np.array(place), row / lengths[0], column / lengths[1], (spacing[0], spacing[1]),
                      image.pixels.shape)  # fmt: skip
