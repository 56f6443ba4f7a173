"""Every golden pair, the worked example and the cases with several readers, against the numbers of other tools.

The golden arrays are stored z, y, x with spacing in the same order; every metric here treats the axes alike.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from medseg.evaluation.consensus import majority
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.overlap import volume_ml
from medseg.evaluation.paired import CaseScores, case_agreement
from medseg.evaluation.scoring import score_masks, score_pair
from medseg.evaluation.surface import Surface, nsd

NAMES = sorted(json.loads((Path(__file__).parents[1] / "data/golden/golden.json").read_text())["pairs"])


def pair(golden, masks, name):
    entry = golden["pairs"][name]
    return entry, masks[f"{name}/a"], masks[f"{name}/b"], tuple(entry["spacing_zyx"])


@pytest.mark.parametrize("name", NAMES)
def test_overlap_and_volumes_equal_the_brute_force_numbers(golden, masks, name):
    entry, a, b, spacing = pair(golden, masks, name)
    scores = score_pair(a, b, spacing)
    for metric in ("dice", "iou"):
        expected = entry["brute"][metric]
        assert scores[metric] == pytest.approx(np.nan if expected is None else expected, abs=1e-6, nan_ok=True)
    assert [volume_ml(mask, spacing) * 1000 for mask in (a, b)] == pytest.approx(entry["brute"]["volume_mm3"])


@pytest.mark.parametrize("name", [name for name in NAMES if "empty" not in name])
def test_border_distances_equal_the_brute_force_numbers(golden, masks, name):
    entry, a, b, spacing = pair(golden, masks, name)
    scores = score_pair(a, b, spacing)
    assert scores["hd95"] == pytest.approx(entry["brute"]["hd95"], abs=1e-6)
    assert scores["assd"] == pytest.approx(entry["brute"]["assd_pooled"], abs=1e-6)
    surfaces = Surface(a, spacing), Surface(b, spacing)
    assert [len(surface.border) for surface in surfaces] == entry["brute"]["n_border"]
    farthest = max(one.border.distances_to(other.border).max() for one, other in (surfaces, surfaces[::-1]))
    assert farthest == pytest.approx(entry["brute"]["hd"], abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_surface_dice_and_areas_equal_deepmind(golden, masks, name):
    entry, a, b, spacing = pair(golden, masks, name)
    for tolerance in (0, 1, 2):
        expected = float(entry["deepmind"][f"nsd_surfel@{tolerance}mm"])
        assert nsd(a, b, spacing, tolerance) == pytest.approx(expected, abs=1e-4, nan_ok=True)
    areas = [Surface(mask, spacing).areas_mm2.sum() for mask in (a, b)]
    assert areas == pytest.approx(entry["deepmind"]["area_mm2"], abs=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if "second_empty" in name or "first_empty" in name])
def test_a_missed_structure_is_infinitely_far_and_not_zero(golden, masks, name):
    entry, a, b, spacing = pair(golden, masks, name)
    scores = score_pair(a, b, spacing)
    assert scores["hd95"] == scores["assd"] == float(entry["deepmind"]["hd95_surfel"]) == np.inf


def test_two_empty_masks_alone_are_undefined(masks):
    scores = score_pair(masks["P08_both_empty/a"], masks["P08_both_empty/b"], (1.0, 1.0, 1.0))
    assert all(np.isnan(value) for value in scores.values()) and set(scores) == set(METRICS)


# --- the worked example, by hand: R1 16 voxels, R2 12, R3 16, M 15, 3 mm3 each


@pytest.fixture(scope="module")
def worked(masks):
    names = {"R1": "rater1", "R2": "rater2", "R3": "rater3", "M": "model"}
    scores = score_masks({name: masks[f"worked/{file}"] for name, file in names.items()}, (3.0, 1.0, 1.0), label="x")
    return CaseScores("c", "p", scores, 10.0)


def test_worked_example_pairs_by_hand(worked):
    dice = {(s.a, s.b): s.values["dice"] for s in worked.scores}
    by_hand = {("R1", "R2"): 24 / 28, ("R1", "R3"): 24 / 32, ("R2", "R3"): 18 / 28,
               ("R1", "M"): 30 / 31, ("R2", "M"): 24 / 27, ("R3", "M"): 24 / 31}  # fmt: skip
    assert dice == pytest.approx(by_hand)
    assert {s.a: s.volume_a_ml for s in worked.scores} == pytest.approx({"R1": 0.048, "R2": 0.036, "R3": 0.048})


def test_worked_example_paired_difference_is_positive_for_the_majority_vote(worked):
    row = case_agreement(worked, "x", "dice", ["R1", "R2", "R3"], "M")
    assert row is not None
    assert (row.human_human, row.model_human) == pytest.approx((0.75, 0.876941), abs=1e-6)
    assert row.difference == pytest.approx(0.126941, abs=1e-6)
    assert row.model_human / row.human_human == pytest.approx(1.169255, abs=1e-6)  # Williams index of one case


def test_worked_example_leave_one_out_against_union_and_intersection(golden, masks):
    raters = {str(k): masks[f"worked/rater{k}"] for k in (1, 2, 3)}
    for left, expected in golden["worked_example"]["expected"]["leave_one_out"].items():
        others = [mask for name, mask in raters.items() if name != left]
        for tie, word in (("foreground", "union"), ("background", "inter")):
            consensus, _ = majority(others, tie=tie)
            for who, mask in (("rater", raters[left]), ("model", masks["worked/model"])):
                dice = METRICS["dice"](consensus, mask, (3.0, 1.0, 1.0))
                assert dice == pytest.approx(expected[f"{who}_vs_{word}"], abs=1e-6)


def test_worked_example_majority_is_the_model(masks):
    voted, read = majority([masks[f"worked/rater{k}"] for k in (1, 2, 3)])
    assert voted.sum() == 15 and read.all()
    assert (voted == masks["worked/model"]).all()


# --- several readers


def test_a_case_that_nobody_marked_is_left_out(masks):
    empty = masks["multi/empty"]
    case = CaseScores(
        "c", "p", score_masks({"A": empty, "B": empty, "C": empty, "M": empty}, (1.0, 1.0, 1.0), label="x"), 1.0
    )
    assert case_agreement(case, "x", "dice", list("ABC"), "M") is None


def test_one_reader_who_missed_gives_zeros_not_gaps(golden, masks):
    cube, empty = masks["multi/cube"], masks["multi/empty"]
    scores = score_masks({"A": cube, "B": cube, "C": empty}, (1.0, 1.0, 1.0))
    assert [s.values["dice"] for s in scores] == golden["multi_rater"]["M02_one_rater_missed"]["expected"]["dice_rr"]


def test_majority_of_two_shifted_cubes_follows_the_named_tie_rule(golden, masks):
    expected = golden["multi_rater"]["M03_two_raters_shift"]["expected"]
    pair = [masks["multi/cube"], masks["multi/cube_shift_x1"]]
    assert majority(pair, tie="background")[0].sum() == expected["majority_gt_half"]
    assert majority(pair, tie="foreground")[0].sum() == expected["union"]


def test_an_unread_slice_is_missing_and_not_empty(golden, masks):
    expected = golden["multi_rater"]["M04_rater3_missing_slice2"]["expected"]
    cube = masks["multi/cube"]
    read = np.ones(cube.shape, dtype=bool)
    read[2] = False
    third = cube & read
    (score,) = score_masks({"1": cube, "3": third}, (1.0, 1.0, 1.0), read={"3": read})
    assert score.values["dice"] == expected["dice13_common_slices"]
    (wrong,) = score_masks({"1": cube, "3": third}, (1.0, 1.0, 1.0))
    assert wrong.values["dice"] == pytest.approx(expected["dice13_if_wrongly_zero"])


def test_identical_readers_agree_perfectly(masks):
    cube = masks["multi/cube"]
    for score in score_masks({"A": cube, "B": cube.copy(), "C": cube.copy()}, (1.0, 1.0, 1.0)):
        assert score.values == {key: 1.0 if metric.higher_is_better else 0.0 for key, metric in METRICS.items()}


def test_a_lung_nodule_of_four_readers_equals_the_reference_tools(golden, masks):
    entry = golden["multi_rater"]["L1_lidc_nodule_four_readers"]
    readers = {str(k): masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)}
    scores = score_masks(readers, tuple(entry["spacing_zyx_mm"]), tolerance_mm=1.0)
    assert [s.a + s.b for s in scores] == entry["expected"]["pairs"]
    for metric, key, error in (("dice", "dice", 1e-6), ("hd95", "hd95_voxel", 1e-6), ("assd", "assd_voxel", 1e-6),
                               ("nsd", "nsd_surfel_1mm", 1e-4)):  # fmt: skip
        assert [s.values[metric] for s in scores] == pytest.approx(entry["expected"][key], abs=error)


def test_williams_index_of_the_fourth_reader_as_model(golden, masks):
    entry = golden["multi_rater"]["L1_lidc_nodule_four_readers"]
    readers = {str(k): masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)}
    case = CaseScores("c", "p", score_masks(readers, tuple(entry["spacing_zyx_mm"]), label="x"), 1.0)
    row = case_agreement(case, "x", "dice", ["1", "2", "3"], "4")
    assert row is not None
    assert row.model_human / row.human_human == pytest.approx(entry["expected"]["williams_rater4"], abs=1e-6)


def test_majority_of_four_readers_counts_as_the_reference(golden, masks):
    expected = golden["multi_rater"]["L1_lidc_nodule_four_readers"]["expected"]
    readers = [masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)]
    assert majority(readers, tie="foreground")[0].sum() == expected["majority_voxels_ge2"]
    assert majority(readers, tie="background")[0].sum() == expected["majority_voxels_gt2"]


def test_all_pairs_are_scored_in_order(masks):
    cube = masks["multi/cube"]
    scores = score_masks({"A": cube, "B": cube, "C": cube, "D": cube}, (1.0, 1.0, 1.0))
    assert [(s.a, s.b) for s in scores] == list(combinations("ABCD", 2))
