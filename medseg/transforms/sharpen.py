"""Sharper detail and louder noise, as a sharp reconstruction kernel gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.channels import Channels, on_channels, some_channels
from medseg.transforms.filters import blurred
from medseg.transforms.ranges import Probability, Rng, SizeRange, WorksIn, fires, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class SharpenConfig(StepBase):
    """The image plus a share of what a blur would take from it.

    Fine detail, far below sigma, is amplified by 1 + strength, coarse detail stays: the step from a soft to a sharp
    reconstruction kernel, edges overshooting and noise growing with it.

    Args:
        probability: of acting.
        strength: range of the share.
        sigma_mm: range of the blur's standard deviation; null takes the difference to the six neighbours of each
            voxel instead of a blur (nnU-Net DA5, strength 0.1 to 1).
        channel_probability: of each channel to be sharpened, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["sharpen"] = "sharpen"
    probability: Probability = 0.15
    strength: SizeRange = (0.3, 1.0)
    sigma_mm: SizeRange | None = (0.5, 1.0)
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Sharpen:
        """The transform; `options` as in `RandomTransform`."""
        return Sharpen(keys, self, **options)


@dataclass(frozen=True)
class SharpenParams:
    """The share, the blur's standard deviation (None: six neighbours) and the voxel size in mm; which channels."""

    strength: float
    sigma_mm: float | None
    spacing_mm: Triple
    channels: Channels | None = None


class Sharpen(RandomTransform[SharpenParams]):
    """Sharpens the image by an unsharp mask."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: SharpenConfig = SharpenConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> SharpenParams | None:
        if not fires(rng, self.config.probability):
            return None
        strength = uniform(rng, self.config.strength)
        sigma = None if self.config.sigma_mm is None else uniform(rng, self.config.sigma_mm)
        return SharpenParams(strength, sigma, spacing_mm, some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: SharpenParams) -> Tensor:
        if params.strength == 0:
            return image
        return on_channels(image, params.channels, lambda part: _sharpened(part, params))


def _sharpened(image: Tensor, params: SharpenParams) -> Tensor:
    if params.sigma_mm is None:
        return less_laplacian(image, params.strength)
    x, y, z = (params.sigma_mm / size for size in params.spacing_mm)
    blur = blurred(image, (x, y, z))
    return image if blur is image else blur.sub_(image).mul_(-params.strength).add_(image)


def less_laplacian(image: Tensor, strength: float) -> Tensor:
    """(C, X, Y, Z) plus `strength` times the sum of differences to the six neighbours; border voxels repeat.

    Example:
        >>> import torch
        >>> less_laplacian(torch.tensor([0.0, 0.0, 1.0, 1.0]).reshape(1, 4, 1, 1), 0.5).flatten().tolist()
        [0.0, -0.5, 1.5, 1.0]
    """
    sharp = image.clone()
    for axis in range(1, image.ndim):
        rise = image.diff(dim=axis).mul_(strength)  # a difference pushes its two voxels apart
        sharp.narrow(axis, 1, rise.shape[axis]).add_(rise)
        sharp.narrow(axis, 0, rise.shape[axis]).sub_(rise)
    return sharp
