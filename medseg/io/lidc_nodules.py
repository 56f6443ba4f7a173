"""LIDC-IDRI readings on the voxels of their CT: masks of each reader, and which readers mean the same nodule.

**Mask.** The outline was drawn around the nodule and does not belong to it (Armato et al. 2011: "outer border"). A
nodule's pixels on a slice are those inside an inclusion outline but not on it, without those inside or on an exclusion
outline; inside is judged by the even-odd rule. So a small outline can hold no pixel at all.

**Slice.** An outline belongs to the slice whose SOPInstanceUID it names; its z must agree within 0.1 mm.

**Same nodule.** Two readers' outlines can mean the same nodule when their masks share a voxel or their outlines come
closer than the tolerance, by default the distance between slices. Such pairs are joined in the order of their Dice,
then of their distance, as long as no nodule would hold two outlines of one reader. What is left over stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from medseg.errors import FileReadError, LabelError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.contours import rasterise
from medseg.imaging.geometry import Geometry
from medseg.io.lidc_xml import LidcContour, LidcNodule, LidcReader, LidcReadings, read_lidc_xml
from medseg.io.series_facts import SeriesFacts
from medseg.shapes import BoolArray, FloatArray, IntArray

Z_TOLERANCE_MM = 0.1


@dataclass(frozen=True, eq=False)
class PlacedNodule:
    """A reader's nodule on the acquired slices.

    Args:
        reader: from 1.
        pixels: (N, 3) column, row and slice of every pixel inside.
        outline_mm: (M, 3) the points of its inclusion outlines, RAS.
        ratings: see `LidcNodule`.
    """

    reader: int
    pixels: IntArray
    outline_mm: FloatArray
    ratings: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class LidcStudy:
    """All readings of one CT.

    Args:
        readers: of the file; a reader without a nodule looked and saw none.
        nodules: nodule k + 1 as reader to reading, ordered by Z, then Y, then X of its first outline's middle.
        acquisition: the CT's slices and grid.
    """

    readers: tuple[LidcReader, ...]
    nodules: tuple[Mapping[int, PlacedNodule], ...]
    acquisition: Acquisition

    @property
    def geometry(self) -> Geometry:
        """The grid of the masks."""
        return self.acquisition.geometry

    def mask(self, reader: int, nodule: int | None = None) -> BoolArray:
        """(X, Y, Z) mask of a nodule (from 1) as a reader saw it, or of all that the reader outlined.

        Empty when the reader did not outline it.
        """
        chosen = self.nodules if nodule is None else self.nodules[nodule - 1 : nodule]
        mask = np.zeros((*self.acquisition.shape, len(self.acquisition.affines)), dtype=bool, order="F")
        for readings in chosen:
            if reader in readings:
                mask[tuple(readings[reader].pixels.T)] = True
        return self.acquisition.to_grid(mask).astype(bool, copy=False)

    def masks(self, reader: int) -> dict[str, BoolArray]:
        """A mask for every nodule of the study, `nodule_1` first; empty for those that this reader did not outline."""
        return {f"nodule_{number}": self.mask(reader, number) for number in range(1, len(self.nodules) + 1)}

    def facts(self, reader: int) -> dict[str, Any]:
        """Where a reader's masks come from and what was said besides, ready for JSON."""
        own = self.readers[reader - 1]
        rated = {f"nodule_{number}": dict(readings[reader].ratings)
                 for number, readings in enumerate(self.nodules, start=1) if reader in readings}  # fmt: skip
        return {"source": "LIDC-IDRI XML", "reader": reader, "anonymous": True, "ratings": rated,
                "marks_below_3_mm": len(own.marks), "non_nodules": own.non_nodules}  # fmt: skip


def read_lidc(
    path: str | Path,
    series: SeriesFacts,
    acquisition: Acquisition,
    *,
    tolerance_mm: float | None = None,
    where: str = "",
) -> LidcStudy:
    """The readings of a file on the grid of its CT.

    Args:
        tolerance_mm: how far apart two readers' outlines of one nodule may lie; by default the distance between
            slices.

    Raises:
        FileReadError: see `read_lidc_xml`; the file belongs to another series.
        LabelError: outlines on slices that the series lacks, off their slice, or outside it.
    """
    where = where or "a LIDC XML file"
    readings = read_lidc_xml(path, where=where)
    placed = place(readings, series, acquisition, where=where)
    tolerance = acquisition.geometry.spacing_mm[2] if tolerance_mm is None else tolerance_mm
    return LidcStudy(readings.readers, cluster(placed, tolerance), acquisition)


def place(
    readings: LidcReadings, series: SeriesFacts, acquisition: Acquisition, *, where: str = ""
) -> tuple[PlacedNodule, ...]:
    """Every outlined nodule on the acquired slices, reader by reader.

    Raises:
        FileReadError, LabelError: as `read_lidc`.
    """
    if readings.series_uid and series.uid and readings.series_uid != series.uid:
        raise FileReadError(f"the readings belong to another series than {series.id}", where=where,
                            do="Give each XML file the CT that it was made on (--series).")  # fmt: skip
    nodules = [nodule for reader in readings.readers for nodule in reader.nodules]
    contours = [contour for nodule in nodules for contour in nodule.contours]
    if missing := sum(contour.image_uid not in series.instance_uids for contour in contours):
        raise LabelError(f"outlines lie on slices that {series.id} lacks", where=where,
                         expected=f"{len(contours)} outlines on slices of the series", got=f"{missing} on others",
                         do="Give the whole series, or the one that was read (--series).")  # fmt: skip
    return tuple(_placed(nodule, series, acquisition, where) for nodule in nodules)


def cluster(nodules: Sequence[PlacedNodule], tolerance_mm: float) -> tuple[dict[int, PlacedNodule], ...]:
    """Which readings mean the same nodule: reader to reading, each reader at most once; rule in the module docstring.

    >>> cluster([], 2.5)
    ()
    """
    groups = [{nodule.reader: nodule} for nodule in nodules]
    owner = list(range(len(nodules)))
    for _, _, first, second in sorted(_pairs(nodules, tolerance_mm)):
        one, other = owner[first], owner[second]
        if one != other and not groups[one].keys() & groups[other].keys():
            groups[one] |= groups[other]
            owner = [one if place == other else place for place in owner]
    found = [dict(sorted(groups[index].items())) for index in dict.fromkeys(owner)]
    return tuple(sorted(found, key=_middle))


def _pairs(nodules: Sequence[PlacedNodule], tolerance_mm: float) -> list[tuple[float, float, int, int]]:
    """(-Dice, distance in mm, first, second) of all pairs of different readers that can mean one nodule."""
    found = []
    trees = [KDTree(nodule.outline_mm) for nodule in nodules]
    voxels = [{tuple(pixel) for pixel in nodule.pixels.tolist()} for nodule in nodules]
    for first, second in _near(nodules, tolerance_mm):
        distance = float(trees[first].query(nodules[second].outline_mm)[0].min())
        shared = len(voxels[first] & voxels[second])
        if shared or distance <= tolerance_mm:
            dice = 2 * shared / max(1, len(voxels[first]) + len(voxels[second]))
            found.append((-dice, distance, first, second))
    return found


def _near(nodules: Sequence[PlacedNodule], tolerance_mm: float) -> Iterator[tuple[int, int]]:
    """Pairs of different readers whose boxes come within the tolerance: most pairs need no closer look."""
    low = np.array([nodule.outline_mm.min(axis=0) for nodule in nodules]).reshape(-1, 3)
    high = np.array([nodule.outline_mm.max(axis=0) for nodule in nodules]).reshape(-1, 3)
    reader = np.array([nodule.reader for nodule in nodules])
    for first in range(len(nodules)):
        apart = np.maximum(low[first] - high, low - high[first]).max(axis=1)
        others = np.flatnonzero((apart <= tolerance_mm) & (reader != reader[first]))
        yield from ((first, int(second)) for second in others[others > first])


def _middle(readings: Mapping[int, PlacedNodule]) -> tuple[float, ...]:
    first = next(iter(readings.values())).outline_mm
    return tuple(float(mm) for mm in np.round((first.min(axis=0) + first.max(axis=0)) / 2, 6)[::-1])


def _placed(nodule: LidcNodule, series: SeriesFacts, acquisition: Acquisition, where: str) -> PlacedNodule:
    by_slice: dict[int, list[LidcContour]] = {}
    outline = []
    for contour in nodule.contours:
        index = int(series.instance_uids[contour.image_uid])
        _check_contour(contour, index, nodule.reader, acquisition, where)
        by_slice.setdefault(index, []).append(contour)
        if contour.inclusion:
            points = np.column_stack([contour.points, np.zeros(len(contour.points)), np.ones(len(contour.points))])
            outline.append((points @ acquisition.affines[index].T)[:, :3])
    if not outline:
        raise LabelError(f"a nodule of reader {nodule.reader} with exclusions only", where=where)
    pixels = [_pixels(contours, index) for index, contours in by_slice.items()]
    return PlacedNodule(nodule.reader, np.concatenate(pixels), np.concatenate(outline), nodule.ratings)


def _check_contour(contour: LidcContour, index: int, reader: int, acquisition: Acquisition, where: str) -> None:
    if not 0 <= index < len(acquisition.affines):
        raise LabelError(f"an outline of reader {reader} lies on a slice that the volume lacks", where=where)
    if (contour.points >= np.array(acquisition.shape)).any():
        raise LabelError(f"an outline of reader {reader} leaves the slice", where=where,
                         expected=f"pixels of {acquisition.shape[0]} x {acquisition.shape[1]}",
                         got=f"column {contour.points[:, 0].max()}, row {contour.points[:, 1].max()}",
                         do="The outlines belong to another reconstruction (--series).")  # fmt: skip
    z_mm = float(acquisition.affines[index, 2, 3])
    if abs(contour.z_mm - z_mm) > Z_TOLERANCE_MM:
        raise LabelError(f"an outline of reader {reader} does not lie at the height of its slice", where=where,
                         expected=f"z {z_mm:.6g} mm", got=f"{contour.z_mm:.6g} mm",
                         do="Check that the XML and the CT belong together.")  # fmt: skip


def _pixels(contours: Sequence[LidcContour], index: int) -> IntArray:
    """(N, 3) pixels inside the outlines of one nodule on one slice."""
    points = np.concatenate([contour.points for contour in contours])
    corner = points.min(axis=0)
    shape = points.max(axis=0) - corner + 1
    inside = np.zeros(shape, dtype=bool)
    excluded = np.zeros(shape, dtype=bool)
    for contour in contours:
        filled, edge = _filled(contour.points - corner, (int(shape[0]), int(shape[1])))
        if contour.inclusion:
            inside |= filled & ~edge
        else:
            excluded |= filled | edge
    found = np.argwhere(inside & ~excluded) + corner
    return np.column_stack([found, np.full(len(found), index)])


def _filled(points: IntArray, shape: tuple[int, int]) -> tuple[BoolArray, BoolArray]:
    """The pixels inside a closed outline, and those whose centres lie exactly on it."""
    edge = np.zeros(shape, dtype=bool)
    following = np.roll(points, -1, axis=0)
    for start, step in zip(points, following - points, strict=True):
        count = max(1, int(np.gcd(*np.abs(step))))  # so many whole pixels lie on the way, for a neighbour just itself
        on_way = start + np.outer(np.arange(count), step // count)
        edge[on_way[:, 0], on_way[:, 1]] = True
    return rasterise([points.astype(np.float64)], shape), edge
