"""Class scores on the standardised grid become labels and probabilities on the study's own, slab by slab.

Never do all classes exist at the study's size: planes of scores come in one after the other, and as soon as all that a
slice of the study is made of has come, the slice is finished and the planes that no later slice needs are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from medseg.errors import GeometryError
from medseg.imaging.bands import Taps, cubic_taps, linear_taps
from medseg.imaging.geometry import Geometry
from medseg.imaging.resample import TIE_DECIMALS, processors, resample_cubic, resample_linear
from medseg.imaging.separable import align, interpolate, spread
from medseg.preprocessing.kernels_doubt import COLUMNS, doubt_of_scores, fill_doubt
from medseg.preprocessing.kernels_restore import fill_winners, keep_better
from medseg.preprocessing.restore_doubt import Doubt
from medseg.shapes import FloatArray, IntArray, IntTriple

Order = Literal[1, 3]
TAPS: dict[int, Callable[[FloatArray, int], Taps]] = {1: linear_taps, 3: cubic_taps}
SCRATCH_BYTES = 2**24  # of interpolated scores at a time, so that they stay near the processor
NOWHERE = -1e4  # the logit of a class where the standardised grid does not reach: its probability is 0 in float32
PIECES = 4  # per thread, so that none waits long for the last
PARTIAL_SUMS = 16  # of each chunk, whatever the number of threads, so that it does not change the sums
Lines = tuple[IntArray, IntArray, FloatArray]
Sink = Callable[[tuple[slice, slice, slice], FloatArray], None]  # a box of the study, probabilities (C, *box)


@dataclass(frozen=True, eq=False)
class WayBack:
    """How the study's voxels lie on the standardised grid, axis by axis.

    Args:
        axes: standardised axes from the slowest of the study's memory to the fastest: planes, rows, columns.
        native: the study's axis along each of them.
        boxes: the study's voxels along each of them that lie in the standardised grid's field of view.
        taps: the standardised voxels of which each of these is made.
    """

    axes: IntTriple
    native: IntTriple
    boxes: tuple[slice, slice, slice]
    taps: tuple[Taps, Taps, Taps]

    @property
    def window(self) -> int:
        """The most standardised planes of which one of the study's is made."""
        columns = self.taps[0].columns
        return int((columns.max(axis=1) - columns.min(axis=1)).max()) + 1

    def view(self, array: Any) -> Any:
        """The part of an array of the study's shape that lies in the field of view, axes as planes, rows, columns."""
        return array.transpose(self.native)[self.boxes]

    def native_box(self, planes: slice) -> tuple[slice, slice, slice]:
        """The study's own box of some of the planes."""
        own = [slice(0)] * 3
        start = self.boxes[0].start
        own[self.native[0]] = slice(start + planes.start, start + planes.stop)
        own[self.native[1]], own[self.native[2]] = self.boxes[1:]
        return own[0], own[1], own[2]


def find_way(standard: Geometry, target: Geometry, axes: IntTriple | None = None, order: Order = 1) -> WayBack | None:
    """None where the axes of the two grids are not parallel, or where they share no voxel.

    Args:
        axes: standardised axes as planes, rows and columns; by default the target's third, second and first, the
            order in which readers lay out a volume.
    """
    if (alignment := align(standard, target)) is None:
        return None
    own = {axis: k for k, axis in enumerate(alignment.axes)}  # the study's axis along each standardised one
    axes = axes or (alignment.axes[2], alignment.axes[1], alignment.axes[0])
    boxes, taps = [], []
    for axis in axes:
        positions, n = alignment.positions[own[axis]], standard.shape[axis]
        rounded = np.round(positions, TIE_DECIMALS)
        seen = np.flatnonzero((rounded >= -0.5) & (rounded < n - 0.5))  # the rule of `imaging.resample`
        if not len(seen):
            return None
        boxes.append(slice(int(seen[0]), int(seen[-1]) + 1))
        taps.append(TAPS[order](positions[boxes[-1]], n))
    return WayBack(axes, (own[axes[0]], own[axes[1]], own[axes[2]]), tuple(boxes), tuple(taps))  # type: ignore[arg-type]


@dataclass(eq=False)
class Restoration:
    """Takes planes of scores in rising order and fills labels, and on request probabilities, of the study.

    Args:
        way: from `find_way`.
        labels: array of the study's shape to be filled; holds the background's value where nothing is written.
        table: the label value of each class, of the same type as `labels`; the planes may hold more channels behind
            the classes, which only `doubt` sees.
        order: 1 for linear, 3 for cubic interpolation.
        sink: takes finished probabilities (softmax of the interpolated scores) box by box.
        doubt: takes what these leave open.
        threads: at most so many; the result is the same for any number.
    """

    way: WayBack
    labels: IntArray
    table: IntArray
    order: Order = 1
    sink: Sink | None = None
    threads: int = 1
    doubt: Doubt | None = None
    _room: FloatArray | None = None  # planes that a slice still needs, and those that came last
    _held: int = 0  # planes in _room
    _first: int = 0  # the standardised plane that _room begins with
    _left: list[int] = field(default_factory=list)  # the study's planes still to be made, the next one first

    def __post_init__(self) -> None:
        columns = self.way.taps[0].columns
        count = len(columns)
        rising = columns[-1].max() >= columns[0].max()
        self._left = list(range(count)) if rising else list(range(count - 1, -1, -1))
        self._lows, self._highs = columns.min(axis=1), columns.max(axis=1)

    def put(self, planes: FloatArray) -> None:
        """The next planes (P, C, M, N) float32, C-contiguous; axes as in `way.axes`."""
        if not self._left:
            return
        held = self._joined(planes)
        known = self._first + len(held)
        ready = 0
        while ready < len(self._left) and self._highs[self._left[ready]] < known:
            ready += 1
        if ready:
            self._fill(held, sorted(self._left[:ready]))
            self._left = self._left[ready:]
        low = min((int(self._lows[k]) for k in self._left[:1]), default=known)
        low = min(max(low, self._first), known)
        self._keep(held, low - self._first)
        self._first = low

    def _joined(self, planes: FloatArray) -> FloatArray:
        """What is held, and behind it the planes; in one place that is used again and again."""
        if not self._held:
            return planes
        need = self._held + len(planes)
        if self._room is None or len(self._room) < need:
            room = np.empty((max(need, self.way.window + len(planes)), *planes.shape[1:]), np.float32)
            if self._room is not None:
                room[: self._held] = self._room[: self._held]
            self._room = room
        self._room[self._held : need] = planes
        return self._room[:need]

    def _keep(self, held: FloatArray, gone: int) -> None:
        """Moves all planes but the first `gone` to the beginning of the room."""
        self._held = len(held) - gone
        if not self._held:
            return
        if self._room is None:
            self._room = np.empty((self.way.window + len(held), *held.shape[1:]), np.float32)
        for k in range(self._held):  # one by one: a plane may lie where another is to go
            self._room[k] = held[gone + k]

    def _fill(self, held: FloatArray, outputs: list[int]) -> None:
        width = self.way.taps[1].columns.shape[0] * self.way.taps[2].columns.shape[0]
        whole = self.sink is not None or (self.doubt is not None and self.order == 3)
        depth = held.shape[1] if whole else 2 if self.doubt is not None else 1
        step = max(1, SCRATCH_BYTES // (4 * width * depth))
        for first in range(outputs[0], outputs[-1] + 1, step):
            part = slice(first, min(first + step, outputs[-1] + 1))
            self._labels_of(held, part)
            if self.sink is not None:
                self._probabilities_of(held, part, self.sink)
            if self.doubt is not None:
                self._doubt_of(held, part, self.doubt)

    def _taps(self, part: slice) -> Taps:
        taps, low = self.way.taps[0], int(self._lows[part].min())
        return Taps(taps.columns[part] - low, taps.weights[part], int(self._highs[part].max()) + 1 - low)

    def _labels_of(self, held: FloatArray, part: slice) -> None:
        target = self.way.view(self.labels)[part]
        winners = np.empty(target.shape, self.labels.dtype)
        if self.order == 1:
            across, rows, columns = self._all_lines(part)

            def fill(ranges: Any) -> None:
                for first, last in ranges:
                    fill_winners(held, across, rows, columns, self.table, winners, first, last)

            spread(fill, _ranges(target.shape[1], self.threads * PIECES), self.threads, winners.size * held.shape[1])
        else:
            best = self._interpolated(held, part, [0])[0]
            index = np.zeros(best.shape, np.int32)
            for c in range(1, len(self.table)):
                keep_better(self._interpolated(held, part, [c]).ravel(), c, best.ravel(), index.ravel(), 0, best.size)
            winners[...] = self.table[index]
        target[...] = winners

    def _interpolated(self, held: FloatArray, part: slice, channels: Sequence[int]) -> FloatArray:
        """Some channels (channels, K, J, I) of the study's planes."""
        taps = (self._taps(part), *self.way.taps[1:])
        low = int(self._lows[part].min()) - self._first
        out = np.empty([len(channels), *(len(t.columns) for t in taps)], np.float32)
        for own, c in zip(out, channels, strict=True):
            interpolate(held[low : low + taps[0].inputs, c], taps, own, threads=self.threads)
        return out

    def _probabilities_of(self, held: FloatArray, part: slice, sink: Sink) -> None:
        scores = self._interpolated(held, part, range(len(self.table)))
        sink(self.way.native_box(part), softmax(scores).transpose(0, *(1 + np.argsort(self.way.native))))

    def _doubt_of(self, held: FloatArray, part: slice, doubt: Doubt) -> None:
        shape = self.way.view(self.labels)[part].shape
        ranges = _ranges(shape[1], PARTIAL_SUMS)
        found = np.empty((1 + held.shape[1] - len(self.table), *shape), np.float32)
        sums = np.zeros((len(ranges), len(self.table), COLUMNS))
        lines = self._all_lines(part) if self.order == 1 else None
        scores = held if lines else self._interpolated(held, part, range(held.shape[1]))

        def fill(pieces: Any) -> None:
            for piece in pieces:
                if lines:
                    fill_doubt(scores, *lines, found, sums[piece], *ranges[piece])
                else:
                    doubt_of_scores(scores, found, sums[piece], *ranges[piece])

        spread(fill, range(len(ranges)), self.threads, found[0].size * held.shape[1])
        doubt.take(self.way.native_box(part), found.transpose(0, *(1 + np.argsort(self.way.native))), sums.sum(axis=0))

    def _all_lines(self, part: slice) -> tuple[Lines, Lines, Lines]:
        across = _part(self.way.taps[0], part)
        return _lines(across, self._first), _lines(self.way.taps[1], 0), _lines(self.way.taps[2], 0)


def _part(taps: Taps, part: slice) -> Taps:
    return Taps(taps.columns[part], taps.weights[part], taps.inputs)


def _lines(taps: Taps, shift: int) -> Lines:
    """Lower and upper source and the upper's weight of linear taps."""
    lower, upper = (np.ascontiguousarray(taps.columns[:, k] - shift) for k in (0, 1))
    return lower, upper, np.ascontiguousarray(taps.weights[:, 1])


def _ranges(length: int, pieces: int) -> list[tuple[int, int]]:
    ends = [length * k // pieces for k in range(pieces + 1)]
    return [(a, b) for a, b in pairwise(ends) if b > a]


def restore(
    scores: FloatArray, standard: Geometry, target: Geometry, *, order: Order = 1, threads: int | None = None
) -> IntArray:
    """Class indices (X, Y, Z on `target`) of the highest score; 0 where the standard grid does not reach.

    The type is uint8, int16 where there are more than 256 classes.

    Memory beyond scores and result: about 50 MB where the axes of the grids are parallel.

    Args:
        scores: (C, X, Y, Z) logits or probabilities on the standardised grid.
        order: 1 for linear, 3 for cubic interpolation.
        threads: at most so many, all processors where None; the result is the same for any number.

    Raises:
        GeometryError: the scores have another shape than the standardised grid.
    """
    labels = np.zeros(target.shape, dtype=np.uint8 if len(scores) <= 256 else np.int16, order="F")
    _restore(scores, standard, target, labels, order, None, threads)
    return labels


def restore_probabilities(
    scores: FloatArray, standard: Geometry, target: Geometry, *, order: Order = 1, threads: int | None = None
) -> FloatArray:
    """Probabilities (X, Y, Z, C on `target`, float32): the softmax of the interpolated logits.

    Where the standard grid does not reach, background is certain. Arguments and errors as of `restore`, but `scores`
    are logits (or logarithms of probabilities).
    """
    found = np.zeros((len(scores), *target.shape), dtype=np.float32)
    found[0] = 1

    def keep(box: tuple[slice, slice, slice], probabilities: FloatArray) -> None:
        found[(slice(None), *box)] = probabilities

    _restore(scores, standard, target, np.zeros(target.shape, dtype=np.int16), order, keep, threads)
    return np.moveaxis(found, 0, -1)


def _restore(
    scores: FloatArray,
    standard: Geometry,
    target: Geometry,
    labels: IntArray,
    order: Order,
    sink: Sink | None,
    threads: int | None,
) -> None:
    if scores.shape[1:] != standard.shape:
        raise GeometryError("scores and grid differ", expected=str(standard.shape), got=str(scores.shape[1:]))
    if align(standard, target) is None:
        _restore_oblique(scores, standard, labels, target, order, sink)
    elif way := find_way(standard, target, order=order):
        table = np.arange(len(scores)).astype(labels.dtype)
        feed(Restoration(way, labels, table, order, sink, threads or processors()), scores)


def feed(restoration: Restoration, scores: FloatArray) -> None:
    """Puts all planes of scores (C, X, Y, Z), some at a time."""
    planes = scores.transpose(1 + restoration.way.axes[0], 0, *(1 + axis for axis in restoration.way.axes[1:]))
    step = max(1, SCRATCH_BYTES // (4 * int(np.prod(planes.shape[1:]))))
    for first in range(0, len(planes), step):
        restoration.put(np.ascontiguousarray(planes[first : first + step], dtype=np.float32))


def _restore_oblique(
    scores: FloatArray, standard: Geometry, labels: IntArray, target: Geometry, order: Order, sink: Sink | None
) -> None:
    """Some slices of the target after the other, for axes that are not parallel."""
    resample = resample_linear if order == 1 else resample_cubic
    x, y, z = target.shape
    step = max(1, 4 * SCRATCH_BYTES // (4 * x * y * len(scores)))
    for first in range(0, z, step):
        slab = target.cropped((0, 0, first), (x, y, min(step, z - first)))
        # beyond the standard grid the background has the only score
        values = np.stack([resample(own, standard, slab, outside=0.0 if c == 0 else NOWHERE)
                           for c, own in enumerate(scores)])  # fmt: skip
        part = slice(first, first + slab.shape[2])
        labels[:, :, part] = values.argmax(axis=0)
        if sink is not None:
            sink((slice(0, x), slice(0, y), part), softmax(values))


def softmax(scores: FloatArray) -> FloatArray:
    """Probabilities of logits (C, ...), in place."""
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=0)
    return scores
