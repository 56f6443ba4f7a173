"""How many voxels each member of an ensemble would label, while tiles overlap."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medseg.inference.tiles import Tiling, gaussian_line, overlap_with
from medseg.shapes import FloatArray, IntTriple


class Votes:
    """Voxels of the standardised grid that each member labels as each class.

    Where tiles overlap, each counts with its share of the Gaussian weights, so that every voxel counts once and no
    scores of single members are needed at the size of the study.

    Args:
        members, classes: how many.
    """

    def __init__(self, tiling: Tiling, members: int, classes: int) -> None:
        self.tiling = tiling
        self.counts: FloatArray = np.zeros((members, classes))

    def add(self, labels: Tensor, first: IntTriple) -> None:
        """Adds a tile: class numbers (M, X, Y, Z) of each member, whose first voxel is `first`."""
        inner, _ = overlap_with(first, self.tiling.tile, self.tiling.shape)
        shares = self._shares(first)[inner].to(labels.device, torch.float64).flatten()
        for counts, own in zip(self.counts, labels, strict=True):
            classes = own[inner].flatten().long()
            counts += torch.bincount(classes, shares, minlength=len(counts)).cpu().numpy()

    def _shares(self, first: IntTriple) -> Tensor:
        """The tile's part (tile) of the weights of all tiles that are computed."""
        near = [[k for k, start in enumerate(starts) if abs(start - own) < size]
                for starts, own, size in zip(self.tiling.starts, first, self.tiling.tile, strict=True)]  # fmt: skip
        total = torch.from_numpy(self.tiling.needed[np.ix_(*near)].astype(np.float32))
        for axis in (
            0,
            1,
            2,
        ):  # a product of lines each: summed along one axis after the other, the first one each time
            lines = [self._moved(axis, self.tiling.starts[axis][k] - first[axis]) for k in near[axis]]
            total = torch.einsum("abc,ai->bci", total, torch.stack(lines))
        x, y, z = (self._moved(axis, 0) for axis in (0, 1, 2))
        return x[:, None, None] * y[:, None] * z / total

    def _moved(self, axis: int, voxels: int) -> Tensor:
        """The weights along an axis of a tile that lies so many voxels further on."""
        line = self._lines[axis]
        moved = torch.zeros_like(line)
        low, high = max(0, voxels), min(len(line), len(line) + voxels)
        moved[low:high] = line[low - voxels : high - voxels]
        return moved

    @cached_property
    def _lines(self) -> list[Tensor]:
        return [torch.from_numpy(gaussian_line(size).astype(np.float32)) for size in self.tiling.tile]
