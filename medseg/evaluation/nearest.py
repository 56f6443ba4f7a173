"""How far each point of one lattice surface lies from another: exact distances, near ones by looking, far ones by tree.

Two readers' outlines mostly lie within a few voxels of each other. So the neighbours of a point are looked up in the
order of their distance (first the point itself, then the nearest neighbours, ...) in a map of the other surface; the
first hit is the nearest point. What is still unanswered after the `LOOKS` nearest neighbours is asked of a KD-tree,
which is built only then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.spatial import KDTree

from medseg.shapes import BoolArray, FloatArray, IntArray, IntTriple, Triple

LOOKS = 400  # from about here on a tree answers faster than looking on
Shell = tuple[float, IntArray]


@dataclass(frozen=True)
class Frame:
    """The lattice that all masks of a case share, with a margin so that a neighbour's number needs no check.

    Args:
        shape: of the masks; a surface may lie one step beyond its end.
        spacing_mm: distance between neighbours.
    """

    shape: IntTriple
    spacing_mm: Triple

    @cached_property
    def radius_mm(self) -> float:
        """Of the ball that holds about `LOOKS` lattice points."""
        return float((LOOKS * np.prod(self.spacing_mm) * 3 / (4 * np.pi)) ** (1 / 3))

    @cached_property
    def margin(self) -> IntTriple:
        """Steps along each axis that the ball reaches."""
        x, y, z = self.spacing_mm
        return int(self.radius_mm / x), int(self.radius_mm / y), int(self.radius_mm / z)

    @cached_property
    def padded(self) -> IntTriple:
        """Extent with the margin on both sides."""
        (x, y, z), (i, j, k) = self.shape, self.margin
        return x + 1 + 2 * i, y + 1 + 2 * j, z + 1 + 2 * k

    @property
    def strides(self) -> IntArray:
        return np.array([self.padded[1] * self.padded[2], self.padded[2], 1])

    @property
    def size(self) -> int:
        return int(np.prod(self.padded))

    def keys(self, index: IntArray) -> IntArray:
        """Numbers (N,) of lattice indices (N, 3)."""
        return (index + np.array(self.margin)) @ self.strides

    def mm(self, keys: IntArray) -> FloatArray:
        """Places (N, 3) in mm from the first voxel's centre."""
        index = np.stack(np.unravel_index(keys, self.padded), axis=1) - np.array(self.margin)
        return index * np.asarray(self.spacing_mm, dtype=np.float64)

    @cached_property
    def shells(self) -> list[Shell]:
        """The neighbours around a point by distance in mm: (distance, steps from number to number), near ones first."""
        return [
            (distance, steps @ self.strides)
            for distance, steps in _shells(self.spacing_mm, self.margin, self.radius_mm)
        ]


@lru_cache(maxsize=32)
def _shells(spacing_mm: Triple, margin: IntTriple, radius_mm: float) -> list[tuple[float, IntArray]]:
    axes = [np.arange(-m, m + 1) for m in margin]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    length = np.linalg.norm(steps * np.asarray(spacing_mm, dtype=np.float64), axis=1)
    near = length <= radius_mm
    order = np.argsort(length[near], kind="stable")
    steps, length = steps[near][order], length[near][order]
    starts = np.flatnonzero(np.diff(length, prepend=-1.0) > 1e-9 * radius_mm)  # equal up to rounding: one shell
    return [(float(part[0]), group) for part, group in
            zip(np.split(length, starts[1:]), np.split(steps, starts[1:]), strict=True)]  # fmt: skip


class Points:
    """Some points of a frame, with what is needed to find the nearest of them.

    Args:
        frame: shared by everything that is compared.
        keys: their numbers (N,) in the frame, ascending.
    """

    def __init__(self, frame: Frame, keys: IntArray) -> None:
        self.frame, self.keys = frame, keys
        self._map: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def mm(self) -> FloatArray:
        """Places (N, 3) in mm."""
        return self.frame.mm(self.keys)

    @property
    def map(self) -> BoolArray:
        """Which numbers of the frame are points; kept until `forget`."""
        if self._map is None:
            self._map = np.zeros(self.frame.size, dtype=bool)
            self._map[self.keys] = True
        return self._map

    def forget(self) -> None:
        """Gives the map's memory back; it is made again when needed."""
        self._map = None

    @cached_property
    def _tree(self) -> KDTree:
        # on a lattice the unbalanced tree is built several times faster and answers as fast
        return KDTree(self.mm, leafsize=32, balanced_tree=False, compact_nodes=False)

    def distances_to(self, other: Points) -> FloatArray:
        """Distance in mm (N,) from each point to the nearest of `other`; infinite when `other` has none."""
        distances = np.full(len(self), np.inf)
        for found, mm in self.answers(other):
            distances[found] = mm
        return distances

    def answers(self, other: Points) -> Iterator[tuple[IntArray, FloatArray]]:
        """Which points (places (N,) in `keys`) lie how many mm from `other`: shell by shell, then what lies beyond.

        Distances are one number (1,) for all points of a shell, and one for each (N,) beyond.

        Every point is answered once; none when `other` is empty.
        """
        if not len(other):
            return
        left, keys, marked = np.arange(len(self)), self.keys, other.map
        for distance, steps in self.frame.shells:
            if not len(left):
                return
            hit = marked.take(keys + steps[0])
            for step in steps[1:]:
                hit |= marked.take(keys + step)
            if hit.any():
                yield left[hit], np.array([distance])
                miss = ~hit
                left, keys = left[miss], keys[miss]
        if len(left):
            yield left, other._tree.query(self.frame.mm(keys))[0]
