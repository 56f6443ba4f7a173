"""One case, many readings: empty and missing masks, unread slices, ignored voxels."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.scoring import boxes_of, others_of, score_case, score_masks, score_pair
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.regions import RegionMap

LABELS = LabelSet({"background": 0, "liver": 5, "lesion": 2}, ignore=99)
SPACING = (1.0, 1.0, 3.0)


def reading(liver: int = 0, lesion: int = 0, **fields) -> LabelMap:
    """A liver of `liver` columns and a lesion of `lesion` columns, 4 x 6 voxels each."""
    array = np.zeros((12, 8, 8), dtype=np.uint8)
    array[:liver, 2:6, 1:7] = 5
    array[10 : 10 + lesion, 2:6, 1:7] = 2
    return LabelMap(array, Geometry(array.shape, np.diag([*SPACING, 1.0])), LABELS, **fields)


def by_pair(scores, label):
    return {(s.a, s.b): s for s in scores if s.label == label}


def test_scoring_a_case_equals_scoring_its_pairs_one_by_one():
    readings = {"A": reading(4, 1), "B": reading(5, 2), "M": reading(6, 1)}
    for score in score_case(readings, tolerance_mm=1.0):
        a, b = (readings[name].mask(score.label) for name in (score.a, score.b))
        assert dict(score.values) == pytest.approx(score_pair(a, b, SPACING, tolerance_mm=1.0))


def test_volumes_are_in_millilitres():
    (score,) = score_case({"A": reading(4), "B": reading(5)}, labels=["liver"])
    assert (score.volume_a_ml, score.volume_b_ml) == pytest.approx((4 * 24 * 0.003, 5 * 24 * 0.003))


def test_one_empty_mask_scores_zero_and_is_infinitely_far():
    (score,) = score_case({"A": reading(4), "M": reading(0)}, labels=["liver"])
    shares = ("dice", "iou", "nsd", "volumetric_similarity", "sensitivity")
    assert [score.values[key] for key in shares] == [0.0] * len(shares)
    assert all(score.values[key] == np.inf for key in ("hd", "hd95", "assd", "masd"))
    assert np.isnan(score.values["precision"]) and score.values["relative_volume_difference"] == -1.0
    assert score.flag == "one_empty"


def test_two_empty_masks_agree_when_a_third_is_not_empty():
    scores = by_pair(score_case({"A": reading(0), "B": reading(0), "M": reading(4)}), "liver")
    agreed = scores["A", "B"]
    assert [agreed.values[key] for key in ("dice", "iou", "nsd")] == [1.0, 1.0, 1.0]
    assert np.isnan(agreed.values["hd95"]) and agreed.flag == "both_empty"
    assert scores["A", "M"].values["dice"] == 0.0


def test_a_structure_that_nobody_marked_is_undefined():
    for score in score_case({"A": reading(4), "B": reading(4)}, labels=["lesion"]):
        assert all(np.isnan(value) for value in score.values.values())
        assert score.flag == "both_empty"


def test_a_rater_who_did_not_look_for_a_structure_is_missing_not_empty():
    readings = {"A": reading(4, 1), "B": reading(4, labelled=("liver",)), "C": reading(4, 1)}
    scores = by_pair(score_case(readings), "lesion")
    assert scores["A", "B"].is_missing and np.isnan(scores["A", "B"].values["dice"])
    assert scores["A", "C"].values["dice"] == 1.0


def test_a_pair_is_compared_on_the_slices_that_both_read():
    short = reading(4, slices_read=(0, 3))
    short.labels[:, :, 4:] = 0
    (score,) = score_case({"A": reading(4), "B": short}, labels=["liver"])
    assert score.values["dice"] == 1.0 and score.values["hd95"] == 0.0
    assert score.volume_a_ml == pytest.approx(4 * 4 * 3 * 0.003)


def test_readers_without_a_common_slice_are_missing():
    readings = {"A": reading(4, slices_read=(0, 3)), "B": reading(4, slices_read=(4, 7))}
    (score,) = score_case(readings, labels=["liver"])
    assert score.is_missing and score.flag == "missing"


def test_ignored_voxels_count_for_nobody():
    ignoring = reading(6)
    ignoring.labels[4:6] = 99
    (score,) = score_case({"A": reading(6), "B": ignoring}, labels=["liver"])
    assert score.values["dice"] == 1.0


def test_a_name_without_a_mask_is_missing():
    (score,) = score_masks({"A": np.ones((2, 2, 2), dtype=bool)}, SPACING, pairs=[("A", "nobody")])
    assert score.is_missing and set(score.values) == set(METRICS)


def test_the_left_out_rater_meets_the_majority_of_the_others():
    readings = {"A": reading(4), "B": reading(5), "C": reading(6)}
    pairs = [(others_of("A"), "A"), (others_of("C"), "C")]
    first, last = score_case(readings, labels=["liver"], pairs=pairs, leave_one_out=list(readings))
    assert first.values["dice"] == pytest.approx(2 * 4 / (4 + 6))  # B or C: 6 columns
    assert last.values["dice"] == pytest.approx(2 * 5 / (5 + 6))  # A or B: 5 columns


def regions(**masks) -> RegionMap:
    return RegionMap(masks, Geometry((12, 8, 8), np.diag([*SPACING, 1.0])), LABELS)


def test_overlapping_regions_score_as_if_each_were_alone():
    liver, lesion = reading(6).mask("liver"), reading(6).mask("liver")
    lesion[:4] = False  # 2 of the 6 columns are lesion, and liver all the same
    a, b = regions(liver=liver, lesion=lesion), reading(4, 2)
    scores = by_pair(score_case({"A": a, "B": b, "C": a}), "liver")
    assert scores["A", "B"].values["dice"] == pytest.approx(2 * 4 / (6 + 4))
    assert scores["A", "C"].values["dice"] == 1.0
    lesions = by_pair(score_case({"A": a, "C": a, "M": regions(liver=liver, lesion=liver)}), "lesion")
    assert lesions["A", "M"].values["dice"] == pytest.approx(2 * 2 / (2 + 6))


def test_regions_of_a_structure_without_a_mask_are_missing():
    scores = by_pair(score_case({"A": regions(liver=reading(4).mask("liver")), "B": reading(4, 1)}), "lesion")
    assert scores["A", "B"].is_missing


def test_no_reading_gives_no_score():
    assert score_case({}) == []


def test_each_structure_may_have_its_own_tolerance():
    readings = {"A": reading(4, 1), "B": reading(6, 1)}
    near, far = (by_pair(score_case(readings, tolerance_mm={"liver": mm}), "liver")["A", "B"] for mm in (0.0, 2.0))
    assert near.values["nsd"] < far.values["nsd"] == 1.0
    default = by_pair(score_case(readings, tolerance_mm={"lesion": 0.0}), "liver")["A", "B"]
    assert default.values["nsd"] == far.values["nsd"]


def test_threads_and_memory_order_change_no_number():
    rng = np.random.default_rng(0)
    readings = {}
    for name in "ABM":
        array = rng.choice(np.array([0, 2, 5], dtype=np.uint8), (9, 8, 7))
        readings[name] = LabelMap(array, Geometry(array.shape, np.diag([0.7, 1.1, 3.0, 1.0])), LABELS)
    turned = {name: LabelMap(np.asfortranarray(r.labels), r.geometry, LABELS) for name, r in readings.items()}
    assert score_case(readings, threads=1) == score_case(turned, threads=4)


def test_surfaces_beyond_the_image_do_not_wrap_around_it():
    first, last = np.zeros((2, 6, 6, 6), dtype=bool)
    first[0, 0, 0], last[5, 5, 5] = True, True
    assert score_pair(first, last, (1.0, 1.0, 1.0))["hd"] == pytest.approx(np.sqrt(75))


def test_boxes_that_are_known_are_not_looked_for_again(monkeypatch):
    readings = {"A": reading(4, 1), "B": reading(5, 2)}
    expected, boxes = score_case(readings), boxes_of(readings)
    monkeypatch.setattr(LabelMap, "boxes", lambda self: pytest.fail("looked through again"))
    assert score_case(readings, boxes=boxes) == expected
