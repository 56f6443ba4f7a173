"""How two grids that should be one differ, and which known mistake would explain it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.imaging.geometry import POSITION_TOLERANCE_MM, Geometry
from medseg.shapes import FloatArray

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Mismatch:
    """What differs, each with both values, and the mistake that explains all of it ("" when none does).

    `same_lattice` tells that both hold the same voxels, only with other axis order or flips.
    """

    differences: tuple[str, ...]
    explanation: str
    same_lattice: bool


def find_mismatch(image: Geometry, labels: Geometry) -> Mismatch | None:
    """Why `labels` do not lie on the grid of `image`, or None when they do.

    Example:
        >>> grid = Geometry((10, 10, 4), np.eye(4))
        >>> find_mismatch(grid, Geometry((10, 10, 4), np.diag([-1.0, -1.0, 1.0, 1.0]))).explanation
        'as if LPS coordinates had been taken for RAS'
    """
    differences = image.differences(labels)
    if not differences:
        return None
    same_lattice = not image.canonical().differences(labels.canonical())
    explanation = _explain(image, labels, same_lattice)
    if image.shape == labels.shape and not same_lattice:
        differences.append(f"corners up to {_farthest_mm(image, labels):.3g} mm apart")
    return Mismatch(tuple(differences), explanation, same_lattice)


def _explain(image: Geometry, labels: Geometry, same_lattice: bool) -> str:
    turned = "as if LPS coordinates had been taken for RAS"
    is_turned = not image.differences(Geometry(labels.shape, RAS_TO_LPS @ labels.affine))
    if same_lattice:  # around the origin, turning LPS into RAS is a flip: only a look at the case tells them apart
        return "the same voxels with other axis order or flips" + (f", or {turned}" if is_turned else "")
    if is_turned:
        return turned
    if image.shape == labels.shape and (axes := _flipped_in_place(image, labels)):
        return f"as if {' and '.join(axes)} had been flipped without moving the origin"
    if image.shape == labels.shape[::-1] and image.shape != labels.shape:
        return "as if the axes had been written in the order Z, Y, X"
    if image.shape == labels.shape and np.allclose(image.affine[:3, :3], labels.affine[:3, :3], rtol=0, atol=1e-4):
        shift = np.linalg.solve(image.affine[:3, :3], labels.affine[:3, 3] - image.affine[:3, 3])
        return _explain_shift(image, shift)
    if np.allclose(_extent_mm(image), _extent_mm(labels), rtol=0, atol=max(image.spacing_mm)):
        return "the same field of view in voxels of another size"
    return ""


def _explain_shift(image: Geometry, shift_voxels: FloatArray) -> str:
    moved_mm = float(np.linalg.norm(image.affine[:3, :3] @ shift_voxels))
    text = f"moved by {moved_mm:.3g} mm"
    halves = np.abs(np.abs(shift_voxels) - 0.5) < 0.02
    if np.all(halves | (np.abs(shift_voxels) < 0.02)):
        return f"{text}, half a voxel: as if a voxel's corner had been taken for its centre"
    return text


def _flipped_in_place(image: Geometry, labels: Geometry) -> list[str]:
    """Names of the voxel axes that point the other way from the same origin; empty when that is not all."""
    signs = np.sign((image.direction * labels.direction).sum(axis=0))
    flipped = Geometry(image.shape, image.affine @ np.diag([*signs, 1.0])) if signs.all() else image
    if flipped.differences(labels, tolerance_mm=POSITION_TOLERANCE_MM):
        return []
    return [axis for axis, sign in zip("XYZ", signs, strict=True) if sign < 0]


def _extent_mm(grid: Geometry) -> FloatArray:
    canonical = grid.canonical()
    return np.array(canonical.shape) * canonical.spacing_mm


def _farthest_mm(a: Geometry, b: Geometry) -> float:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in a.shape])).reshape(3, -1).T
    return float(np.linalg.norm(a.world(corners) - b.world(corners), axis=1).max())
