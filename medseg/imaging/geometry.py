"""Where voxels lie in the patient: shape and affine, world frame RAS in mm, array order X, Y, Z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from medseg.errors import GeometryError
from medseg.shapes import FloatArray, IntArray, IntTriple, Triple

Scalar = TypeVar("Scalar", bound=np.generic)
POSITION_TOLERANCE_MM = 1e-2  # headers store float32: a corner 1 m away is rounded by up to 6e-5 mm, by writers more
AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in the patient: `world = affine @ (i, j, k, 1)` is the centre of voxel (i, j, k) in RAS mm.

    Args:
        shape: voxels along X, Y, Z, each at least 1.
        affine: 4 x 4, invertible, finite.

    Raises:
        GeometryError: the affine is not finite, not 4 x 4 or not invertible, or an axis has no voxel.

    Example:
        >>> Geometry((10, 10, 4), np.diag([1.0, 1.0, 5.0, 1.0])).spacing_mm
        (1.0, 1.0, 5.0)
    """

    shape: IntTriple
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError("not a volume", expected="three axes of at least one voxel", got=str(self.shape))
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError("the affine is no invertible 4 x 4 matrix", do="Mend the header of the file.")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def spacing_mm(self) -> Triple:
        """Distance between neighbouring voxel centres along X, Y, Z."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def direction(self) -> FloatArray:
        """3 x 3, columns are the unit vectors of the voxel axes in RAS."""
        return self.affine[:3, :3] / np.array(self.spacing_mm)

    @property
    def origin_mm(self) -> Triple:
        """World position of the centre of voxel (0, 0, 0)."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def field_of_view_mm(self) -> Triple:
        """From the first voxel's outer edge to the last one's along X, Y, Z."""
        x, y, z = (n * mm for n, mm in zip(self.shape, self.spacing_mm, strict=True))
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def axes(self) -> tuple[tuple[int, int], ...]:
        """For each world axis (R, A, S): the voxel axis nearest to it and its sign, each voxel axis used once."""
        return _nearest_axes(self.direction)

    @property
    def orientation(self) -> str:
        """Three letters: the side towards which X, Y, Z grow, for example `RAS` or `LPS`."""
        letters = [""] * 3
        for world, (voxel, sign) in enumerate(self.axes):
            letters[voxel] = AXIS_LETTERS[world][sign > 0]
        return "".join(letters)

    def world(self, index: FloatArray | IntArray) -> FloatArray:
        """World positions (N, 3) in mm of voxel indices (N, 3)."""
        return np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, world_mm: FloatArray) -> FloatArray:
        """Continuous voxel indices (N, 3) of world positions (N, 3) in mm."""
        return (np.asarray(world_mm) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def differences(self, other: Geometry, tolerance_mm: float = POSITION_TOLERANCE_MM) -> list[str]:
        """What keeps two grids from being the same, each named with both values; empty when they are equal.

        Grids are equal when their shapes are equal and no voxel centre is further than `tolerance_mm` from its twin.
        """
        if self.shape == other.shape:
            corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
            if np.abs(self.world(corners) - other.world(corners)).max() <= tolerance_mm:
                return []
        found = []
        if self.shape != other.shape:
            found.append(f"shape {_triple(self.shape)} against {_triple(other.shape)}")
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=0, atol=tolerance_mm / max(self.shape)):
            found.append(f"spacing {_triple(self.spacing_mm)} mm against {_triple(other.spacing_mm)} mm")
        if self.orientation != other.orientation:
            found.append(f"orientation {self.orientation} against {other.orientation}")
        elif (angle := self._angle_deg(other)) > 1e-3:
            found.append(f"orientation turned by {angle:.3g} degrees")
        if not np.allclose(self.origin_mm, other.origin_mm, rtol=0, atol=tolerance_mm):
            found.append(f"origin {_triple(self.origin_mm)} mm against {_triple(other.origin_mm)} mm")
        return found or ["voxel centres differ by more than the tolerance"]

    def _angle_deg(self, other: Geometry) -> float:
        cosines = np.clip(np.sum(self.direction * other.direction, axis=0), -1, 1)
        return float(np.degrees(np.arccos(cosines.min())))

    def cropped(self, start: IntTriple, shape: IntTriple) -> Geometry:
        """The grid of the box of `shape` voxels whose first voxel is `start` (which may lie outside: padding)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.world(np.array(start, dtype=float))
        return Geometry(shape, affine)

    def with_spacing(self, spacing_mm: Triple) -> Geometry:
        """A grid of the given spacing that covers the same field of view around the same centre.

        >>> Geometry((10, 10, 4), np.diag([1.0, 1.0, 5.0, 1.0])).with_spacing((2, 2, 2)).shape
        (5, 5, 10)
        """
        extent = np.array(self.shape) * self.spacing_mm
        shape = np.maximum(np.round(extent / np.array(spacing_mm)), 1).astype(int)
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.array(spacing_mm)
        centre = self.world((np.array(self.shape) - 1) / 2)
        affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
        return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def canonical(self) -> Geometry:
        """The same voxels with axes permuted and flipped so that X, Y, Z run nearest to R, A, S."""
        order = [voxel for voxel, _ in self.axes]
        affine = np.eye(4)
        corner = np.zeros(3)
        for world, (voxel, sign) in enumerate(self.axes):
            affine[:3, world] = sign * self.affine[:3, voxel]
            corner[voxel] = 0 if sign > 0 else self.shape[voxel] - 1
        affine[:3, 3] = self.world(corner)
        x, y, z = (self.shape[voxel] for voxel in order)
        return Geometry((x, y, z), affine)


def _nearest_axes(cosines: FloatArray) -> tuple[tuple[int, int], ...]:
    """For each row of (3, 3) cosines the column nearest to it and its sign, each column used once."""
    pairs: dict[int, tuple[int, int]] = {}
    for flat in np.argsort(-np.abs(cosines), axis=None, kind="stable"):
        row, column = divmod(int(flat), 3)
        if row not in pairs and column not in {taken for taken, _ in pairs.values()}:
            pairs[row] = (column, 1 if cosines[row, column] >= 0 else -1)
    return tuple(pairs[row] for row in range(3))


def reorient(array: npt.NDArray[Scalar], source: Geometry, target: Geometry) -> npt.NDArray[Scalar]:
    """Moves voxels of `source` exactly onto `target`, the same lattice with other axis order or flips.

    Raises:
        GeometryError: the two are not the same lattice (an interpolation would be needed).
    """
    axes = _nearest_axes(target.direction.T @ source.direction)  # not by letters: at 45 degrees two of them tie
    moved = np.transpose(array, [*(voxel for voxel, _ in axes), *range(3, array.ndim)])
    moved = moved[tuple(slice(None, None, sign) for _, sign in axes)]
    corner = np.zeros(3)
    affine = np.eye(4)
    for axis, (voxel, sign) in enumerate(axes):
        corner[voxel] = 0 if sign > 0 else source.shape[voxel] - 1
        affine[:3, axis] = sign * source.affine[:3, voxel]
    affine[:3, 3] = source.world(corner)
    if faults := Geometry(moved.shape[:3], affine).differences(target):
        raise GeometryError("not the same lattice", expected="equal up to axis order and flips", got="; ".join(faults))
    return np.ascontiguousarray(moved)


def _triple(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
