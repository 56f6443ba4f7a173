"""Loss of detail: blur, and an image as if it had been taken with larger voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator
from torch import Tensor

from medseg.config import Config
from medseg.shapes import IntTriple, Triple
from medseg.transforms.ranges import Axis, Probability, Rng, SizeRange, fires, log_uniform, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform


def _coarser(ends: tuple[float, float]) -> tuple[float, float]:
    if not 1 <= ends[0] <= ends[1] < math.inf:
        raise ValueError("a range [low, high] with 1 <= low <= high")
    return ends


class BlurConfig(Config):
    """Gaussian blur, equal in mm along all axes.

    Args:
        probability: of acting.
        sigma_mm: range of its standard deviation.
    """

    name: Literal["blur"] = "blur"
    probability: Probability = 0.15
    sigma_mm: SizeRange = (0.5, 1.5)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Blur:
        """The transform; `options` as in `RandomTransform`."""
        return Blur(keys, self, **options)


class LowResolutionConfig(Config):
    """The mean over larger voxels, interpolated back to the own grid.

    Args:
        probability: of acting.
        factor: range of the coarse voxel size in own voxels, drawn evenly on a logarithmic scale; already
            1.01 blurs by half a voxel, as every resampling does.
        axes: those that become coarse; (2,) stands for thick slices.
    """

    name: Literal["low_resolution"] = "low_resolution"
    probability: Probability = 0.15
    factor: Annotated[tuple[float, float], AfterValidator(_coarser)] = (1.25, 2.0)
    axes: tuple[Axis, ...] = (0, 1, 2)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> LowResolution:
        """The transform; `options` as in `RandomTransform`."""
        return LowResolution(keys, self, **options)


@dataclass(frozen=True)
class BlurParams:
    """Standard deviation and voxel size, both in mm."""

    sigma_mm: float
    spacing_mm: Triple


@dataclass(frozen=True)
class LowResolutionParams:
    """Voxels of the coarse grid along X, Y, Z."""

    shape: IntTriple


class Blur(RandomTransform[BlurParams]):
    """Blurs the image; the outermost voxels are repeated beyond its border."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: BlurConfig = BlurConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> BlurParams | None:
        if not fires(rng, self.config.probability):
            return None
        return BlurParams(uniform(rng, self.config.sigma_mm), spacing_mm)

    def apply_image(self, image: Tensor, params: BlurParams) -> Tensor:
        for axis, spacing in enumerate(params.spacing_mm):
            image = _blur_axis(image, axis + 1, params.sigma_mm / spacing)
        return image


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
        factor = log_uniform(rng, self.config.factor)
        x, y, z = (max(1, round(n / factor)) if axis in self.config.axes else n for axis, n in enumerate(shape))
        return LowResolutionParams((x, y, z))

    def apply_image(self, image: Tensor, params: LowResolutionParams) -> Tensor:
        coarse = image
        for axis, length in enumerate(params.shape):
            coarse = box_means(coarse, axis + 1, length)
        return F.interpolate(coarse[None], size=image.shape[1:], mode="trilinear", align_corners=False)[0]


def box_means(image: Tensor, axis: int, length: int) -> Tensor:
    """The image with `axis` cut into `length` equal pieces, each the mean of what it covers, parts of voxels included.

    Example:
        >>> box_means(torch.tensor([0.0, 3.0, 6.0]), 0, 2)
        tensor([1., 5.])
    """
    count = image.shape[axis]
    if length == count:
        return image
    edges = np.arange(length + 1) * count / length
    view = [-1 if dim == axis else 1 for dim in range(image.ndim)]
    means = torch.zeros(())
    for tap in range(math.ceil(count / length) + 1):
        voxel = np.floor(edges[:-1]).astype(np.int64) + tap
        share = np.clip(np.minimum(edges[1:], voxel + 1) - np.maximum(edges[:-1], voxel), 0, None) * length / count
        weights = torch.from_numpy(share).to(image).view(view)
        index = torch.from_numpy(np.minimum(voxel, count - 1)).to(image.device)
        means = image.index_select(axis, index) * weights + means.to(image)
    return means


def _blur_axis(image: Tensor, axis: int, sigma: float) -> Tensor:
    """Weighted sum of shifted copies: unlike a convolution call, the same on any number of threads."""
    reach = math.ceil(3 * sigma)
    if sigma < 0.1 or image.shape[axis] == 1:  # the neighbours would weigh less than 1e-21
        return image
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(reach + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    length = image.shape[axis]
    first, last = image.narrow(axis, 0, 1), image.narrow(axis, length - 1, 1)
    repeats = [reach if dim == axis else 1 for dim in range(image.ndim)]
    padded = torch.cat([first.repeat(repeats), image, last.repeat(repeats)], dim=axis)
    blurred = image * (weights[0] / total)
    for step in range(1, reach + 1):
        pair = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
        blurred = blurred + pair * (weights[step] / total)
    return blurred
