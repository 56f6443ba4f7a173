"""Structures by name, and one expert's (or a model's) opinion of where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg.errors import GeometryError, LabelError
from medseg.imaging.geometry import Geometry
from medseg.shapes import BoolArray, IntArray, IntTriple

Box = tuple[slice, slice, slice]
BACKGROUND = "background"
COUNTED_AT_ONCE = 1 << 15  # voxels: few enough to stay in the processor's cache
MAX_LISTED_VALUE = 65_535  # up to here one pass finds the boxes of all values; beyond, each value has its own pass
IGNORE_INDEX = -1  # class index of voxels that must not be learned from or judged


@dataclass(frozen=True)
class LabelSet:
    """Names of structures and the values that stand for them in the files.

    Class index 0 is always the background; the others follow in the order given.

    Args:
        values: name to value; `background` must be there. Values need not be consecutive.
        mirror_pairs: pairs of names that a left/right flip turns into each other.
        ignore: file value of voxels that nobody labelled, or None.

    Raises:
        LabelError: no background, a value used twice, or a mirror pair of unknown names.

    Example:
        >>> labels = LabelSet({"background": 0, "liver": 5})
        >>> labels.names, labels.to_indices(np.array([0, 5]))
        (('background', 'liver'), array([0, 1], dtype=int16))
    """

    values: Mapping[str, int]
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    ignore: int | None = None

    def __post_init__(self) -> None:
        if BACKGROUND not in self.values:
            raise LabelError("the labels have no background", expected="background: 0", got=", ".join(self.values))
        used = [*self.values.values(), *([] if self.ignore is None else [self.ignore])]
        if len(set(used)) < len(used):
            raise LabelError("a label value is used twice", got=str(sorted(used)))
        for name in (name for pair in self.mirror_pairs for name in pair):
            if name not in self.values:
                raise LabelError(f"mirror_pairs names an unknown label '{name}'", expected=", ".join(self.values))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the background first; the position is the class index."""
        return (BACKGROUND, *self.foreground)

    @property
    def foreground(self) -> tuple[str, ...]:
        return tuple(name for name in self.values if name != BACKGROUND)

    @property
    def mirror_indices(self) -> tuple[tuple[int, int], ...]:
        """The mirror pairs as class indices."""
        return tuple((self.names.index(a), self.names.index(b)) for a, b in self.mirror_pairs)

    def to_indices(self, labels: IntArray) -> IntArray:
        """Class indices (int16; ignored voxels `IGNORE_INDEX`) of file values.

        Raises:
            LabelError: a value is neither a label nor the ignore value; all such values are listed.
        """
        known = {self.values[name]: index for index, name in enumerate(self.names)}
        if self.ignore is not None:
            known[self.ignore] = IGNORE_INDEX
        present = count_values(labels)[0]
        if unknown := [value for value in present if value not in known]:
            raise LabelError(
                "label values that the label list does not know",
                expected=", ".join(f"{name} {value}" for name, value in self.values.items()),
                got=", ".join(map(str, unknown[:10])) + (" ..." if len(unknown) > 10 else ""),
                do="Add them under `labels:` in dataset.yaml, or correct the file.",
            )
        indices = np.array([known[value] for value in present], dtype=np.int16)
        if labels.dtype.itemsize > 2 or not present:
            return indices[np.searchsorted(np.array(present, dtype=labels.dtype), labels)]
        table = np.zeros(
            present[-1] - present[0] + 1, dtype=np.int16
        )  # small types: looking up is faster than searching
        table[np.array(present) - present[0]] = indices
        return table[labels.astype(np.int32) - present[0]]

    def to_values(self, indices: IntArray) -> IntArray:
        """File values of class indices; the inverse of `to_indices`.

        Raises:
            LabelError: a voxel is `IGNORE_INDEX`, but the label set has no value for it.
        """
        if self.ignore is None and indices.size and indices.min() == IGNORE_INDEX:
            raise LabelError("voxels to be ignored cannot be written", expected="an `ignore:` value in the label list")
        table = [self.values[name] for name in self.names] + ([] if self.ignore is None else [self.ignore])
        highest, lowest = max(table), min(table)
        kind = np.uint8 if lowest >= 0 and highest < 256 else np.int16 if highest < 32768 > -lowest else np.int32
        return np.array(table, dtype=kind)[indices]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One reading of one case: an integer array in the data set's own label values.

    A structure outside `labelled`, and a slice outside `slices_read`, was not read: that is missing, not empty.

    Args:
        labels: (X, Y, Z) integers, values of `label_set` (or its ignore value).
        geometry: the grid.
        label_set: names and values.
        labelled: names of the structures that the rater looked for, or None for all.
        slices_read: first and last slice (inclusive, along the array's third axis) that the rater read, or None.
    """

    labels: IntArray
    geometry: Geometry
    label_set: LabelSet
    labelled: tuple[str, ...] | None = None
    slices_read: tuple[int, int] | None = None
    _cache: dict[str, IntArray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.labels.shape != self.geometry.shape:
            raise GeometryError("array and grid differ", expected=str(self.geometry.shape), got=str(self.labels.shape))

    @property
    def indices(self) -> IntArray:
        """Class indices (X, Y, Z); `IGNORE_INDEX` where the file says ignore or the slice was not read."""
        if "indices" not in self._cache:
            indices = self.label_set.to_indices(self.labels)
            indices[~self.read_slices] = IGNORE_INDEX
            self._cache["indices"] = indices
        return self._cache["indices"]

    @property
    def read_slices(self) -> BoolArray:
        """(X, Y, Z) boolean view, True where the rater read the slice."""
        return slices_mask(self.geometry.shape, self.slices_read)

    def was_read(self, name: str) -> bool:
        """Whether the rater looked for this structure."""
        return self.labelled is None or name in self.labelled

    def mask(self, name: str) -> BoolArray:
        """(X, Y, Z) boolean mask of one structure.

        Raises:
            LabelError: the label set has no such name.
        """
        if name not in self.label_set.values:
            raise LabelError(f"unknown label '{name}'", expected="one of " + ", ".join(self.label_set.values))
        return self.labels == self.label_set.values[name]

    def mask_in(self, name: str, box: Box) -> BoolArray:
        """The part of a mask inside a box; nothing is marked under a name that the label set lacks."""
        value = self.label_set.values.get(name)  # bare folders: a file that lacks the value marks nothing
        labels = self.labels[box]
        return np.zeros(labels.shape, dtype=bool) if value is None else labels == value

    def known_in(self, box: Box) -> BoolArray | None:
        """Where inside the box the rater's opinion is known (slice read, not ignored), or None for everywhere."""
        ignore = self.label_set.ignore
        if self.slices_read is None and (ignore is None or not (self.labels[box] == ignore).any()):
            return None
        read = self.read_slices[box]
        return read.copy() if ignore is None else read & (self.labels[box] != ignore)

    def boxes(self) -> dict[str, Box]:
        """The box around each structure that the reading holds, all from one pass over its voxels."""
        values = {name: self.label_set.values[name] for name in self.label_set.foreground}
        low, high = min(values.values(), default=1), max(values.values(), default=1)
        if low > 0 and high <= MAX_LISTED_VALUE:
            found = _find_boxes(self.labels, high)
            boxes = {name: found[value - 1] for name, value in values.items()}
        else:
            boxes = {name: _find_boxes((self.labels == value).view(np.uint8), 1)[0] for name, value in values.items()}
        return {name: box for name, box in boxes.items() if box is not None}


def _find_boxes(labels: IntArray, highest: int) -> list[Box | None]:
    """The box around each value from 1 to `highest`."""
    if labels.flags.f_contiguous:  # as files are read; scipy walks in C order and is five times slower across it
        return [box and box[::-1] for box in ndimage.find_objects(labels.T, max_label=highest)]
    return ndimage.find_objects(labels, max_label=highest)


def slices_mask(shape: IntTriple, slices_read: tuple[int, int] | None) -> BoolArray:
    """(X, Y, Z) boolean view, True on the slices first to last (inclusive, along Z); everywhere for None."""
    read = np.ones(shape[2], dtype=bool)
    if slices_read is not None:
        read[:] = False
        read[slices_read[0] : slices_read[1] + 1] = True
    return np.broadcast_to(read, shape)


def count_values(values: IntArray) -> tuple[list[int], list[int]]:
    """The different values in an integer array, ascending, and how often each occurs.

    >>> count_values(np.array([[0, 5], [5, 5]]))
    ([0, 5], [1, 3])
    """
    if values.dtype.itemsize > 2 or not values.size:
        present, counts = np.unique(values, return_counts=True)
        return present.tolist(), counts.tolist()
    lowest, highest = int(values.min()), int(values.max())
    counts = np.zeros(highest - lowest + 1, dtype=np.int64)
    flat = values.ravel(order="K")  # as they lie in memory: C order would copy a file's columns one by one
    for start in range(0, flat.size, COUNTED_AT_ONCE):
        block = flat[start : start + COUNTED_AT_ONCE].astype(np.int32) - lowest
        counts += np.bincount(block, minlength=len(counts))
    present = np.flatnonzero(counts)
    return (present + lowest).tolist(), counts[present].tolist()


def whole_numbers(values: npt.NDArray[Any], *, where: str = "") -> IntArray:
    """The same values in the smallest integer type that holds them all: uint8, int16, int32 or int64.

    Raises:
        LabelError: a value is no integer or does not fit into 64 bits; `where` stands first.

    >>> whole_numbers(np.array([0.0, 300.0])).dtype
    dtype('int16')
    """
    if not np.issubdtype(values.dtype, np.integer):
        with np.errstate(invalid="ignore"):
            fractional = values[~(np.isfinite(values) & (values == np.rint(values)) & (np.abs(values) < 2.0**63))]
        if fractional.size:
            raise LabelError(
                f"{fractional.size} label voxels are no integers",
                where=where,
                got=", ".join(f"{value:g}" for value in np.unique(fractional)[:5]),
                do="Labels must not be interpolated; threshold or export them again.",
            )
        values = values.astype(np.int64)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    # never uint16, which few tools read
    kinds = (np.uint8, np.int16, np.int32, np.int64)
    kind = next((kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max), None)
    if kind is None:
        raise LabelError("label values do not fit into 64 bits", where=where, got=str(high))
    return values.astype(kind, copy=False)
