"""Other names and scales under which the paired difference D is published: equivalence index, device and panel.

The Williams index stands in `agreement` as a ratio of patient means with its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.evaluation.margin_tests import t_test
from medseg.evaluation.statistics import CONFIDENCE, Interval
from medseg.shapes import FloatArray

EQUIVALENCE_RULE = (
    "gamma = -D: mean disagreement of the model with a reader minus mean disagreement of two readers; "
    "below the margin in its whole interval, the model is individually equivalent"
)
PANEL_RULE = (
    "paired t test on patient means of the Dice difference (mean over model-reader pairs minus mean over reader-reader "
    "pairs of a case); the published method pairs image-level device-expert with expert-expert Dice in the same way, "
    "its own variance formula was not at hand"
)


@dataclass(frozen=True)
class EquivalenceIndex:
    """Individual equivalence index gamma, the excess disagreement that replacing a reader by the model brings.

    Args:
        value: -D, in the metric's unit; positive where the model disagrees more than a reader does.
        ci95: its 95 % interval, or None.
        method: how, or why there is none.
        n: patients.
    """

    value: float
    ci95: tuple[float, float] | None
    method: str
    n: int
    rule: str = EQUIVALENCE_RULE


@dataclass(frozen=True)
class DevicePanel:
    """Device against panel: mean Dice difference with Student's interval and the p of no difference.

    Args:
        difference: mean over patients, positive where the model agrees more with readers than they do; NaN without.
        ci95: two-sided 95 % interval, or None below two patients or without spread.
        t, p: of the two-sided paired t test; NaN where there is no interval.
        n: patients.
    """

    difference: float
    ci95: tuple[float, float] | None
    t: float
    p: float
    n: int
    rule: str = PANEL_RULE


def equivalence_index(difference: Interval) -> EquivalenceIndex:
    """Gamma (Obuchowski, Subhas and Schoenhagen 2014, Academic Radiology 21:1483) from the paired difference D.

    >>> equivalence_index(Interval(-0.02, (-0.05, 0.01), "bca", 0.1, 60)).ci95
    (-0.01, 0.05)
    """
    ci95 = None if difference.ci95 is None else (-difference.ci95[1], -difference.ci95[0])
    return EquivalenceIndex(-difference.mean, ci95, difference.method, difference.n)


def device_panel(dice_differences: FloatArray) -> DevicePanel:
    """The paired test of an AI device against a panel (Hu et al. 2025, J Med Imaging 12(5):055003).

    A p above 0.05 is no proof of agreement; the interval against a margin is.

    Args:
        dice_differences: D of Dice, one per patient (P,).

    >>> device_panel(np.array([0.01, -0.02, 0.0, 0.03, -0.01])).n
    5
    """
    values = np.asarray(dice_differences, dtype=np.float64)
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    if n < 2 or np.ptp(values) <= 1e-12:
        return DevicePanel(mean, None, np.nan, np.nan, n)
    found = t_test(values)
    low, high = found.confidence_interval(CONFIDENCE)
    return DevicePanel(mean, (float(low), float(high)), float(found.statistic), float(found.pvalue), n)
