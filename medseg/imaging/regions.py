"""Structures as separate boolean masks that may overlap, and when they may become one label map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

import numpy as np

from medseg.errors import GeometryError, LabelError
from medseg.imaging.geometry import Geometry, reorient
from medseg.imaging.labels import BACKGROUND, Box, LabelMap, LabelSet, slices_mask
from medseg.imaging.lattice import transfer
from medseg.shapes import BoolArray, IntArray

Overlap = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class RegionMap:
    """One reading of one case whose structures may overlap: a mask each, otherwise as `LabelMap`.

    A structure without a mask was not read, unless `labelled` names it: then the rater looked and found nothing.

    Args:
        masks: name of a foreground structure to (X, Y, Z) boolean mask.
        geometry: the grid.
        label_set: all names of the data set and their values.
        labelled: names of the structures that the rater looked for, or None for those that have a mask.
        slices_read: first and last slice (inclusive, along the arrays' third axis) that the rater read, or None.

    Raises:
        GeometryError: a mask has another shape than the grid.
        LabelError: a mask is not boolean, or its name is no foreground structure of the label set.
    """

    masks: Mapping[str, BoolArray]
    geometry: Geometry
    label_set: LabelSet
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check_names(self.masks, self.label_set)
        for name, mask in self.masks.items():
            if mask.shape != self.geometry.shape:
                raise GeometryError(f"the mask of '{name}' and the grid differ", expected=str(self.geometry.shape),
                                    got=str(mask.shape))  # fmt: skip
            if mask.dtype != np.bool_:
                raise LabelError(f"the mask of '{name}' is not boolean", got=str(mask.dtype))

    @property
    def read_slices(self) -> BoolArray:
        """(X, Y, Z) boolean view, True where the rater read the slice."""
        return slices_mask(self.geometry.shape, self.slices_read)

    @property
    def indices(self) -> IntArray:
        """Class indices (X, Y, Z) as those of `LabelMap`.

        Raises:
            LabelError: regions overlap; they cannot stand in one label map.
        """
        return self.merged().indices

    def was_read(self, name: str) -> bool:
        """Whether the rater looked for this structure."""
        return name in (self.masks if self.labelled is None else self.labelled)

    def mask(self, name: str) -> BoolArray:
        """(X, Y, Z) boolean mask of one structure; empty when the rater marked none.

        Raises:
            LabelError: the label set has no such name, or the name is that of the background.
        """
        _check_names([name], self.label_set)
        return self.masks[name] if name in self.masks else np.zeros(self.geometry.shape, dtype=bool)

    def mask_in(self, name: str, box: Box) -> BoolArray:
        """The part of a mask inside a box; nothing is marked under a name that is not there."""
        if name in self.masks:
            return self.masks[name][box]
        return np.zeros(np.broadcast_to(False, self.geometry.shape)[box].shape, dtype=bool)

    def known_in(self, box: Box) -> BoolArray | None:
        """Where inside the box the rater's opinion is known, or None for everywhere."""
        return None if self.slices_read is None else self.read_slices[box]

    def boxes(self) -> dict[str, Box]:
        """The box around each structure that the reading holds; an empty mask has none."""
        return {name: box for name, mask in self.masks.items() if (box := box_of(mask)) is not None}

    def merged(self, priority: Sequence[str] | None = None, *, where: str = "") -> LabelMap:
        """The same reading as one integer label map in the data set's own values.

        Raises:
            LabelError: regions overlap and `priority` does not say which of them wins.
        """
        if self.masks:
            labels = merge(self.masks, self.label_set, priority, voxel_ml=self.geometry.voxel_ml, where=where)
        else:
            labels = self.label_set.to_values(np.zeros(self.geometry.shape, dtype=np.int16))
        labelled = tuple(name for name in self.label_set.foreground if self.was_read(name))
        complete = len(labelled) == len(self.label_set.foreground)
        return LabelMap(labels, self.geometry, self.label_set, None if complete else labelled, self.slices_read)


Reading: TypeAlias = LabelMap | RegionMap


def overlaps(masks: Mapping[str, BoolArray]) -> list[Overlap]:
    """Every pair of masks that share voxels, with their number, in the order of the masks; empty when none do.

    >>> wide, left = np.array([[[True, True]]]), np.array([[[True, False]]])
    >>> overlaps({"kidney": wide, "tumour": left})
    [('kidney', 'tumour', 1)]
    """
    boxes = {name: box for name, mask in masks.items() if (box := box_of(mask)) is not None}
    found = []
    for a, b in combinations(boxes, 2):
        box = tuple(slice(max(i.start, j.start), min(i.stop, j.stop)) for i, j in zip(boxes[a], boxes[b], strict=True))
        if all(side.start < side.stop for side in box) and (shared := np.count_nonzero(masks[a][box] & masks[b][box])):
            found.append((a, b, int(shared)))
    return found


def merge(
    masks: Mapping[str, BoolArray],
    label_set: LabelSet,
    priority: Sequence[str] | None = None,
    *,
    voxel_ml: float | None = None,
    where: str = "",
) -> IntArray:
    """One integer array (X, Y, Z) in the label set's own values; voxels of no mask are background.

    Args:
        masks: at least one, all of one shape.
        priority: names of which the first wins where regions overlap, and any of them over a name that is not listed.
        voxel_ml: volume of a voxel, for the message.
        where: what stands first in the message.

    Raises:
        LabelError: an unknown name, or regions overlap and `priority` does not say which of them wins.

    >>> wide, left = np.array([[[True, True]]]), np.array([[[True, False]]])
    >>> labels = LabelSet({"background": 0, "kidney": 1, "tumour": 2})
    >>> merge({"kidney": wide, "tumour": left}, labels, priority=["tumour"]).tolist()
    [[[2, 1]]]
    """
    ranks = {name: rank for rank, name in enumerate(priority or ())}
    _check_names([*masks, *ranks], label_set, where)
    undecided = [pair for pair in overlaps(masks) if pair[0] not in ranks and pair[1] not in ranks]
    if undecided:
        raise LabelError(
            "regions overlap, and nothing says which of them wins",
            where=where,
            expected="separate regions, or a declared priority",
            got=", ".join(_overlap_texts(undecided, voxel_ml)),
            do="Keep them as separate masks (`masks:` in dataset.yaml), or declare a priority.",
        )
    indices = np.zeros_like(next(iter(masks.values())), dtype=np.int16)  # keeps the masks' order in memory
    for name in sorted(masks, key=lambda name: -ranks.get(name, len(ranks))):  # the first of the priority paints last
        np.copyto(indices, label_set.names.index(name), where=masks[name])
    return label_set.to_values(indices)


def refuse_overlaps(reading: Reading, *, where: str) -> None:
    """Raises LabelError when regions of the reading overlap: one class per voxel is all that training can learn."""
    if isinstance(reading, RegionMap) and (found := overlaps(reading.masks)):
        raise LabelError(
            "regions that overlap cannot be trained on yet (they will be trained as sigmoid regions later)",
            where=where,
            expected="regions without a common voxel",
            got=", ".join(_overlap_texts(found, reading.geometry.voxel_ml)),
            do="Import them with a declared priority; evaluation and agreement accept them as they are.",
        )


def turned(reading: Reading, target: Geometry) -> Reading:
    """The same voxels stored with the axis order and flips of `target`, the same lattice.

    Raises:
        GeometryError: the two are not the same lattice.
    """
    if isinstance(reading, LabelMap):
        return replace(reading, labels=reorient(reading.labels, reading.geometry, target), geometry=target, _cache={})
    masks = {name: reorient(mask, reading.geometry, target) for name, mask in reading.masks.items()}
    return replace(reading, masks=masks, geometry=target)


def placed(reading: Reading, target: Geometry, *, where: str = "") -> Reading:
    """The same voxels on a grid of the same lattice that holds them all; nothing is marked beyond the reading's own.

    Raises:
        GeometryError: an interpolation would be needed, or marked voxels lie outside the grid.
    """
    try:
        if isinstance(reading, LabelMap):
            labels = transfer(reading.labels, reading.geometry, target)
            return replace(reading, labels=labels, geometry=target, _cache={})
        masks = {name: transfer(mask, reading.geometry, target) for name, mask in reading.masks.items()}
        return replace(reading, masks=masks, geometry=target)
    except GeometryError as error:
        raise GeometryError(error.what, where=where, expected=error.expected, got=error.got, do=error.do) from None


def box_of(mask: BoolArray) -> Box | None:
    """The smallest box around the marked voxels, or None when there is none."""
    sides = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not marked.size:
            return None
        sides.append(slice(int(marked[0]), int(marked[-1]) + 1))
    return sides[0], sides[1], sides[2]


def _overlap_texts(found: Sequence[Overlap], voxel_ml: float | None, most: int = 5) -> Iterator[str]:
    for a, b, voxels in found[:most]:
        ml = "" if voxel_ml is None else f" ({voxels * voxel_ml:.3g} ml)"
        yield f"{a} and {b} share {voxels} voxels{ml}"
    if len(found) > most:
        yield f"and {len(found) - most} more pairs"


def _check_names(names: Mapping[str, BoolArray] | Sequence[str], label_set: LabelSet, where: str = "") -> None:
    for name in names:
        if name == BACKGROUND or name not in label_set.values:
            raise LabelError(f"'{name}' is no structure of the label set", where=where,
                             expected="one of " + ", ".join(label_set.foreground))  # fmt: skip
