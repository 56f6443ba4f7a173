"""Implicit surfaces measured where geometry gives the answer."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.phantom.shapes import ellipsoid, rotation, smooth_field, smooth_union, superellipse_tube
from medseg.shapes import FloatArray


def at(*points: tuple[float, float, float]) -> FloatArray:
    """Points as an array (3, N, 1, 1)."""
    return np.array(points, dtype=np.float32).T.reshape(3, -1, 1, 1)


def test_the_distance_to_a_ball_is_exact_everywhere(points_mm: FloatArray) -> None:
    centre = np.array([3.0, -4.0, 5.0])

    distance = ellipsoid(points_mm, (3.0, -4.0, 5.0), (20, 20, 20))

    exact = np.linalg.norm(points_mm - centre.reshape(3, 1, 1, 1), axis=0) - 20
    assert np.allclose(distance, exact, atol=1e-3)


def test_the_centre_of_an_ellipsoid_is_inside() -> None:
    assert ellipsoid(at((1, 2, 3)), (1, 2, 3), (10, 20, 30)).item() == pytest.approx(-10)


def test_an_ellipsoid_is_zero_at_the_ends_of_its_axes_and_steep_by_one() -> None:
    ends = ellipsoid(at((10, 0, 0), (0, 20, 0), (0, 0, -30)), (0, 0, 0), (10, 20, 30))
    further = ellipsoid(at((10.1, 0, 0), (0, 20.1, 0), (0, 0, -30.1)), (0, 0, 0), (10, 20, 30))

    assert ends.ravel() == pytest.approx([0, 0, 0], abs=1e-4)
    assert further.ravel() == pytest.approx([0.1, 0.1, 0.1], rel=0.02)


def test_an_infinite_radius_makes_a_cylinder() -> None:
    distance = ellipsoid(at((15, 0, 0), (0, 15, 900), (0, 4, -900)), (0, 0, 0), (10, 10, float("inf")))

    assert distance.ravel() == pytest.approx([5, 5, -6], abs=1e-3)


def test_a_turned_ellipsoid_points_along_the_turned_axis() -> None:
    tip = rotation((0, 0, 90)) @ [30, 0, 0]

    assert tip == pytest.approx([0, 30, 0], abs=1e-9)
    assert ellipsoid(at(tuple(tip)), (0, 0, 0), (30, 10, 10), (0, 0, 90)).item() == pytest.approx(0, abs=1e-3)


def test_a_tube_of_power_two_and_equal_axes_is_a_cylinder() -> None:
    width = np.full((2, 1, 1), 50.0, dtype=np.float32)

    assert superellipse_tube(at((30, 40, 7), (60, 0, 0)), width, width, 2.0).ravel() == pytest.approx([0, 10], abs=1e-3)


def test_a_smooth_union_equals_the_nearer_shape_away_from_the_seam_and_swells_on_it() -> None:
    first, second = np.array([-5.0, 8.0, 1.0]), np.array([9.0, -6.0, 1.0])

    assert smooth_union(first, second, 4.0) == pytest.approx([-5, -6, 1 - 4 / 4])


def test_a_random_field_has_the_deviation_asked_for() -> None:
    field = smooth_field(np.random.default_rng(0), (20, 16, 12), (5, 4, 3), 1.5)

    assert field.shape == (20, 16, 12)
    assert field.std() == pytest.approx(1.5, rel=1e-4)


def test_a_field_of_deviation_zero_is_zero() -> None:
    assert not smooth_field(np.random.default_rng(0), (6, 6, 6), (3, 3, 3), 0.0).any()
