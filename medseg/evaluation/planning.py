"""Planning a study: power at a number of patients, and how much of the readers' variability a panel sees."""

from __future__ import annotations

import numpy as np
from scipy import stats

TAIL = 0.025
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


def captured_variability(raters: int) -> float | None:
    """Share of the readers' variability that a panel of this size captures, 0 to 1; None where it was not published.

    >>> captured_variability(3), captured_variability(4)
    (0.53, None)
    """
    return CAPTURED.get(raters)
