import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.evaluation.dose_response_way import flipped, partner, scaled, shifted, still, swapped, thicker, turned
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.resample import AIR_HU

NAMES = LabelSet({"background": 0, "left": 1, "right": 2}, (("left", "right"),))
RAS = Geometry((8, 6, 4), np.diag([2.0, 2.0, 2.0, 1.0]))
LPS = Geometry((8, 6, 4), np.diag([-2.0, -2.0, 3.0, 1.0]))


def image(grid: Geometry, seed: int = 0):
    return np.random.default_rng(seed).normal(0, 100, grid.shape).astype(np.float32)


def labels(grid: Geometry):
    found = np.zeros(grid.shape, dtype=np.uint8)
    found[1:3, 1:4, 1:3], found[5:7, 1:4, 1:3] = 1, 2
    return found


def test_a_quarter_turn_about_the_axis_from_foot_to_head_is_rot90():
    grid = Geometry((6, 6, 4), np.eye(4))
    hu = image(grid)
    way = turned(grid, 2, 90.0)
    np.testing.assert_array_equal(way.there(hu), np.rot90(hu, axes=(0, 1)))


def test_a_half_turn_of_an_anisotropic_grid_reverses_two_axes():
    hu = image(LPS)
    np.testing.assert_allclose(turned(LPS, 0, 180.0).there(hu), hu[:, ::-1, ::-1], atol=1e-3)


def test_a_turn_loses_no_voxel():
    way = turned(RAS, 1, 33.0)
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in RAS.shape]), axis=-1).reshape(-1, 3)
    places = way.canvas.index(way.moved.world(corners))
    assert (places >= -0.5 - 1e-6).all()
    assert (places <= np.array(way.canvas.shape) - 0.5 + 1e-6).all()


def test_the_canvas_is_the_cases_own_lattice():
    way = turned(LPS, 2, 20.0)
    first = LPS.index(way.canvas.world(np.zeros((1, 3))))
    np.testing.assert_allclose(first, np.rint(first), atol=1e-6)
    assert way.canvas.spacing_mm == pytest.approx(LPS.spacing_mm)


def test_a_shift_by_whole_voxels_comes_back_voxel_for_voxel():
    way = shifted(RAS, 0, 6.0)  # three voxels
    assert way.canvas.shape == (11, 6, 4)
    np.testing.assert_array_equal(way.there(image(RAS))[3:], image(RAS))
    assert (way.there(image(RAS))[:3] == AIR_HU).all()
    np.testing.assert_array_equal(way.back(way.labels_there(labels(RAS), NAMES), NAMES), labels(RAS))


def test_a_shift_is_rounded_to_whole_voxels_and_blurs_nothing():
    np.testing.assert_array_equal(shifted(RAS, 0, 6.9).there(image(RAS))[3:], image(RAS))
    assert shifted(RAS, 0, 0.9).is_still


def test_a_shift_to_the_right_goes_against_the_first_axis_of_an_lps_grid():
    way = shifted(LPS, 0, 4.0)
    np.testing.assert_array_equal(way.there(image(LPS))[:8], image(LPS))


def test_twice_the_size_is_eight_times_the_voxels_and_comes_back():
    way = scaled(RAS, 2.0)
    there = way.labels_there(labels(RAS), NAMES)
    assert (there == 1).sum() == 8 * (labels(RAS) == 1).sum()
    np.testing.assert_array_equal(way.back(there, NAMES), labels(RAS))


def test_half_the_size_keeps_the_field_of_view():
    assert scaled(RAS, 0.5).canvas.shape == RAS.shape


@pytest.mark.parametrize("grid", [RAS, LPS], ids=["RAS", "LPS"])
def test_a_left_right_flip_reverses_the_axis_and_swaps_the_names(grid):
    way = flipped(grid, 0, 1)
    np.testing.assert_array_equal(way.there(image(grid)), image(grid)[::-1])
    np.testing.assert_array_equal(way.labels_there(labels(grid), NAMES), swapped(labels(grid)[::-1], NAMES))
    np.testing.assert_array_equal(way.back(way.labels_there(labels(grid), NAMES), NAMES), labels(grid))


def test_a_flip_from_front_to_back_keeps_the_names():
    np.testing.assert_array_equal(flipped(RAS, 1, 1).labels_there(labels(RAS), NAMES), labels(RAS)[:, ::-1])


def test_a_flip_at_dose_0_is_still():
    assert flipped(RAS, 0, 0).is_still


def test_thicker_slices_cover_the_same_field_of_view_from_the_same_border():
    way = thicker(RAS, 5.0)  # four slices of 2 mm become two of 5 mm
    assert way.canvas.shape == (8, 6, 2)
    border = way.canvas.world(np.array([[0.0, 0.0, -0.5]]))
    np.testing.assert_allclose(border, RAS.world(np.array([[0.0, 0.0, -0.5]])))
    assert way.canvas.spacing_mm == pytest.approx((2, 2, 5))


def test_slices_as_thick_already_stay():
    assert thicker(RAS, 2.0).is_still


def test_labels_of_another_shape_than_the_canvas_are_refused():
    with pytest.raises(GeometryError, match="do not lie on the grid that the model was given"):
        turned(RAS, 2, 45.0).back(labels(RAS), NAMES)


def test_the_way_of_nothing_is_still_and_gives_labels_as_they_are():
    assert still(RAS).is_still
    assert still(RAS).back(labels(RAS), NAMES) is not None
    np.testing.assert_array_equal(still(RAS).back(labels(RAS), NAMES), labels(RAS))


def test_a_structure_without_a_pair_is_its_own_partner():
    names = LabelSet({"background": 0, "liver": 1})
    assert partner("liver", names) == "liver"
    assert partner("right", NAMES) == "left"


def test_the_description_is_enough_to_place_the_canvas():
    way = turned(RAS, 2, 30.0)
    told = way.described()
    again = Geometry(tuple(told["canvas"]["shape"]), np.array(told["canvas"]["affine"]))
    assert not again.differences(way.canvas)
