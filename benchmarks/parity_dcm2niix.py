"""Every DICOM series of a folder tree beside what dcm2niix makes of it.

dcm2niix corrects a gantry tilt and uneven slices in files of their own (`_Tilt`, `_Eq`) and writes the slices as stored
besides; ours is compared with both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from parity_rows import AFFINE_MM, Row, canonical, compare_hu, distance_mm

from medseg.errors import MedsegError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io.dicom import list_series, read_volume_of
from medseg.io.dicom_pixels import SliceReader
from medseg.io.dicom_series import Series
from medseg.shapes import BoolArray, FloatArray

TILT_HU = 1.5  # dcm2niix rounds to whole numbers after the shift and again after the interpolation between slices
ROUNDING_HU = 1e-5  # a slope that is no power of two is a float32 there
Output = tuple[str, FloatArray, Geometry]  # file name, voxels, grid
PADDING_HU = -1024.0
STEP = "the step between slices: dcm2niix writes the distance along the normal as if it were that along the table"
UNEVEN = "dcm2niix stores uneven slices on an even grid; only the first lies where it was scanned"


def convert(folder: Path) -> list[Output]:
    """What dcm2niix makes of the images of one folder (not of those below it): volumes of one value a voxel."""
    program = Path(sys.executable).with_name("dcm2niix")
    with tempfile.TemporaryDirectory() as out:
        command = [str(program) if program.exists() else "dcm2niix", "-d", "0", "-z", "n", "-b", "n", "-f", "v_%s"]
        subprocess.run([*command, "-o", out, str(folder)], check=False, capture_output=True)
        return [found for path in sorted(Path(out).glob("*.nii")) if (found := _loaded(path))]


def _loaded(path: Path) -> Output | None:
    image: Any = nib.load(path)
    if image.get_data_dtype().fields or len(image.shape) != 3:
        return None  # colours, or a time series
    return path.name, np.asarray(image.dataobj, dtype=np.float32), Geometry(image.shape, image.affine)


def dicom_rows(root: Path) -> Iterator[Row]:
    """A row or more for each folder below `root` that holds files of its own which dcm2niix or we read."""
    folders = sorted({path.parent for path in root.rglob("*") if path.is_file()})
    for folder in folders:
        yield from folder_rows(folder, folder.relative_to(root).as_posix() or ".")


def folder_rows(folder: Path, source: str) -> Iterator[Row]:
    """The rows of the series whose files lie in this folder."""
    outputs = convert(folder)
    try:
        series = [one for one in list_series(folder) if _lies_in(one, folder)]
    except MedsegError as error:
        if outputs:
            yield Row(source, f"{len(outputs)} volumes of dcm2niix", "refused", why=_sentence(error))
        return
    for one in series:
        yield from series_rows(one, outputs, source)


def _lies_in(series: Series, folder: Path) -> bool:
    return all(getattr(image.item, "path", folder / "x").parent == folder for image in series.images)


def series_rows(series: Series, outputs: Sequence[Output], source: str) -> Iterator[Row]:
    """One series as `read_series` gives it by default, and where that is refused or resampled, its slices as stored."""
    size = _size(series.shape)
    try:
        volume = read_volume_of(series)
    except MedsegError as error:
        yield Row(source, f"{size} by default", "refused", why=_sentence(error))
        if "unevenly" not in str(error):
            return
        volume = read_volume_of(series, gaps="resample")
    assert volume.acquisition is not None
    stored = stored_hu(series)
    plain = [output for output in outputs if not _corrected(output)]
    if volume.acquisition.plain:
        yield even_row(source, volume, plain, outputs)
        return
    yield corrected_row(source, volume, stored, outputs)
    for output in plain:
        if output[1].shape == stored.shape:
            yield stored_row(source, stored, volume.acquisition.affines, output)


def even_row(source: str, volume: Volume, plain: Sequence[Output], outputs: Sequence[Output]) -> Row:
    """A series that nothing had to be done to."""
    what = f"{_size(volume.hu.shape)} as stored"
    if found := _nearest(plain, volume.geometry):
        return with_padding(source, what, (volume.hu, volume.geometry), found)
    if outputs:
        return Row(source, what, "differs", why="no volume of dcm2niix has this grid")
    return Row(source, what, "explained", why="dcm2niix converts nothing here")


def with_padding(source: str, what: str, ours: tuple[FloatArray, Geometry], output: Output) -> Row:
    """A row where dcm2niix keeps padding (PS3.3 C.7.5.1.1.2) at its number and ours makes air of it."""
    a, _ = canonical(*ours)
    b, _ = canonical(*output[1:])
    padding = (a == PADDING_HU) & (b < PADDING_HU)
    count = int(padding.sum())
    why = f"{count} pixels of padding are air (-1024 HU), not {float(b[padding].max()):g}" if count else ""
    theirs = np.where(padding, PADDING_HU, b)
    row = compare_hu(source, what, ours, (theirs, output[2].canonical()), within_hu=ROUNDING_HU)
    return replace(row, why=why) if row.verdict == "equal" else row


def corrected_row(source: str, volume: Volume, stored: FloatArray, outputs: Sequence[Output]) -> Row:
    """A tilt or gaps resampled, inside: where no padding and no outermost pixel of a slice has a part in the value."""
    assert volume.acquisition is not None
    what = f"{_size(volume.hu.shape)}, made upright and even"
    corrected = [output for output in outputs if _corrected(output)]
    if not (found := _nearest(corrected, volume.geometry)):
        theirs = ", ".join(_size(output[1].shape) for output in corrected) or "nothing"
        return Row(source, what, "explained", why=f"dcm2niix chooses another even grid: {theirs}")
    least = min((float(output[1].min()) for output in outputs if not _corrected(output)), default=PADDING_HU)
    touched = np.zeros_like(stored)
    if least < PADDING_HU:
        touched[stored == PADDING_HU] = PADDING_HU
    touched[_beyond_neighbours(volume.acquisition, stored.shape[:2])] = PADDING_HU
    inside = volume.acquisition.hu_to_grid(lambda k: touched[:, :, k]) == 0
    a = np.where(inside, volume.hu, 0)
    b, grid = canonical(found[1], found[2])
    inside = canonical(inside, volume.geometry)[0]
    row = compare_hu(source, what, (a, volume.geometry), (np.where(inside, b, 0), grid), within_hu=TILT_HU)
    share = f"{inside.mean():.0%} of the voxels; the others take part in the border or in padding"
    return replace(row, why=share) if row.verdict == "equal" else row


def _beyond_neighbours(acquisition: Acquisition, shape: tuple[int, ...]) -> BoolArray:
    """The rim of a slice that its neighbour does not reach: there ours has its value, dcm2niix mixes in a fill."""
    axes = acquisition.geometry.direction[:, :2] / acquisition.geometry.spacing_mm[:2]
    shift = np.abs(np.diff(acquisition.affines[:, :3, 3], axis=0) @ axes).max(axis=0)
    x, y = (np.ceil(shift) + 1).astype(int)
    rim = np.ones(shape, dtype=bool)
    rim[x:-x, y:-y] = False
    return rim


def stored_hu(series: Series) -> FloatArray:
    """HU (X, Y, N) of the slices of a series, bottom up, before anything is resampled."""
    slices = [[image for image, place in zip(series.images, series.places, strict=True) if place == k]
              for k in range(series.shape[2])]  # fmt: skip
    hu = np.empty(series.shape, dtype=np.float32, order="F")
    reader = SliceReader(slices, series.id)
    for k in range(series.shape[2]):
        reader.read_into(k, hu[:, :, k])
    return hu


def stored_row(source: str, stored: FloatArray, affines: FloatArray, output: Output) -> Row:
    """The slices of an uneven or tilted series, and how far dcm2niix puts them from where they were scanned."""
    steps = np.diff(affines[:, :3, 3], axis=0)
    affine = affines[0].copy()
    affine[:3, 2] = steps.mean(axis=0)
    grid = Geometry(stored.shape, affine)
    row = with_padding(source, f"{_size(stored.shape)} as stored", (stored, grid), output)
    first = distance_mm(_first_slice(grid), _first_slice(output[2]))
    if row.verdict != "differs" or row.hu != 0 or first > AFFINE_MM:
        return row
    return replace(row, verdict="explained", why=UNEVEN if np.ptp(np.linalg.norm(steps, axis=1)) > 0.1 else STEP)


def _first_slice(grid: Geometry) -> Geometry:
    """The lowest slice of a grid, X, Y, Z nearest to R, A, S."""
    upright = grid.canonical()
    return Geometry((upright.shape[0], upright.shape[1], 1), upright.affine)


def _corrected(output: Output) -> bool:
    return "_Eq" in output[0] or "_Tilt" in output[0]


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _nearest(outputs: Sequence[Output], grid: Geometry) -> Output | None:
    """The output on the grid that lies nearest, of those of the same shape."""
    fitting = [output for output in outputs if output[2].canonical().shape == grid.canonical().shape]
    return min(fitting, key=lambda output: distance_mm(output[2].canonical(), grid.canonical()), default=None)


def _sentence(error: MedsegError) -> str:
    return str(error).replace("|", "\\|")
