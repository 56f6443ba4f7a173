"""An HU scale that is a little off, as between two calibrations of a scanner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.compiled import in_slabs
from medseg.transforms.filters import on_device
from medseg.transforms.kernels_fields import add_slope
from medseg.transforms.ranges import Probability, Range, Rng, SizeRange, fires, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class HuDriftConfig(StepBase):
    """Errors of the HU of water and of air, and a slope over the image.

    The defaults are about what the American College of Radiology accepts of its phantom: water -7 to 7 HU, air -1005
    to -970 HU (CT Accreditation Phantom, module 1), and 5 HU between centre and edge (module 3).

    Args:
        probability: of acting.
        water_hu: range of the error at 0 HU.
        air_hu: range of the error at -1000 HU; between and beyond, the error lies on the straight line.
        slope_hu: range of the error's difference between the ends of the image along the slope, whose direction is
            drawn evenly from all.
    """

    name: Literal["hu_drift"] = "hu_drift"
    probability: Probability = 0.15
    water_hu: Range = (-7.0, 7.0)
    air_hu: Range = (-5.0, 30.0)
    slope_hu: SizeRange = (0.0, 10.0)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> HuDrift:
        """The transform; `options` as in `RandomTransform`."""
        return HuDrift(keys, self, **options)


@dataclass(frozen=True)
class HuDriftParams:
    """Errors at 0 and -1000 HU, and the error's rise from the first to the last voxel along X, Y, Z."""

    water_hu: float
    air_hu: float
    slope_hu: Triple = (0.0, 0.0, 0.0)


class HuDrift(RandomTransform[HuDriftParams]):
    """Moves the HU scale at water and at air, more on one side of the image than on the other."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: HuDriftConfig = HuDriftConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> HuDriftParams | None:
        if not fires(rng, self.config.probability):
            return None
        water, air = uniform(rng, self.config.water_hu), uniform(rng, self.config.air_hu)
        direction = np.array([float(rng.normal()) for _ in range(3)])
        x, y, z = (float(part) for part in direction / np.linalg.norm(direction) * uniform(rng, self.config.slope_hu))
        return HuDriftParams(water, air, (x, y, z))

    def apply_image(self, image: Tensor, params: HuDriftParams) -> Tensor:
        factor = 1 + (params.water_hu - params.air_hu) / 1000
        x, y, z = (slope(n, rise) for n, rise in zip(image.shape[1:], params.slope_hu, strict=True))
        return sloped(image, factor, (x + params.water_hu, y, z))


def sloped(image: Tensor, factor: float, sides: tuple[FloatArray, FloatArray, FloatArray]) -> Tensor:
    """(C, X, Y, Z) times the factor, plus one vector along each axis."""
    if image.device.type != "cpu":
        return sloped_twin(image, factor, sides)
    source = image.contiguous()
    out = torch.empty_like(source)
    vectors = [side.astype(np.float32) for side in sides]
    for old, new in zip(source.numpy(), out.numpy(), strict=True):
        in_slabs(add_slope, len(old), old, new, *vectors, np.float32(factor))
    return out


def sloped_twin(image: Tensor, factor: float, sides: tuple[FloatArray, FloatArray, FloatArray]) -> Tensor:
    """The same by torch."""
    x, y, z = (on_device(side.astype(np.float32), image) for side in sides)
    return image * factor + ((x[:, None] + y)[:, :, None] + z)


def slope(count: int, rise: float) -> FloatArray:
    """A straight line over an axis from -rise / 2 to rise / 2; 0 of one voxel.

    Example:
        >>> slope(3, 10.0).tolist()
        [-5.0, 0.0, 5.0]
    """
    return np.linspace(-rise / 2, rise / 2, count) if count > 1 else np.zeros(1)
