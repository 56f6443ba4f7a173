"""Calibration and Brier score: golden numbers, scikit-learn's curve and score, domains and missing readers."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from medseg.errors import InputError, UsageError
from medseg.evaluation.calibration import calibration, top_label_ece
from medseg.evaluation.domain import WHOLE, Domain, dilate

UNIT = (1.0, 1.0, 1.0)


@pytest.fixture
def worked(masks) -> tuple[np.ndarray, list[np.ndarray]]:
    return masks["worked/probability"], [masks[f"worked/rater{k}"] for k in (1, 2, 3)]


def random_case(order: Literal["C", "F"] = "C") -> tuple[np.ndarray, list[np.ndarray]]:
    """A ball of which readers and model are less and less sure towards its surface."""
    rng = np.random.default_rng(7)
    x, y, z = np.indices((20, 18, 16)) - 8
    probability = 1 / (1 + np.exp((x**2 + y**2 + z**2 - 20) / 6))
    masks = [rng.random(probability.shape) < probability for _ in range(3)]
    return np.asarray(probability, order=order), [np.asarray(mask, order=order) for mask in masks]


def test_worked_example_on_the_whole_image(golden, worked):
    expected = golden["worked_example"]["expected"]
    found = calibration(*worked, spacing_mm=(3.0, 1.0, 1.0), domain=WHOLE)
    assert found.ece == pytest.approx(expected["ece_binary_10bins_per_rater"], abs=1e-9)
    assert found.ece_soft == pytest.approx(expected["ece_binary_10bins_soft_target"], abs=1e-9)
    assert found.brier == pytest.approx(expected["brier_per_rater"], abs=1e-9)
    assert found.domain == "whole image" and found.voxels.sum() == 36


def test_worked_example_on_the_union_is_another_number(golden, worked):
    found = calibration(*worked, spacing_mm=(3.0, 1.0, 1.0), domain=Domain(0.0))
    expected = golden["worked_example"]["expected"]["ece_binary_10bins_union_mask_per_rater"]
    assert found.ece == pytest.approx(expected, abs=1e-9) and found.domain == "union of the readers"


def test_worked_example_of_the_challenge(golden, worked):
    expected = golden["worked_example"]["expected"]["curvas"]
    found = top_label_ece(*worked, spacing_mm=(3.0, 1.0, 1.0), domain=WHOLE)
    assert found == pytest.approx(expected["ece_top_50bins_per_rater"], abs=1e-9)
    assert found.mean() == pytest.approx(expected["mr_ece"], abs=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("domain", [WHOLE, Domain(2.0)])
def test_curve_and_scores_equal_sums_over_voxels(order, domain):
    probability, masks = random_case(order)
    inside = np.ones(probability.shape, bool) if domain is WHOLE else dilate(np.any(masks, axis=0), UNIT, 2.0)
    found = calibration(probability, masks, spacing_mm=UNIT, domain=domain, bins=7)
    p, share = probability[inside], np.mean(masks, axis=0)[inside]
    bins = np.floor(7 * p).astype(int)
    for target, ece, brier, observed in (
        *zip([mask[inside] for mask in masks], found.ece, found.brier, found.observed, strict=True),
        (share, found.ece_soft, found.brier_soft, found.observed_soft),
    ):
        gaps = [np.abs(p[bins == b].mean() - target[bins == b].mean()) * (bins == b).mean() for b in range(7)]
        assert (ece, brier) == pytest.approx((sum(gaps), np.mean((p - target) ** 2)))
        assert observed == pytest.approx([target[bins == b].mean() for b in range(7)])
    assert found.mean_probability == pytest.approx([p[bins == b].mean() for b in range(7)])


def test_the_readers_share_is_calibrated_to_itself():
    _, masks = random_case()
    found = calibration(np.mean(masks, axis=0), masks, spacing_mm=UNIT)
    assert found.ece_soft == pytest.approx(0, abs=1e-12) and found.brier_soft == pytest.approx(0, abs=1e-12)
    assert found.brier.min() > 0.01


def test_a_hard_prediction_is_as_wrong_as_the_voxels_it_misses(masks):
    cube, shifted = masks["multi/cube"], masks["multi/cube_shift_x1"]
    found = calibration(shifted.astype(float), [cube], spacing_mm=UNIT, domain=WHOLE)
    assert found.brier[0] == pytest.approx(18 / 343) and found.ece[0] == pytest.approx(18 / 343)
    assert top_label_ece(shifted.astype(float), [cube], spacing_mm=UNIT, domain=WHOLE) == pytest.approx(18 / 343)


def test_a_probability_on_an_edge_belongs_to_the_bin_above_and_one_to_the_last():
    tenths = (np.arange(11) / 10).reshape(1, 1, 11)
    found = calibration(tenths, [np.ones((1, 1, 11), dtype=bool)], spacing_mm=UNIT, domain=WHOLE)
    assert found.voxels.tolist() == [1] * 9 + [2]


def test_a_reader_is_judged_only_where_he_read():
    probability, masks = random_case()
    read = np.zeros(probability.shape, dtype=bool)
    read[..., 4:12] = True
    found = calibration(probability, masks, [None, None, read], spacing_mm=UNIT, domain=WHOLE)
    alone = calibration(probability[..., 4:12], [masks[2][..., 4:12]], spacing_mm=UNIT, domain=WHOLE)
    assert (found.ece[2], found.brier[2]) == pytest.approx((alone.ece[0], alone.brier[0]))
    top = top_label_ece(probability, masks, [None, None, read], spacing_mm=UNIT, domain=WHOLE)
    assert top[2] == pytest.approx(top_label_ece(probability[..., 4:12], [masks[2][..., 4:12]], spacing_mm=UNIT,
                                                 domain=WHOLE)[0])  # fmt: skip


def test_voxels_that_nobody_read_are_left_out():
    probability, masks = random_case()
    read = np.arange(16) < 9
    found = calibration(probability, masks, [read] * 3, spacing_mm=UNIT, domain=WHOLE)
    part = calibration(probability[..., :9], [mask[..., :9] for mask in masks], spacing_mm=UNIT, domain=WHOLE)
    assert found.voxels.tolist() == part.voxels.tolist() and found.ece_soft == pytest.approx(part.ece_soft)


def test_a_domain_without_voxels_is_undefined(masks):
    empty = masks["multi/empty"]
    found = calibration(np.full(empty.shape, 0.2), [empty, empty], spacing_mm=UNIT)
    assert np.isnan([*found.ece, found.ece_soft, *found.brier, found.brier_soft]).all() and found.voxels.sum() == 0
    assert np.isnan(top_label_ece(np.full(empty.shape, 0.2), [empty], spacing_mm=UNIT)).all()


def test_logits_and_no_bins_are_refused(worked):
    probability, readers = worked
    with pytest.raises(InputError, match="probabilities outside 0 to 1"):
        calibration(10 * probability - 5, readers, spacing_mm=UNIT)
    with pytest.raises(UsageError, match="expected 1 or more, got 0"):
        calibration(probability, readers, spacing_mm=UNIT, bins=0)


def test_the_plain_form_holds_only_lists_and_numbers(worked):
    plain = calibration(*worked, spacing_mm=UNIT).as_dict()
    assert plain["domain"] == "union of the readers dilated by 10 mm"
    assert isinstance(plain["reliability"], dict) and len(plain["reliability"]["observed"]) == 3
