"""Outlines as masks: numbers from geometry, from scikit-image, and from the rule itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import find_contours, grid_points_in_poly

from medseg.errors import GeometryError
from medseg.imaging.contour_gaps import Gap, interpolated, missing_slices
from medseg.imaging.contours import Crossing, crossings, rasterise, repeated, unite
from medseg.shapes import BoolArray, FloatArray

SLICE = (32, 24)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def disc(x: float, y: float, radius: float, points: int = 90) -> FloatArray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])


# ---- which pixels are inside


def test_pixels_whose_centres_lie_inside_are_marked() -> None:
    mask = rasterise([rectangle(2.5, 3.5, 5.5, 9.5)], SLICE)

    assert mask.shape == SLICE and mask.flags.f_contiguous
    assert mask[3:6, 4:10].all() and mask.sum() == 3 * 6


def test_a_centre_on_an_edge_belongs_to_the_side_towards_which_x_and_y_grow() -> None:
    mask = rasterise([rectangle(2, 3, 5, 9)], SLICE)

    assert mask[2:5, 3:9].all() and mask.sum() == 3 * 6


def test_regions_that_share_edges_share_no_pixel_and_leave_none_out() -> None:
    corners = ((2, 2, 10, 8), (10, 2, 20, 8), (2, 8, 10, 20), (10, 8, 20, 20))
    masks = [rasterise([rectangle(*corner)], SLICE) for corner in corners]

    assert np.array_equal(sum(mask.astype(int) for mask in masks), rasterise([rectangle(2, 2, 20, 20)], SLICE))


@pytest.mark.parametrize("seed", range(5))
def test_random_outlines_equal_scikit_image_where_no_centre_lies_on_an_edge(seed: int) -> None:
    random = np.random.default_rng(seed)
    outline = random.uniform(-4, 34, (60, 2))  # it crosses itself many times and leaves the slice

    assert np.array_equal(rasterise([outline], SLICE), grid_points_in_poly(SLICE, outline))


def test_an_outline_may_be_closed_by_its_first_point_or_not_and_run_either_way() -> None:
    outline = disc(15, 11, 8)

    mask = rasterise([outline], SLICE)

    assert np.array_equal(mask, rasterise([np.concatenate([outline, outline[:1]])], SLICE))
    assert np.array_equal(mask, rasterise([outline[::-1]], SLICE))


def test_rounding_far_below_a_pixel_decides_no_tie() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-9, (4, 2))

    assert np.array_equal(rasterise([rectangle(2, 3, 5, 9) + noise], SLICE), rasterise([rectangle(2, 3, 5, 9)], SLICE))


@pytest.mark.parametrize("outline", [rectangle(4.1, 4.1, 4.9, 4.9), np.array([[3.0, 3.0]]), rectangle(50, 1, 60, 9)])
def test_an_outline_around_no_centre_is_empty(outline: FloatArray) -> None:
    assert not rasterise([outline], SLICE).any()
    assert not rasterise([], SLICE).any()


# ---- several outlines on a slice


def test_contours_in_contours_are_holes_and_islands() -> None:
    nested = [rectangle(1.5, 1.5, 21.5, 21.5), rectangle(5.5, 5.5, 17.5, 17.5), rectangle(9.5, 9.5, 13.5, 13.5)]

    mask = rasterise(nested, SLICE)

    assert mask.sum() == 20 * 20 - 12 * 12 + 4 * 4
    assert mask[3, 3] and not mask[7, 7] and mask[11, 11]


@pytest.mark.parametrize("width", [0.0, 1e-3, 0.4])
def test_a_keyhole_is_a_hole_without_a_mark_wider_than_its_bridge(width: float) -> None:
    outer, inner = disc(12, 12, 9), disc(12, 12, 4)[::-1]
    bridge = np.array([[0, width], [0, width]])  # the way back lies beside the way in
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[1:], inner[:1] + bridge[:1], outer[:1] + bridge[:1]])

    lost = rasterise([outer, inner], SLICE) ^ rasterise([keyhole], SLICE)

    assert lost.any(axis=0).sum() <= (1 if width else 0)


@given(mask=st.integers(0, 2**35 - 1))
def test_outlines_traced_around_any_mask_give_the_mask_back(mask: int) -> None:
    cells = np.array([bool(mask >> bit & 1) for bit in range(35)]).reshape(7, 5)

    traced = [outline - 1 for outline in find_contours(np.pad(cells, 1).astype(float), 0.5)]

    assert np.array_equal(rasterise(traced, (7, 5)), cells)


def test_a_contour_written_twice_is_found_wherever_it_starts_and_whichever_way_it_runs() -> None:
    outline = disc(12, 12, 9)
    again = np.roll(outline[::-1], 17, axis=0)

    assert repeated([outline, disc(12, 12, 5), again, np.concatenate([outline, outline[:1]])], 0.01) == [2, 3]
    assert not repeated([outline, outline + 0.5], 0.01)


def test_contours_that_cross_are_named_with_the_pixels_they_share() -> None:
    outlines = [rectangle(1.5, 1.5, 9.5, 9.5), rectangle(20.5, 2.5, 28.5, 8.5), rectangle(6.5, 4.5, 13.5, 8.5)]

    assert crossings(outlines, SLICE) == [Crossing(0, 2, 3 * 4)]


def test_holes_islands_and_neighbours_do_not_cross() -> None:
    nested = [rectangle(1.5, 1.5, 21.5, 21.5), rectangle(5.5, 5.5, 17.5, 17.5), rectangle(9.5, 9.5, 13.5, 13.5)]

    assert crossings([*nested, rectangle(21.5, 1.5, 30.5, 9.5), rectangle(2, 2, 4, 4)], SLICE) == []


def test_an_overlap_of_one_pixel_in_width_is_rounding() -> None:
    assert crossings([rectangle(1.5, 1.5, 9.5, 9.5), rectangle(8.5, 1.5, 15.5, 9.5)], SLICE) == []


def test_two_outlines_around_the_same_pixels_cross() -> None:
    outlines = [rectangle(1.5, 1.5, 9.5, 9.5), rectangle(1.6, 1.6, 9.4, 9.4)]  # the even-odd rule would leave nothing

    assert crossings(outlines, SLICE) == [Crossing(0, 1, 64)]


def test_many_nested_contours_are_no_crossings_and_a_tangle_is_refused() -> None:
    nested = [rectangle(a + 0.5, a + 0.5, 200.5 - a, 200.5 - a) for a in range(99)]
    tangle = np.random.default_rng(0).uniform(0, 24, (200, 12, 2))

    assert crossings(nested, (201, 201)) == []
    with pytest.raises(GeometryError, match="cross one another too often"):
        crossings(list(tangle), SLICE)


def test_crossing_contours_can_be_united_while_others_stay_holes() -> None:
    outlines = [rectangle(1.5, 1.5, 9.5, 9.5), rectangle(6.5, 1.5, 15.5, 9.5), rectangle(2.5, 2.5, 4.5, 4.5)]

    mask = unite(outlines, crossings(outlines, SLICE), SLICE)

    assert mask.sum() == 14 * 8 - 2 * 2


# ---- slices without an outline

HEIGHTS = np.arange(20) * 3.0


def spheres(*centres_radii: tuple[float, float]) -> dict[int, BoolArray]:
    """Planes of spheres above one another at the given slice index and radius in slices."""
    planes = {}
    for index in range(len(HEIGHTS)):
        squares = [radius**2 - (index - centre) ** 2 for centre, radius in centres_radii]
        if (largest := max(squares)) > 0:
            planes[index] = rasterise([disc(12, 12, 2 * largest**0.5)], SLICE)
    return planes


def test_a_slice_left_out_of_an_object_is_missing() -> None:
    planes = spheres((8, 4.5))
    del planes[8]

    assert [gap.slices for gap in missing_slices(planes, HEIGHTS)] == [(8,)]


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_structure_drawn_on_every_nth_slice_misses_all_between(step: int) -> None:
    planes = {index: plane for index, plane in spheres((9, 8.5)).items() if not index % step}

    gaps = missing_slices(planes, HEIGHTS)

    assert [gap.above - gap.below for gap in gaps] == [step] * (len(planes) - 1)


def test_two_lesions_above_one_another_miss_nothing() -> None:
    assert missing_slices(spheres((4, 3.4), (14, 3.4)), HEIGHTS) == []


def test_a_block_of_slices_cut_out_of_an_object_is_missing() -> None:
    planes = {index: plane for index, plane in spheres((9, 8.5)).items() if not 6 < index < 12}

    assert [(gap.below, gap.above) for gap in missing_slices(planes, HEIGHTS)] == [(6, 12)]


def test_outlines_beside_one_another_are_two_objects() -> None:
    planes = {2: rasterise([rectangle(1, 1, 5, 5)], SLICE), 4: rasterise([rectangle(9, 9, 15, 15)], SLICE)}

    assert missing_slices(planes, HEIGHTS) == []


def beside(*slices: int) -> dict[int, BoolArray]:
    """A long structure on slices 2 to 12, and a small one beside it on the slices given."""
    long, small = rasterise([rectangle(1, 1, 9, 9)], SLICE), rasterise([rectangle(20, 8, 26, 14)], SLICE)
    return {index: long | small if index in slices else long for index in range(2, 13)}


def test_a_part_left_out_where_another_part_is_drawn_is_missing() -> None:
    (gap,) = missing_slices(beside(5, 6, 8, 9), HEIGHTS)

    assert gap.slices == (7,) and [int(outline.sum()) for outline in gap.outlines] == [36, 36]
    assert interpolated(gap, HEIGHTS, (1.0, 1.0))[7].sum() == 36


def test_a_part_that_ends_where_another_part_is_drawn_misses_nothing() -> None:
    assert missing_slices(beside(5, 6, 7), HEIGHTS) == []
    assert missing_slices(beside(3, 4, 9, 10), HEIGHTS) == []  # 15 mm on, seen by the reader and left empty


def test_a_stray_outline_does_not_hide_that_a_slice_is_missing() -> None:
    planes = spheres((8, 4.5))
    planes[8] = rasterise([rectangle(0.5, 0.5, 1.5, 1.5)], SLICE)

    assert [gap.slices for gap in missing_slices(planes, HEIGHTS)] == [(8,)]


def test_a_structure_without_outlines_has_no_gaps() -> None:
    assert missing_slices({}, HEIGHTS) == []
    assert missing_slices({3: np.zeros(SLICE, dtype=bool), 5: np.zeros(SLICE, dtype=bool)}, HEIGHTS) == []


def radius(mask: BoolArray) -> float:
    return float(np.sqrt(mask.sum() / np.pi))


def test_slices_between_two_discs_are_filled_with_discs_of_radii_between() -> None:
    planes = {0: rasterise([disc(60.3, 59.6, 20)], (128, 128)), 4: rasterise([disc(60.3, 59.6, 50)], (128, 128))}

    made = interpolated(Gap(0, 4, (planes[0], planes[4])), HEIGHTS, (1.0, 1.0))

    assert [radius(made[index]) for index in (1, 2, 3)] == pytest.approx([27.5, 35, 42.5], abs=0.25)


def test_filling_follows_the_heights_of_uneven_slices() -> None:
    planes = {0: rasterise([disc(60.3, 59.6, 20)], (128, 128)), 2: rasterise([disc(60.3, 59.6, 50)], (128, 128))}

    made = interpolated(Gap(0, 2, (planes[0], planes[2])), np.array([0, 1, 6.0]), (1.0, 1.0))

    assert radius(made[1]) == pytest.approx(25, abs=0.25)


def test_between_equal_outlines_there_is_the_same_outline() -> None:
    plane = rasterise([disc(12, 12, 9), rectangle(9.5, 9.5, 11.5, 15.5)], SLICE)

    assert np.array_equal(interpolated(Gap(0, 2, (plane, plane)), HEIGHTS, (0.7, 1.3))[1], plane)


def test_a_region_without_counterpart_shrinks_away_inside_the_gap() -> None:
    both = rasterise([disc(8, 12, 4), disc(24, 12, 4)], SLICE)
    one = rasterise([disc(8, 12, 4)], SLICE)

    made = interpolated(Gap(0, 3, (both, one)), HEIGHTS, (1.0, 1.0))

    assert made[1][8, 12] and made[2][8, 12] and not made[2][24, 12]
