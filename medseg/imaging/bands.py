"""Interpolation along one axis as a band of a matrix, cut into small dense blocks.

Every output of an axis is a weighted sum of a few neighbouring inputs. Blocks of outputs whose windows of inputs follow
one another at an even step are applied in one call of `numpy.matmul`, which runs over them outside the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from medseg.shapes import FloatArray, IntArray

SPLINE_REACH = 10  # voxels: the weights fall by 0.27 a voxel, to 2e-6
PRODUCT_LIMIT = 2**18  # multiplications: OpenBLAS spreads larger products over threads of its own
SLACK = 1.5  # how much wider windows may get to be evenly placed


@dataclass(frozen=True, eq=False)
class Band:
    """Blocks of outputs of an axis: block b holds outputs from `first + b size`, made of inputs from `low + b step`.

    Args:
        weights: (blocks, size, window) float32.
    """

    first: int
    low: int
    step: int
    weights: FloatArray

    @property
    def outputs(self) -> slice:
        """The outputs of all blocks."""
        return slice(self.first, self.first + self.weights.shape[0] * self.weights.shape[1])

    @property
    def inputs(self) -> slice:
        """The window of the first block."""
        return slice(self.low, self.low + self.weights.shape[2])

    def across(self, x: FloatArray, out: FloatArray) -> None:
        """Sets `out` (size, M, F) to the sums of the first block over its window `x` (window, M, F)."""
        np.matmul(self.weights, x.transpose(1, 0, 2), out=out.transpose(1, 0, 2))

    def within(self, axis: int, x: FloatArray, out: FloatArray) -> None:
        """Sets the band's outputs along axis 1 or 2 of `out` (P, M, F) to the sums along that axis of `x`."""
        blocks, size, window = self.weights.shape
        (planes, rows, columns), (p, m, f), (op, om, of) = x.shape, x.strides, out.strides
        if axis == 1:
            inputs = as_strided(x[:, self.low :], (planes, blocks, window, columns), (p, self.step * m, m, f))
            outputs = as_strided(out[:, self.first :], (planes, blocks, size, columns), (op, size * om, om, of))
            np.matmul(self.weights, inputs, out=outputs)
        else:
            inputs = as_strided(x[:, :, self.low :], (planes, blocks, rows, window), (p, self.step * f, m, f))
            outputs = as_strided(out[:, :, self.first :], (planes, blocks, rows, size), (op, size * of, om, of))
            np.matmul(inputs, self.weights.transpose(0, 2, 1), out=outputs)


@dataclass(frozen=True, eq=False)
class Taps:
    """Each output of an axis as a sum of some of its `inputs`: their indices and weights, both (outputs, taps)."""

    columns: IntArray
    weights: FloatArray
    inputs: int

    def bands(self, size: int, width: int) -> list[Band]:
        """Bands of blocks of at most `size` outputs, for products with `width` columns."""
        return self._halved(size, width, even=True)

    def single_blocks(self, size: int, width: int) -> list[Band]:
        """Bands of one block each, of at most `size` outputs."""
        return self._halved(size, width, even=False)

    def _halved(self, size: int, width: int, *, even: bool) -> list[Band]:
        """Bands of blocks so small that no product passes the limit."""
        while True:
            starts = np.arange(0, len(self.columns), size)
            whole = len(self.columns) // size
            bands = self._even(starts[:whole], size) if even else self._single(starts[:whole], size)
            if len(starts) > whole:
                bands += self._single(starts[whole:], len(self.columns) - whole * size)
            if size == 1 or width * max(band.weights[0].size for band in bands) <= PRODUCT_LIMIT:
                return bands
            size //= 2

    def _single(self, starts: IntArray, size: int) -> list[Band]:
        return [band for start in starts for band in self._even(np.array([start]), size)]

    def _even(self, starts: IntArray, size: int) -> list[Band]:
        """One band where the windows of these blocks can be placed evenly and hardly wider, else two halves."""
        if not len(starts):
            return []
        columns = self.columns[starts[0] : starts[-1] + size].reshape(len(starts), -1)
        lows, highs = columns.min(axis=1), columns.max(axis=1) + 1
        step = round((lows[-1] - lows[0]) / max(1, len(starts) - 1))
        shifts = step * np.arange(len(starts))
        low = int((lows - shifts).min())
        window = int((highs - shifts).max()) - low
        places = low + shifts
        if places.min() < 0 or places.max() + window > self.inputs or window > SLACK * (highs - lows).max():
            half = len(starts) // 2
            return self._even(starts[:half], size) + self._even(starts[half:], size)
        return [Band(int(starts[0]), low, step, self._dense(starts, size, places, window))]

    def _dense(self, starts: IntArray, size: int, places: IntArray, window: int) -> FloatArray:
        dense = np.zeros((len(starts), size, window), dtype=np.float32)
        part = slice(starts[0], starts[-1] + size)
        shape = (len(starts), size, -1)
        columns = self.columns[part].reshape(shape) - places[:, None, None]
        block, output = np.ogrid[: len(starts), :size]
        np.add.at(dense, (block[..., None], output[..., None], columns), self.weights[part].reshape(shape))
        return dense


def linear_taps(positions: FloatArray, n: int) -> Taps:
    """Two neighbours; beyond the first and the last voxel their value is repeated.

    >>> linear_taps(np.array([1.25, -0.4]), 5).weights.tolist()
    [[0.75, 0.25], [1.0, 0.0]]
    """
    inside = np.clip(positions, 0, n - 1)
    below = np.floor(inside).astype(np.intp)
    upper = (inside - below).astype(np.float32)
    columns = np.stack([below, np.minimum(below + 1, n - 1)], axis=1)
    return Taps(columns, np.stack([np.float32(1) - upper, upper], axis=1), n)  # sum to exactly 1 in float32


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
    return Taps(np.clip(base + offsets, 0, n - 1), weights.astype(np.float32), n)


def _b3(x: FloatArray) -> FloatArray:
    x = np.abs(x)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0.0))
