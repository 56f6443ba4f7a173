"""Do two readers measure the same volume: bias and limits of agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.shapes import FloatArray

LIMIT = 1.96  # standard deviations that hold 95 % of normal differences


@dataclass(frozen=True)
class BlandAltman:
    """Mean difference (second minus first), its standard deviation and the 95 % limits, in the unit of the input."""

    bias: float
    sd: float
    limits: tuple[float, float]
    n: int


def bland_altman(first: FloatArray, second: FloatArray) -> BlandAltman | None:
    """Agreement of two measurements (N,) each (Bland and Altman 1986); None below two measured twice."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        return None
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return BlandAltman(bias, sd, (bias - LIMIT * sd, bias + LIMIT * sd), len(difference))
