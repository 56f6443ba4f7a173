"""Which of many positive values stand apart: a robust rule that a few odd values cannot bend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FEWEST = 8  # with fewer values the median deviation says nothing
HIGHEST_SCORE = 3.5  # Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993
MAD_TO_SD = 0.6745  # the median deviation of normally distributed values, in standard deviations


@dataclass(frozen=True)
class Outlier:
    """A value that stands apart: how many times the median it is, and its modified z-score on the log scale."""

    value: float
    median: float
    score: float


def find_outliers(values: Mapping[str, float], *, least_ratio: float = 1.5) -> dict[str, Outlier]:
    """The values that stand apart from the others, by name; none when there are fewer than 8.

    Sizes differ by factors, so logarithms are compared. A value stands apart when its modified z-score (distance from
    the median / median of such distances x 0.6745) is above 3.5 and it is `least_ratio` times larger or smaller than
    the median: where nearly all values are equal, as spacings are, the score alone would single out a rounding.

    Args:
        values: positive, finite numbers; others are left out.

    Example:
        >>> find_outliers({**{str(n): 1.0 for n in range(9)}, "odd": 5.0})
        {'odd': Outlier(value=5.0, median=1.0, score=inf)}
    """
    known = {name: float(value) for name, value in values.items() if np.isfinite(value) and value > 0}
    if len(known) < FEWEST:
        return {}
    logs = np.log([*known.values()])
    centre = float(np.median(logs))
    distances = np.abs(logs - centre)
    spread = float(np.median(distances))
    found = {}
    for (name, value), distance in zip(known.items(), distances, strict=True):
        score = MAD_TO_SD * float(distance) / spread if spread > 0 else float("inf")
        if distance > np.log(least_ratio) and score > HIGHEST_SCORE:
            found[name] = Outlier(value, float(np.exp(centre)), score)
    return found
