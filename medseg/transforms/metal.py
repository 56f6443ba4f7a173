"""Metal in the body: implants that outshine everything, and the streaks that they throw over their slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.noise import gaussian_noise
from medseg.transforms.projection import WATER_PER_MM, Rays, attenuation, constant, project, reconstruct, total
from medseg.transforms.ranges import (
    CountRange,
    PositiveRange,
    Probability,
    Rng,
    fires,
    log_uniform,
    new_seed,
    uniform,
    whole,
)
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase
from medseg.transforms.warp import AIR_HU

ANGLES = 240
CANDIDATES = 8  # places looked at for each insert; the densest is taken, so that most lie in or at bone
CENTRAL = 0.7  # share of the plane's edges in which they lie
TISSUE_HU = (-500.0, 0.0)  # metal appears from the lower to the upper end: none floats in air
SPECTRUM = (0.65, 1.35)  # attenuation of metal for the hard and the soft half of the X-rays, over its mean
SCATTER = 1e-3  # share of the photons that reach a detector on other ways: no path looks denser than exp(-7)
PHOTONS = 5e4  # a ray without a body
FALL_MM = 3.0  # how far streaks reach beyond the metal along Z, through slice thickness and the helix
NOISE_PLANES = 2  # independent streak patterns that are mixed anew in each slice


class MetalConfig(StepBase):
    """Metal inserts with their streaks.

    Args:
        probability: of acting.
        inserts: range of their number.
        radius_mm: range of the larger half axis of an insert's ellipse; the other is half as long to equal.
        length_mm: range of their length along Z.
        metal_hu: range of what the metal would measure: titanium 11,000, steel 35,000; drawn evenly on a logarithmic
            scale. It sets the strength of the streaks.
        saturation_hu: largest value that the image can hold; 3071 where a scanner stores 12 bits.
    """

    name: Literal["metal"] = "metal"
    probability: Probability = 0.05
    inserts: CountRange = (1, 3)
    radius_mm: PositiveRange = (2.0, 12.0)
    length_mm: PositiveRange = (10.0, 60.0)
    metal_hu: PositiveRange = (4000.0, 20000.0)
    saturation_hu: float = 3071.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Metal:
        """The transform; `options` as in `RandomTransform`."""
        return Metal(keys, self, **options)


@dataclass(frozen=True)
class Insert:
    """An ellipse in the axial plane: where it may lie (shares of the plane's edges), half axes, and its turn."""

    candidates: tuple[tuple[float, float], ...]
    radii_mm: tuple[float, float]
    turn_deg: float


@dataclass(frozen=True)
class MetalParams:
    """The inserts, the slices that they fill (parts count), what they measure, and the seed of the fine streaks."""

    inserts: tuple[Insert, ...]
    slices: tuple[float, float]
    metal_hu: float
    saturation_hu: float
    spacing_mm: Triple
    seed: int

    @property
    def whole_slices(self) -> tuple[int, int]:
        """First slice with metal, and the one after the last."""
        first = int(self.slices[0])
        return first, max(first + 1, math.ceil(self.slices[1]))


class Metal(RandomTransform[MetalParams]):
    """Puts metal into the densest of some random places and adds the streaks that a scanner would make of it.

    The rays through the metal are measured wrongly: soft X-rays are filtered out (a spectrum of two halves), scattered
    photons limit what can be measured, and few photons are left (De Man and others 1999). The error of every ray, for
    the mean plane of the slices with metal, is reconstructed and added in HU: dark bands between the inserts and along
    long paths, bright ones beside them, fine streaks from noise that changes from slice to slice.

    Assumed: parallel rays; rays begin and end at the patch; the inserts are upright rods over the same slices; streaks
    end some 3 mm beyond them. Voxels below -500 HU hold no metal. The labels stay. Axes 0 and 1 are the axial plane.
    """

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: MetalConfig = MetalConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> MetalParams | None:
        if not fires(rng, self.config.probability):
            return None
        inserts = tuple(self._insert(rng) for _ in range(whole(rng, self.config.inserts)))
        length = min(uniform(rng, self.config.length_mm) / spacing_mm[2], shape[2])
        first = uniform(rng, (0, shape[2] - length))
        metal_hu = log_uniform(rng, self.config.metal_hu)
        return MetalParams(
            inserts, (first, first + length), metal_hu, self.config.saturation_hu, spacing_mm, new_seed(rng)
        )

    def _insert(self, rng: Rng) -> Insert:
        ends = ((1 - CENTRAL) / 2, (1 + CENTRAL) / 2)
        places = tuple((uniform(rng, ends), uniform(rng, ends)) for _ in range(CANDIDATES))
        radius = log_uniform(rng, self.config.radius_mm)
        return Insert(places, (radius, radius * uniform(rng, (0.5, 1.0))), uniform(rng, (0, 180)))

    def apply_image(self, image: Tensor, params: MetalParams) -> Tensor:
        if not params.inserts:
            return image
        image = image.contiguous()  # another order of voxels in memory would be summed in another order
        first, last = params.whole_slices
        plane = image[..., first:last].mean(dim=(0, 3))
        places = [_place(plane, insert, params.spacing_mm) for insert in params.inserts]
        streaks = _streak_planes(plane, places, params)
        spoilt = image + _mixed(streaks, params, image.shape[3])[None]
        spoilt = torch.maximum(spoilt, image.clamp(max=AIR_HU))
        spoilt = torch.minimum(spoilt, image.clamp(min=params.saturation_hu))
        shown = min(params.metal_hu, params.saturation_hu)
        metal = _occupancy(plane, places, params)[..., None] * _present(params, image.shape[3], image.device)
        metal = metal * _tissue(image)
        return spoilt + (shown - spoilt) * metal


def _place(plane: Tensor, insert: Insert, spacing_mm: Triple) -> tuple[Tensor, Tensor, Tensor]:
    """X and Y in mm from the middle of the plane, and the share of tissue there, of the densest candidate."""
    x, y = plane.shape
    smooth = F.avg_pool2d(plane[None, None], 5, stride=1, padding=2, count_include_pad=False)[0, 0]
    indices = [(min(int(i * x), x - 1), min(int(j * y), y - 1)) for i, j in insert.candidates]
    values = torch.stack([smooth[index] for index in indices])
    best = values.argmax()
    offsets = [[(i - (x - 1) / 2) * spacing_mm[0], (j - (y - 1) / 2) * spacing_mm[1]] for i, j in indices]
    chosen = constant(offsets, plane.device).index_select(0, best[None])[0]
    return chosen[0], chosen[1], _tissue(values.index_select(0, best[None]))[0]


def _streak_planes(plane: Tensor, places: list[tuple[Tensor, Tensor, Tensor]], params: MetalParams) -> Tensor:
    """Artefacts (X, Y, 1 + NOISE_PLANES) in HU: the error without noise, then patterns of noise."""
    x, y = plane.shape
    rays = Rays((x, y), params.spacing_mm[:2], ANGLES)
    body = project(attenuation(plane)[..., None], rays)[..., 0]
    metal = _metal_paths(rays, places, params)
    soft, hard = (torch.exp(-metal * share) for share in SPECTRUM)
    alone = torch.exp(-body)
    measured = -torch.log(alone * (soft + hard) * 0.5 + SCATTER)
    expected = -torch.log(alone + SCATTER)
    # The metal itself is shown with its own value: the part of the error that looks like it is none.
    like_metal = total((measured - expected) * metal) / total(metal * metal).clamp(min=1e-6)
    variance = (torch.exp(measured) - torch.exp(expected)).clamp(min=0) / PHOTONS
    noise = gaussian_noise((*body.shape, NOISE_PLANES), params.seed, plane.device)
    errors = torch.cat(
        [(measured - expected - metal * like_metal)[..., None], noise * variance.sqrt()[..., None]], dim=2
    )
    return reconstruct(errors, rays) * (1000 / WATER_PER_MM)


def _metal_paths(rays: Rays, places: list[tuple[Tensor, Tensor, Tensor]], params: MetalParams) -> Tensor:
    """Attenuation (A, S) by the inserts: the chords of their ellipses."""
    per_mm = WATER_PER_MM * params.metal_hu / 1000
    device = places[0][0].device
    bins = constant((np.arange(rays.bins) - rays.middle) * rays.bin_mm, device)
    cosine, sine = constant(rays.directions()[..., None], device).unbind(1)
    paths = torch.zeros(rays.angles, rays.bins, device=device)
    for insert, (x, y, tissue) in zip(params.inserts, places, strict=True):
        a, b = insert.radii_mm
        turned = rays.radians() - math.radians(insert.turn_deg)
        squares = constant((a * np.cos(turned)) ** 2 + (b * np.sin(turned)) ** 2, device)[:, None]
        away = bins - (x * cosine + y * sine)
        paths += (squares - away * away).clamp(min=0).sqrt() / squares * (2 * a * b * per_mm) * tissue
    return paths


def _occupancy(plane: Tensor, places: list[tuple[Tensor, Tensor, Tensor]], params: MetalParams) -> Tensor:
    """Share (X, Y) of each pixel that metal fills, with edges about a pixel wide."""
    axes = [(np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(plane.shape, params.spacing_mm[:2], strict=True)]
    along_x, along_y = (constant(axis, plane.device) for axis in axes)
    pixel = max(params.spacing_mm[:2])
    filled = torch.zeros_like(plane)
    for insert, (x, y, tissue) in zip(params.inserts, places, strict=True):
        (a, b), turn = insert.radii_mm, math.radians(insert.turn_deg)
        right, front = (along_x - x)[:, None], (along_y - y)[None]
        u = (right * math.cos(turn) + front * math.sin(turn)) / a
        v = (front * math.cos(turn) - right * math.sin(turn)) / b
        inside = (1 - (u * u + v * v).sqrt()) * (math.sqrt(a * b) / pixel) + 0.5
        filled = torch.maximum(filled, inside.clamp(0, 1) * tissue)
    return filled


def _present(params: MetalParams, slices: int, device: torch.device) -> Tensor:
    """Share (Z,) of each slice that the rods fill."""
    first, last = params.slices
    below, above = np.arange(slices), np.arange(slices) + 1
    share = np.clip(np.minimum(above, last) - np.maximum(below, first), 0, 1)
    return constant(share, device)


def _mixed(streaks: Tensor, params: MetalParams, slices: int) -> Tensor:
    """The artefact (X, Y, Z): the error and a random mixture of the noise where there is metal, fading beyond."""
    middle = np.arange(slices) + 0.5
    beyond = np.maximum(np.maximum(params.slices[0] + 0.5 - middle, middle + 0.5 - params.slices[1]), 0)
    reach = np.exp(-((beyond * params.spacing_mm[2] / FALL_MM) ** 2))
    angle = np.random.default_rng(params.seed).uniform(0, 2 * np.pi, slices)
    weights = [reach, reach * np.cos(angle), reach * np.sin(angle)]
    rows = constant(weights, streaks.device)
    return sum(streaks[..., i, None] * rows[i] for i in range(len(weights)))  # type: ignore[return-value]


def _tissue(hu: Tensor) -> Tensor:
    low, high = TISSUE_HU
    return ((hu - low) / (high - low)).clamp(0, 1)
