"""Dice, IoU and volume from geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.overlap import Overlap, dice, iou, overlap, volume_ml

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


# ---- volumes and shares of one mask


def counted(reference: int, prediction: int, common: int) -> Overlap:
    return Overlap(reference, prediction, common, voxel_ml=0.001)


def test_shares_and_volume_differences_by_hand():
    found = counted(8, 12, 6)
    assert (found.sensitivity, found.precision) == (6 / 8, 6 / 12)
    assert found.volumetric_similarity == pytest.approx(1 - 4 / 20)
    assert found.volume_difference == pytest.approx(0.004)
    assert found.relative_volume_difference == pytest.approx(4 / 8)
    assert found.symmetric_volume_difference == pytest.approx(4 / 10)


def test_dice_is_the_harmonic_mean_of_sensitivity_and_precision():
    found = counted(80, 123, 61)
    assert found.dice == pytest.approx(2 / (1 / found.sensitivity + 1 / found.precision))


def test_a_missed_structure_has_no_precision_and_a_false_one_no_sensitivity():
    missed, invented = counted(5, 0, 0), counted(0, 5, 0)
    assert (missed.sensitivity, invented.precision) == (0.0, 0.0)
    assert np.isnan([missed.precision, invented.sensitivity, invented.relative_volume_difference]).all()
    assert (missed.symmetric_volume_difference, invented.symmetric_volume_difference) == (-2.0, 2.0)
    assert missed.volumetric_similarity == 0.0 and missed.relative_volume_difference == -1.0


@pytest.mark.parametrize("name", ["P01_identical_cube", "P07_onevoxel_in_cube", "P09_second_empty", "P10_first_empty"])
def test_relative_volume_differences_equal_the_golden_ones(golden, masks, name):
    expected = golden["pairs"][name]["brute"]["rvd"]
    found = METRICS["relative_volume_difference"](masks[f"{name}/a"], masks[f"{name}/b"], (1.0, 1.0, 1.0))
    assert found == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_volumes_equal_those_of_simpleitk(masks):
    import SimpleITK as sitk

    a, b = masks["lidc_L1/rater1"], masks["lidc_L1/rater2"]
    peer = sitk.LabelOverlapMeasuresImageFilter()
    peer.Execute(*(sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (a, b)))
    found = overlap(a, b)
    assert found.iou == pytest.approx(peer.GetJaccardCoefficient())
    assert found.symmetric_volume_difference == pytest.approx(-peer.GetVolumeSimilarity())  # ITK: first minus second
    assert found.precision == pytest.approx(1 - peer.GetFalseNegativeError(1))  # of ITK's second image
