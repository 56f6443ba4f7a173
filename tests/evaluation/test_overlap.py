"""Dice, IoU and volume from geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.evaluation.overlap import dice, iou, volume_ml

MASKS = arrays(np.bool_, (4, 3, 5))


def box(*corners: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[tuple(slice(*pair) for pair in corners)] = True
    return mask


def test_dice_of_disjoint_boxes_is_zero():
    assert dice(box((0, 2), (0, 2), (0, 2)), box((5, 7), (5, 7), (5, 7))) == 0.0


def test_half_a_box_scores_two_thirds_and_one_half():
    whole, half = box((0, 4), (0, 4), (0, 4)), box((0, 2), (0, 4), (0, 4))
    assert dice(whole, half) == pytest.approx(2 / 3)
    assert iou(whole, half) == pytest.approx(1 / 2)


def test_a_litre_has_a_thousand_millilitres():
    assert volume_ml(np.ones((10, 10, 10), dtype=bool), (10.0, 10.0, 10.0)) == pytest.approx(1000.0)


@settings(deadline=None, max_examples=30)
@given(MASKS, MASKS)
def test_overlap_is_symmetric_and_dice_follows_from_iou(a, b):
    d, i = dice(a, b), iou(a, b)
    assert dice(b, a) == pytest.approx(d, nan_ok=True)
    assert iou(b, a) == pytest.approx(i, nan_ok=True)
    assert np.isnan(d) if not (a.any() or b.any()) else d == pytest.approx(2 * i / (1 + i))


@settings(deadline=None, max_examples=30)
@given(MASKS, st.integers(0, 2))
def test_a_mask_agrees_with_itself_and_not_with_its_complement(mask, axis):
    if mask.any():
        assert dice(mask, mask) == 1.0
    if not mask.all() and mask.any():
        assert dice(mask, ~mask) == 0.0
