"""The image as a scan with less radiation would have shown it: correlated noise, more of it where rays are absorbed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.fourier import from_spectrum
from medseg.transforms.noise import gaussian_noise
from medseg.transforms.projection import (
    attenuation,
    backproject,
    coarse_rays,
    constant,
    project,
    to_coarse,
    to_fine,
    total,
)
from medseg.transforms.ranges import PositiveRange, Probability, Rng, SizeRange, fires, log_uniform, new_seed, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase
from medseg.transforms.warp import AIR_HU

BODY_HU = -500.0  # between lung with its vessels and fat: above it lies the body without its air
COARSE = 32  # pixels along the longer edge, and slices, in which paths through the body are measured
ANGLES = 24
SLAB = 32  # slices at a time, which keeps memory low; a slab has its own numbers
WEDGES = (90, 30, 150)  # degrees; the first holds the streaks that run from left to right, along shoulders and hips
NOISE_AT_ZERO = 0.05  # share of the largest amplitude that is left at frequency 0; a measured spectrum is not 0 there


def _a_share(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[1] > 1:
        raise ValueError("a range [low, high] of at most 1")
    return ends


class DoseConfig(StepBase):
    """Noise of a lower dose.

    Args:
        probability: of acting.
        dose: range of the share of the original dose, drawn evenly on a logarithmic scale; 1 leaves the image alone.
        sigma_hu: range of the noise that the original image is taken to have inside the body.
        kernel_mm: range of the reconstruction kernel's width (standard deviation): 0.5 is soft, 0.25 is sharp.
    """

    name: Literal["dose"] = "dose"
    probability: Probability = 0.2
    dose: Annotated[PositiveRange, AfterValidator(_a_share)] = (0.1, 1.0)
    sigma_hu: SizeRange = (6.0, 14.0)
    kernel_mm: SizeRange = (0.25, 0.6)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Dose:
        """The transform; `options` as in `RandomTransform`."""
        return Dose(keys, self, **options)


@dataclass(frozen=True)
class DoseParams:
    """Share of the dose, noise at full dose, width of the kernel, voxel size; the seed stands for the noise."""

    dose: float
    sigma_hu: float
    kernel_mm: float
    spacing_mm: Triple
    seed: int

    @property
    def added_hu(self) -> float:
        """Standard deviation of the noise that is added, over the body."""
        return self.sigma_hu * math.sqrt(1 / self.dose - 1)


class Dose(RandomTransform[DoseParams]):
    """Adds the noise that separates `dose` from the full one; the labels stay.

    The number of photons that a ray leaves over follows Poisson's law, so the variance of the measured line integral
    L grows as exp(L) / dose. Filtered backprojection turns that into noise whose variance in a voxel is the mean of
    exp(L) over the rays through it, and whose spectrum rises with frequency (ramp) until the kernel cuts it off
    (Kak and Slaney 1988, chapter 5; Barrett and others 1976). Noise of direction t comes from the rays across t, so
    long paths leave streaks along themselves.

    Assumed: parallel rays of 70 keV, no bow-tie filter, no electronic noise; slices independent of each other; rays
    begin and end at the patch; directions in three overlapping wedges; the image holds the full dose's noise already.
    The added noise has `sigma_hu * sqrt(1 / dose - 1)` as root mean square over the body (above -500 HU; over
    everything if there is no body), and values do not fall below -1024 HU. Axes 0 and 1 are the axial plane.
    """

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: DoseConfig = DoseConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> DoseParams | None:
        if not fires(rng, self.config.probability):
            return None
        dose = log_uniform(rng, self.config.dose)
        sigma, kernel = uniform(rng, self.config.sigma_hu), uniform(rng, self.config.kernel_mm)
        return DoseParams(dose, sigma, kernel, spacing_mm, new_seed(rng))

    def apply_image(self, image: Tensor, params: DoseParams) -> Tensor:
        if params.added_hu == 0:
            return image
        noisy = image + dose_noise(image, params) * params.added_hu
        return torch.maximum(noisy, image.clamp(max=AIR_HU))


def dose_noise(image: Tensor, params: DoseParams) -> Tensor:
    """Noise (C, X, Y, Z) for an image in HU, with root mean square 1 over the body; the seed decides what it is."""
    channels, x, y, z = image.shape
    amplitude = kernel_amplitude((x, y), params.spacing_mm[:2], params.kernel_mm)
    filters = constant([amplitude * wedge for wedge in wedges((x, y), params.spacing_mm[:2])], image.device)
    scales = [to_fine(scale, (scale.shape[1], scale.shape[2], z)) for scale in spread(image, params.spacing_mm)]
    noise = torch.zeros_like(image)
    for first in range(0, z, SLAB):
        part = noise[..., first : first + SLAB]
        spectrum = _white_spectrum((channels, x, y, part.shape[3]), params.seed + first, image.device)
        for weight, scale in zip(filters, scales, strict=True):
            field = from_spectrum(spectrum * weight[None, :, :, None], (x, y), (1, 2))
            part += field * to_fine(scale[..., first : first + SLAB], (x, y, part.shape[3]))
    return noise


def kernel_amplitude(shape: tuple[int, int], spacing_mm: tuple[float, float], kernel_mm: float) -> FloatArray:
    """Amplitude (X, Y // 2 + 1) of each in-plane frequency: root of ramp times kernel, for noise of variance 1."""
    _, frequency = _frequencies(shape, spacing_mm)
    power = frequency * np.exp(-((2 * np.pi * kernel_mm * frequency) ** 2))
    amplitude = np.sqrt(power / max(power.max(), 1e-30)) + NOISE_AT_ZERO
    both = np.full(shape[1] // 2 + 1, 2.0)  # how often a column stands in the full plane
    both[0] = 1
    if shape[1] % 2 == 0:
        both[-1] = 1
    amplitude /= np.sqrt((amplitude**2 * both).sum() / (shape[0] * shape[1]))
    # irfft2 takes only the real part of columns that stand there once, which halves their variance.
    return amplitude * np.sqrt(2 / both)


def wedges(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> list[FloatArray]:
    """Share (X, Y // 2 + 1) of each in-plane frequency that belongs to each of `WEDGES`; they sum to 1."""
    angle, _ = _frequencies(shape, spacing_mm)
    return [_share(angle, degrees) for degrees in WEDGES]


def spread(image: Tensor, spacing_mm: Triple) -> Tensor:
    """Standard deviation (W, C, x, y, z) of each wedge's noise on a coarse grid; root mean square 1 over the body."""
    nx, ny, nz = image.shape[1:]
    rays = coarse_rays((nx, ny), spacing_mm[:2], COARSE, ANGLES)
    coarse = to_coarse(image, (*rays.shape, min(nz, COARSE)))
    planes = coarse.permute(1, 2, 0, 3)
    sinogram = project(attenuation(planes).flatten(2), rays)
    variance = torch.exp(sinogram - 4)  # 4: about 20 cm of water, so that numbers stay near 1
    shares = np.array([_share(rays.radians(), degrees) for degrees in WEDGES])
    weights = constant(shares / shares.mean(1, keepdims=True), image.device)
    maps = [backproject(variance * weight[:, None, None], rays).reshape(planes.shape) for weight in weights]
    deviation = torch.stack(maps).clamp(min=0).sqrt().permute(0, 3, 1, 2, 4)
    both = sum(deviation[i] * deviation[j] * _overlap(i, j) for i in range(3) for j in range(3))
    body = (coarse > BODY_HU).to(image) + 1e-6  # without a body, everything counts
    return deviation / (total(both * body) / total(body)).sqrt()


def _frequencies(shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Direction in radians and size in cycles per mm of every in-plane frequency, (X, Y // 2 + 1)."""
    along_x = np.fft.fftfreq(shape[0], spacing_mm[0])[:, None]
    along_y = np.fft.rfftfreq(shape[1], spacing_mm[1])[None]
    return np.arctan2(along_y, along_x), np.hypot(along_x, along_y)


def _share(angle: FloatArray, degrees: float) -> FloatArray:
    # cos^4 at 0, 60 and 120 degrees sums to 9/8 everywhere.
    return np.cos(angle - np.deg2rad(degrees)) ** 4 / 1.125


def _overlap(i: int, j: int) -> float:
    """Mean over all directions of the product of two wedges' shares."""
    angle = np.arange(360) * (np.pi / 360)
    return float((_share(angle, WEDGES[i]) * _share(angle, WEDGES[j])).mean())


def _white_spectrum(shape: tuple[int, int, int, int], seed: int, device: torch.device) -> Tensor:
    """Spectrum (C, X, Y // 2 + 1, Z) of white Gaussian noise of variance 1 on a grid of `shape`."""
    channels, x, y, z = shape
    real, imaginary = gaussian_noise((2, channels, x, y // 2 + 1, z), seed, device) * math.sqrt(x * y / 2)
    return torch.complex(real, imaginary)
