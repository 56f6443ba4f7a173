"""Where the tiles of a sliding window lie, how much each of their voxels counts, and which of them hold only air."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from scipy import ndimage

from medseg.imaging.volume import BODY_HU
from medseg.shapes import BoolArray, FloatArray, IntTriple

SIGMA_SHARE = 1 / 8  # of the tile, as nnU-Net and MONAI have it
SEARCH_MM = 4.0  # the body is searched in blocks of at most this size

Starts = tuple[list[int], list[int], list[int]]


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """First voxels of the tiles along an axis: even steps of at most `tile (1 - overlap)`, as in nnU-Net.

    An axis shorter than the tile has one, which begins half of the missing voxels before the first voxel.

    >>> tile_starts(110, 64, 0.5), tile_starts(10, 16, 0.5)
    ([0, 23, 46], [-3])
    """
    if length <= tile:
        return [-((tile - length) // 2)]
    count = ceil((length - tile) / (tile * (1 - overlap))) + 1
    step = (length - tile) / (count - 1)
    return [round(step * k) for k in range(count)]


def gaussian_weights(tile: Sequence[int]) -> FloatArray:
    """Weights (tile) float32 of a tile's voxels, 1 in its middle, falling with a deviation of an eighth of its size."""
    weights: Any = np.ones(())
    for size in tile:
        weights = np.multiply.outer(weights, gaussian_line(size))
    return weights.astype(np.float32)


def gaussian_line(size: int) -> FloatArray:
    """The weights (size) float64 along one axis, of which those of a tile are the product."""
    line = np.zeros(size)
    line[size // 2] = 1
    line = ndimage.gaussian_filter1d(line, size * SIGMA_SHARE, mode="constant")
    positive = line[line > 0].min()
    return np.maximum(line / line.max(), positive / line.max())


def overlap_with(
    start: IntTriple, tile: IntTriple, shape: IntTriple
) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
    """The part of a tile that lies in an image, counted from the tile and from the image."""
    inner, box = [], []
    for first, size, n in zip(start, tile, shape, strict=True):
        low, high = max(0, first), min(n, first + size)
        inner.append(slice(low - first, high - first))
        box.append(slice(low, high))
    return tuple(inner), tuple(box)  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Tiling:
    """All tiles over an image, and those of them that are worth computing.

    Args:
        shape: voxels of the image along X, Y, Z.
        tile: voxels of a tile.
        starts: first voxels of the tiles along each axis.
        needed: (tiles along X, Y, Z) boolean.
    """

    shape: IntTriple
    tile: IntTriple
    starts: Starts
    needed: BoolArray

    @property
    def count(self) -> int:
        """Tiles that are computed."""
        return int(np.count_nonzero(self.needed))

    def layers(self, axis: int) -> list[tuple[int, list[IntTriple]]]:
        """For each step along an axis its start and the needed tiles' first voxels, in rising order."""
        found = []
        for k, start in enumerate(self.starts[axis]):
            places = np.argwhere(self.needed.take([k], axis=axis))
            firsts = []
            for place in places:
                place[axis] = k
                x, y, z = (self.starts[a][int(i)] for a, i in enumerate(place))
                firsts.append((x, y, z))
            found.append((start, firsts))
        return found


def lay_tiles(shape: IntTriple, tile: IntTriple, overlap: float, body: BodyMap | None = None) -> Tiling:
    """The tiles over an image; with a `body`, those without any of it are not needed."""
    x, y, z = (tile_starts(n, size, overlap) for n, size in zip(shape, tile, strict=True))
    starts: Starts = (x, y, z)
    needed = np.ones((len(x), len(y), len(z)), dtype=bool)
    if body is not None:
        for place in np.ndindex(needed.shape):
            needed[place] = body.touches([starts[a][i] for a, i in enumerate(place)], tile)
    return Tiling(shape, tile, starts, needed)


@dataclass(frozen=True, eq=False)
class BodyMap:
    """Where there is more than air, in blocks of voxels.

    Args:
        blocks: boolean, one entry a block.
        size: voxels of a block along X, Y, Z.
    """

    blocks: BoolArray
    size: IntTriple

    def touches(self, start: Sequence[int], tile: Sequence[int]) -> bool:
        """Whether a tile holds a voxel of a marked block."""
        box = tuple(
            slice(max(0, first // size), max(0, -(-(first + length) // size)))
            for first, length, size in zip(start, tile, self.size, strict=True)
        )
        return bool(self.blocks[box].any())

    def voxels(self, shape: IntTriple) -> BoolArray:
        """The same as a mask of voxels."""
        mask = self.blocks
        for axis, size in enumerate(self.size):
            mask = mask.repeat(size, axis=axis)
        return mask[tuple(slice(n) for n in shape)]


def find_body(hu: Any, spacing_mm: Sequence[float]) -> BodyMap:
    """The blocks that hold anything denser than air, what these enclose in an axial slice (lungs, gas), and a margin.

    Every voxel above -300 HU is in it, tables included. A tile that touches no block leaves every voxel in the map as
    it is, because none of them lies in the tile. Of an image cut so that a lung reaches its edge the lung is not
    enclosed; its vessels and walls still are in the map.

    Args:
        hu: (X, Y, Z) on a grid whose third axis runs along the patient.
    """
    size = block_size(spacing_mm)
    shape = tuple(-(-n // s) for n, s in zip(hu.shape, size, strict=True))
    dense = np.zeros(shape, dtype=bool)
    for k in range(shape[0]):
        slab = np.asarray(hu[k * size[0] : (k + 1) * size[0]]) > BODY_HU
        rows = np.logical_or.reduceat(slab.any(axis=0), np.arange(0, hu.shape[1], size[1]), axis=0)
        dense[k] = np.logical_or.reduceat(rows, np.arange(0, hu.shape[2], size[2]), axis=1)
    filled = np.stack([_enclosed(dense[:, :, k]) for k in range(shape[2])], axis=2)
    body: Any = ndimage.binary_dilation(filled, np.ones((3, 3, 3)))
    return BodyMap(body, size)


def block_size(spacing_mm: Sequence[float]) -> IntTriple:
    """Voxels of a block of the map of the body."""
    x, y, z = (max(1, int(SEARCH_MM // mm)) for mm in spacing_mm)
    return x, y, z


def _enclosed(plane: BoolArray) -> BoolArray:
    """The plane with the holes that do not reach its edge filled."""
    found: Any = ndimage.label(~plane)
    pieces, count = found
    open_air = np.zeros(count + 1, dtype=bool)
    for edge in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        open_air[edge] = True
    open_air[0] = False
    return ~open_air[pieces]
