"""All readings of a case on one grid: the same lattice exactly, another one only where the user asks for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from medseg.errors import GeometryError
from medseg.imaging.cosines import squared
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap
from medseg.imaging.nearest_shift import largest_shift_mm
from medseg.imaging.regions import Reading, placed, turned
from medseg.imaging.resample import resample_nearest

UPRIGHT = "Import the series with --tilt resample: distances are measured along axes at right angles."
RESAMPLE = "Export the labels on one grid; medseg never resamples labels in silence."
OFFER = " A model's can be resampled on request: --resample-to raters."
MOST_TIMES = 100  # the box around cropped readings against their own voxels
ONE_VOXEL = Geometry((1, 1, 1), np.eye(4))  # for cases that nobody marked and that have no grid: nothing is measured


@dataclass(frozen=True)
class Resampled:
    """What resampling to the readers' grid did to a model's labels.

    Args:
        shift_mm: how far at most a voxel of the readers lies from the model's voxel that it got its label from.
        outside: share of the readers' voxels that the model's image does not reach; they count as background.
    """

    shift_mm: float
    outside: float


@dataclass(frozen=True)
class GridOptions:
    """How readings may be moved.

    Args:
        on_part: readings whose grid may be a part of the others' (Slicer and SEG files are cropped).
        resampled: readings (of models) that may be resampled to the grid of the first.
        models: whose refusal offers resampling.
    """

    on_part: Collection[str] = ()
    resampled: Collection[str] = ()
    models: Collection[str] = ()


@dataclass(frozen=True)
class OnOneGrid:
    """Readings on one grid, and those that were resampled for it."""

    readings: dict[str, Reading]
    resampled: Mapping[str, Resampled] = field(default_factory=dict)


def on_one_grid(readings: Mapping[str, Reading], case_id: str, options: GridOptions | None = None) -> OnOneGrid:
    """The readings on the grid of the first; the same lattice stored with other axes or flips is turned exactly.

    Raises:
        GeometryError: a reading lies on another lattice, or on a sheared one (a gantry tilt that was kept), where no
            distance could be measured along the axes; case, reader and numbers are named.
    """
    options = options or GridOptions()
    if not readings:
        return OnOneGrid({})
    whole = [name for name in readings if name not in options.on_part]
    first = next((name for name in whole if name not in options.resampled), next(iter(readings)))
    target = readings[first].geometry
    squared(target, where=f"case {case_id}, {first}", do=UPRIGHT)
    if first in options.on_part:
        target = _around({name: readings[name].geometry for name in readings if name not in options.resampled}, first,
                         f"case {case_id}")  # fmt: skip
    moved: dict[str, Resampled] = {}
    together: dict[str, Reading] = {}
    for name, reading in readings.items():
        where = f"case {case_id}, {name}"
        if name in options.on_part and reading.geometry.differences(target):
            together[name] = _placed(reading, target, where, first)
        elif name in options.resampled and not _same_lattice(reading.geometry, target):
            together[name], moved[name] = _resampled(reading, target, where)
        else:
            do = RESAMPLE + (OFFER if name in options.models else "")
            together[name] = _turned(target, reading, where, first, do)
    return OnOneGrid(together, moved)


def check_same_lattice(grid: Geometry, target: Geometry, *, where: str, first: str, do: str = RESAMPLE) -> None:
    """Raises GeometryError, naming what differs in numbers, unless the grids are equal up to axis order and flips."""
    if grid.differences(target) and (faults := grid.canonical().differences(target.canonical())):
        raise GeometryError(
            f"another grid than {first}",
            where=where,
            got="; ".join(faults),
            do=do,
        )


def _same_lattice(grid: Geometry, target: Geometry) -> bool:
    return not grid.differences(target) or not grid.canonical().differences(target.canonical())


def _turned(target: Geometry, reading: Reading, where: str, first: str, do: str) -> Reading:
    if not reading.geometry.differences(target):
        return reading
    check_same_lattice(reading.geometry, target, where=where, first=first, do=do)
    if reading.slices_read is not None:  # they are counted along the stored third axis
        raise GeometryError(
            f"slices_read is given, but the axes are stored in another order than {first}'s",
            where=where,
            expected=target.orientation,
            got=reading.geometry.orientation,
            do=f"Export the labels in the axis order of {first}.",
        )
    return turned(reading, target)


def _placed(reading: Reading, target: Geometry, where: str, first: str) -> Reading:
    if reading.slices_read is not None:
        raise GeometryError("slices_read is given, but the file is cropped to what it holds", where=where,
                            do=f"Export the labels on the grid of {first}.")  # fmt: skip
    return placed(reading, target, where=where)


def _resampled(reading: Reading, target: Geometry, where: str) -> tuple[Reading, Resampled]:
    if reading.slices_read is not None:
        raise GeometryError("slices_read is given, so the labels cannot be resampled", where=where)
    source = reading.geometry
    seen = resample_nearest(np.ones(source.shape, dtype=np.uint8), source, target)
    if not seen.any():
        raise GeometryError("the model's image and the readers' have no voxel in common", where=where,
                            got="; ".join(source.canonical().differences(target.canonical())))  # fmt: skip
    told = Resampled(largest_shift_mm(source, target), 1 - float(np.count_nonzero(seen)) / seen.size)
    if isinstance(reading, LabelMap):
        labels = resample_nearest(reading.labels, source, target)
        return replace(reading, labels=labels, geometry=target, _cache={}), told
    masks = {name: resample_nearest(mask, source, target) for name, mask in reading.masks.items()}
    return replace(reading, masks=masks, geometry=target), told


def _around(grids: Mapping[str, Geometry], first: str, where: str) -> Geometry:
    """The grid in the axes of the first that holds all of the others, as far as they lie in its lattice."""
    own = grids[first]
    corners = [
        own.index(grid.world(np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T))
        for grid in grids.values()
    ]
    low = np.rint(np.vstack(corners).min(axis=0)).astype(int)
    high = np.rint(np.vstack(corners).max(axis=0)).astype(int) + 1
    (x, y, z), (nx, ny, nz) = low.tolist(), (high - low).tolist()
    if nx * ny * nz > MOST_TIMES * sum(int(np.prod(grid.shape)) for grid in grids.values()):
        raise GeometryError("the readings lie far apart", where=where, got=f"{nx} x {ny} x {nz} voxels around them",
                            do="Give the image that they were drawn on.")  # fmt: skip
    return own.cropped((x, y, z), (nx, ny, nz))
