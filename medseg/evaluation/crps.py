"""How well a volume fits a distribution of volumes: continuous ranked probability score, in the unit of the volumes.

The readers are the forecast and the model's volume the outcome; a model that gives several volumes is also a forecast
with each reader as the outcome. 0 is perfect; for a forecast of one volume it is the absolute difference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import integrate, stats

from medseg.errors import UsageError
from medseg.evaluation.soft_overlap import check_probabilities
from medseg.shapes import FloatArray, Triple

NAN = float("nan")


def crps(forecast: FloatArray, outcome: float, *, mode: str = "exact") -> float:
    """Score of an outcome under a forecast of N volumes, all in one unit; lower is better.

    Args:
        forecast: (N,) volumes; NaN is a reader who did not read and is left out.
        mode: key of `CRPS`: `exact` (normal distribution with the forecast's mean and standard deviation), `ensemble`
            (the volumes themselves) or `curvas2024` (to reproduce that challenge only).

    No volume, or no outcome: NaN.

    Raises:
        UsageError: an unknown mode.

    >>> [round(crps(np.array([48.0, 36.0, 48.0]), 39.6, mode=mode), 3) for mode in CRPS]
    [2.622, 4.133, 2.622]
    """
    if mode not in CRPS:
        raise UsageError("no such form of the CRPS", expected="one of " + ", ".join(CRPS), got=repr(mode))
    members = np.asarray(forecast, dtype=np.float64)
    members = members[~np.isnan(members)]
    if not len(members) or np.isnan(outcome):
        return NAN
    return CRPS[mode](members, float(outcome))


def expected_volume_ml(probability: FloatArray, spacing_mm: Triple) -> float:
    """Sum of the probabilities (X, Y, Z) in millilitres: the volume that CURVAS compares with the readers'.

    Raises:
        InputError: probabilities outside 0 to 1; VoxelError for NaN.
    """
    return float(check_probabilities(probability).sum(dtype=np.float64)) * float(np.prod(spacing_mm)) / 1000.0


def gaussian_crps(members: FloatArray, outcome: float) -> float:
    """Closed form for the normal distribution (Gneiting and Raftery, JASA 102:359, 2007, eq. 21).

    The standard deviation is that of the N members (divided by N), as CURVAS takes it.
    """
    mean, sd = float(members.mean()), float(members.std())
    if not sd:
        return abs(outcome - mean)
    z = (outcome - mean) / sd
    return sd * float(z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


def ensemble_crps(members: FloatArray, outcome: float) -> float:
    """Score of the members as they are: E|X - y| - E|X - X'| / 2 over all pairs (Gneiting and Raftery 2007, eq. 20)."""
    return float(np.abs(members - outcome).mean() - np.abs(members[:, None] - members).mean() / 2)


def curvas2024_crps(members: FloatArray, outcome: float) -> float:
    """What the CURVAS challenge of 2024 computed; do not use it for anything else.

    The normal distribution function, straight between 100 places from its 1st to its 99th percentile and 0 and 1
    beyond, integrated by quadrature over three standard deviations to either side only: every volume farther away
    scores the same, and from the sixth digit on the number is that of the quadrature. NaN where all readers have the
    same volume.
    """
    mean, sd = float(members.mean()), float(members.std())
    if not sd:
        return NAN
    low, high = mean - 3 * sd, mean + 3 * sd
    first, last = (float(stats.norm.ppf(level, mean, sd)) for level in (0.01, 0.99))
    places = np.linspace(first, last, 100)
    levels = stats.norm.cdf(places, mean, sd)

    def squared(volume: float) -> float:
        return (np.interp(volume, places, levels, left=0.0, right=1.0) - (volume > outcome)) ** 2

    step = [outcome] if low < outcome < high else None
    return float(integrate.quad(squared, low, high, points=step, limit=500, full_output=1)[0])


CRPS: dict[str, Callable[[FloatArray, float], float]] = {
    "exact": gaussian_crps,
    "ensemble": ensemble_crps,
    "curvas2024": curvas2024_crps,
}
