"""Changes of grey value, voxel by voxel, in HU: brightness, contrast, gamma (`relative.py`: the same in any unit).

Contrast and gamma work inside a window, because the HU scale as a whole (air -1000, metal above 3000) says little about
the tissue that is looked at. Beyond the window the curve goes on with slope 1, so it stays continuous and rising.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.noise import Noise, NoiseConfig, NoiseParams, gaussian_noise
from medseg.transforms.points import about, contrast_in, gamma_in
from medseg.transforms.ranges import (
    SOFT_TISSUE_HU,
    PositiveRange,
    Probability,
    Range,
    Rng,
    Window,
    fires,
    log_uniform,
    uniform,
)
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase

__all__ = [
    "Brightness",
    "BrightnessConfig",
    "BrightnessParams",
    "Contrast",
    "ContrastConfig",
    "ContrastParams",
    "Gamma",
    "GammaConfig",
    "GammaParams",
    "Noise",
    "NoiseConfig",
    "NoiseParams",
    "gaussian_noise",
]


class BrightnessConfig(StepBase):
    """A shift of all HU, as between scanners.

    Args:
        probability: of acting.
        shift_hu: range of what is added.
    """

    name: Literal["brightness"] = "brightness"
    probability: Probability = 0.15
    shift_hu: Range = (-20.0, 20.0)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Brightness:
        """The transform; `options` as in `RandomTransform`."""
        return Brightness(keys, self, **options)


class ContrastConfig(StepBase):
    """HU differences inside the window times a factor, its middle at rest.

    Args:
        probability: of acting.
        factor: range; x and 1/x are equally likely.
        window_hu: None takes the window step's of the same pipeline, else -160 to 240.
    """

    name: Literal["contrast"] = "contrast"
    probability: Probability = 0.15
    factor: PositiveRange = (0.75, 1.33)
    window_hu: Window | None = None

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Contrast:
        """The transform; `options` as in `RandomTransform`."""
        return Contrast(keys, self, **options)


class GammaConfig(StepBase):
    """The window's share (0 to 1) to the power gamma, its ends at rest: below 1 brightens dark tissue.

    Args:
        probability: of acting.
        gamma: range; x and 1/x are equally likely.
        window_hu: as in `ContrastConfig`.
    """

    name: Literal["gamma"] = "gamma"
    probability: Probability = 0.2
    gamma: PositiveRange = (0.7, 1.4)
    window_hu: Window | None = None

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Gamma:
        """The transform; `options` as in `RandomTransform`."""
        return Gamma(keys, self, **options)


@dataclass(frozen=True)
class BrightnessParams:
    """What is added, in HU."""

    shift_hu: float


@dataclass(frozen=True)
class ContrastParams:
    """The factor, and the window in which it works."""

    factor: float
    window_hu: tuple[float, float]


@dataclass(frozen=True)
class GammaParams:
    """The exponent, and the window in which it works."""

    gamma: float
    window_hu: tuple[float, float]


class Brightness(RandomTransform[BrightnessParams]):
    """Adds a constant to the image."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: BrightnessConfig = BrightnessConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> BrightnessParams | None:
        if not fires(rng, self.config.probability):
            return None
        return BrightnessParams(uniform(rng, self.config.shift_hu))

    def apply_image(self, image: Tensor, params: BrightnessParams) -> Tensor:
        return about(image, factor=1.0, target=params.shift_hu)


class Contrast(RandomTransform[ContrastParams]):
    """Stretches or squeezes HU differences inside the window."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: ContrastConfig = ContrastConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> ContrastParams | None:
        if not fires(rng, self.config.probability):
            return None
        return ContrastParams(log_uniform(rng, self.config.factor), self.config.window_hu or SOFT_TISSUE_HU)

    def apply_image(self, image: Tensor, params: ContrastParams) -> Tensor:
        return image if params.factor == 1 else contrast_in(image, params.window_hu, params.factor)


class Gamma(RandomTransform[GammaParams]):
    """Bends the grey-value curve inside the window."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: GammaConfig = GammaConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> GammaParams | None:
        if not fires(rng, self.config.probability):
            return None
        return GammaParams(log_uniform(rng, self.config.gamma), self.config.window_hu or SOFT_TISSUE_HU)

    def apply_image(self, image: Tensor, params: GammaParams) -> Tensor:
        return image if params.gamma == 1 else gamma_in(image, params.window_hu, params.gamma)
