"""Planning a study: power at a number of patients, and how much of the readers' variability a panel sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from medseg.evaluation.statistics import Interval, patients_for_power

TAIL = 0.025
PLANNING_RULE = (
    "power of a one-sided t test at 2.5 % (equivalence: of both sides) if the true difference is 0, from the observed "
    "standard deviation of D between patients; the guard is not in it. Variability: mean share of a large panel's that "
    "so many readers capture, published for 2, 3 and 5 (Joskowicz 2019)"
)
# Joskowicz et al. 2019, European Radiology 29:1391, eleven radiologists, CT: mean share of the variability of the
# delineation that groups of two, three and five observers capture
CAPTURED = {2: 0.37, 3: 0.53, 5: 0.72}
CAPTURED_SOURCE = "Joskowicz et al. 2019, Eur Radiol 29:1391-1399, doi:10.1007/s00330-018-5695-5"


def noninferiority_power(patients: int, sd: float, margin: float, difference: float = 0.0) -> float:
    """Chance that a one-sided 2.5 % t test shows non-inferiority, from the noncentral t distribution.

    Args:
        sd: standard deviation of D between patients.
        difference: true mean of D.

    >>> round(noninferiority_power(34, 0.1, 0.05), 2)
    0.81
    """
    if patients < 2:
        return 0.0
    if sd == 0.0:
        return float(difference + margin > 0)
    shift = (difference + margin) / sd * np.sqrt(patients)
    return float(stats.nct.sf(stats.t.ppf(1 - TAIL, patients - 1), patients - 1, shift))


def equivalence_power(patients: int, sd: float, margin: float) -> float:
    """Chance that TOST at 2.5 % a side shows equivalence when the true difference is 0, by Student's t; 0 to 1.

    A lower bound that is exact unless both sides fail at once, which needs a standard error beyond the margin.

    >>> round(equivalence_power(44, 0.1, 0.05), 2)
    0.8
    """
    return max(0.0, 2 * noninferiority_power(patients, sd, margin) - 1)


def patients_for_equivalence(sd: float, margin: float, *, power: float = 0.80) -> int:
    """Patients needed to show equivalence at this margin when the true difference is 0, by Student's t.

    >>> patients_for_equivalence(0.1, 0.05)
    44
    """
    low, high = 1, 2
    while equivalence_power(high, sd, margin) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if equivalence_power(middle, sd, margin) < power else (low, middle)
    return high


def planning_entry(difference: Interval, margin: float | None, raters: int) -> dict[str, Any]:
    """Power at the number of patients that there are, the numbers for 80 %, and what the panel captures.

    Null without a margin, without spread or below two patients.
    """
    entry: dict[str, Any] = {
        "sd": difference.sd,
        "n_patients": difference.n,
        "margin": margin,
        "captured_variability": captured_variability(raters),
        "rule": PLANNING_RULE,
    }
    if margin is None or not difference.sd > 0:  # NaN below two patients
        return entry | dict.fromkeys(("power", "power_equivalent", "n_for_80pct", "n_for_80pct_equivalent"))
    return entry | {
        "power": noninferiority_power(difference.n, difference.sd, margin),
        "power_equivalent": equivalence_power(difference.n, difference.sd, margin),
        "n_for_80pct": patients_for_power(difference.sd, margin),
        "n_for_80pct_equivalent": patients_for_equivalence(difference.sd, margin),
    }


def captured_variability(raters: int) -> float | None:
    """Share of the readers' variability that a panel of this size captures, 0 to 1; None where it was not published.

    >>> captured_variability(3), captured_variability(4)
    (0.53, None)
    """
    return CAPTURED.get(raters)
