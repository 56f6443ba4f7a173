"""Which voxels count: a ball in millimetres around the union, cut at the image."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import GeometryError, UsageError
from medseg.evaluation.domain import WHOLE, Domain, dilate, union_box


def scattered(order: Literal["C", "F"], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((23, 31, 17), dtype=bool)
    mask[tuple(rng.integers(0, n, 3) for n in mask.shape)] = True
    return np.asarray(mask, order=order)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("spacing_mm", "margin_mm"),
    [((1.0, 1.0, 1.0), 5.0), ((0.78, 0.78, 3.0), 4.0), ((5.0, 0.7, 0.7), 3.0), ((0.5, 2.0, 1.5), 40.0)],
)
def test_dilation_equals_the_exact_distance_transform(order, spacing_mm, margin_mm):
    mask = scattered(order)
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= margin_mm + 1e-9
    assert (dilate(mask, spacing_mm, margin_mm) == expected).all()


def test_a_voxel_exactly_at_the_margin_belongs_to_it():
    mask = np.zeros((1, 1, 200), dtype=bool)
    mask[0, 0, 0] = True
    assert dilate(mask, (1.0, 1.0, 0.1), 10.0).sum() == 101  # 100 steps of 0.1 mm, which has no exact binary form


def test_a_margin_below_the_spacing_adds_nothing_across_thick_slices():
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[2, 2, 2] = True
    assert dilate(mask, (1.0, 1.0, 3.0), 2.0).any(axis=(0, 1)).tolist() == [False, False, True, False, False]
    assert (dilate(mask, (1.0, 1.0, 3.0), 0.0) == mask).all()


def test_a_margin_wider_than_the_image_takes_all_of_it():
    assert dilate(scattered("C"), (1.0, 1.0, 1.0), 1e9).all()


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.0, 1.0), (1.0, -2.0, 1.0), (1.0, np.nan, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing_mm):
    with pytest.raises(GeometryError, match="three lengths above 0 mm"):
        dilate(scattered("C"), spacing_mm, 5.0)


def test_an_empty_mask_stays_empty():
    assert not dilate(np.zeros((4, 4, 4), dtype=bool), (1.0, 1.0, 1.0), 10.0).any()


def test_the_box_grows_by_whole_voxels_and_ends_at_the_image():
    box = (slice(10, 12), slice(1, 3), slice(4, 5))
    assert Domain(5.0).box(box, (40, 40, 5), (2.0, 1.0, 1.0)) == (slice(8, 14), slice(0, 8), slice(0, 5))
    assert WHOLE.box(None, (40, 40, 5), (1.0, 1.0, 1.0)) is None


def test_the_union_of_boxes_leaves_out_who_marked_nothing():
    a, b = (slice(0, 2), slice(5, 6), slice(1, 2)), (slice(1, 9), slice(2, 3), slice(1, 2))
    assert union_box([a, None, b]) == (slice(0, 9), slice(2, 6), slice(1, 2))
    assert union_box([None]) is None


@pytest.mark.parametrize("margin_mm", [-1.0, np.nan, np.inf])
def test_a_margin_that_is_no_distance_is_refused(margin_mm):
    with pytest.raises(UsageError, match="0 mm or more"):
        Domain(margin_mm)
