"""Points in the plane from distances: by geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluation.embedding import classical_scaling, disagreement, embed
from medseg.evaluation.pairwise import PairwiseMatrix


def between(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None, :], axis=-1)


def matrix(scores: np.ndarray, metric: str = "dice") -> PairwiseMatrix:
    scores = np.array(scores, dtype=float)
    np.fill_diagonal(scores, np.nan)
    number = np.isfinite(scores).astype(np.int64)
    return PairwiseMatrix("x", metric, tuple("ABCDEF"[: len(scores)]), scores, number, number, "rule")


@given(st.integers(0, 10_000), st.integers(3, 7))
def test_points_of_a_plane_come_back_with_their_distances(seed, number):
    points = np.random.default_rng(seed).normal(size=(number, 2))
    found, share = classical_scaling(between(points))
    assert between(found) == pytest.approx(between(points), abs=1e-6) and share == pytest.approx(1.0)


def test_moving_and_mirroring_the_points_changes_nothing():
    points = np.random.default_rng(0).normal(size=(5, 2))
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    found, _ = classical_scaling(between(points))
    assert classical_scaling(between(points @ turn * [1, -1] + 7))[0] == pytest.approx(found, abs=1e-9)


def test_the_name_farthest_out_lies_on_the_positive_side():
    found, _ = classical_scaling(between(np.array([[0.0], [1.0], [5.0]])))
    assert found[:, 0] == pytest.approx([-2.0, -1.0, 3.0]) and found[:, 1] == pytest.approx(0.0)


def test_two_names_lie_on_a_line_and_the_first_on_the_positive_side():
    found = embed(matrix([[1, 0.8], [0.8, 1]]))
    assert found.points["A"] == pytest.approx((0.1, 0.0)) and found.points["B"] == pytest.approx((-0.1, 0.0))
    assert found.stress == pytest.approx(0.0, abs=1e-9)


def test_an_equilateral_triangle_is_drawn_with_its_sides():
    found = embed(matrix(np.full((3, 3), 0.7)))
    sides = between(np.array(list(found.points.values())))
    assert sides == pytest.approx(0.3 * (1 - np.eye(3)), abs=1e-5) and found.stress == pytest.approx(0, abs=1e-5)
    assert found.points["A"][0] == max(x for x, _ in found.points.values())


def test_equal_distances_are_drawn_by_the_order_of_the_names_and_not_by_rounding():
    rng = np.random.default_rng(0)
    plain, noisy = np.full((4, 4), 0.7), np.full((4, 4), 0.7) + 1e-15 * rng.normal(size=(4, 4))
    noisy = (noisy + noisy.T) / 2
    for name, place in embed(matrix(plain)).points.items():
        assert embed(matrix(noisy)).points[name] == pytest.approx(place, abs=1e-6)


def test_a_tetrahedron_does_not_fit_into_a_plane_and_the_stress_says_so():
    assert embed(matrix(np.full((4, 4), 0.7))).stress > 0.1


def test_an_average_model_lies_between_the_readers():
    scores = np.full((4, 4), 0.7)
    scores[3, :3] = scores[:3, 3] = 1 - 0.3 / np.sqrt(3)
    found = embed(matrix(scores))
    assert found.points["D"] == pytest.approx((0.0, 0.0), abs=1e-6)


def test_distances_are_used_as_they_are():
    assert disagreement(matrix([[0, 4.0], [4.0, 0]], "hd95"))[0, 1] == 4.0
    assert embed(matrix([[0, 4.0], [4.0, 0]], "hd95")).points["A"] == pytest.approx((2.0, 0.0))


def test_readers_who_shared_no_case_are_placed_over_a_third_and_named():
    scores = np.array([[1, 0.9, np.nan], [0.9, 1, 0.8], [np.nan, 0.8, 1]])
    found = embed(matrix(scores))
    assert found.filled == (("A", "C"),)
    assert np.hypot(*np.subtract(found.points["A"], found.points["C"])) == pytest.approx(0.3)


def test_readers_who_cannot_be_reached_leave_no_picture():
    found = embed(matrix([[1, 0.9, np.nan], [0.9, 1, np.nan], [np.nan, np.nan, 1]]))
    assert found.points == {} and "no case" in found.reason and np.isnan(found.stress)
    assert embed(matrix([[1.0]])).reason


def test_identical_readings_lie_on_one_spot():
    found = embed(matrix(np.ones((3, 3))))
    assert set(found.points.values()) == {(0.0, 0.0)} and found.stress == 0.0
