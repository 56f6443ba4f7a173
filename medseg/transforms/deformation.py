"""What moves the anatomy, in numbers: rotation, shear, scale, shift, and a bending that cannot fold.

The deformation is described forwards, as it moves the anatomy, in mm from the centre of the grid and along the voxel
axes: first scaled, sheared and rotated, then translated, then bent. Resampling asks the other way round, for every
voxel of the result where it comes from; that answer is a `Route`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from medseg.shapes import FloatArray, IntTriple, Triple

AIR_HU = -1024.0
LabelInterpolation = Literal["nearest", "linear_argmax"]

# A uniform cubic B-spline deformation in 3-D is one-to-one while no control point moves further along any axis than
# this share of their distance (Choi and Lee 2000, Injectivity conditions of 2D and 3D uniform cubic B-splines).
FOLD_FREE = 1 / 2.4794


@dataclass(frozen=True)
class AffineParams:
    """How the anatomy is moved about the centre.

    Args:
        rotation_deg: about X, then Y, then Z; +90 about Z turns X towards Y.
        scale: along X, Y, Z; above 1 enlarges.
        translation_mm: along X, Y, Z, after all else.
        shear_deg: by which a line along Y leans towards X, a line along Z towards X, and a line along Z towards Y;
            after scaling, before rotation. The volume stays.
    """

    rotation_deg: Triple = (0.0, 0.0, 0.0)
    scale: Triple = (1.0, 1.0, 1.0)
    translation_mm: Triple = (0.0, 0.0, 0.0)
    shear_deg: Triple = (0.0, 0.0, 0.0)

    @property
    def matrix(self) -> FloatArray:
        """3 x 3: where a point (mm from the centre) of the unmoved anatomy comes to lie, before the shift."""
        rotation = np.eye(3)
        for axis, angle in enumerate(np.radians(self.rotation_deg)):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            turn = np.eye(3)
            turn[a, a] = turn[b, b] = np.cos(angle)
            turn[b, a], turn[a, b] = np.sin(angle), -np.sin(angle)
            rotation = turn @ rotation
        lean = np.eye(3)
        lean[0, 1], lean[0, 2], lean[1, 2] = np.tan(np.radians(self.shear_deg))
        return rotation @ lean @ np.diag(self.scale)


@dataclass(frozen=True)
class ElasticParams:
    """A cubic B-spline displacement: control points every `control_spacing_mm`, each moved by up to `displacement_mm`
    along every axis but `still_axis`; `seed` stands for the random moves."""

    control_spacing_mm: float
    displacement_mm: float
    seed: int
    still_axis: int | None = None


@dataclass(frozen=True)
class Warp:
    """What happens to a grid of `spacing_mm`: affine, then elastic; either may be absent.

    Args:
        outside_hu: of image voxels that come from beyond the image, where labels become background; None repeats the
            outermost voxels of both.
        patch_shape: of the result, None for the source's own. The anatomy moves about the centre of the patch.
        patch_start: voxel of the source at which the patch begins; None cuts it from the middle.
        interpolation: of integer labels: `nearest`, or `linear_argmax`, the class with the largest interpolated share.
        clip_hu: image voxels are clipped to it as they are read; None reads them as they are.
    """

    spacing_mm: Triple
    affine: AffineParams | None = None
    elastic: ElasticParams | None = None
    outside_hu: float | None = AIR_HU
    patch_shape: IntTriple | None = None
    patch_start: IntTriple | None = None
    interpolation: LabelInterpolation = "nearest"
    clip_hu: tuple[float, float] | None = None

    def joined(self, other: Warp) -> Warp | None:
        """Both in one, affine before elastic; None where one resampling cannot do what both say.

        That is: both hold the same part, they fill or take labels differently, or a cut comes after a deformation. A
        cut without deformation fills nothing, so it takes the other's rules.
        """
        if other.patch_shape is not None or (self.affine and other.affine) or (self.elastic and other.elastic):
            return None
        moves = self.affine is not None or self.elastic is not None
        if moves and (self.outside_hu, self.interpolation) != (other.outside_hu, other.interpolation):
            return None
        return replace(other, affine=self.affine or other.affine, elastic=self.elastic or other.elastic,
                       patch_shape=self.patch_shape, patch_start=self.patch_start)  # fmt: skip

    def target(self, shape: IntTriple) -> IntTriple:
        """Voxels of the result of a source of `shape`."""
        return self.patch_shape or shape

    def start(self, shape: IntTriple) -> IntTriple:
        """First voxel of the patch in a source of `shape`."""
        if self.patch_start is not None:
            return self.patch_start
        x, y, z = ((n - wanted) // 2 for n, wanted in zip(shape, self.target(shape), strict=True))
        return x, y, z


class Route(NamedTuple):
    """For every voxel of a result the place in the source that it shows.

    With `backwards` false the place of voxel t is `M t + m + d(t)`; true it is the p that solves `p = M t + m + d(p)`.
    The displacement d is a cubic B-spline.

    Args:
        matrix: 3 x 4, M and m.
        controls: (3, A, B, C) float64, the control points' displacement in source voxels; empty where none.
        rate: control points per voxel along X, Y, Z, of the grid on which d is defined.
        source: voxels of the source.
        backwards: whether d depends on the place instead of the voxel.
        repeats: whether places beyond the source show its outermost voxels.
    """

    matrix: FloatArray
    controls: FloatArray
    rate: FloatArray
    source: IntTriple
    backwards: bool
    repeats: bool


def voxel_map(warp: Warp, shape: IntTriple) -> FloatArray:
    """4 x 4 from a voxel of the result to the source voxel it shows; the elastic part, which is no matrix, left out."""
    affine = warp.affine or AffineParams()
    to_voxels = np.diag(1 / np.array(warp.spacing_mm)) @ np.linalg.inv(affine.matrix)
    centre = (np.array(warp.target(shape)) - 1) / 2
    matrix = np.eye(4)
    matrix[:3, :3] = _clean(to_voxels @ np.diag(warp.spacing_mm))
    shift = to_voxels @ np.array(affine.translation_mm)
    matrix[:3, 3] = _clean(np.array(warp.start(shape)) + centre - matrix[:3, :3] @ centre - shift)
    return matrix


def forward_route(warp: Warp, shape: IntTriple) -> Route:
    """From the voxels of the warped grid into a source of `shape`."""
    matrix = voxel_map(warp, shape)[:3]
    controls = _controls(warp, shape)
    to_voxels = matrix[:, :3] / np.array(warp.spacing_mm)
    moved = np.ascontiguousarray(np.einsum("ij,jabc->iabc", to_voxels, controls))
    return Route(np.ascontiguousarray(matrix), moved, _rate(warp), shape, False, warp.outside_hu is None)


def backward_route(warp: Warp, shape: IntTriple) -> Route:
    """From the voxels of the unwarped grid of `shape` into the warped one: the inverse of `forward_route`.

    A displacement below `FOLD_FREE` changes by less than the distance over which it changes (the sum of its slopes
    along the three axes stays below 1, which is how Choi and Lee's bound is made), so that stepwise substitution for p
    converges.
    """
    matrix = _clean(np.linalg.inv(voxel_map(warp, shape)))[:3]
    controls = -_controls(warp, shape) / np.array(warp.spacing_mm)[:, None, None, None]
    return Route(np.ascontiguousarray(matrix), controls, _rate(warp), warp.target(shape), True, warp.outside_hu is None)


def plain_box(route: Route, target: IntTriple) -> tuple[slice, slice, slice] | None:
    """The box of the source that the result shows voxel by voxel; None if it shows anything else."""
    start = route.matrix[:, 3].astype(int)
    if route.controls.any() or not np.array_equal(route.matrix, np.hstack([np.eye(3), start[:, None]])):
        return None
    if min(start) < 0 or any(first + n > there for first, n, there in zip(start, target, route.source, strict=True)):
        return None
    x, y, z = (slice(int(first), int(first) + n) for first, n in zip(start, target, strict=True))
    return x, y, z


def bspline(t: FloatArray) -> FloatArray:
    """The four weights (4, N) of a uniform cubic B-spline at the fractions t."""
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def _controls(warp: Warp, shape: IntTriple) -> FloatArray:
    """(3, A, B, C) displacement of the control points in mm: of a voxel of the result to the place it shows."""
    elastic = warp.elastic
    if elastic is None:
        return np.zeros((3, 0, 0, 0))
    counts = [int((n - 1) * rate) + 4 for n, rate in zip(warp.target(shape), _rate(warp), strict=True)]
    controls = np.random.default_rng(elastic.seed).uniform(-1, 1, (3, *counts)) * elastic.displacement_mm
    if elastic.still_axis is not None:
        controls[elastic.still_axis] = 0
    return controls


def _rate(warp: Warp) -> FloatArray:
    return np.array(warp.spacing_mm) / (warp.elastic.control_spacing_mm if warp.elastic else 1.0)


def _clean(values: FloatArray) -> FloatArray:
    """Numbers within rounding of a whole one made whole, so that a turn by 90 degrees or by none hits the voxels."""
    whole = np.round(values)
    return np.where(np.abs(values - whole) < 1e-9, whole, values)
