"""Energy distance and matched IoU: golden numbers, empties, missing readers, and two sets by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from medseg.errors import GeometryError, UsageError
from medseg.evaluation.distribution import compare_distributions, iou_matrix, matched_iou
from medseg.evaluation.overlap import iou


def readers_of(masks) -> list[np.ndarray]:
    return [masks[f"worked/rater{k}"] for k in (1, 2, 3)]


def test_worked_example_of_a_hard_model(golden, masks):
    expected = golden["worked_example"]["expected"]
    found = compare_distributions([masks["worked/model"]], readers_of(masks))
    assert found.ged2 == pytest.approx(expected["ged2_iou_model_single"], abs=1e-6)
    assert found.hungarian_iou == pytest.approx(expected["hungarian_iou_model_single"], abs=1e-6)
    assert (found.samples, found.readers, found.among_samples) == (1, 3, 0)


def test_worked_example_of_four_samples_against_three_readers(golden, masks):
    expected = golden["worked_example"]["expected"]
    samples = [masks["worked/probability"] > t for t in (0.15, 0.5, 0.65, 0.8)]
    found = compare_distributions(samples, readers_of(masks))
    assert found.ged2 == pytest.approx(expected["ged2_iou_4samples(p>.15,.5,.65,.8)"], abs=1e-6)
    assert found.hungarian_iou == pytest.approx(expected["hungarian_iou_4samples"], abs=1e-6)


def test_the_readers_themselves_are_at_distance_zero(masks):
    found = compare_distributions(readers_of(masks)[::-1], readers_of(masks))
    assert found.ged2 == pytest.approx(0, abs=1e-12) and found.hungarian_iou == 1


def test_golden_nodule_with_the_fourth_reader_as_the_model(golden, masks):
    expected = golden["multi_rater"]["L1_lidc_nodule_four_readers"]["expected"]
    readers = [masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)]
    assert compare_distributions(readers[3:], readers[:3]).ged2 == pytest.approx(expected["ged2_rater4_vs_123"])


@pytest.mark.parametrize(("model", "key"), [("multi/cube", "ged2_model_full"), ("multi/empty", "ged2_model_empty")])
def test_a_reader_who_missed_is_an_empty_mask(golden, masks, model, key):
    readers = [masks["multi/cube"], masks["multi/cube"], masks["multi/empty"]]
    expected = golden["multi_rater"]["M02_one_rater_missed"]["expected"][key]
    assert compare_distributions([masks[model]], readers).ged2 == pytest.approx(expected)


def test_two_empty_masks_are_the_same(golden, masks):
    empty = masks["multi/empty"]
    found = compare_distributions([empty], [empty] * 3)
    assert found.ged2 == golden["multi_rater"]["M01_all_raters_and_model_empty"]["expected"]["ged2"] == 0
    assert found.hungarian_iou == 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_pair_equals_the_metric(order):
    rng = np.random.default_rng(0)
    masks = [np.asarray(rng.random((9, 8, 7)) < share, order=order) for share in (0.1, 0.5, 0.9)]
    expected = [[iou(a, b) for b in masks] for a in masks]
    assert iou_matrix(masks) == pytest.approx(np.array(expected))


def test_pairs_are_compared_where_both_read(masks):
    a, b = np.ones((1, 1, 4), dtype=bool), np.array([[[True, False, True, True]]])
    read = np.array([[[True, True, False, False]]])
    assert iou_matrix([a, b], [None, read])[0, 1] == 0.5
    assert iou_matrix([a, b], [None, read])[1, 1] == 1.0


def test_a_reader_who_read_nothing_leaves_the_numbers_undefined(masks):
    cube = masks["multi/cube"]
    found = compare_distributions([cube], [cube, cube], [None, np.zeros_like(cube)])
    assert np.isnan([found.ged2, found.cross, found.hungarian_iou]).all()


def test_matching_is_the_best_of_all_permutations():
    matrix = np.random.default_rng(3).random((5, 5))
    best = max(np.mean([matrix[i, j] for i, j in enumerate(order)]) for order in permutations(range(5)))
    assert matched_iou(matrix) == pytest.approx(best)


def test_samples_and_readers_keep_equal_weight_whatever_their_numbers():
    one_good = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])  # two thirds of each reader can be matched
    assert matched_iou(one_good) == pytest.approx(2 / 3)


def test_numbers_that_cannot_be_matched_are_refused():
    with pytest.raises(UsageError, match="101 samples, 89 readers"):
        matched_iou(np.ones((101, 89)))


def test_nothing_to_compare_and_unequal_grids_are_refused(masks):
    cube = masks["multi/cube"]
    with pytest.raises(UsageError, match="0 samples, 1 readers"):
        compare_distributions([], [cube])
    with pytest.raises(GeometryError, match="masks of different shapes"):
        compare_distributions([cube], [cube[:5]])
