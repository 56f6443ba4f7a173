"""Intervals that keep their promise, and bounds for what never happened."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.statistics import (
    bca_interval,
    exact_upper_bound,
    mean_interval,
    patient_means,
    patients_for_power,
    rate_difference_interval,
    ratio_interval,
    studentised_interval,
)


def test_bca_equals_the_reference_interval(golden):
    expected = golden["statistics"]["ni"]
    values = np.array(golden["statistics"]["ni_delta"])
    assert values.mean() == pytest.approx(expected["mean"], abs=1e-12)
    assert bca_interval(values) == pytest.approx(expected["bca95"], abs=3e-4)  # two sets of random draws


def test_bca_equals_scipy_on_skewed_values():
    values = np.random.default_rng(1).exponential(size=60)
    rng = np.random.default_rng(1)
    other = stats.bootstrap((values,), np.mean, n_resamples=40_000, method="BCa", rng=rng).confidence_interval
    assert bca_interval(values, draws=40_000) == pytest.approx((other.low, other.high), abs=0.015)


def test_studentised_is_near_students_t_for_symmetric_values(golden):
    values = np.array(golden["statistics"]["ni_delta"])
    assert studentised_interval(values) == pytest.approx(golden["statistics"]["ni"]["t95"], abs=8e-4)


def test_the_method_depends_on_the_number_of_patients_only():
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values[:49], draws=500).method == "bootstrap-t"
    assert mean_interval(values, draws=500).method == "bca"


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=30)
    assert mean_interval(values, seed=3).ci95 == mean_interval(values, seed=3).ci95
    assert mean_interval(values, seed=3).ci95 != mean_interval(values, seed=4).ci95


@pytest.mark.parametrize("values", [[0.1] * 30, [1 / 3] * 60, [0.0, 0.0]])
def test_equal_values_have_no_interval(values):
    found = mean_interval(np.array(values))
    assert found.ci95 is None and found.method == "none: all values equal" and found.sd == 0.0


@pytest.mark.parametrize("values", [[], [0.4]])
def test_fewer_than_two_patients_have_no_interval(values):
    assert mean_interval(np.array(values)).ci95 is None


def test_a_handful_of_values_reaches_the_ends_of_the_range_instead_of_inventing_precision():
    found = mean_interval(np.array([0.1, 0.3, 0.2]), bounds=(-1.0, 1.0))
    assert found.ci95 == (-1.0, 1.0)
    assert mean_interval(np.array([0.1, 0.3, 0.2])).ci95 is None


def test_one_rare_miss_pulls_the_lower_bound_to_the_end():
    values = np.array([0.0] * 19 + [-1.0])  # a third of all draws never sees the miss
    low, high = mean_interval(values, bounds=(-1.0, 1.0)).ci95 or (0.0, 0.0)
    assert low == -1.0 and high > -0.05


@pytest.mark.parametrize(("n", "interval"), [(20, studentised_interval), (60, bca_interval)])
def test_intervals_cover_the_true_mean_about_as_often_as_promised(n, interval):
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(300):
        low, high = interval(rng.normal(0.02, 0.1, size=n), draws=600, seed=trial)
        hits += low <= 0.02 <= high
    assert 0.91 <= hits / 300 <= 0.98


def test_studentised_covers_skewed_differences_at_ten_patients():
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(300):
        low, high = studentised_interval(-rng.exponential(0.1, size=10), draws=600, seed=trial)
        hits += low <= -0.1 <= high
    assert hits / 300 >= 0.90  # BCa reaches 0.87 here


def test_cases_of_one_patient_are_averaged_first():
    assert patient_means(np.array([1.0, 0.0, 0.0, np.nan]), ["a", "b", "b", "c"]).tolist() == [1.0, 0.0]


def test_no_miss_in_twenty_still_allows_seventeen_percent():
    assert exact_upper_bound(0, 20) == pytest.approx(1 - 0.025 ** (1 / 20))
    assert exact_upper_bound(20, 20) == 1.0
    expected = stats.binomtest(3, 25).proportion_ci(0.95, "exact").high
    assert exact_upper_bound(3, 25) == pytest.approx(expected)


def test_patients_for_power_equals_statsmodels():
    power = pytest.importorskip("statsmodels.stats.power")
    for sd, margin in ((0.1, 0.05), (0.2, 0.05), (0.03, 0.02)):
        expected = power.TTestPower().solve_power(margin / sd, power=0.8, alpha=0.05)
        assert abs(patients_for_power(sd, margin) - expected) <= 1.5


def test_no_spread_needs_two_patients():
    assert patients_for_power(0.0, 0.05) == 2


def test_ratio_of_equal_means_is_one_without_width():
    values = np.array([0.5, 0.7, 0.9])
    assert ratio_interval(values, values) == (1.0, (1.0, 1.0))


def test_ratio_to_nothing_is_undefined():
    ratio, interval = ratio_interval(np.ones(3), np.zeros(3))
    assert np.isnan(ratio) and interval is None


def test_rate_difference_brackets_the_observed_difference():
    chances = np.full(50, 2.0)
    ours, theirs = np.r_[np.ones(10), np.zeros(40)], np.zeros(50)
    low, high = rate_difference_interval((ours, chances), (theirs, chances)) or (0.0, 0.0)
    assert 0.0 < low < 10 / 100 < high < 0.2


def test_rates_without_a_chance_have_no_interval():
    nothing = (np.zeros(5), np.zeros(5))
    assert rate_difference_interval(nothing, nothing) is None
