"""Lesions found, matched and counted: by geometry."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.instances import LesionRule, case_lesions, find_lesions, lesion_pair, lesion_pairs, match_lesions
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

UNIT = (1.0, 1.0, 1.0)


def boxes(*starts: int, length: int = 4, size: int = 60) -> np.ndarray:
    """Bars of `length` voxels that begin at `starts`."""
    mask = np.zeros((size, 3, 3), dtype=bool)
    for start in starts:
        mask[start : start + length, 1, 1] = True
    return mask


def test_voxels_that_share_a_corner_are_one_lesion():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    assert sorted(find_lesions(mask, UNIT).voxels) == [1, 2]


def test_equal_masks_match_lesion_by_lesion():
    found = lesion_pair(boxes(0, 10, 20), boxes(0, 10, 20), UNIT)
    assert found.matches == ((0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0))
    assert (found.f1, found.segmentation_quality, found.panoptic_quality) == (1.0, 1.0, 1.0)


def test_an_unmatched_lesion_is_a_miss_or_a_false_positive():
    found = lesion_pair(boxes(0, 10, 20), boxes(0, 12, 30, 40), UNIT)  # IoU 1, 2 of 6, 0
    assert [iou for _, _, iou in found.matches] == pytest.approx([1.0, 1 / 3])
    assert (found.f1, found.sensitivity("reference")) == pytest.approx((4 / 7, 2 / 3))
    assert found.false_positives("reference") == 2 and found.false_positives("prediction") == 1
    assert found.panoptic_quality == pytest.approx((1 + 1 / 3) / (2 + 0.5 * 2 + 0.5 * 1))


def test_an_overlap_at_the_threshold_is_no_match():
    reference, prediction = boxes(0, length=10), boxes(9, length=1)  # IoU 1 of 10
    assert lesion_pair(reference, prediction, UNIT).f1 == 0.0
    assert lesion_pair(reference, prediction, UNIT, rule=LesionRule(iou=0.09)).f1 == 1.0


def test_the_matching_is_the_best_of_all_and_not_greedy():
    reference = boxes(3, length=10) | boxes(15, length=6)
    prediction = boxes(0, length=7) | boxes(8, length=10)  # the second overlaps the first lesion most, 5 of 15
    found = lesion_pair(reference, prediction, UNIT)
    assert [match[:2] for match in found.matches] == [(0, 0), (1, 1)]
    assert [iou for _, _, iou in found.matches] == pytest.approx([4 / 13, 3 / 13])


@pytest.mark.parametrize("seed", range(8))
def test_no_other_matching_has_a_larger_sum(seed):
    rng = np.random.default_rng(seed)
    a, b = (find_lesions(np.repeat(rng.random((18, 1, 1)) < 0.6, 3, axis=1), UNIT) for _ in range(2))
    matched = match_lesions(a, b, LesionRule(0.0))
    table = np.zeros((len(a.voxels), len(b.voxels)))
    for i, j in np.ndindex(table.shape):
        one, two = set(a.where[a.number == i]), set(b.where[b.number == j])
        table[i, j] = len(one & two) / len(one | two)
    small = table if table.shape[0] <= table.shape[1] else table.T
    best = max(small[range(len(small)), columns].sum() for columns in permutations(range(small.shape[1]), len(small)))
    assert sum(iou for _, _, iou in matched) == pytest.approx(best)


def test_no_lesion_in_both_agrees_and_in_one_disagrees():
    empty = boxes()
    both, missed, invented = (
        lesion_pair(*masks, UNIT) for masks in [(empty, empty), (boxes(3), empty), (empty, boxes(3))]
    )
    assert (both.f1, both.panoptic_quality) == (1.0, 1.0) and np.isnan(both.sensitivity("reference"))
    assert (missed.f1, missed.panoptic_quality, missed.sensitivity("reference")) == (0.0, 0.0, 0.0)
    assert (invented.f1, invented.false_positives("reference")) == (0.0, 1.0)
    assert np.isnan(missed.segmentation_quality)


def test_who_did_not_read_is_missing_and_has_no_score():
    (pair,) = lesion_pairs({"A": boxes(1)}, UNIT, pairs=[("A", "M")])
    assert pair.is_missing and np.isnan(pair.f1) and np.isnan(pair.false_positives("A"))


def test_lesions_are_compared_where_both_read():
    read = np.zeros((60, 1, 1), dtype=bool)
    read[:20] = True
    (pair,) = lesion_pairs({"A": boxes(0, 40), "B": boxes(0)}, UNIT, read={"B": read})
    assert pair.f1 == 1.0 and pair.a_ml == (0.004,)


def test_sizes_are_in_ml_and_specks_can_be_left_out():
    mask = boxes(0, length=1) | boxes(10)
    found = lesion_pair(mask, mask, (1.0, 1.0, 2.5))
    assert found.a_ml == pytest.approx((0.0025, 0.01))
    assert lesion_pair(mask, mask, (1.0, 1.0, 2.5), rule=LesionRule(minimum_ml=0.01)).a_ml == pytest.approx((0.01,))


def test_a_case_is_scored_from_its_readings():
    labels = LabelSet({"background": 0, "lesion": 1, "cyst": 2})
    grid = Geometry((60, 3, 3), np.diag([1.0, 1.0, 2.0, 1.0]))
    readings = {
        "A": LabelMap(boxes(0, 20).astype(np.int16), grid, labels),
        "B": LabelMap(boxes(1).astype(np.int16), grid, labels, labelled=("lesion",)),
    }
    found = case_lesions(readings)
    assert [pair.label for pair in found] == ["lesion", "cyst"] and found[1].is_missing
    assert found[0].f1 == pytest.approx(2 / 3) and found[0].a_ml == pytest.approx((0.008, 0.008))


def test_thousands_of_specks_are_matched():
    rng = np.random.default_rng(0)
    mask = rng.random((60, 60, 60)) > 0.97
    found = lesion_pair(mask, mask, UNIT)
    assert found.f1 == 1.0 and len(found.a_ml) > 2000


def test_four_readers_of_one_nodule_match_it_in_every_pair(golden, masks):
    readers = {name: masks[f"lidc_L1/rater{name}"] for name in "1234"}
    expected = golden["multi_rater"]["L1_lidc_nodule_four_readers"]["expected"]
    for pair, dice in zip(lesion_pairs(readers, UNIT), expected["dice"], strict=True):
        assert pair.matches[0][2] == pytest.approx(dice / (2 - dice), abs=0.02)  # specks beside the nodule count apart
        assert pair.sensitivity(pair.a) > 0


@pytest.mark.parametrize("wrong", [{"iou": 1.0}, {"iou": -0.1}, {"minimum_ml": -1.0}, {"minimum_ml": float("nan")}])
def test_a_rule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError, match="expected"):
        LesionRule(**wrong)
