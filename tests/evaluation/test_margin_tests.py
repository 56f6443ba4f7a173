"""Tests against the margin: the reference numbers, scipy's paired form, and data without spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.interchangeability import device_panel, equivalence_index
from medseg.evaluation.margin_tests import margin_tests
from medseg.evaluation.statistics import mean_interval


@pytest.fixture
def delta(golden):
    return np.array(golden["statistics"]["ni_delta"])


def test_non_inferiority_and_wilcoxon_equal_the_reference(golden, delta):
    expected = golden["statistics"]["ni"]
    found = margin_tests(delta, 0.02)
    assert found.p_noninferior == pytest.approx(expected["p_ni_t"], rel=1e-9)
    assert found.p_wilcoxon == pytest.approx(expected["wilcoxon_p"], rel=1e-9)
    assert (found.p_noninferior < 0.025) == expected["noninferior_at_0p02"] and found.n == 40


def test_the_test_of_no_difference_is_the_paired_t_test(delta):
    human = np.random.default_rng(0).uniform(0.7, 0.9, len(delta))
    expected = stats.ttest_rel(human + delta, human).pvalue
    assert margin_tests(delta, 0.02).p_difference == pytest.approx(expected)


def test_tost_equals_statsmodels(delta):
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    p, lower, upper = weightstats.DescrStatsW(delta).ttost_mean(-0.02, 0.02)
    found = margin_tests(delta, 0.02)
    assert (found.p_equivalent, found.p_noninferior, found.p_below_margin) == pytest.approx((p, lower[1], upper[1]))


def test_the_sides_swap_with_the_sign(delta):
    found, mirrored = margin_tests(delta, 0.02), margin_tests(-delta, 0.02)
    assert (found.p_noninferior, found.p_below_margin) == (mirrored.p_below_margin, mirrored.p_noninferior)


def test_a_difference_exactly_at_the_margin_is_a_coin_toss():
    values = np.array([-0.07, -0.03, -0.06, -0.04])
    assert margin_tests(values, 0.05).p_noninferior == pytest.approx(0.5)


@pytest.mark.parametrize(("values", "reason"), [([], "fewer"), ([0.1], "fewer"), ([0.1] * 9, "all values equal")])
def test_without_spread_there_is_no_p(values, reason):
    found = margin_tests(np.array(values), 0.05)
    assert reason in found.reason and np.isnan([found.p_noninferior, found.p_equivalent, found.p_wilcoxon]).all()


def test_the_equivalence_index_is_the_difference_turned_round(delta):
    difference = mean_interval(delta, draws=500)
    found = equivalence_index(difference)
    assert difference.ci95 is not None
    assert (found.value, found.ci95) == (-difference.mean, (-difference.ci95[1], -difference.ci95[0]))
    assert found.n == 40


def test_an_index_without_interval_says_why():
    found = equivalence_index(mean_interval(np.array([0.1, 0.1])))
    assert found.ci95 is None and found.method == "none: all values equal"


def test_device_against_panel_has_students_interval(golden, delta):
    found = device_panel(delta)
    assert found.ci95 == pytest.approx(golden["statistics"]["ni"]["t95"], abs=1e-12)
    assert found.difference == pytest.approx(golden["statistics"]["ni"]["mean"])
    assert (found.p < 0.05) == (found.ci95[0] > 0 or found.ci95[1] < 0)


@pytest.mark.parametrize("values", [[], [0.2], [0.2, 0.2, 0.2]])
def test_device_against_panel_without_spread_has_no_test(values):
    found = device_panel(np.array(values))
    assert found.ci95 is None and np.isnan(found.p) and found.n == len(values)
