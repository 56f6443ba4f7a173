"""Draws of patients: how they are cut, and that many columns at once say what one at a time does."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.bootstrap import (
    BCA_FROM,
    TAIL,
    bca_bounds,
    draw_counts,
    drawn_sums,
    studentised_bounds,
    tail_level,
)
from medseg.evaluation.statistics import mean_interval, mean_intervals


def test_every_draw_holds_as_many_patients_as_there_are():
    counts = np.concatenate(list(draw_counts(7, 1000, seed=1)))
    assert counts.shape == (1000, 7) and (counts.sum(axis=1) == 7).all()
    assert counts.mean() == 1.0 and counts.max() > 2


def test_blocks_do_not_change_the_draws(monkeypatch):
    whole = np.concatenate(list(draw_counts(6, 50, seed=3)))
    monkeypatch.setattr("medseg.evaluation.bootstrap.BLOCK", 24)
    assert (np.concatenate(list(draw_counts(6, 50, seed=3))) == whole).all()


def test_sums_of_ones_are_the_number_of_patients():
    assert (drawn_sums(np.ones((9, 2)), 20, seed=0) == 9).all()


def test_tails_are_cut_later_the_fewer_patients_there_are():
    levels = [tail_level(n) for n in (10, 20, 30, 49)]
    assert levels == sorted(levels) and levels[-1] < TAIL
    assert tail_level(BCA_FROM) < tail_level(500) < TAIL < 1.06 * tail_level(500)


@pytest.mark.parametrize("bounds", [studentised_bounds, bca_bounds])
def test_later_tails_give_a_wider_interval(bounds):
    values = -np.random.default_rng(0).exponential(size=(30, 2))
    low, high = bounds(values, 2000, 0)
    lower, higher = bounds(values, 2000, 0, 0.01)
    assert (lower < low).all() and (higher > high).all()


@pytest.mark.parametrize("bounds", [studentised_bounds, bca_bounds])
def test_bounds_move_and_stretch_with_the_values(bounds):
    values = np.random.default_rng(2).gamma(2.0, size=(25, 1))
    low, high = bounds(values, 1000, 5)
    moved = bounds(3 * values - 1, 1000, 5)
    assert np.allclose(moved, (3 * low - 1, 3 * high - 1))


def test_a_draw_of_one_value_only_is_infinitely_far():
    low, high = studentised_bounds(np.array([[0.0], [0.0], [1.0]]), 2000, 0)
    assert low[0] == -np.inf and high[0] == np.inf


@pytest.mark.parametrize("patients", [12, 49, 50, 80])
def test_columns_at_once_equal_columns_one_by_one(patients):
    table = np.random.default_rng(4).beta(8, 2, size=(patients, 5))
    for column, found in enumerate(mean_intervals(table, draws=1500, seed=2)):
        alone = mean_interval(table[:, column], draws=1500, seed=2)
        assert found.ci95 == pytest.approx(alone.ci95, abs=1e-12)
        assert (found.n, found.method) == (alone.n, alone.method)
        assert (found.mean, found.sd) == pytest.approx((alone.mean, alone.sd))


def test_more_columns_than_fit_at_once_change_nothing(monkeypatch):
    table = np.random.default_rng(4).normal(size=(20, 5))
    whole = mean_intervals(table, draws=500)
    monkeypatch.setattr("medseg.evaluation.bootstrap.COLUMNS", 2)
    parts = mean_intervals(table, draws=500)
    assert [i.ci95 for i in parts] == [pytest.approx(i.ci95) for i in whole]


def test_a_column_with_gaps_equals_its_known_values_alone():
    table = np.random.default_rng(6).normal(size=(60, 3))
    table[:15, 1] = np.nan
    first, second, _ = mean_intervals(table, draws=800, bounds=[(-5.0, 5.0)] * 3)
    assert (first.n, first.method, second.n, second.method) == (60, "bca", 45, "bootstrap-t")
    assert second.ci95 == pytest.approx(mean_interval(table[15:, 1], draws=800).ci95)


def test_empty_and_flat_columns_say_why_they_have_no_interval():
    table = np.array([[np.nan, 0.5, 0.1], [np.nan, 0.5, 0.4], [np.nan, 0.5, 0.2]])
    nothing, flat, few = mean_intervals(table, bounds=[(0.0, 1.0)] * 3)
    assert nothing.n == 0 and np.isnan(nothing.mean) and "fewer than two" in nothing.method
    assert flat.ci95 is None and flat.method == "none: all values equal"
    assert few.ci95 == (0.0, 1.0)  # a third of the draws of three values has no spread


def test_each_column_is_cut_to_its_own_bounds():
    values = np.array([0.1, 0.3, 0.2])
    first, second = mean_intervals(np.stack([values, values], axis=1), bounds=[(0.0, 1.0), (-2.0, 2.0)])
    assert (first.ci95, second.ci95) == ((0.0, 1.0), (-2.0, 2.0))


def test_a_table_without_columns_has_no_intervals():
    assert mean_intervals(np.zeros((5, 0))) == []
