"""Connected pieces of labels, and the cavities in them: found, removed and filled, in place.

A piece is a set of voxels of a structure that hang together over faces, edges or corners (26 neighbours); a cavity is
a set of other voxels that hang together over faces (6 neighbours) and that the structure encloses on all sides, so one
that reaches the edge of the image is none. Several labels may count as one structure. A piece that is removed becomes
what surrounds it: the label to which more than half of its faces look, or background where there is none.

Memory beyond the labels: 12 bytes per run of voxels along the fastest axis, 8 per row of the box around the structure
and 48 per piece. The labels are read in the order in which they lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medseg.errors import UsageError
from medseg.imaging import kernels_pieces as kernels
from medseg.shapes import BoolArray, IntArray, IntTriple

CORNER, FACE = 1, 0
RUN_BYTES, ROW_BYTES, PIECE_BYTES = 12, 8, 48


@dataclass(frozen=True, eq=False)
class Pieces:
    """Sets of connected voxels in the box around a structure, numbered from 0.

    Args:
        labels: (A, B, C) view of the labels in the box, axes from the slowest in memory to the fastest.
        order: the labels' own axis along each of these.
        box: where the view lies, along the same axes.
        values: of the structure.
        runs: first run of each row, and one more; first voxel, and the one after the last, and piece of each run.
        count: how many pieces there are.
    """

    labels: IntArray
    order: IntTriple
    box: tuple[slice, slice, slice]
    values: IntArray
    runs: tuple[IntArray, IntArray, IntArray, IntArray]
    count: int

    @cached_property
    def voxels(self) -> IntArray:
        """(count) how many voxels each piece has."""
        found = np.zeros(self.count, np.int64)
        kernels.count_voxels(*self.runs[1:], found)
        return found

    @property
    def is_open(self) -> BoolArray:
        """(count) whether a piece reaches the face of the box."""
        found = np.zeros(self.count, np.bool_)
        kernels.find_open(self.labels.shape, *self.runs, found)
        return found

    def touching(self, values: Sequence[int]) -> BoolArray:
        """(count) whether a voxel of these values lies beside a piece, be it over a corner."""
        found = np.zeros(self.count, np.bool_)
        kernels.find_touching(self.labels, np.array(values, self.labels.dtype), *self.runs, found)
        return found

    def common(self, other: IntArray, values: Sequence[int]) -> IntArray:
        """(count) at how many voxels of each piece another array of the labels' shape has one of these values."""
        found = np.zeros(self.count, np.int64)
        part = other.transpose(self.order)[self.box]
        kernels.count_common(part, np.array(values, other.dtype), *self.runs, found)
        return found

    def surrounding(self, chosen: BoolArray, otherwise: int) -> IntArray:
        """(count) the value to which more than half of the faces of each chosen piece look, or `otherwise`."""
        winners, votes, faces = (np.zeros(self.count, np.int64) for _ in range(3))
        kernels.poll_faces(self.labels, self.values, *self.runs, chosen, False, winners, votes, faces)
        votes[:] = 0
        kernels.poll_faces(self.labels, self.values, *self.runs, chosen, True, winners, votes, faces)
        winners[2 * votes <= faces] = otherwise
        return winners

    def remove(self, chosen: BoolArray, background: int) -> int:
        """Gives the chosen pieces (count) to what surrounds them; says how many voxels that were."""
        if not chosen.any():
            return 0
        values = self.surrounding(chosen, background)
        return kernels.paint(self.labels, *self.runs, chosen, values, self.values)

    def fill(self, chosen: BoolArray, value: int, background: int) -> int:
        """Gives the background in the chosen pieces (count) a value; says how many voxels that were."""
        values = np.full(self.count, value, np.int64)
        return kernels.paint(self.labels, *self.runs, chosen, values, np.array([background], self.labels.dtype))


@dataclass(frozen=True, eq=False)
class Extents:
    """Where in labels each value may lie, found in one pass over them instead of one for every question.

    Args:
        order: the labels' axes from the slowest in memory to the fastest.
        values: that were looked for.
        lows, highs: (values, 3) along these axes; the high is 0 where a value is absent.
    """

    order: IntTriple
    values: tuple[int, ...]
    lows: IntArray
    highs: IntArray

    @classmethod
    def find(cls, labels: IntArray, values: Sequence[int]) -> Extents:
        """The extents of these values in labels (X, Y, Z)."""
        x, y, z = (int(axis) for axis in np.argsort([-abs(stride) for stride in labels.strides], kind="stable"))
        turned = labels.transpose(x, y, z)
        lows = np.tile(np.array(turned.shape, np.int64), (len(values), 1))
        highs = np.zeros((len(values), 3), np.int64)
        kernels.find_extents(turned, np.array(values, labels.dtype), lows, highs)
        return cls((x, y, z), tuple(values), lows, highs)

    def around(self, values: Sequence[int]) -> tuple[IntArray, IntArray] | None:
        """The box around these values, lows and highs (3); None where all are absent."""
        chosen = [self.values.index(value) for value in values if self.highs[self.values.index(value)].all()]
        return (self.lows[chosen].min(axis=0), self.highs[chosen].max(axis=0)) if chosen else None

    def grow(self, values: Sequence[int]) -> None:
        """Makes room for what a step over these values may have given to others."""
        if (box := self.around(values)) is not None:
            there = self.highs.all(axis=1)
            self.lows[there] = np.minimum(self.lows[there], box[0])
            self.highs[there] = np.maximum(self.highs[there], box[1])


@dataclass(frozen=True, eq=False)
class Ground:
    """What is known beside the labels.

    Args:
        background: the value of no structure.
        most_bytes: that may be taken beyond the labels; None sets no limit.
        extents: of the labels' values, where they are known.
    """

    background: int = 0
    most_bytes: int | None = None
    extents: Extents | None = None


PLAIN = Ground()


def find_pieces(labels: IntArray, values: Sequence[int], ground: Ground = PLAIN) -> Pieces | None:
    """The pieces of a structure; None where there is no voxel of it.

    Args:
        labels: (X, Y, Z) integers.
        values: of the structure.

    Raises:
        UsageError: it is in so many pieces that more memory is needed than the ground allows.
    """
    return _find(labels, values, False, ground)


def find_cavities(labels: IntArray, values: Sequence[int], ground: Ground = PLAIN) -> Pieces | None:
    """What a structure leaves of the box around it; the cavities are those pieces that are not open. Else as above."""
    return _find(labels, values, True, ground)


def _find(labels: IntArray, values: Sequence[int], cavities: bool, ground: Ground) -> Pieces | None:
    extents = ground.extents or Extents.find(labels, values)
    if (around := extents.around(values)) is None:
        return None
    turned, wanted = labels.transpose(extents.order), np.array(values, labels.dtype)
    sides = zip(*around, turned.shape, strict=True)  # neighbours of the structure are wanted too
    box = tuple(slice(max(int(low) - 1, 0), min(int(high) + 1, size)) for low, high, size in sides)
    view = turned[box]
    rows = np.zeros(view.shape[0] * view.shape[1] + 1, np.int64)
    kernels.count_runs(view, wanted, cavities, rows)
    np.cumsum(rows, out=rows)
    need = ROW_BYTES * len(rows) + RUN_BYTES * int(rows[-1])
    _check(need, ground.most_bytes)
    starts, stops, numbers = (np.empty(rows[-1], np.int32) for _ in range(3))
    kernels.fill_runs(view, wanted, cavities, rows, starts, stops)
    count = kernels.join_runs(rows, view.shape[1], starts, stops, FACE if cavities else CORNER, numbers)
    _check(need + PIECE_BYTES * count, ground.most_bytes)
    return Pieces(view, extents.order, box, wanted, (rows, starts, stops, numbers), count)  # type: ignore[arg-type]


def _check(need: int, most_bytes: int | None) -> None:
    if most_bytes is not None and need > most_bytes:
        raise UsageError("the labels are in too many pieces for the memory that postprocessing may take",
                         expected=f"{-(-need // 2**20)} MB", got=f"{most_bytes // 2**20} MB",
                         do="Give more, or predict without postprocessing.")  # fmt: skip


def keep_largest(labels: IntArray, values: Sequence[int], count: int = 1, ground: Ground = PLAIN) -> int:
    """Removes all pieces of a structure but its `count` largest; of equal ones the first in memory stays.

    Gives the number of voxels that it changed, 0 where the structure is absent. The other arguments and errors are
    those of `find_pieces`.

    >>> labels = np.array([1, 1, 0, 1, 0, 2]).reshape(6, 1, 1)
    >>> keep_largest(labels, [1]), labels.ravel().tolist()
    (1, [1, 1, 0, 0, 0, 2])
    """
    if (pieces := find_pieces(labels, values, ground)) is None:
        return 0
    chosen = np.ones(pieces.count, np.bool_)
    chosen[largest_first(pieces.voxels)[:count]] = False
    return pieces.remove(chosen, ground.background)


def drop_small(labels: IntArray, values: Sequence[int], least_voxels: float, ground: Ground = PLAIN) -> int:
    """Removes the pieces of a structure that have fewer voxels; else as `keep_largest`.

    >>> labels = np.array([1, 1, 0, 1, 0, 2]).reshape(6, 1, 1)
    >>> drop_small(labels, [1], 1.5), labels.ravel().tolist()
    (1, [1, 1, 0, 0, 0, 2])
    """
    if (pieces := find_pieces(labels, values, ground)) is None:
        return 0
    return pieces.remove(pieces.voxels < least_voxels, ground.background)


def drop_apart(labels: IntArray, values: Sequence[int], organ: Sequence[int], ground: Ground = PLAIN) -> int:
    """Removes the pieces of a structure that nowhere touch an organ, such as lesions outside of it; else as above.

    >>> labels = np.array([1, 2, 0, 1, 0, 0]).reshape(6, 1, 1)
    >>> drop_apart(labels, [1], [2]), labels.ravel().tolist()
    (1, [1, 2, 0, 0, 0, 0])
    """
    if (pieces := find_pieces(labels, values, ground)) is None:
        return 0
    return pieces.remove(~pieces.touching(organ), ground.background)


def fill_cavities(labels: IntArray, value: int, most_voxels: float | None = None, ground: Ground = PLAIN) -> int:
    """Gives the background in the cavities of a structure its value, in those of at most `most_voxels`; else as above.

    Other labels in a cavity stay.

    >>> labels = np.ones((3, 3, 3), np.uint8)
    >>> labels[1, 1, 1] = 0
    >>> fill_cavities(labels, 1), int(labels.min())
    (1, 1)
    """
    if (rest := find_cavities(labels, [value], ground)) is None:
        return 0
    chosen = ~rest.is_open
    if most_voxels is not None:
        chosen &= rest.voxels <= most_voxels
    return rest.fill(chosen, value, ground.background)


def largest_first(voxels: IntArray) -> IntArray:
    """The pieces by falling size."""
    return np.argsort(-voxels, kind="stable")
