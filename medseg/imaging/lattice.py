"""One grid of voxels as part of another: the same lattice up to axis order, flips and cropping, or a refusal.

Label maps are often saved cropped to what was drawn, or cut the other way round than the CT. That loses nothing and
is undone exactly; whatever would need an interpolation is refused with the millimetres or degrees that are between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.imaging.geometry import Geometry
from medseg.shapes import FloatArray, IntArray

Scalar = TypeVar("Scalar", bound=np.generic)
OFF_LATTICE_MM = 0.1  # what positions rounded to 0.1 mm may be off, and at most a fifth of a voxel's edge
OFF_LATTICE_EDGE = 0.2


@dataclass(frozen=True, eq=False)
class Embedding:
    """Where the voxels of a source lie on a target's grid.

    Args:
        start: (3,) target index of the source's first voxel; may lie outside the target.
        steps: (3, n) one column per source axis: the target index grows by it; a signed unit vector.
        shape: voxels along the n source axes.
        target: the grid.
    """

    start: IntArray
    steps: IntArray
    shape: tuple[int, ...]
    target: Geometry

    def place(self, values: npt.NDArray[Scalar], onto: npt.NDArray[Scalar]) -> int:
        """Writes `values` (of `shape`) into `onto` (of the target's shape).

        Returns:
            How many values other than zero lie outside the target and were left out.
        """
        axes = np.argmax(np.abs(self.steps), axis=0)
        signs = self.steps[axes, np.arange(len(axes))]
        view, window = [slice(None)] * len(self.shape), [int(index) for index in self.start]
        region: list[slice | int] = list(window)
        for own, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            low = window[axis] if sign > 0 else window[axis] - self.shape[own] + 1
            first, last = max(low, 0), min(low + self.shape[own], self.target.shape[axis])
            if last <= first:
                return int(np.count_nonzero(values))
            region[axis] = slice(first, last)
            inner = (first - low, last - low)
            view[own] = slice(*inner) if sign > 0 else slice(self.shape[own] - inner[1], self.shape[own] - inner[0])
        if any(isinstance(index, int) and not 0 <= index < n
               for index, n in zip(region, self.target.shape, strict=True)):  # fmt: skip
            return int(np.count_nonzero(values))
        inside = values[tuple(view)]
        flipped = inside[tuple(slice(None, None, int(sign)) for sign in signs)]
        onto[tuple(region)] = np.transpose(flipped, np.argsort(axes))
        if inside.size == values.size:
            return 0
        return int(np.count_nonzero(values)) - int(np.count_nonzero(inside))


def embed(
    origin_mm: FloatArray,
    axes_mm: FloatArray,
    shape: Sequence[int],
    target: Geometry,
    *,
    height: int | None = None,
) -> Embedding:
    """The place of a plane or a volume on the target's grid.

    Every voxel centre must lie within 0.1 mm, and within a fifth of the shortest voxel edge, of one of the target's.

    Args:
        origin_mm: (3,) centre of the source's first voxel, RAS.
        axes_mm: (3, n) the step to the next voxel along each source axis, RAS.
        shape: voxels along each source axis.
        height: the target index along Z on which a plane must lie; by default any.

    Raises:
        GeometryError: an interpolation would be needed; says by how many mm or degrees.
    """
    inverse = np.linalg.inv(target.affine[:3, :3])
    step = inverse @ axes_mm
    steps, start = np.rint(step).astype(np.int64), np.rint(target.index(origin_mm[None])[0])
    if height is not None:
        start[2] = height
    if np.abs(start).max() > 1e9:
        raise GeometryError("the two grids lie apart", got="more than a thousand million voxels")
    if (np.abs(steps).sum(axis=0) != 1).any() or (np.abs(steps).sum(axis=1) > 1).any():
        raise GeometryError("an interpolation would be needed", got=_difference(axes_mm, target))
    start = start.astype(np.int64)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(len(shape), -1)
    there = target.world((start[:, None] + steps @ corners).T)
    here = origin_mm + (axes_mm @ corners).T
    off = float(np.linalg.norm(there - here, axis=1).max())
    edges = [*np.linalg.norm(axes_mm, axis=0), *target.spacing_mm[: 2 if target.shape[2] == 1 else 3]]
    if off > (limit := min(OFF_LATTICE_MM, OFF_LATTICE_EDGE * min(edges))):
        raise GeometryError("an interpolation would be needed", expected=f"voxel centres within {limit:.3g} mm",
                            got=f"{off:.3g} mm apart" + _with(_difference(axes_mm, target)))  # fmt: skip
    return Embedding(start, steps, tuple(int(n) for n in shape), target)


def transfer(values: npt.NDArray[Scalar], source: Geometry, target: Geometry) -> npt.NDArray[Scalar]:
    """Voxels of `source` exactly on `target`, the same lattice; zero where the source says nothing.

    Raises:
        GeometryError: an interpolation would be needed, or values other than zero lie outside the target.

    Example:
        >>> whole = Geometry((3, 1, 1), np.eye(4))
        >>> transfer(np.ones((1, 1, 1), dtype=np.uint8), whole.cropped((1, 0, 0), (1, 1, 1)), whole).ravel()
        array([0, 1, 0], dtype=uint8)
    """
    onto = np.zeros(target.shape, dtype=values.dtype)
    found = embed(source.affine[:3, 3], source.affine[:3, :3], source.shape, target)
    if lost := found.place(values, onto):
        raise GeometryError(f"{lost} labelled voxels lie outside the image's grid")
    return onto


def _difference(axes_mm: FloatArray, target: Geometry) -> str:
    """The angle between nearest axes in degrees, or the spacings in mm where the directions agree."""
    lengths = np.linalg.norm(axes_mm, axis=0)
    cosines = np.abs((axes_mm / lengths).T @ target.direction)
    nearest = np.argmax(cosines, axis=1)
    angle = float(np.degrees(np.arccos(np.clip(cosines.max(axis=1), 0, 1).min())))
    if angle > 0.05:
        return f"axes turned by {angle:.3g} degrees"
    there = [target.spacing_mm[axis] for axis in nearest]
    if np.allclose(lengths, there, rtol=1e-6, atol=0):
        return ""
    return f"voxels of {_sizes(lengths)} mm against {_sizes(there)} mm"


def _with(fact: str) -> str:
    return f", {fact}" if fact else ""


def _sizes(lengths: Sequence[float] | FloatArray) -> str:
    return " x ".join(f"{length:.6g}" for length in lengths)
