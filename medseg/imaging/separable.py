"""Interpolation along one axis after the other, for grids whose axes are parallel.

Each axis is a band of a matrix (see `bands`), applied by matrix products in float32, which are the fastest arithmetic
that numpy has. The blocks depend on the grids alone and each product is small enough for one thread of the BLAS, so
that the result is the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.imaging.bands import Band, Taps
from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray, IntArray

AnyArray = npt.NDArray[np.generic]
OFF_AXIS_VOXELS = 1e-4  # at the far end of the grid; headers store float32
FEW = (4, 8, 16)  # outputs of a block across planes, along rows, within rows, for up to four taps, as measured: larger
MANY = (8, 16, 16)  # blocks hold more zeros, smaller ones are products too small to be fast
ORDERS = ((1, 2, 0), (2, 1, 0), (0, 1, 2), (0, 2, 1))  # across planes (0) first or last
COSTS = (1.0, 1.0, 1.2)  # of an output of each pass, as measured; a first pass across planes is the cheapest:
ACROSS_FIRST = 0.5  # one call for many products
PLANES = 4  # so many at a time: fewer keep the interpreter busy with calls, more fall out of the cache
SMALL = 2**18  # voxels; below, starting threads costs more than it gains


def interpolate(source: AnyArray, taps: Sequence[Taps], out: FloatArray, *, threads: int) -> None:
    """Fills `out` (float32) with the sums over the three axes of `source`; the last axis of both is contiguous."""
    order = min(ORDERS, key=lambda order: _cost(source.shape, out.shape, order))
    passes = _Passes(source, out, order, _bands(source.shape, taps, order))
    if order[0] == 0:
        spread(passes.fill_first, passes.bands[0], threads, out.size)
    else:
        spread(passes.fill_last, passes.chunks, threads, out.size)


def _cost(shape: Sequence[int], sizes: Sequence[int], order: Sequence[int]) -> float:
    now, total = list(shape), 0.0
    for axis in order:
        now[axis] = sizes[axis]
        total += float(np.prod(now)) * (ACROSS_FIRST if order[0] == axis == 0 else COSTS[axis])
    return total


def _bands(shape: Sequence[int], taps: Sequence[Taps], order: Sequence[int]) -> dict[int, list[Band]]:
    now, found = list(shape), {}
    for axis in order:
        width = now[1] if axis == 2 else now[2]
        size = (FEW if taps[axis].columns.shape[1] <= 4 else MANY)[axis]
        found[axis] = taps[axis].bands(size, width) if axis else taps[axis].single_blocks(size, width)
        now[axis] = len(taps[axis].columns)
    return found


@dataclass(frozen=True, eq=False)
class _Passes:
    """One pass along each axis: (0) across planes first or last, the two within planes in either order."""

    source: AnyArray
    out: FloatArray
    order: tuple[int, ...]
    bands: dict[int, list[Band]]

    @property
    def chunks(self) -> list[list[Band]]:
        """Planes of the result that one thread makes at a time, so many that most of their inputs are shared."""
        _, size, window = self.bands[0][0].weights.shape
        count = max(1, round(2 * window / size))
        return [self.bands[0][first : first + count] for first in range(0, len(self.bands[0]), count)]

    def fill_last(self, chunks: Iterable[list[Band]]) -> None:
        """Planes are made small, then summed across."""
        scratch: dict[str, FloatArray] = {}
        for chunk in chunks:
            low, high = min(band.inputs.start for band in chunk), max(band.inputs.stop for band in chunk)
            small = _room(scratch, "small", (high - low, *self.out.shape[1:]))
            for first in range(low, high, PLANES):
                last = min(first + PLANES, high)
                self._within(self.source[first:last], small[first - low : last - low], scratch)
            for band in chunk:
                band.across(small[band.inputs.start - low : band.inputs.stop - low], self.out[band.outputs])

    def fill_first(self, bands: Iterable[Band]) -> None:
        """Planes are summed across, then their size is changed."""
        scratch: dict[str, FloatArray] = {}
        for band in bands:
            summed = _room(scratch, "summed", (band.weights.shape[1], *self.source.shape[1:]))
            band.across(self._read(self.source[band.inputs], scratch), summed)
            for first in range(0, len(summed), PLANES):
                part = slice(first, min(first + PLANES, len(summed)))
                self._within(summed[part], self.out[band.outputs][part], scratch)

    def _within(self, planes: AnyArray, out: FloatArray, scratch: dict[str, FloatArray]) -> None:
        one, other = (axis for axis in self.order if axis)
        now = list(planes.shape)
        now[one] = out.shape[one]
        between = _room(scratch, "between", tuple(now))
        read = self._read(planes, scratch)
        for band in self.bands[one]:
            band.within(one, read, between)
        for band in self.bands[other]:
            band.within(other, between, out)

    def _read(self, planes: AnyArray, scratch: dict[str, FloatArray]) -> Any:
        if planes.dtype == np.float32:
            return planes
        read = _room(scratch, "read", planes.shape)
        np.copyto(read, planes, casting="unsafe")
        return read


def _room(scratch: dict[str, FloatArray], name: str, shape: tuple[int, ...]) -> FloatArray:
    """An array that a thread uses again and again: fresh memory costs more than the arithmetic."""
    size = int(np.prod(shape))
    if name not in scratch or scratch[name].size < size:
        scratch[name] = np.empty(size, dtype=np.float32)
    return scratch[name][:size].reshape(shape)


def pick(source: AnyArray, indices: Sequence[IntArray], out: AnyArray, *, threads: int) -> None:
    """Fills `out` with the voxels of `source` at `indices` along its three axes."""
    planes, rows, columns = indices
    narrow_rows = len(rows) <= source.shape[1]

    def fill(chunk: Iterable[int]) -> None:
        for k in chunk:
            plane = source[planes[k]]
            if narrow_rows:
                plane.take(rows, axis=0).take(columns, axis=1, out=out[k], mode="clip")
            else:
                plane.take(columns, axis=1).take(rows, axis=0, out=out[k], mode="clip")

    spread(fill, range(len(planes)), threads, out.size)


def spread(fill: Callable[[Iterable[Any]], None], chunks: Sequence[Any], threads: int, size: int) -> None:
    """Calls `fill` with all chunks, or where the work is worth it in several threads, each with what is left to do."""
    count = 1 if size < SMALL else max(1, min(threads, len(chunks)))
    if count == 1:
        fill(chunks)
        return
    left = deque(chunks)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(fill, [_drain(left) for _ in range(count)]))


def _drain(left: deque[Any]) -> Iterator[Any]:
    while True:
        try:
            yield left.popleft()
        except IndexError:  # another thread took the last
            return


@dataclass(frozen=True, eq=False)
class Alignment:
    """How two grids with parallel axes lie to each other.

    Args:
        axes: the source axis along each target axis.
        positions: for each target axis, where its voxels lie on that source axis, in voxels.
    """

    axes: tuple[int, ...]
    positions: tuple[FloatArray, ...]


def align(source: Geometry, target: Geometry) -> Alignment | None:
    """None where the axes are not parallel."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    axes = tuple(int(axis) for axis in np.argmax(np.abs(matrix[:3, :3]), axis=0))
    on_axis = np.zeros((3, 3), dtype=bool)
    on_axis[axes, (0, 1, 2)] = True
    stray = np.where(on_axis, 0.0, np.abs(matrix[:3, :3])) @ (np.array(target.shape) - 1)
    if len(set(axes)) < 3 or stray.max() > OFF_AXIS_VOXELS:
        return None
    return Alignment(
        axes, tuple(np.arange(target.shape[k]) * matrix[axis, k] + matrix[axis, 3] for k, axis in enumerate(axes))
    )
