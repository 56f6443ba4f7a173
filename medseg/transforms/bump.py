"""Changes of grey value that are strongest around one place: a brightness gradient and a local gamma (nnU-Net DA5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.channels import Channels, each_channel, on_channels, some_channels
from medseg.transforms.compiled import in_slabs
from medseg.transforms.filters import on_device
from medseg.transforms.kernels_fields import add_bump, bump_gamma
from medseg.transforms.points import Number, statistics
from medseg.transforms.ranges import (
    PositiveRange,
    Probability,
    Range,
    Rng,
    SizeRange,
    WorksIn,
    either_sign,
    fires,
    log_uniform,
    uniform,
)
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class GradientConfig(StepBase):
    """A smooth bump of brightness, added to the image.

    Args:
        probability: of acting.
        strength: range of what is added where the bump is highest, in the image's unit; as often negative.
        width: range of the bump's standard deviation along an axis as a share of the image's edge, drawn for each
            axis anew on a logarithmic scale.
        place: range of its centre along an axis as a share of the edge, drawn for each axis anew; it may lie outside.
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["gradient"] = "gradient"
    probability: Probability = 0.3
    strength: SizeRange = (1.0, 5.0)
    width: PositiveRange = (0.167, 1.0)
    place: Range = (-0.5, 1.5)
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Gradient:
        """The transform; `options` as in `RandomTransform`."""
        return Gradient(keys, self, **options)


class LocalGammaConfig(StepBase):
    """The image's share of its own range to the power gamma around one place.

    Args:
        probability: of acting.
        gamma_below: range of a gamma below 1, taken half of the times.
        gamma_above: range of a gamma above 1, taken the other half.
        width, place, channel_probability: as in `GradientConfig`.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["local_gamma"] = "local_gamma"
    probability: Probability = 0.3
    gamma_below: PositiveRange = (0.01, 0.8)
    gamma_above: PositiveRange = (1.5, 4.0)
    width: PositiveRange = (0.167, 1.0)
    place: Range = (-0.5, 1.5)
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> LocalGamma:
        """The transform; `options` as in `RandomTransform`."""
        return LocalGamma(keys, self, **options)


@dataclass(frozen=True)
class Bump:
    """A Gaussian over the image, moved and scaled so that it runs from 0 to 1; shares of the edges along X, Y, Z."""

    place: Triple
    width: Triple

    def sides(self, shape: IntTriple) -> tuple[list[FloatArray], float, float]:
        """One vector per axis, the least value of their product, and one over its height (0 if it has none)."""
        sides = [_side(n, at, sd) for n, at, sd in zip(shape, self.place, self.width, strict=True)]
        least = math.prod(float(side.min()) for side in sides)
        height = math.prod(float(side.max()) for side in sides) - least
        return sides, least, 1 / height if height > 1e-8 else 0.0

    def values(self, like: Tensor) -> Tensor:
        """(X, Y, Z) on the device of an image (C, X, Y, Z)."""
        sides, least, per_height = self.sides(_spatial(like))
        x, y, z = (on_device(side.astype(np.float32), like) for side in sides)
        return (x[:, None, None] * y[:, None] * z - least) * per_height


@dataclass(frozen=True)
class GradientParams:
    """What is added where the bump is 1, in the image's unit; the bump; which channels (None: all)."""

    strength: float
    bump: Bump
    channels: Channels | None = None


@dataclass(frozen=True)
class LocalGammaParams:
    """The exponent where the bump is 1; the bump; which channels (None: all)."""

    gamma: float
    bump: Bump
    channels: Channels | None = None


class Gradient(RandomTransform[GradientParams]):
    """Brightens or darkens one side or one place of the image."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: GradientConfig = GradientConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> GradientParams | None:
        if not fires(rng, self.config.probability):
            return None
        strength = either_sign(rng, self.config.strength)
        bump = _drawn(rng, self.config)
        return GradientParams(strength, bump, some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: GradientParams) -> Tensor:
        if params.strength == 0:
            return image
        return on_channels(image, params.channels, lambda part: brightened(part, params.bump, params.strength))


class LocalGamma(RandomTransform[LocalGammaParams]):
    """Bends the grey-value curve around one place of the image."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: LocalGammaConfig = LocalGammaConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> LocalGammaParams | None:
        if not fires(rng, self.config.probability):
            return None
        below = rng.uniform() < 0.5
        gamma = uniform(rng, self.config.gamma_below if below else self.config.gamma_above)
        bump = _drawn(rng, self.config)
        return LocalGammaParams(gamma, bump, some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: LocalGammaParams) -> Tensor:
        if params.gamma == 1:
            return image
        bent = each_channel(lambda channel: bent_around(channel, params.bump, params.gamma))
        return on_channels(image, params.channels, bent)


def brightened(image: Tensor, bump: Bump, strength: float) -> Tensor:
    """The image plus `strength` times the bump."""
    if image.device.type != "cpu":
        return image + bump.values(image) * strength
    sides, least, per_height = bump.sides(_spatial(image))
    return _with_bump(add_bump, image, sides, (least, per_height, strength))


def bent_around(channel: Tensor, bump: Bump, gamma: float) -> Tensor:
    """(1, X, Y, Z) whose share of its own range is mixed with its power, by the bump."""
    if channel.device.type != "cpu":
        return bent_around_twin(channel, bump, gamma)
    own = statistics(channel)
    if own.low == own.high:
        return channel
    sides, least, per_height = bump.sides(_spatial(channel))
    return _with_bump(bump_gamma, channel, sides, (least, per_height, own.low, own.high - own.low, gamma))


def bent_around_twin(channel: Tensor, bump: Bump, gamma: float) -> Tensor:
    """The same by torch."""
    low, high = torch.aminmax(channel)
    width = high - low
    share = (channel - low) / torch.where(width == 0, 1.0, width)
    return (share + (share**gamma - share) * bump.values(channel)) * width + low


def _with_bump(kernel: Callable[..., Any], image: Tensor, sides: list[FloatArray], numbers: Sequence[Number]) -> Tensor:
    source = image.contiguous()
    out = torch.empty_like(source)
    vectors = [side.astype(np.float32) for side in sides]
    for old, new in zip(source.numpy(), out.numpy(), strict=True):
        in_slabs(kernel, len(old), old, new, *vectors, np.array(numbers, np.float32))
    return out


def _drawn(rng: Rng, config: GradientConfig | LocalGammaConfig) -> Bump:
    x, y, z = ((uniform(rng, config.place), log_uniform(rng, config.width)) for _ in range(3))
    return Bump((x[0], y[0], z[0]), (x[1], y[1], z[1]))


def _side(count: int, place: float, width: float) -> FloatArray:
    """A Gaussian's share of each voxel of an axis, 1 at most."""
    edges = (np.arange(count + 1) - place * count) / (width * count * math.sqrt(2))
    # From the nearer tail, so that far from the centre the difference of two numbers close to 1 is not taken
    sign = -1.0 if place < 0.5 else 1.0
    tail = np.array([math.erfc(-sign * edge) for edge in edges])
    share = np.abs(np.diff(tail))
    return share / share.max() if share.max() > 0 else np.ones(count)


def _spatial(image: Tensor) -> IntTriple:
    x, y, z = image.shape[1:]
    return x, y, z
