"""Power and sample size against simulation and reference tools."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.planning import (
    captured_variability,
    equivalence_power,
    noninferiority_power,
    patients_for_equivalence,
    planning_entry,
)
from medseg.evaluation.statistics import Interval, patients_for_power


@pytest.mark.parametrize(("sd", "margin"), [(0.1, 0.05), (0.2, 0.05), (0.03, 0.02), (0.04, 0.05)])
def test_the_planned_number_reaches_80_percent_and_two_fewer_do_not(sd, margin):
    n = patients_for_power(sd, margin)
    assert noninferiority_power(n, sd, margin) >= 0.795
    assert noninferiority_power(n - 2, sd, margin) < 0.80


def test_power_equals_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    expected = power.TTestPower().power(0.5, nobs=25, alpha=0.025, alternative="larger")
    assert noninferiority_power(25, 0.1, 0.05) == pytest.approx(expected, abs=1e-9)


def test_power_is_what_a_simulation_counts():
    values = np.random.default_rng(0).normal(-0.01, 0.1, size=(4000, 34))
    passed = stats.ttest_1samp(values, -0.05, axis=1, alternative="greater").pvalue < 0.025
    assert noninferiority_power(34, 0.1, 0.05, -0.01) == pytest.approx(passed.mean(), abs=0.025)


def test_equivalence_power_is_what_a_simulation_counts():
    values = np.random.default_rng(1).normal(0, 0.1, size=(4000, 40))
    above = stats.ttest_1samp(values, -0.05, axis=1, alternative="greater").pvalue < 0.025
    below = stats.ttest_1samp(values, 0.05, axis=1, alternative="less").pvalue < 0.025
    assert equivalence_power(40, 0.1, 0.05) == pytest.approx((above & below).mean(), abs=0.025)


def test_at_the_margin_the_power_is_the_error_rate():
    assert noninferiority_power(50, 0.1, 0.05, -0.05) == pytest.approx(0.025)


def test_one_patient_has_no_power_and_no_spread_decides_by_itself():
    assert noninferiority_power(1, 0.1, 0.05) == 0.0
    assert noninferiority_power(5, 0.0, 0.05) == 1.0 and noninferiority_power(5, 0.0, 0.05, -0.06) == 0.0


def test_the_published_shares_of_variability_are_given_and_no_others():
    assert [captured_variability(n) for n in (1, 2, 3, 4, 5)] == [None, 0.37, 0.53, None, 0.72]


def test_the_number_for_equivalence_is_the_smallest_that_reaches_the_power():
    n = patients_for_equivalence(0.1, 0.05)
    assert equivalence_power(n, 0.1, 0.05) >= 0.8 > equivalence_power(n - 1, 0.1, 0.05)


def test_planning_says_nothing_without_a_margin_or_a_spread():
    known = Interval(0.0, (-0.02, 0.02), "bca", 0.1, 60)
    assert planning_entry(known, None, 3)["n_for_80pct"] is None
    assert planning_entry(Interval(0.0, None, "none", float("nan"), 1), 0.05, 3)["power"] is None
    assert planning_entry(known, 0.05, 3)["n_for_80pct"] == 34 and planning_entry(known, 0.05, 4)["power"] > 0.8
    assert planning_entry(known, 0.05, 4)["captured_variability"] is None  # not published
