"""How deep a U-Net goes, and where it strides: from the patch and the spacing, as nnU-Net does it.

Source: Isensee et al., nnU-Net, Nature Methods 18 (2021), supplement: an axis is halved while its voxels are at most
twice as large as the finest ones and at least 4 of them are left; its kernel is 1 while voxels along it are more than
twice as large as the finest ones, because neighbours that far away say little; once 3, it stays 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from medseg.shapes import IntTriple, Triple

SMALLEST = 4  # voxels along an axis at the deepest level
SIMILAR = 2.0  # spacings up to this ratio count as alike
FEATURES, MOST_FEATURES = 32, 320
DEEPEST = 5  # strides: 6 levels, as in all of nnU-Net's published 3-D plans


@dataclass(frozen=True)
class Topology:
    """Strides between the levels and kernels of each level, finest first."""

    strides: tuple[IntTriple, ...]
    kernels: tuple[IntTriple, ...]

    @property
    def multiple(self) -> IntTriple:
        """Patches are multiples of it."""
        x, y, z = (prod(stride[axis] for stride in self.strides) for axis in range(3))
        return x, y, z

    @property
    def channels(self) -> tuple[int, ...]:
        """Feature maps per level: 32, doubled from level to level, at most 320."""
        return tuple(min(FEATURES * 2**level, MOST_FEATURES) for level in range(len(self.kernels)))


def find_topology(patch: IntTriple, spacing_mm: Triple, *, deepest: int = DEEPEST) -> Topology:
    """Strides and kernels for patches of about this size; no strides for a patch below 8 voxels along every axis.

    >>> find_topology((128, 128, 32), (0.8, 0.8, 3.0)).strides
    ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1))
    """
    size, spacing = list(patch), list(spacing_mm)
    strides: list[IntTriple] = []
    kernels: list[IntTriple] = []
    x = y = z = 1
    while True:
        x, y, z = (
            3 if step / min(spacing) <= SIMILAR or k == 3 else 1 for step, k in zip(spacing, (x, y, z), strict=True)
        )
        kernels.append((x, y, z))
        able = [axis for axis in range(3) if size[axis] >= 2 * SMALLEST]
        finest = min((spacing[axis] for axis in able), default=0.0)
        halved = {axis for axis in able if spacing[axis] / finest < SIMILAR}
        if not halved or len(strides) == deepest:
            return Topology(tuple(strides), tuple(kernels))
        a, b, c = (2 if axis in halved else 1 for axis in range(3))
        strides.append((a, b, c))
        size = [-(-n // step) for n, step in zip(size, (a, b, c), strict=True)]
        spacing = [mm * step for mm, step in zip(spacing, (a, b, c), strict=True)]


def is_anisotropic(spacing_mm: Triple) -> bool:
    """Whether voxels are at least twice as large along one axis as along another.

    >>> is_anisotropic((0.8, 0.8, 3.0)), is_anisotropic((1.0, 1.0, 1.5))
    (True, False)
    """
    return max(spacing_mm) >= SIMILAR * min(spacing_mm)


def describe_topology(strides: Sequence[IntTriple]) -> str:
    """How often each axis is halved, and by what rule.

    >>> describe_topology([(2, 2, 1), (2, 2, 2)])
    '2 halvings along X, 2 along Y, 1 along Z: while voxels are at most twice as large as the finest and 8 are left'
    """
    times = [sum(stride[axis] > 1 for stride in strides) for axis in range(3)]
    return (
        f"{times[0]} halvings along X, {times[1]} along Y, {times[2]} along Z: while voxels are at most twice as large "
        f"as the finest and {2 * SMALLEST} are left"
    )
