"""Surface distances from geometry, and what must never change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.surface import Surface, assd, hd95, nsd
from medseg.evaluation.surfels import cell_areas_mm2, cell_codes

MASKS = arrays(np.bool_, (5, 4, 6))
SPACING = (0.7, 1.3, 2.5)


def ball(radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    half = [int(np.ceil(radius_mm / step)) + 2 for step in spacing_mm]
    grid = np.meshgrid(*[np.arange(-n, n + 1) * step for n, step in zip(half, spacing_mm, strict=True)], indexing="ij")
    return np.linalg.norm(grid, axis=0) <= radius_mm


def test_a_slab_shifted_by_two_slices_lies_six_millimetres_away():
    a, b = np.zeros((2, 8, 8, 8), dtype=bool)
    a[:, :, 2], b[:, :, 4] = True, True
    assert hd95(a, b, (1.0, 1.0, 3.0)) == assd(a, b, (1.0, 1.0, 3.0)) == pytest.approx(6.0)
    # by area the slab has two sheets: the facing ones lie one slice apart, the others two
    assert nsd(a, b, (1.0, 1.0, 3.0), 2.9) == 0.0
    assert nsd(a, b, (1.0, 1.0, 3.0), 3.0) == pytest.approx(0.5)
    assert nsd(a, b, (1.0, 1.0, 3.0), 6.0) == 1.0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.0)])
def test_surfel_area_of_a_ball_is_a_little_above_four_pi_r_squared(spacing):
    area = Surface(ball(20.0, spacing), spacing).areas_mm2.sum()
    # half-way crossings make facets in few directions, so a smooth surface is measured too large, never too small
    assert 1.0 < area / (4 * np.pi * 20.0**2) < 1.15


def test_balls_that_differ_by_two_millimetres_lie_two_millimetres_apart():
    # the small ball centred in the same array as the large one
    large = ball(20.0, (1.0, 1.0, 1.0))
    small = np.pad(ball(18.0, (1.0, 1.0, 1.0)), 2)
    assert assd(large, small, (1.0, 1.0, 1.0)) == pytest.approx(2.0, abs=0.25)
    assert nsd(large, small, (1.0, 1.0, 1.0), 3.5) == 1.0


def test_the_edge_of_the_image_is_surface():
    full = np.ones((4, 4, 4), dtype=bool)
    assert len(Surface(full, (1.0, 1.0, 1.0)).border) == 64 - 8
    assert Surface(full, (1.0, 1.0, 1.0)).areas_mm2.sum() > 6 * 9


def test_a_plane_through_a_cell_has_the_area_of_a_face():
    lower_half = int(sum(1 << bit for bit in range(8) if bit % 2 == 0))  # the four corners with z = 0
    assert cell_areas_mm2((1.0, 1.0, 1.0))[lower_half] == pytest.approx(1.0)
    assert cell_areas_mm2((2.0, 3.0, 7.0))[lower_half] == pytest.approx(6.0)


def test_a_cell_and_its_complement_share_their_surface():
    areas = cell_areas_mm2(SPACING)
    np.testing.assert_allclose(areas, areas[::-1])
    assert areas[0] == areas[255] == 0.0 and (areas[1:255] > 0).all()


def test_one_voxel_touches_eight_cells():
    codes = cell_codes(np.ones((1, 1, 1), dtype=bool))
    assert sorted(codes.ravel()) == [1, 2, 4, 8, 16, 32, 64, 128]


@settings(deadline=None, max_examples=30)
@given(MASKS, MASKS)
def test_every_metric_is_in_range_and_symmetric_unless_it_says_directed(a, b):
    for metric in METRICS.values():
        value = metric(a, b, SPACING)
        assert metric.directed or metric(b, a, SPACING) == pytest.approx(value, nan_ok=True)
        low, high = metric.range
        assert np.isnan(value) or low <= value <= high + 1e-12


@settings(deadline=None, max_examples=20)
@given(MASKS, MASKS, st.tuples(*[st.integers(0, 3)] * 3))
def test_moving_both_masks_changes_nothing(a, b, shift):
    margins = [(step, 4 - step) for step in shift]
    centred = [(2, 2)] * 3
    for metric in METRICS.values():
        moved = metric(np.pad(a, margins), np.pad(b, margins), SPACING)
        assert moved == pytest.approx(metric(np.pad(a, centred), np.pad(b, centred), SPACING), nan_ok=True)


@settings(deadline=None, max_examples=20)
@given(MASKS.filter(np.any), MASKS.filter(np.any), st.sampled_from([0.5, 2.0, 10.0]))
def test_distances_scale_with_the_voxels_and_shares_do_not(a, b, factor):
    scaled = tuple(step * factor for step in SPACING)
    for key in ("hd95", "assd"):
        assert METRICS[key](a, b, scaled) == pytest.approx(factor * METRICS[key](a, b, SPACING))
    assert nsd(a, b, scaled, 2.0 * factor) == pytest.approx(nsd(a, b, SPACING, 2.0))


@settings(deadline=None, max_examples=20)
@given(MASKS.filter(np.any), MASKS.filter(np.any))
def test_nearest_distances_equal_brute_force(a, b):
    one, other = Surface(a, SPACING).border, Surface(b, SPACING).border
    brute = np.linalg.norm(one.mm[:, None] - other.mm[None], axis=2).min(axis=1)
    np.testing.assert_allclose(one.distances_to(other), brute, atol=1e-12)


def test_a_tolerance_is_met_despite_float32_spacing():
    a, b = np.zeros((2, 1, 1, 9), dtype=bool)
    a[..., 2], b[..., 4] = True, True
    spacing = float(np.float32(1.0000001))  # 2 voxels of a header are 2.0000002 mm
    assert nsd(a, b, (1.0, 1.0, spacing), 2.0) == 1.0
