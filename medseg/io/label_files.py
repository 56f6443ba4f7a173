"""Label files by one table: values, grid and names, whatever the format.

A label map holds integers in the data set's own values. A mask file holds one structure: every voxel that is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from medseg.errors import FileReadError, LabelError
from medseg.imaging.case import check_same_grid
from medseg.imaging.cosines import Shear, squared
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet, count_values
from medseg.imaging.regions import RegionMap
from medseg.io import itk_images, nifti
from medseg.shapes import BoolArray, IntArray


class ReadValues(Protocol):
    """The integers (X, Y, Z) of a label file and their grid; `where` stands first in its messages."""

    def __call__(self, path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> tuple[IntArray, Geometry]: ...


class ReadGrid(Protocol):
    """The grid of a file, by its header alone."""

    def __call__(self, path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> Geometry: ...


@dataclass(frozen=True)
class LabelFormat:
    """One format of label files.

    Args:
        accepts: whether a path has the name of such a file.
        values, grid: the readers; `tilt="keep"` accepts the sheared axes of a tilted gantry.
        stem: the file name without the format's suffixes.
        names: the names of the values that the file itself carries; empty when it carries none.
    """

    accepts: Callable[[str | Path], bool]
    values: ReadValues
    grid: ReadGrid
    stem: Callable[[str | Path], str]
    names: Callable[[str | Path], Mapping[int, str]]


def _itk_values(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> tuple[IntArray, Geometry]:
    values, geometry = itk_images.read_label_values(path, where=where)
    return values, squared(geometry, shear=tilt, where=where)


def _itk_grid(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> Geometry:
    return squared(itk_images.read_geometry(path, where=where), shear=tilt, where=where)


SUFFIXES = (*nifti.SUFFIXES, *itk_images.SUFFIXES)
LABEL_FORMATS = {
    "nifti": LabelFormat(nifti.is_nifti, nifti.read_label_values, nifti.read_geometry, nifti.stem, lambda path: {}),
    "itk": LabelFormat(itk_images.is_itk, _itk_values, _itk_grid, itk_images.stem, itk_images.label_names),
}


def is_label_file(path: str | Path) -> bool:
    """Whether the name is that of a label file of any format."""
    return any(form.accepts(path) for form in LABEL_FORMATS.values())


def find_format(path: str | Path, *, where: str = "") -> LabelFormat:
    """The format of a label file, told by its name.

    Raises:
        FileReadError: no format has such names.
    """
    for form in LABEL_FORMATS.values():
        if form.accepts(path):
            return form
    expected = "a name that ends in " + ", ".join(SUFFIXES)
    raise FileReadError("not a label file", where=where or Path(path).name, expected=expected, do="Convert it.")


def label_stem(path: str | Path) -> str:
    """The file name without its format's suffixes.

    >>> label_stem("A/c001.nii.gz")
    'c001'
    """
    return find_format(path).stem(path)


def read_label_values(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> tuple[IntArray, Geometry]:
    """The integers (X, Y, Z) of a label file in the smallest fitting type, and their grid.

    Raises:
        FileReadError, GeometryError: see the reader of the format.
        LabelError: a value is no integer.
    """
    where = where or Path(path).name
    return find_format(path, where=where).values(path, where=where, tilt=tilt)


def read_label_grid(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> Geometry:
    """The grid of a label file by its header alone.

    Raises:
        FileReadError, GeometryError: see the reader of the format.
    """
    where = where or Path(path).name
    return find_format(path, where=where).grid(path, where=where, tilt=tilt)


def label_names(path: str | Path) -> Mapping[int, str]:
    """Value to name as the file itself says; empty when it does not."""
    return find_format(path).names(path)


def read_labels(
    path: str | Path,
    label_set: LabelSet,
    *,
    where: str = "",
    labelled: tuple[str, ...] | None = None,
    slices_read: tuple[int, int] | None = None,
    tilt: Shear = "refuse",
) -> LabelMap:
    """One reading in the data set's own label values; see `LabelMap` for `labelled` and `slices_read`.

    Raises:
        FileReadError, GeometryError: see the reader of the format.
        LabelError: values that are no integers or not in `label_set`, or slices that the file does not have.
    """
    where = where or Path(path).name
    labels, geometry = read_label_values(path, where=where, tilt=tilt)
    try:
        label_set.to_indices(np.array(count_values(labels)[0], dtype=np.int64))
    except LabelError as error:
        raise LabelError(error.what, where=where, expected=error.expected, got=error.got, do=error.do) from None
    _check_slices(slices_read, geometry, where)
    return LabelMap(labels, geometry, label_set, labelled=labelled, slices_read=slices_read)


def read_mask(path: str | Path, *, where: str = "", tilt: Shear = "refuse") -> tuple[BoolArray, Geometry]:
    """The mask (X, Y, Z) of a file that holds one structure, and its grid.

    Raises:
        FileReadError, GeometryError: see the reader of the format.
        LabelError: a value is no integer, or there are several besides 0: then it is a label map, not a mask.
    """
    where = where or Path(path).name
    values, geometry = read_label_values(path, where=where, tilt=tilt)
    if len(marked := [value for value in count_values(values)[0] if value != 0]) > 1:
        raise LabelError("a mask file with several values", where=where, expected="0 and one other value",
                         got=", ".join(map(str, marked[:10])) + (" ..." if len(marked) > 10 else ""),
                         do="Give it as `path:`, one label map, or export each structure by itself.")  # fmt: skip
    return values != 0, geometry


def read_regions(
    paths: Mapping[str, Path],
    label_set: LabelSet,
    *,
    where: str = "",
    labelled: tuple[str, ...] | None = None,
    slices_read: tuple[int, int] | None = None,
    tilt: Shear = "refuse",
) -> RegionMap:
    """One reading from a mask file for each structure, on the grid of the first; see `RegionMap`.

    Raises:
        FileReadError, LabelError: as `read_mask`, or no path is given.
        GeometryError: a mask lies on another grid than the first.
    """
    grid, masks = None, {}
    for name, path, here in _each(paths, where):
        masks[name], geometry = read_mask(path, where=here, tilt=tilt)
        grid = grid or geometry
        check_same_grid(grid, geometry, where=here, first=f"the mask of {next(iter(paths))}")
    assert grid is not None
    _check_slices(slices_read, grid, where)
    return RegionMap(masks, grid, label_set, labelled=labelled, slices_read=slices_read)


def read_regions_grid(paths: Mapping[str, Path], *, where: str = "", tilt: Shear = "refuse") -> Geometry:
    """The grid on which all the mask files lie, by their headers alone.

    Raises:
        FileReadError: see the reader of the format.
        GeometryError: a mask lies on another grid than the first; LabelError: no path is given.
    """
    grid = None
    for _, path, here in _each(paths, where):
        geometry = read_label_grid(path, where=here, tilt=tilt)
        grid = grid or geometry
        check_same_grid(grid, geometry, where=here, first=f"the mask of {next(iter(paths))}")
    assert grid is not None
    return grid


def _each(paths: Mapping[str, Path], where: str) -> Iterator[tuple[str, Path, str]]:
    """Name, path and place of every mask."""
    if not paths:
        raise LabelError("no mask", where=where, expected="at least one structure with a file")
    for name, path in paths.items():
        yield name, path, ", ".join(part for part in (where, f"{name} ({Path(path).name})") if part)


def _check_slices(slices_read: tuple[int, int] | None, geometry: Geometry, where: str) -> None:
    if slices_read is not None and not 0 <= slices_read[0] <= slices_read[1] < geometry.shape[2]:
        raise LabelError(
            "slices_read lies outside the file",
            where=where,
            expected=f"first <= last within 0 to {geometry.shape[2] - 1}",
            got=str(list(slices_read)),
        )
