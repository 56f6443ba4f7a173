"""Number types of the transforms' settings, and how a number is drawn from a range."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field

from medseg.shapes import Triple

Rng: TypeAlias = np.random.Generator | np.random.RandomState
# Whether a step needs an image in Hounsfield units, or works in any unit, also after the window.
WorksIn: TypeAlias = Literal["hu", "any"]


def _ordered(ends: tuple[float, float]) -> tuple[float, float]:
    if not all(math.isfinite(end) for end in ends) or ends[0] > ends[1]:
        raise ValueError("a range [low, high] with low <= high")
    return ends


def _wide(ends: tuple[float, float]) -> tuple[float, float]:
    if _ordered(ends)[0] == ends[1]:
        raise ValueError("a range [low, high] with low < high")
    return ends


def _positive(ends: tuple[float, float]) -> tuple[float, float]:
    if _ordered(ends)[0] <= 0:
        raise ValueError("a range [low, high] of positive numbers")
    return ends


def _not_negative(ends: tuple[float, float]) -> tuple[float, float]:
    if _ordered(ends)[0] < 0:
        raise ValueError("a range [low, high] of numbers that are not negative")
    return ends


def _coarser(ends: tuple[float, float]) -> tuple[float, float]:
    if _ordered(ends)[0] < 1:
        raise ValueError("a range [low, high] with 1 <= low <= high")
    return ends


def _shrinking(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < _ordered(ends)[0] <= ends[1] <= 1:
        raise ValueError("a range [low, high] with 0 < low <= high <= 1")
    return ends


def _counts(ends: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= ends[0] <= ends[1]:
        raise ValueError("a range [low, high] of whole numbers with 1 <= low <= high")
    return ends


Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Window = Annotated[tuple[float, float], AfterValidator(_wide)]
PositiveRange = Annotated[tuple[float, float], AfterValidator(_positive)]
SizeRange = Annotated[tuple[float, float], AfterValidator(_not_negative)]
CoarseRange = Annotated[tuple[float, float], AfterValidator(_coarser)]
ZoomRange = Annotated[tuple[float, float], AfterValidator(_shrinking)]
CountRange = Annotated[tuple[int, int], AfterValidator(_counts)]
Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Axis = Annotated[int, Field(ge=0, le=2)]

SOFT_TISSUE_HU = (-160.0, 240.0)  # level 40, width 400: the usual abdominal window


def fires(rng: Rng, probability: float) -> bool:
    """Whether a transform acts this time; one number is drawn, also at probability 0 and 1."""
    return bool(rng.uniform() < probability)


def uniform(rng: Rng, ends: tuple[float, float]) -> float:
    """A number between the ends, all equally likely."""
    return float(rng.uniform(*ends))


def log_uniform(rng: Rng, ends: tuple[float, float]) -> float:
    """A positive number between the ends; x and 1/x are equally likely if the range holds both."""
    return float(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1]))))


def either_side(rng: Rng, ends: tuple[float, float]) -> float:
    """A factor as often below 1 as above, evenly on each side; of a range on one side of 1 evenly within it."""
    below = rng.uniform() < 0.5
    if ends[0] >= 1 or ends[1] <= 1:
        return uniform(rng, ends)
    return uniform(rng, (ends[0], 1.0) if below else (1.0, ends[1]))


def either_sign(rng: Rng, sizes: tuple[float, float]) -> float:
    """A number of a size between the ends, as often negative as positive."""
    size = uniform(rng, sizes)
    return size if rng.uniform() < 0.5 else -size


def symmetric(rng: Rng, bounds: Triple) -> Triple:
    """Three numbers, each between -bound and +bound."""
    x, y, z = (float(rng.uniform(-bound, bound)) for bound in bounds)
    return x, y, z


def whole(rng: Rng, ends: tuple[int, int]) -> int:
    """A whole number from low to high, both included."""
    return min(int(rng.uniform(ends[0], ends[1] + 1)), ends[1])


def new_seed(rng: Rng) -> int:
    """A seed below 2^31 that stands for a field of random numbers, so that parameters stay printable."""
    return int(rng.uniform(0, 2**31))
