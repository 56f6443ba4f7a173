"""Outliers: told by a rule that few odd values cannot bend."""

from __future__ import annotations

import pytest

from medseg.evaluation.outliers import find_outliers


def named(*values: float) -> dict[str, float]:
    return {str(place): value for place, value in enumerate(values)}


def test_the_modified_z_score_of_the_logarithm_is_that_of_iglewicz_and_hoaglin() -> None:
    found = find_outliers(named(1, 1, 2, 2, 4, 4, 4, 8, 8, 16, 1000))

    # log2: 0 0 1 1 2 2 2 3 3 4 9.97; median 2, median distance 1, so 0.6745 x 7.97 = 5.37
    assert found.keys() == {"10"}
    assert found["10"].median == pytest.approx(4)
    assert found["10"].score == pytest.approx(5.37, abs=0.01)


def test_small_values_stand_apart_as_large_ones_do() -> None:
    assert find_outliers(named(1, 1, 2, 2, 4, 4, 4, 8, 8, 16, 1 / 64)).keys() == {"10"}


def test_a_rounding_among_equal_values_is_no_outlier() -> None:
    assert find_outliers(named(*[0.7] * 9, 0.703)) == {}


def test_two_odd_values_of_ten_do_not_hide_each_other() -> None:
    assert find_outliers(named(*[1.0, 1.1, 1.2, 0.9] * 2, 5, 6)).keys() == {"8", "9"}


@pytest.mark.parametrize("count", [0, 1, 7])
def test_fewer_than_eight_values_have_no_outlier(count: int) -> None:
    assert find_outliers(named(*[1.0] * (count - 1), 100)) == {}


def test_values_that_are_no_sizes_are_left_out() -> None:
    assert find_outliers(named(*[1.0] * 8, 0.0, -3.0, float("nan"), float("inf"))) == {}
