"""Changes of grey value in images of any unit, as nnU-Net and MONAI do them: factors, shifts, contrast, gamma.

Sizes are relative to the image itself (its mean, its least and greatest value), so these steps may follow the window.
Each channel goes by its own statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.channels import Channels, each_channel, on_channels, some_channels
from medseg.transforms.points import TINY, Number, about, gamma_between, statistics
from medseg.transforms.ranges import (
    Bound,
    PositiveRange,
    Probability,
    Range,
    Rng,
    WorksIn,
    either_side,
    fires,
    uniform,
)
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class MultiplyConfig(StepBase):
    """The image times a factor.

    Args:
        probability: of acting.
        factor: range; as often below 1 as above, evenly on each side.
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["multiply"] = "multiply"
    probability: Probability = 0.15
    factor: PositiveRange = (0.75, 1.25)
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Multiply:
        """The transform; `options` as in `RandomTransform`."""
        return Multiply(keys, self, **options)


class AddConfig(StepBase):
    """A number added to the image, in its own unit.

    Args:
        probability: of acting.
        offset: range of the number, drawn evenly.
        sigma: standard deviation of a normal number that is added to it (nnU-Net DA5: 0.5).
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["add"] = "add"
    probability: Probability = 0.15
    offset: Range = (-0.1, 0.1)
    sigma: Bound = 0.0
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Add:
        """The transform; `options` as in `RandomTransform`."""
        return Add(keys, self, **options)


class ContrastMeanConfig(StepBase):
    """Differences from the image's mean times a factor.

    Args:
        probability: of acting.
        factor: range; as often below 1 as above, evenly on each side.
        keep_range: whether the result is clipped to the image's own least and greatest value.
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["contrast_mean"] = "contrast_mean"
    probability: Probability = 0.15
    factor: PositiveRange = (0.75, 1.25)
    keep_range: bool = True
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> ContrastMean:
        """The transform; `options` as in `RandomTransform`."""
        return ContrastMean(keys, self, **options)


class GammaRangeConfig(StepBase):
    """The image's share of its own range (0 to 1) to the power gamma.

    Args:
        probability: of acting.
        gamma: range; as often below 1 as above, evenly on each side.
        invert: whether the share is counted from the greatest value down, so that bright tissue is bent most.
        keep_statistics: whether mean and standard deviation are brought back to what they were.
        channel_probability: of each channel to be changed, once the step acts.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["gamma_range"] = "gamma_range"
    probability: Probability = 0.3
    gamma: PositiveRange = (0.7, 1.5)
    invert: bool = False
    keep_statistics: bool = True
    channel_probability: Probability = 1.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> GammaRange:
        """The transform; `options` as in `RandomTransform`."""
        return GammaRange(keys, self, **options)


@dataclass(frozen=True)
class MultiplyParams:
    """The factor, and which channels (None: all)."""

    factor: float
    channels: Channels | None = None


@dataclass(frozen=True)
class AddParams:
    """What is added, in the image's unit, and in which channels (None: all)."""

    offset: float
    channels: Channels | None = None


@dataclass(frozen=True)
class ContrastMeanParams:
    """The factor, whether the result is clipped to the old range, and which channels (None: all)."""

    factor: float
    keep_range: bool
    channels: Channels | None = None


@dataclass(frozen=True)
class GammaRangeParams:
    """The exponent, from which end the share is counted, whether mean and spread are kept; which channels."""

    gamma: float
    invert: bool
    keep_statistics: bool
    channels: Channels | None = None


class Multiply(RandomTransform[MultiplyParams]):
    """Multiplies the image (MONAI: ScaleIntensity; nnU-Net: multiplicative brightness)."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: MultiplyConfig = MultiplyConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> MultiplyParams | None:
        if not fires(rng, self.config.probability):
            return None
        factor = either_side(rng, self.config.factor)
        return MultiplyParams(factor, some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: MultiplyParams) -> Tensor:
        return on_channels(image, params.channels, lambda part: about(part, params.factor))


class Add(RandomTransform[AddParams]):
    """Adds a number to the image (MONAI: ShiftIntensity; nnU-Net DA5: additive brightness)."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: AddConfig = AddConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> AddParams | None:
        if not fires(rng, self.config.probability):
            return None
        offset = uniform(rng, self.config.offset) + float(rng.normal(0, self.config.sigma))
        return AddParams(offset, some_channels(rng, self.config.channel_probability))

    def apply_image(self, image: Tensor, params: AddParams) -> Tensor:
        return on_channels(image, params.channels, lambda part: about(part, factor=1.0, target=params.offset))


class ContrastMean(RandomTransform[ContrastMeanParams]):
    """Stretches or squeezes differences from the mean (nnU-Net: contrast)."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: ContrastMeanConfig = ContrastMeanConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> ContrastMeanParams | None:
        if not fires(rng, self.config.probability):
            return None
        factor = either_side(rng, self.config.factor)
        channels = some_channels(rng, self.config.channel_probability)
        return ContrastMeanParams(factor, self.config.keep_range, channels)

    def apply_image(self, image: Tensor, params: ContrastMeanParams) -> Tensor:
        if params.factor == 1:
            return image

        def stretched(channel: Tensor) -> Tensor:
            own = statistics(channel)
            return about(channel, params.factor, own.mean, own.mean, (own.low, own.high) if params.keep_range else None)

        return on_channels(image, params.channels, each_channel(stretched))


class GammaRange(RandomTransform[GammaRangeParams]):
    """Bends the grey-value curve between least and greatest value (MONAI: AdjustContrast; nnU-Net: gamma)."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: GammaRangeConfig = GammaRangeConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> GammaRangeParams | None:
        if not fires(rng, self.config.probability):
            return None
        gamma = either_side(rng, self.config.gamma)
        channels = some_channels(rng, self.config.channel_probability)
        return GammaRangeParams(gamma, self.config.invert, self.config.keep_statistics, channels)

    def apply_image(self, image: Tensor, params: GammaRangeParams) -> Tensor:
        if params.gamma == 1:
            return image
        return on_channels(image, params.channels, each_channel(lambda channel: _bent(channel, params)))


def _bent(channel: Tensor, params: GammaRangeParams) -> Tensor:
    old = statistics(channel)
    start, end = (old.high, old.low) if params.invert else (old.low, old.high)
    bent = gamma_between(channel, start, end, params.gamma)
    if not params.keep_statistics:
        return bent
    new = statistics(bent)
    return about(bent, old.sd / _not_below(new.sd, TINY), new.mean, old.mean)


def _not_below(value: Number, least: float) -> Number:
    return torch.clamp(value, min=least) if isinstance(value, Tensor) else max(value, least)
