"""Classical tests of D against the margin, beside the bootstrap interval that decides: t, TOST, Wilcoxon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from medseg.shapes import FloatArray, IntArray

RULE = (
    "paired t tests on patient means of D: against 0 (two-sided), above -margin (non-inferiority, one-sided), below "
    "+margin; TOST's p is the larger of the last two. Wilcoxon's signed-rank test on D + margin is a sensitivity "
    "analysis: it tests a pseudo-median, not the mean"
)


@dataclass(frozen=True)
class MarginTests:
    """P values, all NaN where there is nothing to test; one-sided ones are held against 0.025.

    Args:
        mean: of D over patients.
        margin: positive, in the metric's unit.
        p_difference: two-sided, that the mean of D is not 0.
        p_noninferior: one-sided, that it lies above -margin.
        p_below_margin: one-sided, that it lies below +margin.
        p_equivalent: TOST, the larger of the last two.
        p_wilcoxon: one-sided signed-rank test of D + margin above 0.
        n: patients.
        reason: why there is nothing to test, or empty.
    """

    mean: float
    margin: float
    p_difference: float
    p_noninferior: float
    p_below_margin: float
    p_equivalent: float
    p_wilcoxon: float
    n: int
    reason: str = ""
    rule: str = RULE


def margin_tests(differences: FloatArray, margin: float) -> MarginTests:
    """The tests of D, one value per patient (P,), at a positive margin.

    >>> found = margin_tests(np.array([0.01, -0.02, 0.0, 0.03, -0.01, 0.02]), 0.05)
    >>> found.p_equivalent == max(found.p_noninferior, found.p_below_margin) < 0.025
    True
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    reason = "fewer than two patients" if n < 2 else "all values equal" if np.ptp(values) <= 1e-12 else ""
    if reason:
        return MarginTests(mean, margin, *[np.nan] * 5, n=n, reason=reason)
    above = float(t_test(values, -margin, "greater").pvalue)
    below = float(t_test(values, margin, "less").pvalue)
    signed_rank: Any = stats.wilcoxon(values + margin, alternative="greater")
    return MarginTests(
        mean,
        margin,
        float(t_test(values).pvalue),
        above,
        below,
        max(above, below),
        float(signed_rank.pvalue),
        n,
    )


def t_test(values: FloatArray | IntArray, mean: float = 0.0, alternative: str = "two-sided") -> Any:
    """One-sample t test of scipy (`statistic`, `pvalue`, `confidence_interval()`) of values (..., N) with spread."""
    return stats.ttest_1samp(values, mean, axis=-1, alternative=alternative)
