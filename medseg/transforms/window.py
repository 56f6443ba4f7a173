"""From Hounsfield units to the numbers that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.kernels_points import window_share
from medseg.transforms.points import mapped
from medseg.transforms.ranges import SOFT_TISSUE_HU, Bound, Probability, Rng, Window, fires, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class WindowConfig(StepBase):
    """Clips to a HU window and maps it linearly to `output`; always done, whatever the probability.

    Args:
        probability: of moving the ends.
        window_hu: lower and upper end.
        jitter_hu: each end moves by up to this much either way; less than half of the window, so that it stays one.
        output: what the two ends become. With (0, 1), air equals the zero padding of a convolution.
    """

    name: Literal["window"] = "window"
    probability: Probability = 1.0
    window_hu: Window = SOFT_TISSUE_HU
    jitter_hu: Bound = 0.0
    output: Window = (0.0, 1.0)

    def model_post_init(self, context: Any) -> None:
        if 2 * self.jitter_hu >= self.window_hu[1] - self.window_hu[0]:
            raise ValueError("jitter_hu below half of the window's width")

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> WindowHu:
        """The transform; `options` as in `RandomTransform`."""
        return WindowHu(keys, self, **options)


@dataclass(frozen=True)
class WindowParams:
    """Both ends of the window in HU."""

    window_hu: tuple[float, float]


class WindowHu(RandomTransform[WindowParams]):
    """Clips the image to the window and normalises it; labels stay as they are."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: WindowConfig = WindowConfig(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> WindowParams:
        low, high = self.config.window_hu
        jitter = self.config.jitter_hu
        if jitter and fires(rng, self.config.probability):
            low, high = low + uniform(rng, (-jitter, jitter)), high + uniform(rng, (-jitter, jitter))
        return WindowParams((low, high))

    def apply_image(self, image: Tensor, params: WindowParams) -> Tensor:
        return window_image(image, params.window_hu, self.config.output)


def window_image(
    image: Tensor, window_hu: tuple[float, float] = SOFT_TISSUE_HU, output: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """An image in HU, clipped to the window and mapped linearly to `output`.

    Example:
        >>> import torch
        >>> window_image(torch.tensor([-1000.0, -160.0, 40.0, 240.0, 900.0]))
        tensor([0.0000, 0.0000, 0.5000, 1.0000, 1.0000])
    """
    (low, high), (bottom, top) = window_hu, output
    if image.device.type == "cpu" and image.dtype == torch.float32:
        return mapped(window_share, image, (low, high, high - low, bottom, top - bottom))
    share = (image.clamp(low, high) - low) / (high - low)
    return share * (top - bottom) + bottom
