"""Implicit surfaces: signed distances in mm, negative inside, approximate away from the surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import zoom

from medseg.shapes import FloatArray, IntTriple, Triple


def rotation(degrees: Sequence[float]) -> FloatArray:
    """3 x 3 rotation: about X, then Y, then Z, in degrees."""
    x, y, z = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def ellipsoid(points_mm: FloatArray, centre: Triple, radii: Triple, turn_deg: Triple = (0, 0, 0)) -> FloatArray:
    """Distance of points (3, X, Y, Z) to an ellipsoid; a radius of infinity makes a cylinder.

    First-order: exact on the surface, where the gradient has length 1.
    """
    turned = rotation(turn_deg).T.astype(np.float32)
    local = [
        sum(turned[row, axis] * (points_mm[axis] - np.float32(centre[axis])) for axis in range(3)) for row in range(3)
    ]
    level = np.zeros(points_mm.shape[1:], dtype=np.float32)
    slope = np.zeros_like(level)
    for coordinate, radius in zip(local, radii, strict=True):
        if np.isfinite(radius):
            scaled = coordinate / np.float32(radius)
            level += scaled**2
            slope += (scaled / np.float32(radius)) ** 2
    level, slope = np.sqrt(level), np.sqrt(slope)
    tiny = np.float32(1e-6)  # at the very centre, where 0 / 0 would make a hole, the nearest surface is a radius away
    return np.where(slope > tiny, level * (level - 1) / np.maximum(slope, tiny), np.float32(-min(radii)))


def superellipse_tube(
    points_mm: FloatArray, half_width: FloatArray, half_depth: FloatArray, power: float
) -> FloatArray:
    """Distance along the ray from the axis to a tube along Z with rounded-box cross-sections (a trunk)."""
    x, y = points_mm[0], points_mm[1]
    level = ((np.abs(x) / half_width) ** power + (np.abs(y) / half_depth) ** power) ** np.float32(1 / power)
    return np.hypot(x, y) * (1 - 1 / np.maximum(level, np.float32(1e-3)))


def smooth_union(first: FloatArray, second: FloatArray, blend_mm: float) -> FloatArray:
    """Union of two shapes whose seam is rounded over about `blend_mm` (polynomial smooth minimum)."""
    mix = np.clip(0.5 + 0.5 * (second - first) / np.float32(blend_mm), 0, 1)
    return second + (first - second) * mix - np.float32(blend_mm) * mix * (1 - mix)


def smooth_field(rng: np.random.Generator, shape: IntTriple, knots: IntTriple, deviation: float) -> FloatArray:
    """A random field (X, Y, Z) of the given standard deviation that varies over the distance between `knots`."""
    knots = tuple(max(2, k) for k in knots)  # type: ignore[assignment]
    coarse = rng.standard_normal(knots).astype(np.float32)
    fine = np.asarray(zoom(coarse, [n / k for n, k in zip(shape, knots, strict=True)], order=1, grid_mode=False))
    # Linear interpolation between knots shrinks the variance; bring it back so that `deviation` is what one gets.
    return fine * np.float32(deviation / max(float(fine.std()), 1e-6))
