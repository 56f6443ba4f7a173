from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path
from skimage.draw import polygon2mask

from medseg.imaging.contours import crossings, rasterise
from medseg.imaging.outlines import outlines
from medseg.shapes import BoolArray, FloatArray

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def area(polygon: FloatArray) -> float:
    x, y = polygon.T
    return abs(0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))


def mask_of(*rows: str) -> BoolArray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_the_outline_of_a_pixel_is_its_edge() -> None:
    (square,) = outlines(mask_of("...", "..#"))
    assert sorted(map(tuple, square.tolist())) == [(0.5, 1.5), (0.5, 2.5), (1.5, 1.5), (1.5, 2.5)]


def test_an_empty_mask_has_no_outline() -> None:
    assert outlines(np.zeros((3, 4), dtype=bool)) == []


def test_straight_edges_have_no_points_between_their_corners() -> None:
    assert [len(each) for each in outlines(np.ones((30, 20), dtype=bool))] == [4]


def test_pixels_that_touch_at_a_corner_are_two_regions() -> None:
    assert len(outlines(mask_of("#.", ".#"))) == 2


def test_a_hole_is_joined_to_its_outline_by_a_channel_beside_the_pixel_centres() -> None:
    ring = np.ones((7, 7), dtype=bool)
    ring[2:5, 3:5] = False
    (keyhole,) = outlines(ring)
    assert len(keyhole) == 4 + 4 + 2  # the channel begins and ends at a point that is met twice
    assert (keyhole % 1 == 0.5).all()
    assert area(keyhole) == ring.sum()


@pytest.mark.parametrize(
    "mask",
    [
        mask_of("#####", "#...#", "#.#.#", "#...#", "#####"),  # an island in a hole
        mask_of("#######", "#.#.#.#", "#######"),  # holes in one line
        mask_of("####", "#.##", "##.#", "####"),  # holes that touch at a corner
        mask_of("#.##", "####", "#.##"),  # bays at the edge
    ],
)
def test_holes_islands_and_bays_come_back(mask: BoolArray) -> None:
    np.testing.assert_array_equal(rasterise(outlines(mask), mask.shape), mask)


@given(MASKS)
def test_filling_the_outlines_gives_the_mask_by_every_rule(mask: BoolArray) -> None:
    found = outlines(mask)
    even_odd = rasterise(found, mask.shape)
    union = np.logical_or.reduce(
        [rasterise([each], mask.shape) for each in found] or [np.zeros(mask.shape, dtype=bool)]
    )
    np.testing.assert_array_equal(even_odd, mask)
    np.testing.assert_array_equal(union, mask)
    assert sum(map(area, found)) == pytest.approx(mask.sum())
    assert not crossings(found, mask.shape)


@given(MASKS)
def test_other_programs_fill_the_outlines_with_the_mask_too(mask: BoolArray) -> None:
    centres = np.indices(mask.shape).reshape(2, -1).T
    skimage, matplotlib = (np.zeros(mask.shape, dtype=bool) for _ in range(2))
    for each in outlines(mask):
        skimage ^= polygon2mask(mask.shape, each)
        inside = Path(np.vstack([each, each[:1]]), closed=True).contains_points(centres)
        matplotlib ^= inside.reshape(mask.shape)
    np.testing.assert_array_equal(skimage, mask)
    np.testing.assert_array_equal(matplotlib, mask)
