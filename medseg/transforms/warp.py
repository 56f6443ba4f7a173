"""One resampling for affine and elastic deformation together.

The deformation is described forwards, as it moves the anatomy, in mm from the centre of the grid and along the voxel
axes: first rotated and scaled, then translated, then bent. Resampling asks the other way round, for every voxel of the
result where it comes from, so the inverse steps are composed into one field of source coordinates.

Only elementwise sums and gathers are used: their results do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple

AIR_HU = -1024.0


@dataclass(frozen=True)
class AffineParams:
    """Rotation about X, then Y, then Z (degrees, +90 about Z turns X towards Y), scale (> 1 enlarges), shift in mm."""

    rotation_deg: Triple = (0.0, 0.0, 0.0)
    scale: Triple = (1.0, 1.0, 1.0)
    translation_mm: Triple = (0.0, 0.0, 0.0)

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
        return rotation @ np.diag(self.scale)


@dataclass(frozen=True)
class ElasticParams:
    """A cubic B-spline displacement: control points every `control_spacing_mm`, each moved by up to `displacement_mm`
    along every axis; `seed` stands for the random moves."""

    control_spacing_mm: float
    displacement_mm: float
    seed: int


@dataclass(frozen=True)
class Warp:
    """What happens to a grid of `spacing_mm`: affine, then elastic; either may be absent.

    Args:
        outside_hu: of image voxels that come from beyond the image; labels become background there.
        patch_shape: of the result, the middle of the source; None for the source's own.
    """

    spacing_mm: Triple
    affine: AffineParams | None = None
    elastic: ElasticParams | None = None
    outside_hu: float = AIR_HU
    patch_shape: IntTriple | None = None

    def joined(self, other: Warp) -> Warp | None:
        """Both in one, affine before elastic; None if both hold the same part or fill differently."""
        if self.outside_hu != other.outside_hu or (self.affine and other.affine) or (self.elastic and other.elastic):
            return None
        return replace(self, affine=self.affine or other.affine, elastic=self.elastic or other.elastic)


def voxel_map(warp: Warp, shape: IntTriple) -> FloatArray:
    """4 x 4 from a voxel of the result to the source voxel it shows; the elastic part, which is no matrix, left out."""
    affine = warp.affine or AffineParams()
    to_voxels = np.diag(1 / np.array(warp.spacing_mm)) @ np.linalg.inv(affine.matrix)
    target = np.array(warp.patch_shape or shape)
    centre = (target - 1) / 2
    start = (np.array(shape) - target) // 2
    matrix = np.eye(4)
    matrix[:3, :3] = to_voxels @ np.diag(warp.spacing_mm)
    matrix[:3, 3] = start + centre - matrix[:3, :3] @ centre - to_voxels @ np.array(affine.translation_mm)
    return matrix


@lru_cache(maxsize=2)  # the image and every label of a sample ask for the same field
def source_coordinates(warp: Warp, shape: IntTriple, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each voxel of the result its source voxel, three (X, Y, Z) float32 tensors; not to be written to."""
    matrix, target = voxel_map(warp, shape), warp.patch_shape or shape
    shift = None if warp.elastic is None else displacement(warp.elastic, target, warp.spacing_mm).to(device)
    to_voxels = matrix[:3, :3] / np.array(warp.spacing_mm)
    coordinates = []
    for row in range(3):
        along = [torch.as_tensor(matrix[row, k] * np.arange(n), dtype=torch.float32) for k, n in enumerate(target)]
        x, y, z = (part.to(device) for part in along)
        place = x[:, None, None] + (y[:, None] + (z + float(matrix[row, 3])))
        for k in range(3 if shift is not None else 0):
            place = place + shift[k] * float(to_voxels[row, k])  # type: ignore[index]
        coordinates.append(place)
    return coordinates[0], coordinates[1], coordinates[2]


def displacement(elastic: ElasticParams, shape: IntTriple, spacing_mm: Triple) -> Tensor:
    """(3, X, Y, Z) float32 in mm: from a voxel of the result to the place whose content it shows."""
    steps = [np.arange(n) * s / elastic.control_spacing_mm for n, s in zip(shape, spacing_mm, strict=True)]
    counts = [int(step[-1]) + 4 for step in steps]
    rng = np.random.default_rng(elastic.seed)
    field = torch.from_numpy(rng.uniform(-1, 1, (3, *counts)) * elastic.displacement_mm).float()
    for axis, step in enumerate(steps):
        first = torch.from_numpy(step.astype(np.int64))
        weights = torch.from_numpy(_bspline(step % 1)).float()
        view = [1, 1, 1, 1]
        view[axis + 1] = -1
        taps = [field.index_select(axis + 1, first + tap) * weights[tap].view(view) for tap in range(4)]
        field = taps[0] + taps[1] + taps[2] + taps[3]
    return field


def warp_image(image: Tensor, warp: Warp) -> Tensor:
    """Trilinear values of (channels, X, Y, Z) float32; `outside_hu` where the source lies beyond the outermost voxels.

    Within the outer half of a border voxel its value is repeated, so that image and labels end at the same place.
    """
    _, inside = _nearest(warp, _spatial(image), image.device)
    return torch.where(inside, _linear(image, warp), torch.tensor(warp.outside_hu, device=image.device))


def warp_labels(labels: Tensor, warp: Warp) -> Tensor:
    """Labels under the same deformation as the image.

    Integers (R, X, Y, Z) take the nearest voxel's value, so no new value appears and ignored voxels (-1) stay ignored;
    beyond the image they become 0, background. Soft targets (C, X, Y, Z) are interpolated class by class, which keeps
    their sum of 1; beyond the image the background becomes 1 and all else 0.
    """
    index, inside = _nearest(warp, _spatial(labels), labels.device)
    if labels.is_floating_point():
        background = torch.zeros(len(labels), 1, 1, 1, device=labels.device)
        background[0] = 1
        return torch.where(inside, _linear(labels, warp), background)
    moved = labels.flatten(1).index_select(1, index).reshape(len(labels), *inside.shape)
    return torch.where(inside, moved, torch.zeros((), dtype=labels.dtype, device=labels.device))


def _linear(channels: Tensor, warp: Warp) -> Tensor:
    shape = _spatial(channels)
    places = source_coordinates(warp, shape, channels.device)
    # align_corners=False puts voxel i of n at (2 i + 1) / n - 1; the last coordinate comes first
    grid = torch.stack([(place * 2 + 1) / n - 1 for place, n in zip(places, shape, strict=True)][::-1], dim=-1)
    return F.grid_sample(channels[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


@lru_cache(maxsize=2)
def _nearest(warp: Warp, shape: IntTriple, device: torch.device) -> tuple[Tensor, Tensor]:
    """Flat index of the source voxel of each voxel of the result, and (X, Y, Z) whether it lies in the image."""
    x, y, z = (place.round() for place in source_coordinates(warp, shape, device))
    inside = (x >= 0) & (x < shape[0]) & (y >= 0) & (y < shape[1]) & (z >= 0) & (z < shape[2])
    flat = (x.int().clamp(0, shape[0] - 1) * shape[1] + y.int().clamp(0, shape[1] - 1)) * shape[2]
    return (flat + z.int().clamp(0, shape[2] - 1)).flatten(), inside


def _spatial(tensor: Tensor) -> IntTriple:
    x, y, z = tensor.shape[1:]
    return x, y, z


def _bspline(t: FloatArray) -> FloatArray:
    """The four weights (4, N) of a uniform cubic B-spline at the fractions t."""
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
