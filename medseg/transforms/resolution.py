"""Loss of detail: blur, and an image as if it had been taken with larger voxels or thicker slices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.channels import Channels, on_channels, some_channels
from medseg.transforms.filters import Taps, blurred, mixed
from medseg.transforms.ranges import (
    Axis,
    CoarseRange,
    PositiveRange,
    Probability,
    Rng,
    SizeRange,
    WorksIn,
    ZoomRange,
    fires,
    log_uniform,
    uniform,
    whole,
)
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase

Sampling = Literal["mean", "nearest"]


def _some(axes: tuple[int, ...]) -> tuple[int, ...]:
    if not axes:
        raise ValueError("at least one of 0, 1, 2")
    return axes


class BlurConfig(StepBase):
    """Gaussian blur.

    Args:
        probability: of acting.
        sigma_mm: range of its standard deviation, one number for all axes.
        sigma_voxels: range in voxels, drawn for each axis anew, in place of `sigma_mm` (nnU-Net, MONAI).
        channel_probability: of each channel to be blurred, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["blur"] = "blur"
    probability: Probability = 0.15
    sigma_mm: SizeRange = (0.5, 1.5)
    sigma_voxels: SizeRange | None = None
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Blur:
        """The transform; `options` as in `RandomTransform`."""
        return Blur(keys, self, **options)


class LowResolutionConfig(StepBase):
    """Larger voxels, interpolated linearly back to the own grid.

    Args:
        probability: of acting.
        factor: range of the coarse voxel size in own voxels, drawn evenly on a logarithmic scale; already
            1.01 blurs by half a voxel, as every resampling does.
        zoom: range of the coarse grid's share of the own voxels along an axis, drawn evenly, in place of `factor`
            (nnU-Net: 0.5 to 1).
        axes: those that become coarse.
        sampling: `mean` over each larger voxel, as a scanner does, or the `nearest` own voxel, as nnU-Net does.
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["low_resolution"] = "low_resolution"
    probability: Probability = 0.15
    factor: CoarseRange = (1.25, 2.0)
    zoom: ZoomRange | None = None
    axes: tuple[Axis, ...] = (0, 1, 2)
    sampling: Sampling = "mean"
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> LowResolution:
        """The transform; `options` as in `RandomTransform`."""
        return LowResolution(keys, self, **options)


class ThickSlicesConfig(StepBase):
    """Slices as thick as a scanner may give them, interpolated linearly back to the own grid.

    Args:
        probability: of acting.
        thickness_mm: range; slices that are not thicker than the own ones change nothing.
        axes: one is chosen each time; 2 for axial slices.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["thick_slices"] = "thick_slices"
    probability: Probability = 0.15
    thickness_mm: PositiveRange = (2.0, 6.0)
    axes: Annotated[tuple[Axis, ...], AfterValidator(_some)] = (2,)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> ThickSlices:
        """The transform; `options` as in `RandomTransform`."""
        return ThickSlices(keys, self, **options)


@dataclass(frozen=True)
class BlurParams:
    """Standard deviation, of all axes or of each, and voxel size, both in mm; which channels (None: all)."""

    sigma_mm: float | Triple
    spacing_mm: Triple
    channels: Channels | None = None


@dataclass(frozen=True)
class LowResolutionParams:
    """Voxels of the coarse grid along X, Y, Z; how they are taken, and in which channels (None: all)."""

    shape: IntTriple
    sampling: Sampling = "mean"
    channels: Channels | None = None


class Blur(RandomTransform[BlurParams]):
    """Blurs the image; the outermost voxels are repeated beyond its border."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: BlurConfig = BlurConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> BlurParams | None:
        if not fires(rng, self.config.probability):
            return None
        sigma: float | Triple = uniform(rng, self.config.sigma_mm)
        if self.config.sigma_voxels:
            x, y, z = (uniform(rng, self.config.sigma_voxels) * size for size in spacing_mm)
            sigma = (x, y, z)
        return BlurParams(sigma, spacing_mm, some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: BlurParams) -> Tensor:
        sigma = params.sigma_mm
        each = sigma if isinstance(sigma, tuple) else (sigma, sigma, sigma)
        x, y, z = (width / size for width, size in zip(each, params.spacing_mm, strict=True))
        return on_channels(image, params.channels, lambda part: blurred(part, (x, y, z)))


class LowResolution(RandomTransform[LowResolutionParams]):
    """Makes the image look as if its voxels were larger; its shape stays."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: LowResolutionConfig = LowResolutionConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> LowResolutionParams | None:
        if not fires(rng, self.config.probability):
            return None
        share = uniform(rng, self.config.zoom) if self.config.zoom else 1 / log_uniform(rng, self.config.factor)
        x, y, z = (max(1, round(n * share)) if axis in self.config.axes else n for axis, n in enumerate(shape))
        channels = some_channels(rng, self.config.channel_probability)
        return LowResolutionParams((x, y, z), self.config.sampling, channels)

    def apply_image(self, image: Tensor, params: LowResolutionParams) -> Tensor:
        return on_channels(image, params.channels, lambda part: coarsened(part, params.shape, params.sampling))


class ThickSlices(RandomTransform[LowResolutionParams]):
    """Makes the image look as if its slices were thicker; its shape stays."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: ThickSlicesConfig = ThickSlicesConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> LowResolutionParams | None:
        if not fires(rng, self.config.probability):
            return None
        chosen = self.config.axes[whole(rng, (0, len(self.config.axes) - 1))]
        thickness = uniform(rng, self.config.thickness_mm)
        slices = round(shape[chosen] * spacing_mm[chosen] / thickness)
        x, y, z = (min(n, max(1, slices)) if axis == chosen else n for axis, n in enumerate(shape))
        return LowResolutionParams((x, y, z))

    def apply_image(self, image: Tensor, params: LowResolutionParams) -> Tensor:
        return coarsened(image, params.shape, params.sampling)


def coarsened(image: Tensor, shape: IntTriple, sampling: Sampling = "mean") -> Tensor:
    """(C, X, Y, Z) brought to a coarse grid of this shape and interpolated linearly back."""
    taps, sizes = mean_taps if sampling == "mean" else nearest_taps, image.shape[1:]
    if tuple(sizes) == shape:
        return image
    pairs = list(zip(sizes, shape, strict=True))
    x, y, z = (None if n == coarse else taps(n, coarse) for n, coarse in pairs)
    back = [None if n == coarse else linear_taps(coarse, n) for n, coarse in pairs]
    return mixed(mixed(image, (x, y, z)), (back[0], back[1], back[2]))


def mean_taps(count: int, length: int) -> Taps:
    """Voxels and weights of `length` equal pieces of an axis of `count`, parts of voxels included."""
    edges = np.arange(length + 1) * count / length
    voxel = np.floor(edges[:-1]).astype(np.int64)[:, None] + np.arange(math.ceil(count / length) + 1)
    share = np.minimum(edges[1:, None], voxel + 1) - np.maximum(edges[:-1, None], voxel)
    return np.minimum(voxel, count - 1), np.clip(share, 0, None) * length / count


def nearest_taps(count: int, length: int) -> Taps:
    """The voxel at the middle of each of `length` equal pieces of an axis of `count`."""
    voxel = np.floor((np.arange(length) + 0.5) * count / length).astype(np.int64)
    return np.minimum(voxel, count - 1)[:, None], np.ones((length, 1))


def linear_taps(count: int, length: int) -> Taps:
    """Both neighbours of the middles of `length` equal pieces of an axis of `count`; the outermost voxels repeat."""
    place = np.clip((np.arange(length) + 0.5) * count / length - 0.5, 0, count - 1)
    first = np.floor(place).astype(np.int64)
    share = place - first
    return np.stack([first, np.minimum(first + 1, count - 1)], axis=1), np.stack([1 - share, share], axis=1)
