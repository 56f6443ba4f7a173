"""The mixed model against the analysis of variance, the dense likelihood, statsmodels and simulated truth."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from medseg.evaluation.icc import icc
from medseg.evaluation.variance_components import _Layout, variance_components


def crossed(seed: int, cases: int, readers: int, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = 1.0 * rng.normal(size=(cases, 1)) + 0.6 * rng.normal(size=readers) + 0.5 * rng.normal(size=(cases, readers))
    table[rng.random(table.shape) < missing] = np.nan
    return table


def dense_criterion(table: np.ndarray, owners: np.ndarray, ratios: tuple[float, float, float]) -> float:
    """Minus twice the restricted log likelihood, profiled over mean and residual, with the covariance written out."""
    case, reader = np.nonzero(~np.isnan(table))
    y, n = table[case, reader], len(case)
    groups = (owners[case], case, reader)
    v = np.eye(n) + sum(ratio * (g[:, None] == g[None, :]) for ratio, g in zip(ratios, groups, strict=True))
    inverse = np.linalg.inv(v)
    weight = inverse.sum()
    mean = (inverse @ y).sum() / weight
    residual = (y - mean) @ inverse @ (y - mean) / (n - 1)
    return (n - 1) * np.log(residual) + np.linalg.slogdet(v)[1] + np.log(weight)


def test_a_full_table_gives_the_correlations_of_the_analysis_of_variance(golden):
    table = np.array(golden["statistics"]["icc_shrout_fleiss"]["data"])
    found = variance_components(table)
    assert (found.agreement, found.consistency) == pytest.approx((0.2897637796, 0.7148407148), abs=1e-6)
    assert variance_components(table, anonymous=True).agreement == pytest.approx(0.1657417684, abs=1e-6)


def test_variances_of_a_full_table_are_those_of_the_mean_squares(golden):
    table = np.array(golden["statistics"]["icc_shrout_fleiss"]["data"])
    found, squares = variance_components(table), icc(table).mean_squares
    assert found.residual == pytest.approx(squares.error, abs=1e-5)
    assert found.between == pytest.approx((squares.cases - squares.error) / 4, abs=1e-5)
    assert found.reader == pytest.approx((squares.readers - squares.error) / 6, abs=1e-5)


@pytest.mark.parametrize("ratios", [(0.0, 0.0, 0.0), (0.0, 2.0, 0.5), (0.7, 1.3, 0.2), (3.0, 0.0, 40.0)])
def test_the_likelihood_equals_the_one_with_the_covariance_written_out(ratios):
    table = crossed(0, 12, 4, missing=0.3)
    owners = np.repeat(np.arange(4), 3)
    value, _, _ = _Layout.of(table, ~np.isnan(table), owners.astype(str)).evaluate(np.array(ratios))
    assert value == pytest.approx(dense_criterion(table, owners, ratios), abs=1e-9)


def test_no_neighbour_of_the_answer_is_more_likely():
    table, owners = crossed(1, 15, 4, missing=0.3), np.arange(15)
    found = variance_components(table)
    case, reader = found.between / found.residual, found.reader / found.residual
    best = dense_criterion(table, owners, (0.0, case, reader))
    for up in (0.98, 1.02):
        assert dense_criterion(table, owners, (0.0, case * up, reader)) > best
        assert dense_criterion(table, owners, (0.0, case, reader * up)) > best


def test_statsmodels_finds_the_same_variances_where_readings_are_missing():
    formula = pytest.importorskip("statsmodels.formula.api")
    pandas = pytest.importorskip("pandas")
    table = crossed(3, 25, 4, missing=0.25)
    case, reader = np.nonzero(~np.isnan(table))
    frame = pandas.DataFrame({"y": table[case, reader], "case": case, "reader": reader, "one": 1})
    parts = {"case": "0 + C(case)", "reader": "0 + C(reader)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a variance is near 0
        model = formula.mixedlm("y ~ 1", frame, groups="one", vc_formula=parts, re_formula="0")
        fit = model.fit(reml=True, method=["lbfgs", "powell"])
    found = variance_components(table)
    assert (found.between, found.reader, found.residual) == pytest.approx((*fit.vcomp, fit.scale), rel=0.02)
    assert found.mean == pytest.approx(float(fit.fe_params.iloc[0]), abs=0.01)


def test_profile_intervals_are_close_to_f_in_a_full_table():
    table = crossed(4, 80, 4)
    mixed, by_f = variance_components(table), icc(table).forms
    assert mixed.consistency_ci95 == pytest.approx(by_f["icc31"].ci95, abs=0.02)
    anonymous = variance_components(table, anonymous=True)
    assert anonymous.agreement_ci95 == pytest.approx(by_f["icc11"].ci95, abs=0.02)
    assert mixed.agreement_ci95[0] < mixed.agreement < mixed.agreement_ci95[1]


def test_missing_readings_leave_the_truth_in_the_interval():
    found = variance_components(crossed(5, 150, 5, missing=0.4), anonymous=True)
    truth = 1.0 / (1.0 + 0.36 + 0.25)
    assert found.agreement_ci95[0] < truth < found.agreement_ci95[1]
    assert found.n_readings < 600 and found.n_cases <= 150


def test_patients_with_several_cases_widen_the_interval():
    rng = np.random.default_rng(6)
    table = np.repeat(rng.normal(size=(12, 1)), 6, axis=0) + 0.2 * rng.normal(size=(72, 3))
    owners = [f"p{n // 6}" for n in range(72)]
    together, apart = variance_components(table, patients=owners), variance_components(table)
    assert together.n_patients == 12 and together.consistency_ci95[0] < apart.consistency_ci95[0]


def test_readers_who_never_differ_agree_completely():
    found = variance_components(np.tile(np.arange(4.0)[:, None], 3))
    assert (found.agreement, found.consistency, found.agreement_ci95) == (1.0, 1.0, None)
    assert found.reason == "the readers never differ"
    assert np.isnan(variance_components(np.ones((3, 2))).agreement)


def test_shifting_and_scaling_the_values_changes_no_correlation():
    table = crossed(7, 20, 3, missing=0.2)
    found, shifted = variance_components(table), variance_components(1000 + 50 * table)
    assert shifted.agreement == pytest.approx(found.agreement, abs=1e-6)
    assert shifted.agreement_ci95 == pytest.approx(found.agreement_ci95, abs=1e-4)


@pytest.mark.parametrize(
    "table", [np.zeros((0, 3)), np.ones((1, 3)), np.ones((4, 1)), np.array([[1.0, np.nan], [np.nan, 2.0]])]
)
def test_nothing_read_twice_has_no_components(table):
    assert variance_components(table) is None
