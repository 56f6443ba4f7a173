"""What a scanner measures of axial planes, and what it makes of it: parallel rays, filtered backprojection.

The physics steps (dose, metal, beam hardening) work in rays because that is where a scanner's faults arise. A patch
shows only part of the body: what lies beyond it is unknown, so rays begin and end at the patch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.shapes import FloatArray
from medseg.transforms.compiled import in_slabs
from medseg.transforms.fourier import from_spectrum, real_spectrum
from medseg.transforms.kernels_ct import backproject_pixels, project_angles

WATER_PER_MM = 0.0193  # linear attenuation of water at 70 keV, the mean energy at 120 kV (NIST XCOM: 0.193 per cm)


@dataclass(frozen=True)
class Rays:
    """Parallel rays over 180 degrees through an axial plane of `shape` pixels (X, Y) of `pixel_mm`.

    At angle t the detector lies along (cos t, sin t). Bins are as wide as the larger pixel edge.
    """

    shape: tuple[int, int]
    pixel_mm: tuple[float, float]
    angles: int

    @property
    def bin_mm(self) -> float:
        """Distance of neighbouring rays."""
        return max(self.pixel_mm)

    @property
    def bins(self) -> int:
        """Rays an angle; the plane's diagonal and one bin more at either end."""
        diagonal = math.hypot(*(n * edge for n, edge in zip(self.shape, self.pixel_mm, strict=True)))
        return math.ceil(diagonal / self.bin_mm) + 3

    @property
    def middle(self) -> float:
        """The bin, in parts, on which the middle of the plane falls."""
        return (self.bins - 1) / 2

    def radians(self) -> FloatArray:
        """(A,), the angles, half a step away from the axes."""
        return (np.arange(self.angles) + 0.5) * (np.pi / self.angles)

    def directions(self) -> FloatArray:
        """(A, 2), unit vectors along the detector."""
        return np.stack([np.cos(self.radians()), np.sin(self.radians())], axis=1)

    def places(self) -> FloatArray:
        """(X * Y, 2), pixel centres in bins from the middle of the plane."""
        axes = [(np.arange(n) - (n - 1) / 2) * (edge / self.bin_mm)
                for n, edge in zip(self.shape, self.pixel_mm, strict=True)]  # fmt: skip
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)


def coarse_rays(shape: tuple[int, int], spacing_mm: tuple[float, float], pixels: int, angles: int) -> Rays:
    """Rays through a plane of at most `pixels` along its longer edge, with pixels that are about square."""
    edges = [n * spacing for n, spacing in zip(shape, spacing_mm, strict=True)]
    edge = max(edges) / pixels
    x, y = (min(n, max(1, round(length / edge))) for n, length in zip(shape, edges, strict=True))
    return Rays((x, y), (edges[0] / x, edges[1] / y), angles)


def attenuation(hu: Tensor) -> Tensor:
    """Linear attenuation per mm; nothing below vacuum."""
    return (hu * (WATER_PER_MM / 1000) + WATER_PER_MM).clamp(min=0)


def project(image: Tensor, rays: Rays) -> Tensor:
    """Line integrals (A, S, N) of planes (X, Y, N): the sum of value times mm along each ray."""
    flat = image.reshape(-1, image.shape[-1]).contiguous()
    run = _project_compiled if image.device.type == "cpu" else _project_torch
    area = rays.pixel_mm[0] * rays.pixel_mm[1]
    return run(flat, rays) * (area / rays.bin_mm)


def backproject(sinogram: Tensor, rays: Rays) -> Tensor:
    """Planes (X, Y, N) of which each pixel is the mean over the angles of the rays (A, S, N) through it."""
    run = _backproject_compiled if sinogram.device.type == "cpu" else _backproject_torch
    return (run(sinogram.contiguous(), rays) / rays.angles).reshape(*rays.shape, -1)


def reconstruct(sinogram: Tensor, rays: Rays) -> Tensor:
    """Planes (X, Y, N) by filtered backprojection (Ramachandran and Lakshminarayanan 1971) with a cosine window."""
    bins = sinogram.shape[1]
    length = 2 ** math.ceil(math.log2(2 * bins))
    steps = np.arange(length)
    steps = np.minimum(steps, length - steps)
    kernel = np.where(steps % 2 == 1, -1 / (np.pi * np.maximum(steps, 1)) ** 2, 0.0)
    kernel[0] = 0.25
    window = np.cos(np.linspace(0, np.pi / 2, length // 2 + 1))
    ramp = constant(np.fft.rfft(kernel).real * window / rays.bin_mm, sinogram.device)
    padded = F.pad(sinogram, (0, 0, 0, length - bins))
    filtered = from_spectrum(real_spectrum(padded, (1,)) * ramp[:, None], (length,), (1,))[:, :bins]
    return backproject(filtered, rays) * math.pi


def constant(array: Any, device: torch.device) -> Tensor:
    """A float32 tensor on the device, of numbers that are known on the host, which does not wait for the copy."""
    return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(device, non_blocking=True)


def total(values: Tensor) -> Tensor:
    """The sum, the same for any number of threads, without waiting for the device."""
    if values.device.type != "cpu":
        return values.sum()
    return torch.from_numpy(np.asarray(values.numpy().sum(dtype=np.float64))).float()


def to_coarse(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Means (C, *shape) of an image (C, X, Y, Z)."""
    return F.adaptive_avg_pool3d(image, shape)


def to_fine(coarse: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """A coarse field (C, x, y, z), interpolated linearly to (C, *shape)."""
    return F.interpolate(coarse[None], size=shape, mode="trilinear", align_corners=False)[0]


def _project_compiled(image: Tensor, rays: Rays) -> Tensor:
    sinogram = np.zeros((rays.angles, rays.bins, image.shape[1]), dtype=np.float32)
    in_slabs(project_angles, rays.angles, image.numpy(), rays.places(), rays.directions(), rays.middle, sinogram)
    return torch.from_numpy(sinogram)


def _backproject_compiled(sinogram: Tensor, rays: Rays) -> Tensor:
    image = np.zeros((rays.shape[0] * rays.shape[1], sinogram.shape[2]), dtype=np.float32)
    in_slabs(backproject_pixels, len(image), sinogram.numpy(), rays.places(), rays.directions(), rays.middle, image)
    return torch.from_numpy(image)


def _bins(rays: Rays, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """For each angle in turn the bin below every pixel (P,), and the share (P, 1) of the one above."""
    places = torch.from_numpy(rays.places()).to(device, non_blocking=True)
    for cosine, sine in rays.directions().tolist():
        place = places[:, 0] * cosine + places[:, 1] * sine + rays.middle
        below = place.floor()
        yield below.long(), (place - below).float()[:, None]


def _project_torch(image: Tensor, rays: Rays) -> Tensor:
    sinogram = image.new_zeros(rays.angles, rays.bins, image.shape[1])
    for row, (below, share) in zip(sinogram, _bins(rays, image.device), strict=True):
        row.index_add_(0, below, image * (1 - share))
        row.index_add_(0, below + 1, image * share)
    return sinogram


def _backproject_torch(sinogram: Tensor, rays: Rays) -> Tensor:
    image = sinogram.new_zeros(rays.shape[0] * rays.shape[1], sinogram.shape[2])
    for row, (below, share) in zip(sinogram, _bins(rays, sinogram.device), strict=True):
        image += row[below] * (1 - share) + row[below + 1] * share
    return image
