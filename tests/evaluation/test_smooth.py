"""Intervals of functions of patient means: against Student's t, by symmetry, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.smooth import smooth_interval


def first(mean: np.ndarray) -> np.ndarray:
    return mean[..., 0]


def test_the_interval_of_a_mean_is_close_to_students():
    values = np.random.default_rng(0).normal(size=(200, 1))
    low, high = smooth_interval(values, first, draws=5000, seed=0) or (0.0, 0.0)
    expected = stats.t.interval(0.95, 199, values.mean(), stats.sem(values[:, 0]))
    assert (low, high) == pytest.approx(expected, abs=0.03)


def test_a_linear_function_of_two_columns_is_the_mean_of_that_sum():
    pairs = np.random.default_rng(1).normal(size=(40, 2))
    both = smooth_interval(pairs, lambda mean: 2 * mean[..., 0] - mean[..., 1], draws=2000, seed=3)
    alone = smooth_interval(pairs @ [[2.0], [-1.0]], first, draws=2000, seed=3)
    assert both == pytest.approx(alone, abs=1e-9)


def test_the_interval_of_a_standard_deviation_covers_where_patients_are_few():
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(100):
        values = rng.normal(size=(20, 1))
        columns = np.concatenate([values, values**2], axis=1)
        found = smooth_interval(
            columns, lambda mean: np.log(mean[..., 1] - mean[..., 0] ** 2) / 2, draws=400, seed=trial
        )
        hits += found is not None and found[0] < 0 < found[1]
    assert 88 <= hits <= 99


@pytest.mark.parametrize("columns", [np.ones((1, 1)), np.ones((9, 1)), np.zeros((0, 1))])
def test_one_patient_or_no_spread_has_no_interval(columns):
    assert smooth_interval(columns, first, draws=200, seed=0) is None


def test_a_column_without_spread_takes_no_part():
    values = np.random.default_rng(4).normal(size=(30, 1))
    padded = np.concatenate([values, np.full((30, 1), 7.0)], axis=1)
    both = smooth_interval(padded, lambda mean: mean[..., 0] * mean[..., 1], draws=500, seed=0)
    alone = smooth_interval(values * 7, first, draws=500, seed=0)
    assert both == pytest.approx(alone)
