"""Interpolation along one axis after the other, for grids whose axes are parallel.

Along an axis every output value is a weighted sum of a few neighbouring input values: a narrow band of a matrix. Cut
into small dense blocks, the band is applied by matrix products in float32, which are the fastest arithmetic that numpy
has. The blocks depend on the sizes alone and each product is small enough for one thread of the BLAS, so that the
result is the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray, IntArray

AnyArray = npt.NDArray[np.generic]
OFF_AXIS_VOXELS = 1e-4  # at the far end of the grid; headers store float32
SPLINE_REACH = 10  # voxels: the weights fall by 0.27 a voxel, to 2e-6
FEW_TAPS = 4
BLOCKS_OF_FEW = (4, 8, 16)  # outputs of a block across planes, along rows, within rows, as measured: larger blocks hold
BLOCKS_OF_MANY = (8, 16, 16)  # more zeros beside the band, smaller ones are products too small to be fast
PRODUCT_LIMIT = 2**18  # multiplications: OpenBLAS spreads larger products over threads of its own
ORDERS = ((1, 2, 0), (2, 1, 0), (0, 1, 2), (0, 2, 1))  # across planes (0) first or last
COSTS = (1.0, 1.0, 1.2)  # of an output of each pass, as measured; a first pass across planes is the cheapest:
ACROSS_FIRST = 0.5  # one call for many products
PLANES = 4  # so many at a time: fewer keep the interpreter busy with calls, more fall out of the cache
SMALL = 2**18  # voxels; below, starting threads costs more than it gains


@dataclass(frozen=True, eq=False)
class Block:
    """Outputs `first` to `last` of an axis, made of inputs `low` to `high` by `weights` (outputs x inputs) float32."""

    first: int
    last: int
    low: int
    high: int
    weights: FloatArray


@dataclass(frozen=True, eq=False)
class Taps:
    """Each output of an axis as a sum of inputs: their indices and weights, both (outputs, taps)."""

    columns: IntArray
    weights: FloatArray

    def blocks(self, size: int, width: int) -> list[Block]:
        """The band in pieces of at most `size` outputs whose products with `width` columns stay below the limit."""
        while True:
            blocks = [self._block(first, size) for first in range(0, len(self.columns), size)]
            if size == 1 or width * max(block.weights.size for block in blocks) <= PRODUCT_LIMIT:
                return blocks
            size //= 2

    def _block(self, first: int, size: int) -> Block:
        columns, weights = self.columns[first : first + size], self.weights[first : first + size]
        low, high = int(columns.min()), int(columns.max()) + 1
        dense = np.zeros((len(columns), high - low), dtype=np.float32)
        np.add.at(dense, (np.arange(len(columns))[:, None], columns - low), weights)
        return Block(first, first + len(columns), low, high, dense)


def linear_taps(positions: FloatArray, n: int) -> Taps:
    """Two neighbours; beyond the first and the last voxel their value is repeated.

    >>> linear_taps(np.array([1.25, -0.4]), 5).weights.tolist()
    [[0.75, 0.25], [1.0, 0.0]]
    """
    inside = np.clip(positions, 0, n - 1)
    below = np.floor(inside).astype(np.intp)
    upper = (inside - below).astype(np.float32)
    columns = np.stack([below, np.minimum(below + 1, n - 1)], axis=1)
    return Taps(columns, np.stack([np.float32(1) - upper, upper], axis=1))  # sum to exactly 1 in float32


def cubic_taps(positions: FloatArray, n: int) -> Taps:
    """The cubic B-spline through all voxels, of a signal whose first and last voxel are repeated for ever.

    The weight of a voxel at distance d is the cardinal spline: sum over j of B3(x - j) sqrt(3) z^|j - k| with
    z = sqrt(3) - 2 (Unser, Aldroubi, Eden 1993, B-spline signal processing, part II).
    """
    base = np.floor(positions).astype(np.intp)[:, None]
    offsets = np.arange(1 - SPLINE_REACH, SPLINE_REACH + 1)
    pole = np.sqrt(3.0) - 2.0
    weights = np.zeros((len(positions), len(offsets)))
    for j in range(-1, 3):
        weights += _b3(positions[:, None] - base - j) * np.sqrt(3.0) * pole ** np.abs(offsets - j)
    weights /= weights.sum(axis=1, keepdims=True)
    return Taps(np.clip(base + offsets, 0, n - 1), weights.astype(np.float32))


def _b3(x: FloatArray) -> FloatArray:
    x = np.abs(x)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0.0))


def interpolate(source: AnyArray, taps: Sequence[Taps], out: FloatArray, *, threads: int) -> None:
    """Fills `out` (float32) with the sums over the three axes of `source`; the last axis of both is contiguous."""
    order = min(ORDERS, key=lambda order: _cost(source.shape, out.shape, order))
    passes = _Passes(source, out, order, _blocks(source.shape, taps, order))
    if order[0] == 0:
        spread(passes.fill_first, passes.blocks[0], threads, out.size)
    else:
        spread(passes.fill_last, passes.chunks, threads, out.size)


def _cost(shape: Sequence[int], sizes: Sequence[int], order: Sequence[int]) -> float:
    now, total = list(shape), 0.0
    for axis in order:
        now[axis] = sizes[axis]
        total += float(np.prod(now)) * (ACROSS_FIRST if order[0] == axis == 0 else COSTS[axis])
    return total


def _blocks(shape: Sequence[int], taps: Sequence[Taps], order: Sequence[int]) -> dict[int, list[Block]]:
    now, found = list(shape), {}
    for axis in order:
        width = now[1] if axis == 2 else now[2]
        few = taps[axis].columns.shape[1] <= FEW_TAPS
        found[axis] = taps[axis].blocks((BLOCKS_OF_FEW if few else BLOCKS_OF_MANY)[axis], width)
        now[axis] = len(taps[axis].columns)
    return found


@dataclass(frozen=True, eq=False)
class _Passes:
    """One pass along each axis: (0) across planes first or last, the two within planes in either order."""

    source: AnyArray
    out: FloatArray
    order: tuple[int, ...]
    blocks: dict[int, list[Block]]

    @property
    def chunks(self) -> list[list[Block]]:
        """Blocks across planes that one thread makes at a time, so many that they share most of their planes."""
        across = self.blocks[0]
        reach = across[0].high - across[0].low
        count = max(1, round(2 * reach / (across[0].last - across[0].first)))
        return [across[first : first + count] for first in range(0, len(across), count)]

    def fill_last(self, chunks: Iterable[list[Block]]) -> None:
        """Planes are made small, then summed across."""
        scratch: dict[str, FloatArray] = {}
        for chunk in chunks:
            low, high = min(block.low for block in chunk), max(block.high for block in chunk)
            small = _room(scratch, "small", (high - low, *self.out.shape[1:]))
            for first in range(low, high, PLANES):
                last = min(first + PLANES, high)
                self._within(self.source[first:last], small[first - low : last - low], scratch)
            for block in chunk:
                _sum(0, block, small[block.low - low : block.high - low], self.out)

    def fill_first(self, blocks: Iterable[Block]) -> None:
        """Planes are summed across, then their size is changed."""
        scratch: dict[str, FloatArray] = {}
        for block in blocks:
            read = self._read(self.source[block.low : block.high], scratch)
            summed = _room(scratch, "summed", (block.last - block.first, *self.source.shape[1:]))
            np.matmul(block.weights, read.transpose(1, 0, 2), out=summed.transpose(1, 0, 2))
            for first in range(0, len(summed), PLANES):
                last = min(first + PLANES, len(summed))
                self._within(summed[first:last], self.out[block.first + first : block.first + last], scratch)

    def _within(self, planes: AnyArray, out: FloatArray, scratch: dict[str, FloatArray]) -> None:
        one, other = (axis for axis in self.order if axis)
        now = list(planes.shape)
        now[one] = out.shape[one]
        between = _room(scratch, "between", tuple(now))
        planes = self._read(planes, scratch)
        for block in self.blocks[one]:
            _sum(one, block, planes, between)
        for block in self.blocks[other]:
            _sum(other, block, between, out)

    def _read(self, planes: AnyArray, scratch: dict[str, FloatArray]) -> FloatArray:
        if planes.dtype == np.float32:
            return planes  # type: ignore[return-value]
        read = _room(scratch, "read", planes.shape)
        np.copyto(read, planes, casting="unsafe")
        return read


def _room(scratch: dict[str, FloatArray], name: str, shape: tuple[int, ...]) -> FloatArray:
    """An array that a thread uses again and again: fresh memory costs more than the arithmetic."""
    size = int(np.prod(shape))
    if name not in scratch or scratch[name].size < size:
        scratch[name] = np.empty(size, dtype=np.float32)
    return scratch[name][:size].reshape(shape)


def _sum(axis: int, block: Block, x: FloatArray, out: FloatArray) -> None:
    """The block's outputs along one axis of (P, M, F)."""
    inputs, outputs = slice(block.low, block.high), slice(block.first, block.last)
    if axis == 1:
        np.matmul(block.weights, x[:, inputs], out=out[:, outputs])
    elif axis == 2:
        np.matmul(x[:, :, inputs], block.weights.T, out=out[:, :, outputs])
    else:
        np.matmul(block.weights, x.transpose(1, 0, 2), out=out[outputs].transpose(1, 0, 2))


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
