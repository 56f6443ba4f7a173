"""Axes at right angles: what is left alone, what is projected, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import GeometryError
from medseg.imaging.cosines import orthonormal, skew_deg, squared
from medseg.imaging.geometry import Geometry

SHAPE = (40, 30, 20)


def leaning(xy: float = 0, xz: float = 0, yz: float = 0) -> Geometry:
    """Spacing about (1, 2, 3) and pairs of axes so many degrees off a right angle (exact for one pair alone)."""
    affine = np.eye(4)
    a, b, c = np.tan(np.radians([xy, xz, yz]))
    affine[:3, :3] = np.array([[1, a, b], [0, 1, c], [0, 0, 1]]) * (1.0, 2.0, 3.0)
    affine[:3, 3] = 5, 6, 7
    return Geometry(SHAPE, affine)


@pytest.mark.parametrize("pair", [0, 1, 2])
def test_the_skew_is_measured_for_each_pair_of_axes(pair):
    sheared = np.eye(4)
    sheared[(0, 0, 1)[pair], (1, 2, 2)[pair]] = np.tan(np.radians(18.5))
    expected = [0.0, 0.0, 0.0]
    expected[pair] = 18.5
    assert skew_deg(Geometry(SHAPE, sheared)) == pytest.approx(expected)


def test_rounding_is_left_as_it_is():
    geometry = leaning(yz=5e-5)
    assert squared(geometry) is geometry


@pytest.mark.parametrize("lean", [{"xy": 0.05}, {"xz": 0.09}, {"xy": 0.03, "xz": -0.03, "yz": 0.03}])
def test_a_small_lean_is_projected_to_right_angles(lean):
    before = leaning(**lean)
    after = squared(before)
    assert max(skew_deg(after)) < 1e-10
    assert after.spacing_mm == pytest.approx(before.spacing_mm) and after.origin_mm == before.origin_mm
    # two axes share the angle, so none turns by more than the lean itself
    turned = np.degrees(np.arccos(np.clip((after.direction * before.direction).sum(axis=0), -1, 1)))
    assert turned.max() <= 0.09


@pytest.mark.parametrize("angle", [0.11, 1.0, 18.5, 60.0])
def test_a_larger_shear_is_refused_with_its_degrees(angle):
    with pytest.raises(
        GeometryError, match=rf"scan: the axes are sheared; .* got Y-Z {angle:.3g} degrees off"
    ) as caught:
        squared(leaning(yz=angle), where="scan")
    assert "--tilt resample" in caught.value.do


@pytest.mark.parametrize("lean", [{"yz": 18.5}, {"xz": 20.0}, {"xz": 10.0, "yz": 10.0}])
def test_slices_that_are_shifted_against_each_other_are_kept_on_request(lean):
    geometry = leaning(**lean)
    assert squared(geometry, shear="keep") is geometry


@pytest.mark.parametrize("lean", [{"xy": 10.0, "xz": 10.0, "yz": 10.0}, {"yz": 50.0}])
def test_a_shear_that_no_gantry_makes_is_refused_even_on_request(lean):
    with pytest.raises(GeometryError, match="sheared as no gantry tilts"):
        squared(leaning(**lean), shear="keep")


@given(noise=st.lists(st.floats(-0.02, 0.02), min_size=9, max_size=9), flip=st.sampled_from([-1.0, 1.0]))
def test_the_nearest_right_angles_are_nearer_than_any_others_nearby(noise, flip):
    affine = np.diag([flip, 2.0, 3.0, 1.0])
    affine[:3, :3] = (np.eye(3) + np.reshape(noise, (3, 3))) @ affine[:3, :3]
    before = Geometry(SHAPE, affine)
    after = orthonormal(before)
    assert np.allclose(after.direction.T @ after.direction, np.eye(3), atol=1e-12)
    assert np.linalg.det(after.direction) * flip > 0
    assert np.allclose(
        after.direction.T @ before.direction, (after.direction.T @ before.direction).T
    )  # polar: symmetric
