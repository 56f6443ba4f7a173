"""A smooth field of factors over the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.compiled import in_slabs
from medseg.transforms.filters import on_device
from medseg.transforms.kernels_fields import times_field
from medseg.transforms.ranges import Probability, Rng, SizeRange, WorksIn, fires, uniform
from medseg.transforms.transform import DEFAULT_KEYS, Keys, RandomTransform, StepBase


class BiasFieldConfig(StepBase):
    """A multiplicative field, the exponential of a polynomial in X, Y and Z.

    Args:
        probability: of acting.
        strength: range of the largest deviation: 0.2 means factors between exp(-0.2) and exp(0.2), 0.82 and 1.22.
        degree: of the polynomial; higher makes a field of more waves.
        zero: grey value that the field leaves at rest: -1000 in HU, where air attenuates nothing; 0 in images of
            another unit.
    """

    works_in: ClassVar[WorksIn] = "any"
    name: Literal["bias_field"] = "bias_field"
    probability: Probability = 0.1
    strength: SizeRange = (0.01, 0.05)
    degree: Annotated[int, Field(ge=1, le=5)] = 3
    zero: Annotated[float, Field(allow_inf_nan=False)] = -1000.0

    def build(self, keys: Keys = DEFAULT_KEYS, **options: Any) -> BiasField:
        """The transform; `options` as in `RandomTransform`."""
        return BiasField(keys, self, **options)


@dataclass(frozen=True)
class BiasFieldParams:
    """Degree; coefficients of the products of Legendre polynomials, in the order of `exponents`; the value at rest."""

    degree: int
    coefficients: tuple[float, ...]
    zero: float = 0.0


class BiasField(RandomTransform[BiasFieldParams]):
    """Multiplies the image by a smooth field (Van Leemput and others 1999; CT: cupping, heel effect)."""

    def __init__(self, keys: Keys = DEFAULT_KEYS, config: BiasFieldConfig = BiasFieldConfig(), **options: Any) -> None:  # noqa: B008
        super().__init__(keys, **options)
        self.config = config

    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> BiasFieldParams | None:
        if not fires(rng, self.config.probability):
            return None
        degree = self.config.degree
        drawn = np.array([float(rng.normal()) for _ in exponents(degree)])
        terms = [_terms(min(n, 17), degree) for n in shape]  # 17 voxels show the largest value of up to 5 waves
        largest = np.abs(np.einsum("xi,yj,zk,ijk", *terms, _cube(drawn, degree))).max()
        scale = uniform(rng, self.config.strength) / max(float(largest), 1e-12)
        return BiasFieldParams(degree, tuple(float(value) * scale for value in drawn), self.config.zero)

    def apply_image(self, image: Tensor, params: BiasFieldParams) -> Tensor:
        return multiplied(image, params) if any(params.coefficients) else image


def exponents(degree: int) -> list[tuple[int, int, int]]:
    """Degrees along X, Y, Z of all products of a total degree from 1 to `degree`.

    Example:
        >>> exponents(1)
        [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    """
    span = range(degree + 1)
    return [(i, j, k) for i in span for j in span for k in span if 0 < i + j + k <= degree]


def multiplied(image: Tensor, params: BiasFieldParams) -> Tensor:
    """(C, X, Y, Z) times the field, `zero` at rest."""
    if image.device.type != "cpu":
        return multiplied_twin(image, params)
    source = image.contiguous()
    out = torch.empty_like(source)
    terms = [_terms(n, params.degree).astype(np.float32) for n in image.shape[1:]]
    cube = _cube(params.coefficients, params.degree).astype(np.float32)
    for old, new in zip(source.numpy(), out.numpy(), strict=True):
        in_slabs(times_field, len(old), old, new, *terms, cube, np.float32(params.zero))
    return out


def multiplied_twin(image: Tensor, params: BiasFieldParams) -> Tensor:
    """The same by torch."""
    x, y, z = (on_device(_terms(n, params.degree).astype(np.float32), image) for n in image.shape[1:])
    cube = on_device(_cube(params.coefficients, params.degree).astype(np.float32), image)
    field = torch.exp(torch.einsum("xi,yj,zk,ijk->xyz", x, y, z, cube))
    return (image - params.zero) * field + params.zero


def _terms(count: int, degree: int) -> FloatArray:
    """Legendre polynomials (count, degree + 1) from -1 to 1 over an axis; of one voxel at 0."""
    places = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return np.ascontiguousarray(np.polynomial.legendre.legvander(places, degree))


def _cube(coefficients: Any, degree: int) -> FloatArray:
    cube = np.zeros((degree + 1,) * 3)
    for place, value in zip(exponents(degree), coefficients, strict=True):
        cube[place] = value
    return cube
