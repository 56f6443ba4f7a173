"""Intraclass correlations against Shrout and Fleiss, the F intervals of McGraw and Wong, and by invariance."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.icc import FORMS, ONE_WAY, icc, mean_squares

# intervals printed by the reference of golden.json, two digits
FLEISS_INTERVALS = {"icc11": "ICC(1,1)", "icc21": "ICC(A,1)", "icc31": "ICC(C,1)", "icc1k": "ICC(1,k)",
                    "icc2k": "ICC(A,k)", "icc3k": "ICC(C,k)"}  # fmt: skip


@pytest.fixture
def shrout(golden) -> np.ndarray:
    return np.array(golden["statistics"]["icc_shrout_fleiss"]["data"])


@pytest.mark.parametrize("form", FORMS)
def test_the_six_forms_of_shrout_and_fleiss(golden, shrout, form):
    assert icc(shrout).forms[form].value == pytest.approx(golden["statistics"]["icc_shrout_fleiss"][form], abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_their_intervals(golden, shrout, form):
    expected = golden["worked_example"]["cross_checks"]["icc_pingouin_ci"][FLEISS_INTERVALS[form]]
    assert icc(shrout).forms[form].ci95 == pytest.approx(expected, abs=0.005 + 1e-9)


def test_mean_squares_are_those_of_the_analysis_of_variance(shrout):
    found = mean_squares(shrout)
    expected = (11.24167, 32.48611, 1.019444, 6.263889)  # Shrout and Fleiss 1979, table 3
    assert (found.cases, found.readers, found.error, found.within) == pytest.approx(expected, abs=1e-5)


def test_a_reader_who_always_draws_more_lowers_agreement_and_not_consistency(shrout):
    shifted = shrout + np.array([0.0, 0.0, 0.0, 5.0])
    before, after = icc(shrout).forms, icc(shifted).forms
    assert after["icc31"].value == pytest.approx(before["icc31"].value)
    assert after["icc21"].value < before["icc21"].value


def test_anonymous_readers_have_one_way_forms_only(shrout):
    assert tuple(icc(shrout, anonymous=True).forms) == ONE_WAY


def test_shuffled_readers_leave_the_one_way_form_alone(shrout):
    shuffled = np.random.default_rng(0).permuted(shrout, axis=1)
    assert icc(shuffled).forms["icc11"].value == pytest.approx(icc(shrout).forms["icc11"].value)


def test_cases_that_not_everybody_marked_are_left_out_and_counted(shrout):
    padded = np.vstack([shrout, [[1.0, np.nan, 3.0, 4.0]]])
    found = icc(padded)
    assert (found.n_cases, found.left_out, found.k) == (6, 1, 4)
    assert found.forms == icc(shrout).forms


def test_identical_readings_agree_completely_and_have_no_interval():
    found = icc(np.tile(np.arange(5.0)[:, None], 3))
    assert found.forms["icc21"].value == 1.0 and found.forms["icc21"].ci95 is None


def test_a_table_without_any_difference_is_undefined():
    assert np.isnan(icc(np.ones((4, 3))).forms["icc11"].value)


def test_patients_with_several_cases_are_drawn_and_widen_the_interval():
    rng = np.random.default_rng(1)
    patient = rng.normal(size=(20, 1, 1))
    table = (patient + 0.3 * rng.normal(size=(20, 1, 3)) + np.zeros((20, 5, 3))).reshape(100, 3)
    table += 0.05 * rng.normal(size=table.shape)
    owners = [f"p{n // 5}" for n in range(100)]
    apart, together = icc(table), icc(table, patients=owners, draws=500)
    assert together.forms["icc11"].value == apart.forms["icc11"].value and together.n_patients == 20
    widths = [np.subtract(*found.forms["icc11"].ci95[::-1]) for found in (apart, together)]
    assert widths[1] > 1.3 * widths[0]


def test_drawn_intervals_are_close_to_f_where_cases_are_many():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(300, 1)) + rng.normal(size=(300, 3)) + np.array([0.0, 0.1, 0.2])
    twice = [f"p{n}" for n in range(299)] + ["p298"]  # one patient with two cases: almost the same data
    for form in ("icc11", "icc31", "icc3k"):
        by_f, drawn = icc(table).forms[form].ci95, icc(table, patients=twice, draws=1000).forms[form].ci95
        assert drawn == pytest.approx(by_f, abs=0.03)


@pytest.mark.parametrize("table", [np.zeros((0, 3)), np.ones((1, 3)), np.ones((5, 1))])
def test_too_little_has_no_correlation(table):
    assert icc(table) is None


def test_cases_that_are_all_alike_have_no_reliability_of_means():
    found = icc(np.tile(np.log([0.73, 0.91, 1.37]), (21, 1))).forms
    assert np.isnan(found["icc1k"].value) and found["icc1k"].ci95 is None  # 0 between cases: minus infinity
    assert found["icc21"].value == 0.0 and found["icc11"].value == pytest.approx(-0.5)
