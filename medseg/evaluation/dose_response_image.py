"""What a challenge does to grey values: pure functions of a volume, a dose and a seed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medseg.evaluation.dose_response_way import slice_axis, thicker
from medseg.imaging.volume import BODY_HU, Volume
from medseg.shapes import BoolArray, FloatArray, IntArray

WINDOW_HU = (-160.0, 240.0)  # in which gamma bends the curve; beyond it the slope is 1
FULL_DOSE_NOISE_HU = 10.0  # standard deviation that an image at its own dose is taken to have
SHARP_SIGMA_MM = 1.0  # of the blur whose difference is added back, at least one voxel
CUBE_MM = 40.0  # side of what hides tissue
HIDDEN_HU = -1000.0


def shift_hu(volume: Volume, dose_hu: float, seed: int) -> FloatArray:
    """All HU with the dose added."""
    return volume.hu + np.float32(dose_hu)


def bend_gamma(volume: Volume, gamma: float, seed: int) -> FloatArray:
    """The share of the window (0 to 1) to the power gamma; its ends rest, HU beyond them stay as they are."""
    low, high = WINDOW_HU
    inside = np.clip(volume.hu, low, high)
    share = ((inside - low) / (high - low)).astype(np.float64)
    return (volume.hu + (share**gamma * (high - low) + low - inside)).astype(np.float32)


def added_noise_hu(dose_fraction: float) -> float:
    """Standard deviation of the noise to add for a share of the dose: variance is inverse to dose.

    >>> added_noise_hu(1.0), round(added_noise_hu(0.5), 6)
    (0.0, 10.0)
    """
    return FULL_DOSE_NOISE_HU * float(np.sqrt(1.0 / dose_fraction - 1.0))


def add_noise(volume: Volume, dose_fraction: float, seed: int) -> FloatArray:
    """White Gaussian noise as if the scan had been taken with this share of its dose.

    One seed gives one pattern for all doses, so that a curve does not wobble with the draw.
    """
    pattern = np.random.Generator(np.random.SFC64(seed)).standard_normal(volume.hu.shape, dtype=np.float32)
    return volume.hu + pattern * np.float32(added_noise_hu(dose_fraction))


def blur(volume: Volume, sigma_mm: float, seed: int) -> FloatArray:
    """Gaussian blur of the same width in mm along every axis; edge voxels are repeated beyond the border."""
    return _gauss(volume.hu, [sigma_mm / mm for mm in volume.geometry.spacing_mm])


def sharpen(volume: Volume, amount: float, seed: int) -> FloatArray:
    """In the slices: the image plus `amount` times its difference from a blur, as by a sharp reconstruction kernel."""
    across = slice_axis(volume.geometry)
    sigmas = [0.0 if axis == across else max(SHARP_SIGMA_MM / mm, 1.0)
              for axis, mm in enumerate(volume.geometry.spacing_mm)]  # fmt: skip
    return volume.hu + np.float32(amount) * (volume.hu - _gauss(volume.hu, sigmas))


def thicken(volume: Volume, thickness_mm: float, seed: int) -> FloatArray:
    """The mean over each thicker slice, shares of slices included, on the grid of `thicker`."""
    way, axis = thicker(volume.geometry, thickness_mm), slice_axis(volume.geometry)
    if way.is_still:
        return volume.hu
    count, ratio = volume.hu.shape[axis], thickness_mm / volume.geometry.spacing_mm[axis]
    edges = np.minimum(np.arange(way.canvas.shape[axis] + 1) * ratio, count)
    slices = np.arange(count)
    shares = np.clip(np.minimum(edges[1:, None], slices + 1) - np.maximum(edges[:-1, None], slices), 0, None)
    weights = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return np.moveaxis(np.tensordot(weights, volume.hu, axes=(1, axis)), 0, axis)


def occlude(volume: Volume, fraction: float, seed: int) -> FloatArray:
    """The image with this share of the body replaced by air, in cubes of 40 mm in random order.

    One seed gives one order for all doses: what is hidden at a dose is hidden at every larger one. The body is what is
    denser than -300 HU; the last cube is hidden in part, so that the share is met within a layer of voxels.
    """
    hidden = occluded(volume, fraction, seed)
    return np.where(hidden, np.float32(HIDDEN_HU), volume.hu)


def occluded(volume: Volume, fraction: float, seed: int) -> BoolArray:
    """Where `occlude` hides the image."""
    body = volume.hu > BODY_HU
    cubes = _cube_numbers(volume)
    per_cube = np.bincount(cubes[body], minlength=int(cubes.max()) + 1)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(per_cube))
    wanted = fraction * float(per_cube.sum())
    covered = np.cumsum(per_cube[order])
    whole = int(np.searchsorted(covered, wanted, side="right"))
    hidden = np.isin(cubes, order[:whole])
    left = wanted - (covered[whole - 1] if whole else 0)
    if whole < len(order) and left > 0:
        hidden |= _part_of(cubes == order[whole], body, left)
    return hidden


def _part_of(cube: BoolArray, body: BoolArray, wanted: float) -> BoolArray:
    """The first layers (along the first axis) of a cube that hold at least so many voxels of the body."""
    held = np.cumsum((cube & body).sum(axis=(1, 2)))
    last = int(np.searchsorted(held, wanted))
    part = cube.copy()
    part[last + 1 :] = False
    return part


def _cube_numbers(volume: Volume) -> IntArray:
    """(X, Y, Z) the number of the cube in which each voxel lies."""
    places = [np.floor(np.arange(n) * mm / CUBE_MM).astype(np.int64)
              for n, mm in zip(volume.hu.shape, volume.geometry.spacing_mm, strict=True)]  # fmt: skip
    x, y, z = places
    return (x[:, None, None] * (y[-1] + 1) + y[:, None]) * (z[-1] + 1) + z


def _gauss(hu: FloatArray, sigmas: list[float]) -> FloatArray:
    return ndimage.gaussian_filter(hu.astype(np.float32, copy=False), sigmas, mode="nearest")
