"""Voxel noise: the same numbers for the same seed on every machine, with any number of threads, on CPU and GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from medseg.shapes import IntTriple, Triple
from medseg.transforms.compiled import in_slabs
from medseg.transforms.kernels_noise import (
    LANES,
    LN_2,
    LN_TERMS,
    MIX_1,
    MIX_2,
    ROOT_HALF_BITS,
    SIN_TERMS,
    WEYL,
    add_normal,
)
from medseg.transforms.ranges import Probability, Rng, SizeRange, WorksIn, fires, new_seed, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase

WORD = 2**64


class NoiseConfig(StepBase):
    """White Gaussian noise in HU.

    Args:
        probability: of acting.
        sigma_hu: range of its standard deviation.
    """

    name: Literal["noise"] = "noise"
    probability: Probability = 0.2
    sigma_hu: SizeRange = (5.0, 30.0)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> Noise:
        """The transform; `options` as in `RandomTransform`."""
        return Noise(keys, self, **options)


class GaussianNoiseConfig(StepBase):
    """White Gaussian noise in the image's own unit.

    Args:
        probability: of acting.
        sigma: range of its standard deviation. nnU-Net calls its range (0, 0.1) a variance, and draws noise whose
            standard deviation is that number.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["gaussian_noise"] = "gaussian_noise"
    probability: Probability = 0.1
    sigma: SizeRange = (0.0, 0.1)

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> GaussianNoise:
        """The transform; `options` as in `RandomTransform`."""
        return GaussianNoise(keys, self, **options)


@dataclass(frozen=True)
class NoiseParams:
    """Standard deviation in HU, and the seed that stands for the noise itself."""

    sigma_hu: float
    seed: int


@dataclass(frozen=True)
class GaussianNoiseParams:
    """Standard deviation in the image's unit, and the seed that stands for the noise itself."""

    sigma: float
    seed: int


class Noise(RandomTransform[NoiseParams]):
    """Adds Gaussian noise to the image."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: NoiseConfig = NoiseConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> NoiseParams | None:
        if not fires(rng, self.config.probability):
            return None
        return NoiseParams(uniform(rng, self.config.sigma_hu), new_seed(rng))

    def apply_image(self, image: Tensor, params: NoiseParams) -> Tensor:
        return with_noise(image, params.sigma_hu, params.seed)


class GaussianNoise(RandomTransform[GaussianNoiseParams]):
    """Adds Gaussian noise to an image of any unit."""

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        config: GaussianNoiseConfig = GaussianNoiseConfig(),  # noqa: B008
        **options: Any,
    ) -> None:
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> GaussianNoiseParams | None:
        if not fires(rng, self.config.probability):
            return None
        return GaussianNoiseParams(uniform(rng, self.config.sigma), new_seed(rng))

    def apply_image(self, image: Tensor, params: GaussianNoiseParams) -> Tensor:
        return with_noise(image, params.sigma, params.seed)


def with_noise(image: Tensor, sigma: float, seed: int) -> Tensor:
    """The image plus sigma times the normal numbers of the seed, as in `gaussian_noise`."""
    if sigma == 0:
        return image
    if image.device.type != "cpu":
        return image + normal_twin(image.shape, seed, image.device) * sigma
    source = image.contiguous()
    out = torch.empty_like(source)
    _fill(source, out, sigma, seed)
    return out


def gaussian_noise(shape: Sequence[int], seed: int, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal numbers, float32: bit by bit the same for a seed on every CPU, to 1e-6 on every other device.

    Example:
        >>> [round(value, 4) for value in gaussian_noise((3,), seed=0).tolist()]
        [0.3404, -0.0617, -1.3415]
    """
    if torch.device(device).type != "cpu":
        return normal_twin(shape, seed, device)
    out = torch.zeros(tuple(shape), dtype=torch.float32)
    _fill(out, out, 1.0, seed)
    return out


def _fill(source: Tensor, out: Tensor, sigma: float, seed: int) -> None:
    in_slabs(add_normal, math.ceil(out.numel() / (2 * LANES)), np.uint64(_key(seed)), np.float32(sigma),
             source.numpy().reshape(-1), out.numpy().reshape(-1))  # fmt: skip


def normal_twin(shape: Sequence[int], seed: int, device: torch.device | str) -> Tensor:
    """The numbers of `kernels_noise.add_normal` by torch, step by step: equal but for the last bit of a square root."""
    count = math.prod(shape)
    counter = torch.arange(math.ceil(count / (2 * LANES)) * LANES, dtype=torch.int64, device=device)
    bits = _mixed(counter * _signed(WEYL) + _signed(_key(seed)))
    share = (_shifted(bits, 33).float() + 0.5) * 2.0**-31
    turn = ((bits << 32) >> 32).float() * 2.0**-31  # the lower 32 bits with their sign
    radius = torch.sqrt(_natural_log(share) * -2.0)
    away = turn.abs()
    sine = torch.copysign(_sine_of_half_turns(torch.minimum(away, 1.0 - away)), turn)
    pairs = torch.stack([radius * _sine_of_half_turns(0.5 - away), radius * sine])
    return pairs.reshape(2, -1, LANES).movedim(0, 1).flatten()[:count].reshape(tuple(shape))


def _natural_log(x: Tensor) -> Tensor:
    bits = x.view(torch.int32)
    exponent = (bits - ROOT_HALF_BITS) >> 23
    f = (bits - (exponent << 23)).view(torch.float32) - 1.0
    p = _polynomial(f, LN_TERMS) * f
    square = f * f
    return (p * square - square * 0.5) + f + exponent.float() * LN_2


def _sine_of_half_turns(x: Tensor) -> Tensor:
    return _polynomial(x * x, SIN_TERMS) * x


def _polynomial(x: Tensor, terms: Sequence[float]) -> Tensor:
    value = x * terms[-1] + terms[-2]
    for term in terms[-3::-1]:
        value = value * x + term
    return value


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _signed(MIX_1)
    z = (z ^ _shifted(z, 27)) * _signed(MIX_2)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Shifted to the right with zeros from the left; torch repeats the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _key(seed: int) -> int:
    """Where the sequence of a seed begins; mixed twice, so that neighbouring seeds begin far from each other."""
    z = (seed + 1) * WEYL % WORD
    for _ in range(2):
        z = (z ^ (z >> 30)) * MIX_1 % WORD
        z = (z ^ (z >> 27)) * MIX_2 % WORD
        z = (z ^ (z >> 31)) + WEYL & WORD - 1
    return z


def _signed(word: int) -> int:
    return word - WORD if word >= WORD // 2 else word
